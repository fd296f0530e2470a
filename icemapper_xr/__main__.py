"""`python -m icemapper_xr` is the command `icemapper`."""

from icemapper_xr.cli import main

if __name__ == "__main__":
    main()

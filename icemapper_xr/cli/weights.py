"""`weights`: which there are, what is known of them, how to get them."""

from __future__ import annotations

from pathlib import Path

from cyclopts import App

from icemapper_xr.cli._app import app, table

weights_app = App(name="weights", help="List, describe and fetch weights.")
app.command(weights_app)


@weights_app.command(name="list")
def list_() -> None:
    """List the weights that are here, and those that can be fetched."""
    from icemapper_xr import models

    print(table(models.list_weights(), ("name", "origin", "features", "window", "pixel_size", "here")))


@weights_app.command
def info(weights: str) -> None:
    """Tell all that is known of some weights.

    Parameters
    ----------
    weights
        Name or path.
    """
    import json

    from icemapper_xr import models

    print(json.dumps(models.info(weights), indent=2, default=str))


@weights_app.command
def fetch(weights: str, *, url: str | None = None, cache: Path | None = None) -> None:
    """Fetch published weights from their public repository, checked by their digest.

    Parameters
    ----------
    weights
        Name, for example tweightedpool_rtc.
    url
        Mirror: the address of the folder that holds the files.
    cache
        Folder to keep them in; `map` and the others look there if the variable ICEMAPPER_CACHE names it, too.
    """
    from icemapper_xr import models

    print(f"wrote {models.fetch_weights(weights, url=url, cache=cache)}")

"""`search` and `catalog`: what observations there are."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter

from icemapper_xr.cli._app import ANYWHERE, AreaOptions, FeatureName, app

catalog_app = App(name="catalog", help="Make catalogues of your own rasters.")
app.command(catalog_app)


@app.command
def search(
    catalog: str,
    *,
    area: AreaOptions = ANYWHERE,
    datetime: str | None = None,
    features: Annotated[tuple[FeatureName, ...], Parameter(consume_multiple=True)] = ("rtc",),
    polarisation: Literal["VV", "VH", "HH", "HV"] | None = None,
    orbit: int | None = None,
    mode: Literal["IW", "EW", "SM", "WV"] | None = None,
    limit: int | None = None,
    out: Path | None = None,
) -> None:
    """Search a catalogue and tell which passes it has.

    Parameters
    ----------
    catalog
        planetary-computer, earth-search, cdse, a STAC URL, or the path of a catalogue.
    datetime
        2023, or 2023-01-01/2023-12-31.
    features
        What to look for.
    polarisation
        Only this one.
    orbit
        Only this relative orbit.
    mode
        Only this mode of the instrument; a cube wants IW.
    limit
        Stop after so many items.
    out
        Write the items found: .json (item collection) or .parquet (stac-geoparquet).
    """
    from icemapper_xr import catalog as catalogs
    from icemapper_xr.cube import area_grid, extent, grid

    if out is not None:
        catalogs.check_target(out)
    where = area.keywords()
    if "crs" in where:
        grid.projected(where["crs"])
    if "bounds" in where:
        where = {"bbox": extent.lonlat_box(area_grid(**where, margin=0))}
    where.pop("crs", None)
    found = catalogs.search(
        catalog,
        **where,
        datetime=datetime,
        features=features,
        polarisation=polarisation,
        orbit=orbit,
        mode=mode,
        limit=limit,
    )
    print(found)
    if out is not None:
        found.to_file(out)
        print(f"wrote {len(found)} items to {out}")


@catalog_app.command
def presets() -> None:
    """Tell which catalogues are known by name, what they serve and what account they need."""
    from icemapper_xr import catalog as catalogs

    print(catalogs.describe())


@catalog_app.command
def build(
    folder: Path,
    *,
    feature: FeatureName | None = None,
    quantity: Literal["gamma0", "sigma0", "beta0", "coherence"] | None = None,
    scale: Literal["power", "amplitude", "dB", "1"] | None = None,
    polarisation: Literal["VV", "VH", "HH", "HV"] | None = None,
    relative_orbit: int | None = None,
    orbit_state: Literal["ascending", "descending"] | None = None,
    platform: Literal["S1A", "S1B", "S1C", "S1D"] | None = None,
    mode: Literal["IW", "EW", "SM", "WV"] | None = None,
    skip_bad: bool = False,
    out: Path | None = None,
) -> None:
    """Index a folder of GeoTIFFs (OPERA RTC-S1, HyP3, plain names with a date) as a STAC catalogue.

    The options say what names and tags of the files do not tell.

    Parameters
    ----------
    folder
        Folder with the rasters, searched with its subfolders but for `truth` and hidden ones.
    feature
        What the rasters are.
    quantity
        Physical quantity.
    scale
        Scale of the values.
    polarisation
        Polarisation.
    relative_orbit
        Relative orbit, 1 to 175.
    orbit_state
        Direction of flight.
    platform
        Satellite.
    mode
        Instrument mode.
    skip_bad
        Leave out files that cannot be read, instead of stopping.
    out
        Folder to write the catalogue to, or one file (.json, .geojson or .parquet); default: the folder itself.
    """
    from icemapper_xr import catalog as catalogs

    built = catalogs.build(
        folder,
        feature=feature,
        quantity=quantity,
        scale=scale,
        polarisation=polarisation,
        relative_orbit=relative_orbit,
        orbit_state=orbit_state,
        platform=platform,
        mode=mode,
        skip_bad=skip_bad,
        out=out,
    )
    print(built.table())
    print(f"indexed {len(built)} items in {out or folder}")

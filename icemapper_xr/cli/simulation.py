"""`simulate`: an archive of simulated radar images whose glaciers are known."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from icemapper_xr.cli._app import Box, FeatureName, app


@app.command
def simulate(
    out: Path,
    *,
    seed: int = 1,
    size: int = 1000,
    years: Annotated[str, Parameter(alias="--year")] = "2023",
    world: str = "polar",
    retreat: Annotated[float, Parameter(allow_leading_hyphen=True)] = 6.0,
    glacier_share: float | None = None,
    features: Annotated[tuple[FeatureName, ...], Parameter(consume_multiple=True)] = ("rtc", "insar"),
    polarisation: Literal["VV", "HH"] = "HH",
    orbit: int = 14,
    orbit_state: Literal["ascending", "descending"] = "ascending",
    resolution: float = 10.0,
    looks: float | None = None,
    posting: int = 1,
    dem: Path | None = None,
    outlines: Path | None = None,
    bounds: Annotated[Box | None, Parameter(allow_leading_hyphen=True)] = None,
) -> None:
    """Simulate Sentinel-1 years over glaciers that are known: COGs, a STAC catalogue and the truth. No network.

    Parameters
    ----------
    out
        Folder to write; new or empty.
    seed
        Seed of terrain, ice, weather and speckle.
    size
        Rows and columns; over a DEM its extent or --bounds say it.
    years
        2023, 2016:2024 or 2016,2020; ice retreats from the first year on.
    world
        polar or alpine; without glaciers: mountains, hills, desert, forest, lowland, tundra, coast.
    retreat
        Metres a year at the lowest margins; negative advances.
    glacier_share
        Share of the area that is glacier in the first year; default: drawn.
    features
        What to write.
    polarisation
        HH or VV.
    orbit
        Relative orbit, 1 to 175.
    orbit_state
        Direction of the passes.
    resolution
        Pixel size, metres.
    looks
        Equivalent looks, 3 to 30 (7 to 25 with a posting above 1); default: drawn.
    posting
        Pixels of the grid to one of the RTC product (3: a 30 m product on a 10 m grid).
    dem
        Real elevations instead of drawn ones; needs --outlines.
    outlines
        Real glaciers, which are those of the first year.
    bounds
        Part of the DEM: left, bottom, right, top in its CRS.
    """
    from icemapper_xr import settings
    from icemapper_xr import simulate as simulator

    report = simulator.simulate(
        out,
        seed=seed,
        size=size,
        years=settings.parse_years(years),
        world=world,
        retreat=retreat,
        glacier_share=glacier_share,
        features=features,
        polarisation=polarisation,
        orbit=orbit,
        orbit_state=orbit_state,
        resolution=resolution,
        looks=looks,
        posting=posting,
        dem=dem,
        outlines=outlines,
        bounds=bounds,
    )
    print(report.table())

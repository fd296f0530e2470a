"""`divides`, `link`, `export` and `qc`: from outlines to an inventory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, Group, Parameter

from icemapper_xr.cli._app import app, belonging, table
from icemapper_xr.conventions import MIN_AREA_KM2

if TYPE_CHECKING:
    from icemapper_xr.pipeline.packages import ExportReport

FLOWSHEDS = Group("Flowsheds")


@Parameter(name="*", group=FLOWSHEDS)
@dataclass(frozen=True)
class FlowshedArguments:
    """Numbers of the flowshed method; the defaults are those published for Svalbard."""

    routing: Literal["dinf", "d8", "mfd"] = "dinf"
    """How water is shared among lower neighbours."""
    buffer: float = 60.0
    """Metres from the ice to the gutter."""
    keep: float = 0.2
    """Share of the pour points that is kept."""
    sliver: float = 1e5
    """Flowsheds below this area (m2) are merged."""
    smoothing: int = 7
    """Cells of the window that smooths the DEM; 1 is none."""

    def keywords(self) -> dict[str, Any]:
        """Keywords of `FlowshedOptions`."""
        return {name: getattr(self, name) for name in ("routing", "buffer", "keep", "sliver", "smoothing")}


PUBLISHED = FlowshedArguments()


@app.command
def divides(
    source: Path,
    out: Path | None = None,
    *,
    reference: Path | None = None,
    dem: Path | None = None,
    method: Literal["auto", "copy", "flowsheds", "bodies"] = "auto",
    cell: float | None = None,
    min_area_km2: float = MIN_AREA_KM2,
    partial: bool = False,
    sea_level: float | None = None,
    calibration: str = "auto",
    flowsheds: FlowshedArguments = PUBLISHED,
) -> None:
    """Divide the outlines of a map into glaciers, with the same divides and ids in all years.

    Parameters
    ----------
    source
        Folder that `map` wrote, or a file of outlines.
    out
        .gpkg, .parquet or .geojson; default: glaciers.gpkg in the folder.
    reference
        Glaciers whose divides and ids are copied, for example RGI 7.
    dem
        Raster of elevation.
    method
        auto: copy with a reference, else flowsheds with a DEM, else bodies of ice as they are.
    cell
        Cell size in metres on which divides are drawn; default: the DEM's, 20 m without one.
    min_area_km2
        A smaller piece that a divide cuts off goes to its neighbour.
    partial
        Leave ice that the DEM does not cover undivided, instead of stopping.
    sea_level
        Height of the sea in the DEM, metres: tells glaciers that end in the sea from those on land.
    calibration
        Of the margins' 5 and 95 %, where the outlines have no band yet: auto (of the weights), none, or a file.
    """
    from icemapper_xr import inventory, pipeline

    target, made = pipeline.divides_of_run(
        source,
        out,
        reference=reference,
        dem=dem,
        method=method,
        options=inventory.FlowshedOptions(**flowsheds.keywords()),
        cell=cell,
        min_area_km2=min_area_km2,
        partial=partial,
        sea_level=sea_level,
        calibration=calibration,
    )
    rows = [
        {
            "year": "" if year is None else year,
            "glaciers": group["glacier_id"].nunique(),
            "polygons": len(group),
            "area km2": f"{group['area_km2'].sum():.2f}",
        }
        for year, group in made.groupby("year", dropna=False)
    ]
    print(table(rows, ("year", "glaciers", "polygons", "area km2")))
    print(f"wrote {target}")


@app.command
def link(
    source: Path,
    *,
    inventory: Annotated[Path | None, Parameter(alias="--to")] = None,
    inventory_year: int | None = None,
    year: int | None = None,
    out: Path | None = None,
) -> None:
    """Link each year's glaciers to the next's, and to an inventory: same, split, merge, mixed, new, gone, unobserved.

    Parameters
    ----------
    source
        Folder that `map` wrote (its glaciers, or its outlines before `divides`), or a file.
    inventory
        Glaciers to link to, for example RGI 7.
    inventory_year
        Year of the inventory, where it has the same ice in several.
    year
        Year linked to the inventory; default: the last.
    out
        Folder for the tables; default: that of the glaciers.
    """
    from icemapper_xr import pipeline

    of_inventory = belonging("--inventory", given=inventory is not None, inventory_year=inventory_year, year=year)
    report = pipeline.links_of_run(source, inventory_file=inventory, out=out, **of_inventory)
    print(table(report.counts(), ("from", "to", "same", "split", "merge", "mixed", "new", "gone", "unobserved")))
    for path in report.written:
        print(f"wrote {path}")


export_app = App(name="export", help="Write a package for RGI or GLIMS.")
app.command(export_app)


@export_app.command
def form() -> None:
    """Print the form that only people can fill in: who made the outlines, and where they belong (TOML)."""
    from icemapper_xr.inventory import submission

    print(submission.FORM, end="")


@export_app.command
def rgi(
    source: Path,
    out: Path | None = None,
    *,
    submission: Path,
    year: int | None = None,
    dem: Path | None = None,
    dem_source: str | None = None,
    reference: Path | None = None,
    keep_edge: bool = False,
    partial: bool = False,
) -> None:
    """Write the glacier, complex and intersects products of RGI 7 for one year.

    Parameters
    ----------
    source
        Folder that `map` wrote, after `divides`.
    out
        Folder to write; default: rgi_YEAR in the source.
    submission
        The filled-in form (icemapper export form).
    year
        Default: the last that was divided.
    dem
        Raster of elevation, for the topography.
    dem_source
        What to call the DEM; default: the name of its file.
    reference
        RGI 7 outlines to link to.
    keep_edge
        Keep glaciers that end where the data end.
    partial
        Let values of glaciers that the DEM does not cover be missing, instead of stopping.
    """
    from icemapper_xr import pipeline

    report = pipeline.export_of_run(
        source,
        out,
        product="rgi",
        submission=submission,
        year=year,
        dem=dem,
        **belonging("--dem", given=dem is not None, dem_source=dem_source, partial=partial or None),
        reference=reference,
        keep_edge=keep_edge,
    )
    print(_exported(report))


@export_app.command
def glims(
    source: Path,
    out: Path | None = None,
    *,
    submission: Path,
    year: int | None = None,
    dem: Path | None = None,
    dem_source: str | None = None,
    keep_edge: bool = False,
    partial: bool = False,
) -> None:
    """Write a shapefile of outlines and rock with the fields of GLIMS for one year.

    Parameters
    ----------
    source
        Folder that `map` wrote, after `divides`.
    out
        Folder to write; default: glims_YEAR in the source.
    submission
        The filled-in form (icemapper export form).
    year
        Default: the last that was divided.
    dem
        Raster of elevation, for the topography.
    dem_source
        What to call the DEM; default: the name of its file.
    keep_edge
        Keep glaciers that end where the data end.
    partial
        Let values of glaciers that the DEM does not cover be missing, instead of stopping.
    """
    from icemapper_xr import pipeline

    report = pipeline.export_of_run(
        source,
        out,
        product="glims",
        submission=submission,
        year=year,
        dem=dem,
        **belonging("--dem", given=dem is not None, dem_source=dem_source, partial=partial or None),
        keep_edge=keep_edge,
    )
    print(_exported(report))


def _exported(report: ExportReport) -> str:
    reasons = {"edge": "end where the data end (--keep-edge keeps them)", "size": f"are below {MIN_AREA_KM2} km2"}
    lines = [f"left out: {len(ids)} glaciers that {reasons[why]}" for why, ids in report.left_out.items()]
    lines.append(f"wrote {report.outlines} outlines of {report.year}, {report.area_km2:.2f} km2, to {report.folder}")
    return "\n".join(lines)


@app.command
def qc(source: Path, *, year: int | None = None) -> None:
    """Check a package, or the glaciers of a map, rule by rule; exit code 1 if one is broken.

    Parameters
    ----------
    source
        Folder of a package, or folder that `map` wrote.
    year
        Only this year of a map; a package has one.
    """
    from icemapper_xr import pipeline

    report = pipeline.qc_of(source, year=year)
    print(report.text())
    if not report.passed:
        raise SystemExit(1)

"""`plan` and `status`: what a map will cost, and where it stands."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from icemapper_xr import progress
from icemapper_xr.cli._app import (
    ANYWHERE,
    AREA,
    HERE,
    USUAL,
    AreaOptions,
    RunOptions,
    SeriesOptions,
    app,
    belonging,
    table,
)

if TYPE_CHECKING:
    from icemapper_xr.pipeline import Plan, Standing


@app.command
def plan(
    *,
    catalog: str,
    weights: str,
    out: Path | None = None,
    store: str | None = None,
    area: AreaOptions = ANYWHERE,
    region: Annotated[list[str] | None, Parameter(consume_multiple=True, group=AREA)] = None,
    mask: Annotated[Path | None, Parameter(group=AREA)] = None,
    mask_buffer: Annotated[float | None, Parameter(group=AREA)] = None,
    tile: Annotated[int | None, Parameter(group=AREA)] = None,
    series: SeriesOptions = USUAL,
    rate: float | None = None,
    run: RunOptions = HERE,
) -> None:
    """Tell what a map will cost (items, bytes, windows, time, memory, disk), and refuse what cannot fit.

    Parameters
    ----------
    catalog
        As for map.
    weights
        Name or path of the weights (icemapper weights list); the published ones' names mean ours, trained on simulated
        scenes, until they are fetched (icemapper weights fetch).
    out
        Where the map would be written: its disk is looked at.
    store
        Where its cube would lie, if not there (s3://bucket/glaciers.zarr).
    region
        Area in tiles: codes or names of RGI regions (07), polygon files, or boxes as west,south,east,north
        (--region=-20,63,-13,67).
    mask
        File of land or glacier polygons: what lies outside is neither read nor mapped.
    mask_buffer
        Metres by which the mask is grown; default: 1000.
    tile
        Side of a region's tile in chunks of 1152 pixels; default: 8.
    rate
        Windows per second of one worker; default: measured here.
    """
    from icemapper_xr import pipeline
    from icemapper_xr.errors import OptionError

    where = area.keywords()
    several = pipeline.as_region(where, region)
    found = pipeline.plan_map(
        catalog=catalog,
        weights=weights,
        out=out,
        store=store,
        region=several,
        mask=mask,
        **belonging("--mask", given=mask is not None, mask_buffer=mask_buffer),
        **belonging("--region", given=several is not None, tile=tile),
        rate=rate,
        **series.keywords(),
        **run.keywords(),
        **where,
    )
    print(_plan_text(found))
    if found.problems:
        raise OptionError("it does not fit: " + "; ".join(found.problems))


def _plan_text(plan: Plan) -> str:
    rows = [
        {
            "year": year.year,
            "items": ", ".join(f"{count} {mode}" for mode, count in year.items.items()) or "0",
            "rasters": year.rasters,
            "steps": str(year.steps[0]) if year.steps[0] == year.steps[1] else f"{year.steps[0]} to {year.steps[1]}",
            "orbits": _orbits(year.orbits),
            "to read": _bytes(year.gigabytes * 1e9),
            "tiles without data": year.without or None,
        }
        for year in plan.years
    ]
    total = sum(year.gigabytes for year in plan.years)
    how = "measured here" if plan.measured else "given"
    memory = f" and has {_bytes(plan.memory_there)}" if plan.memory_there is not None else ""
    free = f", {_bytes(plan.disk_free)} are free" if plan.disk_free is not None else ""
    return "\n".join(
        [
            table(rows, [name for name in rows[0] if any(row[name] is not None for row in rows)]),
            f"area       {plan.area_km2:.4g} km2 in {plan.units} {'unit' if plan.units == 1 else 'units'} a year"
            + (f", {plan.tiles} tiles" if plan.tiles > 1 else ""),
            f"windows    {plan.windows} a year, {plan.windows * len(plan.years)} in all, if none is empty",
            f"reading    {_bytes(total * 1e9)} uncompressed, the margins of the units included",
            f"rate       {plan.rate:.3g} windows/s a worker ({how}), {plan.workers} in all",
            f"time       {progress.duration(plan.seconds)} for the network; reading goes on beside it",
            f"memory     a worker needs {_bytes(plan.memory_per_worker)}{memory}",
            f"disk       {_bytes(plan.disk)} at most{free}",
        ]
    )


def _bytes(count: float) -> str:
    """Write an amount of data.

    >>> _bytes(2.5e6), _bytes(3e9), _bytes(4e13)
    ('2.5 MB', '3.0 GB', '40.0 TB')
    """
    for unit, size in (("TB", 1e12), ("GB", 1e9)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count / 1e6:.1f} MB"


def _orbits(orbits: tuple[int | None, ...]) -> str:
    named = ["?" if orbit is None else str(orbit) for orbit in orbits]
    return ", ".join(named) if len(named) <= 4 else f"{len(named)} orbits"


@app.command
def status(out: str) -> None:
    """Tell what of a map is done, missing and failed, and why.

    Parameters
    ----------
    out
        Folder that `map` writes, or a glaciers.zarr.
    """
    from icemapper_xr import pipeline

    print(_status_text(pipeline.status_of_run(out)))


def _status_text(found: Standing) -> str:
    several = len({year.store for year in found.years}) > 1
    rows = [
        {
            "store": Path(year.store).name if several else None,
            "year": year.year,
            "units": year.units,
            "done": year.done,
            "missing": year.missing,
            "failed": len(year.failed),
        }
        for year in found.years
    ]
    columns = (["store"] if several else []) + ["year", "units", "done", "missing", "failed"]
    lines = [table(rows, columns)]
    for year in found.years:
        lines += [
            f"failed: {year.year}, unit at row {row}, column {column}: {reason}"
            for (row, column), reason in year.failed.items()
        ]
    lines += [
        f"strips between units of {year.year}: {year.strips[0]} files, {year.strips[1] / 1e6:.1f} MB in "
        f".{Path(year.store).name}.work: a run of that year uses them, and removes them in the end"
        for year in found.years
        if year.strips[0]
    ]
    lines += [
        f"{one} is to be replaced (--overwrite), which is not finished: what is told here is of the old one"
        for one in found.replaced
    ]
    if found.elsewhere:
        lines.append(f"the cube is {found.elsewhere}")
    if found.unreadable:
        lines.append(
            f"items that could not be read, and are missing steps where they lie: {', '.join(found.unreadable)} "
            "(--overwrite maps the year anew)"
        )
    if found.writer:
        lines.append(f"being written by {found.writer}")
    elif found.log is not None:
        end = "broke off" if found.ended is None else f"ended: {found.ended}"
        lines.append(f"the last run {end} (log {found.log})")
    lines.append(_advice(found))
    return "\n".join(lines)


def _advice(found: Standing) -> str:
    if found.complete:
        return "complete"
    if found.writer:
        return "under way"
    failed = any(year.failed for year in found.years)
    return "the same map command again goes on" + (" (failed units: with --retry-failed)" if failed else "")

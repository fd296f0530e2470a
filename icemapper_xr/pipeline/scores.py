"""`evaluate --outlines`: a finished map, of one area or of a region, against a user's own outlines."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from icemapper_xr import addresses, progress, store
from icemapper_xr import conventions as cv
from icemapper_xr.errors import OptionError
from icemapper_xr.pipeline import calibrations, records, runs
from icemapper_xr.pipeline.sheets import Sheet
from icemapper_xr.training import cases, places, reference, scorecard, scoring

__all__ = ["scores_of_run"]


def scores_of_run(
    source: str | Path,
    outlines: str | Path,
    *,
    year: int | None = None,
    area: str | Path | None = None,
    calibration: str | Path | None = "auto",
    out: str | Path | None = None,
) -> dict[str, Any]:
    """Score a finished map against outlines of your own, at the threshold that its outlines were drawn at.

    Parameters
    ----------
    source
        Output folder of `map_glaciers` or `map_region`, or a zarr cube; of a region every square metre counts once,
        in the tile that owns it.
    outlines
        Polygons of the glaciers; where they have a column `year`, those of the map's year.
    year
        Year of the map; None takes the only one.
    area
        Polygons of the area in which the outlines are complete; None: the box around them.
    calibration
        'auto' takes the one that ships with the weights of the map, if there is one; a file written by `calibrate`;
        None judges none.
    out
        Folder for the scores.

    Returns
    -------
    dict
        As of `training.scoring.evaluate`; 'scenes' are the tiles, 'regions' the UTM zones, 'outlines_year' is the year
        of the outlines, or None where they do not say, and 'threshold' the probability from which the map says glacier.

    Raises
    ------
    StoreError
        There is no map, it lacks the year, or the year is not finished.
    OptionError
        The map has several years and none is named, or the outlines cannot be read or lie elsewhere.
    """
    run = runs.open_run(source, years=None if year is None else [year], calibration=None)
    if len(run.years) > 1:
        raise OptionError(
            f"{source} has the years {', '.join(map(str, run.years))}: name the one of the outlines with year"
        )
    mapped = run.years[0]
    truth = reference.read(
        addresses.local_path(outlines),
        area=None if area is None else addresses.local_path(area),
        year=mapped,
        crs=run.sheets[0].probability.rio.crs,
    )
    threshold = records.threshold_of(source)
    sheets = [sheet for sheet in run.sheets if mapped in sheet.years]
    found = (
        _compared(sheet, mapped, truth, name=sheet.name or Path(source).name, threshold=threshold)
        for sheet in progress.track(sheets, "compare", len(sheets))
        if sheet.near(truth.area, 0.0).any()
    )
    path = run.sheets[0].path
    model, _ = calibrations.calibration_of(calibration, store.provenance(path))
    attrs = store.open_store(path).attrs
    with places.folders(out):
        report = {
            "weights": str(attrs.get(cv.ATTR_WEIGHTS, "")),
            "digest": str(attrs.get(cv.ATTR_WEIGHTS_DIGEST, "")),
            "source": f"{Path(source).name}, {mapped}, against {Path(outlines).name}",
            "outlines_year": truth.year,
            "threshold": threshold,
            **scoring.evaluate(reference.meeting(found, truth), calibration=model),
        }
        if out is not None:
            scorecard.write(report, addresses.local_path(out))
    return report


def _compared(sheet: Sheet, year: int, truth: reference.Outlines, *, name: str, threshold: float) -> cases.Case:
    with sheet.reading():
        found = reference.compared(
            sheet.probability.sel(year=year),
            _near(truth, sheet),
            within=sheet.cut(None),
            name=name,
            region=None if sheet.zone is None else sheet.zone.name,
        )
    return replace(found, threshold=threshold)


def _near(truth: reference.Outlines, sheet: Sheet) -> reference.Outlines:
    """Leave out what lies far from a tile: a region has many of both."""
    return replace(truth, glaciers=truth.glaciers[sheet.near(truth.glaciers, 0.0)])

"""`areas_of_run`: areas of a finished map by region, group and glacier, year by year, with their errors."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from icemapper_xr.analysis import bootstrap
from icemapper_xr.pipeline import measuring, tables
from icemapper_xr.pipeline.measuring import Measured, Series
from icemapper_xr.pipeline.requests import MeasureSettings

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["AreaReport", "areas_of_run"]

FILE: Final = "areas.csv"
COLUMNS: Final = (
    "kind", "id", "name", "terminus", "year", "filter", "soft_km2", "hard_km2", "observed_km2", "unobserved_km2",
    "margin_km", "clear_soft_km2", "clear_hard_km2", "bias_km2", "adjusted_km2", "lower_km2", "upper_km2",
    "landscape_lower_km2", "landscape_upper_km2",
)  # fmt: skip
_MEASURES: Final = {
    "soft_km2": "soft_area",
    "hard_km2": "hard_area",
    "observed_km2": "observed_area",
    "unobserved_km2": "unobserved_area",
    "margin_km": "margin_km",
    "clear_soft_km2": "clear_soft_area",
    "clear_hard_km2": "clear_hard_area",
}
NOTED: Final = 0.01
"""Share of the region that was not observed from which on it is said (a judgement)."""
_OF_ICE: Final = tuple(column for column in _MEASURES if column not in ("observed_km2", "unobserved_km2"))
"""What is not known where nothing was observed."""


@dataclass(frozen=True, eq=False)
class AreaReport:
    """Areas of a map."""

    table: pd.DataFrame
    """One row a region, group or glacier, year and filter; columns as in docs/statistics.md."""
    out: Path | None
    """The file written."""
    method: tuple[str, ...]
    """How the numbers were made, in words."""
    notes: tuple[str, ...]
    """What a reader has to know."""
    measured: Measured
    """Everything behind the table, draws included."""

    def summary(self) -> str:
        """Text: a line a region or group and year, the filtered map's areas beside; glaciers are counted."""
        shown = self.table[self.table["kind"] != "glacier"]
        plain = shown[shown["filter"] == measuring.UNFILTERED]
        filtered = shown[shown["filter"] == measuring.FILTERED].set_index(["kind", "year"])
        level = f"{self.measured.settings.confidence * 100:g} % from"
        header = ["of", "year", "soft km2", "filtered", "hard km2", "filtered", "bias", "adjusted", level, "to"]
        rows: list[list[Any]] = []
        for row in plain.to_dict("records"):
            here = (row["kind"], row["year"])
            beside = filtered.loc[here] if here in filtered.index else {}
            names = ("bias_km2", "adjusted_km2", "lower_km2", "upper_km2")
            soft, hard = (float(beside.get(name, np.nan)) for name in ("soft_km2", "hard_km2"))
            rows.append([row["id"], row["year"], row["soft_km2"], soft, row["hard_km2"], hard, *map(row.get, names)])
        lines = [tables.text(rows, header)]
        count = self.table.loc[self.table["kind"] == "glacier", "id"].nunique()
        if count:
            lines.append(f"and {count} glaciers in the table")
        lines += [f"- {line}" for line in (*self.method, *self.notes)]
        return "\n".join(lines)


def areas_of_run(source: str | Path, *, out: str | Path | None = None, **options: Any) -> AreaReport:
    """Measure the areas of a finished map and write them as a table.

    Parameters
    ----------
    source
        Output folder of `map_glaciers`, or its zarr cube.
    out
        File to write: .csv, .gpkg or .json; None is ``areas.csv`` in the map's folder.
    **options
        Fields of `icemapper_xr.pipeline.requests.MeasureSettings`: ``years``, ``glaciers``, ``reach``, ``region``,
        ``excluded``, ``reference``, ``reference_area``, ``reference_year``, ``calibration``, ``threshold``,
        ``temporal``, ``max_gap_years``, ``common``, ``block_size``, ``orbit_bias_m``, ``sensor_bias_m``,
        ``year_bias_m``, ``n_draws``, ``landscape_draws``, ``seed``, ``confidence``. An unknown one is refused.

    Returns
    -------
    AreaReport
        The table (km2, one row a region, group or glacier, year and filter), the file, method and notes in words.

    Raises
    ------
    IcemapperError
        The map is not finished, a file cannot be read, or an option is out of range. Nothing is written then.
    """
    settings = MeasureSettings.checked(**options)
    target = tables.target(source, out, FILE)
    measured = measuring.measure_run(source, settings, confidence=settings.confidence)
    measured = replace(measured, notes=(*measured.notes, *_unobserved(measured)))
    table = area_table(measured)
    asked = settings.model_dump_json(exclude_none=True)
    about = {"method": measured.method, "notes": measured.notes, "settings": asked}
    tables.write(table, target, about=about, shapes=measured.shapes)
    return AreaReport(table, target, measured.method, measured.notes, measured)


def area_table(measured: Measured) -> pd.DataFrame:
    """Set all series as rows: one a group, year and filter, km2."""
    import pandas as pd

    rows = [row for series in measured.series for row in _rows(series, measured)]
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    return table if measured.settings.excluded else table.drop(columns=["clear_soft_km2", "clear_hard_km2"])


def _unobserved(measured: Measured) -> Iterator[str]:
    """Say which years lack a part of the region: what is there is in no area."""
    region = next(one for one in measured.series if one.kind == "region" and one.filter == measuring.UNFILTERED)
    seen, unseen = region.areas["observed_area"], region.areas["unobserved_area"]
    share = unseen / np.maximum(seen + unseen, 1e-12)
    lacking = [f"{year} {part:.0%}" for year, part in zip(measured.run.years, share, strict=True) if part > NOTED]
    if lacking:
        yield f"not observed of the region, and in no area: {', '.join(lacking)}"


def _rows(series: Series, measured: Measured) -> Iterator[dict[str, Any]]:
    level = measured.settings.confidence
    tail = [100 * (1 - level) / 2, 100 * (1 + level) / 2]
    seen = series.areas["observed_area"] > 0
    for k, year in enumerate(measured.run.years):
        row: dict[str, Any] = {
            "kind": series.kind,
            "id": series.id,
            "name": series.name,
            "terminus": series.terminus,
            "year": year,
            "filter": series.filter,
        }
        row |= {column: float(series.areas[key][k]) for column, key in _MEASURES.items() if key in series.areas}
        if not seen[k]:  # ice that nobody saw is not no ice
            row |= {column: np.nan for column in _OF_ICE if column in row}
            yield row
            continue
        if series.errors:
            drawn = {name: draws[k] for name, draws in series.errors.items()}
            found = bootstrap.estimate(row["soft_km2"], drawn, confidence=level)
            row |= {"bias_km2": found.bias, "adjusted_km2": found.adjusted}
            if measured.changing_errors or not measured.reference_years or year in measured.reference_years:
                row |= dict(zip(("lower_km2", "upper_km2"), found.interval, strict=True))
        if series.landscape is not None:
            low, high = np.percentile(series.landscape[k], tail)
            row |= {"landscape_lower_km2": float(low), "landscape_upper_km2": float(high)}
        yield row

"""`rates_of_run`: rates of change of a finished map, each with the interval that is meant."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from icemapper_xr import store
from icemapper_xr.analysis import glaciers, rates
from icemapper_xr.analysis.series import Acquisition, Merged, one_series
from icemapper_xr.errors import AnalysisError, OptionError, StoreError
from icemapper_xr.pipeline import divided, inside, measuring, runs, sheets, tables
from icemapper_xr.pipeline.measuring import Measured, Series
from icemapper_xr.pipeline.requests import MeasureSettings
from icemapper_xr.pipeline.runs import Run

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["RateReport", "rates_of_run"]

Array = npt.NDArray[np.float64]
Years: TypeAlias = tuple[int, ...] | None
"""Years of a map to be taken; None: all."""

FILE: Final = "rates.csv"
ALIKE: Final = 0.01
"""Share of an area within which what is observed of it counts as the same (a judgement)."""
COLUMNS: Final = (
    "kind", "id", "name", "terminus", "filter", "first_year", "last_year", "n_years", "observed_km2", "left_out_km2",
    "mean_km2", "rate", "lower", "upper", "p_value", "p_adjusted", "changing", "relative_rate", "theil_sen",
    "theil_sen_lower", "theil_sen_upper", "adjusted_rate", "independent_lower", "independent_upper", "paired_lower",
    "paired_upper", "landscape_independent_lower", "landscape_independent_upper", "landscape_paired_lower",
    "landscape_paired_upper", "lack_of_fit",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class RateReport:
    """Rates of a map."""

    table: pd.DataFrame
    """One row a region, group or glacier and filter; km2 a-1; columns as in docs/statistics.md."""
    out: Path | None
    """The file written."""
    method: tuple[str, ...]
    """How the numbers were made, in words."""
    notes: tuple[str, ...]
    """What a reader has to know: gaps, offsets, changes of platform."""
    measured: tuple[Measured, ...]
    """Everything behind the table, one a map."""

    def summary(self) -> str:
        """Text: a line a region, group and filter, every interval beside the others."""
        shown = self.table[self.table["kind"] != "glacier"]
        header = ("of", "filter", "km2/a", "Student", "Theil-Sen", "independent", "paired", "landscape, independent")
        rows = [
            [
                row["id"],
                row["filter"],
                float(row["rate"]),
                *(_interval(row, name) for name in ("", "theil_sen_", "independent_", "paired_")),
                _interval(row, "landscape_independent_"),
            ]
            for _, row in shown.iterrows()
        ]
        lines = [tables.text(rows, header)]
        members = self.table[(self.table["kind"] == "glacier") & (self.table["filter"] == measuring.UNFILTERED)]
        if len(members):
            changing = int(members["changing"].sum())
            lines.append(f"{len(members)} glaciers in the table, {changing} of them changing (unfiltered)")
        lines += [f"- {line}" for line in (*self.method, *self.notes)]
        return "\n".join(lines)


def _interval(row: pd.Series, prefix: str) -> str:
    low, high = float(row[f"{prefix}lower"]), float(row[f"{prefix}upper"])
    return "-" if np.isnan(low) else f"{low:.3f} .. {high:.3f}"


def rates_of_run(
    source: str | Path,
    *,
    out: str | Path | None = None,
    others: Sequence[str | Path] = (),
    level: float = 0.05,
    **options: Any,
) -> RateReport:
    """Fit rates of change to a finished map and write them as a table.

    Parameters
    ----------
    source
        Output folder of `map_glaciers` with two or more years.
    out
        File to write: .csv, .gpkg or .json; None is ``rates.csv`` in the map's folder.
    others
        Maps of the same place from another orbit, polarisation or sensor. Years that two maps share give the offset
        between them; without such a year the rate is refused.
    level
        Share of false discoveries accepted among the glaciers called changing, between 0 and 1.
    **options
        As in `areas_of_run`. `common` is True by default here: only cells observed in all years count, so that a gap
        of one year does not look like a loss.

    Returns
    -------
    RateReport
        The table (km2 a-1, one row a region, group or glacier and filter), the file, method and notes in words.

    Raises
    ------
    AnalysisError
        A single year, or a change of orbit, polarisation or sensor without overlapping years.
    IcemapperError
        As in `areas_of_run`. Nothing is written then.
    """
    target = tables.target(source, out, FILE)
    report = fit_rates(source, others=others, level=level, **options)
    asked = report.measured[0].settings.model_dump_json(exclude_none=True)
    about = {"method": report.method, "notes": report.notes, "settings": asked}
    tables.write(report.table, target, about=about, shapes=report.measured[0].shapes)
    return replace(report, out=target)


def fit_rates(
    source: str | Path, *, others: Sequence[str | Path] = (), level: float = 0.05, **options: Any
) -> RateReport:
    """Do what `rates_of_run` does, without writing a file."""
    settings = MeasureSettings.checked(**{"common": True, **options})
    if not 0 < level < 1:
        raise OptionError(f"level={level} lies outside 0..1; 0.05 is the default")
    sources = (source, *others)
    years: list[Years] = [settings.years] * len(sources)
    if others and settings.years is not None:
        years = _by_map(sources, settings.years)
    opened = _refuse(sources, years)
    if others and settings.glaciers is None:  # an id may be other ice in the glaciers of another folder
        found = next((path for run in opened if (path := run.folder / runs.GLACIERS).is_file()), None)
        if found is not None:
            divided.refuse_stale(found)
        settings = settings.model_copy(update={"glaciers": found})
    each = zip(sources, years, strict=True)
    maps = tuple(measuring.measure_run(path, settings.model_copy(update={"years": own})) for path, own in each)
    table, notes = rate_table(maps, level=level)
    of_others = [f"{one.run.folder}: {line}" for one in maps[1:] for line in one.method if line not in maps[0].method]
    method = (*_method(settings, level, len(maps)), *maps[0].method, *of_others)
    return RateReport(table, None, method, notes, maps)


def _by_map(sources: Sequence[str | Path], asked: Sequence[int]) -> list[Years]:
    """Give each of several maps those of the years that it has; one that no map has is refused."""
    there = [set(sheets.years_in(path)) for path in sources]
    if missing := set(asked) - set().union(*there):
        raise StoreError(
            f"none of {', '.join(map(str, sources))} has the year {min(missing)}; map it first, or leave it out"
        )
    for path, years in zip(sources, there, strict=True):
        if not years & set(asked):
            raise StoreError(
                f"{path} has the years {', '.join(map(str, sorted(years)))}, none of those asked for; leave the map "
                "out, or name one of them"
            )
    return [tuple(sorted(years & set(asked))) for years in there]


def _refuse(sources: Sequence[str | Path], years: Sequence[Years]) -> list[Run]:
    """Refuse what can have no rate, before anything is computed; returns the maps."""
    each = zip(sources, years, strict=True)
    opened = [runs.open_run(path, years=own, calibration=None) for path, own in each]
    every = [year for run in opened for year in run.years]
    if len(set(every)) < 2:
        raise AnalysisError(f"a rate needs at least two years; the map has {every[0]} alone: map more years")
    for run in opened:
        for sheet in run.sheets if len(run.sheets) > 1 else ():
            try:
                one_series(run.years, np.zeros(len(run.years)), sheet.acquisitions)
            except AnalysisError as error:
                raise AnalysisError(f"tile {sheet.name}: {error}") from error
    one_series(every, np.zeros(len(every)), [kind for kinds in _acquisitions(opened) for kind in kinds])
    return opened


def _acquisitions(opened: Sequence[Run]) -> list[tuple[Acquisition, ...]]:
    """Return what each map was acquired with, and where maps were made with other weights or settings, with which."""
    made = store.apart([run.made for run in opened])
    return [tuple(k._replace(made=how) for k in run.acquisitions) for run, how in zip(opened, made, strict=True)]


def rate_table(maps: Sequence[Measured], *, level: float = 0.05) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Fit every series of one or more maps; returns the rows and what has to be said of them."""
    import pandas as pd

    joined = _joined(maps)
    rows, notes = [], [note for one in maps for note in one.notes]
    unlike: list[str] = []
    for (kind, identity, name), parts in joined.items():
        seen = [part.seen() for part in parts if part.some]
        if wrong := _unlike(seen):
            if kind == "region":
                raise AnalysisError(
                    f"the maps see {wrong} km2 of the region: ice that one of them never saw would be a change of its "
                    "own; name polygons that all of them see with region (--region)"
                )
            unlike.append(identity)
            seen = []
        row, told = _row(parts, seen, confidence=maps[0].settings.confidence)
        rows.append(row)
        if kind == "region":  # gaps and offsets are those of all groups
            # The filter keeps the ends of each map, so that filtered years in common give another offset.
            notes += [note if name == measuring.UNFILTERED or note in notes else f"filtered: {note}" for note in told]
    if unlike := list(dict.fromkeys(unlike)):
        notes.append(
            f"{len(unlike)} groups and glaciers are not seen alike by the maps and have no rate "
            f"({inside.named(unlike)})"
        )
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    notes += (*_left_out(table), *_in_part(joined, unlike))
    table["changing"] = False
    for _, members in table[table["kind"] == "glacier"].groupby("filter"):
        adjusted = glaciers.benjamini_hochberg(members["p_value"].to_numpy(dtype=np.float64))
        table.loc[members.index, "p_adjusted"] = adjusted
        table.loc[members.index, "changing"] = adjusted <= level
    return table, tuple(dict.fromkeys(notes))


@dataclass(frozen=True, eq=False)
class _Part:
    """One series of one map."""

    series: Series
    years: tuple[int, ...]
    acquisitions: tuple[Acquisition, ...]
    changing_errors: bool

    @property
    def some(self) -> bool:
        """Whether anything of it was ever observed."""
        return bool((self.series.areas["observed_area"] > 0).any())

    def seen(self) -> _Part:
        """Return the years in which anything of it was observed."""
        rows = np.flatnonzero(self.series.areas["observed_area"] > 0)
        one = self.series
        series = replace(
            one,
            areas={name: values[rows] for name, values in one.areas.items()},
            errors={name: draws[rows] for name, draws in one.errors.items()},
            landscape=None if one.landscape is None else one.landscape[rows],
        )
        kept = tuple(np.take(self.years, rows).tolist())
        return replace(self, series=series, years=kept, acquisitions=tuple(self.acquisitions[k] for k in rows))


def _unlike(parts: Sequence[_Part]) -> str:
    """Say what maps observe of one group, km2, if that is not the same; empty if it is."""
    seen = [float(part.series.areas["observed_area"].max()) for part in parts]
    return " and ".join(f"{area:.4g}" for area in seen) if seen and min(seen) < (1 - ALIKE) * max(seen) else ""


def _left_out(table: pd.DataFrame) -> Iterator[str]:
    """Say what was seen in some years only, and is in no rate."""
    plain = table[table["filter"] == measuring.UNFILTERED].set_index("id")
    share = plain["left_out_km2"] / (plain["left_out_km2"] + plain["observed_km2"])
    large = share[share > ALIKE].sort_values(ascending=False, kind="stable")
    if len(large):
        told = [f"{name} {part:.0%}" for name, part in large.items()]
        yield (
            f"seen in some years only, and so in no rate: {inside.named(told)} of what was seen at all; a year that "
            "saw little can be left out with years"
        )


def _in_part(joined: Mapping[tuple[str, str, str], Sequence[_Part]], unlike: Sequence[str]) -> Iterator[str]:
    """Say of what some year saw a part only, which is in a rate all the same."""
    lacking = {}
    for (_, name, _), parts in joined.items():
        seen = np.concatenate(
            [part.seen().series.areas["observed_area"] for part in parts if part.some] or [np.ones(1)]
        )
        if name not in unlike and seen.min() < (1 - ALIKE) * seen.max():
            lacking[name] = 1 - seen.min() / seen.max()
    if lacking:
        told = [f"{name} {part:.0%}" for name, part in sorted(lacking.items(), key=lambda one: -one[1])]
        yield (
            "not seen in some year, whose ice there is missing from the rate: "
            f"{inside.named(told)} of what other years saw; count only cells seen in all years (no --every-cell), "
            "or leave that year out with years"
        )


def _joined(maps: Sequence[Measured]) -> dict[tuple[str, str, str], list[_Part]]:
    """Series of all maps by kind, id and filter, in the order of the first map."""
    found: dict[tuple[str, str, str], list[_Part]] = {}
    filtered = any(series.filter == measuring.FILTERED for one in maps for series in one.series)
    for one, kinds in zip(maps, _acquisitions([one.run for one in maps]), strict=True):
        every = one.series
        if filtered and all(series.filter == measuring.UNFILTERED for series in every):
            # One or two years, which are first or last, and which the filter keeps.
            every = tuple(replace(s, filter=name) for s in every for name in (s.filter, measuring.FILTERED))
        for series in every:
            key = (series.kind, series.id, series.filter)
            found.setdefault(key, []).append(_Part(series, one.run.years, kinds, one.changing_errors))
    return found


def _row(
    every: Sequence[_Part], parts: Sequence[_Part], *, confidence: float
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Fit the series of a group in all maps (`every`) to the years in which it was observed (`parts`)."""
    first = every[0].series
    row: dict[str, Any] = {name: getattr(first, name) for name in ("kind", "id", "name", "terminus", "filter")}
    for name, key in (("observed_km2", "observed_area"), ("left_out_km2", "left_out_area")):
        if all(key in part.series.areas for part in every):
            row[name] = max(float(part.series.areas[key].max()) for part in every)
    years = np.array([year for part in parts for year in part.years])
    kinds = [kind for part in parts for kind in part.acquisitions]
    soft = np.concatenate([np.empty(0), *(part.series.areas["soft_area"] for part in parts)])
    joined = _one_series(years, soft, kinds)
    if joined is None or joined.years.size < 2:
        return {**dict.fromkeys(COLUMNS, np.nan), **row, "n_years": int(np.unique(years).size)}, (
            f"{first.id}: observed in {np.unique(years).size} comparable years, which gives no rate",
        )
    row |= {
        "first_year": int(years.min()),
        "last_year": int(years.max()),
        "n_years": int(np.unique(years).size),
        "mean_km2": float(joined.areas.mean()),
    }
    plain = rates.trend(years, soft, acquisitions=kinds, confidence=confidence)
    row |= {"rate": plain.rate, "p_value": plain.p_value, "lack_of_fit": plain.lack_of_fit}
    row |= _ends("", plain.student)
    row |= {"theil_sen": plain.theil_sen, **_ends("theil_sen_", plain.theil_sen_interval)}
    row["relative_rate"] = plain.rate / row["mean_km2"] if row["mean_km2"] > 0 else np.nan
    if first.errors:
        errors = np.concatenate([np.sum(list(part.series.errors.values()), axis=0) for part in parts])
        adjusted = rates.trend(years, soft - errors.mean(axis=1), draws=soft[:, None] - errors, acquisitions=kinds)
        row["adjusted_rate"] = adjusted.rate
        paired = adjusted.paired if all(part.changing_errors for part in parts) else None
        row |= _ends("independent_", adjusted.independent) | _ends("paired_", paired)
    if all(part.series.landscape is not None for part in parts):
        draws = np.concatenate([part.series.landscape for part in parts])
        published = rates.trend(years, soft, draws=draws, acquisitions=kinds)
        row |= _ends("landscape_independent_", published.independent)
        row |= _ends("landscape_paired_", published.paired)
    return row, plain.notes


def _one_series(years: Array, areas: Array, kinds: Sequence[Acquisition]) -> Merged | None:
    """Join the acquisitions of a group; None where they lack the years in common that those of the region have."""
    if not years.size:
        return None
    try:
        return one_series(years, areas, kinds)
    except AnalysisError:
        return None


def _ends(prefix: str, interval: rates.Interval | None) -> dict[str, float]:
    low, high = (np.nan, np.nan) if interval is None else interval
    return {f"{prefix}lower": float(low), f"{prefix}upper": float(high)}


def _method(settings: MeasureSettings, level: float, n_maps: int) -> Iterator[str]:
    held = f"{settings.confidence * 100:g} %"
    yield (
        "rate, km2 a-1 as all but relative_rate (a-1): ordinary least squares over the annual soft areas; Student: "
        f"{held} by its scatter about the line, n - 2 degrees"
    )
    yield f"Theil-Sen: median slope of all pairs of years (Sen 1968), with its own interval of {held}"
    yield (
        "independent and paired: 1.96 standard deviations of the slope of the areas less errors, the years' errors "
        "drawn apart and together; for a filtered rate they are the filtered map's: the filter is inside every draw"
    )
    yield "landscape: the same of the published block bootstrap; the published +-74.57 km2/a is its independent kind"
    yield "a filtered rate has years that hang together: read it beside the unfiltered one"
    yield f"glaciers: p adjusted for their number (Benjamini and Hochberg 1995), changing at {level:g}"
    if n_maps > 1:
        yield f"{n_maps} maps joined by the years they share"

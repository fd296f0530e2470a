"""Choose one relative orbit, one polarisation and the pass of every step.

The steps are 24 days long, two cycles of a satellite. The pass nearest to the centre of a step would change between
the two cycles from step to step (both are 6 days away where they straddle it), so the series is locked to every
second cycle: of all phases the one that fills the most steps, with the smallest offsets.
"""

from __future__ import annotations

import collections
import datetime as dt
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from icemapper_xr import conventions, hours
from icemapper_xr._types import Observation, is_whole
from icemapper_xr.cube.extent import is_south
from icemapper_xr.cube.grid import AreaGrid
from icemapper_xr.cube.passes import Pass, began, passes, timed
from icemapper_xr.cube.timeaxis import Steps, midnight, steps
from icemapper_xr.errors import CubeError, OptionError

__all__ = ["Pass", "Selection", "Steps", "choose", "passes", "steps"]

MIN_MELT_STEPS = 2
_MELT_MONTHS = {False: (6, 7, 8, 9), True: (12, 1, 2, 3)}
"""In the north, and in the south."""
_MELT_SEASON = {False: "June to September", True: "December to March"}
_DAY = dt.timedelta(days=1)
_N = conventions.N_STEPS
_STEP = conventions.STEP_DAYS


@dataclass(frozen=True)
class Selection:
    """What goes into a cube."""

    orbit: int | None
    orbit_state: str | None
    polarisation: str | None
    steps: Steps
    passes: Mapping[conventions.Feature, tuple[Pass | None, ...]]
    """Per feature the pass of every step, None where there is none."""
    south: bool
    """Whether the area lies south of the equator."""

    @property
    def series(self) -> Candidate:
        """What all its passes have in common."""
        return Candidate(self.orbit, self.orbit_state, self.polarisation)

    @property
    def valid(self) -> tuple[bool, ...]:
        """Steps in which every feature has a pass."""
        return tuple(all(chosen is not None for chosen in step) for step in zip(*self.passes.values(), strict=True))


def choose(
    found: Mapping[conventions.Feature, Sequence[Observation]],
    area: AreaGrid,
    axis: Steps,
    *,
    orbit: int | None = None,
    polarisation: str | None = None,
    baseline: int | None = conventions.CYCLE_DAYS,
    min_steps: int = conventions.MIN_STEPS,
) -> Selection:
    """Choose orbit, polarisation and passes.

    Parameters
    ----------
    found
        Usable observations per feature, backscatter before coherence.
    area, axis
        Where and when.
    orbit, polarisation
        None takes the one that fills the most steps over the largest share of the area.
    baseline
        Days between the dates of a coherence pair; None takes what there is and refuses a mixture.
    min_steps
        Leave to go on with fewer valid steps than the default.

    Raises
    ------
    OptionError
        An option is out of range.
    CubeError
        Nothing fits, too few steps are valid, dates named do not match, or the coherence pairs chosen have different
        numbers of looks.
    """
    polarisation = polarisation.upper() if isinstance(polarisation, str) else polarisation  # as a search takes it
    _check_options(orbit, polarisation, min_steps)
    pairs = found.get("insar", ())
    if "insar" in found:
        found = {**found, "insar": _one_baseline(pairs, baseline)}
    found = _told_pass(found)
    grouped = {feature: passes(observations, area) for feature, observations in found.items()}
    leading = next(iter(grouped))
    candidates = _candidates(grouped[leading], leading, orbit, polarisation)
    south = is_south(area)
    selections = [_select(grouped, axis, candidate, south=south) for candidate in candidates]
    best = max(selections, key=_score)
    _check_hours(best, grouped)
    _check_looks(best)
    if axis.named:
        _check_dates(best, grouped)
    left_out = _pairs_left_out(best, pairs, baseline)
    _check_steps(best, selections, min_steps, left_out)
    _warn_of_unknown_pairs(best, baseline, left_out)
    _warn_of_frames_alike(best)
    return best


def _check_options(orbit: int | None, polarisation: str | None, min_steps: int) -> None:
    if orbit is not None and not (is_whole(orbit) and 1 <= orbit <= 175):
        raise OptionError(f"orbit {orbit!r} is not a relative orbit of Sentinel-1; they run from 1 to 175")
    if polarisation is not None and polarisation not in ("VV", "HH"):
        raise OptionError(f"polarisation {polarisation!r} is not co-polarised; use VV or HH")
    if not (is_whole(min_steps) and 1 <= min_steps <= _N):
        raise OptionError(f"min_steps {min_steps!r} is out of range; give 1 to {_N}")


def _one_baseline(pairs: Sequence[Observation], baseline: int | None) -> tuple[Observation, ...]:
    """Keep the pairs of one baseline; a pair whose dates are unknown cannot be told to be of another."""
    if baseline is not None and not (is_whole(baseline) and baseline > 0):
        raise OptionError(f"baseline {baseline!r} is not a number of days above 0")
    known = sorted({pair.baseline_days for pair in pairs if pair.baseline_days is not None})
    listed = ", ".join(str(days) for days in known)
    if baseline is None:
        if len(known) > 1:
            raise CubeError(f"the coherence pairs mix baselines of {listed} days; name one with baseline=")
        return tuple(pairs)
    kept = tuple(pair for pair in pairs if pair.baseline_days in (baseline, None))
    if not kept:
        raise CubeError(
            f"no coherence pair is {baseline} days apart (item {pairs[0].item_id} and others: {listed} days); "
            f"name one of these with baseline="
        )
    return kept


def _check_looks(best: Selection) -> None:
    """Refuse a mixture: the fewer the looks, the higher the coherence of what has none."""
    first: dict[float, str] = {}
    for pair in (frame for one in best.passes.get("insar", ()) if one is not None for frame in one.frames):
        if pair.looks is not None:
            first.setdefault(pair.looks, pair.item_id)
    if len(first) > 1:
        listed = " and ".join(f"{looks:g} (item {item})" for looks, item in sorted(first.items()))
        raise CubeError(f"the coherence pairs mix numbers of looks, {listed}; leave those of all but one number out")


def _told_pass(
    found: Mapping[conventions.Feature, Sequence[Observation]],
) -> dict[conventions.Feature, tuple[Observation, ...]]:
    """Give observations of a relative orbit that do not tell their pass that of the others, if these agree."""
    states: dict[int | None, set[str]] = collections.defaultdict(set)
    for one in (one for observations in found.values() for one in observations):
        if one.relative_orbit is not None and one.orbit_state is not None:
            states[one.relative_orbit].add(one.orbit_state)
    only = {orbit: next(iter(known)) for orbit, known in states.items() if len(known) == 1}
    return {
        feature: tuple(
            one if one.orbit_state else replace(one, orbit_state=only.get(one.relative_orbit)) for one in observations
        )
        for feature, observations in found.items()
    }


class Candidate(NamedTuple):
    """What all passes of a series have in common; None where their names do not tell."""

    orbit: int | None
    state: str | None
    polarisation: str | None

    @classmethod
    def of(cls, one: Pass) -> Candidate:
        """Return that of a pass."""
        return cls(one.first.relative_orbit, one.first.orbit_state, one.first.polarisation)

    def __str__(self) -> str:
        """Return how a message names it; the pass only where the orbit is unknown."""
        words = (_or_unknown(self.orbit), self.state if self.orbit is None else None, self.polarisation)
        return " ".join(word for word in words if word)


def _candidates(leading: Sequence[Pass], feature: str, orbit: int | None, polarisation: str | None) -> list[Candidate]:
    """Series that occur and that the user did not exclude."""
    there = {Candidate.of(one) for one in leading}
    if not there:
        raise CubeError(f"no pass of {feature} meets the area; check the area and the catalogue")
    kept = [one for one in there if orbit in (None, one.orbit) and polarisation in (None, one.polarisation)]
    if not kept:
        wanted = " ".join(
            text for text in (orbit and f"orbit={orbit}", polarisation and f"polarisation={polarisation}") if text
        )
        listed = "; ".join(f"orbit {one}" for one in _ordered(there))
        raise CubeError(f"no pass of {feature} has {wanted}; there are: {listed}")
    return _ordered(kept)


def _ordered(candidates: Iterable[Candidate]) -> list[Candidate]:
    return sorted(candidates, key=lambda one: (one.orbit or 0, one.state or "", one.polarisation or ""))


def _or_unknown(value: int | None) -> str:
    return "unknown" if value is None else str(value)


def _select(
    grouped: Mapping[conventions.Feature, Sequence[Pass]], axis: Steps, candidate: Candidate, *, south: bool
) -> Selection:
    chosen: dict[conventions.Feature, tuple[Pass | None, ...]] = {}
    locked: list[int] | None = None
    for feature, every in grouped.items():
        own = _of_series(every, feature, candidate)
        if axis.named:
            chosen[feature] = _by_date(own, axis, feature)
        elif feature == "insar":
            chosen[feature] = _nearest(own, _middles(own), [_STEP * (k + 0.5) for k in range(_N)], axis, _STEP / 2)
        else:
            locked = _locked(own, axis) if locked is None else locked
            chosen[feature] = _nearest(own, _whole_days, locked, axis, conventions.STEP_TOLERANCE_DAYS)
    return Selection(candidate.orbit, candidate.state, candidate.polarisation, axis, chosen, south)


def _of_series(every: Sequence[Pass], feature: conventions.Feature, candidate: Candidate) -> list[Pass]:
    orbit, state, polarisation = candidate
    if feature != "insar":
        return [one for one in every if Candidate.of(one) == candidate]
    # Names of coherence products need not tell orbit and polarisation: unknown ones are taken if no others are there.
    same = [
        one
        for one in every
        if (polarisation is None or one.first.polarisation in (polarisation, None))
        and (state is None or one.first.orbit_state in (state, None))
    ]
    known = [one for one in same if one.first.relative_orbit == orbit]
    return known or [one for one in same if one.first.relative_orbit is None]


Days = Callable[[Pass, dt.date], float]


def _whole_days(one: Pass, start: dt.date) -> float:
    return (one.day - start).days


def _middles(own: Sequence[Pass]) -> Days:
    """Days to the middle of a pair: to a tenth those to the first pair, then whole ones, which is how an orbit repeats.

    Else the seconds by which it does so less exactly would decide anew, from step to step, which of two pairs 6 days
    away is the nearer one.
    """

    def days(one: Pass, start: dt.date) -> float:
        first = own[0].acquired
        since = first.astimezone(dt.UTC).replace(tzinfo=None) - midnight(start)
        return round(since / _DAY, 1) + round((one.acquired - first) / _DAY)

    return days


def _locked(own: Sequence[Pass], axis: Steps) -> list[int]:
    """Dates, in days since the start, 24 days apart: of the 24 phases the one that fills the most steps.

    Then, of two satellites in turn, the one of the first (S1A), if that fills enough of them: else one year would be of
    the one and the next of the other, and a rate is refused where the sensor changes.

    Then the one with the smallest offsets: that of a cycle, if one cycle alone fills as many steps. Where it does not,
    a phase between two cycles does, and the other cycle fills the gaps of the fuller one. The share that passes cover
    comes last: it differs a little from pass to pass, and would make the series jump between the cycles. Only a pass
    that covers less than half of what the best one does fills no step here, though `_nearest` takes it all the same
    where no fuller one is as near.
    """

    def score(phase: int) -> tuple[float, ...]:
        dates = [_STEP * k + phase for k in range(_N)]
        row = _nearest(own, _whole_days, dates, axis, conventions.STEP_TOLERANCE_DAYS)
        taken = [(one, date) for one, date in zip(row, dates, strict=True) if one is not None]
        offsets = [_whole_days(one, axis.start) - date for one, date in taken if one.share >= enough]
        of_one_cycle = max(collections.Counter(offsets).values(), default=0)
        share = round(sum(one.share for one, _ in taken), 2)
        of_first = sum(one.first.platform == first for one, _ in taken if one.share >= enough)
        precedence = of_first if of_first >= conventions.MIN_STEPS else 0
        return len(offsets), precedence, -sum(map(abs, offsets)), of_one_cycle, share, -abs(phase - _STEP / 2)

    enough = _enough(own)
    first = min((one.first.platform for one in own if one.first.platform), default=None)

    best = max(range(_STEP), key=score)
    return [_STEP * k + best for k in range(_N)]


def _nearest(
    own: Sequence[Pass], days: Days, dates: Sequence[float], axis: Steps, tolerance: float
) -> tuple[Pass | None, ...]:
    """For every date the nearest pass within the tolerance; of two as near the earlier, unless it covers too little.

    Always the earlier, so that a series between two cycles keeps to one of them. A pass belongs to the date nearest to
    it, and to no other, so that it fills one step; half-way between two dates it belongs to the later one.
    """
    enough = _enough(own)
    near: dict[float, list[tuple[float, Pass]]] = {date: [] for date in dates}
    for one in own:
        day = days(one, axis.start)
        date = min(dates, key=lambda date: (abs(day - date), -date))
        if abs(day - date) <= tolerance:
            near[date].append((day - date, one))

    def rank(pair: tuple[float, Pass]) -> tuple[float, ...]:
        offset, one = pair
        return abs(offset), one.share < enough, offset, -one.share

    return tuple(min(near[date], key=rank)[1] if near[date] else None for date in dates)


def _enough(own: Sequence[Pass]) -> float:
    """Share of the area from which on a pass is no mere sliver: half of what the best pass covers."""
    return max((one.share for one in own), default=0.0) / 2


def _by_date(own: Sequence[Pass], axis: Steps, feature: conventions.Feature) -> tuple[Pass | None, ...]:
    """Take the passes of the dates named; for coherence the pairs whose middles are nearest, within 12 days."""
    if feature == "insar":
        dates = [float((centre.date() - axis.start).days) for centre in axis.centres]
        return _nearest(own, _middles(own), dates, axis, conventions.CYCLE_DAYS)
    days = [[one for one in own if one.day == centre.date()] for centre in axis.centres]
    return tuple(max(same, key=lambda one: one.share) if same else None for same in days)


def _score(selection: Selection) -> tuple[float, float, int]:
    rows = zip(*selection.passes.values(), strict=True)
    shares = [min((0.0 if one is None else one.share) for one in row) for row in rows]
    # Steps filled over the area's share; then total share of every feature; then the lower number, to be repeatable.
    total = sum(one.share for row in selection.passes.values() for one in row if one is not None)
    return round(sum(shares), 2), round(total, 2), -(selection.orbit or 0)


def _check_hours(selection: Selection, grouped: Mapping[conventions.Feature, Sequence[Pass]]) -> None:
    """Refuse passes of unknown orbit whose times of day, or dates, tell that they are not all of the same."""
    own = [one for feature in grouped for one in _of_series(grouped[feature], feature, selection.series)]
    unknown = next((one.first.item_id for one in own if one.first.relative_orbit is None), None)
    if unknown is None:
        return
    # Where backscatter has a number, coherence of unknown orbit is warned about.
    told = _two_hours(own) or (_two_days(own) if selection.orbit is None else None)
    if told is not None:
        raise CubeError(
            f"the relative orbit of item {unknown} is unknown, and the {told}, which may not be mixed: give each orbit "
            "a folder of its own and its number with `icemapper catalog build --relative-orbit`, or lay the product's "
            "README beside its rasters and build anew"
        )


def _two_hours(own: Sequence[Pass]) -> str | None:
    """Tell of times of day that are not of one orbit."""
    # Of each pass the first frame that tells: `passes` has made sure that the others follow it within minutes, as many
    # as the area is long, which is not to be taken for another orbit.
    told = [next((frame for frame in one.frames if timed(frame)), None) for one in own]
    moments = [(began(frame), frame) for frame in told if frame is not None]
    if not moments:
        return None
    first = moments[0][0]
    shifts = [(hours.shift(moment, first), moment, frame) for moment, frame in moments]
    early, late = (pick(shifts, key=lambda shift: shift[0]) for pick in (min, max))
    if late[0] - early[0] <= hours.SAME_ORBIT:
        return None
    named = " and ".join(f"{frame.item_id} at {moment:%H:%M}" for _, moment, frame in (early, late))
    return f"times of day say that there is more than one ({named} UTC)"


def _two_days(own: Sequence[Pass]) -> str | None:
    """Tell of dates that are not of one orbit, where not every name tells the time of day.

    A satellite comes back to the day after 12 days, two of them in turn after 6. Refused is also what cannot be told
    from two orbits by dates: an orbit that passes within seconds of midnight, and satellites that follow each other
    after other days, as S1A and S1C do since the latter moved in 2026.
    """
    firsts = [next(filter(timed, one.frames), one.first) for one in own]
    if all(timed(frame) for frame in firsts):
        return None
    days = [(began(frame).date(), frame) for frame in firsts if _tells_day(frame)]
    satellites = {frame.platform for _, frame in days if frame.platform and "/" not in frame.platform}
    of_one = [[day for day in days if day[1].platform == satellite] for satellite in sorted(satellites)]
    for group, apart in [(days, conventions.CYCLE_DAYS // 2), *((group, conventions.CYCLE_DAYS) for group in of_one)]:
        other = next((day for day in group if (day[0] - group[0][0]).days % apart), None)
        if other is not None:
            named = " and ".join(f"{frame.item_id} on {day}" for day, frame in (group[0], other))
            return f"dates say that there is more than one ({named}, no multiple of {apart} days apart)"
    return None


def _tells_day(frame: Observation) -> bool:
    """Whether a pass was on this day, and no other of its orbit can have been on the next day of the calendar."""
    if frame.feature == "insar" and frame.reference is None:
        return False  # the one date of a pair may be its middle
    midnight_shift = hours.shift(began(frame), began(frame).replace(hour=0, minute=0, second=0, microsecond=0))
    return not timed(frame) or abs(midnight_shift) > hours.SAME_ORBIT


def _check_dates(selection: Selection, grouped: Mapping[conventions.Feature, Sequence[Pass]]) -> None:
    """Every date named must be that of exactly one pass of the orbit; without a coherence pair it is a missing step."""
    for feature, row in selection.passes.items():
        if feature == "insar":
            continue
        own = _of_series(grouped[feature], feature, selection.series)
        there = sorted({one.day for one in own})
        listed = ", ".join(day.isoformat() for day in there) or "none"
        for centre, one in zip(selection.steps.centres, row, strict=True):
            day = centre.date()
            matching = [other for other in own if other.day == day]
            if len(matching) == 1 and one is not None:
                continue
            found = "no pass" if not matching else f"{len(matching)} passes"
            others = {
                f"orbit {Candidate.of(other)}" for other in grouped[feature] if other.day == day and other not in own
            }
            elsewhere = f" (it is of {' and '.join(sorted(others))}, which may not be mixed)" if others else ""
            raise CubeError(
                f"times: {day} has {found} of {feature} on orbit {selection.series}{elsewhere}; there are: {listed}"
            )


def _pairs_left_out(best: Selection, pairs: Iterable[Observation], baseline: int | None) -> list[Observation]:
    """Return the coherence pairs that are there and not of the series, if a step lacks one."""
    row = best.passes.get("insar", ())
    orbits = {best.orbit, *(one.first.relative_orbit for one in row if one is not None)}
    if None not in row:
        return []
    return [one for one in pairs if one.relative_orbit not in orbits or not _suits(one, best, baseline)]


def _suits(pair: Observation, best: Selection, baseline: int | None) -> bool:
    """Whether a pair may be of the series, its orbit apart; what is unknown suits."""
    told = (pair.baseline_days, pair.orbit_state, pair.polarisation)
    wanted = (baseline, best.orbit_state, best.polarisation)
    return all(None in both or both[0] == both[1] for both in zip(told, wanted, strict=True))


def _check_steps(
    best: Selection, selections: Sequence[Selection], min_steps: int, left_out: Sequence[Observation]
) -> None:
    count = sum(best.valid)
    label = _label(best)
    if count < min_steps or count == 0:
        kinds = collections.Counter(
            f"orbit {Candidate(one.relative_orbit, one.orbit_state, one.polarisation)}, "
            f"{_or_unknown(one.baseline_days)} days apart"
            for one in left_out
        )
        aside = " and ".join(f"{number} of {kind}" for kind, number in sorted(kinds.items()))
        raise CubeError(
            f"{count} of {_N} steps are valid on {label}, {min_steps} are wanted (min_steps); missing: "
            f"{missing_text(best)}{f' (coherence pairs left out: {aside})' if aside else ''}; "
            f"{_remedies(best, selections, count)}"
        )
    if count < conventions.MIN_STEPS:
        warnings.warn(
            f"only {count} of {_N} steps are valid on {label}; missing: {missing_text(best)}",
            UserWarning,
            stacklevel=4,
        )
    if melt_steps(best) < MIN_MELT_STEPS:
        warnings.warn(
            f"{melt_steps(best)} valid steps in the melt season ({_MELT_SEASON[best.south]}) on {label}; "
            f"at least {MIN_MELT_STEPS} are advised",
            UserWarning,
            stacklevel=4,
        )


def _warn_of_unknown_pairs(best: Selection, baseline: int | None, left_out: Sequence[Observation]) -> None:
    """Say what has to be checked of coherence pairs whose names do not tell orbit or dates."""
    pairs = [one.first for one in best.passes.get("insar", ()) if one is not None]
    aside = [one.item_id for one in left_out if one.relative_orbit is None and _suits(one, best, baseline)]
    if aside:
        warnings.warn(
            f"steps lack coherence, and {len(aside)} pairs of unknown orbit are left out (item {aside[0]} and others), "
            f"as others tell theirs; if they are of orbit {best.orbit}, say so with `icemapper catalog build "
            f"--relative-orbit {best.orbit}`, or lay the product's README beside its rasters and build anew",
            UserWarning,
            stacklevel=4,
        )
    if best.orbit is not None and any(pair.relative_orbit is None for pair in pairs):
        warnings.warn(
            f"the relative orbit of the coherence pairs is unknown; check that it is {best.orbit}",
            UserWarning,
            stacklevel=4,
        )
    dateless = [pair.item_id for pair in pairs if pair.baseline_days is None]
    if dateless:
        apart = "as many days" if baseline is None else f"{baseline} days"
        warnings.warn(
            f"the two dates of {len(dateless)} coherence pairs are unknown (item {dateless[0]} and others); check that "
            f"all are {apart} apart, and put both into the names (coh_20230105_20230117.tif) or into the tags "
            "ICEMAPPER_REFERENCE and ICEMAPPER_SECONDARY",
            UserWarning,
            stacklevel=4,
        )


def _warn_of_frames_alike(best: Selection) -> None:
    """Say which frames may be of two orbits: of one day and one grid, with names that tell no more."""
    for feature, row in best.passes.items():
        alike = [pair for one in row if one is not None for pair in _alike(one)]
        if alike:
            warnings.warn(
                f"{len(alike)} rasters of {feature} are of the day and the grid of another ({' and '.join(alike[0])}), "
                "and count as frames of one pass, the first where both have values; if they are of two orbits, put the "
                "orbit (ro014) or the time of day into their names and index the folder again",
                UserWarning,
                stacklevel=4,
            )


def _alike(one: Pass) -> Iterator[tuple[str, str]]:
    """Yield the items of frames on one grid of which neither orbit nor time of day is known."""
    seen: dict[Any, str] = {}
    for frame in one.frames:
        if frame.transform is None or frame.relative_orbit is not None or timed(frame):
            continue
        before = seen.setdefault((frame.epsg, frame.transform, frame.shape), frame.item_id)
        if before != frame.item_id:
            yield before, frame.item_id


def melt_steps(selection: Selection) -> int:
    """Return the number of valid steps in June to September, in the south December to March."""
    melting = _MELT_MONTHS[selection.south]
    months = (
        (one.day if one is not None else centre.date()).month
        for one, centre in zip(next(iter(selection.passes.values())), selection.steps.centres, strict=True)
    )
    return sum(valid and month in melting for valid, month in zip(selection.valid, months, strict=True))


def missing_text(selection: Selection) -> str:
    """Return the steps that are missing, per feature, as dates of their centres."""
    parts = []
    for feature, row in selection.passes.items():
        days = [
            centre.date().isoformat() for one, centre in zip(row, selection.steps.centres, strict=True) if one is None
        ]
        if days:
            parts.append(f"{feature} {', '.join(days)}")
    return "; ".join(parts) or "none"


def _label(selection: Selection) -> str:
    return f"orbit {selection.series}, {selection.steps.year}"


def _remedies(best: Selection, selections: Sequence[Selection], count: int) -> str:
    others = [one for one in selections if one is not best and sum(one.valid) > 0]
    listed = ", ".join(f"{one.series} {sum(one.valid)}" for one in others)
    leave = (
        f"give leave with min_steps={count} (--min-steps {count})" if count else "name another year, area or catalogue"
    )
    return f"{leave}, or name another orbit (steps: {listed})" if others else f"{leave} (there is no other orbit)"

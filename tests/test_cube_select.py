from __future__ import annotations

import dataclasses
import datetime as dt
import itertools
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from icemapper_xr import conventions, cube
from icemapper_xr._types import Observation
from icemapper_xr.catalog import items, names, raster
from icemapper_xr.cube import checks, select
from icemapper_xr.errors import CubeError, IcemapperError, OptionError, UnitsError
from tests.cube_data import AREA, describe, utc, write

TODAY = dt.date(2026, 6, 1)


@pytest.fixture(scope="module")
def area() -> cube.AreaGrid:
    return cube.area_grid(bounds=AREA, crs=32633, margin=0)


def series(first: dt.datetime, count: int, every: int = 12, **fields: Any) -> list[Observation]:
    return [describe(first + dt.timedelta(days=every * k), **fields) for k in range(count)]


def pair(reference: dt.datetime, days: int = 12, **fields: Any) -> Observation:
    secondary = reference + dt.timedelta(days=days)
    known = {"feature": "insar", "quantity": "coherence", "scale": "1"}
    middle = reference + (secondary - reference) / 2
    return describe(middle, reference=reference, secondary=secondary, **{**known, **fields})


def choose(observations: list[Observation], area: cube.AreaGrid, **options: Any) -> select.Selection:
    steps = {key: options.pop(key) for key in ("year", "start", "times") if key in options} or {"year": 2023}
    features = options.pop("features", ("rtc",))
    found = {feature: checks.usable(observations, feature) for feature in features}
    return select.choose(found, area, select.steps(**steps, today=TODAY), **options)


def offsets(selection: select.Selection, feature: conventions.Feature = "rtc") -> list[int | None]:
    return [
        None if one is None else (one.day - centre.date()).days
        for one, centre in zip(selection.passes[feature], selection.steps.centres, strict=True)
    ]


# -- steps ------------------------------------------------------------------------------------------------------------


def test_the_steps_of_a_year_are_24_days_long_and_named_by_their_centres() -> None:
    axis = select.steps(year=2023, today=TODAY)
    assert axis.start == dt.date(2023, 1, 1)
    assert axis.centres[0] == dt.datetime(2023, 1, 13)
    assert axis.centres[14] == dt.datetime(2023, 12, 15)
    assert select.steps(year=2023, start="2022-10-01", today=TODAY).centres[0] == dt.datetime(2022, 10, 13)


@pytest.mark.parametrize(
    "start",
    [
        "2023-07-01",
        dt.date(2023, 7, 1),
        dt.datetime(2023, 7, 1, 23, 30),
        dt.datetime(2023, 6, 30, 23, 30, tzinfo=dt.timezone(-dt.timedelta(hours=5))),
        np.datetime64("2023-07-01T23:30", "ns"),
        pd.Timestamp("2023-07-01 23:30"),
        pd.Timestamp("2023-06-30 23:30-05:00"),
    ],
)
def test_a_day_is_a_date_or_a_moment(start: Any) -> None:
    assert select.steps(start=start, today=TODAY).start == dt.date(2023, 7, 1)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"year": 2027}, "2027 lies in the future; take one up to 2026"),
        ({"start": "2026-09-01"}, "lies in the future"),
        ({"year": 2013}, "2013 is before Sentinel-1"),
        ({"start": "1999-01-01"}, "before Sentinel-1"),
        ({"year": 2020.5}, "not a year"),
        ({}, "name year="),
        ({"year": "abc"}, "year 'abc' is not a year"),
        ({"year": float("nan")}, "year nan is not a year"),
        ({"start": "soon"}, "start: 'soon' is not a date; write YYYY-MM-DD"),
        ({"start": "01.07.2023"}, "start: '01.07.2023' is not a date"),  # 7 January to pandas
        ({"start": "2023-7"}, "start: '2023-7' is not a date"),
        ({"start": 20230701}, "start: 20230701 is not a date"),
        ({"start": np.datetime64("NaT", "D")}, "is not a date"),
        ({"start": pd.NaT}, "start: NaT is not a date"),
        ({"times": [f"{day}/06/2023" for day in range(1, 16)]}, "times: '1/06/2023' is not a date"),
        ({"year": 2021, "start": "2018-01-01"}, "start 2018-01-01 makes a series until 2018-12-26, .*no day .* 2021"),
        ({"times": 5}, "times is 5; give a list of 15 dates"),
        ({"times": ["2023-01-01"] * 15}, "15 dates, 1 of them different"),
        ({"times": ["2023-01-01"]}, "1 dates"),
        ({"times": [f"2026-06-{day:02}" for day in range(1, 16)]}, "2026-06-15 lies in the future"),
    ],
)
def test_bad_times_are_named(options: dict[str, Any], text: str) -> None:
    with pytest.raises(OptionError, match=text):
        select.steps(**options, today=TODAY)


def test_a_series_may_begin_before_its_year() -> None:
    assert select.steps(year=2023, start="2022-11-01", today=TODAY).year == 2023
    assert select.steps(year=2014, start="2013-11-01", today=TODAY).year == 2014  # the first of Sentinel-1


@pytest.mark.parametrize("wrong", [{"orbit": "137"}, {"orbit": 137.5}, {"min_steps": 11.5}, {"min_steps": "x"}])
def test_orbit_and_steps_are_whole_numbers(area: cube.AreaGrid, wrong: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match=r"orbit '?137.* is not a relative orbit|min_steps .* is out of range"):
        choose(series(utc(2023, 1, 2, 6), 31), area, **wrong)


# -- the lock to every second cycle -----------------------------------------------------------------------------------


def test_a_cycle_of_12_days_is_locked_to_every_second_pass_near_the_centres(area: cube.AreaGrid) -> None:
    selection = choose(series(utc(2023, 1, 2, 6), 31), area)
    assert offsets(selection) == [1] * 15  # phase 1 would be 11 days from the centres, phase 13 is one


def test_ties_at_six_days_do_not_make_the_series_jump(area: cube.AreaGrid) -> None:
    # Passes 6 days before and 6 days after every centre: "nearest to the centre" would be a coin toss.
    selection = choose(series(utc(2023, 1, 7, 6), 30), area)
    days = [one.day for one in selection.passes["rtc"] if one is not None]
    assert len(days) == 15
    assert {(after - before).days for before, after in itertools.pairwise(days)} == {24}


def test_a_gap_is_filled_by_the_other_cycle_and_the_offset_is_stored(area: cube.AreaGrid) -> None:
    observations = series(utc(2023, 1, 13, 6), 30)
    del observations[6]  # 2023-03-26
    assert [k for k, offset in enumerate(offsets(choose(observations, area))) if offset is None] == []
    only_even = series(utc(2023, 1, 13, 6), 15, every=24)
    del only_even[3]
    selection = choose(only_even, area)
    assert offsets(selection)[3] is None
    assert selection.valid.count(False) == 1


def covering(first: dt.datetime, shares: Sequence[float], every: int = 12) -> list[Observation]:
    """Passes that cover the given shares of the area, from its eastern edge on."""
    return [
        describe(
            first + dt.timedelta(days=every * k),
            transform=(10.0, 0.0, 500_000.0 + 400 * (1 - share), 0.0, -10.0, 8_700_000.0),
        )
        for k, share in enumerate(shares)
    ]


def gaps(selection: select.Selection) -> list[int]:
    days = [one.day for one in selection.passes["rtc"] if one is not None]
    return [(after - before).days for before, after in itertools.pairwise(days)]


@pytest.mark.parametrize("first", [utc(2023, 1, 2, 6), utc(2023, 1, 7, 6), utc(2023, 1, 11, 6)])
def test_small_differences_of_coverage_do_not_make_the_series_jump(area: cube.AreaGrid, first: dt.datetime) -> None:
    rng = np.random.default_rng(0)
    selection = choose(covering(first, rng.uniform(0.55, 0.65, 31)), area)
    assert gaps(selection) == [24] * 14


def test_a_filled_gap_does_not_draw_its_neighbours_to_the_other_cycle(area: cube.AreaGrid) -> None:
    rng = np.random.default_rng(1)
    own, other = (covering(utc(2023, 1, day, 6), rng.uniform(0.55, 0.65, 15), every=24) for day in (7, 19))
    days = [one.acquired for one in own]
    selection = choose([*own[:6], *own[7:], *other[:3], *other[5:]], area)
    taken = [one.acquired for one in selection.passes["rtc"] if one is not None]
    assert [k for k, (one, day) in enumerate(zip(taken, days, strict=True)) if one != day] == [6]


def test_a_pass_that_covers_little_fills_no_step(area: cube.AreaGrid) -> None:
    slivers, whole = (
        covering(utc(2023, 1, day, 6), [share] * count, every=24) for day, share, count in ((13, 0.1, 15), (1, 1.0, 12))
    )
    selection = choose(slivers + whole, area)
    assert [one.share for one in selection.passes["rtc"] if one is not None] == [1.0] * 12


def test_two_satellites_6_days_apart(area: cube.AreaGrid) -> None:
    both = series(utc(2021, 1, 1, 6), 31, platform="S1A") + series(utc(2021, 1, 7, 6), 31, platform="S1B")
    selection = choose(both, area, year=2021)
    assert offsets(selection) == [0] * 15


def test_of_two_satellites_in_turn_every_year_is_of_the_first(area: cube.AreaGrid) -> None:
    """Else the years of a map would change from the one to the other, and have no rate."""
    one, other = (series(utc(2019, 1, day, 6), 152, platform=name) for day, name in ((3, "S1A"), (9, "S1B")))
    other = [observation for observation in other if observation.acquired < utc(2021, 12, 23)]
    for year in range(2019, 2024):
        selection = choose(one + other, area, year=year)
        assert {taken and taken.first.platform for taken in selection.passes["rtc"]} == {"S1A"}
        assert gaps(selection) == [24] * 14
    # Where it lacks a pass the other fills the step; where it lacks too many it has no precedence.
    for kept, count in ((one[::2][:13] + one[::2][14:], 14), (one[::2][:8], 0)):
        found = choose([*kept, *other], area, year=2019).passes["rtc"]
        assert sum(taken is not None and taken.first.platform == "S1A" for taken in found) == count
        assert None not in found


@settings(max_examples=20, deadline=None)
@given(
    phase=st.integers(0, 23),
    gone=st.sets(st.integers(0, 30), max_size=12),
    start=st.dates(dt.date(2022, 6, 1), dt.date(2023, 6, 1)),
)
def test_every_pass_is_used_once_within_the_tolerance_of_one_lock(
    area: cube.AreaGrid, phase: int, gone: set[int], start: dt.date
) -> None:
    first = dt.datetime(start.year, start.month, start.day, 6, tzinfo=dt.UTC) + dt.timedelta(days=phase - 12)
    observations = [one for k, one in enumerate(series(first, 34)) if k not in gone]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        selection = choose(observations, area, start=start, min_steps=1)
    used = [one for one in selection.passes["rtc"] if one is not None]
    assert len({one.day for one in used}) == len(used)
    locks = {
        lock
        for lock in range(24)
        if all(
            one is None or abs((one.day - start).days - 24 * k - lock) <= 6
            for k, one in enumerate(selection.passes["rtc"])
        )
    }
    assert locks
    assert used == sorted(used, key=lambda one: one.acquired)


# -- orbit and polarisation -------------------------------------------------------------------------------------------


def test_the_orbit_that_fills_more_steps_is_taken_and_another_can_be_named(area: cube.AreaGrid) -> None:
    full = series(utc(2023, 1, 13, 6), 15, every=24, relative_orbit=14)
    fewer = series(utc(2023, 1, 14, 5), 12, every=24, relative_orbit=174)
    assert choose(full + fewer, area).orbit == 14
    assert choose(full + fewer, area, orbit=174).orbit == 174
    with pytest.raises(CubeError, match=r"no pass of rtc has orbit=20; there are: orbit 14 VV; orbit 174 VV"):
        choose(full + fewer, area, orbit=20)


def test_share_of_the_area_counts(area: cube.AreaGrid) -> None:
    half = (10.0, 0.0, 500_200.0, 0.0, -10.0, 8_700_000.0)
    partial = series(utc(2023, 1, 13, 6), 15, every=24, relative_orbit=14, transform=half)
    whole = series(utc(2023, 1, 14, 5), 12, every=24, relative_orbit=174)
    selection = choose(partial + whole, area)
    assert selection.orbit == 174
    assert selection.passes["rtc"][0] is not None
    assert selection.passes["rtc"][0].share == 1


def test_passes_beside_the_area_do_not_count(area: cube.AreaGrid) -> None:
    away = (10.0, 0.0, 600_000.0, 0.0, -10.0, 8_700_000.0)
    with pytest.raises(CubeError, match="no pass of rtc meets the area"):
        choose(series(utc(2023, 1, 13, 6), 15, every=24, transform=away), area)


def test_polarisations_are_never_mixed(area: cube.AreaGrid) -> None:
    hh = series(utc(2023, 1, 13, 6), 6, every=24, polarisation="HH")
    vv = series(utc(2023, 1, 13, 6) + dt.timedelta(days=24 * 6), 9, every=24, polarisation="VV")
    with pytest.raises(CubeError, match=r"9 of 15 steps are valid on orbit 14 VV.*steps: 14 HH 6"):
        choose(hh + vv, area)
    days = [str(one.acquired.date()) for one in hh + vv]
    with pytest.raises(CubeError, match=r"no pass of rtc on orbit 14 VV \(it is of orbit 14 HH.*may not be mixed\)"):
        choose(hh + vv, area, times=days)
    full = series(utc(2023, 1, 13, 6), 15, every=24, polarisation="HH")
    assert choose(full + vv, area).polarisation == "HH"
    assert choose(full + vv, area, polarisation="hh").polarisation == "HH"
    with pytest.raises(OptionError, match="not co-polarised"):
        choose(full, area, polarisation="HV")


def test_frames_of_a_pass_belong_together(area: cube.AreaGrid) -> None:
    west = (10.0, 0.0, 499_800.0, 0.0, -10.0, 8_700_000.0)
    east = (10.0, 0.0, 500_200.0, 0.0, -10.0, 8_700_000.0)
    observations = []
    for k in range(15):
        time = utc(2023, 1, 13, 6) + dt.timedelta(days=24 * k)
        observations += [
            describe(time + dt.timedelta(seconds=25), transform=east),
            describe(time, transform=west, polarisation="VV"),
        ]
    selection = choose(observations, area)
    first = selection.passes["rtc"][0]
    assert first is not None
    assert [frame.acquired.second for frame in first.frames] == [0, 25]
    assert first.share == pytest.approx(1)


@pytest.mark.parametrize(
    ("changed", "warned"),
    [
        ({}, True),
        ({"east": 500_200.0}, False),
        ({"orbit": 14}, False),
        ({"hour": 6}, False),
    ],
    ids=["nothing is known", "another slice", "known orbit", "known time"],
)
def test_rasters_of_one_day_and_grid_may_be_of_two_orbits(
    changed: dict[str, Any], warned: bool, area: cube.AreaGrid
) -> None:
    """The one that came first alphabetically counted, without a word."""
    known = {"hour": 0, "orbit": None, "east": 500_000.0} | changed
    found = series(utc(2023, 1, 13, known["hour"]), 15, 24, relative_orbit=known["orbit"], orbit_state=None)
    grid = (10.0, 0.0, known["east"], 0.0, -10.0, 8_700_000.0)
    others = [dataclasses.replace(one, item_id=f"z-{one.item_id}", transform=grid) for one in found]
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        choose(found + others, area)
    wanted = "15 rasters of rtc are of the day and the grid of another (item-"
    assert any(wanted in str(one.message) for one in told) is warned


# -- too few, named dates ---------------------------------------------------------------------------------------------


def test_too_few_steps_say_how_many_which_and_what_to_do(area: cube.AreaGrid) -> None:
    observations = series(utc(2023, 1, 13, 6), 5, every=24)
    with pytest.raises(CubeError) as caught:
        choose(observations, area)
    text = str(caught.value)
    assert text.startswith(
        "5 of 15 steps are valid on orbit 14 VV, 2023, 11 are wanted (min_steps); missing: rtc 2023-05-13,"
    )
    assert "2023-12-15; give leave with min_steps=5 (--min-steps 5)" in text
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        selection = choose(observations, area, min_steps=5)
    first, second = (str(one.message) for one in warned)
    assert first.startswith("only 5 of 15 steps are valid on orbit 14 VV, 2023; missing: rtc 2023-05-13,")
    assert second.startswith("0 valid steps in the melt season")
    assert sum(selection.valid) == 5


def test_few_steps_in_the_melt_season_warn(area: cube.AreaGrid) -> None:
    observations = [one for one in series(utc(2023, 1, 13, 6), 15, every=24) if one.acquired.month not in (6, 7, 8)]
    with pytest.warns(UserWarning, match="1 valid steps in the melt season"):
        choose(observations, area)


def test_the_melt_season_of_the_south_is_half_a_year_later() -> None:
    area = cube.area_grid(bounds=(600_000, 4_520_000, 600_400, 4_520_400), crs=32718, margin=0)
    found = series(utc(2022, 7, 1, 6), 15, every=24, epsg=32718, transform=(10.0, 0, 600_000, 0, -10, 4_520_400))
    summer = [one for one in found if one.acquired.month not in (6, 7, 8, 9)]
    with pytest.warns(UserWarning, match="only 10 of 15 steps") as told:
        assert select.melt_steps(choose(summer, area, start="2022-07-01", min_steps=5)) == 5
    assert len(told) == 1
    without = [one for one in found if one.acquired.month not in (12, 1, 2, 3)]
    with (
        pytest.warns(UserWarning, match=r"0 valid steps in the melt season \(December to March\)"),
        pytest.warns(UserWarning, match="only 10 of 15 steps"),
    ):
        choose(without, area, start="2022-07-01", min_steps=5)


def test_dates_that_the_user_names_override_the_rules(area: cube.AreaGrid) -> None:
    observations = series(utc(2021, 5, 1, 6), 40)
    days = [str(one.acquired.date()) for one in observations[::2]][:15]
    selection = choose(observations, area, times=list(reversed(days)))
    assert [str(one.day) for one in selection.passes["rtc"] if one is not None] == days
    assert offsets(selection) == [0] * 15
    other = xr.DataArray(pd.to_datetime(days), dims="time")  # the times of another cube, as they are
    assert choose(observations, area, times=other).passes == selection.passes
    with pytest.raises(
        CubeError, match=r"times: 2021-05-02 has no pass of rtc on orbit 14 VV; there are: 2021-05-01, "
    ):
        choose(observations, area, times=["2021-05-02", *days[1:]])


def test_a_date_with_two_passes_is_ambiguous(area: cube.AreaGrid) -> None:
    observations = series(utc(2021, 5, 1, 6), 15, every=24)
    twice = [*observations, dataclasses.replace(observations[0], acquired=utc(2021, 5, 1, 16), item_id="second")]
    with pytest.raises(CubeError, match="2021-05-01 has 2 passes"):
        choose(twice, area, times=[str(one.acquired.date()) for one in observations])


# -- coherence --------------------------------------------------------------------------------------------------------


def test_a_step_owns_the_pair_whose_middle_is_nearest_to_its_centre(area: cube.AreaGrid) -> None:
    backscatter = series(utc(2023, 1, 13, 6), 15, every=24)
    pairs = [pair(utc(2023, 1, 1, 6) + dt.timedelta(days=12 * k)) for k in range(30)]
    selection = choose(backscatter + pairs, area, features=("rtc", "insar"))
    assert [abs(offset or 0) <= 6 for offset in offsets(selection, "insar")] == [True] * 15
    first = selection.passes["insar"][0]
    assert first is not None
    assert first.first.baseline_days == 12


def test_baselines_are_not_mixed(area: cube.AreaGrid) -> None:
    backscatter = series(utc(2021, 1, 13, 6), 15, every=24)
    twelve = [pair(utc(2021, 1, 7, 6) + dt.timedelta(days=24 * k)) for k in range(15)]
    six = [pair(utc(2021, 1, 10, 6) + dt.timedelta(days=24 * k), 6) for k in range(15)]
    every = backscatter + twelve + six
    options = {"features": ("rtc", "insar"), "year": 2021}
    default = choose(every, area, **options)
    assert {one.first.baseline_days for one in default.passes["insar"] if one} == {12}
    named = choose(every, area, baseline=6, **options)
    assert {one.first.baseline_days for one in named.passes["insar"] if one} == {6}
    with pytest.raises(CubeError, match="mix baselines of 6, 12 days"):
        choose(every, area, baseline=None, **options)
    with pytest.raises(CubeError, match=r"no coherence pair is 24 days apart.*6, 12 days"):
        choose(every, area, baseline=24, **options)
    with pytest.raises(OptionError, match="baseline '12' is not a number of days"):
        choose(every, area, baseline="12", **options)


def test_pairs_of_unknown_dates_are_told(area: cube.AreaGrid) -> None:
    pairs = [pair(utc(2023, 1, 7, 6) + dt.timedelta(days=24 * k), item_id=f"coh{k}") for k in range(15)]
    pairs[3:5] = [dataclasses.replace(one, reference=None, secondary=None) for one in pairs[3:5]]
    with pytest.warns(UserWarning, match=r"dates of 2 coherence pairs are unknown \(item coh3.*12 days.*_REFERENCE"):
        choose(pairs, area, features=("insar",))
    with pytest.warns(UserWarning, match="all are as many days apart"):
        choose(pairs, area, features=("insar",), baseline=None)


def test_numbers_of_looks_are_not_mixed(area: cube.AreaGrid) -> None:
    known = {"item_id": "few", "looks": 20.0}, {"item_id": "many", "looks": 80.0}, {}
    pairs = [pair(utc(2023, 1, 7, 6) + dt.timedelta(days=24 * k), **known[k % 3]) for k in range(15)]
    with pytest.raises(CubeError, match=r"mix numbers of looks, 20 \(item few\) and 80 \(item many\); leave"):
        choose(pairs, area, features=("insar",))
    alike = [one for one in pairs if one.looks != 80.0] + [dataclasses.replace(one, looks=20.0) for one in pairs[1::3]]
    assert sum(choose(alike, area, features=("insar",)).valid) == 15


def test_looks_of_pairs_that_are_not_used_do_not_matter(area: cube.AreaGrid) -> None:
    pairs = [pair(utc(2023, 1, 7, 6) + dt.timedelta(days=24 * k), looks=20.0) for k in range(15)]
    other = [dataclasses.replace(one, relative_orbit=37, looks=80.0) for one in pairs[:12]]
    selection = choose(pairs + other, area, features=("insar",))
    assert (selection.orbit, sum(selection.valid)) == (14, 15)
    assert choose(pairs + other, area, features=("insar",), orbit=37, min_steps=12).orbit == 37


def test_coherence_is_of_the_orbit_of_the_backscatter(area: cube.AreaGrid) -> None:
    backscatter = series(utc(2023, 1, 13, 6), 15, every=24)
    pairs = [pair(utc(2023, 1, 7, 6) + dt.timedelta(days=24 * k), relative_orbit=174) for k in range(15)]
    with pytest.raises(CubeError, match="0 of 15 steps are valid on orbit 14 VV"):
        choose(backscatter + pairs, area, features=("rtc", "insar"))
    unknown = [dataclasses.replace(one, relative_orbit=None, polarisation=None) for one in pairs]
    with pytest.warns(UserWarning, match="relative orbit of the coherence pairs is unknown"):
        selection = choose(backscatter + unknown, area, features=("rtc", "insar"))
    assert sum(selection.valid) == 15


def test_pairs_that_are_left_out_are_told_where_steps_lack_one(area: cube.AreaGrid) -> None:
    backscatter = series(utc(2023, 1, 13, 6), 15, every=24)
    pairs = [pair(utc(2023, 1, 7, 6) + dt.timedelta(days=24 * k), item_id=f"coh{k}") for k in range(15)]
    others = {
        r"\(coherence pairs left out: 15 of orbit 14 HH, 12 days apart\)": {"polarisation": "HH"},
        r"\(coherence pairs left out: 15 of orbit 174 VV, 12 days apart\)": {"relative_orbit": 174},
    }
    for told, fields in others.items():
        with pytest.raises(CubeError, match=f"0 of 15 steps are valid.*{told}; name another"):
            choose(backscatter + [dataclasses.replace(one, **fields) for one in pairs], area, features=("rtc", "insar"))
    long = [pair(utc(2023, 1, 1, 6) + dt.timedelta(days=24 * k), 24) for k in range(7, 15)]
    with pytest.raises(CubeError, match=r"7 of 15 steps.*left out: 8 of orbit 14 VV, 24 days apart\); give leave"):
        choose(backscatter + pairs[:7] + long, area, features=("rtc", "insar"))
    unknown = pairs[:11] + [dataclasses.replace(one, relative_orbit=None) for one in pairs[11:]]
    with pytest.warns(UserWarning, match=r"4 pairs of unknown orbit are left out \(item coh11 .*--relative-orbit 14`"):
        selection = choose(backscatter + unknown, area, features=("rtc", "insar"))
    assert sum(selection.valid) == 11
    # Of no other polarisation, and none where no step lacks one.
    across = [dataclasses.replace(one, polarisation="HH") for one in unknown[11:]]
    choose(backscatter + pairs[:11] + across, area, features=("rtc", "insar"))
    choose(backscatter + pairs + unknown[11:], area, features=("rtc", "insar"))


def test_the_joint_orbit_is_the_one_that_has_both_features(area: cube.AreaGrid) -> None:
    observations = series(utc(2023, 1, 13, 6), 15, every=24, relative_orbit=14)
    observations += series(utc(2023, 1, 13, 7), 15, every=24, relative_orbit=174)
    observations += [pair(utc(2023, 1, 7, 7) + dt.timedelta(days=24 * k), relative_orbit=174) for k in range(15)]
    assert choose(observations, area, features=("rtc", "insar")).orbit == 174


def test_ascending_and_descending_passes_are_never_mixed(area: cube.AreaGrid) -> None:
    unknown = {"relative_orbit": None}
    descending = {**unknown, "orbit_state": "descending"}
    every = series(utc(2023, 1, 13, 15, 50), 13, every=24, **unknown)
    every += series(utc(2023, 1, 18, 6, 10), 15, every=12, **descending)
    selection = choose(every, area)
    assert selection.orbit_state == "ascending"
    assert {one.first.orbit_state for one in selection.passes["rtc"] if one} == {"ascending"}
    with pytest.raises(CubeError, match="no pass of rtc has orbit=14; there are: orbit unknown ascending VV; orbit"):
        choose(every, area, orbit=14)


def test_an_orbit_whose_pass_is_told_for_some_frames_is_one_series(area: cube.AreaGrid) -> None:
    observations = series(utc(2023, 1, 13, 6), 15, every=24)
    observations[::2] = [dataclasses.replace(one, orbit_state=None) for one in observations[::2]]
    selection = choose(observations, area)
    assert sum(selection.valid) == 15
    assert selection.orbit_state == "ascending"


def test_times_of_day_tell_unknown_orbits_apart(area: cube.AreaGrid) -> None:
    unknown = {"relative_orbit": None, "orbit_state": None}
    evening = series(utc(2023, 1, 13, 15, 50), 15, every=24, **unknown)
    assert sum(choose(evening, area).valid) == 15
    morning = series(utc(2023, 1, 18, 6, 10), 3, every=24, **unknown)
    with pytest.raises(CubeError, match=r"item-20230118T061000 at 06:10 and item-20230113T155000 at 15:50 UTC.*README"):
        choose(evening + morning, area)
    neighbour = series(utc(2023, 1, 18, 15, 58), 1, **unknown)  # of the swath beside it: five days and 8 minutes later
    with pytest.raises(CubeError, match=r"15:50 and .* at 15:58 UTC.*--relative-orbit"):
        choose(evening + neighbour, area)


def test_times_of_day_around_midnight_and_names_with_dates_only(area: cube.AreaGrid) -> None:
    unknown = {"relative_orbit": None, "orbit_state": None}
    night = [utc(2023, 1, 13) + dt.timedelta(days=24 * k, seconds=20 if k % 2 else -20) for k in range(15)]
    assert sum(choose([describe(moment, **unknown) for moment in night], area).valid) == 15
    dates = [utc(2023, 1, 13, 15 if k % 2 else 0) + dt.timedelta(days=24 * k) for k in range(15)]
    assert sum(choose([describe(moment, **unknown) for moment in dates], area).valid) == 15


def test_dates_tell_unknown_orbits_apart(area: cube.AreaGrid) -> None:
    """Plain names with a date only: the gaps of one orbit were filled with the other's passes of two days later."""
    unknown = {"relative_orbit": None, "orbit_state": None, "platform": None}
    every = series(utc(2023, 1, 5), 30, **unknown)
    gaps = [one for k, one in enumerate(every) if k not in (4, 5, 14, 15)]
    assert sum(choose(gaps, area).valid) == 15
    other = series(utc(2023, 1, 7), 30, **unknown)
    words = (
        r"item-20230105T000000 is unknown, .*20230105T000000 on 2023-01-05 and .* on 2023-01-07, no multiple of 6 days"
    )
    with pytest.raises(CubeError, match=f"{words} apart.*--relative-orbit"):
        choose(gaps + other, area)
    known = [dataclasses.replace(one, relative_orbit=14) for one in gaps]
    assert sum(choose(known + other, area, orbit=14).valid) == 15
    with pytest.raises(CubeError, match=r"on 2023-01-05 and .* on 2023-01-07"):  # one of them tells its hour
        choose(gaps + series(utc(2023, 1, 7, 6), 3, **unknown), area)


def test_two_satellites_follow_each_other_after_six_days_and_one_after_twelve(area: cube.AreaGrid) -> None:
    unknown = {"relative_orbit": None, "orbit_state": None}
    days = [utc(2023, 1, 5) + dt.timedelta(days=6 * k) for k in range(60)]
    two = [describe(day, **unknown, platform=("S1A", "S1B")[k % 2]) for k, day in enumerate(days)]
    assert sum(choose(two, area).valid) == 15
    one = [describe(day, **unknown, platform="S1A") for day in days]
    with pytest.raises(CubeError, match=r"on 2023-01-05 and .* on 2023-01-11, no multiple of 12 days apart"):
        choose(one, area)


def test_the_one_date_of_a_pair_may_be_its_middle(area: cube.AreaGrid) -> None:
    backscatter = series(utc(2023, 1, 13), 15, every=24, relative_orbit=None)
    middles = [utc(2023, 1, 10) + dt.timedelta(days=24 * k) for k in range(15)]
    pairs = [dataclasses.replace(pair(day, relative_orbit=None), reference=None, secondary=None) for day in middles]
    with pytest.warns(UserWarning, match="two dates of 15 coherence pairs are unknown"):
        assert sum(choose(backscatter + pairs, area, features=("rtc", "insar")).valid) == 15


def test_coherence_of_an_unknown_orbit_is_of_the_hour_of_the_backscatter(area: cube.AreaGrid) -> None:
    backscatter = series(utc(2023, 1, 13, 6), 15, every=24)
    first = utc(2023, 1, 7, 15, 50)
    pairs = [pair(first + dt.timedelta(days=24 * k), relative_orbit=None, item_id=f"coh{k}") for k in range(15)]
    with pytest.raises(CubeError, match=r"orbit of item coh0 is unknown, and .* at 06:00 and coh0 at 15:50 UTC"):
        choose(backscatter + pairs, area, features=("rtc", "insar"))


def test_pairs_of_two_orbits_on_the_same_dates_are_not_one_pass(area: cube.AreaGrid) -> None:
    unknown = {"relative_orbit": None, "orbit_state": None}
    west = {"transform": (10.0, 0.0, 499_800.0, 0.0, -10.0, 8_700_000.0)}
    days = [dt.timedelta(days=24 * k) for k in range(15)]
    morning = [pair(utc(2023, 1, 7, 6) + day, **unknown, **west) for day in days]
    evening = [pair(utc(2023, 1, 7, 15, 30) + day, **unknown) for day in days]
    assert [len(one.frames) for one in select.passes([*morning, *evening], area)] == [1] * 30
    with pytest.raises(CubeError, match=r"at 06:00 and .* at 15:30 UTC.*may not be mixed"):
        choose(morning + evening, area, features=("insar",))
    assert sum(choose(evening, area, features=("insar",)).valid) == 15


def test_a_frame_that_tells_its_date_only_does_not_hide_the_hour_of_the_others(area: cube.AreaGrid) -> None:
    unknown = {"relative_orbit": None, "orbit_state": None}
    moments = [utc(2023, 1, 7, 15, 30) + dt.timedelta(days=24 * k) for k in range(15)]
    evening = [pair(moment, **unknown) for moment in moments]
    dates = [pair(moment.replace(hour=0, minute=0), **unknown) for moment in moments]
    whole = choose(evening + dates, area, features=("insar",)).passes["insar"]
    assert [len(one.frames) for one in whole if one] == [2] * 15
    morning = [pair(moment.replace(hour=6, minute=0), **unknown) for moment in moments[:3]]
    with pytest.raises(CubeError, match=r"at 06:00 and .* at 15:30 UTC.*may not be mixed"):
        choose(evening[3:] + dates + morning, area, features=("insar",))


def test_frames_of_a_long_pass_are_of_one_orbit(area: cube.AreaGrid) -> None:
    starts = [utc(2023, 1, 7, 6) + dt.timedelta(days=24 * k) for k in range(15)]
    pairs = [pair(start + dt.timedelta(minutes=2 * n), relative_orbit=None) for start in starts for n in range(4)]
    selection = choose(pairs, area, features=("insar",))
    assert [len(one.frames) for one in selection.passes["insar"] if one] == [4] * 15


SECONDS = [-2, 1, -1, 2, -3, 1, 2, -2, 1, -1, 3, -2, 1, 2, -1, 1, -2, 2, -1, 1, 2, -3, 1, -1, 2, -2, 1, 1, -1, 2, -1, 0]
"""By which passes of an orbit are early or late."""


def jittered(first: dt.datetime) -> list[Observation]:
    starts = [first + dt.timedelta(days=12 * k, seconds=late) for k, late in enumerate(SECONDS)]
    return [
        dataclasses.replace(
            pair(before),
            secondary=after,
            acquired=before + (after - before) / 2,
            item_id=f"coh{k:02}",
            orbit_state=None,
        )
        for k, (before, after) in enumerate(itertools.pairwise(starts))
    ]


@pytest.mark.parametrize("minutes", [0, 72, -72, 360, 720])
def test_seconds_decide_neither_baseline_nor_which_pair_a_step_owns(area: cube.AreaGrid, minutes: int) -> None:
    pairs = jittered(utc(2023, 1, 1) + dt.timedelta(minutes=minutes))  # middles 6 days from the centres
    assert {one.baseline_days for one in pairs} == {12}
    row = choose(pairs, area, features=("insar",)).passes["insar"]
    taken = [int(one.first.item_id[3:]) for one in row if one is not None]
    assert [after - before for before, after in itertools.pairwise(taken)] == [2] * 14


@pytest.mark.parametrize(
    ("reference", "secondary", "days"),
    [
        ((2023, 1, 5, 23, 59, 58), (2023, 1, 18, 0, 0, 1), 12),
        ((2023, 1, 6, 0, 0, 1), (2023, 1, 17, 23, 59, 58), 12),
        ((2023, 1, 17, 6), (2023, 1, 5, 6), 12),
        ((2023, 1, 5), (2023, 1, 17), 12),
        ((2023, 1, 5, 15, 50), (2023, 1, 17), 12),  # the time of day of one is unknown
    ],
)
def test_the_baseline_is_that_of_the_times(
    tmp_path: Path, reference: tuple[int, ...], secondary: tuple[int, ...], days: int
) -> None:
    times = {"reference": utc(*reference), "secondary": utc(*secondary)}
    assert describe(utc(2023, 1, 11), feature="insar", **times).baseline_days == days
    described = items.Described(
        names.Facts(feature="insar", quantity="coherence", scale="1", **times),
        raster.open_raster(write(tmp_path / "coh.tif", np.ones((8, 8)))),
    )
    assert items.make_item("coh", [described]).properties["icemapper:baseline_days"] == days


def test_frames_of_a_pair_on_both_sides_of_midnight_are_one_pass(area: cube.AreaGrid) -> None:
    north = pair(utc(2023, 1, 5, 23, 59, 50), transform=(10.0, 0.0, 499_800.0, 0.0, -10.0, 8_700_000.0))
    south = pair(utc(2023, 1, 6, 0, 0, 15), transform=(10.0, 0.0, 500_200.0, 0.0, -10.0, 8_700_000.0))
    (one,) = select.passes([south, north], area)
    assert one.frames == (north, south)
    assert one.share == pytest.approx(1)


def test_pairs_of_the_same_first_date_and_others_are_apart(area: cube.AreaGrid) -> None:
    first = utc(2023, 1, 17, 6)
    backwards = dataclasses.replace(pair(utc(2023, 1, 5, 6)), reference=first, secondary=utc(2023, 1, 5, 6))
    made = select.passes([pair(first), pair(first, 24), backwards], area)
    assert [len(one.frames) for one in made] == [1, 1, 1]


def test_a_pair_is_that_of_the_nearest_date_named_only(area: cube.AreaGrid) -> None:
    pairs = [pair(utc(2023, 1, 1, 6) + dt.timedelta(days=24 * k), item_id=f"coh{k}") for k in range(8)]
    days = [dt.date(2023, 1, 1) + dt.timedelta(days=12 * k) for k in range(15)]
    with pytest.raises(CubeError, match=r"8 of 15 steps are valid.*insar 2023-01-01, 2023-01-25"):
        choose(pairs, area, features=("insar",), times=days)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        selection = choose(pairs, area, features=("insar",), times=days, min_steps=8)
    taken = [one and one.first.item_id for one in selection.passes["insar"]]
    assert taken[1::2] + taken[-1:] == [f"coh{k}" for k in range(8)]
    assert taken[:-1:2] == [None] * 7


# -- what may not enter -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "error", "text"),
    [
        ({"mode": "EW"}, CubeError, r"item bad: mode EW \(40 m\)"),
        ({"geocoded": False}, CubeError, "item bad: raw level-1"),
        ({"quantity": "digital_number"}, CubeError, "item bad: raw level-1"),
        ({"quantity": "unknown"}, UnitsError, "item bad: .*catalog build FOLDER --quantity"),
        ({"scale": "unknown"}, UnitsError, "item bad: .*catalog build FOLDER --scale"),
        ({"quantity": "sigma0"}, UnitsError, "item bad: quantity sigma0, feature rtc wants gamma0"),
        ({"polarisation": "VH"}, CubeError, "item bad: cross-polarised"),
        ({"feature": "grd"}, CubeError, r"no observations of feature 'rtc'; the catalogue has grd \(1\)"),
    ],
)
def test_data_that_may_not_enter_are_named(fields: dict[str, Any], error: type[IcemapperError], text: str) -> None:
    with pytest.raises(error, match=text):
        checks.usable([describe(utc(2023, 1, 1), item_id="bad", **fields)], "rtc")


def test_some_unusable_items_are_left_out_with_a_warning() -> None:
    good, bad = describe(utc(2023, 1, 1)), describe(utc(2023, 1, 2), mode="EW", item_id="bad")
    with pytest.warns(UserWarning, match="1 of 2 observations of rtc left out, first item bad"):
        assert checks.usable([good, bad], "rtc") == (good,)


def test_mixed_quantities_are_refused() -> None:
    one = describe(utc(2023, 1, 1), feature="grd", quantity="sigma0", item_id="a")
    other = describe(utc(2023, 1, 2), feature="grd", quantity="gamma0", item_id="b")
    with pytest.raises(UnitsError, match=r"grd mixes sigma0 \(item a\) and gamma0 \(item b\)"):
        checks.usable([one, other], "grd")


def test_of_several_processings_of_a_burst_the_newest_is_taken() -> None:
    burst = {"burst": "T137-292319-IW2", "orbit_state": None}
    old = describe(utc(2023, 1, 13, 6), item_id="a-old", processed=utc(2023, 3, 1), **burst)
    new = dataclasses.replace(old, item_id="b-new", processed=utc(2025, 8, 30))
    others = (
        dataclasses.replace(old, item_id="c", burst="T137-292320-IW2"),
        dataclasses.replace(old, item_id="d", acquired=utc(2023, 1, 25, 6)),
        dataclasses.replace(old, item_id="e", polarisation="HH"),
        dataclasses.replace(old, item_id="f", processed=None),
    )
    assert checks.usable([old, new, *others], "rtc") == (new, *others)


def test_speckle_filtered_and_unfiltered_rasters_are_not_mixed() -> None:
    plain = describe(utc(2023, 1, 1), item_id="a", filtered=False)
    filtered = describe(utc(2023, 1, 13), item_id="b", filtered=True)
    untold = describe(utc(2023, 1, 25), item_id="c")
    with pytest.raises(UnitsError, match=r"rtc mixes unfiltered \(item a\) and speckle-filtered \(item b\); take one"):
        checks.usable([plain, filtered, untold], "rtc")
    assert checks.usable([filtered, untold], "rtc") == (filtered, untold)


def test_features_are_checked_and_ordered() -> None:
    assert checks.features(["insar", "rtc"]) == ("rtc", "insar")
    for bad in ([], ["rtc", "rtc"], ["vv"]):
        with pytest.raises(OptionError):
            checks.features(bad)

"""Scores against worked examples: pixels, margins, classes, sizes, calibration, the published layout, outlines."""

from __future__ import annotations

import dataclasses
import functools
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import geopandas as gpd
import h5py
import numpy as np
import pytest
import rioxarray  # noqa: F401
import shapely
import xarray as xr
from pyproj import Transformer

from icemapper_xr import calibrate, cli, conventions, errors
from icemapper_xr.conventions import Feature
from icemapper_xr.models import own
from icemapper_xr.training import bodies, cases, margins, reference, scorecard, scoring, sensitivity, verbs
from tests.support import files_of_at_most

LEGEND = {0: "sea", 3: "rock", 4: "snow patch", 9: "ice"}


class ByCoherence:
    """Answers glacier where the mean of its last channel exceeds one half."""

    features: tuple[Feature, ...] = ("rtc", "insar")
    n_steps, window, pixel_size, digest = 15, 16, 10.0, "by-coherence"

    def __call__(self, x: np.ndarray, /) -> np.ndarray:
        return np.where(x[..., -1].mean(axis=1) > 0.5, 0.9, 0.1).astype(np.float32)

    def __dask_tokenize__(self) -> str:
        return self.digest


def square(low: int, high: int, size: int = 60) -> np.ndarray:
    mask = np.zeros((size, size), bool)
    mask[low:high, low:high] = True
    return mask


def case(probability: np.ndarray, truth: np.ndarray, **more: object) -> cases.Case:
    values: dict[str, object] = {"name": "a", "region": "r", "known": np.isfinite(probability), "pixel_size": 10.0}
    return cases.Case(probability=probability.astype(np.float32), truth=truth, **{**values, **more})  # type: ignore[arg-type]


def made(seed: int, size: int, features: tuple[Feature, ...], *, shift_days: int = 0) -> cases.World:
    truth = square(size // 4, size // 2, size)
    truth = np.roll(truth, seed + shift_days, axis=1)
    cube = np.full((15, size, size, len(features)), -10, np.float32)
    cube[..., -1] = np.where(truth, 0.9, 0.1)
    cube[:, :2] = np.nan
    return cases.World(cube, truth, np.where(truth, 9, 3).astype(np.uint8), "here")


def test_a_pixel_at_the_threshold_is_glacier_as_in_outlines_and_areas() -> None:
    p = np.full((60, 60), 0.2)
    p[10:30, 10:30] = 0.5
    assert scoring.evaluate([case(p, square(10, 30))])["pixels"]["iou"] == 1
    assert scoring.reliabilities([case(p, square(10, 30))]).filled()[1].min() == 1  # accuracy
    p[10:30, 10:30] = 0.62
    assert scoring.evaluate([case(p, square(10, 30), threshold=0.62)])["pixels"]["iou"] == 1
    assert scoring.evaluate([case(p, square(10, 30), threshold=0.63)])["pixels"]["recall"] == 0


# -- margins ----------------------------------------------------------------------------------------------------------
def test_distances_of_a_grown_square() -> None:
    from scipy import ndimage

    truth = square(10, 30)
    grown = ndimage.binary_dilation(truth, np.ones((3, 3)), iterations=2)
    assert np.median(margins.distances(grown, truth, 10.0)) == 20
    assert np.median(margins.distances(truth, grown, 10.0)) == -20
    assert margins.distances(truth, truth, 10.0).max() == 0
    assert margins.distances(~truth & False, truth, 10.0).size == 0


def test_margins_at_the_edge_of_the_data_are_left_out() -> None:
    known = np.ones((60, 60), bool)
    known[:, 20:] = False
    truth = square(10, 40) & known
    signed = margins.distances(truth, truth, 10.0, known)
    # three sides of the square remain: 30 px on the left, 9 above and 9 below without the corners
    assert signed.size == 30 + 9 + 9 - 2


def test_near_reaches_as_far_as_told() -> None:
    near = margins.near(square(20, 40), 10.0, 50.0)
    row = near[30]
    assert np.flatnonzero(row).tolist() == [*range(15, 26), *range(34, 45)]


def test_the_edge_of_the_data_is_near_no_margin() -> None:
    known = np.ones((60, 60), bool)
    known[:, 20:] = False
    assert not margins.near(known, 10.0, 100.0, known).any()
    assert margins.near(square(5, 15) & known, 10.0, 100.0, known).any()


# -- the report -------------------------------------------------------------------------------------------------------
def test_report_of_a_worked_example() -> None:
    truth = square(10, 30)
    probability = np.where(square(10, 28), 0.8, 0.2)
    probability[:, 0] = np.nan
    classes = np.where(truth, 9, 3).astype(np.uint8)
    classes[50:54, 50:54] = 4
    report = scoring.evaluate([case(probability, truth, classes=classes, legend=LEGEND)])
    assert report["pixels"]["iou"] == pytest.approx(324 / 400)
    assert report["pixels"]["recall"] == pytest.approx(0.81)
    assert report["pixels"]["precision"] == 1
    assert report["pixels"]["area_bias"] == pytest.approx(-0.19)
    assert report["pixels"]["accuracy"] == pytest.approx(1 - 76 / (60 * 59))
    assert report["regions"]["r"] == report["pixels"]
    assert report["classes"]["ice"]["called_pixels"] == pytest.approx(0.81)
    assert report["classes"]["rock"]["called_pixels"] == 0
    assert report["classes"]["snow patch"] == {"objects": 0, "called_objects": None, "pixels": 16, "called_pixels": 0}
    assert list(report["sizes_km2"]) == ["0.01 to 0.1"]
    assert report["termini"]["land"]["objects"] == 1
    soft = (324 * 0.8 + (60 * 59 - 324) * 0.2) / 400 - 1
    assert report["soft_area_bias"]["probability"] == pytest.approx(soft, rel=1e-6)
    # p = 0.8 and 0.2 have one confidence: its bin's accuracy is that of the map
    error = abs(1 - 76 / (60 * 59) - 0.8)
    assert report["calibration"]["probability"]["all"]["error"] == pytest.approx(error, abs=1e-6)
    assert report["calibration"]["probability"]["near_margins"]["error"] < error
    json.dumps(report, allow_nan=False)


def test_scene_without_glacier_has_no_area_bias_but_valid_json(tmp_path: Path) -> None:
    report = scoring.evaluate([case(np.full((40, 40), 0.1), np.zeros((40, 40), bool))])
    assert report["pixels"]["iou"] == 1
    assert report["pixels"]["area_bias"] is None
    assert report["boundary_m"]["median"] is None
    paths = scorecard.write(report, tmp_path / "scores")
    assert [path.name for path in paths] == ["scores.json", "scores.txt", "scores.png"]
    assert json.loads(paths[0].read_text())["mean_iou"] == 1
    assert sorted(path.name for path in (tmp_path / "scores").iterdir()) == ["scores.json", "scores.png", "scores.txt"]
    with pytest.raises(errors.OptionError, match="no scene"):
        scoring.evaluate([])


def test_a_scene_of_which_nothing_is_known_says_nothing() -> None:
    truth = square(10, 30)
    wrong = case(np.full((60, 60), 0.1), truth, name="a")
    nothing = case(np.full((60, 60), np.nan), truth, name="b")
    with pytest.warns(UserWarning, match="nothing was observed in 1 of 2 scenes, which are in no score: b"):
        report = scoring.evaluate([wrong, nothing])
    assert report["mean_iou"] == 0
    assert list(report["scenes"]) == ["a"]
    assert report["unobserved"] == ["b"]
    assert "not scored, as nothing was observed there: b" in scorecard.table(report)
    others = [dataclasses.replace(nothing, name=str(number)) for number in range(7)]
    with pytest.raises(errors.OptionError, match=r"in any of 7 \(0, 1, 2, 3, 4 and 2 more\); name scenes or samples"):
        scoring.evaluate(others)


def test_scenes_without_data_are_no_part_of_a_calibration() -> None:
    truth = square(10, 20)
    seen = case(np.where(truth, 0.9, 0.2), truth)
    nothing = dataclasses.replace(case(np.full((60, 60), np.nan), truth), name="b")
    with pytest.warns(UserWarning, match="nothing was observed in 1 of 2 scenes, which are in no fit: b"):
        found = scoring.reliabilities([nothing, seen])
    assert found.filled()[2].sum() == truth.size
    with pytest.raises(errors.OptionError, match=r"no scene was fitted to: nothing was observed in any of 1 \(b\)"):
        scoring.reliabilities([nothing])


def test_objects_sizes_and_termini() -> None:
    found = bodies.Bodies()
    truth = square(5, 10, 100) | square(20, 40, 100) | square(60, 99, 100)
    classes = np.where(truth, 9, 3).astype(np.uint8)
    classes[99:] = 0  # the largest ends in the sea
    classes[50:56, 0:6] = 4
    classes[50:52, 20:22] = 4
    mapped = square(20, 40, 100) | (classes == 4)
    bodies.look_at(found, mapped, truth, np.ones_like(truth), 20.0, classes, LEGEND)
    numbers = found.numbers()
    assert numbers["sizes_km2"]["0.01 to 0.1"]["objects"] == 1
    assert numbers["sizes_km2"]["0.1 to 0.5"] == {"objects": 1, "called_objects": 1, "pixels": 400, "called_pixels": 1}
    assert numbers["termini"]["marine"] == {"objects": 1, "called_objects": 0, "pixels": 39**2, "called_pixels": 0}
    snow = numbers["classes"]["snow patch"]
    # of two patches only the one of 36 px (0.0144 km2) is an object; both are called glacier
    assert (snow["objects"], snow["called_objects"], snow["pixels"], snow["called_pixels"]) == (1, 1, 40, 1)


def test_glaciers_that_touch_are_told_apart_where_an_inventory_does() -> None:
    """Of glacier 2 the scene holds a small part; glacier 1 is not in the scene."""
    labels = np.zeros((100, 100), np.int32)
    labels[10:30, 10:30], labels[30:40, 10:30] = 2, 3
    glaciers = bodies.Glaciers(labels, {1: 0.2, 2: 7.5, 3: 0.16}, {1: "land", 2: "lake", 3: "land"})
    found = bodies.Bodies()
    known = np.ones(labels.shape, bool)
    known[10:15] = False
    bodies.look_at(found, labels == 2, labels > 0, known, 20.0, glaciers=glaciers)
    assert {name: (one.objects, one.called, one.pixels) for name, one in found.sizes.items()} == {
        "5 to 20": (1, 1, 300),
        "0.1 to 0.5": (1, 0, 200),
    }
    assert list(found.numbers()["sizes_km2"]) == ["0.1 to 0.5", "5 to 20"]
    assert {name: one.called_pixels for name, one in found.termini.items()} == {"lake": 300, "land": 0}


def test_calibration_is_judged_beside_the_probability() -> None:
    rng = np.random.default_rng(0)
    p = rng.uniform(0.02, 0.98, (200, 200))
    truth = rng.random((200, 200)) < p  # the probability is right as it is
    one = case(p, truth)
    model = calibrate.fit_monotone(scoring.reliabilities([one]))
    report = scoring.evaluate([one], calibration=model)["calibration"]
    assert report["probability"]["all"]["error"] < 0.02
    assert report["calibrated"]["all"]["error"] < 0.01
    assert report["shannon"]["all"]["error"] > 0.1  # a confidence in bits is no probability


def test_two_scenes_of_one_name_are_refused() -> None:
    one = case(np.where(square(10, 30), 0.9, 0.1), square(10, 30), name="map")
    with pytest.raises(errors.OptionError, match=r"two scenes are called 'map': give each a name of its own"):
        scoring.evaluate([one, one])


# -- where the scenes come from ---------------------------------------------------------------------------------------
def test_simulated_scenes_are_scored_and_cached(tmp_path: Path) -> None:
    segmenter = ByCoherence()
    found = list(cases.simulated(segmenter, seeds=(1, 5), size=48, make=made, cache=tmp_path))
    assert [one.name for one in found] == ["1", "5"]
    assert np.isnan(found[0].probability[:2]).all()
    assert not found[0].known[:2].any()
    report = scoring.evaluate(found)
    assert report["pixels"]["iou"] == 1
    assert len(list(tmp_path.rglob("*.npz"))) == 2

    def never(*_: object, **__: object) -> cases.World:
        raise AssertionError("made anew")

    again = list(cases.simulated(segmenter, seeds=(1, 5), size=48, make=never, cache=tmp_path))
    assert np.array_equal(again[1].probability, found[1].probability, equal_nan=True)


def test_scores_and_scenes_that_find_no_room_are_told_in_a_line(tmp_path: Path) -> None:
    scenes = cases.simulated(ByCoherence(), seeds=(1,), size=48, make=made, cache=tmp_path / "cache")
    with files_of_at_most(3000), pytest.raises(errors.StoreError, match=r"Cannot keep the scene .*48px.*make room"):
        next(scenes)
    report = scoring.evaluate([case(np.full((40, 40), 0.1), np.zeros((40, 40), bool))])
    with (
        files_of_at_most(3000),
        pytest.raises(errors.StoreError, match=r"Cannot write the scores to .*scores: File too large; make room"),
    ):
        scorecard.write(report, tmp_path / "scores")
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_cached_scene_is_whole_or_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(file: Path, **_: object) -> None:
        file.write_bytes(b"half")
        raise KeyboardInterrupt

    def iou() -> float:
        return float(
            scoring.evaluate(cases.simulated(ByCoherence(), seeds=(1,), size=48, make=made, cache=tmp_path))["pixels"][
                "iou"
            ]
        )

    with monkeypatch.context() as patched:
        patched.setattr(np, "savez", interrupted)
        with pytest.raises(KeyboardInterrupt):
            iou()
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    assert iou() == 1
    (path,) = (path for path in tmp_path.rglob("*") if path.is_file())
    (tmp_path / "usual").touch()
    assert path.stat().st_mode == (tmp_path / "usual").stat().st_mode
    path.write_bytes(path.read_bytes()[:1000])
    assert iou() == 1


def test_a_real_scene_has_classes_that_agree_with_its_truth() -> None:
    from icemapper_xr import simulate

    world = cases.world(3, 64, ("rtc",))
    assert np.array_equal(np.isin(world.classes, simulate.GLACIER), world.truth)
    assert world.cube.shape == (15, 64, 64, 1)


def test_published_layout_is_scored_on_whole_windows_without_the_padding(tmp_path: Path) -> None:
    path = tmp_path / "test.hdf5"
    truth = np.zeros((36, 36), bool)
    truth[6:20, 8:30] = True
    answer = truth.copy()
    answer[6:10] = False  # the map misses four rows
    answer[:4] = True  # and is wrong in the padding, which does not count
    with h5py.File(path, "w") as file:
        for name in ("T1_2020_ro14", "T2_2020_ro14"):
            group = file.create_group(name)
            for feature in ("rtc", "insar"):
                data = (
                    np.where(answer, 0.9, 0.1)[None, ..., None] if feature == "insar" else np.full((1, 36, 36, 1), 0.6)
                )
                group[feature] = np.repeat(data, 15, axis=0).astype(np.float32)
            group["outlines"] = np.stack([~truth, truth], axis=-1).astype(np.float32)
            group.attrs.update(pad_height=4, pad_width=2, orig_height=26, orig_width=30)

    class Exact(ByCoherence):
        window = 16

        def __call__(self, x: np.ndarray, /) -> np.ndarray:
            return (x[..., -1].mean(axis=1) > 0.5).astype(np.float32)

    report = scoring.evaluate(cases.published(Exact(), path))
    # windows of 16 px every 8 px reach to pixel 32: rows 4 to 29 and columns 2 to 31 of the sample are all inside
    inside = truth[4:30, 2:32]
    hit = (truth & answer)[4:30, 2:32]
    assert report["scenes"]["T1_2020_ro14"]["iou"] == pytest.approx(hit.sum() / inside.sum())
    assert report["pixels"]["recall"] == pytest.approx(hit.sum() / inside.sum())
    assert report["pixels"]["precision"] == 1
    assert sorted(report["regions"]) == ["T1", "T2"]
    one = scoring.evaluate(cases.published(Exact(), path, only="T2_*"))
    assert list(one["scenes"]) == ["T2_2020_ro14"]
    with pytest.raises(errors.OptionError, match="no sample"):
        list(cases.published(Exact(), path, only="T3*"))
    h5py.File(path, "r+").close()  # an evaluation that has ended holds no file

    class Large(Exact):
        window = 64

    with pytest.raises(errors.OptionError, match="smaller than the weights' window"):
        list(cases.published(Large(), path))

    class Damaged(Exact):
        def __call__(self, x: np.ndarray, /) -> np.ndarray:
            return np.full(x.shape[:1] + x.shape[2:4], np.nan, np.float32)

    with pytest.raises(errors.WeightsError, match="its weights are damaged"):
        scoring.evaluate(cases.published(Damaged(), path))


def map_of(probability: np.ndarray) -> xr.Dataset:
    rows, columns = probability.shape
    coords = {"y": 8_000_000 - 5 - 10.0 * np.arange(rows), "x": 500_005 + 10.0 * np.arange(columns)}
    ds = xr.Dataset({conventions.PROBABILITY: (("y", "x"), probability.astype(np.float32))}, coords=coords)
    return ds.rio.write_crs("EPSG:32633")


def against_outlines(
    result: xr.Dataset, path: Path, *, area: Path | None = None, year: int | None = None
) -> cases.Case:
    layer = result[conventions.PROBABILITY]
    truth = reference.read(path, crs=layer.rio.crs, area=area, year=year)
    (case,) = reference.meeting([reference.compared(layer, truth)], truth)
    return case


def test_rock_of_glims_is_no_ice_of_the_truth(tmp_path: Path) -> None:
    ice, rock = square(10, 30), square(16, 24)
    disc = shapely.box(500_100, 8_000_000 - 300, 500_300, 8_000_000 - 100)
    hole = shapely.box(500_160, 8_000_000 - 240, 500_240, 8_000_000 - 160)
    rows = {"line_type": ["glac_bound", "intrnl_rock"]}
    gpd.GeoDataFrame(rows, geometry=[disc - hole, hole], crs=32633).to_file(tmp_path / "glims.gpkg")
    with pytest.warns(UserWarning, match=r"glims\.gpkg: 1 rows that are no glaciers left out \(line_type intrnl_rock"):
        case = against_outlines(map_of(np.where(ice & ~rock, 0.9, 0.1)), tmp_path / "glims.gpkg")
    assert scoring.evaluate([case])["pixels"]["iou"] == 1


def test_glaciers_of_outlines_are_scored_one_by_one(tmp_path: Path) -> None:
    """B has a second part outside the map, there twice, and outlines of another year."""
    sides = {"A": (100, 200), "B": (200, 300), "beyond": (9000, 9440)}
    south, north = 8_000_000 - 300, 8_000_000 - 100
    a, b, beyond = (shapely.box(500_000 + west, south, 500_000 + east, north) for west, east in sides.values())
    rows = {"rgi_id": [1.0, 2.0, 2.0, 2.0, 1.0], "term_type": [1, 2, 9, 9, 3], "year": [2020] * 4 + [2010]}
    path, mask = tmp_path / "mine.gpkg", square(10, 30)
    shapes = [a, beyond, b, beyond, beyond.buffer(5000)]
    gpd.GeoDataFrame(rows, geometry=shapes, crs=32633).to_file(path)
    probability = map_of(np.where(mask, 0.9, 0.1))
    found = scoring.evaluate([against_outlines(probability, path, year=2020)])
    sizes = {name: (one["objects"], one["pixels"]) for name, one in found["sizes_km2"].items()}
    assert sizes == {"0.01 to 0.1": (1, 200), "0.1 to 0.5": (1, 200)}  # 0.02 km2, and 0.02 + 0.088
    assert list(found["termini"]) == ["marine", "lake"]


@pytest.mark.parametrize(
    "rows",
    [{}, {"id": [0, 0, 0]}, {"id": [0, 0, 1]}, {"rgi_id": ["A", None, None]}, {"rgi_id": ["A", " ", " "]}],
    ids=str,
)
def test_outlines_without_ids_are_a_glacier_each(tmp_path: Path, rows: dict[str, list[object]]) -> None:
    shapes = [shapely.box(x, 8_000_000 - 300, x + 50, 8_000_000 - 100) for x in (500_100, 500_150, 500_200)]
    gpd.GeoDataFrame(rows, geometry=shapes, crs=32633).to_file(tmp_path / "mine.gpkg")
    found = scoring.evaluate([against_outlines(map_of(np.where(square(10, 30), 0.9, 0.1)), tmp_path / "mine.gpkg")])
    assert {name: one["objects"] for name, one in found["sizes_km2"].items()} == {"0.01 to 0.1": 3}
    assert found["termini"] == {}


def test_the_terminus_of_a_glacier_is_unknown_whatever_the_others_of_its_tile(tmp_path: Path) -> None:
    """Of two tiles one holds glaciers of which no terminus is known."""
    shapes = [shapely.box(x, 8_000_000 - 300, x + 100, 8_000_000 - 100) for x in (500_100, 500_400)]
    gpd.GeoDataFrame({"term_type": [9, 1]}, geometry=shapes, crs=32633).to_file(tmp_path / "mine.gpkg")
    whole = map_of(np.full((60, 60), 0.9))[conventions.PROBABILITY]
    truth = reference.read(tmp_path / "mine.gpkg", crs=whole.rio.crs)
    near = [dataclasses.replace(truth, glaciers=truth.glaciers[k : k + 1]) for k in (0, 1)]
    tiles = [reference.compared(whole[:, 30 * k : 30 * k + 30], near[k], name=str(k)) for k in (0, 1)]
    for found in ([reference.compared(whole, truth)], tiles):
        termini = scoring.evaluate(found)["termini"]
        assert {name: one["pixels"] for name, one in termini.items()} == {"unknown": 200, "marine": 200}


def test_a_map_is_scored_against_outlines(tmp_path: Path) -> None:
    probability = np.where(square(10, 30), 0.9, 0.1)
    true = shapely.box(500_100, 8_000_000 - 300, 500_300, 8_000_000 - 100)  # pixels 10 to 29 in both axes
    half = shapely.box(500_100, 8_000_000 - 300, 500_200, 8_000_000 - 100)
    path, area = tmp_path / "mine.gpkg", tmp_path / "area.gpkg"
    gpd.GeoDataFrame(geometry=[true], crs=32633).to_crs(4326).to_file(path)
    gpd.GeoDataFrame(geometry=[half], crs=32633).to_file(area)
    found = scoring.evaluate([against_outlines(map_of(probability), path)])
    assert found["pixels"]["iou"] == 1
    some = against_outlines(map_of(probability), path, area=area)
    assert some.known.sum() == 20 * 10
    elsewhere = tmp_path / "elsewhere.gpkg"
    gpd.GeoDataFrame(geometry=[shapely.transform(true, lambda xy: xy + 1e5)], crs=32633).to_file(elsewhere)
    with pytest.raises(errors.OptionError, match="does not meet the map"):
        against_outlines(map_of(probability), elsewhere)
    with pytest.raises(errors.VectorError, match=r"no file .*none\.gpkg"):
        against_outlines(map_of(probability), tmp_path / "none.gpkg")
    with pytest.raises(errors.OptionError, match=r"elsewhere\.gpkg does not meet the map"):
        against_outlines(map_of(probability), elsewhere, area=area)
    around = tmp_path / "around.gpkg"  # a box over the map, but no outline in it
    sides = [shapely.transform(true, lambda xy, far=far: xy + far) for far in (-3e3, 3e3)]
    gpd.GeoDataFrame(geometry=sides, crs=32633).to_file(around)
    with pytest.raises(errors.OptionError, match="does not meet the map"):
        against_outlines(map_of(probability), around)
    lines = tmp_path / "lines.gpkg"
    gpd.GeoDataFrame(geometry=[shapely.LineString(true.exterior.coords)], crs=32633).to_file(lines)
    with pytest.raises(errors.VectorError, match=r"lines\.gpkg holds LineString geometries; polygons are wanted"):
        against_outlines(map_of(probability), lines)
    (tmp_path / "table.csv").write_text("id,area\n1,2\n")
    with pytest.raises(errors.VectorError, match=r"table\.csv is a table without shapes"):
        against_outlines(map_of(probability), tmp_path / "table.csv")
    none = tmp_path / "nothing.gpkg"
    gpd.GeoDataFrame({"year": [2020]}, geometry=[None], crs=32633).to_file(none)
    with pytest.raises(errors.VectorError, match=r"^outlines .*nothing\.gpkg has no polygons"):
        against_outlines(map_of(probability), none)
    with pytest.raises(errors.VectorError, match=r"^area .*nothing\.gpkg has no polygons"):
        against_outlines(map_of(probability), path, area=none)
    bow = tmp_path / "bow.gpkg"  # crosses itself; the same two triangles, mended
    gpd.GeoDataFrame(
        geometry=[
            shapely.Polygon([(500_100, 8e6 - 300), (500_300, 8e6 - 100), (500_300, 8e6 - 300), (500_100, 8e6 - 100)])
        ],
        crs=32633,
    ).to_file(bow)
    with pytest.warns(UserWarning, match=r"1 invalid geometries of outlines bow\.gpkg were mended"):
        mended = against_outlines(map_of(probability), bow)
    assert mended.truth.sum() == pytest.approx(200, abs=25)


def test_outlines_of_several_years_are_those_of_the_map_s(tmp_path: Path) -> None:
    true = shapely.box(500_100, 8_000_000 - 300, 500_300, 8_000_000 - 100)
    both = tmp_path / "both.gpkg"
    gpd.GeoDataFrame({"year": [2016, 2024]}, geometry=[true.buffer(100), true], crs=32633).to_file(both)
    map_ = map_of(np.where(square(10, 30), 0.9, 0.1))
    assert scoring.evaluate([against_outlines(map_, both, year=2024)])["pixels"]["iou"] == 1
    assert scoring.evaluate([against_outlines(map_, both, year=2016)])["pixels"]["recall"] < 0.5
    with pytest.raises(errors.OptionError, match="outlines of 2016, 2024, none of 2020"):
        against_outlines(map_, both, year=2020)


@pytest.mark.parametrize("column", ["year", "Year"])
def test_years_of_outlines_are_read_however_they_are_written(tmp_path: Path, column: str) -> None:
    true = shapely.box(500_100, 8_000_000 - 300, 500_300, 8_000_000 - 100)
    map_ = map_of(np.where(square(10, 30), 0.9, 0.1))

    def of(*years: object) -> Path:
        path = tmp_path / "years.gpkg"
        path.unlink(missing_ok=True)
        shapes = [true.buffer(100), true, true][: len(years)]
        gpd.GeoDataFrame({column: list(years)}, geometry=shapes, crs=32633).to_file(path)
        return path

    for years in (("2016", "2024"), (2016.0, 2024.0)):
        assert scoring.evaluate([against_outlines(map_, of(*years), year=2024)])["pixels"]["iou"] == 1
    with pytest.raises(errors.AnalysisError, match=r"1 of 3 rows of the outlines .*years\.gpkg have no [yY]ear"):
        against_outlines(map_, of("2016", "2024", None), year=2024)
    crs = map_.rio.crs
    with pytest.warns(UserWarning, match=r"years\.gpkg has outlines of 2016, the map is of 2024: what changed"):
        assert reference.read(of(2016), crs=crs, year=2024).year == 2016
    assert reference.read(of(2016, 2024), crs=crs, year=2024).year == 2024
    assert reference.read(of(None), crs=crs, year=2024).year is None


def test_a_tile_beside_the_area_is_not_one_that_is_compared(tmp_path: Path) -> None:
    gpd.GeoDataFrame(geometry=[shapely.box(500_100, 8_000_000 - 300, 500_200, 8_000_000 - 100)], crs=32633).to_file(
        tmp_path / "mine.gpkg"
    )
    layer = map_of(np.where(square(10, 30), 0.9, 0.1))[conventions.PROBABILITY]
    truth = reference.read(tmp_path / "mine.gpkg", crs=layer.rio.crs)
    tiles = [layer[:, :30], layer[:, 30:], xr.full_like(layer, np.nan)]
    found = [reference.compared(tile, truth, name=str(number)) for number, tile in enumerate(tiles)]
    with pytest.warns(UserWarning, match="nothing was observed in 1 of 2 scenes, which are in no score: 2"):
        report = scoring.evaluate(reference.meeting(found, truth))
    assert list(report["scenes"]) == ["0"]


# -- changed input ----------------------------------------------------------------------------------------------------
def test_changes_do_what_they_say() -> None:
    rng = np.random.default_rng(0)
    cube = rng.normal(-10, 2, (15, 7, 9, 2)).astype(np.float32)
    cube[..., 1] = rng.random((15, 7, 9))
    features: tuple[Feature, ...] = ("rtc", "insar")
    mixed = sensitivity.shuffled(cube.copy(), features, 1)
    assert not np.array_equal(mixed, cube)
    assert np.array_equal(np.sort(mixed, axis=0), np.sort(cube, axis=0))
    assert np.isnan(sensitivity.without_melt(cube.copy(), features, 1)).any((1, 2, 3)).sum() == 4
    missing = np.isnan(sensitivity.gaps(3)(cube.copy(), features, 1)).all((1, 2))
    assert missing.sum(axis=0).tolist() == [3, 3]
    coarse = sensitivity.coarser(cube.copy(), features, 1)
    assert coarse.shape == cube.shape
    assert coarse[4, 0, 0, 0] == pytest.approx(10 * np.log10((10 ** (cube[4, :3, :3, 0] / 10)).mean()), rel=1e-5)
    assert coarse[4, 5, 4, 1] == pytest.approx(cube[4, 3:6, 3:6, 1].mean(), rel=1e-5)


def test_gaps_differ_from_scene_to_scene_and_those_of_fewer_are_among_those_of_more() -> None:
    features: tuple[Feature, ...] = ("rtc", "insar")

    def lost(number: int, seed: int, **draw: int) -> np.ndarray:
        cube = np.zeros((15, 2, 2, 2), np.float32)
        return np.isnan(sensitivity.gaps(number, **draw)(cube, features, seed)).all((1, 2))

    steps = [lost(1, seed) for seed in range(700_001, 700_021)]
    assert len({int(one[:, 0].argmax()) for one in steps}) > 5
    assert sum(np.array_equal(one[:, 0], one[:, 1]) for one in steps) < 10
    for number in (1, 2, 3):
        assert (lost(number + 1, 7) >= lost(number, 7)).all()
    assert np.array_equal(lost(4, 7), lost(4, 7))
    assert not np.array_equal(lost(4, 7), lost(4, 7, draw=1))


def test_sensitivity_is_a_table_by_change() -> None:
    table = sensitivity.sensitivity(ByCoherence(), seeds=(1,), size=48, make=made)
    assert next(iter(table)) == "unchanged"
    assert len(table) == 1 + 7 + 2
    assert table["unchanged"]["iou"] == 1

    def bare(*arguments: object, **options: object) -> cases.World:
        world = made(*arguments, **options)  # type: ignore[arg-type]
        return cases.World(np.minimum(world.cube, 0.1), world.truth & False, world.classes, "here")

    table = sensitivity.sensitivity(ByCoherence(), seeds=(1,), size=48, make=bare)
    assert table["unchanged"]["area_bias"] is None
    json.dumps(table, allow_nan=False)


# -- the verbs ---------------------------------------------------------------------------------------------------------
@pytest.fixture
def by_coherence(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the verbs score a network that knows the answer, on scenes made in a moment."""
    monkeypatch.setattr(verbs.models, "load_model", lambda *_, **__: ByCoherence())
    monkeypatch.setattr(verbs.scenes, "simulated", functools.partial(cases.simulated, make=made))


def never(*_: object, **__: object) -> None:
    raise AssertionError("the work began")


@pytest.mark.usefixtures("by_coherence")
def test_the_source_of_scores_names_every_scene(tmp_path: Path) -> None:
    def source(*seeds: int) -> str:
        return str(verbs.evaluate_weights("x", seeds=seeds, size=48, calibration=None)["source"])

    assert source(1, 2, 3) == "simulated scenes of 48 px, seeds 1 to 3"
    assert source(1, 9, 2) == "simulated scenes of 48 px, seeds 1, 9, 2"
    assert source(7) == "simulated scenes of 48 px, seed 7"
    model = verbs.calibrate_weights("x", seeds=(1, 9, 2), size=48)
    assert model.source == "weights by-coherence; 3 simulated scenes of 48 px, seeds 1, 9, 2"
    with h5py.File(tmp_path / "test.hdf5", "w") as file:
        for name in ("A_2020", "B_2020"):
            group = file.create_group(name)
            group["rtc"] = group["insar"] = np.full((15, 32, 32, 1), 0.6, np.float32)
            group["outlines"] = np.stack([~square(4, 9, 32), square(4, 9, 32)], axis=-1)
    for only, told in ((None, "test.hdf5"), ("A_*", "test.hdf5, A_*")):
        report = verbs.evaluate_weights("x", data=tmp_path / "test.hdf5", only=only, calibration=None)
        assert report["source"] == told


@pytest.mark.usefixtures("by_coherence")
def test_scenes_that_the_weights_learned_from_are_told() -> None:
    shipped = "tweightedpool_rtc_simulated"  # trained on the seeds from 300000 on
    told = pytest.warns(UserWarning, match="learned from the scenes of seed.*: on those it does better|were chosen by")
    with told:
        report = verbs.evaluate_weights(shipped, seeds=(300_000, 5), size=48, calibration=None)
    assert report["source"].endswith("seeds 300000, 5, of which the weights learned from seed 300000")
    with told:
        model = verbs.calibrate_weights(shipped, seeds=(300_000, 300_001), size=48)
    assert model.source.endswith(", of which the weights learned from seeds 300000 to 300001")
    with told:
        chosen = verbs.evaluate_weights(shipped, seeds=(900_003,), size=48, calibration=None)
    assert chosen["source"].endswith("seed 900003, of which the weights were chosen by seed 900003")
    # Begun with weights that saw more scenes than this training did.
    with told:
        begun = verbs.evaluate_weights("tweightedpool_insar_simulated", seeds=(300_500,), size=48, calibration=None)
    assert begun["source"].endswith("of which the weights learned from seed 300500")
    unseen = verbs.evaluate_weights(shipped, seeds=(700_001,), size=48, calibration=None)
    assert unseen["source"] == "simulated scenes of 48 px, seed 700001"


@pytest.mark.usefixtures("by_coherence")
def test_scenes_that_a_calibration_was_fitted_on_are_told(tmp_path: Path) -> None:
    for seeds, known in (((1, 9, 2), (9, 2)), ((4, 5, 6), (5, 6)), ((7,), (7,))):
        verbs.calibrate_weights("x", seeds=seeds, size=48, out=tmp_path / "model.json")
        with pytest.warns(UserWarning, match="the calibration was fitted on the scenes of seeds?"):
            report = verbs.evaluate_weights("x", seeds=(*known, 77), size=48, calibration=tmp_path / "model.json")
        assert report["source"].endswith(f", on {verbs._named(known)} of which the calibration was fitted")
    report = verbs.evaluate_weights("x", seeds=(77,), size=48, calibration=tmp_path / "model.json")
    assert report["source"] == "simulated scenes of 48 px, seed 77"


def test_a_glacier_that_was_not_mapped_is_in_the_distances() -> None:
    """The distances of the mapped margins alone are 0 with half of the ice missing."""
    truth, mapped = square(4, 20) | square(40, 56), square(4, 20)
    scores = scoring.Evaluation()
    scores.add(case(mapped.astype(float), truth))
    scores.add(case(square(10, 20).astype(float), np.zeros_like(truth), name="b"))
    boundary = scores.report()["boundary_m"]
    assert (boundary["median"], boundary["p95"]) == (0, 0)
    assert boundary["missed"] == {"beyond_60": 0.5, "beyond_300": pytest.approx(0.45, abs=0.06), "pixels": 120}
    assert boundary["without_true_margin"] == 36
    # ice on both sides of the data's edge is no margin, mapped or true
    left = np.where(np.arange(60) < 30, 1.0, np.nan) * np.ones((60, 1))
    scores.add(case(left, np.ones_like(truth), name="c"))
    scores.add(case(left * square(10, 60), np.zeros_like(truth), name="d"))
    assert scores.report()["boundary_m"]["without_true_margin"] == 36 + 20 + 50 - 2
    assert "true margins with none mapped within 60 m: 50.00 %, within 300 m: 4" in scorecard.table(scores.report())
    assert np.isinf(margins.missed(np.zeros_like(truth), truth, 10.0)).all()


@pytest.mark.usefixtures("by_coherence")
def test_a_calibration_of_other_weights_is_told(tmp_path: Path) -> None:
    other = calibrate.Monotone((0.0, 1.0), (0.5, 1.0), "weights 0123456789ab; two scenes")
    calibrate.write(other, tmp_path / "c.json")
    with pytest.warns(
        UserWarning, match=r"c\.json was fitted to the weights 0123456789ab, not to .*icemapper calibrate"
    ):
        verbs.evaluate_weights("tweightedpool_rtc_simulated", seeds=(5,), size=48, calibration=tmp_path / "c.json")


@pytest.mark.usefixtures("by_coherence")
@pytest.mark.parametrize(
    ("verb", "options", "message"),
    [
        ("evaluate_weights", {"out": "file"}, "file cannot be made a folder"),
        ("evaluate_weights", {"out": "file/below"}, "below cannot be made a folder"),
        ("evaluate_weights", {"cache": "file"}, "file cannot be made a folder"),
        ("evaluate_weights", {"register": True}, "mine.h5 is not in"),
        ("calibrate_weights", {"out": "folder"}, "folder is a folder: name a file"),
        ("calibrate_weights", {"out": "file/c.json"}, "file cannot be made a folder"),
        ("calibrate_weights", {"register": True}, "mine.h5 is not in"),
    ],
)
def test_where_to_write_is_tried_before_the_work(
    verb: str, options: dict[str, Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(verbs.scoring, "evaluate", never)
    monkeypatch.setattr(verbs.scoring, "reliabilities", never)
    Path("file").touch()
    Path("folder").mkdir()
    shutil.copy(own.folder() / "ICEmapper_tweightedpool_rtc_simulated.h5", "mine.h5")
    with pytest.raises(errors.OptionError, match=message):
        getattr(verbs, verb)("mine.h5", seeds=(1,), size=48, **options)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder", "mine.h5"]


def test_a_training_tries_where_to_write_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from icemapper_xr.training import fit

    monkeypatch.setattr(fit, "train", never)
    (tmp_path / "a.toml").write_text("steps = 1\n")
    (tmp_path / "file").touch()
    for options in ({"out": "file"}, {"export": "file/below"}, {"cache": "file"}):
        places = {"out": tmp_path / "out"} | {name: tmp_path / place for name, place in options.items()}
        with pytest.raises(errors.OptionError, match="cannot be made a folder"):
            verbs.train_weights(tmp_path / "a.toml", **places)  # type: ignore[arg-type]


# -- bad input --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["evaluate", "no_such_weights"], "unknown"),
        (["evaluate", "tweightedpool_rtc_simulated", "--seeds", "-1"], "seed"),
        (["evaluate", "tweightedpool_rtc_simulated", "--data", "missing.hdf5"], "missing.hdf5"),
        (["evaluate", "nowhere", "--outlines", "x.gpkg"], "nowhere"),
        (["calibrate", "tweightedpool_rtc_simulated", "--size", "8"], "weights' window: give 192 or more"),
        (["train", "missing.toml"], "missing.toml"),
        (["evaluate", "x", "--area", "a.gpkg", "--year", "2023"], "--area, --year is for scoring a map"),
        (
            ["evaluate", "x", "--outlines", "x.gpkg", "--seeds", "1", "--register"],
            "--seeds, --register is for scoring w",
        ),
        (["evaluate", "tweightedpool_rtc_simulated", "--data", "a.hdf5", "--size", "64"], "size=64 is for simulated"),
        (["evaluate", "tweightedpool_rtc_simulated", "--only", "SVAL*"], "only='SVAL*' is for a data set"),
        (["calibrate", "tweightedpool_rtc_simulated", "--only", "SVAL*"], "only='SVAL*' is for a data set"),
        (["evaluate", "tweightedpool_rtc_simulated", "--seeds", "5", "5"], "each scene once"),
    ],
)
def test_bad_input_is_one_line(
    command: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        cli.main(command)
    told = capsys.readouterr().err.strip().splitlines()
    assert stop.value.code == 2
    assert len(told) == 1
    assert message in told[0]
    assert not list(tmp_path.iterdir())


def test_a_backend_that_is_not_there_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)  # whether it is installed or not
    with pytest.raises(SystemExit):
        cli.main(["train", "a.toml", "--backend", "torch"])
    assert "--backend torch is not installed: `pip install torch`, or leave it out" in capsys.readouterr().err


def test_an_area_in_degrees_keeps_its_edges_on_the_grid_of_the_map(tmp_path: Path) -> None:
    """A parallel bends in UTM: with its vertices moved alone, a box of 6 degrees would miss the map by kilometres."""
    grid = xr.DataArray(
        np.zeros((160, 180), np.float32),
        {"y": 8_790_500.0 - 1000 * np.arange(160), "x": 410_500.0 + 1000 * np.arange(180)},
        ("y", "x"),
    ).rio.write_crs(32633)
    files = tmp_path / "glaciers.gpkg", tmp_path / "area.gpkg"
    for file, box in zip(files, ((14.9, 78.4, 15.1, 78.5), (12, 78, 18, 79)), strict=True):
        gpd.GeoDataFrame(geometry=[shapely.box(*box)], crs=4326).to_file(file)
    truth = reference.read(files[0], crs=grid.rio.crs, area=files[1])
    known = reference.compared(grid, truth).known
    lon, lat = Transformer.from_crs(32633, 4326, always_xy=True).transform(*np.meshgrid(grid.x, grid.y))
    inside = (lon > 12) & (lon < 18) & (lat > 78) & (lat < 79)
    assert inside.sum() > 14_000
    assert (known != inside).sum() <= 5

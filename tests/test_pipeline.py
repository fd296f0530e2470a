from __future__ import annotations

import inspect
import json
from dataclasses import replace
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import xarray as xr

import icemapper_xr as ix
from icemapper_xr import applicability, catalog, pipeline, store
from icemapper_xr.errors import CubeError, IcemapperError, OptionError, StoreError, UnitsError
from icemapper_xr.settings import MapSettings
from icemapper_xr.testing import CallCounter, FakeSegmenter
from tests import scenes
from tests.support import raise_if_dask_computes


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An indexed folder of two years of backscatter and one of coherence."""
    where = tmp_path_factory.mktemp("catalogue")
    for year in (2022, 2023):
        scenes.write_rtc(where, year=year, seed=year)
    scenes.write_coherence(where)
    catalog.build(where)
    return where


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return scenes.write_weights(tmp_path_factory.mktemp("weights") / "tiny.h5")


def where() -> dict:
    return {"bounds": scenes.inner(), "crs": f"EPSG:{scenes.EPSG}"}


@pytest.mark.parametrize("engine", ["stackstac", "odc"])
def test_the_cube_holds_what_the_files_hold(folder: Path, engine: str) -> None:
    with raise_if_dask_computes():
        ds = ix.open_cube(catalog=folder, year=2023, margin=32, engine=engine, **where())
    assert dict(ds.sizes) == {"time": 15, "y": 90 + 64, "x": 80 + 64}
    for k, item in enumerate(ds.rtc_items.values):
        with rasterio.open(next(folder.glob(f"*{str(item).split('_')[-1]}*.tif"))) as file:
            expected = 10 * np.log10(file.read(1))
        inside = ds.rtc[k].isel(y=slice(2, -2), x=slice(2, -2))
        np.testing.assert_allclose(inside, expected, rtol=1e-5)
    assert np.isnan(ds.rtc[:, :2]).all()
    assert ds.rio.crs.to_epsg() == scenes.EPSG


@pytest.mark.parametrize("engine", ["stackstac", "odc"])
def test_a_catalogued_raster_that_tags_scale_is_refused(tmp_path: Path, engine: str) -> None:
    """Power of 0.056 as 560 with a scale of 1e-4 was 27 dB. The folder was indexed before it became so."""
    files = scenes.write_rtc(tmp_path)
    catalog.build(tmp_path)
    with rasterio.open(files[3], "r+") as file:
        file.scales = (1e-4,)
    ds = ix.open_cube(catalog=tmp_path, year=2023, margin=32, engine=engine, **where())
    with pytest.raises(UnitsError, match=rf"{files[3].name} \(item .* by 0.0001 and 0 added.*gdal_translate -unscale"):
        ds.compute()


def test_an_area_is_taken_from_a_local_catalogue_if_none_is_named(folder: Path) -> None:
    ds = ix.open_cube(catalog=folder, year=2023, margin=0)
    assert dict(ds.sizes) == {"time": 15, "y": scenes.SHAPE[0], "x": scenes.SHAPE[1]}


def test_a_catalogue_on_the_net_wants_an_area() -> None:
    with pytest.raises(OptionError, match="bbox"):
        ix.open_cube(catalog="planetary-computer", year=2023)


def test_predict_does_not_depend_on_area_or_chunks(folder: Path) -> None:
    segmenter = FakeSegmenter(features=("rtc", "insar"), window=32)
    options = {"catalog": folder, "year": 2023, "features": ("rtc", "insar"), "margin": 32}
    with raise_if_dask_computes():
        wide = ix.open_cube(bounds=scenes.inner(35), crs=scenes.EPSG, **options)
        lazy = wide.icemapper.predict(weights=segmenter)
    whole = lazy.compute()
    small = ix.open_cube(bounds=scenes.inner(47), crs=scenes.EPSG, chunk=48, **options)
    for candidate in (small, small.chunk(y=17, x=90), small.compute()):
        part = ix.predict(candidate, weights=segmenter)
        same = whole.probability.sel(y=part.y, x=part.x)
        np.testing.assert_allclose(part.probability, same, atol=1e-6)
    assert int(whole.n_obs.min()) == 15
    assert json.loads(whole.attrs["icemapper_settings"])["window"] == 32
    assert len(whole.attrs["item_ids"]) == 30


def test_map_writes_a_cube_and_outlines_and_resumes(folder: Path, tmp_path: Path) -> None:
    counter = CallCounter()
    segmenter = FakeSegmenter(window=32, counter=counter, context=1.0)
    options = {"catalog": folder, "weights": segmenter, "out": tmp_path / "out", "years": (2022, 2023), **where()}
    report = pipeline.map_glaciers(**options)
    assert [year.year for year in report.years] == [2022, 2023]
    assert all(year.steps == 15 and not year.missing and year.relative_orbit == 14 for year in report.years)
    assert report.windows.evaluated == counter.windows > 0

    stored = ix.open_store(report.store)
    assert stored.rio.crs.to_epsg() == scenes.EPSG
    assert dict(stored.sizes) == {"year": 2, "y": 90, "x": 80}
    cube = ix.open_cube(catalog=folder, year=2023, margin=32, **where())
    expected = ix.predict(cube, weights=segmenter).probability
    np.testing.assert_allclose(stored.probability.sel(year=2023), expected, atol=1e-6)

    shapes = gpd.read_file(report.outlines)
    assert set(shapes.year) == {2022, 2023}
    assert shapes.crs.to_epsg() == 4326
    radius = min(scenes.SHAPE) / 4 * 10
    assert shapes.area_km2.groupby(shapes.year).sum().to_numpy() == pytest.approx(np.pi * radius**2 / 1e6, rel=0.05)

    # What `icemapper outlines` writes, flags and all.
    _, drawn = pipeline.outlines_of_run(tmp_path / "out")
    assert set(shapes.columns) == set(drawn.columns)
    assert {"years_seen", "snow_suspect"} <= set(shapes.columns)
    assert shapes.geometry.geom_equals_exact(drawn.geometry, 0).all()

    counter.windows = 0
    again = pipeline.map_glaciers(**options)
    assert counter.windows == 0
    assert [year.units for year in again.years] == [0, 0]
    assert [year.area_km2 for year in again.years] == [year.area_km2 for year in report.years]


def test_years_can_be_added_later(folder: Path, tmp_path: Path) -> None:
    options = {"catalog": folder, "weights": FakeSegmenter(window=32), "out": tmp_path / "out", **where()}
    pipeline.map_glaciers(years=(2023,), **options)
    report = pipeline.map_glaciers(years=(2022,), **options)
    assert [year.year for year in report.years] == [2022]
    assert sorted(set(gpd.read_file(report.outlines).year)) == [2022, 2023]
    stored = ix.open_store(report.store)
    assert stored.year.values.tolist() == [2022, 2023]
    # What belongs to one year must not be said of all.
    assert "first_date" not in stored.attrs
    first = {year: facts["attrs"]["first_date"] for year, facts in store.provenance(report.store)["years"].items()}
    assert {year: day[:4] for year, day in first.items()} == {2022: "2022", 2023: "2023"}


def test_a_store_of_another_run_is_refused_and_stays(folder: Path, tmp_path: Path) -> None:
    options = {"catalog": folder, "out": tmp_path / "out", "years": (2023,), **where()}
    pipeline.map_glaciers(weights=FakeSegmenter(window=32), **options)
    before = ix.open_store(tmp_path / "out" / "glaciers.zarr").probability.values
    with pytest.raises(StoreError, match="digest"):
        pipeline.map_glaciers(weights=FakeSegmenter(window=32, context=0.5), **options)
    np.testing.assert_array_equal(ix.open_store(tmp_path / "out" / "glaciers.zarr").probability.values, before)


def test_coarser_rasters_are_mapped_when_told_how(tmp_path: Path) -> None:
    for k, when in enumerate(scenes.passes()):
        scenes.write_raster(
            tmp_path / f"rtc_S1A_IW_VV_ro014_{when:%Y%m%dT%H%M%S}.tif",
            scenes.values(k),
            resolution=30.0,
            left=519_990.0,
            top=8_690_010.0,
            feature="rtc",
            quantity="gamma0",
            scale="power",
            acquired=when.isoformat(),
        )
    catalog.build(tmp_path)
    segmenter = FakeSegmenter(window=32)
    area = {"bounds": (520_500, 8_687_010, 522_000, 8_688_510), "crs": "EPSG:32633"}
    with pytest.raises(CubeError, match="30"):
        ix.open_cube(catalog=tmp_path, year=2023, **area)
    cube = ix.open_cube(catalog=tmp_path, year=2023, resolution=30, margin=13, **area)
    with pytest.raises(CubeError, match="resample"):
        ix.predict(cube, weights=segmenter)
    result = ix.predict(cube, weights=segmenter, resample="bilinear").compute()
    assert dict(result.sizes) == {"y": 150, "x": 150}
    assert np.isfinite(result.probability).all()
    report = pipeline.map_glaciers(
        catalog=tmp_path,
        weights=segmenter,
        out=tmp_path / "out",
        years=(2023,),
        resolution=30,
        resample="bilinear",
        **area,
    )
    stored = ix.open_store(report.store).probability.sel(year=2023)
    np.testing.assert_allclose(stored, result.probability, atol=1e-5)


def test_an_unknown_resampling_is_refused_on_the_right_pixel_size_too(folder: Path) -> None:
    cube = ix.open_cube(catalog=folder, year=2023, margin=32, **where())
    with pytest.raises(OptionError, match="resampling 'cubic' is unknown; use nearest, bilinear, average"):
        ix.predict(cube, weights=FakeSegmenter(window=32), resample="cubic")
    assert ix.predict(cube, weights=FakeSegmenter(window=32), resample="average").sizes == {"y": 90, "x": 80}


def test_weights_that_do_not_say_their_features_have_an_applicability(folder: Path, tmp_path: Path) -> None:
    path = scenes.write_weights(tmp_path / "mute.h5", said=("window", "pixel_size", "n_steps"))
    cube = ix.open_cube(catalog=folder, year=2023, margin=32, **where()).compute()
    for ask in (
        lambda: ix.predict(cube, weights=path, features=("rtc",), applicability=True),
        lambda: cube.icemapper.applicability(weights=path),
    ):
        with pytest.raises(OptionError, match=r"nothing is known of the training data of the weights \S*mute\.h5"):
            ask()
    rows = [applicability.summaries([cube.rtc.values[:, :96, :96]]).reshape(-1, 8).repeat(2 + k, 0) for k in range(8)]
    model = applicability.fit(rows, features=("rtc",), pixel_size=10.0, source="here")
    applicability.write(model, applicability.beside(path))
    result = ix.predict(cube, weights=path, features=("rtc",), applicability=True)
    xr.testing.assert_equal(
        result.applicability, cube.icemapper.applicability(weights=path).sel(y=result.y, x=result.x)
    )


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"years": ()}, "no year"),
        ({"start": "7"}, "start is '7': not a month and day; write MM-DD, for example 07-01"),  # July to pandas
        ({"start": "01.07.2023"}, "start is '01.07.2023': not a month"),
        ({"start": "13-01"}, "start is '13-01': not a month"),
        ({"start": "02-29"}, "start: '2023-02-29' is not a date"),
        ({"times": tuple(f"{day:02}.06.2023" for day in range(1, 16))}, "times: '01.06.2023' is not a date"),
        ({"years": (2099,)}, "future"),
        ({"years": (2010,)}, "2010"),
        ({"overlap": 0.9}, "overlap"),
        ({"orbit": 200}, "orbit"),
        ({"nonsense": 1}, "nonsense"),
        ({"catalog": "no/such/folder"}, "no/such/folder"),
        ({"catalog": "nosuch", **dict.fromkeys(where())}, "nosuch is no catalogue: .* the presets are"),
        ({"catalog": "cdse", **dict.fromkeys(where())}, "no area is named for the catalogue cdse"),
        ({"weights": "no-such-weights"}, "no-such-weights"),
        ({"features": ("insar",)}, "insar"),
        ({"times": ("2023-01-11",) * 3}, "15"),
        ({"min_steps": 16}, "min_steps"),
        ({"orbit": 99}, "99"),
        ({"polarisation": "VV"}, "VV"),
    ],
)
def test_bad_input_is_refused_and_leaves_nothing(
    folder: Path, weights: Path, tmp_path: Path, change: dict, match: str
) -> None:
    options = {"catalog": folder, "weights": weights, "out": tmp_path / "out", "years": (2023,), **where()}
    with pytest.raises(IcemapperError, match=match):
        pipeline.map_glaciers(**{**options, **change})
    assert not (tmp_path / "out").exists()


def test_a_folder_of_somebody_else_is_left_alone(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("do not lose this")
    with pytest.raises(StoreError, match="not ours"):
        pipeline.map_glaciers(catalog=folder, weights=FakeSegmenter(window=32), out=tmp_path, years=(2023,), **where())
    assert (tmp_path / "thesis.txt").read_text() == "do not lose this"


def test_a_map_whose_replacement_was_cut_off_goes_on(folder: Path, tmp_path: Path) -> None:
    """Killed between the two renames of --overwrite: the old cube is hidden, the new one is not in its place."""
    options = {
        "catalog": folder,
        "weights": FakeSegmenter(window=32),
        "out": tmp_path / "out",
        "years": (2023,),
        **where(),
    }
    pipeline.map_glaciers(**options)
    cube = tmp_path / "out" / "glaciers.zarr"
    before = ix.open_store(cube).load()
    cube.rename(cube.with_name(".glaciers.zarr.old"))
    pipeline.map_glaciers(**options)
    assert not cube.with_name(".glaciers.zarr.old").exists()
    xr.testing.assert_identical(ix.open_store(cube).load(), before)


def test_what_is_wrong_with_other_years_is_no_matter_of_this_one(folder: Path) -> None:
    """A search result holds all years; as a search of one year does, a cube looks at its own."""
    found = ix.search(folder, features="rtc")
    one = next(one for one in found.observations if one.acquired.year == 2023)
    bad = replace(one, quantity="unknown", acquired=one.acquired.replace(year=2016))
    mixed = replace(found, observations=(*found.observations, bad))
    options = {"year": 2023, "margin": 32, "features": "rtc", **where()}
    xr.testing.assert_identical(ix.open_cube(catalog=mixed, **options), ix.open_cube(catalog=found, **options))
    with pytest.raises(IcemapperError, match="not known what quantity"):
        ix.open_cube(
            catalog=replace(found, observations=(*found.observations, replace(one, quantity="unknown"))), **options
        )


def test_one_feature_may_be_named_alone(folder: Path) -> None:
    assert list(ix.open_cube(catalog=folder, year=2023, margin=32, features="rtc", **where())) == ["rtc"]  # type: ignore[arg-type]
    assert MapSettings.checked(catalog="c", weights="w", features="rtc").features == ("rtc",)
    with pytest.raises(OptionError, match=r"^tresh is no setting; there are .*, threshold, min_area_km2"):
        MapSettings.checked(catalog="c", weights="w", tresh=0.5)
    with pytest.raises(OptionError, match="feature 'slc' is unknown"):
        ix.open_cube(catalog=folder, year=2023, features="slc", **where())  # type: ignore[arg-type]


def test_fewer_steps_need_leave(tmp_path: Path) -> None:
    scenes.write_rtc(tmp_path, drop=(0, 1, 2, 3, 4, 5))
    catalog.build(tmp_path)
    with pytest.raises(CubeError, match="min_steps"):
        ix.open_cube(catalog=tmp_path, year=2023, **where())
    with pytest.warns(UserWarning, match="6"):
        ds = ix.open_cube(catalog=tmp_path, year=2023, min_steps=9, margin=32, **where())
    assert np.isnat(ds.rtc_time[:6]).all()
    assert np.isnan(ds.rtc[:6]).all()
    result = ix.predict(ds, weights=FakeSegmenter(window=32))
    assert int(result.n_obs.max()) == 9


def test_every_accessor_method_has_a_function_twin_and_its_docstring() -> None:
    from icemapper_xr import accessor

    empty = xr.Dataset()
    for kind in (accessor.IcemapperDataset, accessor.IcemapperDataArray):
        for name in [name for name in vars(kind) if not name.startswith("_")]:
            twin = getattr(pipeline, name)
            assert getattr(kind(empty), name).__doc__ == twin.__doc__
            wanted = list(inspect.signature(twin).parameters)[1:]  # the first is the object itself
            assert list(inspect.signature(getattr(kind(empty), name)).parameters) == wanted
            assert twin.__doc__


def test_accessor_methods_do_what_the_functions_do(folder: Path, tmp_path: Path) -> None:
    ds = ix.open_cube(catalog=folder, year=2023, margin=32, **where())
    assert len(ds.icemapper.coverage()) == 15
    scaled = ds.icemapper.normalise()
    assert scaled.rtc.attrs["units"] == "1"
    result = ds.icemapper.predict(weights=FakeSegmenter(window=32))
    report = result.icemapper.to_zarr(tmp_path / "a.zarr")
    assert report.written == 1
    assert len(result.icemapper.outlines()) == len(result.probability.icemapper.outlines()) == len(ix.outlines(result))


def test_public_names_resolve() -> None:
    for name in ix.__all__:
        assert getattr(ix, name) is not None
    with pytest.raises(AttributeError):
        _ = ix.no_such_name

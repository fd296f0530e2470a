from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine

import icemapper_xr as ix
from icemapper_xr import catalog, cli, demo, vectorise
from icemapper_xr.errors import OptionError, StoreError
from icemapper_xr.settings import MapSettings
from icemapper_xr.testing import FakeSegmenter
from icemapper_xr.training import places, verbs
from tests import scenes

BOUNDS = [str(int(edge)) for edge in scenes.inner()]
AREA = ["--bounds", *BOUNDS, "--crs", f"EPSG:{scenes.EPSG}"]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return scenes.write_weights(tmp_path_factory.mktemp("weights") / "tiny.h5")


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """Run the command in this process; returns exit code, output and errors."""
    code = 0
    try:
        cli.main([str(argument) for argument in arguments])
    except SystemExit as stop:
        code = int(stop.code or 0)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """Run what has to fail; returns its one line."""
    code, _, err = run(capsys, *arguments)
    lines = [line for line in err.splitlines() if not line.startswith("warning:")]
    assert code == 2, err
    assert len(lines) == 1, err
    assert lines[0].startswith("icemapper: ")
    assert "Traceback" not in err
    return lines[0]


def test_home_is_understood_by_every_verb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They made a folder called ~ where the user was."""
    home, here = tmp_path / "home", tmp_path / "here"
    (home / "taken").mkdir(parents=True)
    (home / "taken" / "mine.txt").write_text("mine")
    here.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(here)
    with pytest.raises(StoreError, match=rf"^{home}/taken holds files that the demo did not write"):
        demo.run(out="~/taken", weights=FakeSegmenter(window=32))
    with pytest.raises(OptionError, match=rf"{home}/none\.toml"):
        verbs.train_weights("~/none.toml")
    with places.folders("~/scores", None):
        assert (home / "scores").is_dir()
    shape = gpd.GeoDataFrame({"year": [2023]}, geometry=[shapely.box(15, 78, 16, 79)], crs=4326)
    assert vectorise.write(shape, "~/ice.gpkg") == home / "ice.gpkg"
    assert len(vectorise.read("~/ice.gpkg")) == 1
    assert not any(here.iterdir())


def test_tokens_are_not_printed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    url = "http://bob:SECRET@127.0.0.1:9/stac?token=SECRET"
    assert "SECRET" not in refused(capsys, "search", url, "--bbox", "15", "78", "16", "79")

    def defect(*_: object, **__: object) -> None:
        warnings.warn(f"{url} is slow", UserWarning, stacklevel=1)
        raise RuntimeError(f"{url} broke")

    monkeypatch.setattr(catalog, "search", defect)
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        code, _, err = run(capsys, "search", url)
    assert code == 1
    assert err.count("***@127.0.0.1:9/stac?token=*** ") == 2
    assert "SECRET" not in err


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "does not fit (No space left on device): make room"),
        (MemoryError("Unable to allocate 4 PiB"), "memory does not suffice (Unable to allocate 4 PiB): take a smaller"),
        (MemoryError(), "memory does not suffice (MemoryError): take"),
    ],
)
def test_a_full_disk_and_too_little_memory_are_no_defects(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, error: Exception, said: str
) -> None:
    def full(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(catalog, "search", full)
    assert said in refused(capsys, "search", "here")


def test_a_crs_that_there_is_not_is_refused_by_search(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    box = ("--bbox", "15", "78", "16", "79")
    assert "crs 'EPSG:nonsense' is not one" in refused(capsys, "search", tmp_path, *box, "--crs", "EPSG:nonsense")


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--simplify", "inf", "simplify=inf"),
        ("--sea-level", "nan", "--sea-level nan counts with --dem only: give that, too, or leave it out"),
        ("--year", "2023.5", "2023.5 is no whole number"),
    ],
)
def test_outlines_refuses_numbers_without_a_meaning(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, option: str, value: str, said: str
) -> None:
    assert said in refused(capsys, "outlines", tmp_path, option, value)


def test_the_height_of_the_sea_is_a_number(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    asked = ("outlines", tmp_path, "--dem", tmp_path / "dem.tif", "--sea-level", "nan")
    assert "sea_level=nan: give a height in metres" in refused(capsys, *asked)


@pytest.mark.parametrize("command", [("map", "--out", "o"), ("plan",)])
@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--orbit", "13.6"), "Invalid value for --orbit: 13.6 is no whole number: give one"),
        (("--baseline", "inf"), "inf is no whole number"),
        (("--baseline", "six"), 'unable to convert "six" into int'),
        (("--tile", "4"), "--tile 4 counts with --region only: give that, too, or leave it out"),
        (("--mask-buffer", "500"), "--mask-buffer 500.0 counts with --mask only"),
    ],
)
def test_options_that_would_be_rounded_or_count_for_nothing_are_refused(
    capsys: pytest.CaptureFixture[str], command: tuple[str, ...], options: tuple[str, ...], said: str
) -> None:
    asked = (*command, "--catalog", "c", "--weights", "w", "--bbox", "15", "78", "16", "79", *options)
    assert said in refused(capsys, *asked)


def test_whole_numbers_may_be_written_with_a_point() -> None:
    _, found, _ = cli.app.parse_args(["plan", "--catalog", "c", "--weights", "w", "--region", "07", "--tile", "4.0"])
    assert found.arguments["tile"] == 4


@pytest.mark.parametrize("name", ["min_area_km2", "mask_buffer", "resolution"])
@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_settings_of_a_map_are_finite(name: str, value: float) -> None:
    with pytest.raises(OptionError, match=f"{name} is {value}: input should be a finite number"):
        MapSettings.checked(catalog="c", weights="w", **{name: value})


def test_help_needs_no_heavy_imports() -> None:
    program = (
        "import sys; sys.argv = ['icemapper', '--help'];\n"
        "from icemapper_xr import cli\n"
        "try:\n    cli.main(['map', '--help'])\nexcept SystemExit:\n    pass\n"
        "heavy = {'xarray', 'tensorflow', 'keras', 'geopandas', 'rasterio', 'dask', 'numpy'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--catalog" in done.stdout


def test_names_that_the_output_s_encoding_lacks_are_written_in_ascii(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "Øst").symlink_to(folder, target_is_directory=True)
    command = [sys.executable, "-m", "icemapper_xr", "search", "--catalog", str(tmp_path / "Øst")]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert "\\xd8st" in done.stdout


def test_a_list_of_regions_ends_at_the_next_option() -> None:
    """`--region 07 --mask land.gpkg` once planned the regions 07, --mask and land.gpkg."""
    for command in (["map", "--out", "o"], ["plan"]):
        asked = [*command, "--catalog", "c", "--weights", "w", "--region", "07", "north.gpkg", "--mask", "land.gpkg"]
        _, found, _ = cli.app.parse_args(asked, exit_on_error=False, print_error=False)
        assert found.arguments["region"] == ["07", "north.gpkg"]
        assert found.arguments["mask"] == Path("land.gpkg")


def test_help_shows_every_default_in_words(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Markdown takes <...> for a tag and shows nothing."""
    monkeypatch.setenv("COLUMNS", "200")
    for command, default in (("train", "default: scratch/NAME"), ("calibrate", "default: NAME_calibration.json")):
        _, out, _ = run(capsys, command, "--help")
        assert default in out


def test_importing_the_package_starts_neither_tensorflow_nor_keras() -> None:
    program = (
        "import sys, icemapper_xr, xarray; heavy = {'tensorflow', 'keras', 'openvino'} & set(sys.modules);"
        "assert not heavy, heavy; xarray.Dataset().rio; xarray.Dataset().icemapper"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_map_end_to_end(folder: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    command = ("map", "--catalog", folder, *AREA, "--year", 2023, "--weights", weights, "--out", out)
    code, text, err = run(capsys, *command)
    assert code == 0, err
    assert "windows evaluated" in text
    assert "platforms\n" in text
    assert "S1A\n" in text
    stored = ix.open_store(out / "glaciers.zarr")
    assert dict(stored.sizes) == {"year": 1, "y": 90, "x": 80}
    with rasterio.open(next(folder.glob("*.tif"))) as file:
        assert file.crs == stored.rio.crs
    assert gpd.read_file(out / "outlines.gpkg").crs.to_epsg() == 4326
    flown = gpd.read_file(out / "orbits.gpkg")
    assert flown[["year", "steps_valid", "scenes"]].to_numpy().tolist() == [[2023, 15, 15]]
    assert flown.to_crs(stored.rio.crs).area[0] == pytest.approx(80 * 90 * 100, rel=1e-6)
    assert "tiny" in (out / "run.json").read_text()

    code, text, err = run(capsys, *command)
    assert code == 0, err
    assert "0 windows evaluated" in text

    code, text, err = run(capsys, "outlines", out, tmp_path / "more.geojson", "--threshold", "0.3")
    assert code == 0, err
    assert len(gpd.read_file(tmp_path / "more.geojson")) == int(text.split()[1])


def test_times_override_the_rules(
    folder: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    days = [f"{when:%Y-%m-%d}" for when in scenes.passes()]
    code, text, err = run(
        capsys, "map", "--catalog", folder, *AREA, "--times", *days, "--weights", weights, "--out", tmp_path / "out"
    )
    assert code == 0, err
    assert days[0] in text
    assert days[-1] in text


def test_missing_steps_are_reported(weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    scenes.write_rtc(tmp_path / "data", drop=(2, 7))
    catalog.build(tmp_path / "data")
    code, text, err = run(
        capsys,
        "map",
        "--catalog",
        tmp_path / "data",
        *AREA,
        "--year",
        2023,
        "--weights",
        weights,
        "--out",
        out,
    )
    assert code == 0, err
    assert "2 missing steps" in text
    assert int(ix.open_store(out / "glaciers.zarr").n_obs.max()) == 13


def test_search_and_catalog_build(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scenes.write_rtc(tmp_path / "data")
    code, text, err = run(capsys, "catalog", "build", tmp_path / "data")
    assert code == 0, err
    assert "15 items" in text
    code, text, err = run(capsys, "search", tmp_path / "data", *AREA, "--out", tmp_path / "found.parquet")
    assert code == 0, err
    assert "HH" in text
    assert len(gpd.read_parquet(tmp_path / "found.parquet")) == 15


def test_apply_writes_two_bands_that_add_up_to_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = scenes.write_weights(tmp_path / "tiny.h5", features=("grd", "insar"))
    rng = np.random.default_rng(0)
    grd = [scenes.write_raster(tmp_path / f"g{k:02d}.tif", rng.normal(-12, 3, (70, 50))) for k in range(15)]
    insar = [scenes.write_raster(tmp_path / f"c{k:02d}.tif", rng.uniform(0, 1, (70, 50))) for k in range(15)]
    command = ("apply", tmp_path / "out.tif", "--grd", *grd, "--insar", *insar, "--weights", weights)
    code, _, err = run(capsys, *command)
    assert code == 0, err
    with rasterio.open(tmp_path / "out.tif") as file:
        assert file.count == 2
        assert file.shape == (70, 50)
        np.testing.assert_allclose(file.read().sum(axis=0), 1, atol=1e-6)
    assert "exists already" in refused(capsys, *command)
    assert sorted(path.suffix for path in tmp_path.iterdir()).count(".tif") == 31


def test_apply_on_a_full_disk_keeps_the_map_that_was_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """GDAL writes when it closes the file, and says nothing if that fails."""
    weights = scenes.write_weights(tmp_path / "tiny.h5")
    rasters = [scenes.write_raster(tmp_path / f"g{k:02d}.tif", np.full((70, 50), -10.0 - k)) for k in range(15)]
    command = ("apply", tmp_path / "out.tif", "--rtc", *rasters, "--weights", weights, "--overwrite")
    assert run(capsys, *command)[0] == 0
    before = (tmp_path / "out.tif").read_bytes()
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, limits[1]))
    try:
        code, _, err = run(capsys, *command)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, ignored)
    assert code == 2
    assert "out.tif could not be written" in err
    assert (tmp_path / "out.tif").read_bytes() == before
    assert not list(tmp_path.glob(".*"))


@pytest.mark.filterwarnings("default::UserWarning")
def test_apply_warns_of_the_order_of_the_alphabet_and_of_other_pixels(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = scenes.write_weights(tmp_path / "tiny.h5")
    rasters = [scenes.write_raster(tmp_path / f"g{k}.tif", np.full((70, 50), -10.0 - k)) for k in range(1, 16)]
    command = ("apply", tmp_path / "out.tif", "--weights", weights, "--overwrite", "--rtc")
    code, _, err = run(capsys, *command, *sorted(rasters))
    assert code == 0
    assert "rtc: g10.tif comes before g2.tif" in err
    assert "pixels" not in err
    assert "comes before" not in run(capsys, *command, *rasters)[2]
    coarse = [
        scenes.write_raster(tmp_path / f"c{k:02d}.tif", np.full((70, 50), -10.0), resolution=30.0) for k in range(15)
    ]
    code, _, err = run(capsys, *command, *coarse)
    assert code == 0
    assert "pixels of 30 metre, the weights were trained on 10 m" in err
    with rasterio.open(rasters[0]) as file:
        square = file.transform
    for shape, said in (
        (square * Affine.rotation(90), None),
        (square * Affine.rotation(30), None),
        (square * Affine.scale(1, 2), "10 x 20 metre"),
    ):
        with rasterio.open(rasters[0], "r+") as file:
            file.transform = shape
        code, _, err = run(capsys, *command, *rasters)
        assert code == 0
        assert ("pixels of" in err) is (said is not None)
        assert (said or "") in err


def test_apply_takes_urls(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = scenes.write_weights(tmp_path / "tiny.h5")
    urls = [f"http://127.0.0.1:9/g{k:02d}.tif" for k in range(15)]
    assert urls[0] in refused(capsys, "apply", tmp_path / "out.tif", "--rtc", *urls, "--weights", weights)


# -- bad input: one clear line, exit code 2, nothing left behind ------------------------------------------------------


def mixed(folder: Path, **second: object) -> Path:
    scenes.write_rtc(folder, drop=tuple(range(7, 15)))
    scenes.write_rtc(folder, drop=tuple(range(7)), **second)  # type: ignore[arg-type]
    return folder


def with_tag(folder: Path, **tags: str) -> Path:
    scenes.write_rtc(folder)
    for path in folder.glob("*.tif"):
        with rasterio.open(path, "r+") as file:
            file.update_tags(**{f"ICEMAPPER_{key.upper()}": value for key, value in tags.items()})
    return folder


def two_units(folder: Path) -> Path:
    with_tag(folder)
    for path in sorted(folder.glob("*.tif"))[:7]:
        with rasterio.open(path, "r+") as file:
            file.update_tags(ICEMAPPER_QUANTITY="sigma0")
    return folder


def coarse(folder: Path) -> Path:
    for k, when in enumerate(scenes.passes()):
        scenes.write_raster(
            folder / f"rtc_S1A_IW_VV_ro014_{when:%Y%m%dT%H%M%S}.tif",
            scenes.values(k),
            resolution=30.0,
            feature="rtc",
            quantity="gamma0",
            scale="power",
        )
    return folder


CATALOGUES: dict[str, tuple[Callable[[Path], Path], list[str], str]] = {
    "too few dates": (lambda f: mixed(f, orbit=14) and drop_files(f, 6), [], "min.steps"),
    "mixed polarisations": (lambda f: mixed(f, polarisation="VV"), [], "14 HH 7"),
    "mixed orbits": (lambda f: mixed(f, orbit=87), [], "orbit"),
    "mixed quantities": (two_units, [], "sigma0"),
    "unknown scale": (lambda f: with_tag(f, scale="unknown"), [], "scale"),
    "EW": (lambda f: with_tag(f, mode="EW"), [], "EW"),
    "another pixel size": (coarse, [], "30"),
    "nothing there": (with_tag, ["--bounds", "600000", "8600000", "601000", "8601000", "--crs", "EPSG:32633"], "area"),
    "a year without data": (with_tag, ["--year", "2019"], "time"),
}


def drop_files(folder: Path, keep: int) -> Path:
    for path in sorted(folder.glob("*.tif"))[keep:]:
        path.unlink()
    return folder


@pytest.mark.parametrize("case", CATALOGUES)
def test_bad_catalogues(case: str, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make, extra, word = CATALOGUES[case]
    made = make(tmp_path / "data")
    catalog.build(made)
    area = [] if "--bounds" in extra else AREA
    year = [] if "--year" in extra else ["--year", "2023"]
    line = refused(
        capsys, "map", "--catalog", made, *area, *year, *extra, "--weights", weights, "--out", tmp_path / "out"
    )
    assert word.replace(".", "") in line.replace("_", "").replace("-", "") or word in line
    assert not (tmp_path / "out").exists()


def test_mixed_baselines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = scenes.write_weights(tmp_path / "tiny.h5", features=("rtc", "insar"))
    scenes.write_rtc(tmp_path / "data")
    for path in scenes.write_coherence(tmp_path / "data", baseline=12)[::2]:
        path.unlink()
    for path in scenes.write_coherence(tmp_path / "more", baseline=24)[::2]:
        path.rename(tmp_path / "data" / path.name)
    catalog.build(tmp_path / "data")
    line = refused(
        capsys,
        *("map", "--catalog", tmp_path / "data", *AREA, "--year", 2023),
        *("--weights", weights, "--out", tmp_path / "out"),
    )
    assert "12" in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--bbox", "16", "79", "15", "78"], "79"),
        (["--bbox", "15", "78", "16"], "bbox"),
        (["--bbox", "11.9", "60", "12.1", "60.1"], "32632"),
        (["--bbox", "-10", "95", "10", "96"], "95"),
        ([*AREA, "--year", "2999"], "future"),
        ([*AREA, "--year", "20x3"], "20x3"),
        ([*AREA, "--years", "2024:2016"], "2024"),
        ([*AREA, "--weights", "no_such_weights"], "no_such_weights"),
        ([*AREA, "--features", "insar"], "insar"),
        ([*AREA, "--orbit", "300"], "300"),
        ([*AREA, "--min-steps", "0"], "min_steps"),
        ([*AREA, "--overlap", "0.8"], "overlap"),
        ([*AREA, "--gap", "mean"], "mean"),
        (["--bounds", *BOUNDS, "--crs", "EPSG:99999999"], "99999999"),
        (["--bounds", *BOUNDS], "(--bbox)"),
        ([*AREA, "--times", "2023-01-11", "2023-02-04"], "15"),
        (["--geometry", "no_such_file.gpkg"], "no_such_file"),
        (["--no-such-option"], "no-such-option"),
    ],
)
def test_bad_options(
    arguments: list[str], word: str, folder: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--catalog", folder, "--out", tmp_path / "out"]
    given += [] if "--weights" in arguments else ["--weights", weights]
    given += [] if any(option.startswith("--year") for option in arguments) else ["--year", "2023"]
    assert word in refused(capsys, "map", *given, *arguments)
    assert not (tmp_path / "out").exists()


def test_bad_weights_files(folder: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import h5py

    text, cut, other = tmp_path / "text.h5", tmp_path / "cut.h5", tmp_path / "other.h5"
    text.write_text("not a weights file")
    cut.write_bytes(weights.read_bytes()[:20_000])
    with h5py.File(other, "w") as file:
        file.create_group("dense").create_dataset("kernel:0", data=np.zeros((3, 3)))
    bare = tmp_path / "bare.h5"
    bare.write_bytes(weights.read_bytes())
    with h5py.File(bare, "r+") as file:
        del file.attrs["features"]
    command = ["map", "--catalog", folder, *AREA, "--year", "2023", "--out", tmp_path / "out", "--weights"]
    for path in (text, cut, other, tmp_path / "missing.h5"):
        assert path.name in refused(capsys, *command, path)
    assert "features" in refused(capsys, *command, bare)
    assert not (tmp_path / "out").exists()


def test_an_output_of_another_run_is_refused(
    folder: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["map", "--catalog", folder, *AREA, "--year", "2023", "--weights", weights, "--out", tmp_path / "out"]
    assert run(capsys, *command)[0] == 0
    line = refused(capsys, *command, "--gap", "zero")
    assert "gap" in line
    assert run(capsys, *command, "--gap", "zero", "--overwrite")[0] == 0


def test_bad_rasters(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = scenes.write_weights(tmp_path / "tiny.h5")
    rasters = [scenes.write_raster(tmp_path / f"g{k:02d}.tif", np.full((40, 40), -10.0 - k)) for k in range(15)]
    text, cut = tmp_path / "text.tif", tmp_path / "cut.tif"
    text.write_text("not a raster")
    cut.write_bytes(rasters[0].read_bytes()[:3000])
    command = ["apply", tmp_path / "out.tif", "--weights", weights, "--rtc"]
    for bad in (text, cut, tmp_path / "missing.tif"):
        assert bad.name in refused(capsys, *command, *rasters[:14], bad)
    assert "15" in refused(capsys, *command, *rasters[:14])
    assert "insar" in refused(capsys, "apply", tmp_path / "out.tif", "--weights", weights, "--insar", *rasters)
    assert "no_such_folder" in refused(
        capsys, "apply", tmp_path / "no_such_folder" / "out.tif", "--weights", weights, "--rtc", *rasters
    )
    assert "out.png" in refused(capsys, "apply", tmp_path / "out.png", "--weights", weights, "--rtc", *rasters)
    power = [scenes.write_raster(tmp_path / f"p{k:02d}.tif", np.full((40, 40), 0.1)) for k in range(15)]
    assert "convert the files to dB (10 log10)" in refused(capsys, *command, *power)
    for path in (text, cut):
        (tmp_path / "data").mkdir(exist_ok=True)
        (tmp_path / "data" / path.name).write_bytes(path.read_bytes())
        assert path.name in refused(capsys, "catalog", "build", tmp_path / "data")
        (tmp_path / "data" / path.name).unlink()
    assert not (tmp_path / "out.tif").exists()


def test_raw_grd_is_refused_with_the_remedy(shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import json

    path = shared / "real" / "stac" / "pc_sentinel-1-grd_item.json"
    item = json.loads(path.read_text())["features"][0]
    weights = scenes.write_weights(tmp_path / "tiny.h5", features=("grd",))
    west, south, east, north = shapely.geometry.shape(item["geometry"]).bounds
    x, y = (west + east) / 2, (south + north) / 2
    line = refused(
        capsys,
        *("map", "--catalog", path, "--bbox", x, y, x + 0.05, y + 0.05, "--year", item["properties"]["datetime"][:4]),
        *("--weights", weights, "--out", tmp_path / "out", "--min-steps", 1),
    )
    assert "rtc" in line
    assert not (tmp_path / "out").exists()


def test_outputs_that_cannot_be_written(
    folder: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    mapping = ["map", "--catalog", folder, *AREA, "--year", "2023", "--weights", weights]
    assert "file/out" in refused(capsys, *mapping, "--out", blocked / "out")
    assert "file is a file" in refused(capsys, *mapping, "--out", blocked)
    assert "file" in refused(capsys, "catalog", "build", folder, "--out", blocked / "out")
    assert "file" in refused(capsys, "search", folder, "--out", blocked / "found.json")
    assert "file" in refused(capsys, "demo", "--out", blocked / "demo", "--size", "200")
    assert run(capsys, *mapping, "--out", tmp_path / "out")[0] == 0
    assert "file/a.gpkg" in refused(capsys, "outlines", tmp_path / "out", blocked / "a.gpkg")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "out"]


def test_weights_list_and_info(weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, text, err = run(capsys, "weights", "list")
    assert code == 0, err
    assert "tweightedpool_rtc" in text
    code, text, err = run(capsys, "weights", "info", weights)
    assert code == 0, err
    assert '"window": 32' in text


def test_demo_empties_its_folder_and_leaves_it_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "old" / "map").mkdir(parents=True)
    (tmp_path / "old" / demo.MARKER).touch()
    (tmp_path / "link").symlink_to(tmp_path / "old")
    monkeypatch.chdir(tmp_path / "old")
    for name in (".", tmp_path / "link"):
        (tmp_path / "old" / "map").mkdir(exist_ok=True)
        demo._fresh(Path(name))
        assert [path.name for path in (tmp_path / "old").iterdir()] == [demo.MARKER]


def test_demo_knows_its_folder_again_when_it_was_killed_while_it_emptied_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "map").mkdir()
    (tmp_path / demo.MARKER).touch()

    def killed(path: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "iterdir", lambda folder: (folder / name for name in (demo.MARKER, "map")))
    with monkeypatch.context() as patched:
        patched.setattr(demo.shutil, "rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            demo._fresh(tmp_path)
    assert demo._fresh(tmp_path) == tmp_path


def test_demo_refuses_a_folder_of_somebody_else(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "thesis.txt").write_text("keep")
    assert "thesis" not in refused(capsys, "demo", "--out", tmp_path)
    assert "size" in refused(capsys, "demo", "--out", tmp_path / "new", "--size", "10")
    assert (tmp_path / "thesis.txt").exists()
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("shares", "lines"),
    [
        ((0.01, 0.02), []),
        ((0.31, 0.02), ["2023: 31% of the mapped glacier lies where"]),
        ((0.0, 0.40), ["2023: 40% of the observed area is unlike"]),
        ((0.2, 0.40), ["2023: 20% of the mapped glacier", "2023: 40% of the observed area"]),
    ],
)
def test_a_map_says_where_its_input_is_unlike_the_training(shares: tuple[float, float], lines: list[str]) -> None:
    from icemapper_xr.cli import mapping
    from icemapper_xr.pipeline import trust

    said = list(mapping._unlike(2023, trust.Unlike(*shares)))
    assert len(said) == len(lines)
    assert all(text.startswith(line) for text, line in zip(said, lines, strict=True))

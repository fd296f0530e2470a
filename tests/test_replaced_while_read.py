"""Maps that are made anew while somebody reads them: a chunk that is missing for a moment reads as not observed."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from icemapper_xr import conventions as cv
from icemapper_xr import pipeline, store
from icemapper_xr.errors import StoreError
from icemapper_xr.pipeline import outlining, requests, runs
from tests import results_support

AGAIN = r"glaciers\.zarr: the map of 2016 was being replaced while it was read; run this again"
YEARS = (2016, 2017)


def replace_year(folder: Path) -> None:
    """Do what `map --overwrite --years 2016` in another process does, after other rasters came."""
    cube = folder / "glaciers.zarr"
    opened = store.open_store(cube).load()
    attrs = {**opened.attrs, cv.ATTR_ITEMS: ["anew"], "relative_orbit": 14, "polarisation": "HH"}
    anew = opened.sel(year=2016, drop=True).assign_attrs({**attrs, "weights_digest": "none"})
    store.write(anew, cube, year=2016, chunk=160, overwrite=True)
    assert store.provenance(cube)["years"][2016]["identity"]["items"] == ["anew"]


def drop_units(folder: Path) -> None:
    """Do what it does first where the store lies in a bucket."""
    shutil.rmtree(folder / "glaciers.zarr" / "probability" / "c" / "0")


@pytest.mark.parametrize("meanwhile", [replace_year, drop_units])
def test_outlines_of_a_year_that_is_replaced_meanwhile_are_refused(tmp_path: Path, meanwhile: Any) -> None:
    folder = results_support.write_map(tmp_path / "map", YEARS)
    drawing = outlining.drawing_of(folder)
    assert len(drawing.draw(2016)) == 2
    meanwhile(folder)
    with pytest.raises(StoreError, match=AGAIN):
        drawing.draw(2016)
    assert len(drawing.draw(2017)) == 2


@pytest.mark.parametrize("meanwhile", [replace_year, drop_units])
def test_areas_of_a_year_that_is_replaced_meanwhile_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, meanwhile: Any
) -> None:
    folder = results_support.write_map(tmp_path / "map", YEARS)
    real = requests.glaciers_of

    def glaciers_of(*args: Any) -> Any:  # after the map was opened, before it is read
        meanwhile(folder)
        return real(*args)

    monkeypatch.setattr(requests, "glaciers_of", glaciers_of)
    with pytest.raises(StoreError, match=AGAIN):
        pipeline.areas_of_run(folder, n_draws=100, landscape_draws=100, temporal=False)
    assert not (folder / "areas.csv").exists()


def test_another_year_that_comes_meanwhile_is_in_nobody_s_way(tmp_path: Path) -> None:
    folder = results_support.write_map(tmp_path / "map", YEARS)
    run = runs.open_run(folder, calibration=None)
    with run.sheets[0].reading():
        results_support.write_map(folder, (2018,))
        assert np.isfinite(run.probability.values).any()


def test_what_fails_because_a_map_was_removed_meanwhile_is_told(tmp_path: Path) -> None:
    folder = results_support.write_map(tmp_path / "map", YEARS)
    run = runs.open_run(folder, calibration=None)

    def read() -> None:
        with run.sheets[0].reading():
            shutil.rmtree(folder / "glaciers.zarr")
            raise ValueError("no raster")

    with pytest.raises(StoreError, match=r"the map of 2016, 2017 was being replaced"):
        read()

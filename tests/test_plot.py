from __future__ import annotations

import os
from pathlib import Path

import geopandas as gpd
import matplotlib as mpl
import matplotlib.image
import numpy as np
import pytest
import xarray as xr

from icemapper_xr import errors, plot, vectorise
from tests.test_vectorise import disc, raster

# rioxarray multiplies transforms the way affine 3.1 is about to deprecate
pytestmark = pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")


def scene(size: int = 120) -> tuple[xr.DataArray, xr.DataArray, gpd.GeoDataFrame]:
    p = disc((size, size), size / 2, size / 2, size / 3)
    p[:10, :10] = np.nan
    probability = raster(p)
    return raster(-12 + 5 * p), probability, vectorise.outlines(probability)


def texts(figure: mpl.figure.Figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(mpl.text.Text) if text.get_text()]


def test_the_map_says_what_it_shows() -> None:
    backscatter, probability, outlines = scene()
    figure = plot.map_figure(
        backscatter, probability, outlines, truth=outlines, title="Kongsfjorden, 2023", credit=plot.CREDIT_SENTINEL
    )
    words = " ".join(texts(figure))
    for expected in ("Kongsfjorden, 2023", "Backscatter (dB)", "Glacier probability", "Easting (km)", "Northing (km)"):
        assert expected in words
    for expected in ("This map", "Reference", "km", "UTM zone 33N", plot.CREDIT_SENTINEL):
        assert expected in words
    panels = figure.axes[:3]
    for axis in panels:
        assert axis.get_xlim() == pytest.approx((500.0, 501.2))
        assert axis.get_ylim() == pytest.approx((8698.8, 8700.0))
        assert axis.get_aspect() == 1
    image = panels[1].images[0]
    assert image.get_clim() == (0, 1)
    np.testing.assert_array_equal(np.ma.getdata(image.get_array()), probability.values)


def test_outlines_are_drawn_where_they_are() -> None:
    backscatter, probability, outlines = scene()
    figure = plot.map_figure(backscatter, probability, outlines)
    segments = figure.axes[2].collections[0].get_segments()
    metres = outlines.to_crs(32633).geometry.item().exterior
    np.testing.assert_allclose(segments[0], np.array(metres.coords) / 1e3)
    assert "Reference" not in texts(figure)


def test_a_large_raster_is_thinned_by_means() -> None:
    p = np.zeros((30, 5000), np.float32)
    p[:, 1::5] = 1
    figure = plot.map_figure(raster(p - 10), raster(p), vectorise.outlines(raster(p * 0)))
    drawn = figure.axes[1].images[0].get_array()
    assert drawn.shape == (6, 1000)
    np.testing.assert_allclose(drawn, 0.2, atol=1e-6)


def test_north_is_up_whatever_the_order_of_the_rows() -> None:
    p = np.zeros((30, 40), np.float32)
    p[:5] = 1
    north_up, drawn = raster(p), vectorise.outlines(raster(p))
    expected = plot.map_figure(north_up, north_up, drawn).axes[1]
    found = plot.map_figure(north_up.isel(y=slice(None, None, -1)), north_up.isel(y=slice(None, None, -1)), drawn).axes[
        1
    ]
    assert found.get_ylim() == expected.get_ylim()
    np.testing.assert_array_equal(found.images[0].get_array(), expected.images[0].get_array())
    one = north_up[:1, :1]
    plot.map_figure(one, one, drawn)


def test_oblong_pixels_strips_and_columns_from_the_east_lie_where_they_are() -> None:
    p = raster(np.linspace(0, 1, 1200, dtype=np.float32).reshape(30, 40))
    north_up, drawn = p.coarsen(y=2).mean(), vectorise.outlines(p)  # 10 by 20 m
    whole = plot.map_figure(p, p, drawn).axes[1]
    turned = north_up.isel(x=slice(None, None, -1))
    for one in (north_up, turned):
        found = plot.map_figure(one, one, drawn).axes[1]
        assert found.get_xlim() == pytest.approx(whole.get_xlim(), abs=1e-6)
        assert found.get_ylim() == pytest.approx(whole.get_ylim(), abs=1e-6)
        np.testing.assert_array_equal(found.images[0].get_array(), north_up.values)
    strip = raster(np.full((3, 5000), 0.5, np.float32))
    axis = plot.map_figure(strip, strip, drawn).axes[1]
    assert axis.get_xlim() == pytest.approx((500.0, 550.0))
    assert axis.get_ylim() == pytest.approx((8699.97, 8700.0))


def test_gaps_years_and_nothing_found(tmp_path: Path) -> None:
    gone = raster(np.full((30, 40), np.nan))
    empty = vectorise.outlines(gone)
    figure = plot.map_figure(gone, gone.expand_dims(year=[2023]), empty, truth=empty)
    path = plot.save(figure, tmp_path / "deep" / "map.png", dpi=50)
    assert matplotlib.image.imread(path).shape[2] == 4
    with pytest.raises(errors.VectorError, match="pick one year"):
        plot.map_figure(gone, gone.expand_dims(year=[2022, 2023]).isel(year=[0, 1, 1]), empty)


def test_files_appear_at_once_and_by_suffix(tmp_path: Path) -> None:
    figure = plot.map_figure(*scene(40))
    for suffix in ("png", "pdf", "svg"):
        assert plot.save(figure, tmp_path / f"map.{suffix}", dpi=40).stat().st_size > 1000
    assert sorted(os.listdir(tmp_path)) == ["map.pdf", "map.png", "map.svg"]
    with pytest.raises(errors.OptionError, match=r"Unknown suffix '.docx'"):
        plot.save(figure, tmp_path / "map.docx")
    with pytest.raises(errors.OptionError, match="dpi=1"):
        plot.save(figure, tmp_path / "map.png", dpi=1)
    (tmp_path / "file").write_text("")
    with pytest.raises(errors.StoreError, match="Cannot write the picture"):
        plot.save(figure, tmp_path / "file" / "map.png")


def test_a_map_needs_a_crs() -> None:
    backscatter, probability, outlines = scene(40)
    with pytest.raises(errors.VectorError, match="no CRS"):
        plot.map_figure(backscatter, probability.drop_vars("spatial_ref"), outlines)
    plot.map_figure(backscatter, probability.drop_vars("spatial_ref"), outlines, crs=32633)
    with pytest.raises(errors.VectorError, match="WGS 84 is not projected"):
        plot.map_figure(backscatter, probability, outlines, crs=4326)  # its degrees would be drawn as km


def test_a_map_in_an_unknown_crs_is_refused() -> None:
    with pytest.raises(errors.OptionError, match="crs='nowhere' is no CRS"):
        plot.map_figure(*scene(), crs="nowhere")

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import geopandas
import pytest
import rasterio
import rasterio.shutil

from icemapper_xr import catalog
from icemapper_xr.errors import CatalogError
from tests.catalog_support import write_gcp_tif, write_tif

OPERA = "OPERA_L2_RTC-S1_T137-292319-IW2_20211119T015858Z_{}_S1A_30_v1.0_{}.tif"
INSAR = "S1AA_20230105T060000_20230117T060000_HHP012_INT40_G_ueF_AB12"


def test_real_opera_folder(shared: Path, tmp_path: Path) -> None:
    folder = tmp_path / "opera"
    shutil.copytree(shared / "real/opera_rtc", folder)
    folder.chmod(0o755)
    report = catalog.build(folder)
    assert (len(report), len(report.observations), report.superseded) == (105, 210, 0)
    assert len({one.acquired.date() for one in report.observations}) == 21
    assert {(one.relative_orbit, one.quantity, one.scale, one.epsg) for one in report.observations} == {
        (137, "gamma0", "power", 32611)
    }
    for one in report.observations[:20]:
        with rasterio.open(one.href) as dataset:
            assert one.transform == tuple(dataset.transform)[:6]
            assert one.shape == dataset.shape
            assert dataset.crs.to_epsg() == one.epsg
    before = [path.read_bytes() for path in report.paths]
    again = catalog.build(folder)
    assert [path.read_bytes() for path in again.paths] == before
    frame = geopandas.read_parquet(folder / "items.parquet")
    assert len(frame) == 105
    assert frame.crs.to_epsg() == 4326
    found = catalog.search(folder)
    assert len(found) == 105
    assert "137" in found.table()
    assert not (folder / ".items.json").exists()


def test_polarisations_of_one_acquisition_share_an_item(tmp_path: Path) -> None:
    for polarisation in ("HH", "HV"):
        write_tif(tmp_path / f"S1A_IW_20230105T060000_DHP_RTC10_G_gpuned_AB12_{polarisation}.tif", nodata=0)
    write_tif(tmp_path / "S1A_IW_20230105T060000_DHP_RTC10_G_gpuned_AB12_inc_map.tif")
    report = catalog.build(tmp_path, relative_orbit=14, orbit_state="descending")
    (item,) = report.items
    assert sorted(item.assets) == ["hh", "hv"]
    assert item.id == "S1A_IW_20230105T060000_DHP_RTC10_G_gpuned_AB12"
    assert item.properties["proj:code"] == "EPSG:32633"
    assert item.properties["proj:transform"] == [10.0, 0.0, 500000.0, 0.0, -10.0, 8700000.0]
    assert item.properties["proj:shape"] == [12, 12]
    assert item.properties["proj:bbox"] == [500000.0, 8699880.0, 500120.0, 8700000.0]
    assert item.properties["sar:polarizations"] == ["HH", "HV"]
    assert item.properties["sar:instrument_mode"] == "IW"
    assert item.properties["platform"] == "sentinel-1a"
    assert item.properties["sat:relative_orbit"] == 14
    assert len(item.stac_extensions) == 4
    assert {(one.orbit_state, one.nodata) for one in report.observations} == {("descending", 0.0)}
    assert list(report.ignored.values()) == ["a side product"]


def test_a_pair_keeps_the_coherence_of_both_polarisations(tmp_path: Path) -> None:
    for polarisation in ("HH", "HV"):
        write_tif(tmp_path / f"coh_S1A_IW_{polarisation}_ro014_20230105T060000_20230117T060000.tif")
    report = catalog.build(tmp_path)
    assert sorted(str(one.polarisation) for one in report.observations) == ["HH", "HV"]
    (item,) = json.loads((tmp_path / "items.json").read_text())["features"]
    assert sorted(item["assets"]) == ["coherence", "coherence_hv"]


def test_coherence_with_its_parameter_file(tmp_path: Path) -> None:
    folder = tmp_path / INSAR
    write_tif(folder / f"{INSAR}_corr.tif", nodata=0)
    write_tif(folder / f"{INSAR}_unw_phase.tif")
    (folder / f"{INSAR}.txt").write_text(
        "Reference Granule: S1A_IW_SLC__1SDH_20230105T055948_20230105T060015_046643_0596E1_1234\n"
        "Secondary Granule: S1A_IW_SLC__1SDH_20230117T055947_20230117T060014_046818_059CCA_5678\n"
        "Reference Pass Direction: DESCENDING\nReference Orbit Number: 46643\n"
        "Baseline: 58.3898\nRange looks: 10\nAzimuth looks: 2\n"
    )
    report = catalog.build(tmp_path)
    (one,) = report.observations
    assert (one.feature, one.quantity, one.scale, one.polarisation) == ("insar", "coherence", "1", "HH")
    assert (one.absolute_orbit, one.relative_orbit) == (46643, (46643 - 73) % 175 + 1)
    assert (one.orbit_state, one.looks, one.baseline_days, one.platform) == ("descending", 20.0, 12, "S1A")
    assert one.reference is not None
    assert one.reference.isoformat() == "2023-01-05T05:59:48+00:00"
    assert one.acquired.date().isoformat() == "2023-01-11"
    properties = json.loads((tmp_path / "items.json").read_text())["features"][0]["properties"]
    assert properties["start_datetime"] == "2023-01-05T05:59:48Z"
    assert properties["end_datetime"] == "2023-01-17T05:59:47Z"
    assert properties["icemapper:baseline_days"] == 12
    # A pair is found by the days between its dates, its middle included.
    assert len(catalog.search(tmp_path, features="insar", datetime="2023-01-10")) == 1
    with pytest.raises(CatalogError, match="1 by time"):
        catalog.search(tmp_path, features="insar", datetime="2023-01-18")


def test_burst_pair_takes_its_times_from_the_granules(tmp_path: Path) -> None:
    name = "S1_136231_IW2_20200604_20200616_VV_INT80_10C1"
    write_tif(tmp_path / f"{name}_corr.tif")
    (tmp_path / f"{name}.txt").write_text(
        "Reference Granule: S1_136231_IW2_20200604T022312_VV_7C85-BURST\n"
        "Secondary Granule: S1_136231_IW2_20200616T022313_VV_5D11-BURST\n"
    )
    (one,) = catalog.build(tmp_path).observations
    assert one.reference is not None
    assert one.reference.isoformat() == "2020-06-04T02:23:12+00:00"
    assert (one.relative_orbit, one.platform, one.looks) == (64, None, 80.0)


def test_rtc_readme_gives_the_orbit(tmp_path: Path) -> None:
    name = "S1A_IW_20250311T044231_DVP_RTC30_G_gpuned_FD6A"
    write_tif(tmp_path / f"{name}_VV.tif")
    (tmp_path / f"{name}.README.md.txt").write_text(
        "The source granule used to generate the products contained in this folder is:\n"
        "S1A_IW_GRDH_1SDV_20250311T044231_20250311T044249_058252_073302_F851\n"
    )
    (one,) = catalog.build(tmp_path).observations
    assert (one.absolute_orbit, one.relative_orbit) == (58252, 80)


def test_tags_override_names_and_options_fill_gaps(tmp_path: Path) -> None:
    tags = {
        "ICEMAPPER_FEATURE": "rtc",
        "ICEMAPPER_QUANTITY": "gamma0",
        "ICEMAPPER_SCALE": "dB",
        "ICEMAPPER_POLARISATION": "HH",
        "ICEMAPPER_RELATIVE_ORBIT": "14",
        "ICEMAPPER_ORBIT_STATE": "descending",
        "ICEMAPPER_PLATFORM": "S1B",
        "ICEMAPPER_MODE": "IW",
        "ICEMAPPER_ACQUIRED": "2021-01-05T05:59:00Z",
        "ICEMAPPER_LOOKS": "4.4",
    }
    write_tif(tmp_path / "grd_S1A_VV_ro099_20230105.tif", tags=tags)
    (one,) = catalog.build(tmp_path, quantity="sigma0", scale="power", relative_orbit=1).observations
    assert (one.feature, one.quantity, one.scale, one.polarisation) == ("rtc", "gamma0", "dB", "HH")
    assert (one.relative_orbit, one.orbit_state, one.platform, one.mode) == (14, "descending", "S1B", "IW")
    assert one.acquired.isoformat() == "2021-01-05T05:59:00+00:00"
    assert one.looks == 4.4

    folder = tmp_path / "plain"
    write_tif(folder / "rtc_20230105.tif")
    (one,) = catalog.build(folder).observations
    assert (one.quantity, one.scale, one.relative_orbit) == ("unknown", "unknown", None)
    (one,) = catalog.build(
        folder,
        quantity="gamma0",
        scale="amplitude",
        polarisation="hh",
        relative_orbit=14,
        platform="sentinel-1a",
        mode="IW",
    ).observations
    assert (one.quantity, one.scale, one.polarisation) == ("gamma0", "amplitude", "HH")
    assert (one.relative_orbit, one.platform, one.mode) == (14, "S1A", "IW")


def test_two_dates_are_a_pair_only_for_coherence(tmp_path: Path) -> None:
    write_tif(tmp_path / "S1A_20230105_20230117.tif")
    (one,) = catalog.build(tmp_path, feature="insar").observations
    assert (one.quantity, one.scale, one.baseline_days, one.acquired.day) == ("coherence", "1", 12, 11)
    (one,) = catalog.build(tmp_path, feature="rtc").observations
    assert (one.quantity, one.baseline_days, one.acquired.day) == ("unknown", None, 5)


def test_pair_tags(tmp_path: Path) -> None:
    tags = {
        "ICEMAPPER_FEATURE": "insar",
        "ICEMAPPER_REFERENCE": "2023-01-05T05:59:00Z",
        "ICEMAPPER_SECONDARY": "2023-01-17T05:59:00Z",
        "ICEMAPPER_PLATFORM": "S1A/S1B",
    }
    write_tif(tmp_path / "scene.tif", tags=tags)
    (one,) = catalog.build(tmp_path).observations
    assert (one.feature, one.quantity, one.scale) == ("insar", "coherence", "1")
    assert (one.baseline_days, one.platform) == (12, "S1A/S1B")


def test_coherence_in_whole_numbers_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "coh_S1A_IW_HH_ro014_20230105_20230117.tif"
    write_tif(path, dtype="uint8", nodata=255)
    with pytest.raises(CatalogError, match=r"20230117\.tif has coherence as uint8.*divided by 100.*--skip-bad"):
        catalog.build(tmp_path)


def test_an_orbit_in_a_name_that_there_is_not(tmp_path: Path) -> None:
    write_tif(tmp_path / "rtc_g0_power_S1A_IW_HH_orbit200_20230105.tif")
    with pytest.raises(
        CatalogError, match=r"orbit200_20230105\.tif: relative orbit 200 .* not between 1 and 175: rename"
    ):
        catalog.build(tmp_path)
    tag = {"ICEMAPPER_RELATIVE_ORBIT": "14"}
    write_tif(tmp_path / "rtc_g0_power_S1A_IW_HH_orbit200_20230105.tif", tags=tag)
    assert catalog.build(tmp_path).observations[0].relative_orbit == 14


def test_newest_processing_of_an_opera_burst_wins(tmp_path: Path) -> None:
    for processed in ("20211120T000000Z", "20250830T120333Z"):
        for polarisation in ("VV", "VH"):
            write_tif(tmp_path / OPERA.format(processed, polarisation), pixel=30)
    report = catalog.build(tmp_path)
    assert (len(report), report.superseded) == (1, 2)
    assert all("20250830T120333Z" in one.href for one in report.observations)
    assert "2 files are superseded" in report.table()
    one = catalog.search(tmp_path).observations[0]
    assert (one.burst, one.filtered) == ("T137-292319-IW2", False)
    assert one.processed is not None
    assert one.processed.isoformat() == "2025-08-30T12:03:33+00:00"


def test_raw_grd_with_control_points(tmp_path: Path) -> None:
    write_gcp_tif(tmp_path / "s1a-iw-grd-hh-20250311t044231-20250311t044249-058252-073302-001.tiff")
    write_gcp_tif(tmp_path / "grd_HH_20250312.tif")
    report = catalog.build(tmp_path)
    for one in report.observations:
        assert (one.feature, one.quantity, one.geocoded, one.epsg) == ("grd", "digital_number", False, None)
        assert one.bbox is not None
        assert one.bbox.left == pytest.approx(15, abs=0.01)
    found = catalog.search(tmp_path, features="grd", bbox=(15.2, 78.1, 15.3, 78.2))
    assert not found.observations[0].geocoded


def test_bands_named_by_polarisation(tmp_path: Path) -> None:
    write_tif(tmp_path / "rtc_20230105.tif", bands=("HH", "HV", "angle"))
    report = catalog.build(tmp_path)
    assert [(one.polarisation, one.band) for one in report.observations] == [("HH", 1), ("HV", 2)]
    write_tif(tmp_path / "rtc_20230117.tif", bands=("", ""))
    with pytest.raises(CatalogError, match="2 bands"):
        catalog.build(tmp_path)


def test_a_single_band_of_two_polarisations_is_left_out(tmp_path: Path) -> None:
    """It was taken for the first of them."""
    write_tif(tmp_path / "rtc_20230105_VV.tif")
    ratio = write_tif(tmp_path / "rtc_20230105_VV_VH.tif")
    report = catalog.build(tmp_path, polarisation="VV")
    assert [Path(one.href).name for one in report.observations] == ["rtc_20230105_VV.tif"]
    assert report.ignored[ratio].startswith("its name tells VV and VH, of which a ratio may be made: name one, d")
    write_tif(ratio, bands=("VH",))
    assert {one.polarisation for one in catalog.build(tmp_path).observations} == {"VV", "VH"}
    write_tif(ratio)
    with rasterio.open(ratio, "r+") as file:
        file.update_tags(ICEMAPPER_POLARISATION="VH")
    assert {one.polarisation for one in catalog.build(tmp_path).observations} == {"VV", "VH"}
    write_tif(ratio, bands=("VV", "VH"))
    found = {(Path(one.href).name, one.polarisation, one.band) for one in catalog.build(tmp_path).observations}
    assert found == {("rtc_20230105_VV.tif", "VV", 1), (ratio.name, "VV", 1), (ratio.name, "VH", 2)}


def test_bands_that_tag_scale_are_refused(tmp_path: Path) -> None:
    scaled = write_tif(tmp_path / "rtc_20230117.tif", bands=("HH", "angle"))
    write_tif(tmp_path / "rtc_20230105.tif")
    for band, (scale, offset) in ((1, (1e-4, 0)), (2, (1, 0)), (1, (1, -80))):
        with rasterio.open(scaled, "r+") as file:
            file.scales, file.offsets = ((scale, 1), (offset, 0)) if band == 1 else ((1, 0.01), (0, 5))
        if band == 2:  # which is not read
            assert len(catalog.build(tmp_path)) == 2
            continue
        told = rf"rtc_20230117.tif says .* band 1 .* by {scale:g} and {offset:g} added.*translate -unscale.*--skip-bad"
        with pytest.raises(CatalogError, match=told):
            catalog.build(tmp_path)
    assert list(catalog.build(tmp_path, skip_bad=True).skipped) == [scaled]


def test_damaged_files(tmp_path: Path) -> None:
    good = write_tif(tmp_path / "rtc_20230105.tif", size=600)
    cut = tmp_path / "rtc_20230117.tif"
    rasterio.shutil.copy(good, cut, driver="COG")  # its header stands first: it still opens after the cut
    cut.write_bytes(cut.read_bytes()[:200_000])
    with rasterio.open(cut) as dataset:
        assert dataset.shape == (600, 600)
    with pytest.raises(CatalogError, match=r"rtc_20230117\.tif is cut short"):
        catalog.build(tmp_path)
    assert not (tmp_path / "items.json").exists()
    cut.write_text("not a raster")
    with pytest.raises(CatalogError, match=r"rtc_20230117\.tif cannot be read as a raster"):
        catalog.build(tmp_path)
    report = catalog.build(tmp_path, skip_bad=True)
    assert len(report) == 1
    assert list(report.skipped) == [cut]
    assert "1 files unreadable, e.g. rtc_20230117.tif" in repr(report)


@pytest.mark.parametrize("interleave", ["pixel", "band"])
def test_a_file_that_is_cut_short_in_its_second_band_is_damaged(tmp_path: Path, interleave: str) -> None:
    good = write_tif(tmp_path / "whole.tif", size=600, bands=("HH", "HV"))
    cut = tmp_path / "rtc_20230117.tif"
    with rasterio.open(good) as dataset:
        rasterio.shutil.copy(dataset, cut, driver="GTiff", interleave=interleave)
    good.unlink()
    assert len(catalog.build(tmp_path)) == 1
    cut.write_bytes(cut.read_bytes()[:-100_000])
    with pytest.raises(CatalogError, match=r"rtc_20230117\.tif is cut short"):
        catalog.build(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"transform": rasterio.Affine(10, 1, 5e5, 1, -10, 8.7e6)}, "no north-up"),
        ({"transform": rasterio.Affine(10, 0, 5e5, 0, 10, 8.6e6)}, "no north-up"),
        ({"transform": rasterio.Affine(10, 0, 5e5, 0, -20, 8.7e6)}, "no north-up"),
        ({"dtype": "complex64"}, "has complex numbers"),
        ({"crs": 'LOCAL_CS["mine",UNIT["metre",1]]'}, "has a CRS from which no longitude and latitude can be had"),
    ],
)
def test_what_reading_would_refuse_is_not_indexed(tmp_path: Path, change: dict[str, object], message: str) -> None:
    write_tif(tmp_path / "rtc_20230105.tif")
    profile = {"crs": 32633, "transform": rasterio.Affine(10, 0, 5e5, 0, -10, 8.7e6), "dtype": "float32"} | change
    with rasterio.open(tmp_path / "rtc_20230117.tif", "w", driver="GTiff", width=9, height=9, count=1, **profile):
        pass
    told = message.replace("no north-up", "is not a north-up grid of square pixels")
    with pytest.raises(CatalogError, match=rf"rtc_20230117\.tif {told}.*--skip-bad"):
        catalog.build(tmp_path)
    assert len(catalog.build(tmp_path, skip_bad=True)) == 1


def test_tags_of_one_polarisation_are_not_those_of_the_other(tmp_path: Path) -> None:
    for polarisation, scale in (("VH", "power"), ("VV", "dB")):
        with rasterio.open(write_tif(tmp_path / f"rtc_20230105T060000_{polarisation}.tif"), "r+") as file:
            file.update_tags(ICEMAPPER_SCALE=scale, ICEMAPPER_QUANTITY="gamma0")
    for found in (catalog.build(tmp_path), catalog.search(tmp_path), catalog.search(tmp_path / "items.parquet")):
        assert {one.polarisation: one.scale for one in found.observations} == {"VH": "power", "VV": "dB"}
    assert len(found) == 1


def test_a_colon_in_a_name_makes_no_url_of_it(tmp_path: Path) -> None:
    path = write_tif(tmp_path / "rtc-2023-01-05T05:59:00.tif")
    assert [one.href for one in catalog.build(tmp_path).observations] == [str(path)]
    (asset,) = json.loads((tmp_path / "items.json").read_text())["features"][0]["assets"].values()
    assert asset["href"] == "./rtc-2023-01-05T05:59:00.tif"
    assert [one.href for one in catalog.search(tmp_path).observations] == [str(path)]


def test_linked_folders_are_looked_into_once(tmp_path: Path) -> None:
    write_tif(tmp_path / "elsewhere" / "rtc_20230105.tif")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "data")
    assert len(catalog.build(tmp_path / "data")) == 1


def test_file_without_a_crs(tmp_path: Path) -> None:
    write_tif(tmp_path / "rtc_20230105.tif", crs=None)  # type: ignore[arg-type]
    with pytest.raises(CatalogError, match=r"does not say where it lies.*-a_srs, -a_ullr"):
        catalog.build(tmp_path)
    write_tif(tmp_path / "rtc_20230105.tif")
    write_tif(tmp_path / "photograph.tif", crs=None)  # type: ignore[arg-type]
    assert list(catalog.build(tmp_path).ignored) == [tmp_path / "photograph.tif"]


def test_planetary_computer_files_have_their_nodata(tmp_path: Path) -> None:
    granule = "S1A_IW_GRDH_1SDH_20250311T044231_20250311T044249_058252_073302_F851"
    for polarisation in ("hh", "hv"):
        write_tif(tmp_path / granule / "measurement" / f"iw-{polarisation}.rtc.tiff", nodata=None)
    report = catalog.build(tmp_path)
    assert len(report) == 1
    assert {(one.nodata, one.polarisation) for one in report.observations} == {(-32768.0, "HH"), (-32768.0, "HV")}


def test_bad_tag(tmp_path: Path) -> None:
    write_tif(tmp_path / "rtc_20230105.tif", tags={"ICEMAPPER_SCALE": "loud"})
    with pytest.raises(CatalogError, match="ICEMAPPER_SCALE is 'loud', not one of power"):
        catalog.build(tmp_path)


@pytest.mark.parametrize(
    "options", [{"feature": "optical"}, {"scale": "watt"}, {"relative_orbit": 176}, {"platform": "S2A"}, {"mode": "XY"}]
)
def test_bad_options(tmp_path: Path, options: dict[str, str]) -> None:
    write_tif(tmp_path / "rtc_20230105.tif")
    with pytest.raises(CatalogError, match=next(iter(options))):
        catalog.build(tmp_path, **options)


def test_nothing_to_index(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="holds no GeoTIFF"):
        catalog.build(tmp_path)
    write_tif(tmp_path / "elevation.tif")
    with pytest.raises(CatalogError, match="no date in its name or tags; names understood: OPERA RTC-S1"):
        catalog.build(tmp_path)
    write_tif(tmp_path / "20230105.tif")
    with pytest.raises(CatalogError, match="--feature"):
        catalog.build(tmp_path)
    assert len(catalog.build(tmp_path, feature="rtc")) == 1
    with pytest.raises(CatalogError, match="not a folder"):
        catalog.build(tmp_path / "absent")


def test_truth_hidden_and_our_own_outputs_are_left_out(tmp_path: Path) -> None:
    write_tif(tmp_path / "rtc_20230105.tif")
    write_tif(tmp_path / "truth" / "rtc_20230117.tif")
    write_tif(tmp_path / ".cache" / "rtc_20230117.tif")
    write_tif(tmp_path / "rtc_20230129.tif", tags={"ICEMAPPER_OUTPUT": "apply"})
    report = catalog.build(tmp_path)
    assert len(report) == 1
    assert list(report.ignored.values()) == ["a result of icemapper"]


def test_subfolders_and_unique_ids(tmp_path: Path) -> None:
    write_tif(tmp_path / "a" / "rtc_20230105.tif")
    write_tif(tmp_path / "b" / "rtc_20230105.tif")
    write_tif(tmp_path / "rtc_20230117.tif")
    assert [item.id for item in catalog.build(tmp_path).items] == ["a_rtc_20230105", "b_rtc_20230105", "rtc_20230117"]
    assert len(catalog.build(tmp_path, recursive=False)) == 1


def test_hrefs_are_relative_so_that_a_folder_can_move(tmp_path: Path) -> None:
    write_tif(tmp_path / "here" / "sub dir" / "rtc_20230105.tif")
    catalog.build(tmp_path / "here")
    (tmp_path / "here").rename(tmp_path / "there")
    for index in ("", "items.json", "items.parquet"):
        (one,) = catalog.search(tmp_path / "there" / index).observations
        assert Path(one.href) == tmp_path / "there" / "sub dir" / "rtc_20230105.tif"
        assert Path(one.href).is_file()
        assert one.nodata is not None
        assert math.isnan(one.nodata)


def test_index_elsewhere(tmp_path: Path) -> None:
    write_tif(tmp_path / "data" / "rtc_20230105.tif")
    with pytest.raises(CatalogError, match="is a file"):
        catalog.build(tmp_path / "data", out=tmp_path / "data" / "rtc_20230105.tif")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "rtc_20230105.tif").write_text("no raster")
    with pytest.raises(CatalogError):
        catalog.build(tmp_path / "bad", out=tmp_path / "index")
    assert not (tmp_path / "index").exists()
    report = catalog.build(tmp_path / "data", out=tmp_path / "index")
    assert [path.name for path in report.paths] == ["items.json", "items.parquet"]
    assert not (tmp_path / "data" / "items.json").exists()
    (one,) = catalog.search(tmp_path / "index").observations
    assert Path(one.href).is_file()
    report = catalog.build(tmp_path / "data", out=tmp_path / "one.parquet")
    assert report.paths == (tmp_path / "one.parquet",)


def test_index_that_cannot_be_written_is_one_clear_error(tmp_path: Path) -> None:
    write_tif(tmp_path / "rtc_20230105.tif")
    (tmp_path / "items.json").mkdir()
    with pytest.raises(CatalogError, match="choose a folder you may write to"):
        catalog.build(tmp_path)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_projection_without_an_epsg_code(tmp_path: Path) -> None:
    write_tif(tmp_path / "rtc_20230105.tif", crs="+proj=laea +lat_0=90 +lon_0=10 +datum=WGS84", origin=(1e5, -1e6))
    (item,) = catalog.build(tmp_path).items
    assert item.properties["proj:code"] is None
    assert "wkt2" in "".join(item.properties)
    (one,) = catalog.search(tmp_path).observations
    assert one.epsg is None
    assert one.transform is not None


def test_built_items_are_what_they_were_after_both_files(tmp_path: Path) -> None:
    write_tif(tmp_path / "rtc_S1A_IW_HH_ro014_20230105T055900.tif")
    write_tif(tmp_path / "insar_S1A_IW_HH_ro014_20230105_20230117.tif")
    built = catalog.build(tmp_path).observations
    for index in ("items.json", "items.parquet"):
        read = catalog.search(tmp_path / index, features=("rtc", "insar")).observations
        for one, other in zip(built, read, strict=True):
            assert repr(one).split(", source=")[0] == repr(other).split(", source=")[0]

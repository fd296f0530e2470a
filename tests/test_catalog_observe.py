from __future__ import annotations

import collections
import json
import math
from pathlib import Path
from typing import Any

import pystac
import pytest

from icemapper_xr import catalog
from icemapper_xr.catalog import observe, orbits, presets
from icemapper_xr.errors import CatalogError


def load(path: Path) -> list[pystac.Item]:
    content = json.loads(path.read_text())
    return [pystac.Item.from_dict(one) for one in (content if isinstance(content, list) else content["features"])]


def item(**changes: Any) -> pystac.Item:
    """Make a small RTC item; keyword arguments replace top-level members or add properties."""
    mapping: dict[str, Any] = {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": "S1A_IW_GRDH_1SDH_20250311T044231_20250311T044249_058252_073302_rtc",
        "collection": "sentinel-1-rtc",
        "geometry": None,
        "bbox": [15, 78, 16, 79],
        "links": [{"rel": "collection", "href": "https://example.org/c.json"}],
        "assets": {"hh": {"href": "https://example.org/iw-hh.rtc.tiff", "roles": ["data"], "type": "image/tiff"}},
        "properties": {
            "datetime": "2025-03-11T04:42:40Z",
            "platform": "SENTINEL-1A",
            "sar:instrument_mode": "IW",
            "proj:epsg": 32633,
            "proj:transform": [10, 0, 500000, 0, -10, 8700000],
            "proj:shape": [100, 200],
        },
    }
    properties = changes.pop("properties", {})
    mapping |= changes
    mapping["properties"] = {
        key: value for key, value in (mapping["properties"] | properties).items() if value is not ...
    }
    mapping["stac_extensions"] = ["https://stac-extensions.github.io/projection/v1.1.0/schema.json"]
    return pystac.Item.from_dict(mapping)


@pytest.mark.parametrize("written", [80, 80.0, "80"])
def test_a_relative_orbit_may_be_written_as_any_whole_number(written: object) -> None:
    (one,) = observe.observations(item(properties={"sat:relative_orbit": written}))
    assert one.relative_orbit == 80
    with pytest.raises(CatalogError, match=r"S1A_IW_.* has a field that cannot be read \(.*80.5"):
        observe.observations(item(properties={"sat:relative_orbit": 80.5}))


def test_planetary_computer_rtc(shared: Path) -> None:
    (one,) = load(shared / "real/stac/pc_sentinel-1-rtc_item.json")
    horizontal, vertical = observe.observations(one)
    assert (horizontal.polarisation, vertical.polarisation) == ("VH", "VV")
    assert (vertical.feature, vertical.quantity, vertical.scale, vertical.nodata) == ("rtc", "gamma0", "power", -32768)
    assert (vertical.relative_orbit, vertical.absolute_orbit, vertical.orbit_state) == (80, 58252, "descending")
    assert (vertical.platform, vertical.mode, presets.signer_of(vertical.href)) == ("S1A", "IW", "planetary-computer")
    assert vertical.epsg == 32634
    assert vertical.transform == (10.0, 0.0, 180600.0, 0.0, -10.0, 3408040.0)
    assert vertical.shape == (17058, 28320)
    assert vertical.geocoded
    assert vertical.acquired.isoformat() == "2025-03-11T04:42:40.696652+00:00"


def test_planetary_computer_pass_of_four_frames(shared: Path) -> None:
    items = load(shared / "real/stac/sentinel-1-rtc-pc.json")
    found = [one for each in items for one in observe.observations(each)]
    assert len(found) == 8
    assert {(one.relative_orbit, one.platform, one.quantity) for one in found} == {(51, "S1A", "gamma0")}
    assert len({one.acquired for one in found}) == 4


def test_raw_grd_is_described_but_not_geocoded(shared: Path) -> None:
    (one,) = load(shared / "real/stac/pc_sentinel-1-grd_item.json")
    found = observe.observations(one)
    assert len(found) == 2
    for each in found:
        assert (each.feature, each.quantity, each.geocoded) == ("grd", "digital_number", False)
        assert (each.epsg, each.transform, each.shape) == (None, None, None)
        assert each.relative_orbit == 95


def test_rainier_items_of_the_indigo_set(shared: Path) -> None:
    items = load(shared / "real/stac/rainier_rtc_aws.json")
    found = [one for each in items for one in observe.observations(each)]
    assert (len(items), len(found)) == (382, 764)
    assert {(one.feature, one.quantity, one.scale, one.nodata, one.epsg) for one in found} == {
        ("rtc", "gamma0", "power", 0.0, 32610)
    }
    assert {one.pixel_size for one in found} == {20.0}
    counts = collections.Counter(one.relative_orbit for one in found)
    assert counts == {137: 218, 64: 210, 35: 198, 115: 72, 13: 66}
    # The formula agrees with the catalogue's own relative orbits for all of both satellites.
    assert all(orbits.relative_orbit(one.platform, one.absolute_orbit) == one.relative_orbit for one in found)


def test_projection_code_and_epsg_are_both_read() -> None:
    (old,) = observe.observations(item())
    (new,) = observe.observations(item(properties={"proj:epsg": ..., "proj:code": "EPSG:32633"}))
    assert old.epsg == new.epsg == 32633


@pytest.mark.parametrize("orbit", [200, -1, "abc"])
def test_relative_orbits_that_there_are_not(orbit: Any) -> None:
    with pytest.raises(CatalogError, match="field that cannot be read"):
        observe.observations(item(properties={"sat:relative_orbit": orbit}))


def test_relative_orbit_falls_back_to_the_absolute_one() -> None:
    (named,) = observe.observations(item())
    assert (named.absolute_orbit, named.relative_orbit) == (58252, 80)
    (told,) = observe.observations(item(properties={"sat:relative_orbit": 14}))
    assert told.relative_orbit == 14
    (unknown,) = observe.observations(item(id="frame", properties={"platform": ...}))
    assert (unknown.relative_orbit, unknown.platform) == (None, None)


@pytest.mark.parametrize(
    "properties", [{"sat:relative_orbit": "x"}, {"proj:transform": [None] * 6}, {"proj:shape": "ab"}]
)
def test_fields_that_cannot_be_read(properties: dict[str, Any]) -> None:
    with pytest.raises(CatalogError, match=r"item S1A_IW_.* has a field that cannot be read"):
        observe.observations(item(properties=properties))


def test_ew_is_described() -> None:
    (one,) = observe.observations(item(properties={"sar:instrument_mode": "EW"}))
    assert one.mode == "EW"


def test_tokens_are_stripped() -> None:
    signed = (
        "https://sentinel1euwestrtc.blob.core.windows.net/c/iw-hh.rtc.tiff?st=2026-01-01&se=2026-01-02&sp=rl&sig=abc%2F"
    )
    (one,) = observe.observations(item(assets={"hh": {"href": signed, "type": "image/tiff"}}))
    assert one.href == "https://sentinel1euwestrtc.blob.core.windows.net/c/iw-hh.rtc.tiff"
    assert presets.signer_of(one.href) == "planetary-computer"
    assert one.nodata == -32768


@pytest.mark.parametrize(
    "query",
    [
        "st=2026-01-01&se=2026-01-02&sp=rl&sig=abc%2F",
        "X-Amz-Signature=1&X-Amz-Date=2&X-Amz-Credential=3",
        "X-Goog-Algorithm=a&X-Goog-Credential=c&X-Goog-Signature=1",
        "AWSAccessKeyId=AK&Signature=1&Expires=1",
        "Expires=1&Signature=1&Key-Pair-Id=KK",
        "access_token=1",
        "api_key=1",
        "subscription-key=1",
    ],
)
@pytest.mark.parametrize("user", ["", "me:pw@", "token@", ":pw@"])
def test_hrefs_without_what_gives_access(query: str, user: str) -> None:
    signed = f"https://{user}x.org/a.tif?v=3&{query}"
    assert presets.unsigned(signed) == "https://x.org/a.tif?v=3"
    (one,) = observe.observations(item(assets={"hh": {"href": signed, "type": "image/tiff"}}))
    assert one.href == signed  # nobody makes another signature: this one is needed to read
    assert presets.unsigned("https://x.org/a%20b.tif?v=3&st=2") == "https://x.org/a%20b.tif?v=3&st=2"
    assert presets.unsigned("/vsicurl/https://me:secret@x.org/a.tif?token=t") == "/vsicurl/https://x.org/a.tif"


def test_nan_nodata_as_a_word() -> None:
    asset = {"href": "https://example.org/iw-hh.rtc.tiff", "type": "image/tiff", "raster:bands": [{"nodata": "nan"}]}
    (one,) = observe.observations(item(assets={"hh": asset}))
    assert one.nodata is not None
    assert math.isnan(one.nodata)


def test_items_of_other_satellites_hold_nothing() -> None:
    other = item(id="LC08", collection="landsat", assets={"red": {"href": "https://x.org/LC08_20230105_B4.tif"}})
    assert observe.observations(other) == ()


def test_hyp3_and_opera_items_are_known_by_their_file_names() -> None:
    name = "S1AA_20230105T060000_20230117T060000_HHP012_INT40_G_ueF_AB12"
    pair = item(
        id=name,
        collection="hyp3-insar",
        assets={
            "corr": {"href": f"https://example.org/{name}_corr.tif", "roles": ["data"]},
            "unw": {"href": f"https://example.org/{name}_unw_phase.tif", "roles": ["data"]},
        },
        properties={"platform": ..., "datetime": "2023-01-05T06:00:00Z"},
    )
    (one,) = observe.observations(pair)
    assert (one.feature, one.quantity, one.baseline_days, one.platform) == ("insar", "coherence", 12, "S1A")
    assert one.acquired.isoformat() == "2023-01-11T06:00:00+00:00"

    name = "OPERA_L2_RTC-S1_T137-292319-IW2_20211119T015858Z_20250830T120333Z_S1A_30_v1.0"
    burst = item(
        id=name,
        collection="OPERA_L2_RTC-S1_V1",
        assets={
            "0": {"href": f"https://example.org/{name}_VV.tif", "roles": ["data"]},
            "1": {"href": f"https://example.org/{name}_mask.tif", "roles": ["data"]},
            "browse": {"href": f"https://example.org/{name}_BROWSE.png", "roles": ["browse"]},
        },
        properties={"platform": ...},
    )
    (one,) = observe.observations(burst)
    assert (one.feature, one.quantity, one.relative_orbit, one.polarisation) == ("rtc", "gamma0", 137, "VV")
    assert (one.burst, one.filtered) == ("T137-292319-IW2", False)
    assert one.processed is not None
    assert one.processed.isoformat() == "2025-08-30T12:03:33+00:00"


def test_rtc_of_an_unknown_provider_is_of_unknown_scale() -> None:
    (one,) = observe.observations(item(id="S1A_IW_GRDH_1SDH_20250311T044231_x", collection="someones-s1-rtc"))
    assert (one.feature, one.quantity, one.scale, one.geocoded) == ("rtc", "unknown", "unknown", True)


def test_a_ratio_of_two_polarisations_is_no_observation() -> None:
    """It was taken for VV, and won over the VV of its own item."""
    assets = {key: {"href": f"https://x.org/{key}.tif", "roles": ["data"]} for key in ("ratio_vv_vh", "vv", "VH-VV")}
    (one,) = observe.observations(item(assets=assets))
    assert (one.polarisation, one.href) == ("VV", "https://x.org/vv.tif")
    data = {"data": {"href": "https://x.org/rtc_20230105_VV_VH.tif", "roles": ["data"]}}
    assert observe.observations(item(assets=data)) == ()
    two = {key: {"href": "https://x.org/rtc_20230105_VV.tif", "roles": ["data"]} for key in ("vv_over_vh", "x")}
    assert [each.polarisation for each in observe.observations(item(assets=two))] == ["VV"]


def test_bands_say_of_which_polarisation_an_asset_of_two_names_is() -> None:
    def told(**fields: Any) -> list[tuple[str | None, int]]:
        data = {"data": {"href": "https://x.org/rtc_20230105_VV_VH.tif", "roles": ["data"], **fields}}
        return [(one.polarisation, one.band) for one in observe.observations(item(assets=data))]

    assert told(bands=[{"name": "VV"}, {"name": "VH"}]) == [("VV", 1)]
    assert told(**{"raster:bands": [{"description": "VH"}]}) == [("VH", 1)]
    assert told(**{"icemapper:polarisation": "VH"}) == [("VH", 1)]
    assert told(bands=[{"name": "VV/VH"}]) == []


def test_scales_of_what_is_not_read_refuse_nothing() -> None:
    """An angle in hundredths beside the backscatter; a pixel size that an item calls its scale."""
    assets = {
        "hh": {"href": "https://x.org/hh.tif", "roles": ["data"]},
        "ia": {"href": "https://x.org/ia.tif", "roles": ["data"], "raster:bands": [{"scale": 0.01}]},
    }
    found = observe.observations(item(id="mine_rtc", assets=assets, properties={"scale": 10, "unit": "dB"}))
    assert [(one.polarisation, one.scale) for one in found if one.polarisation] == [("HH", "power")]


def one_of(key: str = "hh", href: str = "a.tif", fields: dict[str, Any] | None = None, **changes: Any) -> Any:
    asset = {"href": f"https://x.org/{href}", "roles": ["data"], **(fields or {})}
    (one,) = observe.observations(item(assets={key: asset}, **changes))
    return one.quantity, one.scale


@pytest.mark.parametrize(
    ("unit", "id_", "collection", "key"),
    [
        ("amplitude", ("unknown", "amplitude"), ("unknown", "amplitude"), ("gamma0", "amplitude")),
        ("dB", ("unknown", "dB"), ("unknown", "dB"), ("gamma0", "dB")),
        ("power", ("gamma0", "power"), ("unknown", "power"), ("gamma0", "power")),
        ("1", ("gamma0", "power"), ("unknown", "unknown"), ("gamma0", "power")),
    ],
)
@pytest.mark.parametrize("where", ["raster:bands", "bands", "both", "asset"])
def test_a_declared_unit_is_believed_before_the_look_of_an_id_or_a_key(
    unit: str, id_: tuple[str, str], collection: tuple[str, str], key: tuple[str, str], where: str
) -> None:
    fields = {"unit": unit} if where == "asset" else {where: [{"unit": unit}]}
    if where == "both":
        fields = {"raster:bands": [{"nodata": 0}], "bands": [{"unit": unit}]}
    assert one_of(fields=fields, id="mine_rtc", collection="my-archive") == id_
    assert one_of(fields=fields, id="mine", collection="my-rtc") == collection
    assert one_of("gamma0_hh", fields=fields, id="mine", collection="my-archive") == key


def test_a_unit_that_contradicts_a_name_leaves_the_scale_unknown_unless_our_own_field_tells() -> None:
    name, decibels = "rtc_20230105_HH_gamma0_power.tif", {"raster:bands": [{"unit": "dB"}]}
    mine = {"id": "mine", "collection": "mine"}
    assert one_of(href=name, fields=decibels, **mine) == ("gamma0", "unknown")
    assert one_of(href=name, fields={**decibels, "icemapper:scale": "dB"}, **mine) == ("gamma0", "dB")
    assert one_of(href=name, **mine) == ("gamma0", "power")


@pytest.mark.parametrize(
    "fields",
    [
        {"raster:bands": [{"scale": 0.0001, "offset": 0}]},
        {"bands": [{"raster:scale": 0.0001}]},
        {"raster:scale": 0.0001},
    ],
)
def test_numbers_that_are_to_be_multiplied_are_refused(fields: dict[str, Any]) -> None:
    """Whole numbers of a ten-thousandth became +30 dB."""
    told = r"item mine_rtc: asset hh says .* multiplied by 0.0001 and 0 added.*gdal_calc.py .*A\*0.0001\+0"
    with pytest.raises(CatalogError, match=told):
        one_of(fields=fields, id="mine_rtc")
    assert one_of(fields={"raster:bands": [{"scale": 1, "offset": 0.0}]}) == ("gamma0", "power")


def test_presets_say_what_they_serve() -> None:
    text = catalog.describe()
    for name in ("planetary-computer", "earth-search", "cdse"):
        assert name in text
    with pytest.raises(CatalogError, match="HyP3 InSAR"):
        presets.require(presets.get("planetary-computer"), ("insar",))
    with pytest.raises(CatalogError, match="planetary-computer"):
        presets.require(presets.get("cdse"), ("rtc",))
    with pytest.raises(CatalogError, match="there are planetary-computer"):
        catalog.sign("nasa")


def test_s3_needs_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID", raising=False)
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    sign = catalog.sign("cdse")
    with pytest.raises(CatalogError, match="AWS_S3_ENDPOINT"):
        sign("s3://eodata/Sentinel-1/x.tiff")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    assert sign("s3://eodata/Sentinel-1/x.tiff") == "s3://eodata/Sentinel-1/x.tiff"
    assert presets.signer_of("s3://eodata/Sentinel-1/x.tiff") == "cdse"
    assert presets.signer_of("s3://sentinel-s1-l1c/GRD/x.tiff") == "earth-search"
    assert presets.signer_of("/data/x.tif") is None


def test_a_token_that_cannot_be_had_is_an_error_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    import planetary_computer

    def refuse(href: str) -> str:
        raise OSError("no network")

    monkeypatch.setattr(planetary_computer, "sign_url", refuse)
    with pytest.raises(CatalogError, match="PC_SDK_SUBSCRIPTION_KEY"):
        catalog.sign("planetary-computer")("https://sentinel1euwestrtc.blob.core.windows.net/c/x.tiff")

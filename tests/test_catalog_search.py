from __future__ import annotations

import http.server
import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pystac
import pytest
import shapely

from icemapper_xr import catalog, progress
from icemapper_xr.catalog import api
from icemapper_xr.errors import CatalogError
from tests.catalog_support import free_port, http_folder, stac_api, write_tif

RAINIER = (-121.9, 46.7, -121.6, 46.95)


@pytest.fixture
def rainier(shared: Path) -> Path:
    return shared / "real/stac/rainier_rtc_aws.json"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two features, two orbits, two polarisations, one pair."""
    place = tmp_path / "data"
    for day in ("20230105", "20230117", "20240112"):
        write_tif(place / f"rtc_S1A_IW_HH_ro014_{day}T055900.tif")
        write_tif(place / f"rtc_S1A_IW_HV_ro014_{day}T055900.tif")
    write_tif(place / "rtc_S1B_IW_VV_ro037_20230108T060000.tif")
    write_tif(place / "rtc_S1A_EW_HH_ro037_20230109T060000.tif")
    write_tif(place / "insar_S1A_IW_HH_ro014_20230105_20230117.tif")
    catalog.build(place)
    return place


def test_filters_and_their_account(folder: Path) -> None:
    assert len(catalog.search(folder)) == 5
    assert len(catalog.search(folder, features=("insar", "rtc"))) == 6
    found = catalog.search(folder, datetime="2023", polarisation="hh", orbit=14)
    assert [one.acquired.day for one in found.observations] == [5, 17]
    assert dict(found.dropped) == {"area": 0, "time": 1, "feature": 1, "polarisation": 1, "orbit": 1, "mode": 0}
    assert {one.mode for one in catalog.search(folder, mode="EW").observations} == {"EW"}
    with pytest.raises(CatalogError, match=r"removed 1 by time .*2024-01-12.*4 by orbit \(asked 99, there is 14, 37\)"):
        catalog.search(folder, datetime="2023", orbit=99)
    with pytest.raises(CatalogError, match=r"6 by area \(there is 15 78"):
        catalog.search(folder, bbox=(10, 60, 11, 61))
    with pytest.raises(CatalogError, match=r"5 by feature \(asked grd, there is"):
        catalog.search(folder, datetime="2023", features="grd")


def test_table_and_repr(folder: Path) -> None:
    text = repr(catalog.search(folder, datetime="2023"))
    assert "4 items" in text
    assert "1 by time" in text
    lines = catalog.search(folder, datetime="2023").table().splitlines()
    assert lines[0].split()[:3] == ["feature", "orbit", "pass"]
    assert len(lines) == 5


def test_limit(folder: Path) -> None:
    found = catalog.search(folder, limit=2)
    assert (len(found), found.truncated) == (2, True)
    assert found.observations[0].acquired.day == 5
    assert not catalog.search(folder, limit=5).truncated
    with pytest.raises(CatalogError, match="at least 1"):
        catalog.search(folder, limit=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"features": ("optical",)}, "choose among grd, rtc, insar"),
        ({"features": ()}, "choose among grd, rtc, insar"),
        ({"polarisation": "XX"}, "choose among VV"),
        ({"orbit": 200}, "1 to 175"),
        ({"orbit": "14"}, "orbit '14' is no relative orbit of Sentinel-1: give 1 to 175"),
        ({"limit": "5"}, "limit is '5': it must be a whole number"),
        ({"mode": "QQ"}, "choose among IW"),
        ({"bbox": (0, 2, 1, 1)}, "upside down"),
        ({"datetime": "soon"}, "cannot be read"),
    ],
)
def test_bad_arguments(folder: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(CatalogError, match=message):
        catalog.search(folder, **options)


def test_antimeridian_in_a_folder(tmp_path: Path) -> None:
    write_tif(tmp_path / "rtc_a_20230105.tif", crs="EPSG:32601", origin=(280000, 7800000), pixel=10000)
    write_tif(tmp_path / "rtc_b_20230105.tif", crs="EPSG:32660", origin=(600000, 7800000))
    write_tif(tmp_path / "rtc_c_20230105.tif")
    catalog.build(tmp_path)
    found = catalog.search(tmp_path, bbox=(178, 69, -175, 71))
    assert [item.id for item in found.items] == ["rtc_a_20230105", "rtc_b_20230105"]
    assert found.observations[0].bbox is not None
    assert found.observations[0].bbox.left > found.observations[0].bbox.right


def test_all_kinds_of_files_agree(rainier: Path, tmp_path: Path) -> None:
    asked: dict[str, Any] = {"bbox": RAINIER, "datetime": "2019/2020-06"}
    found = catalog.search(rainier, **asked)
    assert 0 < len(found) < 382
    everything = catalog.search(rainier)
    assert len(everything) == 382
    for name in ("copy.json", "copy.geojson", "copy.parquet"):
        path = everything.to_file(tmp_path / name)
        again = catalog.search(path, **asked)
        assert [item.id for item in again.items] == [item.id for item in found.items]
        assert [one.href for one in again.observations] == [one.href for one in found.observations]
    stac = pystac.Catalog(id="test", description="test")
    for item in found.items[:7]:
        one = item.clone()
        one.clear_links()  # to the collection on the machine of the catalogue's author
        stac.add_item(one)
    stac.normalize_and_save(str(tmp_path / "static"), pystac.CatalogType.SELF_CONTAINED)
    for place in (tmp_path / "static", tmp_path / "static/catalog.json"):
        static = catalog.search(place)
        assert [one.href for one in static.observations] == [one.href for one in found.observations[:14]]


def test_polygon_search_matches_the_box(rainier: Path) -> None:
    box = catalog.search(rainier, bbox=RAINIER)
    assert len(catalog.search(rainier, geometry=shapely.box(*RAINIER))) == len(box)
    glaciers = json.loads((rainier.parent / "rainier_glaciers.geojson").read_text())["features"]
    assert len(catalog.search(rainier, geometry=glaciers[0])) <= len(box)


def test_items_that_do_not_fit_a_table(rainier: Path, tmp_path: Path) -> None:
    import dataclasses

    found = catalog.search(rainier, limit=3)
    nowhere = found.items[0].clone()
    nowhere.geometry = nowhere.bbox = None
    mixed = found.items[0].clone()
    mixed.properties["sat:relative_orbit"] = "thirty-five"
    for odd in (nowhere, mixed):
        changed = dataclasses.replace(found, items=[odd, *found.items[1:]])
        with pytest.raises(CatalogError, match=r"out\.parquet: these items do not fit .*write them as \.json"):
            changed.to_file(tmp_path / "out.parquet")
        assert list(tmp_path.iterdir()) == []
    # An item that does not say where it is may be anywhere.
    path = dataclasses.replace(found, items=[nowhere]).to_file(tmp_path / "out.json")
    assert len(catalog.search(path, bbox=(0, 0, 1, 1))) == 1


def test_items_that_begin_with_the_mark_of_windows_are_read(rainier: Path, tmp_path: Path) -> None:
    (tmp_path / "items.json").write_text(rainier.read_text(), encoding="utf-8-sig")
    assert len(catalog.search(tmp_path / "items.json", bbox=RAINIER)) == len(catalog.search(rainier, bbox=RAINIER))


def test_what_a_server_says_is_cut_between_words() -> None:
    told = str(api.down("https://a.net", OSError("word " * 50)))
    assert told.startswith(f"https://a.net does not answer ({'word ' * 40}...): ")


def test_time_that_cannot_be_read(rainier: Path, tmp_path: Path) -> None:
    content = json.loads(rainier.read_text())["features"][0]
    content["properties"]["start_datetime"] = "some day"
    (tmp_path / "one.json").write_text(json.dumps(content))
    with pytest.raises(CatalogError, match="some day"):
        catalog.search(tmp_path / "one.json", datetime="2017")


def test_written_items_are_unsigned(shared: Path, tmp_path: Path) -> None:
    content = json.loads((shared / "real/stac/pc_sentinel-1-rtc_item.json").read_text())
    for asset in content["features"][0]["assets"].values():
        asset["href"] += "?st=2026-01-01T00%3A00%3A00Z&se=2026-01-02&sp=rl&sv=2025&sr=c&sig=secret%3D"
    (tmp_path / "signed.json").write_text(json.dumps(content))
    found = catalog.search(tmp_path / "signed.json")
    for name in ("out.json", "out.parquet"):
        path = found.to_file(tmp_path / name)
        assert b"secret" not in path.read_bytes()
        assert catalog.search(path).observations[0].href.endswith(".tiff")
    with pytest.raises(CatalogError, match=r"not \.csv"):
        found.to_file(tmp_path / "out.csv")
    with pytest.raises(CatalogError, match="cannot be written"):
        found.to_file(tmp_path / "absent" / "out.json")


@pytest.mark.parametrize(
    "href",
    [
        "https://d.cloudfront.net/x.tif?Expires=1&Signature=SECRET&Key-Pair-Id=SECRET",
        "https://storage.googleapis.com/b/x.tif?X-Goog-Credential=SECRET&X-Goog-Signature=SECRET",
        "https://user:SECRET@host/x.tif?token=SECRET",
    ],
)
def test_no_kind_of_token_is_written(shared: Path, tmp_path: Path, href: str) -> None:
    content = json.loads((shared / "real/stac/pc_sentinel-1-rtc_item.json").read_text())
    content["features"][0]["assets"]["vv"]["href"] = href
    (tmp_path / "signed.json").write_text(json.dumps(content))
    found = catalog.search(tmp_path / "signed.json")
    assert href in [one.href for one in found.observations]
    assert "SECRET" not in found.to_file(tmp_path / "out.json").read_text()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("absent.json", None, "no such file"),
        ("bad.json", "{", "cannot be read as a catalogue"),
        ("other.json", '{"type": "Topology"}', "not a STAC catalogue"),
        ("number.json", "7", "not a STAC catalogue"),
        ("outlines.json", '{"type": "FeatureCollection", "features": [{"type": "Feature"}]}', "not a STAC item"),
        ("null.json", '{"type": "FeatureCollection", "features": null}', "its features are no list of items"),
        ("empty.json", '{"type": "FeatureCollection", "features": []}', "holds no items"),
        ("bad.parquet", "PAR1", "stac-geoparquet"),
        ("broken/catalog.json", '{"type": "Catalog", "id": "x", "description": "x", "stac_version": "1.0.0",'
         ' "links": [{"rel": "item", "href": "./gone.json"}]}', "mend the link"),
    ],
)  # fmt: skip
def test_catalogues_that_cannot_be_read(tmp_path: Path, name: str, content: str | None, message: str) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    if content is not None:
        path.write_text(content)
    with pytest.raises(CatalogError, match=message):
        catalog.search(path)


def test_folder_without_an_index(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match=f"icemapper catalog build {tmp_path}"):
        catalog.search(tmp_path)


def test_preset_that_cannot_serve(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="does not serve rtc: take --catalog planetary-computer"):
        catalog.search("earth-search", bbox=(15, 78, 16, 79))
    with pytest.raises(CatalogError, match="order HyP3 InSAR"):
        catalog.search("planetary-computer", bbox=(15, 78, 16, 79), features=("rtc", "insar"))
    with pytest.raises(CatalogError, match="needs an area"):
        catalog.search("planetary-computer")


def test_api_gives_what_the_file_gives(rainier: Path) -> None:
    with stac_api(rainier) as url:
        for asked in (
            {"bbox": RAINIER},
            {"bbox": RAINIER, "datetime": "2019", "orbit": 64},
            {"bbox": (170, 46, -121, 47), "datetime": "2019"},
        ):
            here = catalog.search(url, **asked)  # type: ignore[arg-type]
            there = catalog.search(rainier, **asked)  # type: ignore[arg-type]
            # The server takes the box of an item, we its footprint; what touches the footprint touches the box.
            assert [item.id for item in here.items] == [item.id for item in there.items]
            assert {one.source for one in here.observations} == {url}
        assert len(catalog.search(url, bbox=(-180, 40, 180, 50))) == 382  # two pages
        polygon = shapely.box(*RAINIER)
        assert len(catalog.search(url, geometry=polygon)) == len(catalog.search(rainier, geometry=polygon))
        named = catalog.search(url, bbox=RAINIER, collections=["sentinel1-rtc-aws"], orbit=64)
        assert len(named) == len(catalog.search(rainier, bbox=RAINIER, orbit=64))
        few = catalog.search(url, bbox=RAINIER, orbit=64, limit=3)
        assert (len(few), few.truncated) == (3, True)
        with pytest.raises(CatalogError, match="in this area at any time"):
            catalog.search(url, bbox=(10, 46, 12, 47), datetime="2019")
        with pytest.raises(CatalogError, match="none from 2025-01-01 to 2025-12-31: widen the dates"):
            catalog.search(url, bbox=RAINIER, datetime="2025")
        with pytest.raises(CatalogError, match=r"by polarisation \(asked HH, there is VH, VV\)"):
            catalog.search(url, bbox=RAINIER, polarisation="HH")
        with pytest.raises(CatalogError, match="needs an area"):
            catalog.search(url)
    with pytest.raises(CatalogError, match=r"does not answer \(Failed to establish.*try again later"):
        catalog.search(url, bbox=RAINIER)


def test_preset_goes_through_the_same_door(shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import dataclasses

    from icemapper_xr.catalog import presets

    shutil.copy(shared / "real/stac/pc_sentinel-1-rtc_item.json", tmp_path / "items.json")
    with stac_api(tmp_path / "items.json") as url:
        local = dataclasses.replace(presets.PRESETS["planetary-computer"], url=url)
        monkeypatch.setitem(presets.PRESETS, "planetary-computer", local)  # type: ignore[misc]
        found = catalog.search("planetary-computer", bbox=(18, 29, 20, 31), datetime="2025")
    assert [one.polarisation for one in found.observations] == ["VH", "VV"]
    assert {presets.signer_of(one.href) for one in found.observations} == {"planetary-computer"}
    assert found.source == "planetary-computer"


def test_catalogues_on_a_plain_web_server(folder: Path, tmp_path: Path) -> None:
    with http_folder(tmp_path) as url:
        for name in ("items.json", "items.parquet"):
            found = catalog.search(f"{url}/data/{name}", datetime="2023", orbit=14)
            assert [one.href.startswith(f"{url}/data/rtc_") for one in found.observations] == [True] * 4
        with pytest.raises(CatalogError, match="HTTP status 404"):
            catalog.search(f"{url}/data/absent.json")
        with pytest.raises(CatalogError, match="HTTP status 404"):
            catalog.search(f"{url}/data/absent.parquet")
        with pytest.raises(CatalogError, match="not STAC"):
            catalog.search(f"{url}/data/")


def test_tokens_of_a_catalogue_are_used_and_not_told(folder: Path, tmp_path: Path) -> None:
    with http_folder(tmp_path) as url:
        secret = url.replace("://", "://bob:SECRETPW@")
        found = catalog.search(f"{secret}/data/items.json?subscription-key=SECRET")
        assert "SECRET" not in repr(found) + "".join(one.source for one in found.observations)
        assert found.source.endswith("/data/items.json?subscription-key=***")
        for name in ("absent.json", "absent.parquet", ""):
            with pytest.raises(CatalogError, match=r"\*\*\*") as refused:
                catalog.search(f"{secret}/data/{name}?token=SECRET")
            assert "SECRET" not in str(refused.value)


class _Handler(http.server.BaseHTTPRequestHandler):
    """A STAC API that admits to no item search, and one that is busy."""

    requests = 0

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        type(self).requests += 1
        if self.path.startswith("/busy") and type(self).requests % 3:
            self.send_response(503)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        root = f"http://127.0.0.1:{self.server.server_address[1]}{self.path}"
        body = json.dumps(
            {
                "type": "Catalog",
                "id": "odd",
                "description": "odd",
                "stac_version": "1.0.0",
                "conformsTo": ["https://api.stacspec.org/v1.0.0/core"],
                "links": [
                    {"rel": "self", "href": root},
                    {"rel": "root", "href": root},
                    {"rel": "search", "href": f"{root}/search"},
                ],
            }
        ).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def odd_server() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", free_port()), _Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def test_server_that_cannot_search_is_an_error(odd_server: str) -> None:
    with pytest.raises(CatalogError, match=r"cannot be searched .*does not conform"):
        catalog.search(f"{odd_server}/plain", bbox=RAINIER)


def test_busy_server_is_asked_again(odd_server: str) -> None:
    _Handler.requests = 0
    with pytest.raises(CatalogError, match="cannot be searched"):  # and not "does not answer"
        catalog.search(f"{odd_server}/busy", bbox=RAINIER)
    assert _Handler.requests >= 3


def test_progress_is_shown_when_asked_for(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    catalog.search(folder)
    assert capsys.readouterr().err == ""
    progress.enable()
    try:
        catalog.build(folder)
        catalog.search(folder)
    finally:
        progress.enable(False)
    text = capsys.readouterr().err
    assert "Indexing data" in text
    assert "5 items" in text

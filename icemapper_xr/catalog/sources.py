"""Read the items of a catalogue, whatever kind it is."""

from __future__ import annotations

import contextlib
import json
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal
from urllib.parse import urlsplit

from icemapper_xr import progress
from icemapper_xr._types import Bounds
from icemapper_xr.catalog import area, files, presets
from icemapper_xr.errors import CatalogError

if TYPE_CHECKING:
    import pystac
    from shapely.geometry.base import BaseGeometry

__all__ = ["Source", "api_items", "identify", "static_items"]

Kind = Literal["preset", "api", "static", "items", "parquet"]

TIMEOUT: Final = 60.0
"""Seconds to wait for an answer."""
RETRIES: Final = 5
PAGE: Final = 250
"""Items asked for at a time."""


@dataclass(frozen=True)
class Source:
    """A catalogue and its kind."""

    kind: Kind
    location: str
    """Preset name, URL or path."""
    content: Any = None
    """The JSON already read."""


def identify(catalog: str | Path) -> Source:
    """Find out what kind of catalogue a name, URL or path is.

    Raises
    ------
    CatalogError
        It does not exist, cannot be read, or is a folder without an index.
    """
    text = str(catalog)
    if text in presets.PRESETS:
        return Source("preset", text)
    for preset in presets.PRESETS.values():
        if text.rstrip("/") == preset.url:
            return Source("preset", preset.name)
    if files.is_url(text) and urlsplit(text).scheme in ("http", "https"):
        return _identify_url(text)
    if files.is_url(text) and urlsplit(text).scheme != "file":
        raise CatalogError(
            f"{text} cannot be read: catalogues are read from http(s) URLs and local paths; copy it first"
        )
    return _identify_path(Path(text.removeprefix("file://")).expanduser())


def _identify_url(url: str) -> Source:
    if urlsplit(url).path.lower().endswith(files.PARQUET):
        return Source("parquet", url)
    content = _fetch_json(url)
    if isinstance(content, dict) and content.get("conformsTo") and _has_search(content):
        return Source("api", url)
    return Source(_kind_of_json(content, url), url, content)


def _has_search(content: dict[str, Any]) -> bool:
    return any(link.get("rel") == "search" for link in content.get("links", []))


def _identify_path(path: Path) -> Source:
    if path.is_dir():
        for name in (files.INDEX_JSON, files.INDEX_PARQUET, "catalog.json", "collection.json"):
            if (path / name).is_file():
                return _identify_path(path / name)
        raise CatalogError(f"{path} is a folder without an index: run `icemapper catalog build {path}` first")
    if not path.is_file():
        known = ", ".join(presets.PRESETS)
        raise CatalogError(f"{path} is no catalogue: there is no such file, and the presets are {known}")
    path = path.absolute()
    if path.suffix.lower() in files.PARQUET:
        return Source("parquet", str(path))
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CatalogError(f"{path} cannot be read as a catalogue ({error}): it must be STAC in JSON") from error
    return Source(_kind_of_json(content, str(path)), str(path), content)


def _kind_of_json(content: Any, location: str) -> Kind:
    kind = "list" if isinstance(content, list) else content.get("type") if isinstance(content, dict) else None
    if kind in ("FeatureCollection", "Feature", "list"):
        return "items"
    if kind in ("Catalog", "Collection"):
        return "static"
    raise CatalogError(
        f"{location} is not a STAC catalogue: its type is {kind!r}, not Catalog, Collection or FeatureCollection"
    )


def _fetch_json(url: str) -> Any:
    from pystac_client.stac_api_io import StacApiIO

    try:
        return json.loads(StacApiIO(timeout=TIMEOUT, max_retries=RETRIES).read_text(url))
    except ValueError as error:
        raise CatalogError(f"{url} is not STAC: the answer is not JSON ({error})") from error
    except Exception as error:
        raise _down(url, error) from error


def _down(url: str, error: BaseException) -> CatalogError:
    reason = (str(error).splitlines() or [type(error).__name__])[0][:300]
    return CatalogError(f"{url} does not answer ({reason}): check the address and the network, or try again later")


def static_items(source: Source) -> list[pystac.Item]:
    """Read all items of a static catalogue, an item collection or a stac-geoparquet file.

    Raises
    ------
    CatalogError
        It cannot be read.
    """
    if source.kind == "parquet":
        return _parquet_items(source.location)
    if source.kind == "items":
        content = source.content
        features = content if isinstance(content, list) else content.get("features", [content])
        return files.from_dicts(features, source.location)
    return _crawl(source)


def _parquet_items(location: str) -> list[pystac.Item]:
    if not files.is_url(location):
        return files.read_parquet(Path(location))
    import tempfile

    import requests

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "items.parquet"
        try:
            answer = requests.get(location, timeout=TIMEOUT)
            answer.raise_for_status()
        except requests.RequestException as error:
            raise _down(location, error) from error
        path.write_bytes(answer.content)
        items = files.read_parquet(path)
    for item in items:
        for asset in item.assets.values():
            if asset.href.startswith(folder):
                asset.href = location.rsplit("/", 1)[0] + asset.href.removeprefix(folder)
    return items


def _crawl(source: Source) -> list[pystac.Item]:
    """Follow the links of a static catalogue."""
    import pystac
    from pystac_client.stac_api_io import StacApiIO

    stac_io = StacApiIO(timeout=TIMEOUT, max_retries=RETRIES)
    items: list[pystac.Item] = []
    try:
        root = (
            pystac.Catalog.from_file(source.location, stac_io=stac_io)
            if source.content["type"] == "Catalog"
            else (pystac.Collection.from_file(source.location, stac_io=stac_io))
        )
        for item in progress.track(root.get_items(recursive=True), "Reading the catalogue"):
            item.make_asset_hrefs_absolute()
            items.append(item)
    except CatalogError:
        raise
    except Exception as error:  # links that lead nowhere, documents that are not STAC
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise CatalogError(
            f"{source.location} cannot be read to its end ({reason}): mend the link or the file"
        ) from error
    for item in items:
        for asset in item.assets.values():
            asset.href = presets.unsigned(asset.href)
    return items


@contextlib.contextmanager
def _strict() -> Iterator[None]:
    """Turn the client's warnings that a server cannot do what is asked into errors."""
    from pystac_client.warnings import PystacClientWarning

    with warnings.catch_warnings():
        warnings.simplefilter("error", category=PystacClientWarning)
        yield


def api_items(
    url: str,
    *,
    collections: Sequence[str] | None,
    where: BaseGeometry | None,
    boxes: Sequence[Bounds] | None,
    when: area.Period,
    limit: int | None,
) -> tuple[list[pystac.Item], bool]:
    """Search a STAC API; all pages, without doubles.

    Parameters
    ----------
    url : str
        Root of the API.
    collections : sequence of str or None
        None searches those whose id speaks of Sentinel-1, or all if there are none.
    where : shapely geometry or None
        Area in longitude/latitude, for `intersects`; not used where `boxes` are given.
    boxes : sequence of Bounds or None
        Boxes, each searched for itself (two where the area crosses the antimeridian).
    when : Period
    limit : int or None
        Items at most; None for all.

    Returns
    -------
    items : list of pystac.Item
        Asset hrefs absolute and unsigned.
    truncated : bool
        Whether `limit` cut the list.

    Raises
    ------
    CatalogError
        The server is down, is no STAC API, or cannot do what is asked.
    """
    from pystac_client.warnings import PystacClientWarning

    found: dict[tuple[str | None, str], pystac.Item] = {}
    try:
        with _strict():
            client = _open(url)
            wanted = list(collections) if collections else _sentinel1_collections(client)
            for query in _queries(where, boxes):
                for item in _pages(client, wanted, query, when):
                    found.setdefault((item.collection_id, item.id), item)
                    if limit is not None and len(found) > limit:
                        break
    except CatalogError:
        raise
    except PystacClientWarning as error:
        raise CatalogError(
            f"{url} cannot be searched: {error}; export its items to a file and name that file"
        ) from error
    except Exception as error:
        raise _down(url, error) from error
    items = list(found.values())
    for item in items:
        for asset in item.assets.values():
            asset.href = presets.unsigned(asset.get_absolute_href() or asset.href)
    return (items if limit is None else items[:limit]), limit is not None and len(items) > limit


def _open(url: str) -> Any:
    import pystac_client
    from pystac_client.stac_api_io import StacApiIO

    return pystac_client.Client.open(url, stac_io=StacApiIO(timeout=TIMEOUT, max_retries=RETRIES))


def _sentinel1_collections(client: Any) -> list[str] | None:
    words = ("sentinel-1", "sentinel1", "s1-", "-s1", "rtc", "insar", "coherence", "icemapper")
    ids = [collection.id for collection in client.get_collections()]
    return [name for name in ids if any(word in name.lower() for word in words)] or None


def _queries(where: BaseGeometry | None, boxes: Sequence[Bounds] | None) -> list[dict[str, Any]]:
    import shapely.geometry

    if boxes is not None:
        return [{"bbox": tuple(box)} for box in boxes]
    return [{}] if where is None else [{"intersects": shapely.geometry.mapping(where)}]


def _pages(
    client: Any, collections: list[str] | None, query: dict[str, Any], when: area.Period
) -> Iterator[pystac.Item]:
    span = None if when.start is None and when.end is None else str(when)
    search = client.search(method="POST", collections=collections, datetime=span, limit=PAGE, **query)
    with progress.bar("Searching", None) as advance:
        for page in search.items():
            advance()
            yield page

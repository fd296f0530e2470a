"""Find out what kind of catalogue it is, and read those that are files."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from icemapper_xr import addresses, conventions, progress, redact
from icemapper_xr.catalog import api, files, presets
from icemapper_xr.errors import CatalogError, first_line

if TYPE_CHECKING:
    import pystac

__all__ = ["Source", "identify", "static_items"]

Kind = Literal["preset", "api", "static", "items", "parquet"]


@dataclass(frozen=True)
class Source:
    """A catalogue and its kind."""

    kind: Kind
    location: str
    """Preset name, URL or path; a URL with the tokens that it needs, which are for memory only."""
    content: Any = None
    """The JSON already read."""

    @property
    def shown(self) -> str:
        """The location without tokens, for people and for the record."""
        return redact.text(self.location)


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
    if addresses.scheme(text) in ("http", "https"):
        return _identify_url(text)
    if addresses.is_remote(text):
        raise CatalogError(
            f"{text} cannot be read: catalogues are read from http(s) URLs and local paths; copy it first"
        )
    return _identify_path(addresses.local_path(text))


def is_api(catalog: str | Path) -> bool:
    """Whether a catalogue answers for a place and a time, and cannot be read as a whole.

    Raises
    ------
    CatalogError
        As `identify`.
    """
    return identify(catalog).kind in ("preset", "api")


def _identify_url(url: str) -> Source:
    if urlsplit(url).path.lower().endswith(conventions.PARQUET):
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
    if path.suffix.lower() in conventions.PARQUET:
        return Source("parquet", str(path))
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
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
    try:
        return json.loads(api.reader().read_text(url))
    except ValueError as error:
        raise CatalogError(f"{url} is not STAC: the answer is not JSON ({error})") from error
    except Exception as error:  # requests, urllib3 and pystac_client raise many kinds
        raise api.down(url, error) from error


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
        if not isinstance(features, list):
            raise CatalogError(f"{source.shown}: its features are no list of items: build or download the file anew")
        _tell_of_more(content, len(features), source.shown)
        return files.from_dicts(features, source.location)
    return _crawl(source)


def _tell_of_more(content: Any, count: int, shown: str) -> None:
    """Tell that a saved answer of an API is one page of several: what is missing would be missing steps."""
    if isinstance(content, dict) and any(link.get("rel") == "next" for link in content.get("links") or ()):
        matched = content.get("numberMatched") or (content.get("context") or {}).get("matched") or "more"
        progress.note(f"{shown} is one page of an answer, {count} of {matched} items: search the API itself for all")


def _parquet_items(location: str) -> list[pystac.Item]:
    if not addresses.is_url(location):
        return files.read_parquet(Path(location))
    import tempfile

    import requests

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "items.parquet"
        try:
            answer = requests.get(location, timeout=api.TIMEOUT)
            answer.raise_for_status()
        except requests.RequestException as error:
            raise api.down(location, error) from error
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

    stac_io = api.reader()
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
        raise CatalogError(
            f"{source.location} cannot be read to its end ({first_line(error)}): mend the link or the file"
        ) from error
    for item in items:
        for asset in item.assets.values():
            asset.href = presets.renewed(asset.href)
    return items

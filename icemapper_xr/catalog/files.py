"""Item collections and stac-geoparquet files: read and written, hrefs relative to the file in the file."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urljoin

from icemapper_xr import addresses, conventions, progress, whole
from icemapper_xr.catalog import presets
from icemapper_xr.errors import CatalogError

if TYPE_CHECKING:
    import pystac

__all__ = ["INDEX_JSON", "INDEX_PARQUET", "SUFFIXES", "check_target", "from_dicts", "read_parquet", "write"]

INDEX_JSON: Final = "items.json"
"""Item collection that `build` writes into a folder."""
INDEX_PARQUET: Final = "items.parquet"
"""The same as stac-geoparquet."""
SUFFIXES: Final = (".json", ".geojson", *conventions.PARQUET)
"""Of files of items."""


def _absolute(href: str, base: str) -> str:
    """Resolve an href against the file or URL it stands in."""
    if addresses.is_url(href) or os.path.isabs(href):
        return href
    if addresses.is_url(base):
        return urljoin(base, href)
    return os.path.normpath(os.path.join(os.path.dirname(base), href))


def from_dicts(dicts: Iterable[dict[str, Any]], base: str) -> list[pystac.Item]:
    """Make items of GeoJSON mappings found at `base`; hrefs become absolute.

    They lose signatures that are made anew when they are read; others, and tokens, they keep in memory only.

    Raises
    ------
    CatalogError
        One of them is not a STAC item.
    """
    import pystac

    items = []
    for number, mapping in enumerate(progress.track(dicts, "Reading the items")):
        try:
            # Nobody else has the mapping, so that it need not be copied.
            item = pystac.Item.from_dict({"links": [], **mapping}, preserve_dict=False)
        except Exception as error:  # pystac raises KeyError, ValueError, STACError ... on what it cannot read
            name = mapping.get("id", f"number {number}") if isinstance(mapping, dict) else f"number {number}"
            raise CatalogError(f"{base}: item {name} is not a STAC item ({type(error).__name__}: {error})") from error
        for asset in item.assets.values():
            asset.href = presets.renewed(_absolute(asset.href, base))
        items.append(item)
    return items


def to_dict(item: pystac.Item, relative_to: Path | None) -> dict[str, Any]:
    """Return an item as a mapping without a self link; hrefs unsigned, and relative to a folder if one is given."""
    mapping = item.to_dict(include_self_link=False, transform_hrefs=False)
    for asset in mapping["assets"].values():
        href = presets.unsigned(asset["href"])
        if relative_to is not None and not addresses.is_remote(href) and not addresses.is_url(href):
            href = Path(os.path.relpath(href, relative_to)).as_posix()
            href = f"./{href}" if ":" in href.split("/")[0] else href  # no scheme (RFC 3986, 4.2)
        asset["href"] = href
    return mapping


def check_target(path: Path) -> str:
    """Return the suffix of a file of items to be written, before hours are spent on finding them.

    Raises
    ------
    CatalogError
        The suffix is unknown, or there is no such folder.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise CatalogError(
            f"{path}: items are written as .json, .geojson or .parquet, not {suffix or 'without a suffix'}"
        )
    if not path.absolute().parent.is_dir():
        raise CatalogError(f"{path} cannot be written: there is no folder {path.absolute().parent}, make it first")
    return suffix


def write(path: Path, items: Sequence[pystac.Item], *, relative_to: Path | None) -> None:
    """Write items by the suffix of `path`, atomically; equal items give equal bytes.

    Raises
    ------
    CatalogError
        The suffix is unknown, there is nothing to write, or the file cannot be written.
    """
    suffix = check_target(path)
    dicts = [to_dict(item, relative_to) for item in items]
    if suffix in conventions.PARQUET:
        _atomic(path, lambda target: _write_parquet(target, dicts, path))
    else:
        collection = {"type": "FeatureCollection", "features": dicts}
        text = json.dumps(collection, indent=1, sort_keys=True, allow_nan=False) + "\n"
        _atomic(path, lambda target: target.write_text(text, encoding="utf-8"))


def _atomic(path: Path, fill: Callable[[Path], object]) -> None:
    """Write to a neighbour first, so that a reader never sees half a file."""
    try:
        with whole.appearing(path) as part:
            fill(part)
    except OSError as error:
        raise CatalogError(
            f"{path} cannot be written ({error.strerror or error}): choose a folder you may write to"
        ) from error


def _write_parquet(target: Path, dicts: list[dict[str, Any]], path: Path) -> None:
    """Write to `target` what will become `path`."""
    import stac_geoparquet.arrow
    from pyarrow import ArrowException

    if not dicts:
        raise CatalogError(f"{path}: there are no items to write")
    try:
        table = stac_geoparquet.arrow.parse_stac_items_to_arrow(dicts)
        stac_geoparquet.arrow.to_parquet(table, target)
    except (ArrowException, AttributeError, KeyError, TypeError, ValueError) as error:
        # A field that is text here and a number there, or an item without a geometry.
        raise CatalogError(
            f"{path}: these items do not fit one table ({_first_line(error)}): write them as .json"
        ) from error


def read_parquet(path: Path) -> list[pystac.Item]:
    """Read a stac-geoparquet file.

    Raises
    ------
    CatalogError
        It is not one.
    """
    import pyarrow.parquet
    import stac_geoparquet.arrow

    try:
        table = pyarrow.parquet.read_table(path)
        dicts = list(stac_geoparquet.arrow.stac_table_to_items(table))
    except Exception as error:  # pyarrow and stac_geoparquet raise many kinds on what they cannot read
        raise CatalogError(
            f"{path} cannot be read as stac-geoparquet ({type(error).__name__}: {_first_line(error)})"
        ) from error
    return from_dicts(dicts, str(path))


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [""])[0]

"""Search STAC APIs: strict, patient, all pages, no doubles."""

from __future__ import annotations

import contextlib
import dataclasses
import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from icemapper_xr import progress
from icemapper_xr._types import Bounds
from icemapper_xr.catalog import area, presets
from icemapper_xr.errors import CatalogDownError, CatalogError, first_line, shortened

if TYPE_CHECKING:
    import pystac
    from shapely.geometry.base import BaseGeometry

__all__ = ["TIMEOUT", "Query", "anything", "down", "items", "reader"]

TIMEOUT: Final = 60.0
"""Seconds to wait for an answer."""
PAGE: Final = 250
"""Items asked for at a time."""
_BUSY: Final = (429, 500, 502, 503, 504)
_WORDS: Final = ("sentinel-1", "sentinel1", "s1-", "-s1", "rtc", "insar", "coherence", "icemapper")
"""What the id of a collection of Sentinel-1 has in it."""


@dataclass(frozen=True)
class Query:
    """What to ask a STAC API."""

    url: str
    """Root of the API."""
    collections: Sequence[str] | None
    """None for those whose id speaks of Sentinel-1, or all if there are none."""
    boxes: Sequence[Bounds] | None
    """Boxes in longitude/latitude, each searched for itself (two where the area crosses the antimeridian)."""
    geometry: BaseGeometry | None
    """Area in longitude/latitude where there are no boxes."""
    when: area.Period

    def at_any_time(self) -> Query:
        """Return the same query without its dates."""
        return dataclasses.replace(self, when=area.Period(None, None))


def reader() -> Any:
    """Return what fetches documents: with a time limit, and a new attempt after a hiccup."""
    from pystac_client.stac_api_io import StacApiIO
    from urllib3.util import Retry

    # A search is a POST that changes nothing: it may be repeated as well as a GET (allowed_methods=None).
    patience = Retry(total=5, connect=2, backoff_factor=0.3, status_forcelist=_BUSY, allowed_methods=None)
    return StacApiIO(timeout=TIMEOUT, max_retries=patience)


def down(url: str, error: BaseException) -> CatalogDownError:
    """Return the error that says that a server does not answer as it should, in one short line."""
    status = getattr(error, "status_code", None) or getattr(getattr(error, "response", None), "status_code", None)
    text = first_line(error)
    cause = re.search(r"Caused by \w+\((.*)\)\)$", text)
    reason = re.sub(r"^[\"'(]*(?:\w+\(.*?\): )?", "", cause[1]).strip("\"'") if cause else text
    reason = f"HTTP status {status}" if status else shortened(reason, 200)
    return CatalogDownError(f"{url} does not answer ({reason}): check the address and the network, or try again later")


@contextlib.contextmanager
def _strict(url: str) -> Iterator[None]:
    """Turn into errors of ours what goes wrong, and the warnings that a server cannot do what is asked."""
    from pystac_client.warnings import PystacClientWarning

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", category=PystacClientWarning)
            yield
    except CatalogError:
        raise
    except PystacClientWarning as error:
        raise CatalogError(f"{url} cannot be searched ({error}): export its items to a file and name that") from error
    except Exception as error:  # requests, urllib3, pystac and pystac_client raise many kinds
        raise down(url, error) from error


def items(query: Query) -> Iterator[pystac.Item]:
    """Search a STAC API, page by page.

    Parameters
    ----------
    query : Query

    Yields
    ------
    pystac.Item
        No doubles; asset hrefs absolute, without signatures that are made anew when they are read.

    Raises
    ------
    CatalogError
        The server is down, is no STAC API, or cannot do what is asked.
    """
    seen: set[tuple[str | None, str]] = set()
    with progress.bar("Searching") as advance:
        for item in _all_pages(query, PAGE):
            key = (item.collection_id, item.id)
            if key not in seen:
                seen.add(key)
                advance()
                for asset in item.assets.values():
                    asset.href = presets.renewed(asset.get_absolute_href() or asset.href)
                yield item


def anything(query: Query) -> bool:
    """Whether a query finds anything at all."""
    return next(_all_pages(query, 1), None) is not None


def _all_pages(query: Query, page: int) -> Iterator[pystac.Item]:
    """Walk the pages; the guard is not held while the consumer works."""
    import pystac_client

    with _strict(query.url):
        client = pystac_client.Client.open(query.url, stac_io=reader())
        collections = list(query.collections) if query.collections else _sentinel1(client)
    for where in _places(query):
        with _strict(query.url):
            span = None if query.when == area.Period(None, None) else str(query.when)
            search = client.search(method="POST", collections=collections, datetime=span, limit=page, **where)
            stream = iter(search.items())
        while True:
            with _strict(query.url):
                item = next(stream, None)
            if item is None:
                break
            yield item


def _sentinel1(client: Any) -> list[str] | None:
    ids = [collection.id for collection in client.get_collections()]
    return [name for name in ids if any(word in name.lower() for word in _WORDS)] or None


def _places(query: Query) -> list[dict[str, Any]]:
    import shapely.geometry

    if query.boxes is not None:
        return [{"bbox": tuple(box)} for box in query.boxes]
    return [{"intersects": shapely.geometry.mapping(query.geometry)}] if query.geometry is not None else [{}]

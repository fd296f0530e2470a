"""Search a catalogue of any kind, and say which filter removed what."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from icemapper_xr import progress
from icemapper_xr._types import Bounds, Observation, is_whole
from icemapper_xr.catalog import api, area, presets, sources
from icemapper_xr.catalog.result import SearchResult
from icemapper_xr.catalog.sieve import Sieve, check_features
from icemapper_xr.conventions import Feature
from icemapper_xr.errors import CatalogError

if TYPE_CHECKING:
    import pystac

__all__ = ["search"]


def search(
    catalog: str | Path,
    *,
    bbox: Sequence[float] | None = None,
    geometry: Any = None,
    datetime: Any = None,
    features: Sequence[Feature] | Feature = ("rtc",),
    polarisation: str | None = None,
    orbit: int | None = None,
    mode: str | None = None,
    limit: int | None = None,
    collections: Sequence[str] | None = None,
) -> SearchResult:
    """Find the Sentinel-1 observations of an area and a time.

    Parameters
    ----------
    catalog : str or Path
        A preset (`planetary-computer`, `earth-search`, `cdse`), the URL of a STAC API, a static catalogue, an item
        collection in JSON, a stac-geoparquet file, or a folder that `icemapper catalog build` has indexed.
    bbox : (west, south, east, north), optional
        Longitude/latitude in degrees; west > east crosses the antimeridian.
    geometry : shapely geometry or GeoJSON mapping, optional
        In longitude/latitude; instead of `bbox`.
    datetime : str, date, datetime or pair of those, optional
        'YYYY', 'YYYY-MM', 'YYYY-MM-DD' or 'start/end', ends inclusive. A coherence pair belongs if the
        span between its dates does.
    features : sequence of {'grd', 'rtc', 'insar'}
    polarisation : {'VV', 'VH', 'HH', 'HV'}, optional
        None for all.
    orbit : int, optional
        Relative orbit, 1..175; None for all.
    mode : {'IW', 'EW', 'SM', 'WV'}, optional
        None for all: a cube of another mode than IW is refused with the reason.
    limit : int, optional
        Number of items at most; None for all.
    collections : sequence of str, optional
        Collections of a STAC API to search; None for the preset's, or those of Sentinel-1.

    Returns
    -------
    SearchResult

    Raises
    ------
    CatalogError
        The catalogue cannot be read or does not serve a feature; an argument is wrong; or nothing fits (the message
        says how many items each filter removed, and what there is instead).
    """
    where, when = area.region(bbox, geometry), area.period(datetime)
    sieve = Sieve(where, when, check_features(features), polarisation, orbit, mode)
    if limit is not None and not (is_whole(limit) and limit >= 1):
        raise CatalogError(f"limit is {limit!r}: it must be a whole number, at least 1")
    source = sources.identify(catalog)
    query: api.Query | None = None
    if source.kind in ("preset", "api"):
        query = _api_query(source, sieve, area.boxes(bbox) if bbox is not None else None, collections)
        stream: Iterator[pystac.Item] = api.items(query)
        kept = _take(stream, sieve, source.shown, limit)
    else:
        kept = _take(iter(sources.static_items(source)), sieve, source.shown, None)
    if not kept or _only_guesses(kept, sieve):
        raise CatalogError(_nothing(source, sieve, query))
    kept.sort(key=lambda pair: (pair[1][0].acquired, pair[0].id))
    truncated = limit is not None and len(kept) > limit
    kept = kept[:limit]
    progress.note(f"{len(kept)} items from {source.shown}")
    flat = tuple(observation for _, found in kept for observation in found)
    return SearchResult([item for item, _ in kept], flat, sieve.dropped, source.shown, truncated)


def _api_query(
    source: sources.Source, sieve: Sieve, boxes: Sequence[Bounds] | None, collections: Sequence[str] | None
) -> api.Query:
    """Return what to ask an API."""
    url = source.location
    if source.kind == "preset":
        preset = presets.get(source.location)
        served = presets.require(preset, sieve.features)
        url, collections = preset.url, collections or sorted({one.collection for one in served.values()})
    if sieve.where is None:
        raise CatalogError(f"{source.location}: searching it needs an area: give bbox or geometry")
    return api.Query(url, collections, boxes, None if boxes else sieve.where, sieve.when)


def _take(
    items: Iterator[pystac.Item], sieve: Sieve, location: str, limit: int | None
) -> list[tuple[pystac.Item, list[Observation]]]:
    """Sift items until one more than `limit` is through."""
    kept = []
    for item in items:
        found = sieve.sift(item, location)
        if found:
            kept.append((item, found))
        if limit is not None and len(kept) > limit:
            break
    return kept


def _only_guesses(kept: list[tuple[pystac.Item, list[Observation]]], sieve: Sieve) -> bool:
    """Tell whether all backscatter asked for is gone and only coherence of unknown orbit or polarisation is left."""
    if sieve.features == ("insar",) or not (sieve.lost["orbit"] or sieve.lost["polarisation"]):
        return False
    return all(
        one.feature == "insar" and not (sieve.orbit == one.relative_orbit and sieve.polarisation == one.polarisation)
        for _, found in kept
        for one in found
    )


def _nothing(source: sources.Source, sieve: Sieve, query: api.Query | None) -> str:
    """Say why nothing is left, and what to do."""
    total = sum(sieve.dropped.values())
    if total > 0:
        return f"none of the {total} items of {source.location} fits: removed {sieve.account()}"
    if query is None:
        return f"{source.location} holds no items: build it anew with `icemapper catalog build DIR`"
    features = ", ".join(sieve.features)
    if query.when == area.Period(None, None) or not api.anything(query.at_any_time()):
        return f"{source.location} has no {features} items in this area at any time: widen the area"
    return f"{source.location} has {features} items in this area, but none from {sieve.when.days}: widen the dates"

"""Search a catalogue of any kind, and say which filter removed what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from icemapper_xr import progress
from icemapper_xr._types import Observation
from icemapper_xr.catalog import area, observe, orbits, presets, sources
from icemapper_xr.catalog.result import SearchResult
from icemapper_xr.conventions import FEATURES, Feature
from icemapper_xr.errors import CatalogError

if TYPE_CHECKING:
    import pystac

__all__ = ["search"]

_POLARISATIONS: Final = ("VV", "VH", "HH", "HV")
_FILTERS: Final = ("area", "time", "feature", "polarisation", "orbit")


def _check_features(features: Sequence[Feature] | Feature) -> tuple[Feature, ...]:
    wanted = (features,) if isinstance(features, str) else tuple(features)
    for feature in wanted:
        if feature not in FEATURES:
            raise CatalogError(f"feature {feature!r} is unknown: choose among {', '.join(FEATURES)}")
    if not wanted:
        raise CatalogError(f"no feature is asked for: choose among {', '.join(FEATURES)}")
    return tuple(feature for feature in FEATURES if feature in wanted)


def _check_polarisation(polarisation: str | None) -> str | None:
    if polarisation is None:
        return None
    if polarisation.upper() not in _POLARISATIONS:
        raise CatalogError(f"polarisation {polarisation!r} is unknown: choose among {', '.join(_POLARISATIONS)}")
    return polarisation.upper()


def _check_orbit(orbit: int | None) -> int | None:
    if orbit is not None and not (isinstance(orbit, int) and 1 <= orbit <= orbits.REPEAT):
        raise CatalogError(
            f"orbit {orbit!r} is not a relative orbit of Sentinel-1: give a number from 1 to {orbits.REPEAT}"
        )
    return orbit


def search(
    catalog: str | Path,
    *,
    bbox: Sequence[float] | None = None,
    geometry: Any = None,
    datetime: Any = None,
    features: Sequence[Feature] | Feature = ("rtc",),
    polarisation: str | None = None,
    orbit: int | None = None,
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
        says how many items each filter removed).
    """
    wanted = _check_features(features)
    polarisation, orbit = _check_polarisation(polarisation), _check_orbit(orbit)
    if limit is not None and limit < 1:
        raise CatalogError(f"limit is {limit}: it must be at least 1")
    where, when = area.region(bbox, geometry), area.period(datetime)
    source = sources.identify(catalog)
    truncated = False
    dropped = dict.fromkeys(_FILTERS, 0)
    if source.kind in ("preset", "api"):
        url, collections = _api(source, wanted, collections)
        if where is None:
            raise CatalogError(f"{source.location}: searching it needs an area: give bbox or geometry")
        boxes = area.boxes(bbox) if bbox is not None else None
        items, truncated = sources.api_items(
            url, collections=collections, where=where, boxes=boxes, when=when, limit=limit
        )
    else:
        items = sources.static_items(source)
    total = len(items)
    items = _filter_place_and_time(items, where, when, dropped)
    kept = _filter_observations(items, wanted, polarisation, orbit, source.location, dropped)
    if not kept:
        raise CatalogError(_nothing(source, total, dropped, wanted, polarisation, orbit, when))
    kept.sort(key=lambda pair: (pair[1][0].acquired, pair[0].id))
    if limit is not None and len(kept) > limit:
        kept, truncated = kept[:limit], True
    progress.note(f"{len(kept)} items from {source.location}")
    flat = tuple(observation for _, found in kept for observation in found)
    return SearchResult([item for item, _ in kept], flat, dropped, source.location, truncated)


def _api(
    source: sources.Source, wanted: tuple[Feature, ...], collections: Sequence[str] | None
) -> tuple[str, Sequence[str] | None]:
    """Return URL and collections of an API."""
    if source.kind == "api":
        return source.location, collections
    preset = presets.get(source.location)
    served = presets.require(preset, wanted)
    return preset.url, collections or sorted({one.collection for one in served.values()})


def _filter_place_and_time(
    items: list[pystac.Item], where: Any, when: area.Period, dropped: dict[str, int]
) -> list[pystac.Item]:
    kept = []
    for item in items:
        shape = area.item_shape(item) if where is not None else None
        if shape is not None and not shape.intersects(where):
            dropped["area"] += 1
        elif not when.overlaps(area.item_period(item)):
            dropped["time"] += 1
        else:
            kept.append(item)
    return kept


def _filter_observations(
    items: list[pystac.Item],
    wanted: tuple[Feature, ...],
    polarisation: str | None,
    orbit: int | None,
    location: str,
    dropped: dict[str, int],
) -> list[tuple[pystac.Item, list[Observation]]]:
    """Describe the items; an item counts for the first filter that leaves nothing of it."""
    kept = []
    for item in items:
        found = list(observe.observations(item, source=location))
        for name, fits in (
            ("feature", lambda one: one.feature in wanted),
            ("polarisation", lambda one: polarisation is None or one.polarisation == polarisation),
            ("orbit", lambda one: orbit is None or one.relative_orbit == orbit),
        ):
            found = [one for one in found if fits(one)]
            if not found:
                dropped[name] += 1
                break
        else:
            kept.append((item, found))
    return kept


def _nothing(
    source: sources.Source,
    total: int,
    dropped: Mapping[str, int],
    wanted: tuple[Feature, ...],
    polarisation: str | None,
    orbit: int | None,
    when: area.Period,
) -> str:
    """Say why nothing is left, and what to do."""
    if total == 0 and source.kind in ("preset", "api"):
        return f"{source.location} has no {', '.join(wanted)} item in this area from {when}: widen area or dates"
    if total == 0:
        return f"{source.location} holds no items: build it anew with `icemapper catalog build DIR`"
    asked = {"feature": ", ".join(wanted), "polarisation": polarisation, "orbit": orbit, "time": str(when)}
    parts = [
        f"{count} by {name}" + (f" ({asked[name]})" if asked.get(name) else "")
        for name, count in dropped.items()
        if count
    ]
    return f"none of the {total} items of {source.location} fits: removed {', '.join(parts)}; widen the last of these"

"""STAC item -> observations: one per feature asset and polarisation.

Understood are our own items (`icemapper:*` fields), those of the presets, of the Sentinel-1 RTC set on AWS (Indigo),
and any item whose assets carry names that `names` knows (OPERA RTC-S1, HyP3). What an item does not tell stays unknown.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import math
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from icemapper_xr._types import Bounds, Observation, Scale, Shape
from icemapper_xr.catalog import declared, names, orbits, presets
from icemapper_xr.catalog.facts import in_utc
from icemapper_xr.errors import CatalogError

if TYPE_CHECKING:
    import pystac

__all__ = ["footprint_box", "observations", "utc"]

_PRESET_COLLECTIONS: Final = ("sentinel-1-rtc", "sentinel-1-grd")
_RTC: Final = names.Facts(feature="rtc")
"""Of another provider, who may give sigma0, amplitude or dB."""
_RASTER: Final = re.compile(r"\.tiff?$", re.IGNORECASE)


def utc(value: object) -> dt.datetime | None:
    """Read a time of a STAC field as an aware datetime in UTC; None where there is none."""
    if isinstance(value, str) and value:
        try:
            value = dt.datetime.fromisoformat(value.replace(" ", "T", 1))
        except ValueError as error:
            raise CatalogError(f"the catalogue has a time that cannot be read: {value!r}") from error
    return in_utc(value) if isinstance(value, dt.datetime) else None


def _fields(item: pystac.Item, asset: pystac.Asset) -> dict[str, Any]:
    """Properties of the item, overlaid with those of the asset."""
    return {**item.properties, **asset.extra_fields}


def _epsg(fields: Mapping[str, Any]) -> int | None:
    """EPSG code from `proj:code` (projection extension 2) or `proj:epsg` (1)."""
    code = fields.get("proj:code")
    if isinstance(code, str) and code.upper().startswith("EPSG:"):
        return int(code[5:])
    epsg = fields.get("proj:epsg")
    return int(epsg) if epsg is not None else None


def _transform(fields: Mapping[str, Any]) -> tuple[float, float, float, float, float, float] | None:
    """Read `proj:transform`, which comes with six numbers or with nine."""
    values = fields.get("proj:transform")
    if values is None or len(values) not in (6, 9):
        return None
    a, b, c, d, e, f = (float(value) for value in values[:6])
    return (a, b, c, d, e, f)


def _shape(fields: Mapping[str, Any]) -> Shape | None:
    values = fields.get("proj:shape")
    return Shape(int(values[0]), int(values[1])) if values is not None and len(values) == 2 else None


def _nodata(fields: Mapping[str, Any]) -> float | None:
    """Read `nodata` of the asset or of its first band; the specification writes NaN as a string."""
    value = fields.get("nodata", declared.band(fields).get("nodata"))
    if value is None:
        return None
    return math.nan if str(value).lower() == "nan" else float(value)


def footprint_box(item: pystac.Item) -> Bounds | None:
    """Longitude/latitude box of an item, left > right across the antimeridian; heights are dropped."""
    if item.bbox is None:
        return None
    box = [float(value) for value in item.bbox]
    return Bounds(box[0], box[1], box[3], box[4]) if len(box) == 6 else Bounds(*box)


def _outline(item: pystac.Item) -> str | None:
    """Geometry of an item as WKT without heights; None where it has none, or no area."""
    if item.geometry is None:
        return None
    import shapely
    import shapely.geometry

    shape = shapely.force_2d(shapely.geometry.shape(item.geometry))
    return str(shapely.to_wkt(shape, rounding_precision=7)) if shape.area > 0 else None


def _own(fields: Mapping[str, Any], facts: names.Facts) -> names.Facts:
    """Overlay what our own fields say."""
    told: dict[str, Any] = {
        key: fields[f"icemapper:{key}"]
        for key in (
            "feature",
            "quantity",
            "scale",
            "polarisation",
            "platform",
            "looks",
            "filtered",
            "burst",
            "geocoded",
        )
        if fields.get(f"icemapper:{key}") is not None
    }
    for key in ("reference", "secondary", "processed"):
        if fields.get(f"icemapper:{key}") is not None:
            told[key] = utc(fields[f"icemapper:{key}"])
    return dataclasses.replace(facts, **told)


def _served(item: pystac.Item, key: str, scale: Scale | None) -> names.Facts | None:
    """Facts of the collections of the presets and of the Indigo set, declared scale or not; None for anything else."""
    collection = (item.collection_id or "").lower()
    if key.lower().startswith("gamma0") or collection == _PRESET_COLLECTIONS[0]:
        return names.Facts(feature="rtc", quantity="gamma0", scale=scale or "power")
    if item.id.endswith("_rtc"):
        # Planetary Computer's ids end so, but so may those of others, who tell it by another scale.
        return names.Facts(feature="rtc", quantity="gamma0", scale="power") if scale in ("power", None) else _RTC
    if re.search(r"(?:^|[^a-z])rtc(?:[^a-z]|$)", collection):
        return _RTC
    if collection == _PRESET_COLLECTIONS[1] or re.match(r"S1[A-D]_(IW|EW|S\d)_GRD", item.id):
        return names.Facts(feature="grd", quantity="digital_number", scale="amplitude", geocoded=False)
    return None


def _asset_facts(item: pystac.Item, key: str, asset: pystac.Asset, fields: Mapping[str, Any]) -> names.Facts | None:
    """Gather what is known of one asset from the surest source on; None if it is no observation."""
    href = asset.href.split("?")[0]
    roles = asset.roles or ["data"]
    if "data" not in roles or not (_RASTER.search(href) or "tiff" in (asset.media_type or "")):
        return None
    if names.is_companion(href) or key.lower() in ("incidence", "mask"):
        return None
    # Our own items tell everything in fields: their file names have been read, overridden and filled by `build`.
    own = fields.get("icemapper:feature") is not None
    named = None if own else names.parse(href)
    scale = None if own else declared.scale(asset.extra_fields)
    facts = None if own else _served(item, key, scale)
    if (
        named is not None
        and named.product is not None
        and (item.collection_id or "").lower() not in _PRESET_COLLECTIONS
    ):
        facts = named
    facts = _own(fields, _declared(facts or named or names.Facts(), scale))
    if facts.feature is None:
        return None
    told = names.polarisations(key) or names.polarisations(href.split("/")[-1])
    several = len(told) > 1 and fields.get("icemapper:polarisation") is None
    if several:
        told = names.polarisations(declared.band_name(asset.extra_fields))
        if len(told) != 1:
            return None  # of two polarisations made: a ratio, say
    if told and (several or facts.polarisation is None):
        facts = dataclasses.replace(facts, polarisation=told[0])
    # What has no polarisation is of angles or looks, say, and read by nobody.
    read = facts.polarisation is not None or facts.feature == "insar"
    if not own and read and facts.quantity != "digital_number":
        declared.check_unscaled(asset.extra_fields, f"item {item.id}: asset {key}")
    return facts


def _declared(facts: names.Facts, scale: Scale | None) -> names.Facts:
    """Take the scale that an item declares; one that contradicts the name leaves it unknown."""
    if scale is None or facts.feature == "insar":
        return facts
    return dataclasses.replace(facts, scale=scale if facts.scale in ("unknown", scale) else "unknown")


def _preset_nodata(facts: names.Facts, signer: str | None) -> float | None:
    served = presets.PRESETS[signer].served.get(facts.feature) if signer and facts.feature else None
    return served.nodata if served is not None else None


def _relative_orbit(told: object) -> int:
    try:
        return orbits.checked(told)
    except ValueError as error:
        raise ValueError(f"relative orbit {told!r} is {error}") from error


def _observation(item: pystac.Item, asset: pystac.Asset, facts: names.Facts, source: str) -> Observation | None:
    fields = _fields(item, asset)
    pair = facts.reference is not None and facts.secondary is not None
    acquired = facts.when if pair else item.datetime or item.common_metadata.start_datetime or facts.acquired
    if acquired is None or facts.feature is None:
        return None
    granule = names.parse_granule(item.id)
    platform = facts.platform or orbits.platform_code(fields.get("platform")) or (granule.platform if granule else None)
    absolute = fields.get("sat:absolute_orbit") or facts.absolute_orbit or (granule.absolute_orbit if granule else None)
    relative = fields.get("sat:relative_orbit") or facts.relative_orbit
    href = presets.renewed(asset.href)
    signer = presets.signer_of(href)
    nodata = _nodata(fields)
    geocoded = facts.geocoded
    return Observation(
        item_id=item.id,
        feature=facts.feature,
        href=href,
        acquired=utc(acquired) or acquired,
        polarisation=facts.polarisation,
        relative_orbit=_relative_orbit(relative) if relative else orbits.relative_orbit(platform, absolute),
        orbit_state=fields.get("sat:orbit_state") or facts.orbit_state,
        absolute_orbit=int(absolute) if absolute else None,
        platform=platform,
        mode=fields.get("sar:instrument_mode") or facts.mode or (granule.mode if granule else None),
        quantity=facts.quantity,
        scale=facts.scale,
        nodata=nodata if nodata is not None else _preset_nodata(facts, signer),
        reference=facts.reference,
        secondary=facts.secondary,
        looks=float(facts.looks) if facts.looks is not None else None,
        filtered=facts.filtered,
        burst=facts.burst,
        processed=facts.processed,
        bbox=footprint_box(item),
        # The grid that catalogues give for a ground-range raster is made up: its file has only control points.
        epsg=_epsg(fields) if geocoded else None,
        transform=_transform(fields) if geocoded else None,
        shape=_shape(fields) if geocoded else None,
        geocoded=geocoded,
        band=int(fields.get("icemapper:band", 1)),
        source=source,
        footprint=_outline(item),
    )


def observations(item: pystac.Item, *, source: str = "") -> tuple[Observation, ...]:
    """Describe every raster of an item that is an observation of one of our features.

    Parameters
    ----------
    item : pystac.Item
        Of any catalogue; asset hrefs absolute, or relative to the working directory.
    source : str
        What `Observation.source` is set to.

    Returns
    -------
    tuple of Observation
        In the order of the assets' keys; empty if the item holds no Sentinel-1 backscatter or coherence. Products that
        cannot be mapped (EW, raw GRD with control points) are described too, so that the cube can say why it refuses.

    Raises
    ------
    CatalogError
        A field has a value that its specification does not allow.
    """
    from shapely.errors import ShapelyError

    found = []
    for key, asset in sorted(item.assets.items()):
        try:
            facts = _asset_facts(item, key, asset, _fields(item, asset))
            observation = _observation(item, asset, facts, source) if facts is not None else None
        except CatalogError:
            raise
        except (AttributeError, KeyError, IndexError, TypeError, ValueError, ShapelyError) as error:
            where = f" of {source}" if source else ""
            raise CatalogError(f"item {item.id}{where} has a field that cannot be read ({error}): mend it") from error
        if observation is not None:
            found.append(observation)
    return tuple(found)

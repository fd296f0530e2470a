"""Make STAC items of described rasters."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from icemapper_xr._types import days_apart
from icemapper_xr.catalog import names, raster

if TYPE_CHECKING:
    import pystac

__all__ = ["Described", "make_item"]

_EXTENSION: Final = "https://stac-extensions.github.io/{}/schema.json"
_PRODUCT_TYPES: Final = {"rtc": "RTC", "grd": "GRD", "insar": "COH"}
_TITLES: Final = {"rtc": "terrain-corrected backscatter", "grd": "backscatter", "insar": "interferometric coherence"}


@dataclass(frozen=True)
class Described:
    """One band of a raster and what is known about it."""

    facts: names.Facts
    raster: raster.Raster
    band: int = 1


def _stamp(moment: dt.datetime) -> str:
    return (
        moment.astimezone(dt.UTC)
        .isoformat(timespec="microseconds" if moment.microsecond else "seconds")
        .replace("+00:00", "Z")
    )


def _projection(one: raster.Raster) -> dict[str, Any]:
    """Fields of the projection extension, version 2."""
    fields: dict[str, Any] = {"proj:shape": list(one.shape)}
    if one.geocoded and one.transform is not None and one.bounds is not None:
        fields["proj:code"] = None if one.epsg is None else f"EPSG:{one.epsg}"
        if one.epsg is None:
            fields["proj:wkt2"] = one.wkt
        fields["proj:transform"] = list(one.transform)
        fields["proj:bbox"] = list(one.bounds)
    return fields


def _properties(members: Sequence[Described]) -> dict[str, Any]:
    facts = members[0].facts
    when = facts.when
    if when is None or facts.feature is None:
        raise ValueError("a described raster needs a time and a feature")
    platforms = (facts.platform or "").split("/")
    values: dict[str, Any] = {
        "constellation": "sentinel-1",
        "platform": f"sentinel-{platforms[0][1:].lower()}" if facts.platform and len(platforms) == 1 else None,
        "instruments": ["c-sar"],
        "gsd": abs(members[0].raster.transform[0]) if members[0].raster.transform else None,
        "sar:frequency_band": "C",
        "sar:center_frequency": 5.405,
        "sar:observation_direction": "right",
        "sar:instrument_mode": facts.mode,
        "sar:polarizations": sorted({one.facts.polarisation for one in members if one.facts.polarisation}) or None,
        "sar:product_type": _PRODUCT_TYPES[facts.feature],
        "sat:relative_orbit": facts.relative_orbit,
        "sat:absolute_orbit": facts.absolute_orbit,
        "sat:orbit_state": facts.orbit_state,
        "icemapper:feature": facts.feature,
        "icemapper:quantity": facts.quantity,
        "icemapper:scale": facts.scale,
        "icemapper:platform": facts.platform,
        "icemapper:product": facts.product,
        "icemapper:burst": facts.burst,
        "icemapper:processed": _stamp(facts.processed) if facts.processed else None,
        "icemapper:filtered": facts.filtered,
        "icemapper:looks": facts.looks,
        "icemapper:geocoded": None if facts.geocoded else False,
    }
    if facts.reference is not None and facts.secondary is not None:
        first, last = sorted((facts.reference, facts.secondary))
        values |= {
            "start_datetime": _stamp(first),
            "end_datetime": _stamp(last),
            "icemapper:reference": _stamp(facts.reference),
            "icemapper:secondary": _stamp(facts.secondary),
            "icemapper:baseline_days": days_apart(first, last),
        }
    return {key: value for key, value in values.items() if value is not None}


def _extensions(properties: dict[str, Any]) -> list[str]:
    used = ["projection/v2.0.0", "raster/v1.1.0"]
    required = ("instrument_mode", "frequency_band", "polarizations", "product_type")
    if all(f"sar:{name}" in properties for name in required):
        used.append("sar/v1.0.0")
    if any(key.startswith("sat:") for key in properties):
        used.append("sat/v1.0.0")
    return [_EXTENSION.format(name) for name in used]


def _band(one: raster.Raster, facts: names.Facts) -> dict[str, Any]:
    band: dict[str, Any] = {"data_type": "other" if one.dtype.startswith("complex") else one.dtype}
    nodata = one.nodata if one.nodata is not None else facts.nodata
    if nodata is not None:
        # JSON has no NaN; the raster extension writes it as a word.
        band["nodata"] = "nan" if math.isnan(nodata) else nodata
    if one.transform is not None:
        band["spatial_resolution"] = abs(one.transform[0])
    return band


def _asset(one: Described, shared: dict[str, Any]) -> pystac.Asset:
    """Describe one raster: what it does not share with the item, and what only an asset has."""
    import pystac

    facts = one.facts
    # Its own tags may say another scale, say, than those of its neighbour.
    told = _projection(one.raster) | _properties([one])
    own = {key: told.get(key) for key in shared | told if told.get(key) != shared.get(key)}
    fields = own | {"raster:bands": [_band(one.raster, facts)]}
    if facts.polarisation:
        fields |= {"sar:polarizations": [facts.polarisation], "icemapper:polarisation": facts.polarisation}
    if one.band != 1:
        fields["icemapper:band"] = one.band
    title = f"{facts.polarisation or ''} {_TITLES[facts.feature or 'rtc']}".strip()
    return pystac.Asset(
        str(one.raster.path), title=title, media_type=pystac.MediaType.GEOTIFF, roles=["data"], extra_fields=fields
    )


def make_item(item_id: str, members: Sequence[Described]) -> pystac.Item:
    """Make one item of the rasters of one acquisition or pair.

    Parameters
    ----------
    item_id : str
    members : sequence of Described
        One per polarisation. What the others do not share with the first stands at their assets.

    Returns
    -------
    pystac.Item
        With assets vv, vh, hh, hv; `coherence` for a pair, `coherence_hv` for its second polarisation; `data` where the
        polarisation is unknown. Hrefs absolute.
    """
    import pystac

    properties = _properties(members)
    projection = _projection(members[0].raster)
    place = members[0].raster.footprint
    assert place is not None, "a raster without a place is never described"
    item = pystac.Item(
        id=item_id,
        geometry=place.geometry,
        bbox=list(place.bbox),
        datetime=members[0].facts.when,
        properties=properties | projection,
        stac_extensions=_extensions(properties),
    )
    for one in members:
        item.add_asset(_key(one, taken=item.assets), _asset(one, properties | projection))
    return item


def _key(one: Described, *, taken: Mapping[str, Any]) -> str:
    """Name an asset: a pair may have the coherence of two polarisations."""
    polarisation = (one.facts.polarisation or "data").lower()
    if one.facts.feature != "insar":
        return polarisation
    return f"coherence_{polarisation}" if "coherence" in taken else "coherence"

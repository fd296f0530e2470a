"""What an item declares of the numbers of a raster: their unit, and what they are to be multiplied by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from icemapper_xr._types import Scale
from icemapper_xr.errors import CatalogError

__all__ = ["band", "band_name", "check_unscaled", "scale"]

_UNITS: Final[dict[str, Scale]] = {
    "db": "dB",
    "decibel": "dB",
    "decibels": "dB",
    "amplitude": "amplitude",
    "power": "power",
    "linear power": "power",
}


def band(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what an asset says of its first band, in version 1.0 of STAC (`raster:bands`) or 1.1 (`bands`)."""
    found: dict[str, Any] = {}
    for name in ("bands", "raster:bands"):
        found |= (fields.get(name) or [{}])[0]
    return found


def band_name(fields: Mapping[str, Any]) -> str:
    """Return what an asset calls its first band; nothing where it does not."""
    one = band(fields)
    return str(one.get("name") or one.get("description") or "")


def scale(fields: Mapping[str, Any]) -> Scale | None:
    """Return the scale of backscatter by the unit of an asset or its band; None where it tells none."""
    return _UNITS.get(str(band(fields).get("unit") or fields.get("unit")).lower())


def check_unscaled(fields: Mapping[str, Any], where: str) -> None:
    """Refuse numbers that are not the values.

    Parameters
    ----------
    fields
        Of the asset alone: a `scale` among the properties of its item may be any.
    where
        Item and asset, for the message.

    Raises
    ------
    CatalogError
        They are to be multiplied, or to have something added.
    """
    one = band(fields)
    factor, offset = (
        float(
            next((found for found in (one.get(key), one.get(raster), fields.get(raster)) if found is not None), usual)
        )
        for key, raster, usual in (("scale", "raster:scale", 1), ("offset", "raster:offset", 0))
    )
    if (factor, offset) != (1, 0):
        raise CatalogError(
            f"{where} says that its values are to be multiplied by {factor:g} and {offset:g} added, which is not done "
            f'here: write the values themselves (`gdal_calc.py --type=Float32 --calc="A*{factor:g}+{offset:g}" -A IN '
            "--outfile=OUT`), or take scale and offset out of the item where the file holds them already"
        )

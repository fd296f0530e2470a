"""The pixels of a cube: square, north up, in metres, or refused."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from icemapper_xr import conventions, plane
from icemapper_xr.errors import CubeError

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["STRETCH", "are_square", "first", "on_ground", "require_true", "size"]

STRETCH: Final = 1.1
"""By how much the scales of two projections may differ: polar stereographic ones are off by 4 %, Mercator doubles at 60
degrees. Up to here pixels of one nominal size count as of one size.
"""
_TOLERANCE = 1e-4
"""Share of a pixel by which rows and columns may be unevenly spaced, or pixels not square."""


def are_square(transform: Any) -> bool:
    """Tell whether an affine transform is that of square pixels, north up.

    Parameters
    ----------
    transform
        Its six numbers, or more: a, b, c, d, e, f.
    """
    a, b, _, d, e, _ = tuple(transform)[:6]
    return not (b or d) and a > 0 > e and math.isclose(a, -e, rel_tol=1e-6)


def size(cube: xr.Dataset | xr.DataArray) -> float:
    """Return the side of a cube's pixels, metres.

    Parameters
    ----------
    cube
        With coordinates x, ascending, and y, descending; a CRS, if it has one, in metres.

    Raises
    ------
    CubeError
        The coordinates are missing or not of one dimension, fewer than two or uneven, the pixels are not square, y does
        not descend, or the CRS is not in metres.
    """
    _require_metres(cube)
    across, down = (_step(cube, dim, sign) for dim, sign in ((conventions.X, 1), (conventions.Y, -1)))
    if not np.isclose(across, down, rtol=_TOLERANCE):
        raise CubeError(f"the cube's pixels are {across:g} x {down:g} m; regrid it to square pixels")
    return across


def on_ground(cube: xr.Dataset | xr.DataArray) -> float:
    """Return the side of a pixel in the middle of a cube on the ground, in the direction in which it is farthest off.

    Parameters
    ----------
    cube
        As in `size`; without a CRS the side is what its coordinates say, as where the CRS does not reach.
    """
    side, crs = size(cube), _crs(cube)
    if crs is None:
        return side
    import pyproj

    x, y = (float(cube[dim].values[[0, -1]].mean()) for dim in (conventions.X, conventions.Y))
    lonlat = pyproj.Transformer.from_crs(crs, 4326, always_xy=True).transform(x, y)
    scale = plane.stretch(pyproj.Proj(crs), lonlat) if np.isfinite(lonlat).all() else 1.0
    return side / scale if math.isfinite(scale) and scale > 0 else side


def require_true(cube: xr.Dataset | xr.DataArray, trained: float) -> None:
    """Refuse a cube whose projection makes its pixels another size on the ground than their number says.

    Parameters
    ----------
    cube
        As in `size`.
    trained
        Side of the pixels that the weights have learned from, metres, for the message.

    Raises
    ------
    CubeError
        They are off by more than `STRETCH`.
    """
    side, ground = size(cube), on_ground(cube)
    if not 1 / STRETCH <= ground / side <= STRETCH:
        raise CubeError(
            f"the cube's pixels of {side:g} m in its projection are {ground:.3g} m on the ground, the weights were "
            f"trained on {trained:g} m: open the cube in the UTM zone of its place, as it is without crs (--crs), or "
            "warp the rasters there"
        )


def first(cube: xr.Dataset | xr.DataArray, side: float) -> tuple[int, int]:
    """Return the row and column of a cube's upper left pixel, counted from the CRS's origin, rows downward.

    Parameters
    ----------
    cube
        As in `size`, edges on multiples of the side.
    side
        Of its pixels, metres (`size`).
    """
    y, x = (float(cube[dim].values[0]) for dim in (conventions.Y, conventions.X))
    return round(-(y + side / 2) / side), round((x - side / 2) / side)


def _step(cube: xr.Dataset | xr.DataArray, dim: str, sign: int) -> float:
    if dim not in cube.coords or cube[dim].dims != (dim,):
        raise CubeError(f"the cube has no coordinate {dim}: give it the centres of its pixels, in metres")
    values = np.asarray(cube[dim].values, float)
    if values.size < 2:
        raise CubeError(f"the cube has {values.size} pixel(s) along {dim}; a map needs at least 2")
    spacing = sign * np.diff(values)
    if not np.allclose(spacing, spacing[0], rtol=_TOLERANCE) or spacing[0] <= 0:
        order, how = ("ascending", "") if sign > 0 else ("descending", ", ascending=False")
        raise CubeError(
            f"the cube's {dim} coordinates are not evenly {order}; sort the cube by {dim}, with "
            f'ds.sortby("{dim}"{how}), or regrid it'
        )
    return float(np.abs(values[-1] - values[0]) / (values.size - 1))


def _crs(cube: xr.Dataset | xr.DataArray) -> Any:
    place: Any = cube.coords.get(conventions.SPATIAL_REF)
    text = None if place is None else place.attrs.get("crs_wkt") or place.attrs.get("spatial_ref")
    if not text:
        return None
    import pyproj

    return pyproj.CRS.from_user_input(text)


def _require_metres(cube: xr.Dataset | xr.DataArray) -> None:
    """Refuse degrees and feet: 10 of them would be taken for the 10 m that weights have learned from."""
    crs = _crs(cube)
    axis = crs.axis_info[0] if crs is not None and crs.axis_info else None
    if axis is not None and not (crs.is_projected and np.isclose(axis.unit_conversion_factor, 1)):
        raise CubeError(f"the cube is in {crs.name}, in the unit {axis.unit_name}: warp its rasters to a CRS in metres")

"""Resample an array in memory onto a piece of another grid, so that the answer does not depend on the piece.

GDAL's warper does: it interpolates coordinates between points that it chooses by the piece (0.03 px between UTM and
polar stereographic), and widens its kernels by a ratio of bounding boxes. Here coordinates are exact on a lattice
that is anchored at the origin of the CRS, and linear in between.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from icemapper_xr import lonlat
from icemapper_xr._types import FloatArray

__all__ = ["Piece", "onto", "same_crs", "source_window"]

_NODES = 16
"""Pixels between exact coordinates; in between they are off by less than 1e-4 of a pixel of 10 m."""
_COARSER = 1.01
"""Target pixels larger than the source's by more than this are means, not interpolations."""
_STRIP_SAMPLES = 2_000_000
"""Samples taken at a time for means, to bound memory."""


_Axis = npt.NDArray[np.floating[Any]]


class Piece(NamedTuple):
    """A north-up piece of a grid."""

    crs: Any
    """Anything rasterio takes."""
    left: float
    top: float
    resolution: float
    rows: int
    columns: int


class _Positions(NamedTuple):
    """Fractional row and column in the source of every pixel centre of a piece; whole numbers are pixel centres."""

    rows: _Axis
    columns: _Axis


def same_crs(one: Any, other: Any) -> bool:
    """Whether two CRSs are the same; both anything rasterio takes."""
    from rasterio.crs import CRS

    one, other = CRS.from_user_input(one), CRS.from_user_input(other)
    return bool(one == other or (one.to_epsg() is not None and one.to_epsg() == other.to_epsg()))


def source_window(transform: Any, crs: Any, shape: tuple[int, int], piece: Piece) -> tuple[int, int, int, int] | None:
    """Return what of a source a piece needs, kernel included, as (row, column, rows, columns); None if nothing.

    Parameters
    ----------
    transform, crs, shape
        Of the source; the transform is north-up.
    piece
        Where to.
    """
    positions = _edge_positions(transform, crs, shape[1], piece)
    rows, columns = (axis[np.isfinite(axis)] for axis in positions)
    if rows.size == 0 or columns.size == 0:
        return None
    # Kernels grow with the ratio of the pixel sizes; 4 more for the bow of an edge between its points.
    ratio = max(float(np.ptp(columns)) / piece.columns, float(np.ptp(rows)) / piece.rows, 1.0)
    pad = math.ceil(2 * ratio) + 4
    first_row, last_row = math.floor(rows.min()) - pad, math.ceil(rows.max()) + pad
    first_column, last_column = math.floor(columns.min()) - pad, math.ceil(columns.max()) + pad
    if last_row <= 0 or last_column <= 0 or first_row >= shape[0] or first_column >= shape[1]:
        return None
    first_row, first_column = max(first_row, 0), max(first_column, 0)
    last_row, last_column = min(last_row, shape[0]), min(last_column, shape[1])
    return first_row, first_column, last_row - first_row, last_column - first_column


def onto(values: FloatArray, transform: Any, crs: Any, piece: Piece, method: str) -> FloatArray:
    """Resample values `(y, x)`, NaN where there are none, onto a piece.

    Parameters
    ----------
    values
        Linear quantities.
    transform, crs
        Of the values.
    piece
        Where to.
    method
        'nearest', 'bilinear' or 'average'. A pixel has a value where the source pixel that holds its centre has one,
        except for means, which take what valid pixels they cover.
    """
    if method == "average" or (method == "bilinear" and _size_ratio(transform, crs, piece) > _COARSER):
        return _mean(values, transform, crs, piece, method)
    positions = _positions(transform, crs, values.shape[1], piece)
    nearest = _nearest(values, positions)
    return nearest if method == "nearest" else _bilinear(values, positions, np.isfinite(nearest))


def _nearest(values: FloatArray, positions: _Positions) -> FloatArray:
    # Half-way goes up, as the pixel that begins there.
    rows, columns = (np.floor(axis + 0.5) for axis in positions)
    inside = (rows >= 0) & (columns >= 0) & (rows < values.shape[0]) & (columns < values.shape[1])
    out = np.full(inside.shape, np.nan, np.float32)
    out[inside] = values[rows[inside].astype(int), columns[inside].astype(int)]
    return out


def _bilinear(values: FloatArray, positions: _Positions, observed: npt.NDArray[np.bool_]) -> FloatArray:
    """Weigh the valid ones of the four pixels around every position."""
    from scipy import ndimage

    valid = np.isfinite(values)
    options: dict[str, Any] = {"order": 1, "mode": "grid-constant", "cval": 0.0, "prefilter": False}
    total = ndimage.map_coordinates(np.where(valid, values, 0).astype(np.float64), positions, **options)
    weight = ndimage.map_coordinates(valid.astype(np.float64), positions, **options)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(observed, total / weight, np.nan).astype(np.float32)


def _mean(values: FloatArray, transform: Any, crs: Any, piece: Piece, method: str) -> FloatArray:
    """Mean of the valid ones of k x k samples in every pixel; on aligned pixels of a whole ratio, of the pixels."""
    ratio = _size_ratio(transform, crs, piece)
    whole = abs(ratio - round(ratio)) < 1e-6 and round(ratio) > 1 and same_crs(crs, piece.crs)
    count = round(ratio) if whole else 2 * max(1, math.ceil(ratio))
    strip = max(1, _STRIP_SAMPLES // (piece.columns * count * count))
    out = np.empty((piece.rows, piece.columns), np.float32)
    for first in range(0, piece.rows, strip):
        rows = min(strip, piece.rows - first)
        fine = piece._replace(
            top=piece.top - first * piece.resolution,
            resolution=piece.resolution / count,
            rows=rows * count,
            columns=piece.columns * count,
        )
        positions = _positions(transform, crs, values.shape[1], fine)
        samples = _nearest(values, positions)
        if method == "bilinear":
            samples = _bilinear(values, positions, np.isfinite(samples))
        blocks = samples.reshape(rows, count, piece.columns, count)
        valid = np.isfinite(blocks)
        total = np.where(valid, blocks, 0).sum(axis=(1, 3), dtype=np.float64)
        with np.errstate(divide="ignore", invalid="ignore"):
            out[first : first + rows] = total / valid.sum(axis=(1, 3))
    return out


def _size_ratio(transform: Any, crs: Any, piece: Piece) -> float:
    """Target pixel over source pixel."""
    from rasterio.crs import CRS

    source = CRS.from_user_input(crs)
    metres = source.linear_units_factor[1] if source.is_projected else lonlat.METRES_PER_DEGREE
    return float(piece.resolution / (abs(transform.e) * metres))


def _positions(transform: Any, crs: Any, width: int, piece: Piece) -> _Positions:
    half = piece.resolution / 2
    x = piece.left + half + np.arange(piece.columns) * piece.resolution
    y = piece.top - half - np.arange(piece.rows) * piece.resolution
    if same_crs(crs, piece.crs):
        columns, rows = _in_source(transform, x, y)
        return _Positions(*np.broadcast_arrays(rows[:, None], columns[None, :]))
    step = _NODES * piece.resolution
    node_x, by_x = _lattice(x, step)
    node_y, by_y = _lattice(y, step)
    grid_x, grid_y = np.meshgrid(node_x, node_y)
    columns, rows = _in_source(transform, *_projected(piece.crs, crs, grid_x, grid_y, _middle(transform, width)))
    return _Positions(by_y @ rows @ by_x.T, by_y @ columns @ by_x.T)


def _lattice(values: _Axis, step: float) -> tuple[_Axis, Any]:
    """Multiples of `step` around some coordinates, and the matrix that interpolates from them linearly."""
    from scipy import sparse

    first, last = math.floor(values.min() / step), math.ceil(values.max() / step) + 1
    place = values / step - first
    lower = np.minimum(np.floor(place).astype(int), last - first - 1)
    index = np.arange(len(values))
    weights = np.concatenate([1 - (place - lower), place - lower])
    cells = (np.concatenate([index, index]), np.concatenate([lower, lower + 1]))
    return np.arange(first, last + 1) * step, sparse.csr_matrix((weights, cells), (len(values), last - first + 1))


def _edge_positions(transform: Any, crs: Any, width: int, piece: Piece) -> _Positions:
    u, v = np.linspace(0, piece.columns, 33), np.linspace(0, piece.rows, 33)
    across = np.concatenate([u, u, np.zeros(33), np.full(33, piece.columns)])
    down = np.concatenate([np.zeros(33), np.full(33, piece.rows), v, v])
    x, y = piece.left + across * piece.resolution, piece.top - down * piece.resolution
    if not same_crs(crs, piece.crs):
        x, y = _projected(piece.crs, crs, x, y, _middle(transform, width))
    columns, rows = _in_source(transform, x, y)
    return _Positions(rows, columns)


def _middle(transform: Any, width: int) -> float:
    """Middle of a raster along x."""
    return float(transform.c + transform.a * width / 2)


def _projected(source: Any, target: Any, x: _Axis, y: _Axis, middle: float) -> Any:
    """Return x and y in the CRS of a raster; longitudes within half a turn of its middle, which may lie beyond 180."""
    from rasterio.crs import CRS
    from rasterio.warp import transform

    flat = transform(source, target, x.ravel(), y.ravel())
    there_x, there_y = (np.asarray(axis, dtype=np.float64).reshape(x.shape) for axis in flat)
    if CRS.from_user_input(target).is_geographic:
        there_x = there_x - 360 * np.round((there_x - middle) / 360)
    return there_x, there_y


def _in_source(transform: Any, x: _Axis, y: _Axis) -> Any:
    a, _, c, _, e, f = tuple(transform)[:6]
    return (x - c) / a - 0.5, (y - f) / e - 0.5

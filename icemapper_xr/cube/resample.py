"""Resample an array in memory onto a piece of another grid, so that the answer does not depend on the piece.

GDAL's warper does: it interpolates coordinates between points that it chooses by the piece (0.03 px between UTM and
polar stereographic), and widens its kernels by a ratio of bounding boxes. Here coordinates are exact on a lattice
that is anchored at the origin of the CRS, and linear in between.
"""

from __future__ import annotations

import itertools
import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from icemapper_xr import conventions, pixels
from icemapper_xr._types import FloatArray

__all__ = ["Piece", "Sides", "onto", "other_size", "same_crs", "sides", "source_window"]

_NODES = 16
"""Pixels between exact coordinates; in between they are off by less than 1e-4 of a pixel of 10 m."""
_COARSER = 1.01
"""Target pixels larger than the source's by more than this are means, not interpolations."""
_SNAP = 1e-6
"""Share of a pixel by which an edge may miss a multiple of the pixel size and still count as lying on it."""
_STRIP_SAMPLES = 2_000_000
"""Samples taken at a time for means, to bound memory."""
_MOST_SAMPLES = 256
"""Samples along the side of a pixel; near a pole one pixel spans every longitude."""


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


class Sides(NamedTuple):
    """Sides of a target pixel in pixels of the source."""

    down: float
    across: float


class _Samples(NamedTuple):
    """Samples along the sides of a target pixel."""

    down: int
    across: int


_CENTRES = _Samples(1, 1)


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
    if method != "nearest":
        return _mean(values, transform, crs, piece, method)
    return _nearest(values, _positions(transform, crs, values.shape[1], piece))


def sides(transform: Any, crs: Any, width: int, piece: Piece) -> Sides:
    """Return how large a pixel in the middle of a piece is in a source, NaN where the source's CRS does not reach.

    A pixel of 0.00009 degrees is 10 m high anywhere, and 2 m wide at 78 degrees; one of 10 m in EPSG:3857 is 2 m on the
    ground there. Neither the unit of a CRS nor one number for both axes tells.

    Parameters
    ----------
    transform, crs, width
        Of the source; the transform is north-up.
    piece
        Where to.
    """
    if same_crs(crs, piece.crs):
        return Sides(piece.resolution / abs(transform.e), piece.resolution / transform.a)
    x = piece.left + piece.resolution * (piece.columns / 2 + np.array([-0.5, 0.5, 0, 0]))
    y = piece.top - piece.resolution * (piece.rows / 2 + np.array([0, 0, -0.5, 0.5]))
    columns, rows = _in_source(transform, *_projected(piece.crs, crs, x, y, _middle(transform, width)))
    with np.errstate(invalid="ignore"):
        across, _, down = np.hypot(np.diff(columns), np.diff(rows))
    return Sides(float(down), float(across))


def other_size(transform: Any, crs: Any, width: int, piece: Piece) -> str | None:
    """Tell of pixels that a projection makes another size than their number says; None where it does not.

    Parameters
    ----------
    transform, crs, width
        Of the source, whose pixels have the size of the piece's by number.
    piece
        Where to.
    """
    pixel = sides(transform, crs, width, piece)
    if all(1 / pixels.STRETCH <= side <= pixels.STRETCH for side in pixel if math.isfinite(side)):
        return None
    size = piece.resolution
    return f"{size / pixel.across:.3g} x {size / pixel.down:.3g} m in the plane of the cube"


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
    """Mean of the valid samples in every pixel, of twice as many to a side as the source has pixels there."""
    width = values.shape[1]
    if same_crs(crs, piece.crs):
        return _sampled(values, transform, crs, piece, method, _samples_of_same(transform, piece, method))
    tiles = _tiles(piece)
    counts = [_samples(sides(transform, crs, width, tile.cell), method, pixels.STRETCH) for tile in tiles]
    if len(set(counts)) == 1:
        return _sampled(values, transform, crs, piece, method, counts[0])
    out = np.full((piece.rows, piece.columns), np.nan, np.float32)
    for tile, count in zip(tiles, counts, strict=True):
        window = source_window(transform, crs, (values.shape[0], width), tile.piece)
        if window is None:
            continue
        row, column, rows, columns = window
        part = values[row : row + rows, column : column + columns]
        there = transform * transform.translation(column, row)
        inside = np.s_[tile.row : tile.row + tile.piece.rows, tile.column : tile.column + tile.piece.columns]
        out[inside] = _sampled(part, there, crs, tile.piece, method, count)
    return out


def _samples_of_same(transform: Any, piece: Piece, method: str) -> _Samples:
    """On aligned pixels of a whole ratio the samples are the pixels."""
    ratio = piece.resolution / abs(transform.e)
    if abs(ratio - round(ratio)) < 1e-6 and round(ratio) > 1:
        return _Samples(round(ratio), round(ratio))
    return _samples(Sides(ratio, ratio), method, 1)


def _samples(pixel: Sides, method: str, stretch: float) -> _Samples:
    """Samples for a pixel whose sides, up to a factor, are so many pixels of the source; NaN counts as one.

    Interpolation takes one where the source is not finer.
    """

    def count(side: float) -> int:
        ratio = side / stretch if math.isfinite(side) else 1.0
        if method == "bilinear" and ratio <= _COARSER:
            return 1
        return min(2 * max(1, math.ceil(ratio)), _MOST_SAMPLES)

    return _Samples(count(pixel.down), count(pixel.across))


class _Tile(NamedTuple):
    """What of a piece lies in one cell of the lattice of its grid."""

    row: int
    column: int
    """Where it begins in the piece."""
    piece: Piece
    cell: Piece


def _tiles(piece: Piece) -> list[_Tile]:
    """Cut a piece along a lattice from the origin of its CRS: the samples of a pixel must not depend on the piece."""
    size, side = piece.resolution, conventions.LATTICE
    rows, columns = (
        _cuts(math.floor(edge / size + _SNAP), n) for edge, n in ((-piece.top, piece.rows), (piece.left, piece.columns))
    )
    return [
        _Tile(
            row.first,
            column.first,
            Piece(
                piece.crs,
                piece.left + column.first * size,
                piece.top - row.first * size,
                size,
                row.length,
                column.length,
            ),
            Piece(piece.crs, column.cell * side * size, -row.cell * side * size, size, side, side),
        )
        for row in rows
        for column in columns
    ]


class _Cut(NamedTuple):
    first: int
    length: int
    cell: int


def _cuts(first: int, count: int) -> list[_Cut]:
    """Cut pixels, the first of which has this number, at multiples of the lattice."""
    side = conventions.LATTICE
    cells = range(first // side, (first + count - 1) // side + 1)
    edges = [max(cell * side, first) for cell in cells] + [first + count]
    return [
        _Cut(begin - first, end - begin, cell)
        for cell, (begin, end) in zip(cells, itertools.pairwise(edges), strict=True)
    ]


def _sampled(values: FloatArray, transform: Any, crs: Any, piece: Piece, method: str, samples: _Samples) -> FloatArray:
    """Mean of the valid ones of the samples in every pixel."""
    down, across = samples
    strip = max(1, _STRIP_SAMPLES // (piece.columns * down * across))
    out = np.empty((piece.rows, piece.columns), np.float32)
    for first in range(0, piece.rows, strip):
        rows = min(strip, piece.rows - first)
        part = piece._replace(top=piece.top - first * piece.resolution, rows=rows)
        positions = _positions(transform, crs, values.shape[1], part, samples)
        found = _nearest(values, positions)
        if method == "bilinear":
            found = _bilinear(values, positions, np.isfinite(found))
        blocks = found.reshape(rows, down, piece.columns, across)
        valid = np.isfinite(blocks)
        total = np.where(valid, blocks, 0).sum(axis=(1, 3), dtype=np.float64)
        with np.errstate(divide="ignore", invalid="ignore"):
            out[first : first + rows] = total / valid.sum(axis=(1, 3))
    return out


def _positions(transform: Any, crs: Any, width: int, piece: Piece, samples: _Samples = _CENTRES) -> _Positions:
    """Where the samples of a piece's pixels lie; with one of each pixel, their centres."""
    down, across = (piece.resolution / count for count in samples)
    x = piece.left + across / 2 + np.arange(piece.columns * samples.across) * across
    y = piece.top - down / 2 - np.arange(piece.rows * samples.down) * down
    if same_crs(crs, piece.crs):
        columns, rows = _in_source(transform, x, y)
        return _Positions(*np.broadcast_arrays(rows[:, None], columns[None, :]))
    node_x, by_x = _lattice(x, _NODES * across)
    node_y, by_y = _lattice(y, _NODES * down)
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

"""Read one raster onto a piece of a grid: the pure numpy core under both loaders.

Whatever the file holds comes out as float32 linear power (or coherence), NaN where nothing was observed:

* masks, nodata (of the file or of the catalogue) and what lies outside the file are NaN;
* exact zeros: in a file whose nodata is NaN they are dark observations (OPERA RTC-S1 has them over calm sea). In any
  other file they fill the border of the swath as well (Planetary Computer RTC has, beside its nodata of -32768): a
  zero is border, NaN, if some 5 x 5 square of zeros, nodata or outside holds it; a lone zero is a dark observation.
  In dB a zero of power is minus infinity, whatever the nodata: conversions to dB often set it to NaN and leave the
  border; others leave the number 0 there, which is no power anybody measures over 5 x 5 pixels;
* other values of zero and below come from noise subtraction; they stay as they are, so that averages are unbiased.

On the file's own grid the values are the file's. Elsewhere they are resampled in linear power, each piece of the
grid with enough surroundings that the answer does not depend on how the grid was cut.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from typing import Any, cast

import numpy as np

from icemapper_xr import addresses, conventions, pixels
from icemapper_xr._types import FloatArray, Observation, Signer
from icemapper_xr.cube import rasterfiles, remote, resample
from icemapper_xr.cube.faults import Faults
from icemapper_xr.errors import CubeError, UnitsError

__all__ = ["Source", "decibel", "onto"]

_ALIGNED = 1e-3
"""Share of a pixel by which two grids may be shifted and still count as the same."""
_PIXEL_TOLERANCE = 0.01
_OVERSHOOT = 0.01
"""By how much coherence may lie outside 0 to 1."""
_BORDER = 5
"""Side of the square of zeros that makes a border, pixels."""
_SCHEME = "icemapper:"
"""Makes the line an absolute href, which pystac asks for."""


@dataclass(frozen=True)
class Source:
    """What has to be known of a raster to read it; travels through the engines as an href."""

    href: str
    item_id: str
    scale: str
    """'power', 'amplitude', 'dB', or '1' for coherence."""
    band: int = 1
    nodata: float | None = None
    resampling: str | None = None
    """None refuses another pixel size and degrees, and is bilinear off the file's own grid."""
    clip: tuple[float, float, float, float] | None = None
    """Bounds beyond which nothing is read."""

    @classmethod
    def of(cls, observation: Observation, resampling: str | None) -> Source:
        """Take what is needed of an observation."""
        return cls(
            observation.href,
            observation.item_id,
            "1" if observation.feature == "insar" else observation.scale,
            observation.band,
            observation.nodata,
            resampling,
        )

    def dumps(self) -> str:
        """Write as one line: an href is the only thing per raster that both engines hand on to a reader."""
        return _SCHEME + json.dumps(asdict(self))

    @classmethod
    def loads(cls, text: str) -> Source:
        """Read what `dumps` wrote."""
        fields = json.loads(text.removeprefix(_SCHEME))
        fields["clip"] = None if fields["clip"] is None else tuple(fields["clip"])
        return cls(**fields)


def decibel(power: FloatArray) -> FloatArray:
    """Turn linear power into dB; zero and below, the traces of noise subtraction, become the floor; NaN stays.

    Parameters
    ----------
    power
        Linear power, any shape.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        values = np.float32(10) * np.log10(power, dtype=np.float32)
    values[power <= 0] = conventions.NOISE_FLOOR_DB
    return np.asarray(values, dtype=np.float32)


def onto(source: Source, piece: resample.Piece, sign: Signer | None = None, faults: Faults | None = None) -> FloatArray:
    """Read a raster onto a piece of a grid.

    Parameters
    ----------
    source
        The raster.
    piece
        Where to.
    sign
        Called with the href at every attempt, so that a signature never grows old in a graph.
    faults
        Where to note a remote raster that stays unreadable.

    Returns
    -------
    array
        `(rows, columns)` float32 linear power (coherence for scale '1'), NaN = not observed. All NaN, with a warning
        in the log, where a remote raster is not there or stays unreadable (`remote.patiently`).

    Raises
    ------
    CubeError
        The file is missing or damaged, access to it is denied, it has no CRS, is not north-up, or has another pixel
        size or degrees and no resampling is named.
    UnitsError
        Values are not of the scale they are said to be, or GDAL's tags of the band scale them.
    """
    import rasterio
    import rasterio.errors

    def read(href: str) -> FloatArray:
        with rasterio.open(addresses.for_gdal(href), sharing=False) as dataset:
            return _read(dataset, source, piece)

    if addresses.is_remote(source.href):
        pixels = remote.patiently(source.href, source.item_id, read, sign=sign, faults=faults)
        return np.full((piece.rows, piece.columns), np.nan, np.float32) if pixels is None else pixels
    try:
        with rasterio.Env():
            return read(source.href if sign is None else sign(source.href))
    except (rasterio.errors.RasterioError, OSError) as error:
        raise CubeError(
            f"{source.href} (item {source.item_id}) cannot be read: {' '.join(str(error).split())}; "
            "replace the file or leave the item out"
        ) from error


def _read(dataset: Any, source: Source, piece: resample.Piece) -> FloatArray:
    _check(dataset, source, piece)
    piece_in, inset = _clipped(piece, source.clip)
    out = np.full((piece.rows, piece.columns), np.nan, np.float32)
    if piece_in.rows <= 0 or piece_in.columns <= 0:
        return out
    rows, columns = inset
    shift = _shift(dataset, piece_in)
    target = out[rows : rows + piece_in.rows, columns : columns + piece_in.columns]
    if shift is not None:
        target[:] = _linear(dataset, source, shift[0], shift[1], piece_in.rows, piece_in.columns)
    else:
        _warp(dataset, source, piece_in, target)
    return out


def _check(dataset: Any, source: Source, piece: resample.Piece) -> None:
    where = f"{source.href} (item {source.item_id})"
    if dataset.crs is None:
        reason = "has ground control points but no projection" if dataset.gcps[0] else "has no coordinate system"
        raise CubeError(f"{where} {reason}; terrain-geocode it first, or use rtc")
    a = dataset.transform.a
    if not pixels.are_square(dataset.transform):
        raise CubeError(f"{where} is not a north-up grid of square pixels; warp it to one first")
    if source.band > dataset.count:
        raise CubeError(f"{where} has {dataset.count} bands, band {source.band} was asked for")
    rasterfiles.check_unscaled(dataset, source.band, where)
    if source.resampling is not None:
        return
    if not dataset.crs.is_projected:
        raise CubeError(
            f"{where} has pixels of {a:g} degrees, the cube has {piece.resolution:g} m; "
            "name a resampling (--resampling): bilinear, nearest or average"
        )
    factor = dataset.crs.linear_units_factor[1]
    if abs(a * factor / piece.resolution - 1) > _PIXEL_TOLERANCE:
        raise CubeError(
            f"{where} has pixels of {a * factor:g} m, the cube has {piece.resolution:g} m; "
            f"name a resampling (--resampling): bilinear, nearest or average, or resolution={a * factor:g} "
            f"(--resolution {a * factor:g})"
        )
    other = resample.other_size(dataset.transform, dataset.crs, dataset.width, piece)
    if other is not None:
        raise CubeError(
            f"{where} has pixels of {a * factor:g} m in its own projection, which are {other} "
            f"({piece.resolution:g} m): name a resampling (--resampling): average, bilinear or nearest"
        )


def _clipped(
    piece: resample.Piece, clip: tuple[float, float, float, float] | None
) -> tuple[resample.Piece, tuple[int, int]]:
    """Cut a piece to the bounds of the grid asked for; also give where the cut lies in the piece, (row, column)."""
    if clip is None:
        return piece, (0, 0)
    size = piece.resolution
    left, bottom, right, top = clip
    first_column = max(0, round((left - piece.left) / size))
    first_row = max(0, round((piece.top - top) / size))
    last_column = min(piece.columns, round((right - piece.left) / size))
    last_row = min(piece.rows, round((piece.top - bottom) / size))
    cut = piece._replace(
        left=piece.left + first_column * size,
        top=piece.top - first_row * size,
        rows=last_row - first_row,
        columns=last_column - first_column,
    )
    return cut, (first_row, first_column)


def _shift(dataset: Any, piece: resample.Piece) -> tuple[int, int] | None:
    """Row and column of the piece's first pixel in the file, or None if the piece is not on the file's pixels."""
    a, _, c, _, _, f = tuple(dataset.transform)[:6]
    row, column = (f - piece.top) / a, (piece.left - c) / a
    reach = max(piece.rows, piece.columns)
    on_pixels = (
        abs(a / piece.resolution - 1) * reach < _ALIGNED
        and abs(row - round(row)) < _ALIGNED
        and abs(column - round(column)) < _ALIGNED
    )
    return (round(row), round(column)) if on_pixels and resample.same_crs(dataset.crs, piece.crs) else None


def _linear(dataset: Any, source: Source, row: int, column: int, rows: int, columns: int) -> FloatArray:
    """Read rows and columns, which may lie outside the file, as linear power."""
    values, observed = _raw(dataset, source, row, column, rows, columns)
    seen = values[observed & np.isfinite(values)]
    if source.scale == "1":
        _check_coherence(seen, source)
    else:
        _check_backscatter(seen, source)
    if _may_fill_borders(dataset, source.scale) and np.any(_blank(values, source.scale) & observed):
        pad = _BORDER - 1
        wide, inside = _raw(dataset, source, row - pad, column - pad, rows + 2 * pad, columns + 2 * pad)
        observed &= ~_border(_blank(wide, source.scale) | ~inside)[pad:-pad, pad:-pad]
    power = _to_power(values, source.scale)
    power[~observed | ~np.isfinite(power)] = np.nan
    return power


def _check_coherence(values: FloatArray, source: Source) -> None:
    """Refuse what is coded in another way than 0 to 1, such as percent; interpolation overshoots by a little."""
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)
    if low < -_OVERSHOOT or high > 1 + _OVERSHOOT:
        raise UnitsError(
            f"{source.href} (item {source.item_id}) has values {low:g} to {high:g}, coherence lies between 0 and 1: "
            "divide percent by 100 (gdal_calc.py, as float), declare what stands for missing as nodata, or leave the "
            "item out"
        )


def _check_backscatter(values: FloatArray, source: Source) -> None:
    """Refuse numbers that are not of the scale they are said to be: they would become -35 dB, or 0, and count."""
    if not values.size:
        return
    what = f"{source.href} (item {source.item_id}) has values {values.min():g} to {values.max():g}"
    if values.min() <= rasterfiles.FILL:
        raise UnitsError(
            f"{what}, no {source.scale} of any backscatter: declare what stands for missing as nodata (`gdal_edit.py "
            f"-a_nodata {values.min():g} FILE`), or leave the item out"
        )
    if source.scale == "dB":
        told = values[values != 0]
        if told.size >= conventions.JUDGED and np.mean(told > 0) > 1 - conventions.ODD:
            raise UnitsError(
                f"{what}, nearly all above 0 dB: it looks like linear power; say so with `icemapper catalog build "
                "--scale power` or by the tag ICEMAPPER_SCALE, or leave the item out"
            )
    elif np.mean(values < -1) > conventions.ODD:
        raise UnitsError(
            f"{what}, many below -1: it looks like dB, not {source.scale}; say so with `icemapper catalog build "
            "--scale dB` or by the tag ICEMAPPER_SCALE, or leave the item out"
        )


def _may_fill_borders(dataset: Any, scale: str) -> bool:
    """Whether zeros of a file may be the border of the swath."""
    return scale == "dB" or dataset.nodata is None or not math.isnan(dataset.nodata)


def _blank(values: FloatArray, scale: str) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Tell where the values are what a border is filled with."""
    blank = _to_power(values, scale) == 0
    return cast("np.ndarray[Any, np.dtype[np.bool_]]", blank | (values == 0) if scale == "dB" else blank)


def _border(blank: np.ndarray[Any, np.dtype[np.bool_]]) -> np.ndarray[Any, np.dtype[np.bool_]]:
    from scipy import ndimage

    square = np.ones((_BORDER, _BORDER), bool)
    return cast("np.ndarray[Any, np.dtype[np.bool_]]", ndimage.binary_opening(blank, square))


def _raw(
    dataset: Any, source: Source, row: int, column: int, rows: int, columns: int
) -> tuple[FloatArray, np.ndarray[Any, np.dtype[np.bool_]]]:
    """Read values and what of them was observed; outside the file nothing was."""
    from rasterio.windows import Window

    values = np.zeros((rows, columns), np.float32)
    observed = np.zeros((rows, columns), bool)
    first_row, last_row = max(row, 0), min(row + rows, dataset.height)
    first_column, last_column = max(column, 0), min(column + columns, dataset.width)
    if first_row >= last_row or first_column >= last_column:
        return values, observed
    window = Window(first_column, first_row, last_column - first_column, last_row - first_row)
    inside = np.s_[first_row - row : last_row - row, first_column - column : last_column - column]
    found = dataset.read(source.band, window=window, out_dtype="float32")
    valid = dataset.read_masks(source.band, window=window) > 0
    valid &= ~np.isnan(found)
    if source.nodata is not None:
        valid &= found != np.float32(source.nodata)
    values[inside], observed[inside] = found, valid
    return values, observed


def _to_power(values: FloatArray, scale: str) -> FloatArray:
    if scale == "amplitude":
        # Below zero only by noise subtraction: dark, not bright by squaring.
        return np.square(np.maximum(values, np.float32(0)))
    if scale == "dB":
        with np.errstate(over="ignore"):
            return cast(FloatArray, np.power(np.float32(10), values / np.float32(10)))
    return values.copy()


def _warp(dataset: Any, source: Source, piece: resample.Piece, out: FloatArray) -> None:
    """Resample in linear power, from a window with enough surroundings for the kernel."""
    from rasterio.windows import Window

    window = resample.source_window(dataset.transform, dataset.crs, dataset.shape, piece)
    if window is None:
        return
    row, column, rows, columns = window
    power = _linear(dataset, source, row, column, rows, columns)
    transform = dataset.window_transform(Window(column, row, columns, rows))
    out[:] = resample.onto(power, transform, dataset.crs, piece, source.resampling or "bilinear")

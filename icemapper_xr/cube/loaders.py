"""The seam to the libraries that turn a list of rasters into a lazy array: stackstac and odc-stac.

Both build the graph and decide which raster is needed for which chunk; the pixels come from `read.onto` either way,
which opens, signs and reads when a chunk is computed. So the engines differ in speed and in the number of tasks,
not in values; the contract tests run on both.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import xarray as xr

from icemapper_xr import conventions
from icemapper_xr._types import FloatArray, Grid, Observation, Signer
from icemapper_xr.cube import footprints, read, resample
from icemapper_xr.errors import OptionError

__all__ = ["SLICE", "Loader", "OdcLoader", "StackstacLoader", "anchored_chunks", "loader"]

SLICE = "slice"
"""Dimension of what a loader returns: one entry per group of observations asked for."""

Chunks = tuple[int, ...]


class Loader(Protocol):
    """What `build` needs of an engine."""

    def load(
        self,
        slices: Sequence[Sequence[Observation]],
        grid: Grid,
        *,
        chunk: int = conventions.LATTICE,
        resampling: conventions.Resampling | None = None,
        sign: Signer | None = None,
    ) -> xr.DataArray:
        """Make a lazy array of the observations on exactly the grid asked for.

        Parameters
        ----------
        slices
            For every slice the frames to mosaic, the first valid pixel wins; an empty one is all NaN.
        grid
            Where to.
        chunk
            Pixels between chunk edges, counted from the origin of the CRS.
        resampling
            For rasters of another pixel size (None refuses them when read) or off the grid (None is bilinear).
        sign
            Called with the href when a raster is opened.

        Returns
        -------
        xarray.DataArray
            `(slice, y, x)` float32 linear power (coherence where the scale is '1'), NaN = not observed, Dask-backed,
            one chunk over `slice`; y and x are pixel centres.
        """
        ...


def loader(engine: str) -> Loader:
    """Return the loader of that name.

    Raises
    ------
    OptionError
        There is none.
    """
    engines: Mapping[str, Loader] = {"stackstac": StackstacLoader(), "odc": OdcLoader()}
    if engine not in engines:
        raise OptionError(f"engine {engine!r} is unknown; use one of {', '.join(conventions.LOAD_ENGINES)}")
    return engines[engine]


def anchored_chunks(grid: Grid, chunk: int) -> tuple[Chunks, Chunks]:
    """Return chunk sizes (rows, columns) with inner edges on multiples of `chunk` pixels from the CRS origin."""
    return tuple(_cut(first, length, chunk) for first, length in zip(grid.index, grid.shape, strict=True))  # type: ignore[return-value]


def _cut(first: int, length: int, chunk: int) -> Chunks:
    edges = [first, *range((first // chunk + 1) * chunk, first + length, chunk), first + length]
    return tuple(int(after - before) for before, after in itertools.pairwise(edges))


class _Frame:
    """One observation with its slice, its recipe and the box (in the grid's CRS) outside of which it is not opened."""

    def __init__(self, index: int, observation: Observation, grid: Grid, resampling: str | None) -> None:
        self.index = index
        self.source = read.Source.of(observation, resampling)
        self.box = footprints.bounds(observation, grid)

    @property
    def inside(self) -> bool:
        return self.box.right > self.box.left and self.box.top > self.box.bottom


def _frames(slices: Sequence[Sequence[Observation]], grid: Grid, resampling: str | None) -> list[_Frame]:
    frames = [_Frame(i, observation, grid, resampling) for i, group in enumerate(slices) for observation in group]
    return [frame for frame in frames if frame.inside]


def _wrap(data: Any, grid: Grid) -> xr.DataArray:
    y, x = grid.coords()
    return xr.DataArray(
        data,
        dims=(SLICE, conventions.Y, conventions.X),
        coords={conventions.Y: y, conventions.X: x},
        name="observations",
    )


def _blank(count: int, grid: Grid, chunk: int) -> Any:
    import dask.array as da

    chunks = ((count,), *anchored_chunks(grid, chunk))
    return da.full((count, *grid.shape), np.float32("nan"), dtype=np.float32, chunks=chunks)


def _first_valid(stack: FloatArray, groups: tuple[int, ...], count: int) -> FloatArray:
    """Merge frames `(frame, y, x)` into slices `(slice, y, x)`: the first valid pixel wins."""
    out = np.full((count, *stack.shape[1:]), np.nan, np.float32)
    for frame, group in zip(stack, groups, strict=True):
        np.copyto(out[group], frame, where=np.isnan(out[group]))
    return out


# -- stackstac --------------------------------------------------------------------------------------------------------


class StackstacLoader:
    """Loads through `stackstac.stack`: one task per raster and chunk, and one that merges them."""

    def load(
        self,
        slices: Sequence[Sequence[Observation]],
        grid: Grid,
        *,
        chunk: int = conventions.LATTICE,
        resampling: conventions.Resampling | None = None,
        sign: Signer | None = None,
    ) -> xr.DataArray:
        """Load; see `Loader.load`."""
        import dask.array as da

        frames = _frames(slices, grid, resampling)
        if not frames or not slices:
            return _wrap(_blank(len(slices), grid, chunk), grid)
        stack = _stack(frames, grid, chunk, sign)
        merged = da.map_blocks(
            _first_valid,
            stack.rechunk({0: -1}),
            groups=tuple(frame.index for frame in frames),
            count=len(slices),
            dtype=np.float32,
            chunks=((len(slices),), *stack.chunks[1:]),
            meta=np.empty((0, 0, 0), np.float32),
        )
        return _wrap(merged, grid)


def _stack(frames: Sequence[_Frame], grid: Grid, chunk: int, sign: Signer | None) -> Any:
    import rasterio.enums
    import stackstac

    if grid.epsg is None:
        raise OptionError("engine 'stackstac' needs a CRS with an EPSG code; use engine='odc' for this one")
    stack = stackstac.stack(
        [_stac_item(position, frame, grid.epsg) for position, frame in enumerate(frames)],
        assets=[_ASSET],
        # All three together: with `epsg` alone the grid is silently another one.
        epsg=grid.epsg,
        resolution=grid.resolution,
        bounds=tuple(grid.bounds),
        snap_bounds=False,
        resampling=rasterio.enums.Resampling.nearest,
        chunksize=(1, 1, *anchored_chunks(grid, chunk)),
        dtype=np.dtype("float32"),
        fill_value=np.float32("nan"),
        rescale=False,
        sortby_date=False,
        xy_coords="center",
        properties=False,
        band_coords=False,
        errors_as_nodata=(),
        reader=functools.partial(_StackstacReader, sign=sign),
    )
    if stack.sizes["time"] != len(frames) or (stack.sizes["y"], stack.sizes["x"]) != tuple(grid.shape):
        raise AssertionError(f"stackstac made {dict(stack.sizes)} of {len(frames)} rasters on {grid.shape}")
    return stack.data[:, 0]


_ASSET = "data"


def _stac_item(position: int, frame: _Frame, epsg: int) -> dict[str, Any]:
    """The one gate to stackstac: an item dict with the fields that it reads (`proj:epsg`, never `proj:code`)."""
    return {
        "type": "Feature",
        "id": str(position),
        "bbox": [-180.0, -90.0, 180.0, 90.0],
        "properties": {
            "datetime": "2000-01-01T00:00:00Z",
            "proj:epsg": epsg,
            "proj:bbox": list(frame.box),
        },
        "assets": {_ASSET: {"href": frame.source.dumps()}},
    }


class _StackstacReader:
    """A stackstac `Reader` that opens, signs and closes at every read."""

    def __init__(
        self, *, url: str, spec: Any, sign: Signer | None = None, dtype: Any = np.float32, **_: Any
    ) -> None:  # stackstac hands over settings that `read.onto` has no use for
        self.url, self.spec, self.sign, self.dtype = url, spec, sign, dtype

    def read(self, window: Any) -> FloatArray:
        size = self.spec.resolutions_xy[0]
        piece = resample.Piece(
            f"EPSG:{self.spec.epsg}",
            self.spec.bounds[0] + window.col_off * size,
            self.spec.bounds[3] - window.row_off * size,
            size,
            round(window.height),
            round(window.width),
        )
        return read.onto(read.Source.loads(self.url), piece, self.sign)

    def close(self) -> None:
        """Nothing stays open between reads."""


# -- odc-stac ---------------------------------------------------------------------------------------------------------


class OdcLoader:
    """Loads through `odc.stac.load`: one task per raster and chunk; it merges the frames itself."""

    def load(
        self,
        slices: Sequence[Sequence[Observation]],
        grid: Grid,
        *,
        chunk: int = conventions.LATTICE,
        resampling: conventions.Resampling | None = None,
        sign: Signer | None = None,
    ) -> xr.DataArray:
        """Load; see `Loader.load`."""
        import dask.array as da

        frames = _frames(slices, grid, resampling)
        blank = _blank(len(slices), grid, chunk)
        if not frames:
            return _wrap(blank, grid)
        present = sorted({frame.index for frame in frames})
        loaded = _odc_load(frames, grid, chunk, sign)
        if len(present) < len(slices):
            parts = [loaded[present.index(i)] if i in present else blank[i] for i in range(len(slices))]
            loaded = da.stack(parts)
        return _wrap(loaded.rechunk({0: -1}), grid)


def _odc_load(frames: Sequence[_Frame], grid: Grid, chunk: int, sign: Signer | None) -> Any:
    """Load on a box of whole chunks, which is the only chunking odc-stac has, and cut that to the grid."""
    import odc.stac
    from odc.geo.geobox import GeoBox

    first_row, first_column = grid.index
    above, left = first_row % chunk, first_column % chunk
    rows, columns = (
        math.ceil((offset + length) / chunk) * chunk for offset, length in zip((above, left), grid.shape, strict=True)
    )
    size = grid.resolution
    box = GeoBox(
        (rows, columns),
        _affine(grid.bounds.left - left * size, grid.bounds.top + above * size, size),
        _crs(grid),
    )
    loaded = odc.stac.load(
        [_pystac_item(position, frame, grid) for position, frame in enumerate(frames)],
        bands=[_ASSET],
        geobox=box,
        groupby=_GROUP,
        preserve_original_order=True,
        chunks={"x": chunk, "y": chunk},
        dtype="float32",
        nodata=math.nan,
        resampling="nearest",
        driver=_OdcDriver(sign),
    )
    return loaded[_ASSET].data[:, above : above + grid.shape.y, left : left + grid.shape.x]


_GROUP = "icemapper:slice"


def _crs(grid: Grid) -> str:
    return grid.wkt if grid.epsg is None else f"EPSG:{grid.epsg}"


def _affine(left: float, top: float, size: float) -> Any:
    from affine import Affine

    return Affine(size, 0.0, left, 0.0, -size, top)


def _pystac_item(position: int, frame: _Frame, grid: Grid) -> Any:
    """The one gate to odc-stac: an item whose projection fields describe the box in which it may be needed."""
    import dataclasses
    import datetime as dt

    import pystac

    size = grid.resolution
    shape = [
        math.ceil((frame.box.top - frame.box.bottom) / size),
        math.ceil((frame.box.right - frame.box.left) / size),
    ]
    projection: dict[str, Any] = {
        "proj:shape": shape,
        "proj:transform": [size, 0.0, frame.box.left, 0.0, -size, frame.box.top],
        **({"proj:code": f"EPSG:{grid.epsg}"} if grid.epsg is not None else {"proj:wkt2": grid.wkt}),
    }
    item = pystac.Item(
        id=str(position),
        geometry=None,
        bbox=None,
        datetime=dt.datetime(2000, 1, 1, tzinfo=dt.UTC),
        properties={_GROUP: frame.index, **projection},
        stac_extensions=["https://stac-extensions.github.io/projection/v2.0.0/schema.json"],
    )
    clipped = dataclasses.replace(frame.source, clip=grid.bounds)
    item.add_asset(_ASSET, pystac.Asset(clipped.dumps(), media_type="image/tiff", roles=["data"]))
    return item


class _OdcDriver:
    """An odc-loader `ReaderDriver` that opens, signs and closes at every read."""

    md_parser = None
    dask_reader = None
    aux_reader = None

    def __init__(self, sign: Signer | None) -> None:
        self.sign = sign

    def new_load(self, geobox: Any, *, chunks: Any = None) -> None:
        """There is no state to share between reads."""

    def finalise_load(self, load_state: Any) -> None:
        """There is no state to share between reads."""

    def capture_env(self) -> dict[str, Any]:
        return {}

    @contextlib.contextmanager
    def restore_env(self, env: dict[str, Any], load_state: Any) -> Iterator[None]:
        yield None

    def open(self, src: Any, ctx: Any) -> _OdcReader:
        return _OdcReader(src, self.sign)


class _OdcReader:
    def __init__(self, src: Any, sign: Signer | None) -> None:
        self.src, self.sign = src, sign

    def read(
        self, cfg: Any, dst_geobox: Any, *, dst: Any = None, selection: Any = None
    ) -> tuple[tuple[slice, slice], FloatArray]:
        transform = dst_geobox.transform
        rows, columns = dst_geobox.shape
        piece = resample.Piece(dst_geobox.crs.to_wkt(), transform.c, transform.f, transform.a, rows, columns)
        pixels = read.onto(read.Source.loads(self.src.uri), piece, self.sign)
        if dst is not None:
            dst[:] = pixels
        return (slice(0, rows), slice(0, columns)), pixels

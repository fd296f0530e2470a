"""Load through odc-stac: the graph is odc-stac's, the pixels are those of `read.onto`."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import math
from collections.abc import Iterator, Sequence
from typing import Any

import xarray as xr

from icemapper_xr import conventions
from icemapper_xr._types import FloatArray, Grid, Observation, Signer
from icemapper_xr.cube import frames, read, resample
from icemapper_xr.cube.faults import Faults

__all__ = ["OdcLoader"]

_ASSET = "data"
_GROUP = "icemapper:slice"


class OdcLoader:
    """Loads through `odc.stac.load`: one task per raster and chunk; it merges the frames itself."""

    def load(
        self,
        slices: Sequence[Sequence[Observation]],
        grid: Grid,
        *,
        chunk: int | None = conventions.LATTICE,
        resampling: conventions.Resampling | None = None,
        sign: Signer | None = None,
        faults: Faults | None = None,
    ) -> xr.DataArray:
        """Load; see `Loader.load`."""
        import dask.array as da

        found = frames.of_slices(slices, grid, resampling)
        blank = frames.blank(len(slices), grid, chunk)
        if not found:
            return frames.wrap(blank, grid)
        present = sorted({frame.index for frame in found})
        loaded = _odc_load(found, grid, chunk, _OdcDriver(sign, faults))
        if len(present) < len(slices):
            parts = [loaded[present.index(i)] if i in present else blank[i] for i in range(len(slices))]
            loaded = da.stack(parts)
        return frames.wrap(loaded.rechunk({0: -1}), grid)


def _odc_load(found: Sequence[frames.Frame], grid: Grid, chunk: int | None, driver: _OdcDriver) -> Any:
    """Load on a box of whole chunks, which is the only chunking odc-stac has, and cut that to the grid."""
    import odc.stac
    from affine import Affine
    from odc.geo.geobox import GeoBox

    above, left, (rows, columns) = _whole_chunks(grid, chunk)
    size = grid.resolution
    box = GeoBox(
        (rows, columns),
        Affine(size, 0.0, grid.bounds.left - left * size, 0.0, -size, grid.bounds.top + above * size),
        grid.crs,
    )
    loaded = odc.stac.load(
        [_pystac_item(position, frame, grid) for position, frame in enumerate(found)],
        bands=[_ASSET],
        geobox=box,
        groupby=_GROUP,
        preserve_original_order=True,
        chunks={"x": chunk or columns, "y": chunk or rows},
        dtype="float32",
        nodata=math.nan,
        resampling="nearest",
        driver=driver,
    )
    return loaded[_ASSET].data[:, above : above + grid.shape.y, left : left + grid.shape.x]


def _whole_chunks(grid: Grid, chunk: int | None) -> tuple[int, int, tuple[int, int]]:
    """Rows above and columns left of the grid that make its box one of whole chunks, and the box's shape."""
    if chunk is None:
        return 0, 0, (grid.shape.y, grid.shape.x)
    above, left = (first % chunk for first in grid.index)
    rows, columns = (
        math.ceil((offset + length) / chunk) * chunk for offset, length in zip((above, left), grid.shape, strict=True)
    )
    return above, left, (rows, columns)


def _pystac_item(position: int, frame: frames.Frame, grid: Grid) -> Any:
    """The one gate to odc-stac: an item whose projection fields describe the box in which it may be needed."""
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

    def __init__(self, sign: Signer | None, faults: Faults | None) -> None:
        self.sign, self.faults = sign, faults

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
        return _OdcReader(src, self.sign, self.faults)


class _OdcReader:
    def __init__(self, src: Any, sign: Signer | None, faults: Faults | None) -> None:
        self.src, self.sign, self.faults = src, sign, faults

    def read(
        self, cfg: Any, dst_geobox: Any, *, dst: Any = None, selection: Any = None
    ) -> tuple[tuple[slice, slice], FloatArray]:
        transform = dst_geobox.transform
        rows, columns = dst_geobox.shape
        piece = resample.Piece(dst_geobox.crs.to_wkt(), transform.c, transform.f, transform.a, rows, columns)
        pixels = read.onto(read.Source.loads(self.src.uri), piece, self.sign, self.faults)
        if dst is not None:
            dst[:] = pixels
        return (slice(0, rows), slice(0, columns)), pixels

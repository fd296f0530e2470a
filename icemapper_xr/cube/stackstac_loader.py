"""Load through stackstac: the graph is stackstac's, the pixels are those of `read.onto`."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from icemapper_xr import conventions
from icemapper_xr._types import FloatArray, Grid, Observation, Signer
from icemapper_xr.cube import frames, read, resample
from icemapper_xr.cube.faults import Faults
from icemapper_xr.errors import OptionError

__all__ = ["StackstacLoader"]

_ASSET = "data"


class StackstacLoader:
    """Loads through `stackstac.stack`: one task per raster and chunk, and one that merges them."""

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
        found = frames.of_slices(slices, grid, resampling)
        if not found or not slices:
            return frames.wrap(frames.blank(len(slices), grid, chunk), grid)
        return frames.wrap(_merged(_stack(found, grid, chunk, sign, faults), found, grid, len(slices)), grid)


def _stack(
    found: Sequence[frames.Frame], grid: Grid, chunk: int | None, sign: Signer | None, faults: Faults | None
) -> Any:
    import rasterio.enums
    import stackstac

    if grid.epsg is None:
        raise OptionError(
            "engine 'stackstac' needs a CRS with an EPSG code; use engine='odc' (icemapper map: --reader odc)"
        )
    stack = stackstac.stack(
        [_stac_item(position, frame, grid.epsg) for position, frame in enumerate(found)],
        assets=[_ASSET],
        # All three together: with `epsg` alone the grid is silently another one.
        epsg=grid.epsg,
        resolution=grid.resolution,
        bounds=tuple(grid.bounds),
        snap_bounds=False,
        resampling=rasterio.enums.Resampling.nearest,
        chunksize=(1, 1, *frames.anchored_chunks(grid, chunk)),
        dtype=np.dtype("float32"),
        fill_value=np.float32("nan"),
        rescale=False,
        sortby_date=False,
        xy_coords="center",
        properties=False,
        band_coords=False,
        errors_as_nodata=(),
        reader=functools.partial(_StackstacReader, sign=sign, faults=faults),
    )
    if stack.sizes["time"] != len(found) or (stack.sizes["y"], stack.sizes["x"]) != tuple(grid.shape):
        raise AssertionError(f"stackstac made {dict(stack.sizes)} of {len(found)} rasters on {grid.shape}")
    return stack.data[:, 0]


def _merged(stack: Any, found: Sequence[frames.Frame], grid: Grid, count: int) -> Any:
    """Merge the frames `(frame, y, x)`, one chunk each, into slices, in every chunk those alone that can lie in it.

    All of them side by side, most of them blank, would make a chunk's memory grow with the area.
    """
    import dask.array as da
    from dask.base import tokenize
    from dask.highlevelgraph import HighLevelGraph

    left, bottom, right, top = np.array([tuple(frame.box) for frame in found]).T
    groups = [frame.index for frame in found]
    name = f"icemapper-merge-{tokenize(stack.name, groups, count)}"
    rows, columns = stack.chunks[1:]
    tops, lefts = (np.cumsum((0, *sizes)) * grid.resolution for sizes in (rows, columns))
    norths, wests = grid.bounds.top - tops, grid.bounds.left + lefts
    layer: dict[Any, Any] = {}
    for i, j in np.ndindex(len(rows), len(columns)):
        met = (top >= norths[i + 1]) & (bottom <= norths[i]) & (left <= wests[j + 1]) & (right >= wests[j])
        here = [int(k) for k in np.flatnonzero(met)]
        keys = [(stack.name, k, i, j) for k in here]
        shape = (count, rows[i], columns[j])
        layer[name, 0, i, j] = (frames.first_valid, keys, tuple(groups[k] for k in here), shape)
    graph = HighLevelGraph.from_collections(name, layer, dependencies=[stack])
    return da.Array(graph, name, ((count,), rows, columns), dtype=np.float32)


def _stac_item(position: int, frame: frames.Frame, epsg: int) -> dict[str, Any]:
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
        self,
        *,
        url: str,
        spec: Any,
        sign: Signer | None = None,
        faults: Faults | None = None,
        dtype: Any = np.float32,
        **_: Any,  # stackstac hands over settings that `read.onto` has no use for
    ) -> None:
        self.url, self.spec, self.sign, self.faults, self.dtype = url, spec, sign, faults, dtype

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
        return read.onto(read.Source.loads(self.url), piece, self.sign, self.faults)

    def close(self) -> None:
        """Nothing stays open between reads."""

"""The seam to the libraries that turn a list of rasters into a lazy array: stackstac and odc-stac.

Both build the graph and decide which raster is needed for which chunk; the pixels come from `read.onto` either way,
which opens, signs and reads when a chunk is computed. So the engines differ in speed and in the number of tasks,
not in values; the contract tests run on both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import xarray as xr

from icemapper_xr import conventions
from icemapper_xr._types import Grid, Observation, Signer
from icemapper_xr.cube.faults import Faults
from icemapper_xr.cube.frames import SLICE, anchored_chunks
from icemapper_xr.cube.odc_loader import OdcLoader
from icemapper_xr.cube.stackstac_loader import StackstacLoader
from icemapper_xr.errors import OptionError

__all__ = ["SLICE", "Loader", "OdcLoader", "StackstacLoader", "anchored_chunks", "loader"]


class Loader(Protocol):
    """What `build` needs of an engine."""

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
        """Make a lazy array of the observations on exactly the grid asked for.

        Parameters
        ----------
        slices
            For every slice the frames to mosaic, the first valid pixel wins; an empty one is all NaN.
        grid
            Where to.
        chunk
            Pixels between chunk edges, counted from the origin of the CRS; None is one chunk.
        resampling
            For rasters of another pixel size or in degrees (None refuses them when read) or off the grid (None is
            bilinear).
        sign
            Called with the href when a raster is opened.
        faults
            Where to note rasters that stay unreadable, while the array is computed in this process.

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

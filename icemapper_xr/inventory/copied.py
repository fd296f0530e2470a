"""Divides copied from reference glaciers, and carried on over ice that the reference does not have."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from icemapper_xr._types import FloatArray
from icemapper_xr.inventory import conditioning

__all__ = ["carry_on"]


def carry_on(
    z: FloatArray | None, markers: npt.NDArray[np.int32], ice: npt.NDArray[np.bool_], cell: float, *, smoothing: int
) -> npt.NDArray[np.int32]:
    """Give ice beyond the reference glaciers to them: downhill from each, as far as the ice reaches.

    Parameters
    ----------
    z
        (rows, columns) elevation, metres; None: to the nearest glacier, by way of the ice.
    markers
        (rows, columns) number of the reference glacier, 0 where there is none.
    ice
        (rows, columns) mapped ice.
    cell
        Cell size, metres.
    smoothing
        Cells of the window that smooths the DEM; 1 is none.

    Returns
    -------
    numpy.ndarray
        int32: the markers, and on other ice that they reach the number of a glacier; 0 elsewhere.

    Notes
    -----
    A watershed (Meyer flooding) on the negated, conditioned DEM, with the glaciers as markers, within reference or
    mapped ice: the companion repository of Maslov et al. (2025) calls it copying divides.
    """
    from skimage.segmentation import watershed

    mask = ice | (markers > 0)
    if z is None:
        surface = np.zeros(markers.shape, np.float32)
    else:
        conditioned = conditioning.fill_pits(conditioning.smooth(z, cell, size=smoothing))
        surface = -np.where(np.isfinite(conditioned), conditioned, 0.0)
    return np.asarray(watershed(surface, markers, mask=mask, connectivity=2), np.int32)

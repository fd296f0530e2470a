"""Flow over a DEM, by RichDEM: how much water passes each cell, and where it ends."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

import numpy as np
import numpy.typing as npt

from icemapper_xr._types import FloatArray
from icemapper_xr.errors import OptionError

if TYPE_CHECKING:
    from types import ModuleType

__all__ = ["ROUTINGS", "Routing", "accumulate", "endings", "require"]

Routing = Literal["dinf", "d8", "mfd"]
"""D-infinity (Tarboton 1997), steepest of eight neighbours, or all lower neighbours (Quinn et al. 1991)."""
ROUTINGS: Final[tuple[Routing, ...]] = get_args(Routing)
_METHODS: Final = {"dinf": "Dinf", "mfd": "Quinn"}
# RichDEM's neighbours 1..8, clockwise from the left
_ROWS: Final = np.array([0, 0, -1, -1, -1, 0, 1, 1, 1])
_COLUMNS: Final = np.array([0, -1, -1, 0, 1, 1, 1, 0, -1])
_NODATA: Final = -9999.0


def require() -> ModuleType:
    """Import RichDEM.

    Raises
    ------
    OptionError
        If it is not installed.
    """
    try:
        import richdem
    except ImportError:
        raise OptionError(
            "flowsheds need RichDEM, which is not installed: pip install 'icemapper-xr[divides]', or divide by a "
            "reference inventory"
        ) from None
    return richdem  # type: ignore[no-any-return]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep RichDEM's progress, written by C++, off the terminal."""
    saved = os.dup(2)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(saved, 2)
            os.close(saved)


def _grid(z: FloatArray, domain: npt.NDArray[np.bool_]) -> Any:
    richdem = require()
    filled = np.where(domain & np.isfinite(z), z, _NODATA).astype(np.float32)
    return richdem.rdarray(filled, no_data=_NODATA, geotransform=(0.0, 1.0, 0.0, 0.0, 0.0, -1.0))


def accumulate(
    z: FloatArray, domain: npt.NDArray[np.bool_], sinks: npt.NDArray[np.bool_], *, routing: Routing = "dinf"
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Let a unit of water fall on each cell of the domain and follow it to the sinks.

    Parameters
    ----------
    z
        Elevation, metres. Pits are filled, and flats get the least slope that leads out of them
        (Barnes, Lehman and Mulla 2014, doi:10.1016/j.cageo.2013.04.024).
    domain
        Cells that take part, the sinks among them.
    sinks
        Cells where the water stays.
    routing
        How water is shared among lower neighbours.

    Returns
    -------
    accumulation
        Water that passes or reaches each cell, in cells, its own included; 0 outside the domain.
    receiver
        (cells,) flat index of the steepest lower neighbour (D8); a sink's is its own.
    """
    if routing not in ROUTINGS:
        raise OptionError(f"routing={routing!r} is unknown; name one of {', '.join(ROUTINGS)}")
    richdem = require()
    with _quiet():
        grid = richdem.FillDepressions(_grid(z, domain), epsilon=True, in_place=False)
        direction = _steepest(np.asarray(grid), domain)
        direction[sinks] = 0
        if routing == "d8":
            shares = richdem.rd3array(_all_to_one(direction, domain), meta_obj=grid, no_data=-2)
        else:
            shares = richdem.FlowProportions(grid, method=_METHODS[routing])
            shares[sinks, 0] = -1.0  # RichDEM's "no flow"
            shares[sinks, 1:] = 0.0
        passed = np.asarray(richdem.FlowAccumFromProps(shares), dtype=np.float64)
    return np.where(domain, np.clip(passed, 0, None), 0.0), _receivers(direction)


def _steepest(z: FloatArray, domain: npt.NDArray[np.bool_]) -> npt.NDArray[np.int8]:
    """Direction 1..8 of the steepest way down; 0 where there is none. (RichDEM's own D8 takes the lowest neighbour.)"""
    rows, columns = z.shape
    padded = np.pad(np.where(domain, z, np.inf), 1, constant_values=np.inf)
    best, direction = np.zeros(z.shape, np.float32), np.zeros(z.shape, np.int8)
    for k in range(1, 9):
        i, j = int(_ROWS[k]), int(_COLUMNS[k])
        other = padded[1 + i : 1 + i + rows, 1 + j : 1 + j + columns]
        with np.errstate(invalid="ignore"):
            drop = np.where(domain, (z - other) / np.hypot(i, j), 0.0)
        steeper = drop > best
        best[steeper], direction[steeper] = drop[steeper], k
    return direction


def _all_to_one(direction: npt.NDArray[np.int8], domain: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
    """Write directions as RichDEM's shares: the flag first, then what each of the eight neighbours gets."""
    shares = np.zeros((*direction.shape, 9), np.float32)
    np.put_along_axis(shares, np.maximum(direction, 0)[..., None].astype(int), 1.0, axis=2)
    shares[..., 0] = np.where(domain, np.where(direction > 0, 0.0, -1.0), -2.0)
    return shares


def _receivers(direction: npt.NDArray[np.int8]) -> npt.NDArray[np.int64]:
    index = np.arange(direction.size, dtype=np.int64)
    k = direction.ravel().astype(int)
    return np.asarray(index + _ROWS[k] * direction.shape[1] + _COLUMNS[k], np.int64)


def endings(receiver: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Follow the receivers to where they end: (cells,) flat index of each cell's last one."""
    last = receiver
    while True:  # doubles the steps each time
        further = last[last]
        if np.array_equal(further, last):
            return last
        last = further

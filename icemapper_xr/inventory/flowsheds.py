"""Glaciers from a DEM: the flowsheds of an ice complex (Kienholz et al. 2013, doi:10.3189/2013JoG12J138).

Around the ice runs a gutter, one cell wide and lowered, in which the water of the complex ends. Where much water
ends is the tongue of a glacier; what drains to it is its flowshed; flowsheds with neighbouring tongues are one glacier.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from icemapper_xr._types import FloatArray
from icemapper_xr.errors import OptionError
from icemapper_xr.inventory import conditioning, regions, routing

__all__ = ["FlowshedOptions", "flowsheds"]

NOMINAL_CELL: Final = 40.0
"""Metres. The published accumulations are counts of cells, and buffers of 60 m and 1160 m are 1.5 and 29 cells of
40 m: accumulations are brought to this size, so that a finer DEM does not change what a tongue is (an inference)."""
WINDOW: Final = 5
"""Cells of the window in which a pour point is the maximum."""
WIDEST: Final = 10_000.0
"""Largest distance of the gutter from the ice, metres."""


@dataclass(frozen=True)
class FlowshedOptions:
    """Numbers of the method; the defaults are those of the published tool, for Svalbard."""

    routing: routing.Routing = "dinf"
    """How water is shared among lower neighbours."""
    buffer: float = 60.0
    """Distance of the gutter from the ice, metres."""
    gutter: float = 100.0
    """How far the gutter is lowered, metres."""
    keep: float = 0.2
    """Share of the pour points that is kept, those with most water."""
    a: float = 5.72
    """A pour point's radius is a * accumulation**b metres, accumulation in cells of 40 m ..."""
    b: float = 0.5
    c: float = 1400.0
    """... but at most this, metres."""
    sliver: float = 1e5
    """Area below which a flowshed is merged into its neighbour, m2."""
    thin: float = 2e5
    """The same for flowsheds whose compactness is below `compactness`, m2."""
    compactness: float = 0.5
    smoothing: int = conditioning.FILTER
    """Cells of the window that smooths the DEM; 1 is none."""

    def __post_init__(self) -> None:
        if self.routing not in routing.ROUTINGS:
            raise OptionError(f"routing={self.routing!r} is unknown; name one of {', '.join(routing.ROUTINGS)}")
        if not 0 < self.keep <= 1:
            raise OptionError(f"keep={self.keep:g}: the share of pour points must lie above 0 and be at most 1")
        for name in ("buffer", "gutter", "a", "b", "c"):
            if not 0 < getattr(self, name) < np.inf:
                raise OptionError(f"{name}={getattr(self, name):g}: must be above 0, and finite")
        if self.buffer > WIDEST:
            raise OptionError(f"buffer={self.buffer:g}: must be at most {WIDEST:g} m, the DEM is read that far around")
        for name in ("sliver", "thin", "compactness"):
            if not 0 <= getattr(self, name) < np.inf:
                raise OptionError(f"{name}={getattr(self, name):g}: must be 0 or more, and finite")
        if self.smoothing < 1 or self.smoothing % 2 == 0:
            raise OptionError(f"smoothing={self.smoothing}: the window must have an odd number of cells")


def flowsheds(
    z: FloatArray, ice: npt.NDArray[np.bool_], cell: float, options: FlowshedOptions | None = None
) -> npt.NDArray[np.int32]:
    """Divide one ice complex.

    Parameters
    ----------
    z
        (rows, columns) elevation, metres; known on the ice and for `buffer` and two cells around it, NaN elsewhere.
    ice
        (rows, columns) the complex.
    cell
        Cell size, metres.
    options
        Numbers of the method.

    Returns
    -------
    numpy.ndarray
        int32, 0 outside the ice, 1, 2 ... for the flowsheds, the largest first.

    Notes
    -----
    Differences from the published tool: water that has reached the gutter stays there, so that its accumulation is
    that of the ice and of the buffer alone; the gutter runs around the complex, not inside its nunataks; accumulations
    are counted in cells of 40 m (`NOMINAL_CELL`); what drains to a part of the gutter without a pour point belongs to
    the nearest pour point, as a whole catchment.
    """
    chosen = options or FlowshedOptions()
    labels = ice.astype(np.int32)
    if ice.sum() * cell**2 < 2 * chosen.sliver:
        return labels
    domain, gutter = _surround(ice & np.isfinite(z), np.isfinite(z), max(1.0, chosen.buffer / cell))
    conditioned = conditioning.smooth(z, cell, size=chosen.smoothing)
    conditioned = np.where(gutter, conditioned - chosen.gutter, conditioned)
    water, receiver = routing.accumulate(conditioned, domain, gutter, routing=chosen.routing)
    water *= (cell / NOMINAL_CELL) ** 2
    rows, columns = _pour_points(np.where(gutter, water, 0.0), chosen)
    if rows.size < 2:
        return labels
    nearest = _nearest_point(gutter.shape, rows, columns)
    labels = np.where(ice, nearest.ravel()[routing.endings(receiver)].reshape(ice.shape) + 1, 0).astype(np.int32)
    labels = _join(labels, rows, columns, water[rows, columns], cell, chosen)
    labels = regions.merge_slivers(
        regions.separate(labels), cell, small=chosen.sliver, thin=chosen.thin, compactness=chosen.compactness
    )
    return _by_size(labels)


def _surround(
    ice: npt.NDArray[np.bool_], known: npt.NDArray[np.bool_], reach: float
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Return the cells that take part, and the gutter among them."""
    from scipy import ndimage

    solid = ndimage.binary_fill_holes(ice)
    near = ndimage.distance_transform_edt(~solid) <= reach
    near = ndimage.binary_fill_holes(near)
    ring = ndimage.binary_dilation(near, np.ones((3, 3), bool)) & ~near & known
    return (near & known) | ring, ring


def _pour_points(
    water: npt.NDArray[np.float64], options: FlowshedOptions
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Find where much water ends, most first: local maxima of the gutter, the kept share of them."""
    from scipy import ndimage

    least = (options.buffer / options.a) ** (1 / options.b)
    peak = (water >= least) & (water == ndimage.maximum_filter(water, size=WINDOW))
    rows, columns = np.nonzero(peak)
    order = np.lexsort((columns, rows, -water[rows, columns]))
    kept = order[: int(np.ceil(options.keep * order.size))]
    return rows[kept], columns[kept]


def _nearest_point(
    shape: tuple[int, ...], rows: npt.NDArray[np.int64], columns: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Tell for each cell which of the points is the nearest."""
    from scipy import ndimage

    number = np.full(shape, -1, np.int64)
    number[rows, columns] = np.arange(rows.size)
    found = ndimage.distance_transform_edt(number < 0, return_distances=False, return_indices=True)
    return np.asarray(number[tuple(found)])


def _join(
    labels: npt.NDArray[np.int32],
    rows: npt.NDArray[np.int64],
    columns: npt.NDArray[np.int64],
    water: npt.NDArray[np.float64],
    cell: float,
    options: FlowshedOptions,
) -> npt.NDArray[np.int32]:
    """Join the flowsheds that one pour point's disc hits."""
    parent = np.arange(rows.size + 1)

    def root(k: int) -> int:
        while parent[k] != k:
            k = int(parent[k])
        return k

    radii = np.minimum(options.c, options.a * water**options.b) / cell
    for row, column, radius in zip(rows.tolist(), columns.tolist(), radii.tolist(), strict=True):
        reach = int(np.ceil(radius))
        top, left = max(0, row - reach), max(0, column - reach)
        patch = labels[top : row + reach + 1, left : column + reach + 1]
        y, x = np.ogrid[top : top + patch.shape[0], left : left + patch.shape[1]]
        hit = np.unique(patch[np.hypot(y - row, x - column) <= radius])
        joined = sorted({root(int(k)) for k in hit if k})
        for other in joined[1:]:
            parent[other] = joined[0]
    roots = np.array([root(k) for k in range(parent.size)], np.int32)
    return roots[labels]


def _by_size(labels: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    order = np.argsort(-sizes, kind="stable")
    number = np.zeros(sizes.size, np.int32)
    number[order] = np.arange(1, sizes.size + 1)
    number[0] = 0
    return np.where(labels > 0, number[labels], 0).astype(np.int32)

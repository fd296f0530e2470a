"""Glacier probability of a normalised cube, lazily and through any `Segmenter`. Knows nothing of Keras.

Every window is evaluated exactly once, whatever the chunks. A chunk owns the windows whose corner lies in it; it reads
`halo = window - stride` pixels more below and to the right, sums its windows' weighted answers, keeps what lies in its
own pixels and hands the strips that spill over to the neighbours below, to the right and across the corner. The sum
of the weights is known in closed form (`tiling.weight_sum`), so only the weighted sums travel.

    cube block + halo --evaluate--> Partial(core, below, right, corner) --combine--> probability block

`core` and `gaps` are plain numpy and also the oracle for the lazy way, `graph` is the dask skin, `dataset` the xarray
skin.
"""

from icemapper_xr.prediction.blocks import Block, Lattice, Span, lattice, probability_of
from icemapper_xr.prediction.core import (
    Partial,
    SumArray,
    Windows,
    blend,
    evaluate,
    observed,
    tally,
    unobserved,
    valid_steps,
)
from icemapper_xr.prediction.dataset import Prediction, probability
from icemapper_xr.prediction.gaps import fill_gaps, mirror

__all__ = [
    "Block",
    "Lattice",
    "Partial",
    "Prediction",
    "Span",
    "SumArray",
    "Windows",
    "blend",
    "evaluate",
    "fill_gaps",
    "lattice",
    "mirror",
    "observed",
    "probability",
    "probability_of",
    "tally",
    "unobserved",
    "valid_steps",
]

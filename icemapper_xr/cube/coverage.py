"""What there is of an area, and what a cube took of it, from metadata: before anything is read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from icemapper_xr import conventions
from icemapper_xr._types import Observation
from icemapper_xr.cube import select
from icemapper_xr.cube.grid import AreaGrid
from icemapper_xr.errors import CubeError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["coverage", "coverage_of"]

_COLUMNS = (
    "date",
    "feature",
    "relative_orbit",
    "orbit_state",
    "platform",
    "mode",
    "polarisation",
    "baseline_days",
    "frames",
    "share",
)


def coverage(observations: Sequence[Observation], *, area: AreaGrid) -> pd.DataFrame:
    """List the passes over an area: dates x orbit x platform x polarisation x share covered.

    Parameters
    ----------
    observations
        What a catalogue found; nothing is left out, EW and cross-polarised data are listed too.
    area
        Where.

    Returns
    -------
    pandas.DataFrame
        One row a pass (or coherence pair), in order of time: `date` (UTC), `feature`, `relative_orbit` (<NA> where
        unknown), `orbit_state`, `platform`, `mode`, `polarisation`, `baseline_days` (<NA> for backscatter), `frames`
        and `share`, the part of the area (0..1) that the frames' footprints cover together. From metadata alone.
    """
    import pandas as pd

    rows = [
        {
            "date": pd.Timestamp(one.day),
            "feature": one.first.feature,
            "relative_orbit": one.first.relative_orbit,
            "orbit_state": one.first.orbit_state or "",
            "platform": one.first.platform or "",
            "mode": one.first.mode or "",
            "polarisation": one.first.polarisation or "",
            "baseline_days": one.first.baseline_days,
            "frames": len(one.frames),
            "share": one.share,
        }
        for one in select.passes(observations, area)
    ]
    frame = pd.DataFrame(rows, columns=list(_COLUMNS))
    return frame.astype({"relative_orbit": "Int16", "baseline_days": "Int16", "frames": "int64", "share": "float64"})


def coverage_of(dataset: xr.Dataset, *, exact: bool = False) -> pd.DataFrame:
    """List what a cube took for every step and feature.

    Parameters
    ----------
    dataset
        A cube with the coordinates of `conventions`.
    exact
        Also count the valid pixels of the area in every step: this reads the area, chunk by chunk.

    Returns
    -------
    pandas.DataFrame
        One row a step and feature: `step`, `centre`, `feature`, `date` (NaT where missing), `offset_days`,
        `relative_orbit`, `platform`, `polarisation`, `items`, `share` of the area inside the footprints, and with
        `exact` the column `valid`, the share of the area with a value.

    Raises
    ------
    CubeError
        The dataset has no feature of a cube or is no series, or with `exact` no longer has all of its area.
    """
    import pandas as pd

    features = [feature for feature in conventions.FEATURES if feature in dataset]
    if not features:
        raise CubeError(f"the dataset has none of {', '.join(conventions.FEATURES)}; pass a cube")
    if conventions.TIME not in dataset.dims:
        raise CubeError(f"the dataset has dims {tuple(dataset.dims)}; it lacks time: a cube has (time, y, x)")
    parts = [_rows(dataset, feature) for feature in features]
    if exact:
        valid = _valid_shares(dataset, features)
        parts = [part.assign(valid=valid[feature]) for feature, part in zip(features, parts, strict=True)]
    return pd.concat(parts, ignore_index=True).sort_values(["step", "feature"], ignore_index=True)


def _rows(dataset: xr.Dataset, feature: str) -> pd.DataFrame:
    import pandas as pd

    count = dataset.sizes[conventions.TIME]

    def column(template: str, default: Any) -> Any:
        name = template.format(feature=feature)
        return dataset[name].values if name in dataset.coords else np.full(count, default)

    return pd.DataFrame(
        {
            "step": np.arange(count),
            "centre": dataset[conventions.TIME].values,
            "feature": feature,
            "date": column(conventions.ACQUIRED, np.datetime64("NaT", "ns")),
            "offset_days": column(conventions.OFFSET, np.nan),
            "relative_orbit": column(conventions.RELATIVE_ORBIT, -1),
            "platform": column(conventions.PLATFORM, ""),
            "polarisation": dataset.attrs.get(conventions.ATTR_POLARISATION, ""),
            "items": column(conventions.ITEMS, ""),
            "share": column(conventions.SHARE, np.nan),
        }
    )


def _valid_shares(dataset: xr.Dataset, features: Sequence[str]) -> dict[str, Any]:
    inner = dataset[list(features)]
    if conventions.ATTR_AREA in dataset.attrs:
        left, bottom, right, top = dataset.attrs[conventions.ATTR_AREA]
        inside = {conventions.X: (left, right), conventions.Y: (bottom, top)}
        inner = inner.isel({dim: _within(dataset, dim, *edges) for dim, edges in inside.items()})
    shares = inner.notnull().mean([conventions.Y, conventions.X]).compute()
    return {feature: shares[feature].values for feature in features}


def _within(dataset: xr.Dataset, dim: str, low: float, high: float) -> Any:
    """Tell which pixels of a dimension, in whatever order, lie in the area; refuse a cube that has not all of them."""
    centres = dataset[dim].values
    half = np.ptp(centres) / max(centres.size - 1, 1) / 2
    if centres.min() > low + 1.5 * half or centres.max() < high - 1.5 * half:
        raise CubeError(
            "the cube was cut after it was opened, and no longer holds the area whose valid pixels are to be counted: "
            f"open it for the smaller area, or remove ds.attrs['{conventions.ATTR_AREA}'] to count all that it holds"
        )
    return (centres > low) & (centres < high)

"""Calibrate a result: elementwise, lazily."""

from __future__ import annotations

import hashlib
import json
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import xarray as xr

from icemapper_xr import conventions
from icemapper_xr.calibrate import maps
from icemapper_xr.calibrate.maps import Model, Monotone
from icemapper_xr.calibrate.reliability import shannon_confidence
from icemapper_xr.errors import OptionError

__all__ = ["calibrate", "calibrated_probability", "reached_at"]

Array = npt.NDArray[np.float64]

_BELOW_HALF: Final = np.nextafter(np.float32(0.5), np.float32(0))


def calibrated_probability(probability: npt.ArrayLike, model: Model) -> Array:
    """Return the calibrated glacier probability: q = conf where p >= 0.5, else 1 - conf.

    Parameters
    ----------
    probability
        Glacier probability p, 0..1, any shape; NaN stays NaN.
    model
        A `Monotone` keeps every pixel on its side: q >= 0.5 exactly where p >= 0.5, in float32 too.
    """
    p = np.asarray(probability, dtype=np.float64)
    confidence = model(shannon_confidence(p))
    other = 1 - confidence
    if isinstance(model, Monotone):
        other = np.minimum(other, _BELOW_HALF)  # 1 - 0.5 would count as glacier
    return np.asarray(np.where(p >= conventions.THRESHOLD, confidence, other))


def reached_at(model: Model, levels: tuple[float, float]) -> tuple[float | None, float | None]:
    """Return the probabilities of a map at which its calibrated ones reach two levels.

    Parameters
    ----------
    model
        From `fit_monotone`, `read` or `published`.
    levels
        Calibrated probabilities below and above 0.5.

    Returns
    -------
    tuple
        The largest p up to which the calibrated probability stays at or below the first level, and the smallest from
        which on it stays at or above the second; None where it never gets there. To 1e-4 of the logit of p.

    Examples
    --------
    >>> low, high = reached_at(Monotone((0.0, 0.5), (0.5, 1.0)), (0.127, 0.873))
    >>> round(low, 3), round(high, 3)
    (0.2, 0.8)
    """
    p = 1 / (1 + np.exp(-np.linspace(-14.0, 14.0, 280_001)))
    q = calibrated_probability(p, model)
    low = p[np.maximum.accumulate(q) <= levels[0]]
    high = p[np.minimum.accumulate(q[::-1])[::-1] >= levels[1]]
    return (float(low[-1]) if low.size else None), (float(high[0]) if high.size else None)


def calibrate(result: xr.Dataset | xr.DataArray, model: Model) -> xr.Dataset:
    """Add calibrated confidence and probability to a result, lazily if it is lazy.

    Parameters
    ----------
    result
        A result with the variable `probability`, or that variable alone; dims (year,) y, x, any chunks.
    model
        From `fit_monotone`, `read` or `published`.

    Returns
    -------
    xarray.Dataset
        The result with `confidence` (probability that the mapped class is right) and `calibrated_probability`
        (of glacier), float32, unit 1, NaN where the probability is NaN. Their attribute `calibration` names the map.

    Raises
    ------
    OptionError
        The dataset has no probability.

    Examples
    --------
    >>> import xarray as xr
    >>> result = xr.Dataset({"probability": ("x", [0.2, 0.5, 0.8])})
    >>> calibrate(result, Monotone((0.0, 0.5), (0.5, 1.0))).calibrated_probability.values.round(3)
    array([0.127, 0.5  , 0.873], dtype=float32)
    """
    dataset = result if isinstance(result, xr.Dataset) else result.to_dataset(name=conventions.PROBABILITY)
    if conventions.PROBABILITY not in dataset:
        found = ", ".join(map(str, dataset)) or "none"
        raise OptionError(
            f"the dataset has no variable {conventions.PROBABILITY!r} (it has {found}); pass what `predict` returns"
        )
    probability = dataset[conventions.PROBABILITY]
    confidence = _elementwise(_confidence, probability, model, conventions.CONFIDENCE)
    calibrated = _elementwise(calibrated_probability, probability, model, conventions.CALIBRATED)
    return dataset.assign({conventions.CONFIDENCE: confidence, conventions.CALIBRATED: calibrated})


def _confidence(probability: npt.ArrayLike, model: Model) -> Array:
    return model(shannon_confidence(probability))


def _float32(block: npt.NDArray[Any], function: Any, model: Model) -> npt.NDArray[np.float32]:
    return np.asarray(function(block, model), dtype=np.float32)


def _elementwise(function: Any, probability: xr.DataArray, model: Model, name: str) -> xr.DataArray:
    array: xr.DataArray = xr.apply_ufunc(
        _float32,
        probability,
        kwargs={"function": function, "model": model},
        dask="parallelized",
        output_dtypes=[np.float32],
    )
    digest = hashlib.sha256(json.dumps(maps.to_dict(model), sort_keys=True).encode()).hexdigest()
    label = f"{model.kind}, {len(model.x)} knots, sha256:{digest[:16]}"
    array.attrs = {**conventions.VARIABLE_ATTRIBUTES[name], conventions.ATTR_CALIBRATION: label}
    array.name = name
    return array

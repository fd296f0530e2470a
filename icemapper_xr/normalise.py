"""From the units of a cube to the range the network was trained on, and back.

The published scaling (Maslov et al. 2025, doi:10.31223/X5472T): x' = (x - minimum) / (maximum - minimum), without
clipping, with the minimum and maximum of `conventions.FEATURE_RANGES`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import xarray as xr

from icemapper_xr import conventions
from icemapper_xr.errors import CubeError, OptionError, UnitsError

__all__ = ["denormalise", "in_units", "normalise"]

MODEL_UNITS = "1"

_LOWEST_DB: Final = -300.0
"""Where noise was subtracted, powers are small: the published training data reach -146 dB."""
_OVERSHOOT: Final = 0.1
"""By which interpolated coherence may leave 0 to 1."""


def normalise(dataset: xr.Dataset, features: Sequence[str] | None = None) -> xr.Dataset:
    """Scale the features of a cube to model units.

    Parameters
    ----------
    dataset
        A cube: backscatter in dB, coherence in 1.
    features
        Which, in any order; None takes all that the cube has.

    Returns
    -------
    xarray.Dataset
        The features in the order of the channels, float32, NaN kept, lazy if the cube is; each variable's attribute
        `icemapper_normalised` says what was done. Coordinates and attributes are the cube's.

    Raises
    ------
    CubeError
        It is no Dataset.
    UnitsError
        The cube has not the feature, its units are missing or wrong, or it is in model units already; or, when it is
        computed, its values are none of these units.
    OptionError
        A feature is unknown or repeated.

    Examples
    --------
    >>> import xarray as xr
    >>> cube = xr.Dataset({"insar": ("x", [0.0, 0.9979742169380188], {"units": "1"})})
    >>> normalise(cube).insar.values
    array([0., 1.], dtype=float32)
    """
    if not isinstance(dataset, xr.Dataset):
        raise CubeError(
            f"a cube is a Dataset with a variable a feature, this is a {type(dataset).__name__}: "
            "make one of it, for example array.to_dataset(name='rtc')"
        )
    names = _names(dataset, features)
    for name in names:
        _check(dataset, name)
    return dataset[list(names)].assign({name: _scaled(dataset[name], name) for name in names})


def denormalise(dataset: xr.Dataset, features: Sequence[str] | None = None) -> xr.Dataset:
    """Bring features in model units back to dB and coherence: the inverse of `normalise`.

    Raises
    ------
    UnitsError
        A feature is missing or not in model units.
    OptionError
        A feature is unknown or repeated.
    """
    names = _names(dataset, features)
    for name in names:
        if name not in dataset or conventions.ATTR_NORMALISED not in dataset[name].attrs:
            raise UnitsError(f"{name} is not in model units (no attribute {conventions.ATTR_NORMALISED!r})")
    return dataset[list(names)].assign({name: _unscaled(dataset[name], name) for name in names})


def _names(dataset: xr.Dataset, features: Sequence[str] | None) -> tuple[conventions.Feature, ...]:
    known = ", ".join(conventions.FEATURES)
    if features is None:
        found = tuple(feature for feature in conventions.FEATURES if feature in dataset)
        if not found:
            raise UnitsError(f"the dataset has none of {known}; its variables are {_listed(dataset)}")
        return found
    wanted = (features,) if isinstance(features, str) else tuple(features)
    for name in wanted:
        if name not in conventions.FEATURES:
            raise OptionError(f"feature {name!r} is unknown; use some of {known}")
    if not wanted or len(set(wanted)) < len(wanted):
        raise OptionError(f"features {wanted} are empty or repeat themselves; use some of {known}")
    return tuple(feature for feature in conventions.FEATURES if feature in wanted)


def _listed(dataset: xr.Dataset) -> str:
    return ", ".join(sorted(str(name) for name in dataset.data_vars)) or "none"


def _check(dataset: xr.Dataset, name: conventions.Feature) -> None:
    wanted = conventions.FEATURE_RANGES[name].units
    if name not in dataset:
        raise UnitsError(
            f"the cube has no feature {name!r} (it has {_listed(dataset)}); open it with features "
            "(--features) that include it"
        )
    attributes = dataset[name].attrs
    if dataset[name].dtype.kind not in "fiu":
        raise UnitsError(
            f"{name} is of type {dataset[name].dtype}, numbers in {wanted!r} are wanted; "
            "of complex numbers take the power or the coherence first"
        )
    if conventions.ATTR_NORMALISED in attributes:
        raise UnitsError(f"{name} is in model units already ({attributes[conventions.ATTR_NORMALISED]}); pass the cube")
    found = attributes.get("units")
    if found is None:
        raise UnitsError(
            f"{name} has no attribute 'units', {wanted!r} is wanted; "
            f"if it is in {wanted!r}, set ds[{name!r}].attrs['units'] = {wanted!r}"
        )
    if str(found) != wanted:
        remedy = "take 10 log10 of linear power first" if wanted == "dB" else "coherence lies between 0 and 1"
        if wanted == "dB" and str(found).lower() in ("db", "decibel", "decibels"):
            remedy = f"they are the same: set ds[{name!r}].attrs['units'] = {wanted!r}"
        raise UnitsError(f"{name} is in {found!r}, {wanted!r} is wanted; {remedy}")


def _scaled(array: xr.DataArray, name: conventions.Feature) -> xr.DataArray:
    information = conventions.FEATURE_RANGES[name]
    span = np.float32(information.maximum - information.minimum)
    read = xr.apply_ufunc(
        _plausible, array, dask="parallelized", output_dtypes=[np.float32], kwargs={"name": name}, keep_attrs=True
    )
    scaled: xr.DataArray = (read - np.float32(information.minimum)) / span
    attributes = {**_kept(array), "units": MODEL_UNITS}
    attributes[conventions.ATTR_NORMALISED] = (
        f"{name}: (x - {information.minimum!r}) / ({information.maximum!r} - {information.minimum!r})"
    )
    scaled.attrs = attributes
    return scaled.drop_encoding()


def _plausible(values: npt.NDArray[Any], *, name: conventions.Feature) -> npt.NDArray[np.float32]:
    """Refuse the values of a block that are of no dB or coherence: as such they would be mapped as land, or as ice."""
    seen = values[np.isfinite(values)]
    if seen.size:
        low, high = float(seen.min()), float(seen.max())
        told = f"{name} has values {low:g} to {high:g}"
        if name == "insar" and (low < -_OVERSHOOT or high > 1 + _OVERSHOOT):
            raise UnitsError(f"{told}, coherence lies between 0 and 1: divide percent by 100, make what is missing NaN")
        if name != "insar" and low < _LOWEST_DB:
            raise UnitsError(f"{told}, no backscatter in dB: divide scaled integers, make what is missing NaN")
        if name != "insar" and seen.size >= conventions.JUDGED and np.mean(seen > 0) > 1 - conventions.ODD:
            raise UnitsError(
                f"{told}, nearly all above 0 dB: it looks like linear power or amplitude; take its logarithm"
            )
    return values.astype(np.float32)


def in_units(values: Any, feature: conventions.Feature) -> Any:
    """Bring an array in model units, of numpy, dask or xarray, to dB or coherence, float32."""
    information = conventions.FEATURE_RANGES[feature]
    span = np.float32(information.maximum - information.minimum)
    return values.astype(np.float32) * span + np.float32(information.minimum)


def _unscaled(array: xr.DataArray, name: conventions.Feature) -> xr.DataArray:
    information = conventions.FEATURE_RANGES[name]
    values: xr.DataArray = in_units(array, name)
    attributes = {**_kept(array), "units": information.units}
    attributes.pop(conventions.ATTR_NORMALISED)
    values.attrs = attributes
    return values.drop_encoding()


def _kept(array: xr.DataArray) -> dict[str, object]:
    # xarray carries attributes through arithmetic: a fill value of the old unit must not travel along.
    gone = {"_FillValue", "missing_value", "valid_range", "valid_min", "valid_max", "noise_floor"}
    return {str(key): value for key, value in array.attrs.items() if key not in gone}

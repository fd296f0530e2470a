"""`ds.icemapper`: the verbs as methods. Every method wraps a function of the same name and takes its docstring."""

from __future__ import annotations

import inspect
from typing import Any

import xarray as xr

__all__ = ["IcemapperDataArray", "IcemapperDataset"]


def _verb(name: str) -> Any:
    """Make a method that hands the object to the verb, which is imported on the first call or look at its help."""

    class Method:
        def __get__(self, instance: Any, owner: type | None = None) -> Any:
            from icemapper_xr import pipeline

            function = getattr(pipeline, name)
            if instance is None:
                return function

            def method(*args: Any, **options: Any) -> Any:
                return function(instance._object, *args, **options)

            method.__name__, method.__doc__, method.__wrapped__ = name, function.__doc__, function  # type: ignore[attr-defined]
            whole = inspect.signature(function)
            method.__signature__ = whole.replace(parameters=[*whole.parameters.values()][1:])  # type: ignore[attr-defined]
            return method

    return Method()


@xr.register_dataset_accessor("icemapper")
class IcemapperDataset:
    """Verbs on a cube (`applicability`, `coverage`, `normalise`, `predict`) and on a result.

    Those on a result are `calibrate`, `to_zarr` and `outlines`.
    """

    applicability = _verb("applicability")
    calibrate = _verb("calibrate")
    coverage = _verb("coverage")
    normalise = _verb("normalise")
    predict = _verb("predict")
    to_zarr = _verb("to_zarr")
    outlines = _verb("outlines")

    def __init__(self, ds: xr.Dataset) -> None:
        self._object = ds


@xr.register_dataarray_accessor("icemapper")
class IcemapperDataArray:
    """Verbs on a probability."""

    outlines = _verb("outlines")

    def __init__(self, da: xr.DataArray) -> None:
        self._object = da

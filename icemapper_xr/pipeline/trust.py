"""How far to trust a map: the calibration and the likeness to the training data that belong to its weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import dask.base
import xarray as xr

from icemapper_xr import applicability as likeness
from icemapper_xr import calibrate as maps
from icemapper_xr import conventions, models, progress
from icemapper_xr._types import Segmenter
from icemapper_xr.errors import OptionError

__all__ = ["Unlike", "applicability", "calibrate", "likeness_of", "unlike_share", "with_applicability"]


def calibrate(result: xr.Dataset | xr.DataArray, *, model: str | Path | maps.Model = "auto") -> xr.Dataset:
    """Add calibrated confidence and probability to a result, lazily.

    Parameters
    ----------
    result : Dataset with `probability`, or that variable; dims (year,) y, x
        What `predict` or `open_store` returned.
    model
        "auto" takes the calibration that ships with the weights that the result's attributes name; else a file
        written by `icemapper calibrate`, or a fitted map.

    Returns
    -------
    Dataset
        The result with `confidence` (that the mapped class is right) and `calibrated_probability` (of glacier),
        float32, 0..1.

    Raises
    ------
    OptionError
        If the weights have no calibration or are not named, the file is none, or `model` is something else.
    """
    if isinstance(model, maps.KernelRidge | maps.Monotone):
        return maps.calibrate(result, model)
    if not isinstance(model, str | Path) or str(model) == "none":
        raise OptionError(f"model={model!r}: give 'auto', a file written by `icemapper calibrate`, or a fitted map")
    from icemapper_xr.models import own

    digest = result.attrs.get(conventions.ATTR_WEIGHTS_DIGEST)
    if digest is None and str(model) == "auto":  # as of a variable alone: the attributes are the dataset's
        raise OptionError("the result does not name its weights: pass the dataset of `predict`, or a file as model=")
    found = maps.choose(model, digest=digest, shipped=own.calibration)
    if found is None:
        raise OptionError(
            f"no calibration ships with the weights of this result ({result.attrs.get(conventions.ATTR_WEIGHTS)}): "
            "fit one by `icemapper calibrate WEIGHTS` and give its file as model="
        )
    return maps.calibrate(result, found)


def applicability(ds: xr.Dataset, *, weights: str | Path | Segmenter) -> xr.DataArray:
    """Tell where a cube is unlike what the weights were trained on, lazily.

    Parameters
    ----------
    ds : Dataset, dims (time, y, x)
        A cube of `open_cube` or `open_rasters`, not normalised.
    weights
        Name or path of weights, or a loaded model.

    Returns
    -------
    DataArray, dims (y, x)
        `applicability`, float32, 0..1: the share of the training data that is at least as unusual as this square of
        160 m. On data like the training's a hundredth lies below 0.01. NaN where there are fewer than three steps.

    Raises
    ------
    OptionError
        If nothing is known of the weights' training data.
    CubeError, UnitsError
        If the cube lacks a feature, or is normalised already.
    """
    found = likeness_of(weights)
    if found is None:
        raise OptionError(
            f"nothing is known of the training data of the weights {_called(weights)}: "
            "applicability needs the file <weights>_applicability.json beside them"
        )
    return likeness.applicability(ds, found)


def _called(weights: str | Path | Segmenter) -> Any:
    if isinstance(weights, str | Path):
        return weights
    return getattr(weights, "path", weights.digest)


def with_applicability(result: xr.Dataset, ds: xr.Dataset, *, weights: str | Path | Segmenter) -> xr.Dataset:
    """Add the applicability of a cube to the result that was predicted from it, on the result's pixels and chunks."""
    area = {dim: result[dim] for dim in (conventions.Y, conventions.X)}
    score = applicability(ds, weights=weights).sel(area)
    if result.chunks:
        score = score.chunk({dim: result.chunksizes[dim] for dim in score.dims})
    if conventions.SPATIAL_REF in result.coords:
        score.attrs["grid_mapping"] = conventions.SPATIAL_REF
    return result.assign({conventions.APPLICABILITY: score})


class Unlike(NamedTuple):
    """Shares whose input is unlike the training data, 0..1."""

    glacier: float
    """Of the mapped glacier; 0 where none is mapped."""
    observed: float
    """Of all that was observed."""


def unlike_share(*stored: xr.Dataset, threshold: float) -> Unlike | None:
    """Return the shares whose input is unlike the training data; None where nobody knows.

    Parameters
    ----------
    *stored : Dataset, dims (y, x)
        One year of a map, in one cube or in several; pixels count in each that has them.
    threshold
        Probability from which a pixel counts as glacier.
    """
    counted = [_unlike_pixels(one, threshold) for one in stored if conventions.APPLICABILITY in one]
    if not counted:
        return None
    of_glacier, ice, of_all, everything = (sum(counts) for counts in zip(*counted, strict=True))
    return Unlike(of_glacier / max(ice, 1), of_all / max(everything, 1))


def _unlike_pixels(stored: xr.Dataset, threshold: float) -> tuple[int, int, int, int]:
    """Count unlike and known pixels, of the mapped glacier and of all."""
    score = stored[conventions.APPLICABILITY]
    known, unlike = score.notnull(), score < likeness.UNLIKE
    glacier = stored[conventions.PROBABILITY] >= threshold
    counts = ((glacier & unlike).sum(), (glacier & known).sum(), unlike.sum(), known.sum())
    of_glacier, ice, of_all, everything = (int(count) for count in dask.base.compute(*counts))
    return of_glacier, ice, of_all, everything


def likeness_of(weights: str | Path | Segmenter) -> likeness.Likeness | None:
    """Find the numbers that belong to some weights; None where there are none, or those of other weights."""
    from icemapper_xr.models import own

    if isinstance(weights, str | Path):
        facts = models.info(weights)  # what its channels mean does not matter here
        path, digest = Path(facts["path"]), facts["digest"]
    else:
        digest = weights.digest
        file = own.with_digest(digest).get("file")
        found: Path | None = own.folder() / file if file is not None else getattr(weights, "path", None)
        if found is None:
            return None
        path = found
    beside = likeness.beside(path)
    if not beside.is_file():
        return None
    numbers = likeness.read(beside)
    if numbers.digest not in ("", digest):
        progress.note(f"{beside} describes the training data of other weights than {path.name}: left out")
        return None
    return numbers

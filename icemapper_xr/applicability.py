"""How much a cube looks like what the weights were trained on: lazily, from a few plain numbers beside the weights.

The series of every square of `BLOCK` pixels is summarised by level, seasonal course, restlessness and texture of each
feature. A mixture of Gaussians describes these summaries in the training data. Besides, backscatter has to fall in the
melt season, for that is what a glacier is told by: how far it falls is compared with the training data alone. The score
is the share of the training data that is at least as unusual in either. So on data like the training's a hundredth
lies below 0.01; where half of an area does, the weights have seen nothing like it, and what they answer there is worth
nothing.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
import numpy.typing as npt
import xarray as xr

from icemapper_xr import conventions as cv
from icemapper_xr import errors, pixels, whole
from icemapper_xr._types import FloatArray
from icemapper_xr.conventions import Feature

__all__ = ["BLOCK", "UNLIKE", "Likeness", "applicability", "beside", "fit", "read", "score", "summaries", "write"]

Array = npt.NDArray[np.float64]

BLOCK: Final = 16
"""Side of the squares that are summarised, pixels: 160 m, and a divisor of the chunks."""
BAND: Final = 8
"""Rows of squares that are summarised at once: what is held meanwhile does not grow with the cube."""
UNLIKE: Final = 0.01
"""Scores below this count as unlike the training data: there, a hundredth of the data is."""
QUANTILES: Final = (0.0, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
SUMMARY: Final = ("level", "cos 1", "sin 1", "cos 2", "sin 2", "log restlessness", "log texture", "dip")
"""Numbers that describe a square's series of one feature: mean, first two harmonics, what they leave, the spread
within the square, and how far the three lowest steps lie below the median."""
JOINT: Final = 7
"""How many of them, the first ones, the mixture describes."""
LOWEST: Final = 3
"""Steps that make the dip: two to three months of melt."""
FEWEST: Final = 4
"""Observed pixels of a square that a step needs: one alone has no texture, and would be unlike anything."""
COMPONENTS: Final = 6
FLOOR: Final = 0.02
"""Added to the variances of the mixture, in variances of the data: no component shrinks to one sample's weather."""
FOLDS: Final = 4
SMALLEST: Final = 1e-3
"""Added to standard deviations before their logarithm, dB or 1."""


@dataclass(frozen=True)
class Likeness:
    """What the training data look like: a mixture of Gaussians of the summaries, and the quantiles of its density."""

    features: tuple[Feature, ...]
    pixel_size: float
    """Metres."""
    weights: tuple[float, ...]
    """Shares of the components."""
    means: tuple[tuple[float, ...], ...]
    """(components, numbers) in the order of `SUMMARY`, `JOINT` of each feature."""
    precisions: tuple[tuple[tuple[float, ...], ...], ...]
    """(components, numbers, numbers) upper triangular factors of the inverse covariances."""
    densities: tuple[float, ...]
    """Logarithms of the density at `QUANTILES` of the training data."""
    dips: tuple[float, ...]
    """Dips of the backscatter at `QUANTILES`, dB; empty without backscatter."""
    shares: tuple[float, ...]
    """The smaller of a square's shares by density and by dip, at `QUANTILES`."""
    source: str = ""
    """Where the numbers come from."""
    digest: str = ""
    """SHA-256 of the weights that were trained on these data; empty: not said."""

    def __post_init__(self) -> None:
        if not self.features or self.features != tuple(name for name in cv.FEATURES if name in self.features):
            raise errors.OptionError(f"features {self.features} are not some of {cv.FEATURES}, in this order")
        numbers, shares, levels = JOINT * len(self.features), len(self.weights), len(QUANTILES)
        shapes: dict[str, tuple[int, ...]] = {
            "pixel_size": (),
            "weights": (shares,),
            "means": (shares, numbers),
            "precisions": (shares, numbers, numbers),
            "densities": (levels,),
            "dips": (0 if self.features[0] == "insar" else levels,),
            "shares": (levels,),
        }
        for name, shape in shapes.items():
            values = np.asarray(getattr(self, name), np.float64)
            if values.shape != shape or not np.isfinite(values).all():
                raise errors.OptionError(f"{name} has the shape {values.shape}, {shape} finite numbers are wanted")
        if falling := [name for name in ("densities", "dips", "shares") if np.any(np.diff(getattr(self, name)) < 0)]:
            raise errors.OptionError(f"{falling[0]} must not fall")
        if self.pixel_size <= 0 or not self.weights or min(self.weights) < 0:
            raise errors.OptionError("pixel_size must be above 0, and so must the weights")

    def density(self, summary: Array) -> Array:
        """Return the logarithm of the density, `(...)`, for summaries `(..., numbers)`."""
        joint = _joint(summary)
        total = np.full(summary.shape[:-1], -np.inf)
        for share, mean, factor in zip(self.weights, self.means, self.precisions, strict=True):
            f = np.asarray(factor)
            y = (joint - np.asarray(mean)) @ f
            constant = np.log(share) + np.log(np.diag(f)).sum() - 0.5 * y.shape[-1] * np.log(2 * np.pi)
            total = np.logaddexp(total, constant - 0.5 * (y**2).sum(-1))
        return total

    def score(self, summary: Array) -> Array:
        """Return the share of the training data at least as unusual, 0..1, for summaries `(..., numbers)`."""
        unknown = np.asarray(np.isnan(summary).any(-1))
        filled = np.where(unknown[..., None], 0, summary)
        found = np.interp(self.smaller_share(filled, self.density(filled)), self.shares, QUANTILES)
        return np.where(unknown, np.nan, found)

    def smaller_share(self, summary: Array, density: Array) -> Array:
        """Return the share of the training data that is less dense, or dips less, whichever is smaller."""
        share = np.interp(density, self.densities, QUANTILES)
        dip = _dip(summary, self.features)
        return share if dip is None else np.minimum(share, np.interp(dip, self.dips, QUANTILES))


def _joint(summary: Array) -> Array:
    """Leave out the dips: `(..., features * JOINT)`."""
    parts = summary.reshape(*summary.shape[:-1], -1, len(SUMMARY))[..., :JOINT]
    return parts.reshape(*summary.shape[:-1], -1)


def _dip(summary: Array, features: tuple[Feature, ...]) -> Array | None:
    """Return the dip of the backscatter, if there is any; backscatter comes first."""
    if features[0] == "insar":
        return None
    dip: Array = summary[..., SUMMARY.index("dip")]
    return dip


def summaries(stacks: Sequence[FloatArray], block: int = BLOCK) -> Array:
    """Summarise squares of a cube.

    Parameters
    ----------
    stacks
        One array `(T, y, x)` a feature, dB or coherence, NaN = not observed; y and x multiples of `block`.
    block
        Side of a square, pixels.

    Returns
    -------
    ndarray, shape (y / block, x / block, numbers)
        NaN where a feature has fewer than three steps with `FEWEST` pixels in a square.
    """
    parts = []
    for stack in stacks:
        steps, rows, columns = stack.shape
        squares = np.asarray(stack, np.float64).reshape(steps, rows // block, block, columns // block, block)
        squares = squares.transpose(0, 1, 3, 2, 4).reshape(steps, rows // block, columns // block, block * block)
        valid = np.isfinite(squares)
        number = valid.sum(-1)
        values = np.where(valid, squares, 0)
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = np.where(number >= FEWEST, values.sum(-1) / number, np.nan)
            spread = np.sqrt(np.maximum((values**2).sum(-1) / number - mean**2, 0))
        parts.append(_course(mean, spread))
    return np.concatenate(parts, axis=-1)


def _course(mean: Array, spread: Array) -> Array:
    """Fit level and two harmonics to each series `(T, y, x)`, over the steps that are there."""
    steps = mean.shape[0]
    angle = 2 * np.pi * (np.arange(steps) + 0.5) / steps
    basis = np.stack([np.ones(steps), np.cos(angle), np.sin(angle), np.cos(2 * angle), np.sin(2 * angle)], axis=-1)
    there = np.isfinite(mean)
    series = np.where(there, mean, 0).transpose(1, 2, 0)
    weight = there.transpose(1, 2, 0).astype(np.float64)
    # A little ridge on the harmonics keeps few steps from making large ones.
    ridge = np.diag([1e-9, 0.05, 0.05, 0.05, 0.05]) * steps
    normal = np.einsum("yxt,ti,tj->yxij", weight, basis, basis) + ridge
    right = np.einsum("yxt,ti->yxi", series, basis)
    course = np.linalg.solve(normal, right[..., None])[..., 0]
    left = (series - course @ basis.T) * weight
    count = weight.sum(-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        restless = np.log(np.sqrt((left**2).sum(-1) / count) + SMALLEST)
        texture = np.where(there, np.log(np.where(there, spread, 1) + SMALLEST), 0).sum(0) / count
    ordered, number = np.sort(mean, 0), there.sum(0)  # gaps come last
    middle = [np.take_along_axis(ordered, k[None], 0)[0] for k in (np.maximum(number - 1, 0) // 2, number // 2)]
    dip = (middle[0] + middle[1]) / 2 - ordered[:LOWEST].mean(0)
    numbers = np.concatenate([course, restless[..., None], texture[..., None], dip[..., None]], axis=-1)
    numbers[count < 3] = np.nan
    return np.asarray(numbers)


def fit(parts: Sequence[Array], *, features: Sequence[Feature], pixel_size: float, source: str = "") -> Likeness:
    """Describe training data.

    Parameters
    ----------
    parts
        Per sample `(squares, numbers)` from `summaries`; rows with NaN are left out.
    features, pixel_size, source
        What they are of, kept with the numbers.

    Notes
    -----
    The squares of one sample share its weather and its place, so the quantiles of the density come from samples that
    the mixture was fitted without, fold by fold: an unseen place like the training's is not to count as unlike.

    Raises
    ------
    OptionError
        If there are too few samples or squares.
    """
    known = [np.asarray(part)[np.isfinite(part).all(-1)] for part in parts]
    known = [part for part in known if len(part)]
    squares = sum(map(len, known))
    numbers = len(SUMMARY) * len(features)
    if len(known) < 2 * FOLDS or squares < 50 * numbers:
        raise errors.OptionError(
            f"{len(known)} samples with {squares} squares of {BLOCK} px are too few to describe the training data: "
            f"give at least {2 * FOLDS} samples and {50 * numbers} squares"
        )
    features = tuple(features)
    dip = _dip(np.concatenate(known), features)
    dips = () if dip is None else _levels(dip)
    model = Likeness(features, float(pixel_size), *_mixture(known), QUANTILES, dips, QUANTILES, source)
    held_out = []
    for fold in range(FOLDS):
        rest = [part for k, part in enumerate(known) if k % FOLDS != fold]
        without = replace(model, **dict(zip(("weights", "means", "precisions"), _mixture(rest), strict=True)))
        held_out += [(part, without.density(part)) for part in known[fold::FOLDS]]
    model = replace(model, densities=_levels(np.concatenate([density for _, density in held_out])))
    return replace(model, shares=_levels(np.concatenate([model.smaller_share(*one) for one in held_out])))


def _levels(values: Array) -> tuple[float, ...]:
    """Return the values at `QUANTILES`, rising."""
    levels = np.quantile(values, QUANTILES) + np.arange(len(QUANTILES)) * 1e-9
    return tuple(levels.tolist())


def _mixture(parts: Sequence[Array]) -> tuple[Any, Any, Any]:
    """Fit the mixture; its weights, means and factors as tuples."""
    from sklearn.mixture import GaussianMixture

    rows = _joint(np.concatenate(parts))
    # Standardised, so that one floor on the variances suits dB, coherence and logarithms alike.
    centre, scale = rows.mean(0), rows.std(0) + 1e-9
    mixture = GaussianMixture(COMPONENTS, reg_covar=FLOOR, random_state=0, max_iter=60, tol=1e-2)
    mixture.fit((rows - centre) / scale)
    factors = (mixture.precisions_cholesky_ / scale[:, None]).round(5)
    means = (mixture.means_ * scale + centre).round(5)
    return (
        tuple(mixture.weights_.round(6).tolist()),
        tuple(map(tuple, means.tolist())),
        tuple(tuple(map(tuple, one)) for one in factors.tolist()),
    )


def score(*stacks: FloatArray, model: Likeness, block: int = BLOCK) -> FloatArray:
    """Score a cube in memory: one `(T, y, x)` a feature; returns `(y, x)` float32, constant on squares.

    NaN where a feature has fewer than three steps. Squares that the lower and right edges cut are scored by what of
    them is there.
    """
    rows, columns = stacks[0].shape[1:]
    pad = ((0, 0), (0, -rows % block), (0, -columns % block))
    whole = [np.pad(np.asarray(stack, np.float32), pad, constant_values=np.nan) for stack in stacks]
    height = block * BAND
    bands = (
        summaries([stack[:, start : start + height] for stack in whole], block) for start in range(0, rows, height)
    )
    values = model.score(np.concatenate(list(bands)))
    out = values.repeat(block, 0).repeat(block, 1)[:rows, :columns].astype(np.float32)
    return np.asarray(out)


def applicability(cube: xr.Dataset, model: Likeness) -> xr.DataArray:
    """Score a cube lazily.

    Parameters
    ----------
    cube : Dataset, dims (time, y, x)
        Backscatter in dB, coherence in 1, as `open_cube` gives it (not normalised).
    model
        Of the weights that are to be applied.

    Returns
    -------
    DataArray, dims (y, x)
        `applicability`, float32, 0..1: the share of the training data at least as unusual; NaN where a feature has
        fewer than three steps. Squares lie on multiples of 16 pixels of the CRS, or of the array where the cube does
        not say its area: the same answer for all chunks.

    Raises
    ------
    CubeError
        If a feature is missing, the pixels are not those of the training data, or the steps are not 15 in order.
    UnitsError
        If the units are missing or others, or the cube is in model units already.
    """
    missing = [feature for feature in model.features if feature not in cube]
    if missing:
        raise errors.CubeError(f"the weights want {', '.join(model.features)}, the cube has no {', '.join(missing)}")
    for feature in model.features:
        _check_units(cube[feature], feature)
        if set(cube[feature].dims) != {cv.TIME, cv.Y, cv.X}:
            raise errors.CubeError(f"{feature} has dims {cube[feature].dims}; name and cut them to (time, y, x)")
    arrays = [cube[feature].transpose(cv.TIME, cv.Y, cv.X) for feature in model.features]
    _check_steps(arrays[0])
    size = pixels.size(arrays[0])
    if not np.isclose(size, model.pixel_size, rtol=1e-3):
        raise errors.CubeError(
            f"the cube's pixels are {size:g} m, those of the training data {model.pixel_size:g} m, and their texture "
            f"tells nothing of others': open the cube with resolution={model.pixel_size:g}"
        )
    pixels.require_true(cube, model.pixel_size)
    before = _offset(cube, arrays[0], size)
    lazy = any(array.chunks is not None for array in arrays)
    data = [_on_lattice(array.chunk() if lazy else array, before) for array in arrays]
    values = _map(data, model)
    rows, columns = arrays[0].shape[1:]
    like = arrays[0].isel({cv.TIME: 0}, drop=True)
    coords = {name: c for name, c in like.coords.items() if name in (cv.Y, cv.X, cv.SPATIAL_REF)}
    cut = values[before[0] : before[0] + rows, before[1] : before[1] + columns]
    attrs = {**cv.VARIABLE_ATTRIBUTES[cv.APPLICABILITY], "training": model.source}
    return xr.DataArray(cut, dims=(cv.Y, cv.X), coords=coords, attrs=attrs, name=cv.APPLICABILITY)


def _check_units(array: xr.DataArray, feature: Feature) -> None:
    """Refuse other units than those of a cube: linear power would look unlike everything."""
    if cv.ATTR_NORMALISED in array.attrs:
        raise errors.UnitsError(f"{feature} is in model units: score the cube before it is normalised")
    wanted = cv.FEATURE_RANGES[feature].units
    if array.attrs.get("units") != wanted:
        raise errors.UnitsError(
            f"{feature} has the units {array.attrs.get('units')!r}, {wanted!r} is wanted: bring it to these, and say "
            f"so in ds[{feature!r}].attrs['units']"
        )


def _check_steps(array: xr.DataArray) -> None:
    """Refuse other steps than those of the training data, whose statistics over the year would be others."""
    steps = array.sizes[cv.TIME]
    if steps != cv.N_STEPS:
        raise errors.CubeError(f"the cube has {steps} steps, the training data {cv.N_STEPS}: score the whole year")
    if (
        cv.TIME in array.coords
        and array.indexes[cv.TIME].size > 1
        and not array.indexes[cv.TIME].is_monotonic_increasing
    ):
        raise errors.CubeError("the times of the cube do not ascend: sort it, ds.sortby('time')")


def _offset(cube: xr.Dataset, array: xr.DataArray, size: float) -> tuple[int, int]:
    """Pixels from the lattice to the cube's upper left corner, in y and x."""
    if cv.ATTR_AREA not in cube.attrs:
        return 0, 0
    row, column = pixels.first(array, size)
    return row % BLOCK, column % BLOCK


def _on_lattice(array: xr.DataArray, before: tuple[int, int]) -> Any:
    """Pad to whole squares with NaN; chunks of a dask array end on squares."""
    rows, columns = (length + first for length, first in zip(array.shape[1:], before, strict=True))
    pad = ((0, 0), (before[0], -rows % BLOCK), (before[1], -columns % BLOCK))
    if array.chunks is None:
        return np.pad(array.values.astype(np.float32), pad, constant_values=np.nan)
    import dask.array as da

    padded = da.pad(array.data.astype(np.float32), pad, constant_values=np.nan)
    target = tuple(_even(sizes) for sizes in padded.chunks[1:])
    return padded.rechunk((-1, *target))


def _even(sizes: tuple[int, ...]) -> tuple[int, ...]:
    """Move the ends of chunks to multiples of a square."""
    ends = np.cumsum(sizes)
    moved = sorted({min(int(-(-end // BLOCK) * BLOCK), int(ends[-1])) for end in ends})
    return tuple(np.diff([0, *moved]).tolist())


def _map(data: list[Any], model: Likeness) -> Any:
    if isinstance(data[0], np.ndarray):
        return score(*data, model=model)
    import dask.array as da

    first = data[0]
    same = [first, *(one.rechunk(first.chunks) for one in data[1:])]
    return da.map_blocks(score, *same, model=model, drop_axis=0, dtype=np.float32, name=None)


# -- files ------------------------------------------------------------------------------------------------------------
def beside(weights: Path) -> Path:
    """Return where the numbers of a weights file lie."""
    return weights.with_name(f"{weights.stem}_applicability.json")


def write(model: Likeness, path: Path) -> None:
    """Write the numbers as JSON, whole or not at all."""
    text = json.dumps({"block": BLOCK, "summary": SUMMARY, "quantiles": QUANTILES, **asdict(model)}) + "\n"
    with whole.appearing(path) as part:
        part.write_text(text, encoding="utf-8")


def read(path: Path) -> Likeness:
    """Read the numbers.

    Raises
    ------
    OptionError
        If the file cannot be read, or is of another kind.
    """
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        if told["block"] != BLOCK or tuple(told["summary"]) != SUMMARY or tuple(told["quantiles"]) != QUANTILES:
            raise ValueError("it was written by another version")
        return Likeness(
            cast("tuple[Feature, ...]", tuple(told["features"])),
            float(told["pixel_size"]),
            tuple(told["weights"]),
            tuple(map(tuple, told["means"])),
            tuple(tuple(map(tuple, one)) for one in told["precisions"]),
            tuple(told["densities"]),
            tuple(told["dips"]),
            tuple(told["shares"]),
            str(told.get("source", "")),
            str(told.get("digest", "")),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise errors.OptionError(f"applicability {path} cannot be read ({error}): fit it anew") from error

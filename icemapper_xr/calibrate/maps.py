"""The maps from Shannon confidence to calibrated confidence, and their files: plain numbers in JSON."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from icemapper_xr import whole
from icemapper_xr.errors import OptionError, StoreError

__all__ = ["KernelRidge", "Model", "Monotone", "choose", "from_dict", "published", "read", "to_dict", "write"]

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class KernelRidge:
    """Kernel ridge regression with the Laplacian kernel exp(-gamma |x - x'|), no intercept, clipped to 0..1."""

    kind: ClassVar[str] = "kernel_ridge"
    x: tuple[float, ...]
    """Knots, Shannon confidence, ascending."""
    dual_coef: tuple[float, ...]
    """Dual coefficients, one a knot."""
    gamma: float = 1.0
    """Inverse length of the kernel."""
    source: str = ""
    """Where the numbers come from."""

    def __post_init__(self) -> None:
        _check_knots(self.x, self.dual_coef, "dual_coef")
        if not (np.isfinite(self.gamma) and self.gamma > 0):
            raise OptionError(f"the gamma of a calibration is {self.gamma:g}; it must be above 0")

    def unclipped(self, confidence: npt.ArrayLike) -> Array:
        """Return sum_i a_i exp(-gamma |c - x_i|) for each confidence c, before clipping."""
        c, x, a = np.asarray(confidence, dtype=np.float64), np.asarray(self.x), np.asarray(self.dual_coef)
        # Between two knots the sum is one falling and one rising exponential: two terms a pixel instead of 55.
        falling, rising = a.copy(), a.copy()
        decay = np.exp(-self.gamma * np.diff(x))
        for i in range(1, x.size):
            falling[i] += falling[i - 1] * decay[i - 1]
            rising[-i - 1] += rising[-i] * decay[-i]
        left = np.searchsorted(x, c, side="right") - 1  # NaN sorts last: the result is NaN through c itself
        inside, right = np.maximum(left, 0), np.minimum(left + 1, x.size - 1)
        value = np.where(left >= 0, falling[inside] * np.exp(-self.gamma * np.abs(c - x[inside])), 0.0)
        value += np.where(left + 1 < x.size, rising[right] * np.exp(-self.gamma * np.abs(x[right] - c)), 0.0)
        return np.asarray(np.where(np.isnan(c), np.nan, value))

    def __call__(self, confidence: npt.ArrayLike) -> Array:
        """Return the calibrated confidence, 0..1; it can be below 0.5 (see the module)."""
        return np.asarray(np.clip(self.unclipped(confidence), 0.0, 1.0))


@dataclass(frozen=True)
class Monotone:
    """Map through knots that never fall and never lie below 0.5; constant beyond the outer knots.

    Between two knots it is linear in the square root of the confidence, which near p = 0.5 is proportional to
    |p - 0.5|: what a calibrated probability is linear in there. (Linear in c itself errs up to twice as much.)
    """

    kind: ClassVar[str] = "monotone"
    x: tuple[float, ...]
    """Knots, Shannon confidence, ascending."""
    y: tuple[float, ...]
    """Calibrated confidence at the knots, 0.5..1, not falling."""
    source: str = ""
    """Where the numbers come from."""

    def __post_init__(self) -> None:
        _check_knots(self.x, self.y, "y")
        y = np.asarray(self.y)
        if y.min() < 0.5 or y.max() > 1 or np.any(np.diff(y) < 0):
            raise OptionError("the y of a monotone calibration must rise from 0.5 or more to 1 or less; fit it anew")

    def __call__(self, confidence: npt.ArrayLike) -> Array:
        """Return the calibrated confidence, 0.5..1."""
        c = np.asarray(confidence, dtype=np.float64)
        value = np.interp(np.sqrt(c), np.sqrt(self.x), self.y)  # of a single knot it is a number where c is none
        return np.asarray(np.where(np.isnan(c), np.nan, value))


Model = KernelRidge | Monotone


def _check_knots(x: tuple[float, ...], y: tuple[float, ...], name: str) -> None:
    if not x or len(x) != len(y):
        raise OptionError(f"a calibration needs as many {name} as x, at least one; it has {len(y)} and {len(x)}")
    if not np.all(np.isfinite([*x, *y])) or np.any(np.diff(x) <= 0):
        raise OptionError(f"the x of a calibration must rise and all its numbers be finite; got x={x[:3]}...")
    if x[0] < 0 or x[-1] > 1:
        raise OptionError(f"the x of a calibration reach from {x[0]:g} to {x[-1]:g}; confidence is 0 to 1")


def to_dict(model: Model) -> dict[str, Any]:
    """Return the model as plain numbers, ready for JSON."""
    return {"kind": model.kind, **{k: list(v) if isinstance(v, tuple) else v for k, v in asdict(model).items()}}


def _kind(numbers: Mapping[str, Any]) -> Any:
    """Kind of a calibration, which the publication's numbers do not name; None if it is none."""
    return numbers.get("kind", KernelRidge.kind if "kernel" in numbers or "dual_coef" in numbers else None)


def from_dict(numbers: Mapping[str, Any]) -> Model:
    """Return the model that these numbers describe; keys that are not the model's are ignored.

    Raises
    ------
    OptionError
        They are no calibration, the kind or the kernel is unknown, or a number is missing or makes no map.
    """
    kind = _kind(numbers)
    if kind is None:
        raise OptionError("these numbers are no calibration: make one with `icemapper calibrate`")
    if numbers.get("kernel", "laplacian") != "laplacian":
        raise OptionError(f"kernel {numbers['kernel']!r} of a calibration is unknown; only 'laplacian' is")
    source = str(numbers.get("source", ""))
    try:
        x = _listed(numbers["x"])
        if kind == KernelRidge.kind:
            return KernelRidge(x, _listed(numbers["dual_coef"]), float(numbers.get("gamma", 1.0)), source)
        if kind == Monotone.kind:
            return Monotone(x, _listed(numbers["y"]), source)
    except OptionError:  # numbers, but none that make a map
        raise
    except KeyError as error:
        raise OptionError(
            f"a calibration of kind {kind!r} needs the numbers {error}: make it anew with `icemapper calibrate`"
        ) from error
    except (TypeError, ValueError) as error:
        raise OptionError(
            f"a calibration is plain numbers, but {error}: make it anew with `icemapper calibrate`"
        ) from error
    raise OptionError(f"calibration kind {kind!r} is unknown; use 'monotone' or 'kernel_ridge'")


def _listed(values: Any) -> tuple[float, ...]:
    """Take a list of numbers; a text is a list of letters."""
    if not isinstance(values, list | tuple) or any(isinstance(value, str) for value in values):
        raise TypeError(f"{values!r:.60} is no list of them")
    return tuple(float(value) for value in values)


def write(model: Model, path: str | Path) -> None:
    """Write the model as JSON: numbers, no pickle; what was at `path` is replaced by the whole file or not at all.

    Raises
    ------
    StoreError
        The file cannot be written.
    """
    try:
        with whole.appearing(Path(path)) as part:
            part.write_text(json.dumps(to_dict(model), indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise StoreError(
            f"calibration {path} cannot be written ({error.strerror}): name a file in a folder that is there, with room"
        ) from error


def choose(
    wanted: str | Path | None, *, digest: str | None, shipped: Callable[[str | None], Mapping[str, Any] | None]
) -> Model | None:
    """Return the calibration that is wanted of the answers of some weights.

    Parameters
    ----------
    wanted
        `"auto"` takes the one that ships with the weights, if there is one; a path one that `write` wrote, with a
        warning if it was fitted to other weights; `"none"` and None none.
    digest
        Of the weights; None where nobody knows.
    shipped
        Looks up the numbers that ship with the weights of a digest, for "auto"; None where there are none.

    Raises
    ------
    OptionError
        The file cannot be read or is no calibration.
    """
    if wanted is None or str(wanted) == "none":
        return None
    if str(wanted) == "auto":
        numbers = shipped(digest)
        return from_dict(numbers) if numbers else None
    found = read(wanted)
    _tell_of_other(found, digest, what=wanted)
    return found


def _tell_of_other(model: Model, digest: str | None, *, what: object) -> None:
    """Warn of a calibration that says that it was fitted to other weights than those of a digest."""
    fitted = re.match(r"weights ([0-9a-f]{12});", model.source)
    if fitted and digest is not None and not digest.startswith(fitted[1]):
        warnings.warn(
            f"the calibration {what} was fitted to the weights {fitted[1]}, not to {digest[:12]}: what is right for "
            "the one need not be for the other; fit one with `icemapper calibrate`",
            UserWarning,
            stacklevel=4,
        )


def read(path: str | Path) -> Model:
    """Read a model from JSON.

    Raises
    ------
    OptionError
        The file cannot be read or is no calibration.
    """
    try:
        numbers = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise OptionError(
            f"calibration {path} cannot be read: {error}; give a file that `icemapper calibrate` wrote"
        ) from error
    if not isinstance(numbers, dict):
        raise OptionError(
            f"calibration {path} holds a {type(numbers).__name__}; give a file that `icemapper calibrate` wrote"
        )
    if _kind(numbers) is None:
        raise OptionError(f"{path} is no calibration: make one with `icemapper calibrate`")
    try:
        return from_dict(numbers)
    except OptionError as error:
        raise OptionError(f"calibration {path}: {error}") from error


def published() -> KernelRidge:
    """Return the published map of the weights `tweightedpool_grdinsar`, for comparison: it can flip a class."""
    text = (resources.files("icemapper_xr") / "_data" / "calibration_grdinsar.json").read_text(encoding="utf-8")
    model = from_dict(json.loads(text))
    assert isinstance(model, KernelRidge)
    return model

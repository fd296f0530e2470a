"""The published data set: `train.hdf5`, `val.hdf5`, `test.hdf5`, one group a sample, read lazily.

Layout after Maslov et al. (2025): features `(T, H, W, 1)` already in model units, `outlines` `(H, W, 2)` one-hot
(background, glacier), attributes `orig_height`, `orig_width`, `pad_height`, `pad_width` (leading pad) and
`<feature>_base_time_idx` (15 indices into T). The data: doi:10.11582/2026.3zay2ryx.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from icemapper_xr import errors
from icemapper_xr._types import FloatArray
from icemapper_xr.conventions import N_STEPS, Feature
from icemapper_xr.training.samples import Crop, IntArray

if TYPE_CHECKING:
    import h5py

__all__ = ["Hdf5Sample", "open_samples"]

_lock = threading.RLock()
_files: dict[Path, Any] = {}


@dataclass(frozen=True)
class Hdf5Sample:
    """One group of a file in the published layout. Files stay open, one handle per process."""

    path: Path
    name: str
    """`<tile>_<year>_ro<orbit>`."""
    shape: tuple[int, int]
    inner: tuple[slice, slice]
    base: Mapping[Feature, IntArray]
    dates: Mapping[Feature, int]
    attrs: Mapping[str, Any] = field(default_factory=dict, compare=False)

    def read(self, feature: Feature, dates: IntArray, crop: Crop) -> FloatArray:
        """Return `(len(dates), size, size)` in model units."""
        # h5py wants rising indices without repeats; the dates in between are few.
        first, last = int(dates.min()), int(dates.max()) + 1
        with _lock:
            stack = _handle(self.path)[self.name][feature][first:last, *crop.slices, 0]
        picked: FloatArray = np.asarray(stack, np.float32)[dates - first]
        return picked

    def truth(self, crop: Crop) -> npt.NDArray[np.bool_]:
        """Return `(size, size)`, True on glacier."""
        with _lock:
            labels = _handle(self.path)[self.name]["outlines"][*crop.slices, :]
        glacier: npt.NDArray[np.bool_] = labels[..., 1] > labels[..., 0]
        return glacier

    def pixels(self, surface: str) -> IntArray:
        """Return no pixels: the layout knows glaciers only."""
        return np.empty(0, np.int64)


def open_samples(path: Path, features: tuple[Feature, ...], n_steps: int = N_STEPS) -> list[Hdf5Sample]:
    """List the samples of a file, sorted by name; reads shapes and attributes only.

    Raises
    ------
    OptionError
        If the file is missing or no HDF5, or a sample lacks a feature, `outlines`, or its 15 indices.
    """
    try:
        with _lock:
            file = _handle(path)
            samples = [_describe(file[name], path, features, n_steps) for name in sorted(file)]
    except OSError as error:
        reason = " ".join(str(error).split())
        raise errors.OptionError(
            f"cannot read {path} ({reason}): give a folder with train.hdf5 and val.hdf5"
        ) from error
    if not samples:
        raise errors.OptionError(f"{path} holds no samples: give a file of the published layout")
    return samples


def _describe(group: h5py.Group, path: Path, features: tuple[Feature, ...], n_steps: int) -> Hdf5Sample:
    """Check one group and collect its facts."""
    name = group.name.lstrip("/")
    lacking = [key for key in (*features, "outlines") if key not in group]
    if lacking:
        raise errors.OptionError(
            f"sample {name} in {path} has no {', '.join(lacking)}: leave the feature out or choose another data set"
        )
    attrs = {key: np.asarray(value).tolist() for key, value in group.attrs.items()}
    height, width = group["outlines"].shape[:2]
    base, dates = {}, {}
    for feature in features:
        count = group[feature].shape[0]
        index = np.asarray(attrs.get(f"{feature}_base_time_idx", range(n_steps)), np.int64)
        if group[feature].shape[1:3] != (height, width):
            raise errors.OptionError(
                f"sample {name} in {path}: {feature} is {group[feature].shape[1:3]}, outlines are {(height, width)} px"
            )
        if index.shape != (n_steps,) or index.min() < 0 or index.max() >= count:
            raise errors.OptionError(
                f"sample {name} in {path}: {feature}_base_time_idx must be {n_steps} indices below {count}"
            )
        base[feature], dates[feature] = index, count
    top, left = int(attrs.get("pad_height", 0)), int(attrs.get("pad_width", 0))
    inner = (
        slice(top, top + int(attrs.get("orig_height", height - top))),
        slice(left, left + int(attrs.get("orig_width", width - left))),
    )
    return Hdf5Sample(path, name, (height, width), inner, base, dates, attrs)


def _handle(path: Path) -> h5py.File:
    """Open a file once per process."""
    import h5py

    with _lock:
        if path not in _files:
            _files[path] = h5py.File(path, "r")
        return _files[path]

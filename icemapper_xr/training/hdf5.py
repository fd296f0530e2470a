"""The published data set: `train.hdf5`, `val.hdf5`, `test.hdf5`, one group a sample, read lazily.

Layout after Maslov et al. (2025): features `(T, H, W, 1)` already in model units, `outlines` `(H, W, 2)` one-hot
(background, glacier), attributes `orig_height`, `orig_width`, `pad_height`, `pad_width` (leading pad) and
`<feature>_base_time_idx` (15 indices into T). The data: doi:10.11582/2026.3zay2ryx.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from icemapper_xr import errors
from icemapper_xr._types import FloatArray
from icemapper_xr.conventions import N_STEPS, Feature
from icemapper_xr.training.samples import Crop, IntArray

if TYPE_CHECKING:
    import h5py

__all__ = ["Hdf5Sample", "Version", "close", "open_samples"]


class Version(NamedTuple):
    """A file as it is when its samples are listed: what is written in its place later is another one."""

    path: Path
    inode: int
    changed: int
    """Time of the last change, ns."""
    size: int


USUAL = (-0.5, 1.5)
"""What the middle value of a square of any scene lies between, in model units; dB do not."""
SQUARE = 64
"""Side of the square that is looked at, pixels."""

_lock = threading.RLock()
_files: dict[Version, Any] = {}


@dataclass(frozen=True)
class Hdf5Sample:
    """One group of a file in the published layout. Files stay open until `close`, one handle per process."""

    file: Version
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
        with _lock, _readable(self.name, self.file.path, feature):
            stack = _handle(self.file)[self.name][feature][first:last, *crop.slices, 0]
        picked: FloatArray = np.asarray(stack, np.float32)[dates - first]
        return picked

    def truth(self, crop: Crop) -> npt.NDArray[np.bool_]:
        """Return `(size, size)`, True on glacier.

        Raises
        ------
        OptionError
            If labels cannot be read, or are NaN where there is no padding: they would count as background.
        """
        with _lock, _readable(self.name, self.file.path, "outlines"):
            labels = _handle(self.file)[self.name]["outlines"][*crop.slices, :]
        if np.isnan(labels[crop.unpadded(self.inner)]).any():
            raise errors.OptionError(
                f"sample {self.name} in {self.file.path}: outlines are NaN in places, (1, 0) is background and (0, 1) "
                "glacier: label all pixels, or make NaN what was observed where labels are missing"
            )
        glacier: npt.NDArray[np.bool_] = labels[..., 1] > labels[..., 0]
        return glacier

    def pixels(self, surface: str) -> IntArray:
        """Return no pixels: the layout knows glaciers only."""
        return np.empty(0, np.int64)


@contextlib.contextmanager
def _readable(name: str, path: Path, what: str) -> Iterator[None]:
    """Name the sample of a piece that is damaged: a file can be opened and listed all the same."""
    try:
        yield
    except (OSError, KeyError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise errors.OptionError(
            f"{what} of sample {name} in {path} cannot be read ({reason}): the file is damaged; copy it anew, or make "
            "one without this sample"
        ) from error


def open_samples(path: Path, features: tuple[Feature, ...], n_steps: int = N_STEPS) -> list[Hdf5Sample]:
    """List the samples of a file, sorted by name; reads shapes, attributes, and of each feature a small square.

    Raises
    ------
    OptionError
        If the file is missing or no HDF5, or a sample lacks a feature, `outlines`, or its 15 indices, or is not in
        model units.
    """
    try:
        with _lock:
            version = _version(path)
            file = _handle(version)
            samples = [_describe(file[name], name, path, version, features, n_steps) for name in sorted(file)]
    except (OSError, KeyError, RuntimeError, AttributeError) as error:  # the latter: a group in a data set's place
        reason = "it is a folder" if path.is_dir() else " ".join(str(error).split())
        raise errors.OptionError(
            f"cannot read {path} ({reason}): a file of the published layout is wanted, such as test.hdf5, and for a "
            "training the folder of train.hdf5 and val.hdf5"
        ) from error
    if not samples:
        raise errors.OptionError(f"{path} holds no samples: give a file of the published layout")
    return samples


def close(path: Path) -> None:
    """Close a file, so that others can write it; what is read of it later opens it again."""
    resolved = path.resolve()
    with _lock:
        for version in [one for one in _files if one.path == resolved]:
            _files.pop(version).close()


def _describe(
    group: h5py.Group, name: str, path: Path, version: Version, features: tuple[Feature, ...], n_steps: int
) -> Hdf5Sample:
    """Check one group and collect its facts."""
    where = f"sample {name} in {path}"
    lacking = [key for key in (*features, "outlines") if not hasattr(group, "keys") or key not in group]
    if lacking:
        remedy = (
            "choose another data set" if "outlines" in lacking else "leave the feature out or choose another data set"
        )
        raise errors.OptionError(f"{where} has no {', '.join(lacking)}: {remedy}")
    attrs = {key: np.asarray(value).tolist() for key, value in group.attrs.items()}
    if group["outlines"].ndim != 3 or group["outlines"].shape[2] != 2:
        raise errors.OptionError(
            f"{where}: outlines are {group['outlines'].shape}, (H, W, 2) wanted: background and glacier"
        )
    height, width = group["outlines"].shape[:2]
    base, dates = {}, {}
    for feature in features:
        if group[feature].ndim != 4 or group[feature].shape[1:] != (height, width, 1):
            raise errors.OptionError(
                f"{where}: {feature} is {group[feature].shape}, (T, {height}, {width}, 1) wanted as for its outlines"
            )
        dates[feature] = group[feature].shape[0]
        base[feature] = _steps(attrs, feature, dates[feature], n_steps, where)
        with _readable(name, path, feature):
            _check_units(group[feature], int(base[feature][n_steps // 2]), feature, where)
    inner = tuple(_inside(attrs, along, size, where) for along, size in (("height", height), ("width", width)))
    return Hdf5Sample(version, name, (height, width), (inner[0], inner[1]), base, dates, attrs)


def _steps(attrs: Mapping[str, Any], feature: Feature, count: int, n_steps: int, where: str) -> IntArray:
    """Return the dates that are the steps of a feature; all of them where there are no more."""
    name = f"{feature}_base_time_idx"
    index = np.asarray(attrs[name] if name in attrs else range(count))
    whole = index.dtype.kind in "iuf" and bool(np.all(index == np.floor(index)))
    if index.shape != (n_steps,) or not whole or index.min() < 0 or index.max() >= count:
        raise errors.OptionError(f"{where}: {name} must be {n_steps} whole numbers below {count}, the dates it has")
    if np.any(np.diff(index) < 0):
        raise errors.OptionError(f"{where}: {name} is {index.tolist()}, the steps must follow one another in time")
    return index.astype(np.int64)


def _check_units(stack: h5py.Dataset, date: int, feature: Feature, where: str) -> None:
    """Look at the middle of one date: a network would answer to dB, too, but nonsense."""
    if stack.dtype.kind not in "iuf":
        raise errors.OptionError(f"{where}: {feature} holds {stack.dtype}, numbers in model units are wanted")
    rows, columns = (slice(max(0, (side - SQUARE) // 2), (side + SQUARE) // 2) for side in stack.shape[1:3])
    values = np.asarray(stack[date, rows, columns, 0], np.float64)
    middle = float(np.median(values[np.isfinite(values)])) if np.isfinite(values).any() else 0.0
    if not USUAL[0] <= middle <= USUAL[1]:
        raise errors.OptionError(
            f"{where}: {feature} has values around {middle:.3g}, model units lie between 0 and 1: scale it "
            "as published, (x - minimum) / (maximum - minimum)"
        )


def _inside(attrs: Mapping[str, Any], along: str, size: int, where: str) -> slice:
    """Return the part of a padded side that is no padding."""
    pad = _whole(attrs, f"pad_{along}", 0, where)
    inside = _whole(attrs, f"orig_{along}", size - pad, where)
    if pad < 0 or inside < 1 or pad + inside > size:
        raise errors.OptionError(
            f"{where}: pad_{along}={pad} and orig_{along}={inside} do not lie within its {size} pixels"
        )
    return slice(pad, pad + inside)


def _whole(attrs: Mapping[str, Any], name: str, otherwise: int, where: str) -> int:
    """Return an attribute that is a whole number, also as an array of one."""
    value = np.asarray(attrs.get(name, otherwise))
    if value.size != 1 or value.dtype.kind not in "iuf" or not float(value.item()).is_integer():
        raise errors.OptionError(f"{where}: {name} is {attrs[name]!r}, a whole number is wanted")
    return int(value.item())


def _version(path: Path) -> Version:
    """Look at a file; the path holds wherever the process goes."""
    facts = path.stat()
    return Version(path.resolve(), facts.st_ino, facts.st_mtime_ns, facts.st_size)


def _handle(version: Version) -> h5py.File:
    """Open a file once per process, if it still is the one whose samples were listed."""
    import h5py

    with _lock:
        if version not in _files:
            if _version(version.path) != version:
                raise errors.OptionError(f"{version.path} was changed while it was read: run this again")
            _files[version] = h5py.File(version.path, "r")
        return _files[version]

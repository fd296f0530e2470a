"""From a name or a path to a weights file whose features, window and pixel size are known.

Three kinds of file: the published ones, fetched into the cache folder; ours, packed into the package and listed in
`index.json` beside them; and any other file that the user names.
"""

from __future__ import annotations

import logging
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from icemapper_xr import errors
from icemapper_xr.conventions import PIXEL_SIZE, WINDOW, Feature, Pooling, Unobserved
from icemapper_xr.models import facts, own, published, weights
from icemapper_xr.models.layout import Architecture

__all__ = ["Origin", "WeightsFile", "info", "list_weights", "locate", "resolve"]

_log = logging.getLogger(__name__)
Origin = Literal["published", "simulated", "file"]
FETCH: Final = "icemapper weights fetch"


@dataclass(frozen=True)
class WeightsFile:
    """A weights file, and all that has to be known to use it."""

    name: str
    """File name."""
    path: Path
    digest: str
    """SHA-256, hexadecimal."""
    origin: Origin
    """'published' (content checked), 'simulated' (ours, digest checked against the index), or 'file' (the user's)."""
    features: tuple[Feature, ...]
    """In the order of the channels."""
    pooling: Pooling
    filters: int
    levels: int
    window: int
    """Pixels; the network is to be applied on windows of this size."""
    pixel_size: float
    """Metres."""
    n_steps: int
    unobserved: Unobserved = "zero"
    """What the network is fed where a pixel has no valid step."""
    training: str | None = None
    """The training set, in words; None where the file does not say."""
    calibration: Any = field(default=None, compare=False)
    """Calibration fitted for these weights, as in the index; None where there is none."""

    @property
    def architecture(self) -> Architecture:
        """The network that the file fits."""
        return Architecture(len(self.features), self.filters, self.levels, self.pooling, self.digest)


def resolve(
    name_or_path: str | Path,
    *,
    features: Sequence[str] | None = None,
    window: int | None = None,
    pixel_size: float | None = None,
    cache: str | Path | None = None,
) -> WeightsFile:
    """Find a weights file, check its content, and settle features, window and pixel size.

    Parameters
    ----------
    name_or_path
        Path of a file, or a name. `tweightedpool_rtc` means the published file if it was fetched, else ours trained on
        simulated scenes (which of them is logged and stands in `origin`); `ICEmapper_tweightedpool_rtc.h5` only the
        published one; `tweightedpool_rtc_simulated` only ours.
    features
        Features in the order of the channels. None takes them from the file or its published name; required for any
        other file. What is given must agree with what the file says.
    window, pixel_size
        Pixels and metres; None takes them from the file, else the published 384 px and 10 m.
    cache
        Cache folder; None as in `published.cache_folder`.

    Returns
    -------
    WeightsFile
        The file, what it is, and all that has to be known to use it.

    Raises
    ------
    WeightsError
        If the name is unknown, or the file is missing, damaged or of another architecture.
    OptionError
        If features are missing or not what the weights want, or another option is out of its range.
    """
    if not isinstance(name_or_path, str | Path):
        raise errors.OptionError(f"weights={name_or_path!r}: give the name or the path of a weights file")
    path, origin = _find(name_or_path, cache)
    architecture = weights.read_architecture(path)
    attrs = weights.read_attrs(path)
    entry = own.entry_of(path, architecture.digest) if origin != "published" else None
    if origin == "file" and published.FILES.get(path.name) == published.blob_id(path):
        origin = "published"
    return WeightsFile(
        name=path.name,
        path=path,
        digest=architecture.digest,
        origin="simulated" if entry is not None else origin,
        features=facts.features(path, architecture, attrs, features),
        pooling=architecture.pooling,
        filters=architecture.filters,
        levels=architecture.levels,
        window=facts.window(path, attrs, window, architecture.multiple),
        pixel_size=facts.pixel_size(path, attrs, pixel_size),
        n_steps=facts.n_steps(path, attrs),
        unobserved=facts.unobserved(path, attrs),
        training=facts.text(attrs.get("training")),
        calibration=None if entry is None else entry.get("calibration"),
    )


def list_weights(*, cache: str | Path | None = None) -> list[dict[str, Any]]:
    """List the published files and ours: plain data, one dict a file.

    Keys: `name` (short), `file`, `origin` ('published' or 'simulated'), `features`, `pooling`, `filters`, `window`,
    `pixel_size`, `here` (can be used now), `path` (None where it has to be fetched), `training`, `scores`.
    """
    folder = published.cache_folder(cache)
    rows = []
    for file in published.FILES:
        variant = published.parse_name(file)
        assert variant is not None
        found = (folder / file).is_file() and published.blob_id(folder / file) == published.FILES[file]
        rows.append(
            {
                "name": _short(file),
                "file": file,
                "origin": "published",
                "features": list(variant.features),
                "pooling": variant.pooling,
                "filters": 32,
                "window": WINDOW,
                "pixel_size": PIXEL_SIZE,
                "here": found,
                "path": str(folder / file) if found else None,
                "training": "Svalbard, Sentinel-1, 10 m (doi:10.31223/X5472T)",
                "scores": None,
            }
        )
    for entry in own.read_index():
        path = own.folder() / entry["file"]
        told = {key: entry.get(key) for key in ("features", "pooling", "filters", "window", "pixel_size")}
        rows.append(
            {
                "name": _short(entry["file"]),
                "file": entry["file"],
                "origin": "simulated",
                **told,
                "here": path.is_file(),
                "path": str(path) if path.is_file() else None,
                "training": entry.get("training"),
                "scores": entry.get("scores"),
            }
        )
    return rows


def info(
    name_or_path: str | Path, *, features: Sequence[str] | None = None, cache: str | Path | None = None
) -> dict[str, Any]:
    """Describe one weights file as plain data: what `resolve` finds, its size, attributes, scores and git blob id.

    A file that does not say its features is described too, with `features` None.
    """
    path, origin = _find(name_or_path, cache)
    architecture = weights.read_architecture(path)
    try:
        found = asdict(resolve(name_or_path, features=features, cache=cache))
    except errors.OptionError:
        if features is not None:
            raise
        found = {"name": path.name, "origin": origin, "features": None, **asdict(architecture)}
    entry = own.entry_of(path, architecture.digest) or {}
    listed = found.get("features")
    return found | {
        "path": str(path),
        "features": None if listed is None else list(listed),
        "channels": architecture.channels,
        "bytes": path.stat().st_size,
        "blob_id": published.blob_id(path),
        "attrs": weights.read_attrs(path),
        "scores": entry.get("scores"),
    }


def locate(path: Path, digest: str) -> Path:
    """Find the file of that digest in this process: at `path`, else among our files, else in the cache folder.

    A worker on another machine has the package and the cache, but not always the client's paths.

    Raises
    ------
    WeightsError
        If no such file is here, or what is here has another digest.
    """
    seen = {}
    for candidate in dict.fromkeys((path, own.folder() / path.name, published.cache_folder() / path.name)):
        if candidate.is_file():
            seen[candidate] = weights.sha256(candidate)
            if seen[candidate] == digest:
                return candidate
    if not seen:
        raise errors.WeightsError(
            f"weights file {path} is not on this machine ({platform.node()}): put it where every worker sees it"
        )
    wrong, found = next(iter(seen.items()))
    raise errors.WeightsError(
        f"weights file {wrong} has digest {found[:12]}, but the run was set up with {digest[:12]}: the file was "
        "changed or is another one here; restore it, or call load_model again"
    )


# -- finding ----------------------------------------------------------------------------------------------------------
def _find(name_or_path: str | Path, cache: str | Path | None) -> tuple[Path, Origin]:
    """Path and origin of a name or path; an existing path goes first."""
    text = os.fspath(name_or_path)
    path = Path(text).expanduser()
    if path.is_file():
        return path, "file"
    variant = published.parse_name(text)
    if variant is None:
        raise errors.WeightsError(_unknown(text, path))
    fetched = published.cache_folder(cache) / variant.published_file
    ours = own.folder() / variant.own_file
    if not variant.simulated and variant.published_file in published.FILES:
        if fetched.is_file():
            _check_published(fetched)
            _log.info("weights %s: the published file %s", text, fetched)
            return fetched, "published"
        if variant.full or not ours.is_file():
            raise errors.WeightsError(
                f"weights {text!r} are published but not in the cache folder {fetched.parent}: run "
                f"`{FETCH} {variant.published_file}`{_own_hint(ours)}"
            )
    if ours.is_file() and not (variant.full and not variant.simulated):
        _log.info("weights %s: %s, trained on simulated scenes (not the published file)", text, ours)
        return ours, "simulated"
    raise errors.WeightsError(_unknown(text, path))


def _check_published(path: Path) -> None:
    found, wanted = published.blob_id(path), published.FILES[path.name]
    if found != wanted:
        raise errors.WeightsError(
            f"weights file {path} is damaged (git blob id {found}, {wanted} wanted): run `{FETCH} {path.name}`"
        )


def _short(file: str) -> str:
    return file.removeprefix("ICEmapper_").removesuffix(".h5")


def _own_hint(ours: Path) -> str:
    return f", or use {_short(ours.name)!r}, ours trained on simulated scenes" if ours.is_file() else ""


def _unknown(text: str, path: Path) -> str:
    ours = [str(entry["file"]) for entry in own.read_index()]
    if os.sep in text or (path.suffix in (".h5", ".keras", ".hdf5") and published.parse_name(text) is None):
        reason = "is a folder" if path.is_dir() else "does not exist"
        return f"weights file {text} {reason}: name an existing file, or one of {', '.join([*ours, *published.FILES])}"
    return (
        f"weights {text!r} are unknown: ours are {', '.join(ours) or 'none'}; published, to be fetched with "
        f"`{FETCH} NAME`: {', '.join(published.FILES)}; or name an existing file"
    )

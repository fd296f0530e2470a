"""Our own weight files, trained on simulated scenes, and the index beside them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from icemapper_xr import errors, whole
from icemapper_xr.models import facts, weights

__all__ = [
    "CHOSEN_SEEDS",
    "INDEX",
    "LEARNED_SEEDS",
    "calibration",
    "check",
    "entry_of",
    "folder",
    "read_index",
    "register",
    "with_digest",
]

INDEX: Final = "index.json"
LEARNED_SEEDS: Final = ((300_000, 301_499),)
"""First and last seeds of the scenes that ours, and the weights that they were begun with, learned from."""
CHOSEN_SEEDS: Final = ((900_000, 900_023),)
"""... and of those by which the best step was chosen."""


def folder() -> Path:
    """Folder of our weight files: inside the installed package, or `weights/` of an editable install."""
    package = Path(__file__).resolve().parents[1]
    packed = package / "_weights"
    return packed if packed.is_dir() else package.parent / "weights"


def read_index() -> list[dict[str, Any]]:
    """Entries of `index.json`, one dict a file of ours; empty where there is no index.

    Keys: file, digest, features, pooling, filters, window, pixel_size, training, scores, calibration.
    """
    path = folder() / INDEX
    if not path.is_file():
        return []
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise errors.WeightsError(f"index {path} cannot be read ({error}): install the package again") from error
    if not isinstance(entries, list) or not all(isinstance(e, dict) and {"file", "digest"} <= set(e) for e in entries):
        raise errors.WeightsError(f"index {path} is not a list of files with digests: install the package again")
    return entries


def with_digest(digest: str | None) -> dict[str, Any]:
    """Entry of the file of ours that has a digest; empty for any other."""
    return next((entry for entry in read_index() if entry["digest"] == digest), {})


def calibration(digest: str | None) -> dict[str, Any] | None:
    """Numbers of the calibration that ships with the file of ours that has a digest; None where there is none."""
    found: dict[str, Any] | None = with_digest(digest).get("calibration")
    return found


def check(path: str | Path) -> Path:
    """Refuse a file that `register` could not enter; returns its full path."""
    path = Path(path).resolve()
    if path.parent != folder().resolve():
        raise errors.OptionError(f"weights file {path} is not in {folder()}: copy it there first")
    attrs = weights.read_attrs(path)
    missing = [name for name in ("features", "window", "pixel_size") if name not in attrs]
    if missing:
        raise errors.OptionError(f"weights file {path} lacks the root attributes {missing}: write it with attrs=")
    return path


def register(
    path: str | Path, *, training: str | None = None, scores: Any = None, calibration: Any = None
) -> dict[str, Any]:
    """Enter a file that lies in our folder, or replace its entry, in `index.json`; returns the entry.

    The file must say its features, window and pixel size in its root attributes (`weights.write(..., attrs=...)`).
    """
    path = check(path)
    architecture, attrs = weights.read_architecture(path), weights.read_attrs(path)
    entry = {
        "file": path.name,
        "digest": architecture.digest,
        "features": list(facts.features(path, architecture, attrs, None)),
        "pooling": architecture.pooling,
        "filters": architecture.filters,
        "window": int(attrs["window"]),
        "pixel_size": float(attrs["pixel_size"]),
        "training": training if training is not None else facts.text(attrs.get("training")),
        "scores": scores,
        "calibration": calibration,
    }
    entries = sorted([*(e for e in read_index() if e["file"] != path.name), entry], key=lambda e: str(e["file"]))
    index = folder() / INDEX
    with whole.appearing(index) as part:
        part.write_text(json.dumps(entries, indent=1) + "\n", encoding="utf-8")
    return entry


def entry_of(path: Path, digest: str) -> dict[str, Any] | None:
    """Entry of a file that lies in our folder, its digest checked; None for any other file."""
    if path.resolve().parent != folder().resolve():
        return None
    entry = next((e for e in read_index() if e["file"] == path.name), None)
    if entry is not None and entry["digest"] != digest:
        raise errors.WeightsError(
            f"weights file {path} has digest {digest[:12]}, {INDEX} says {str(entry['digest'])[:12]}: it is damaged, "
            "install the package again"
        )
    return entry

"""`train`, `evaluate` and `calibrate` as one function each: what the command line calls."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from icemapper_xr import addresses, errors, models
from icemapper_xr import calibrate as maps
from icemapper_xr._types import Segmenter
from icemapper_xr.conventions import PIXEL_SIZE, ModelEngine
from icemapper_xr.models import own
from icemapper_xr.training import cases as scenes
from icemapper_xr.training import places, scorecard, scoring, sensitivity, warm

__all__ = ["calibrate_weights", "evaluate_weights", "train_weights"]

SIZE = 512
"""Rows and columns of the simulated scenes."""
SENSITIVITY_SEEDS = 6
"""Scenes, the first of those evaluated, on which the sensitivity is measured."""


def train_weights(
    config: str | Path,
    *,
    out: str | Path | None = None,
    cache: str | Path | None = None,
    export: str | Path | None = None,
    resume: bool = False,
    workers: int = 0,
    describe: bool = True,
) -> Path:
    """Train a network by a settings file, and write its weights in the original's format.

    Parameters
    ----------
    config
        Settings, TOML (docs/training.md).
    out
        Folder for checkpoint and logs; None is `scratch/<name of config>`.
    cache
        Folder of simulated scenes, which several trainings can share; None is `out/scenes`.
    export
        Folder for the weights; None is `out`. Those of the same name are replaced if their settings are the same.
    resume
        Go on from the checkpoint in `out`.
    workers
        Processes that prepare patches, and as many that simulate scenes; for a training on an accelerator.
    describe
        Whether to describe the training data, for `applicability`; half a second a scene.

    Returns
    -------
    Path
        The weights file.

    Raises
    ------
    OptionError
        If a setting is wrong, data are missing, there is a checkpoint and `resume` is not set, or another training's
        weights have the name that those of this one will have.
    """
    from icemapper_xr.training import config as settings
    from icemapper_xr.training import export as exporting
    from icemapper_xr.training import fit

    path = addresses.local_path(config)
    wanted = settings.load(path)
    folder = addresses.local_path(out) if out is not None else Path("scratch") / path.stem
    target = addresses.local_path(export) if export is not None else folder
    cache = addresses.local_path(cache) if cache is not None else None
    exporting.require_place(wanted, target)
    with places.folders(folder, target / "logs", cache):
        trained = fit.train(wanted, folder, cache=cache, resume=resume, beside=path, workers=workers, describe=describe)
        return exporting.export(trained, wanted, target)


def evaluate_weights(
    weights: str | Path,
    *,
    seeds: Sequence[int] | None = None,
    size: int | None = None,
    data: str | Path | None = None,
    only: str | None = None,
    calibration: str | Path | None = "auto",
    changes: bool = False,
    features: Sequence[str] | None = None,
    engine: ModelEngine = "auto",
    cache: str | Path | None = None,
    out: str | Path | None = None,
    register: bool = False,
) -> dict[str, Any]:
    """Score weights on simulated scenes that no training has seen, or on a data set of the published layout.

    Parameters
    ----------
    weights
        Name or path.
    seeds, size
        Simulated scenes (None: 700001 to 700020) and their side in pixels (None: 512).
    data
        HDF5 file of the published layout, such as `test.hdf5`; None simulates.
    only
        Pattern of the samples of `data` to score, for regions that were left out of a training; None takes all.
    calibration
        'auto' takes that of the weights, where there is one; a file written by `calibrate`; 'none' and None judge
        none.
    changes
        Whether to measure the sensitivity to changed input too, on the first six of the scenes.
    features, engine
        As in `load_model`.
    cache
        Folder in which simulated scenes are kept for the next weights.
    out
        Folder for `scores.json`, `scores.txt` and `scores.png`.
    register
        Enter the scores in the index of the project's own weights.

    Returns
    -------
    dict
        See `icemapper_xr.training.evaluate`.
    """
    _check_source(seeds, size, data, only, cache)
    segmenter = models.load_model(weights, features=features, engine=engine)
    size = SIZE if size is None else size
    found = tuple(seeds) if seeds is not None else scenes.SEEDS
    kept = addresses.local_path(cache) if cache is not None else None
    made: Iterator[scenes.Case]
    if data is not None:
        if changes:
            raise errors.OptionError("the sensitivity is measured on simulated scenes: leave data or changes out")
        source = Path(data).name if only is None else f"{Path(data).name}, {only}"
        made = scenes.published(segmenter, addresses.local_path(data), only=only or "*")
    else:
        _check_scenes(found, size, segmenter)
        made = scenes.simulated(segmenter, seeds=found, size=size, cache=kept)
        source = f"simulated scenes of {size} px, {_named(found)}{_seen(weights, found)}"
    if register:
        own.check(models.resolve(weights).path)
    judged = maps.choose(calibration, digest=segmenter.digest, shipped=own.calibration)
    if judged is not None and data is None:
        source += _fitted(judged, found)
    with places.folders(out, cache):
        report: dict[str, Any] = {
            "weights": Path(str(weights)).name,
            "digest": segmenter.digest,
            "source": source,
            **scoring.evaluate(made, calibration=judged),
        }
        if changes:
            report["sensitivity"] = sensitivity.sensitivity(
                segmenter, seeds=found[:SENSITIVITY_SEEDS], size=size, cache=kept
            )
        if out is not None:
            scorecard.write(report, addresses.local_path(out))
    if register:
        _register(weights, scores=_short(report))
    return report


def calibrate_weights(
    weights: str | Path,
    *,
    kind: Literal["monotone", "kernel_ridge"] = "monotone",
    seeds: Sequence[int] | None = None,
    size: int | None = None,
    data: str | Path | None = None,
    only: str | None = None,
    features: Sequence[str] | None = None,
    engine: ModelEngine = "auto",
    cache: str | Path | None = None,
    out: str | Path | None = None,
    register: bool = False,
) -> maps.Model:
    """Fit a calibration to the answers of weights on scenes with known truth.

    Parameters
    ----------
    weights
        Name or path.
    kind
        'monotone' (the default map, never below 0.5) or 'kernel_ridge' (the published recipe).
    seeds, size
        Simulated scenes (None: 800001 to 800012) and their side in pixels (None: 512).
    data, only
        HDF5 file of the published layout, such as `val.hdf5`, and a pattern of its samples; None simulates.
    features, engine, cache
        As in `evaluate_weights`.
    out
        File to write, JSON.
    register
        Enter the map in the index of the project's own weights.
    """
    _check_source(seeds, size, data, only, cache)
    segmenter = models.load_model(weights, features=features, engine=engine)
    size = SIZE if size is None else size
    found = tuple(seeds) if seeds is not None else scenes.CALIBRATION_SEEDS
    made: Iterator[scenes.Case]
    if data is not None:
        source = f"{Path(data).name}, {only or '*'}"
        made = scenes.published(segmenter, addresses.local_path(data), only=only or "*")
    else:
        _check_scenes(found, size, segmenter)
        source = f"{len(found)} simulated scenes of {size} px, {_named(found)}{_seen(weights, found)}"
        made = scenes.simulated(
            segmenter, seeds=found, size=size, cache=addresses.local_path(cache) if cache is not None else None
        )
    if register:
        own.check(models.resolve(weights).path)
    target = None if out is None else places.file(addresses.local_path(out))
    with places.folders(None if target is None else target.parent, cache):
        bins = scoring.reliabilities(made)
        note = f"weights {segmenter.digest[:12]}; {source}"
        model = maps.fit_monotone(bins, source=note) if kind == "monotone" else maps.fit_kernel_ridge(bins, source=note)
        if target is not None:
            maps.write(model, target)
    if register:
        _register(weights, calibration=maps.to_dict(model))
    return model


def _check_source(seeds: object, size: object, data: object, only: object, cache: object) -> None:
    """Refuse what would be without effect."""
    idle = {"seeds": seeds, "size": size, "cache": cache} if data is not None else {"only": only}
    for name, value in idle.items():
        if value is not None:
            kind = "simulated scenes" if data is not None else "a data set"
            raise errors.OptionError(f"{name}={value!r} is for {kind}: leave it or data out")


def _check_scenes(seeds: Sequence[int], size: int, segmenter: Segmenter) -> None:
    window = segmenter.window
    if segmenter.pixel_size != PIXEL_SIZE:
        raise errors.OptionError(
            f"the weights want pixels of {segmenter.pixel_size:g} m, simulated scenes have {PIXEL_SIZE:g} m: name data "
            "of the published layout"
        )
    if len(set(seeds)) < len(seeds):
        raise errors.OptionError(f"seeds {', '.join(map(str, seeds))}: name each scene once")
    if not seeds:
        raise errors.OptionError("no seeds: name at least one scene")
    if min(seeds) < 0:
        raise errors.OptionError(f"seed {min(seeds)} is negative: give numbers of 0 or more")
    least = max(32, window // 2)
    if size < least:
        raise errors.OptionError(f"size={size} is smaller than half the weights' window: give {least} or more")


def _named(seeds: Sequence[int]) -> str:
    """Write seeds, all of them unless they follow one another.

    >>> _named((1, 2, 3)), _named((1, 999, 2)), _named((7,))
    ('seeds 1 to 3', 'seeds 1, 999, 2', 'seed 7')
    """
    if len(seeds) == 1:
        return f"seed {seeds[0]}"
    if list(seeds) == list(range(seeds[0], seeds[0] + len(seeds))):
        return f"seeds {seeds[0]} to {seeds[-1]}"
    return f"seeds {', '.join(map(str, seeds))}"


def _seen(weights: str | Path, seeds: Sequence[int]) -> str:
    """Say which of the scenes the weights learned from, as far as their file tells."""
    try:
        found = models.info(weights)
    except errors.WeightsError:  # a segmenter that is no file
        return ""
    told = warm.seeds_of(found["attrs"])
    if own.with_digest(found["digest"]):
        told = [list(one) for one in own.LEARNED_SEEDS], [list(one) for one in own.CHOSEN_SEEDS]
    text = ""
    for ranges, verb in zip(told, ("learned from", "were chosen by"), strict=True):
        if both := [seed for seed in seeds if any(first <= seed <= last for first, last in ranges)]:
            warnings.warn(
                f"{weights} {verb} the scenes of {_named(both)}: on those it does better than on others",
                UserWarning,
                stacklevel=3,
            )
            text += f", of which the weights {verb} {_named(both)}"
    return text


def _fitted(calibration: maps.Model, seeds: Sequence[int]) -> str:
    """Say on which of the scenes a calibration was fitted, as far as it tells; those are no judges of it."""
    told = re.search(r"simulated scenes .*?, seeds? (\d+(?:, \d+)*)(?: to (\d+))?", calibration.source)
    if told is None:
        return ""
    listed = [int(number) for number in told[1].split(",")]
    known = set(range(listed[0], int(told[2]) + 1)) if told[2] else set(listed)
    both = [seed for seed in seeds if seed in known]
    if not both:
        return ""
    warnings.warn(
        f"the calibration was fitted on the scenes of {_named(both)}: on those it does better than on others",
        UserWarning,
        stacklevel=3,
    )
    return f", on {_named(both)} of which the calibration was fitted"


def _register(weights: str | Path, *, scores: Any = None, calibration: Any = None) -> None:
    """Change an entry of the index, keeping what else it says."""
    path = models.resolve(weights).path
    entry = next((one for one in own.read_index() if one["file"] == path.name), {})
    own.register(
        path,
        training=entry.get("training"),
        scores={**(entry.get("scores") or {}), "unseen": scores} if scores is not None else entry.get("scores"),
        calibration=calibration if calibration is not None else entry.get("calibration"),
    )


def _short(report: dict[str, Any]) -> dict[str, Any]:
    """What of a report the index keeps: no curves, a number a scene."""
    short = {
        key: json.loads(json.dumps(report[key]), parse_float=lambda text: round(float(text), 4))
        for key in (
            "source",
            "pixels",
            "mean_iou",
            "soft_area_bias",
            "boundary_m",
            "regions",
            "classes",
            "sizes_km2",
            "termini",
        )
    }
    short["iou_by_scene"] = {name: round(one["iou"], 4) for name, one in report["scenes"].items()}
    short["calibration_error"] = {
        name: {part: None if one["error"] is None else round(one["error"], 4) for part, one in parts.items()}
        for name, parts in report["calibration"].items()
    }
    if "sensitivity" in report:
        short["sensitivity_iou"] = {name: round(one["iou"], 4) for name, one in report["sensitivity"].items()}
    return short

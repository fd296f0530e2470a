"""From a training to a weights file in the original's format, with its log, settings and entry in the index."""

from __future__ import annotations

import datetime as dt
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from icemapper_xr import applicability, errors
from icemapper_xr.conventions import N_STEPS
from icemapper_xr.training import fit, likeness, places, scenes, sources, state, warm
from icemapper_xr.training.config import TrainingConfig

if TYPE_CHECKING:
    import keras

__all__ = ["attributes", "export", "from_checkpoint", "require_place"]


def require_place(config: TrainingConfig, folder: Path) -> None:
    """Refuse a folder in which weights of another training have the name that those of this one will have.

    Raises
    ------
    OptionError
        If there is such a file, or one that does not tell its settings.
    """
    from icemapper_xr.models import weights

    path = folder / f"{config.name}.h5"
    if not path.exists():
        return
    try:
        attrs = weights.read_attrs(path)
    except errors.WeightsError:
        attrs = {}
    told, begun = attrs.get("settings"), config.warm_start.name if config.warm_start is not None else None
    if isinstance(told, dict):
        own = json.loads(_settings(config))
        # what an earlier version did not know yet is no difference
        differ = [key for key in own if key in told and not _agree(own[key], told[key])]
        differ += ["warm_start"] if attrs.get("warm_start") != begun else []
        differ += ["data"] if config.data is not None and attrs.get("training") != sources.training_set(config) else []
        if not differ:
            return
        reason = f"holds weights of another training (of other {', '.join(differ)})"
    else:
        reason = "does not tell which training it is of"
    raise errors.OptionError(f"{path} {reason}: name another folder to export to, or remove the file")


def _agree(one: Any, other: Any) -> bool:
    """Compare settings, tables key by key where both have it."""
    if isinstance(one, dict) and isinstance(other, dict):
        return all(_agree(one[key], other[key]) for key in one.keys() & other.keys())
    return bool(one == other)


def _settings(config: TrainingConfig) -> str:
    """Write the settings that shape the weights, as JSON; paths are of one machine."""
    return config.model_dump_json(exclude={"warm_start", "data"})


def export(trained: fit.Trained, config: TrainingConfig, folder: str | Path) -> Path:
    """Write the weights as `<folder>/ICEmapper_<pooling>_<features>_simulated.h5` and the log as `logs/<name>.csv`.

    Beside the weights go the numbers that tell input unlike their training data, `<name>_applicability.json`. In the
    project's own `weights/` folder the file is also entered in the index.

    Returns
    -------
    Path
        The weights file.
    """
    scores = _rounded(trained.scores)
    path = _write(trained.model, config, Path(folder), trained.rows, scores)
    if trained.likeness is not None:
        likeness.write_beside(path, trained.likeness)
    return path


def from_checkpoint(config: TrainingConfig, run: str | Path, folder: str | Path) -> Path:
    """Write the best weights of a training that still runs, or was ended early.

    Raises
    ------
    OptionError
        If there is no checkpoint, or no validation yet, or the folder has weights of another training of that name.
    """
    path = Path(run) / fit.CHECKPOINT
    if not path.exists():
        raise errors.OptionError(f"{path} does not exist yet: wait for the first checkpoint")
    require_place(config, Path(folder))
    current = state.read_state(path, config.digest, scenes.simulator_of(config))
    if not current.best_weights:
        raise errors.OptionError(f"{path} holds no validated weights yet: wait for the first validation")
    model = fit.network(config)
    state.assign(model.weights, current.best_weights)
    best = max(current.rows, key=lambda row: row[f"val_iou_{config.monitor}"])
    scores = _rounded({name: value for name, value in best.items() if name.startswith("val_")})
    return _write(model, config, Path(folder), current.rows, scores)


def _rounded(scores: Mapping[str, float]) -> dict[str, float | None]:
    """Round scores for JSON, which knows no NaN: there is no area bias without a glacier to validate on."""
    return {name: None if math.isnan(value) else round(value, 4) for name, value in scores.items()}


_SEEDS: Final = ("learned_seeds", "chosen_seeds")


def attributes(config: TrainingConfig, scores: Mapping[str, float | None]) -> dict[str, Any]:
    """Return what a weights file says of itself beyond its shapes."""
    facts: dict[str, Any] = {
        "features": list(config.features),
        "window": config.window,
        "pixel_size": config.pixel_size,
        "n_steps": N_STEPS,
        "unobserved": config.unobserved,
        "training": sources.training_set(config),
        "seed": config.seed,
        "settings": _settings(config),
        "validation": scores,
        "date": today().isoformat(),
    }
    if config.data is None:
        facts["simulator"] = scenes.simulator_digest()
    before = warm.seeds_before(config)
    own: tuple[list[list[int]], list[list[int]]] = warm.seeds_in(config.scenes) if config.data is None else ([], [])
    if any(before) or any(own):
        for name, earlier, added in zip(_SEEDS, before, own, strict=True):
            facts[name] = [*earlier, *(one for one in added if one not in earlier)]
    if config.warm_start is not None:
        facts["warm_start"] = config.warm_start.name
        if unsure := warm.unsure(config):
            facts[warm.UNSURE] = unsure
    return facts


def today() -> dt.date:
    """Return the date of SOURCE_DATE_EPOCH, for files that can be made again bit by bit, else of today (UTC)."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    moment = dt.datetime.fromtimestamp(int(epoch), dt.UTC) if epoch else dt.datetime.now(dt.UTC)
    return moment.date()


def _write(
    model: keras.Model, config: TrainingConfig, folder: Path, rows: list[state.Row], scores: Mapping[str, float | None]
) -> Path:
    from icemapper_xr.models import own, weights

    logs = places.folder(folder / "logs")
    path = folder / f"{config.name}.h5"
    before = weights.sha256(path) if path.exists() else None
    weights.write(model, path, attrs=attributes(config, scores))
    if weights.sha256(path) != before:  # what earlier weights learned from says nothing of these
        applicability.beside(path).unlink(missing_ok=True)
    part = logs / f"{config.name}.csv"
    state.write_csv(part, rows)
    if folder.resolve() == own.folder().resolve():
        known = own.with_digest(weights.sha256(path))  # the same weights, written once more
        own.register(
            path,
            training=sources.training_set(config),
            scores={**(known.get("scores") or {}), "validation": scores},
            calibration=known.get("calibration"),
        )
    return path

"""Which calibration the probabilities of a map have."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from icemapper_xr import calibrate
from icemapper_xr import conventions as cv

__all__ = ["calibration_of"]


def calibration_of(wanted: str | Path | None, facts: Mapping[str, Any]) -> tuple[calibrate.Model | None, str | None]:
    """Return the calibration that is wanted of a store's probabilities, and which it is in words.

    Parameters
    ----------
    wanted
        `"auto"` takes the one that ships with the weights of the map, if there is one; a path one that
        `calibrate.write` wrote; `"none"` and None none.
    facts
        Of `store.provenance`.

    Raises
    ------
    OptionError
        The file cannot be read.
    """
    from icemapper_xr.models import own

    digest = facts["run"].get(cv.ATTR_WEIGHTS_DIGEST)
    model = calibrate.choose(wanted, digest=digest, shipped=own.calibration)
    if model is None or wanted is None:
        return None, None
    if wanted == "auto":
        return model, f"calibrated by the map that ships with the weights ({model.source or model.kind})"
    return model, f"calibrated by {Path(wanted).name}"

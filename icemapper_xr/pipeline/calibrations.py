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
    if wanted is None or wanted == "none":
        return None, None
    if wanted != "auto":
        found = calibrate.read(wanted)
        calibrate.tell_of_other(found, facts["run"].get(cv.ATTR_WEIGHTS_DIGEST), what=wanted)
        return found, f"calibrated by {Path(wanted).name}"
    from icemapper_xr.models import own

    digest = facts["run"].get(cv.ATTR_WEIGHTS_DIGEST)
    numbers = own.with_digest(digest).get("calibration")
    if not isinstance(numbers, dict):
        return None, None
    model = calibrate.from_dict(numbers)
    return model, f"calibrated by the map that ships with the weights ({model.source or model.kind})"

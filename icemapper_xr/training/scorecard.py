"""Scores on paper: JSON, a table, plots."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from icemapper_xr import errors, whole
from icemapper_xr.training import places

__all__ = ["figure", "table", "write"]

FALSE = "called glacier"


def write(report: Mapping[str, Any], folder: Path) -> list[Path]:
    """Write `scores.json`, `scores.txt` and `scores.png` into a folder, each whole or not at all.

    Raises
    ------
    OptionError, StoreError
        They cannot be written.
    """
    places.folder(folder)
    texts = {"scores.json": json.dumps(report, indent=1) + "\n", "scores.txt": table(report) + "\n"}
    picture = folder / "scores.png"
    try:
        with contextlib.ExitStack() as parts:  # none takes its place before all are written
            figure(report).savefig(parts.enter_context(whole.appearing(picture)), dpi=110)
            for name, text in texts.items():
                parts.enter_context(whole.appearing(folder / name)).write_text(text, encoding="utf-8")
    except OSError as error:
        reason = errors.not_written(error, other="folder")
        raise errors.StoreError(f"Cannot write the scores to {folder}: {reason}") from error
    return [*(folder / name for name in texts), picture]


def table(report: Mapping[str, Any]) -> str:
    """Set the scores in lines."""
    lines = [f"{'scene':<22} {'region':<12} {'IoU':>7} {'prec.':>7} {'recall':>7} {'F1':>7} {'acc.':>7} {'bias %':>8}"]
    rows = [(name, one["region"], one) for name, one in report["scenes"].items()]
    rows += [("region", name, one) for name, one in report["regions"].items()] if len(report["regions"]) > 1 else []
    lines += [_line(name, region, one) for name, region, one in (*rows, ("all pixels", "", report["pixels"]))]
    lines.append(f"mean IoU of the scenes: {report['mean_iou']:.4f}")
    if report["unobserved"]:
        lines.append(f"not scored, as nothing was observed there: {', '.join(report['unobserved'])}")
    lines += [f"sum of {name} against the true area: {100 * v:+.2f} %" for name, v in report["soft_area_bias"].items()]
    far = report["boundary_m"]
    if far["median"] is not None:
        lines.append(
            f"margins, m: median {far['median']:.1f}, 95 % {far['p95']:.1f}, signed median {far['signed_median']:+.1f}"
        )
    missed = far["missed"]
    if missed["pixels"]:
        lines.append(
            f"true margins with none mapped within 60 m: {_percent(missed['beyond_60'], ' %')}, within 300 m: "
            f"{_percent(missed['beyond_300'], ' %')}"
        )
    for key, title in (("classes", "surface class"), ("sizes_km2", "true glaciers, km2"), ("termini", "terminus")):
        if report[key]:
            lines += ["", f"{title:<22} {'pixels':>10} {FALSE:>15} {'objects':>8} {FALSE:>15}"]
            lines += [_group(name, one) for name, one in report[key].items()]
    lines += ["", f"{'confidence':<22} {'ECE, all':>10} {'ECE, within 100 m of margins':>30}"]
    for name, one in report["calibration"].items():
        lines.append(
            f"{name:<22} {_number(one['all']['error'], '.4f'):>10} {_number(one['near_margins']['error'], '.4f'):>30}"
        )
    if "sensitivity" in report:
        lines += ["", f"{'changed input':<34} {'IoU':>7} {'bias %':>8}"]
        for name, one in report["sensitivity"].items():
            lines.append(f"{name:<34} {one['iou']:7.4f} {_percent(one['area_bias']):>8}")
    return "\n".join(lines)


def figure(report: Mapping[str, Any]) -> Any:
    """Draw reliability, IoU by scene, and what of each surface class is called glacier."""
    from matplotlib.figure import Figure

    drawing = Figure(figsize=(13, 4.2), layout="constrained")
    trust, scenes, shares = drawing.subplots(1, 3)
    for name, one in report["calibration"].items():
        for part, style in (("all", "-"), ("near_margins", ":")):
            curve = one[part]
            label = f"{name}, {'all pixels' if part == 'all' else 'within 100 m'}: {_number(curve['error'], '.3f')}"
            trust.plot(curve["confidence"], curve["accuracy"], style, label=label)
    trust.plot([0, 1], [0, 1], color="grey", linewidth=0.8)
    trust.set(xlabel="confidence", ylabel="share of pixels in the right class", title="Reliability (expected error)")
    trust.legend(fontsize=7)
    values = [one["iou"] for one in report["scenes"].values()]
    scenes.bar(range(len(values)), values, color="steelblue")
    scenes.axhline(report["pixels"]["iou"], color="black", linewidth=0.8)
    scenes.set(xlabel="scene", ylabel="IoU", ylim=(0, 1), title=f"IoU of all pixels {report['pixels']['iou']:.3f}")
    groups = report["classes"] or report["sizes_km2"]
    names = list(groups)
    shares.barh(names, [100 * (groups[name]["called_pixels"] or 0) for name in names], color="indianred")
    shares.set(xlabel="% called glacier", title="By surface class" if report["classes"] else "By size, km2")
    return drawing


def _line(name: str, region: str, one: Mapping[str, Any]) -> str:
    numbers = " ".join(f"{one[key]:7.4f}" for key in ("iou", "precision", "recall", "f1", "accuracy"))
    return f"{name:<22} {region:<12} {numbers} {_percent(one['area_bias']):>8}"


def _group(name: str, one: Mapping[str, Any]) -> str:
    shares = [_percent(one[key], "%") for key in ("called_pixels", "called_objects")]
    return f"{name:<22} {one['pixels']:>10} {shares[0]:>15} {one['objects']:>8} {shares[1]:>15}"


def _percent(value: float | None, unit: str = "") -> str:
    if value is None:
        return "-"
    return f"{100 * value:.2f}{unit}" if unit else f"{100 * value:+.2f}"


def _number(value: float | None, how: str) -> str:
    return "-" if value is None else format(value, how)

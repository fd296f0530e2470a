"""Does the interval of a rate hold from end to end? Simulated years with a known rate, mapped by shipped weights.

Every world is a scene that no training saw, with its own retreat: simulated radar -> network -> calibration -> temporal
filter -> areas -> rate with its intervals, by the same functions that `icemapper map` and `icemapper rates` call. The
calibration is that of the weights, or, where they have none, one fitted to other unseen scenes. The reference is the
truth in the western half, in 2016, 2020 and 2024. Prints the tables of docs/statistics.md:

    python -m benchmarks.end_to_end_rates --worlds 12
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from icemapper_xr import calibrate, models, pipeline, simulate, store
from icemapper_xr import conventions as cv
from icemapper_xr.analysis import cells
from icemapper_xr.models import own

WEIGHTS = "tweightedpool_rtcinsar_simulated"
FEATURES = ("rtc", "insar")
YEARS = tuple(range(2016, 2025))
REFERENCE_YEARS = (2016, 2020, 2024)
FIRST_SEED, FIRST_CALIBRATION_SEED = 910_000, 920_000
"""Far from the seeds of training, evaluation and the demo."""
INTERVALS = ("student", "theil_sen", "independent", "paired")


def scene_of(seed: int, size: int, years: Sequence[int] = YEARS) -> simulate.Scene:
    """A scene with a retreat of its own, 0 to 40 m a year at the lowest margins."""
    rng = np.random.default_rng(seed)
    return simulate.scene(
        simulate.SceneSettings(
            seed=seed,
            shape=(size, size),
            years=tuple(years),
            features=FEATURES,
            glacier_share=float(rng.uniform(0.3, 0.6)),
            retreat=float(rng.uniform(0, 40)),
        )
    )


def calibration_of(segmenter: models.ModelSegmenter, size: int, scenes: int) -> tuple[calibrate.Model, str]:
    """The calibration that ships with the weights, or one fitted to scenes of its own."""
    numbers = own.with_digest(segmenter.digest).get("calibration")
    if isinstance(numbers, dict):
        return calibrate.from_dict(numbers), "that of the weights"
    bins = None
    for k in range(scenes):
        scene = scene_of(FIRST_CALIBRATION_SEED + k, size, (2020,))
        found = pipeline.predict(scene.cube(2020), weights=segmenter)[cv.PROBABILITY].values
        one = calibrate.reliability(found, scene.truth(2020))
        bins = one if bins is None else bins + one
    assert bins is not None
    return calibrate.fit_monotone(bins, source=f"{scenes} unseen scenes"), f"fitted to {scenes} other unseen scenes"


def write_world(scene: simulate.Scene, segmenter: models.ModelSegmenter, folder: Path) -> dict[int, float]:
    """Map every year into a store, write the reference; returns the true areas, km2."""
    import geopandas as gpd
    import shapely

    truth = {}
    for year in YEARS:
        result = pipeline.predict(scene.cube(year), weights=segmenter)
        store.write(result, folder / "glaciers.zarr", year=year)
        weight = cells.cell_areas(result.y, result.x, scene.settings.epsg)
        truth[year] = float(np.sum(weight[scene.truth(year)])) / 1e6
    outlines = pd.concat([scene.outlines(year) for year in REFERENCE_YEARS], ignore_index=True)
    outlines.to_file(folder / "reference.gpkg")
    left, bottom, right, top = scene.settings.grid.bounds
    half = shapely.box(left, bottom, (left + right) / 2, top)
    gpd.GeoSeries([half], crs=scene.settings.epsg).to_file(folder / "half.gpkg")
    return truth


def rates_of_world(seed: int, size: int, segmenter: models.ModelSegmenter, model: calibrate.Model) -> list[dict]:
    """One row a filter: true rate, found rate, IoU, whether and how widely each interval holds."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        scene = scene_of(seed, size)
        truth = write_world(scene, segmenter, folder)
        calibrate.write(model, folder / "calibration.json")
        report = pipeline.rates_of_run(
            folder,
            reference=folder / "reference.gpkg",
            reference_area=folder / "half.gpkg",
            calibration=str(folder / "calibration.json"),
            n_draws=1000,
            landscape_draws=200,
        )
        mapped = store.open_store(folder / "glaciers.zarr")[cv.PROBABILITY].values >= cv.THRESHOLD
        true = np.stack([scene.truth(year) for year in YEARS])
        iou = float((mapped & true).sum() / (mapped | true).sum())
    rate = float(np.polyfit(YEARS, list(truth.values()), 1)[0])
    area = float(np.mean(list(truth.values())))
    rows = []
    for _, row in report.table[report.table["kind"] == "region"].iterrows():
        found = {"seed": seed, "filter": row["filter"], "iou": iou, "area": area, "true": rate, "rate": row["rate"]}
        found["adjusted"] = row["adjusted_rate"]
        for interval in INTERVALS:
            prefix = "" if interval == "student" else f"{interval}_"
            low, high = row[f"{prefix}lower"], row[f"{prefix}upper"]
            found[interval], found[f"{interval}_width"] = bool(low <= rate <= high), high - low
        rows.append(found)
    return rows


def run(
    worlds: int, size: int, *, calibration_scenes: int = 6, first: int = FIRST_SEED, file: Path | None = None
) -> tuple[pd.DataFrame, str]:
    """Map all worlds; returns the rows and where the calibration comes from. The file has them after every world."""
    segmenter = models.load_model(WEIGHTS, features=FEATURES)
    model, words = calibration_of(segmenter, size, calibration_scenes)
    rows: list[dict] = []
    for k in range(worlds):
        started = time.monotonic()
        rows += rates_of_world(first + k, size, segmenter, model)
        if file is not None:
            file.write_text("\n".join(json.dumps(row, default=float) for row in rows) + "\n")
        print(f"world {k + 1} of {worlds}: {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
    return pd.DataFrame(rows), words


def report(table: pd.DataFrame) -> Iterator[str]:
    """Lines of the tables in docs/statistics.md; rates and widths in % of the area a year."""
    scale = 100 / table["area"]
    yield "| filter | worlds | IoU | error of the rate: mean | rms | adjusted: mean | rms |"
    yield "|---|---|---|---|---|---|---|"
    for name, part in table.groupby("filter", sort=False):
        errors = [(part[kind] - part["true"]) * scale[part.index] for kind in ("rate", "adjusted")]
        cells_ = " | ".join(f"{e.mean():+.3f} | {np.sqrt((e**2).mean()):.3f}" for e in errors)
        yield f"| {name} | {len(part)} | {part['iou'].mean():.3f} | {cells_} |"
    yield ""
    yield "| filter | " + " | ".join(f"{name.replace('_', '-')}: covers | width" for name in INTERVALS) + " |"
    yield "|---|" + "---|" * 2 * len(INTERVALS)
    for name, part in table.groupby("filter", sort=False):
        found = [
            f"{part[i].sum()} of {len(part)} | {(part[f'{i}_width'] * scale[part.index]).median():.3f}"
            for i in INTERVALS
        ]
        yield f"| {name} | {' | '.join(found)} |"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run and print; --rows writes every world as JSON lines."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--worlds", type=int, default=12)
    parser.add_argument("--size", type=int, default=512, help="pixels of 10 m")
    parser.add_argument("--calibration-scenes", type=int, default=6)
    parser.add_argument("--rows", type=Path, help="file for the rows")
    chosen = parser.parse_args(arguments)
    table, words = run(chosen.worlds, chosen.size, calibration_scenes=chosen.calibration_scenes, file=chosen.rows)
    print(f"Weights {WEIGHTS}, calibration {words}, {chosen.size} px of 10 m.\n")
    print("\n".join(report(table)))


if __name__ == "__main__":
    main()

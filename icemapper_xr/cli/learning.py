"""`train`, `evaluate` and `calibrate`: weights of your own, and how far to trust any."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from icemapper_xr.cli._app import FeatureName, app

Seeds = Annotated[tuple[int, ...] | None, Parameter(consume_multiple=True)]
Features = Annotated[tuple[FeatureName, ...] | None, Parameter(consume_multiple=True)]
Engine = Literal["auto", "tensorflow", "openvino"]


@app.command
def train(
    config: Path,
    *,
    out: Path | None = None,
    cache: Path | None = None,
    export: Path | None = None,
    resume: bool = False,
    backend: Literal["tensorflow", "torch", "jax"] | None = None,
    workers: int = 0,
) -> None:
    """Train weights, from simulated scenes or from a data set of the published layout.

    Parameters
    ----------
    config
        Settings, TOML; weights/configs has examples.
    out
        Folder for checkpoint, log.csv and TensorBoard's events; default: scratch/NAME, as the file CONFIG is called.
    cache
        Folder of simulated scenes, which several trainings can share; default: OUT/scenes.
    export
        Folder for the weights; default: OUT.
    resume
        Go on from the checkpoint in OUT: to the same weights as a training that was never stopped.
    backend
        What Keras runs on; default: TensorFlow. torch, where it is installed, is three times as fast on CPUs.
    workers
        Processes that prepare patches, and as many that simulate scenes: a GPU waits without them. The weights do not
        depend on it.
    """
    if backend is not None:
        if importlib.util.find_spec(backend) is None:
            from icemapper_xr import errors

            raise errors.OptionError(f"--backend {backend} is not installed: `pip install {backend}`, or leave it out")
        os.environ["KERAS_BACKEND"] = backend
    from icemapper_xr.training import verbs

    print(f"wrote {verbs.train_weights(config, out=out, cache=cache, export=export, resume=resume, workers=workers)}")


@app.command
def evaluate(
    target: str,
    *,
    outlines: Path | None = None,
    area: Path | None = None,
    year: int | None = None,
    seeds: Seeds = None,
    size: int | None = None,
    data: Path | None = None,
    only: str | None = None,
    calibration: str = "auto",
    sensitivity: bool = False,
    features: Features = None,
    engine: Engine = "auto",
    cache: Path | None = None,
    out: Path | None = None,
    register: bool = False,
) -> None:
    """Score weights on scenes with known truth, or a finished map against your own outlines.

    Parameters
    ----------
    target
        Name or path of weights, which say glacier from a probability of 0.5 on; with --outlines the folder of a map, of
        a region's too, at the threshold of its outlines.
    outlines
        Polygons of the glaciers (GPKG, GeoJSON, GeoParquet) to compare a map with; of the map's year where they have
        a column year.
    area
        Polygons of the area in which the outlines are complete; default: the box around them.
    year
        Year of the map.
    seeds
        Simulated scenes; default: 700001 to 700020, which no training uses.
    size
        Rows and columns of the simulated scenes, 10 m pixels; default: 512.
    data
        HDF5 file of the published layout (test.hdf5) instead of simulated scenes.
    only
        Pattern of the samples of --data, such as 'SVAL-10-*'.
    calibration
        auto (that of the weights), none, or a file written by calibrate.
    sensitivity
        Measure too what changed input does, on the first six scenes: shuffled steps, no melt season, gaps, shifted
        start, 30 m.
    features
        Of weights that do not say theirs, in the order of the channels.
    engine
        Library that runs the network.
    cache
        Folder in which simulated scenes are kept for the next weights.
    out
        Folder for scores.json, scores.txt and scores.png.
    register
        Enter the scores in the index of the project's own weights.
    """
    from icemapper_xr import errors
    from icemapper_xr.training import scorecard, verbs

    of_weights = {
        "--seeds": seeds,
        "--size": size,
        "--data": data,
        "--only": only,
        "--sensitivity": sensitivity or None,
        "--features": features,
        "--engine": None if engine == "auto" else engine,
        "--cache": cache,
        "--register": register or None,
    }
    of_maps = {"--area": area, "--year": year}
    idle = [name for name, value in (of_weights if outlines is not None else of_maps).items() if value is not None]
    if idle:
        what = "weights: leave it out, or --outlines" if outlines is not None else "a map: name --outlines too"
        raise errors.OptionError(f"{', '.join(idle)} is for scoring {what}")
    if outlines is not None:
        from icemapper_xr import pipeline

        report = pipeline.scores_of_run(target, outlines, year=year, area=area, calibration=calibration, out=out)
    else:
        report = verbs.evaluate_weights(
            target,
            seeds=seeds,
            size=size,
            data=data,
            only=only,
            calibration=calibration,
            changes=sensitivity,
            features=features,
            engine=engine,
            cache=cache,
            out=out,
            register=register,
        )
    print(scorecard.table(report))


@app.command
def calibrate(
    weights: str,
    *,
    out: Path | None = None,
    kind: Literal["monotone", "kernel_ridge"] = "monotone",
    seeds: Seeds = None,
    size: int | None = None,
    data: Path | None = None,
    only: str | None = None,
    features: Features = None,
    engine: Engine = "auto",
    cache: Path | None = None,
    register: bool = False,
) -> None:
    """Fit a calibration to the answers of weights on scenes with known truth; a file of plain numbers.

    Parameters
    ----------
    weights
        Name or path.
    out
        File to write, JSON; default: NAME_calibration.json here, as the weights are called.
    kind
        monotone (never changes a pixel's class) or kernel_ridge (the published recipe).
    seeds
        Simulated scenes; default: 800001 to 800012, neither trained on nor evaluated.
    size
        Rows and columns of the simulated scenes, 10 m pixels; default: 512.
    data
        HDF5 file of the published layout (val.hdf5) instead of simulated scenes.
    only
        Pattern of the samples of --data.
    features
        Of weights that do not say theirs.
    engine
        Library that runs the network.
    cache
        Folder in which simulated scenes are kept.
    register
        Enter the map in the index of the project's own weights.
    """
    from icemapper_xr.training import verbs

    path = out or Path(f"{Path(weights).stem}_calibration.json")
    model = verbs.calibrate_weights(
        weights,
        kind=kind,
        seeds=seeds,
        size=size,
        data=data,
        only=only,
        features=features,
        engine=engine,
        cache=cache,
        out=path,
        register=register,
    )
    print(f"wrote {path}: {model.kind}, {len(model.x)} knots, {model.source}")

"""Command line: `python -m icemapper_xr.training CONFIG.toml [--out DIR] [--resume]`."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path

from icemapper_xr import errors, progress


def main(arguments: list[str] | None = None) -> int:
    """Train, or write the best weights so far; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m icemapper_xr.training", description=__doc__)
    parser.add_argument("config", type=Path, help="settings, TOML")
    parser.add_argument("--out", type=Path, help="folder for checkpoint and log; default: scratch/<name of CONFIG>")
    parser.add_argument("--cache", type=Path, help="folder for simulated scenes; default: OUT/scenes")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in OUT")
    parser.add_argument("--workers", type=int, default=0, help="processes that prepare patches, and that simulate")
    parser.add_argument("--export", type=Path, help="folder for the weights, such as weights/; default: OUT")
    parser.add_argument("--export-only", action="store_true", help="write the best weights so far; do not train")
    parser.add_argument("--describe", type=Path, help="weights of CONFIG: describe their training data; do not train")
    parser.add_argument("--undescribed", action="store_true", help="leave the description of the data for --describe")
    parser.add_argument("--quiet", action="store_true", help="show no progress")
    parser.add_argument("--simulate-into", type=Path, help=argparse.SUPPRESS)  # how a training starts its helper
    options = parser.parse_args(arguments)
    progress.enable(not options.quiet)
    try:
        _run(options)
    except errors.IcemapperError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _run(options: argparse.Namespace) -> None:
    from icemapper_xr.training import config as settings
    from icemapper_xr.training import scenes, sources

    config = settings.load(options.config)
    out = options.out or Path("scratch") / options.config.stem
    cache = options.cache or out / "scenes"
    if options.simulate_into:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # an exit removes the scene that is being made
        if hasattr(os, "nice"):  # the training goes first
            os.nice(5)
        scenes.SceneSet(config, options.simulate_into).fill(alive=scenes.parent_alive())
        return
    if options.describe:
        from icemapper_xr.training import likeness

        with sources.open_data(config, cache, beside=options.config) as data:
            last = (config.steps or 1) - 1
            described = likeness.describe(data.training(last), config, sources.training_set(config))
            print(likeness.write_beside(options.describe, described))
        return
    from icemapper_xr.training import export, verbs

    target = options.export or out
    if options.export_only:
        print(export.from_checkpoint(config, out, target))
        return
    print(
        verbs.train_weights(
            options.config,
            out=out,
            cache=cache,
            export=target,
            resume=options.resume,
            workers=options.workers,
            describe=not options.undescribed,
        )
    )


if __name__ == "__main__":
    sys.exit(main())

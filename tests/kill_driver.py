"""The driver of a small map, as a process of its own that can be killed: `python -m tests.kill_driver ...`."""

from __future__ import annotations

import sys
from pathlib import Path

from icemapper_xr import cluster
from icemapper_xr.pipeline import execution, journals, verbs
from tests import scenes
from tests.map_support import CHUNK, Tracing


def main(catalogue: str, store: str, trace: str, address: str, burn: str) -> None:
    """Map a catalogue into a store on the cluster at an address ('threads' for none)."""
    series = verbs.plan_cube(catalog=catalogue, year=2023, margin=32, bounds=scenes.inner(), crs=scenes.EPSG)
    segmenter = Tracing(trace=trace, burn=float(burn))
    with cluster.connect(address) as client:
        journal = journals.Journal(Path(store).parent)
        print("start", flush=True)
        written = execution.map_cube(
            series,
            segmenter,
            store,
            year=2023,
            chunk=CHUNK,
            client=client,
            journal=journal,
            on_outcome=lambda outcome, total: print("unit", total.written, flush=True),
        )
        print("done", written.written, written.kept, written.windows.evaluated, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])

"""Time `icemapper apply` against the original ICEmapper program, in pairs, where a checkout of it is named.

    python benchmarks/against_original.py --original "python /path/to/icemapper/apply.py out.tif ..." --ours "..."

Both are whole command lines, for the same rasters; they run in turn, ours first, and the ratios are those of the pairs.
Nothing of the original is needed for anything else here.
"""

from __future__ import annotations

import argparse
import shlex
import statistics
import subprocess
import time


def seconds(command: str) -> float:
    """Wall time of a command, which must succeed."""
    start = time.perf_counter()
    subprocess.run(shlex.split(command), check=True, capture_output=True)
    return time.perf_counter() - start


def main() -> None:
    """Run the pairs and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--original", required=True, help="command line of the original program")
    parser.add_argument("--ours", required=True, help="command line of icemapper apply, with --overwrite")
    parser.add_argument("--pairs", type=int, default=3)
    options = parser.parse_args()
    ratios = []
    for k in range(options.pairs):
        ours, original = seconds(options.ours), seconds(options.original)
        ratios.append(original / ours)
        print(f"pair {k + 1}: ours {ours:.1f} s, original {original:.1f} s, {ratios[-1]:.2f} times as fast")
    print(f"median: {statistics.median(ratios):.2f} times as fast")


if __name__ == "__main__":
    main()

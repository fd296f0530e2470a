"""Labelled cells as a map of neighbours: merging what is too small or too thin."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import numpy.typing as npt

__all__ = ["borders", "merge_slivers", "separate"]

Labels = npt.NDArray[np.int32]


def separate(labels: Labels) -> Labels:
    """Number anew so that each label is one 4-connected piece; 0 stays 0."""
    from skimage.measure import label

    return np.asarray(label(labels, background=0, connectivity=1), np.int32)


def borders(labels: Labels) -> dict[int, dict[int, int]]:
    """Count the cell sides that each two labels share; 0 is the outside."""
    found: dict[int, dict[int, int]] = defaultdict(dict)
    padded = np.pad(labels, 1)
    sides = [(padded[:, :-1], padded[:, 1:]), (padded[:-1], padded[1:])]
    pairs = np.concatenate([np.stack([a[a != b], b[a != b]], axis=1) for a, b in sides])
    unique, counts = np.unique(np.sort(pairs, axis=1), axis=0, return_counts=True)
    for (first, second), count in zip(unique.tolist(), counts.tolist(), strict=True):
        found[first][second] = found[second][first] = count
    return found


def merge_slivers(labels: Labels, cell: float, *, small: float, thin: float, compactness: float) -> Labels:
    """Merge slivers into the neighbour with the longest common border, the smallest first.

    Parameters
    ----------
    labels
        (rows, columns), 0 outside.
    cell
        Cell size, metres.
    small
        Area below which a label is a sliver, m2.
    thin
        Area below which it is one if its compactness is low, m2.
    compactness
        Bound on 2 sqrt(pi A) / P; the perimeter is that of the cells' sides times pi / 4, which is right on average
        over directions.
    """
    sizes = np.bincount(labels.ravel()).astype(float) * cell**2
    graph = borders(labels)
    target = np.arange(sizes.size)
    waiting = {int(k) for k in np.flatnonzero(sizes) if k}

    def is_sliver(k: int) -> bool:
        if sizes[k] < small:
            return True
        perimeter = sum(graph[k].values()) * cell * np.pi / 4
        return bool(sizes[k] < thin and 2 * np.sqrt(np.pi * sizes[k]) / perimeter < compactness)

    most = max(small, thin)
    while True:
        candidates = [k for k in waiting if sizes[k] < most and is_sliver(k) and any(n for n in graph[k] if n)]
        if not candidates:
            break
        k = min(candidates, key=lambda one: (sizes[one], one))
        into = max((n for n in graph[k] if n), key=lambda n: (graph[k][n], sizes[n], -n))
        _absorb(graph, k, into)
        sizes[into] += sizes[k]
        target[target == k] = into
        waiting.discard(k)
    return np.asarray(target[labels], np.int32)


def _absorb(graph: dict[int, dict[int, int]], k: int, into: int) -> None:
    for neighbour, count in graph.pop(k).items():
        graph[neighbour].pop(k, None)
        if neighbour != into:
            graph[into][neighbour] = graph[neighbour][into] = graph[into].get(neighbour, 0) + count

"""Computing a graph piece by piece, without running the network again for what two pieces share.

The windows at the border of a piece belong to the next one too. Dask forgets all of a graph once it is computed, so
what the network answered for a later piece is taken along as a result, and put into the later piece's graph. On a
cluster the results stay where they are: the scheduler does not compute again what a future holds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from icemapper_xr import conventions as cv

__all__ = ["SharedGraph"]

Key = tuple[Any, ...]


class SharedGraph:
    """A high-level graph of which pieces are computed one after the other.

    Parameters
    ----------
    graph : dask.highlevelgraph.HighLevelGraph
        Of all pieces.
    pieces
        Keys of the graph that each piece computes.
    held
        Whether the answers are futures of a cluster, which stand for their tasks: another task under the same key
        would confuse its scheduler.
    """

    def __init__(self, graph: Any, pieces: Sequence[Sequence[Key]], *, held: bool = False) -> None:
        self._graph = graph
        self._held = held
        self._pieces = pieces
        self._last: dict[Key, int] = {}
        """The piece that reads a part of the network's answers last."""
        for number, keys in enumerate(pieces):
            self._last.update((key, number) for key in _keys(_cull(graph, keys), cv.ANSWER_LAYER))
        self._answers: dict[Key, Any] = {}

    def piece(self, number: int) -> tuple[Any, list[Key]]:
        """Return the graph of a piece, and the keys that it is to compute beside its own for later ones."""
        self._answers = {key: value for key, value in self._answers.items() if self._last[key] >= number}
        known = self._replaced(self._answers)
        keys = self._pieces[number]
        later = [key for key in self._computed(_cull(known, keys)) if self._last.get(key, number) > number]
        return _cull(self._graph if self._held else known, [*keys, *later]), later

    def take(self, keys: Sequence[Key], answers: Sequence[Any]) -> None:
        """Keep what a piece computed for later ones."""
        self._answers.update(zip(keys, answers, strict=True))

    def _replaced(self, answers: Mapping[Key, Any]) -> Any:
        """Put answers in the place of the tasks that would make them."""
        from dask.highlevelgraph import HighLevelGraph, MaterializedLayer

        layers = dict(self._graph.layers)
        for name in {key[0] for key in answers}:
            ours = {key: value for key, value in answers.items() if key[0] == name}
            layers[name] = MaterializedLayer({**layers[name], **ours}, annotations=layers[name].annotations)
        return HighLevelGraph(layers, self._graph.dependencies)

    def _computed(self, graph: Any) -> Iterator[Key]:
        """List the parts of all answers that the network gives when a culled graph is computed."""
        for network, *where in _keys(graph, cv.NETWORK_LAYER):
            for part in self._graph.dependents[network]:
                if part.startswith(cv.ANSWER_LAYER):
                    yield (part, *where)


def _cull(graph: Any, keys: Iterable[Key]) -> Any:
    """Return what of a high-level graph is needed for some keys.

    Dask's own `cull` takes a layer whole if it is asked for as many keys as the layer has, whichever keys: the windows
    of a whole area would be evaluated by such a chance. So it is asked for more keys than any layer has. It also
    renames the layers and then knows no longer which needs which.
    """
    from dask.highlevelgraph import HighLevelGraph, MaterializedLayer

    nobodys = {("icemapper-nobodys-key", number) for number in range(max(map(len, graph.layers.values())) + 1)}
    culled = graph.cull({*keys, *nobodys})
    layers = {
        name if name in graph.layers else name.rpartition("-")[0]: MaterializedLayer(
            dict(layer), annotations=layer.annotations
        )
        for name, layer in culled.layers.items()
    }
    return HighLevelGraph(layers, {name: graph.dependencies[name] & set(layers) for name in layers})


def _keys(graph: Any, layers: str) -> Iterator[Key]:
    """List the keys of the layers whose names begin so."""
    return (key for name, layer in graph.layers.items() if name.startswith(layers) for key in layer)

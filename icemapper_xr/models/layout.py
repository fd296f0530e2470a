"""What a weights file of the original program holds: the roles of its arrays, their shapes, names and order.

A role is the path of one array in our network, such as `encoder_0/conv_0/kernel`. The tables here follow from the
architecture alone; nothing of Keras or HDF5 is needed to make them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from icemapper_xr import errors
from icemapper_xr.conventions import Pooling

__all__ = [
    "DECODER",
    "ENCODER",
    "LAYER_NAMES",
    "N_CLASSES",
    "Architecture",
    "architecture_of",
    "keras2_names",
    "pools",
    "roles_of_names",
    "shapes",
]

Shape = tuple[int, ...]

ENCODER: Final = "Conv3DResUNetEncoder"
DECODER: Final = "ResUNetDecoder"
LAYER_NAMES: Final = ("inputs", ENCODER, DECODER)
N_CLASSES: Final = 2
"""Background and glacier, in this order."""

_MOVING: Final = ("moving_mean", "moving_variance")
_NORM: Final = ("gamma", "beta", *_MOVING)
_RESIDUAL: Final = ("conv_0", "norm_0", "conv_1", "norm_1", "projection")
_POOLING: Final = ("squeeze", "excite")
_UP: Final = ("conv", "norm")


@dataclass(frozen=True)
class Architecture:
    """The network that a weights file fits, read from the shapes of its arrays."""

    channels: int
    """Features of the input."""
    filters: int
    """Filters of the first level."""
    levels: int
    """Levels above the bottleneck."""
    pooling: Pooling
    """Kind of pooling."""
    digest: str = ""
    """SHA-256 of the file, hexadecimal; empty where no file is behind it."""

    @property
    def multiple(self) -> int:
        """What height and width of the input must be a multiple of."""
        return 1 << self.levels


# -- shapes -----------------------------------------------------------------------------------------------------------
def shapes(architecture: Architecture) -> dict[str, Shape]:
    """Shape of every array by role, in the order of the original's files (trainable first, group by group)."""
    table = _all_shapes(architecture)
    return {role: table[role] for group in _ordered_roles(architecture).values() for role in group}


def _all_shapes(architecture: Architecture) -> dict[str, Shape]:
    filters = [architecture.filters * 2**level for level in range(architecture.levels + 1)]
    inputs = [architecture.channels, *filters]
    table: dict[str, Shape] = {}
    for level, width in enumerate(filters):
        table |= _residual(f"encoder_{level}", (3, 3, 3), inputs[level], width)
    for name, level in _weighted_pools(architecture):
        table |= _conv(f"{name}/squeeze", (3, 1, 1), filters[level], filters[level] // 2)
        table |= _conv(f"{name}/excite", (3, 1, 1), filters[level] // 2, filters[level])
    for level in reversed(range(architecture.levels)):
        table[f"up_{level}/conv/kernel"] = (2, 2, filters[level + 1], filters[level])
        table |= _norm(f"up_{level}/norm", filters[level])
        table |= _residual(f"decoder_{level}", (3, 3), 2 * filters[level], filters[level])
    return table | {"head/kernel": (filters[0], N_CLASSES), "head/bias": (N_CLASSES,)}


def _conv(role: str, kernel: Shape, inputs: int, outputs: int) -> dict[str, Shape]:
    return {f"{role}/kernel": (*kernel, inputs, outputs), f"{role}/bias": (outputs,)}


def _norm(role: str, width: int) -> dict[str, Shape]:
    return {f"{role}/{name}": (width,) for name in _NORM}


def _residual(role: str, kernel: Shape, inputs: int, outputs: int) -> dict[str, Shape]:
    return {
        **_conv(f"{role}/conv_0", kernel, inputs, outputs),
        **_norm(f"{role}/norm_0", outputs),
        **_conv(f"{role}/conv_1", kernel, outputs, outputs),
        **_norm(f"{role}/norm_1", outputs),
        f"{role}/projection/kernel": (inputs, outputs),
    }


def pools(levels: int) -> list[tuple[str, int]]:
    """Names and levels of the poolings in order of creation: for each level the skip's, then that to the next level."""
    every = [(f"{kind}_pool_{level}", level) for level in range(levels + 1) for kind in ("skip", "down")]
    return every[:-1]  # nothing lies below the bottleneck


def _weighted_pools(architecture: Architecture) -> list[tuple[str, int]]:
    """Those that have weights."""
    return pools(architecture.levels) if architecture.pooling == "tweightedpool" else []


# -- order ------------------------------------------------------------------------------------------------------------
def _ordered_roles(architecture: Architecture) -> dict[str, list[str]]:
    """Roles by group, in the order in which Keras 2 hands out the weights of the original's two sub-models.

    Keras 2 loads by this order, not by name. In the encoder each block is followed by the pooling to the next level;
    the skips' poolings come after all of them; moving statistics come last.
    """
    levels = range(architecture.levels)
    weighted = architecture.pooling == "tweightedpool"
    encoder: list[str] = []
    for level in (*levels, architecture.levels):
        encoder.append(f"encoder_{level}")
        if weighted and level in levels:
            encoder.append(f"down_pool_{level}")
    if weighted:
        encoder += [f"skip_pool_{level}" for level in (*levels, architecture.levels)]
    decoder = [name for level in reversed(levels) for name in (f"up_{level}", f"decoder_{level}")] + ["head"]
    table = _all_shapes(architecture)
    return {ENCODER: _trainable_first(encoder, table), DECODER: _trainable_first(decoder, table)}


def _trainable_first(units: Iterable[str], table: Iterable[str]) -> list[str]:
    roles = [role for unit in units for role in table if role.startswith(unit + "/")]
    return [r for r in roles if not r.endswith(_MOVING)] + [r for r in roles if r.endswith(_MOVING)]


# -- names in the original's style ------------------------------------------------------------------------------------
def keras2_names(architecture: Architecture) -> dict[str, dict[str, str]]:
    """By group: role -> weight name as the original program's first model in a process would have it."""
    paths = _keras2_layers(architecture)
    return {
        group: {role: f"{paths[role.rpartition('/')[0]]}/{role.rpartition('/')[2]}:0" for role in roles}
        for group, roles in _ordered_roles(architecture).items()
    }


class _Counter:
    """Number names as Keras does: `conv3d`, `conv3d_1`, `conv3d_2` ..."""

    def __init__(self) -> None:
        self._next: dict[str, int] = {}

    def __call__(self, kind: str) -> str:
        number = self._next.get(kind, 0)
        self._next[kind] = number + 1
        return f"{kind}_{number}" if number else kind


def _keras2_layers(architecture: Architecture) -> dict[str, str]:
    """Layer role -> path of the layer, numbered in order of creation."""
    number = _Counter()
    paths: dict[str, str] = {}
    for level in range(architecture.levels + 1):
        paths |= _keras2_residual(f"encoder_{level}", "conv3d_batch_norm_act_x2", "conv3d", number)
    for name, _ in _weighted_pools(architecture):
        unit = number("temporal_weighted_pooling")
        paths |= {f"{name}/squeeze": f"{unit}/conv3d", f"{name}/excite": f"{unit}/conv3d_1"}
    for level in reversed(range(architecture.levels)):
        unit = number("up_conv")
        paths[f"up_{level}/conv"] = f"{unit}/{number('conv2d')}"
        paths[f"up_{level}/norm"] = f"{unit}/{number('batch_normalization')}"
        paths |= _keras2_residual(f"decoder_{level}", "conv_batch_norm_act_x2", "conv2d", number)
    return paths | {"head": number("dense")}


def _keras2_residual(role: str, inner: str, kind: str, number: _Counter) -> dict[str, str]:
    unit = number("residual_with_projection")
    inside = f"{unit}/{number(inner)}"
    layers = {f"{role}/conv_{i}": f"{inside}/{number(kind)}" for i in range(2)}
    layers |= {f"{role}/norm_{i}": f"{inside}/{number('batch_normalization')}" for i in range(2)}
    return layers | {f"{role}/projection": f"{unit}/{number('dense')}"}


# -- names found in a file -> roles -----------------------------------------------------------------------------------
_UNIT: Final = re.compile(r"(residual_with_projection|temporal_weighted_pooling|up_conv|dense)(?:_(\d+))?")
_LEAF: Final = re.compile(r"(conv[23]d|batch_normalization|dense)(?:_(\d+))?")
Units = dict[str, dict[int, dict[str, dict[int, dict[str, str]]]]]
"""kind of unit -> its number -> kind of layer -> its number -> variable -> weight name."""


def roles_of_names(names: Mapping[str, Iterable[str]]) -> dict[str, tuple[str, str]]:
    """Role -> (group, weight name), for the names found in a file, by the rules of the original's numbering.

    The numbers differ from file to file, but within one kind they rise in order of creation; the order in which the
    names are listed tells nothing.

    Raises
    ------
    WeightsError
        If the names are not those of an ICEmapper network; without the file's name, which the caller adds.
    """
    encoder, decoder = (_parse(group, names.get(group, ())) for group in (ENCODER, DECODER))
    blocks = _sorted_units(encoder, "residual_with_projection")
    weighted = _sorted_units(encoder, "temporal_weighted_pooling")
    ups = _sorted_units(decoder, "up_conv")
    levels = len(blocks) - 1
    if levels < 1 or len(ups) != levels:
        raise errors.WeightsError(
            f"{len(blocks)} residual blocks in {ENCODER} and {len(ups)} up-convolutions in {DECODER} found, "
            "one block more than up-convolutions wanted"
        )
    if len(weighted) not in (0, 2 * levels + 1):
        raise errors.WeightsError(
            f"{len(weighted)} temporal_weighted_pooling layers in {ENCODER} found, 0 or {2 * levels + 1} wanted"
        )
    table = dict(_roles(ENCODER, [f"encoder_{k}" for k in range(levels + 1)], blocks, _RESIDUAL))
    table |= _roles(ENCODER, [name for name, _ in pools(levels)][: len(weighted)], weighted, _POOLING)
    downward = list(reversed(range(levels)))
    table |= _roles(DECODER, [f"up_{k}" for k in downward], ups, _UP)
    decoder_blocks = _sorted_units(decoder, "residual_with_projection")
    table |= _roles(DECODER, [f"decoder_{k}" for k in downward], decoder_blocks, _RESIDUAL)
    return table | dict(_roles(DECODER, ["head"], _sorted_units(decoder, "dense"), ("head",)))


def _parse(group: str, names: Iterable[str]) -> Units:
    units: Units = {}
    for name in names:
        *path, variable = name.removesuffix(":0").split("/")
        unit = next((m for m in map(_UNIT.fullmatch, path) if m), None)
        leaf = _LEAF.fullmatch(path[-1]) if path else None
        if unit is None or leaf is None:
            raise errors.WeightsError(f"{group}/{name} found, which no ICEmapper network has")
        numbered = units.setdefault(unit[1], {}).setdefault(int(unit[2] or 0), {})
        numbered.setdefault(leaf[1], {}).setdefault(int(leaf[2] or 0), {})[variable] = name
    return units


def _sorted_units(units: Units, kind: str) -> list[dict[str, list[dict[str, str]]]]:
    """Units of a kind in order of creation; in each, the layers of a kind in order of creation."""
    return [
        {leaf: [numbered[i] for i in sorted(numbered)] for leaf, numbered in unit.items()}
        for _, unit in sorted(units.get(kind, {}).items())
    ]


def _roles(
    group: str, names: list[str], units: list[dict[str, list[dict[str, str]]]], wanted: tuple[str, ...]
) -> Iterator[tuple[str, tuple[str, str]]]:
    if len(units) != len(names):
        raise errors.WeightsError(
            f"{len(units)} layers of the kind of {names[0]} in {group} found, {len(names)} wanted"
        )
    for name, unit in zip(names, units, strict=True):
        layers = {
            "conv": unit.get("conv3d", []) + unit.get("conv2d", []),
            "norm": unit.get("batch_normalization", []),
            "dense": unit.get("dense", []),
        }
        counts = {kind: len(found) for kind, found in layers.items()}
        if counts != _LAYER_COUNTS[wanted]:
            raise errors.WeightsError(f"layer {name} has {counts} layers, {_LAYER_COUNTS[wanted]} wanted")
        for role, layer in zip(wanted, _in_order(wanted, layers), strict=True):
            path = name if role == "head" else f"{name}/{role}"
            yield from ((f"{path}/{variable}", (group, weight)) for variable, weight in layer.items())


_LAYER_COUNTS: Final = {
    _RESIDUAL: {"conv": 2, "norm": 2, "dense": 1},
    _POOLING: {"conv": 2, "norm": 0, "dense": 0},
    _UP: {"conv": 1, "norm": 1, "dense": 0},
    ("head",): {"conv": 0, "norm": 0, "dense": 1},
}


def _in_order(wanted: tuple[str, ...], layers: dict[str, list[dict[str, str]]]) -> list[dict[str, str]]:
    if wanted == _RESIDUAL:
        conv, norm = layers["conv"], layers["norm"]
        return [conv[0], norm[0], conv[1], norm[1], layers["dense"][0]]
    return layers["conv"] + layers["norm"] + layers["dense"]


# -- architecture -----------------------------------------------------------------------------------------------------
def architecture_of(found: Mapping[str, Shape], *, digest: str = "") -> Architecture:
    """Read the architecture from the shapes by role, and check every other shape against it.

    Raises
    ------
    WeightsError
        If a role is missing, unknown, or of another shape; without the file's name, which the caller adds.
    """
    first = found.get("encoder_0/conv_0/kernel", ())
    if len(first) != 5:
        raise errors.WeightsError(f"encoder_0/conv_0/kernel has shape {first}, (3, 3, 3, channels, filters) wanted")
    architecture = Architecture(
        channels=first[3],
        filters=first[4],
        levels=sum(role.startswith("up_") and role.endswith("/conv/kernel") for role in found),
        pooling="tweightedpool" if "skip_pool_0/squeeze/kernel" in found else "maxpool",
        digest=digest,
    )
    check_shapes(found, shapes(architecture))
    return architecture


def check_shapes(
    found: Mapping[str, Shape], wanted: Mapping[str, Shape], names: Mapping[str, str] | None = None
) -> None:
    """Demand the same roles and shapes; the error names the layer, the shape found and the shape wanted."""
    for role, shape in wanted.items():
        name = f"{role} ({names[role]})" if names and role in names else role
        if role not in found:
            raise errors.WeightsError(f"{name} is missing, shape {shape} wanted")
        if tuple(found[role]) != shape:
            raise errors.WeightsError(f"{name} has shape {tuple(found[role])}, {shape} wanted")
    extra = sorted(set(found) - set(wanted))
    if extra:
        raise errors.WeightsError(f"{extra[0]} of shape {tuple(found[extra[0]])} found, which this network has not")

"""Read and write weight files: the original program's HDF5 layout, and Keras 3's own files.

The layout is Keras 2's "weights only" HDF5. Its names carry counters that differ from file to file and its order
differs between variants, so a file is read by the rules of `layout`, every shape is checked, and the architecture
comes from the shapes. A file is written with the names and in the order of the original, because Keras 2 loads by
order. Keras 3's `.weights.h5` and `.keras` are read too; nothing that they hold is ever executed.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import tempfile
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from icemapper_xr import errors, whole
from icemapper_xr._types import FloatArray
from icemapper_xr.conventions import Pooling
from icemapper_xr.models import layout
from icemapper_xr.models.layout import Architecture, Shape

if TYPE_CHECKING:
    import h5py
    import keras

__all__ = [
    "Architecture",
    "arrays_of",
    "is_keras3",
    "load_into",
    "read_architecture",
    "read_arrays",
    "read_attrs",
    "sha256",
    "variables",
    "write",
]

KERAS_VERSION: Final = "2.15.0"
"""Written into a file, as the original's Keras does: it selects the rules by which Keras 2 loads it."""
_REMEDY: Final = "name a file of the original program's format, or get a published one with `icemapper weights fetch`"


def sha256(path: Path | str) -> str:
    """SHA-256 of a file, hexadecimal."""
    with _one_line(Path(path)), open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_architecture(path: Path | str) -> Architecture:
    """Read channels, filters, levels and kind of pooling from the shapes in a weights file, and check all shapes.

    Parameters
    ----------
    path
        File in the original's HDF5 layout, or a `.weights.h5` or `.keras` that Keras 3 wrote of our network.

    Raises
    ------
    WeightsError
        If the file is missing, truncated, no HDF5, or of another architecture; the message names the layer, the shape
        found and the shape wanted.
    """
    path = Path(path)
    with _open(path) as file:
        if _is_keras3(file):
            return _keras3_architecture(file, path)
        return layout.architecture_of(_scan(file)[0], digest=sha256(path))


def read_arrays(path: Path | str) -> dict[str, FloatArray]:
    """Read all arrays of a file in the original's layout, by role (`encoder_0/conv_0/kernel`, ...).

    Raises
    ------
    WeightsError
        As `read_architecture`; also if a value is not finite.
    """
    path = Path(path)
    with _open(path) as file:
        if _is_keras3(file):
            raise errors.WeightsError("the file is Keras 3's own: load it into a network with `load_into`")
        found, datasets = _scan(file)
        wanted = layout.shapes(layout.architecture_of(found))
        return {role: _values(datasets[role], role) for role in wanted}


def is_keras3(path: Path | str) -> bool:
    """Whether a file is Keras 3's own (`.weights.h5`, `.keras`), not of the original's layout."""
    with _open(Path(path)) as file:
        return _is_keras3(file)


def arrays_of(model: keras.Model) -> dict[str, FloatArray]:
    """All arrays of a network by role, as `read_arrays` returns them of a file."""
    return {role: _numpy(variable).astype(np.float32) for role, variable in variables(model).items()}


def load_into(model: keras.Model, path: Path | str) -> None:
    """Load a weights file into a network made by `icemapper.build`, checking every shape.

    Raises
    ------
    WeightsError
        As `read_architecture`; also if the file is of another architecture than the network. The network is left as
        it was.
    """
    path = Path(path)
    slots = variables(model)
    with _open(path) as file:
        if _is_keras3(file):
            _load_keras3(model, slots, file, path)
            return
        found, datasets = _scan(file)
        names = {role: dataset.name.lstrip("/") for role, dataset in datasets.items()}
        layout.check_shapes(found, {role: tuple(v.shape) for role, v in slots.items()}, names)
        arrays = {role: _values(dataset, role) for role, dataset in datasets.items()}
    for role, variable in slots.items():
        variable.assign(arrays[role])


def write(model: keras.Model, path: Path | str, *, attrs: Mapping[str, Any] | None = None) -> None:
    """Write a network's weights in the original's layout; Keras 2 loads the file into the original program.

    The file appears whole or not at all. The same weights and attributes give the same bytes.

    Parameters
    ----------
    model
        Network made by `icemapper.build`.
    path
        File to write or replace.
    attrs
        Root attributes for what shapes cannot tell: `features` (sequence of names, stored as a JSON list), `window`
        (pixels), `pixel_size` (metres), `n_steps`, `training` (the training set) and whatever else; numbers and
        strings are stored as they are, None is left out, all else is stored as JSON.

    Raises
    ------
    WeightsError
        If the file cannot be written.
    """
    import h5py

    slots = variables(model)
    architecture = layout.architecture_of({role: tuple(v.shape) for role, v in slots.items()})
    with _replacing(Path(path)) as temporary, h5py.File(temporary, "w") as file:
        file.attrs["layer_names"] = [name.encode() for name in layout.LAYER_NAMES]
        file.attrs["backend"] = b"tensorflow"
        file.attrs["keras_version"] = KERAS_VERSION.encode()
        for name, value in (attrs or {}).items():
            plain = value.tolist() if isinstance(value, np.generic | np.ndarray) else value
            if plain is not None:
                file.attrs[name] = plain if isinstance(plain, str | int | float) else json.dumps(plain)
        for name in ("inputs", "top_level_model_weights"):
            file.create_group(name).attrs["weight_names"] = np.empty(0)
        for group, names in layout.keras2_names(architecture).items():
            target = file.create_group(group)
            target.attrs["weight_names"] = [name.encode() for name in names.values()]
            for role, name in names.items():
                target[name] = np.asarray(_numpy(slots[role]), dtype=np.float32)


def read_attrs(path: Path | str) -> dict[str, Any]:
    """Root attributes of a weights file that Keras itself does not use; JSON lists and objects are parsed."""
    path = Path(path)
    with _open(path) as file:
        own = {k: v for k, v in file.attrs.items() if k not in ("layer_names", "backend", "keras_version")}
        return {name: _plain(value) for name, value in own.items()}


# -- the file ---------------------------------------------------------------------------------------------------------
@contextlib.contextmanager
def _one_line(path: Path) -> Iterator[None]:
    """Turn what can be wrong with a file into one line that names it and the remedy."""
    try:
        yield
    except errors.IcemapperError as error:
        if str(path) in str(error):
            raise
        raise errors.WeightsError(f"weights file {path} does not fit: {error}; {_REMEDY}") from error
    except FileNotFoundError as error:
        raise errors.WeightsError(f"weights file {path} does not exist: {_REMEDY}") from error
    except (AttributeError, OSError, KeyError, RuntimeError, TypeError, ValueError, zipfile.BadZipFile) as error:
        reason = " ".join(str(error).split())
        raise errors.WeightsError(f"weights file {path} cannot be read ({reason}): {_REMEDY}") from error


@contextlib.contextmanager
def _open(path: Path) -> Iterator[h5py.File]:
    """Open the HDF5 file, also the one inside a `.keras` archive."""
    import h5py

    with _one_line(path):
        if not path.is_file():
            reason = "is a folder" if path.is_dir() else "does not exist"
            raise errors.WeightsError(f"weights file {path} {reason}: {_REMEDY}")
        source: Path | io.BytesIO = path
        if zipfile.is_zipfile(path) and not h5py.is_hdf5(path):
            with zipfile.ZipFile(path) as archive:
                source = io.BytesIO(archive.read("model.weights.h5"))
        elif not h5py.is_hdf5(path):
            raise errors.WeightsError(f"weights file {path} is not an HDF5 file (nor a .keras archive): {_REMEDY}")
        with h5py.File(source, "r") as file:
            yield file


def _scan(file: h5py.File) -> tuple[dict[str, Shape], dict[str, h5py.Dataset]]:
    """Shapes and data sets by role; reads no values."""
    groups = [group for group in (layout.ENCODER, layout.DECODER) if group in file]
    if len(groups) < 2:
        raise errors.WeightsError(
            f"groups {layout.ENCODER} and {layout.DECODER} wanted, {sorted(file)[:5] or 'nothing'} found"
        )
    datasets = {group: _datasets(file[group]) for group in groups}
    roles = layout.roles_of_names(datasets)
    by_role = {role: datasets[group][name] for role, (group, name) in roles.items()}
    return {role: tuple(dataset.shape) for role, dataset in by_role.items()}, by_role


def _datasets(group: h5py.Group) -> dict[str, h5py.Dataset]:
    import h5py

    found: dict[str, h5py.Dataset] = {}
    group.visititems(lambda name, item: found.update({name: item}) if isinstance(item, h5py.Dataset) else None)
    return found


def _values(dataset: h5py.Dataset, role: str) -> FloatArray:
    values = np.asarray(dataset[()], dtype=np.float32)
    if not np.isfinite(values).all():
        raise errors.WeightsError(f"{role} ({dataset.name.lstrip('/')}) holds values that are not finite")
    return values


def _plain(value: Any) -> Any:
    """Value of an HDF5 attribute as plain Python."""
    import h5py

    if isinstance(value, h5py.Empty):
        return None
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, list):
        return [_plain(one) for one in value]
    if isinstance(value, bytes):
        value = value.decode()
    if isinstance(value, str) and value[:1] in ("[", "{"):
        with contextlib.suppress(json.JSONDecodeError):
            return json.loads(value)
    return value


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path` that takes its place if the block succeeds."""
    try:
        with whole.appearing(path) as part:
            yield part
    except OSError as error:
        reason = error.strerror or " ".join(str(error).split())
        raise errors.WeightsError(
            f"weights file {path} cannot be written ({reason}): name a file in a folder that is there and has room"
        ) from error


# -- the network ------------------------------------------------------------------------------------------------------
def variables(model: keras.Model) -> dict[str, Any]:
    """Keras variables of a network made by `icemapper.build`, by role."""
    from icemapper_xr.models import icemapper

    units = icemapper.units(model)
    table = {f"head/{v.name}": v for v in units.head.weights}
    for unit in (*units.encoder, *units.pooling, *units.up, *units.decoder):
        # the path ends in the names of the sub-layer and of the variable, whatever the prefix
        table |= {"/".join((unit.name, *v.path.split("/")[-2:])): v for v in unit.weights}
    return table


def _numpy(variable: Any) -> npt.NDArray[Any]:
    from keras import ops

    return np.asarray(ops.convert_to_numpy(variable.value))


# -- Keras 3's own files ----------------------------------------------------------------------------------------------
def _is_keras3(file: h5py.File) -> bool:
    return "layer_names" not in file.attrs and "layers" in file and layout.ENCODER not in file


def _keras3_architecture(file: h5py.File, path: Path) -> Architecture:
    """Architecture from the kernels in Keras 3's layout: only the 3-D ones are needed."""
    kernels = [d.shape for d in _datasets(file["layers"]).values() if d.ndim == 5]
    blocks = sorted((shape for shape in kernels if shape[:3] == (3, 3, 3)), key=lambda shape: (shape[4], shape[3]))
    weighted = any(shape[:3] == (3, 1, 1) for shape in kernels)
    if len(blocks) < 4 or len(blocks) % 2:
        raise errors.WeightsError(f"{len(blocks)} kernels of shape (3, 3, 3, ...) found, two for each level wanted")
    filters = blocks[0][4]
    inputs = [shape[3] for shape in blocks[:2]]
    if filters in inputs:
        inputs.remove(filters)
    pooling: Pooling = "tweightedpool" if weighted else "maxpool"
    architecture = Architecture(inputs[0], filters, len(blocks) // 2 - 1, pooling, sha256(path))
    _check_keras3(file, architecture)
    return architecture


def _check_keras3(file: h5py.File, architecture: Architecture) -> None:
    """Demand the arrays of an architecture; Keras 3's names do not say which is which, so only shapes are compared."""
    found = Counter(tuple(dataset.shape) for dataset in _datasets(file["layers"]).values())
    wanted = Counter(layout.shapes(architecture).values())
    missing = wanted - found
    if missing:
        role = next(role for role, shape in layout.shapes(architecture).items() if shape in missing)
        others = ", ".join(map(str, found - wanted)) or "none"
        raise errors.WeightsError(
            f"an array of shape {next(iter(missing))} wanted ({role} has it), but not enough found; left over: {others}"
        )


def _load_keras3(model: keras.Model, slots: dict[str, Any], file: h5py.File, path: Path) -> None:
    """Load Keras 3's layout by Keras itself; an archive's weights go through a temporary file."""
    found = layout.shapes(_keras3_architecture(file, path))
    layout.check_shapes(found, {role: tuple(v.shape) for role, v in slots.items()})
    before = [_numpy(variable) for variable in slots.values()]
    with tempfile.TemporaryDirectory() as folder:
        source = path
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                source = Path(archive.extract("model.weights.h5", folder))
        elif not path.name.endswith(".weights.h5"):  # Keras insists on the suffix
            source = Path(folder) / "model.weights.h5"
            source.write_bytes(path.read_bytes())
        try:
            model.load_weights(source)
            damaged = next((role for role, variable in slots.items() if not np.isfinite(_numpy(variable)).all()), None)
            if damaged is not None:
                raise errors.WeightsError(f"{damaged} holds values that are not finite")
        except Exception as error:
            for variable, value in zip(slots.values(), before, strict=True):
                variable.assign(value)
            if isinstance(error, errors.WeightsError):
                raise
            reason = errors.one_line(error, most=300)
            raise errors.WeightsError(f"Keras cannot load it into this network ({reason})") from error

"""Tables of results as files that appear in one step, and as text."""

from __future__ import annotations

import csv
import fnmatch
import io
import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from icemapper_xr import addresses, store, vectorise, whole
from icemapper_xr.errors import OptionError, StoreError, not_written
from icemapper_xr.pipeline import tiled

if TYPE_CHECKING:
    import geopandas as gpd
    import pandas as pd

__all__ = [
    "GLACIERS",
    "OUTLINES",
    "SUFFIXES",
    "as_json",
    "check_place",
    "check_target",
    "target",
    "text",
    "write",
    "write_bytes",
]

SUFFIXES: Final = (".csv", ".gpkg", ".json")
_OF_A_MAP: Final = ("run.json", tiled.INDEX, store.POINTER)
"""What tells the folder of a map, beside its cube: settings, tiles, and where the cube lies."""
OUTLINES: Final = "outlines*.gpkg"
GLACIERS: Final = "glaciers.*"
"""Files of a map that its verbs write anew; so are those of its orbits."""
_KEPT: Final = (*_OF_A_MAP, "orbits.*", OUTLINES, GLACIERS)


def target(source: str | Path, out: str | Path | None, name: str) -> Path:
    """Return where a table goes: `out`, or the file `name` in the map's folder (beside a cube that is named itself).

    Raises
    ------
    OptionError
        The suffix is none of .csv, .gpkg, .json, or the file, or the method of a .gpkg, would take the place of
        another table or of one of a map's own files, or nothing can be written there.
    """
    path = addresses.local_path(out) if out is not None else store.folder_of(source) / name
    if path.suffix.lower() not in SUFFIXES:
        raise OptionError(f"the table {path} must end in one of {', '.join(SUFFIXES)}")
    check_target(path)
    beside = path.with_suffix(".json")
    if path.suffix.lower() == ".gpkg" and not _is_method(beside):
        raise OptionError(f"the method of {path} goes to {beside}, which is something else: name another file")
    return path


def check_target(path: Path, *, own: str | None = None) -> None:
    """Refuse, before the work, a file that cannot be written, or whose name the folder of a map keeps for its own.

    Parameters
    ----------
    path
        To be written.
    own
        Of these names, the pattern of those that are right for it: `OUTLINES` or `GLACIERS`.

    Raises
    ------
    OptionError
        The name is kept, or the folder closed.
    """
    kept = any(fnmatch.fnmatchcase(path.name.casefold(), pattern) for pattern in _KEPT if pattern != own)
    if kept and any((path.parent / one).exists() for one in (*_OF_A_MAP, store.CUBE)):
        raise OptionError(f"{path} is a name that the map in {path.parent} keeps for its own files: name another file")
    check_place(path)


def check_place(path: Path) -> None:
    """Refuse, before the work, what is to be written to a place that is closed.

    Raises
    ------
    OptionError
        It lies in no folder that can be written to.
    """
    above = next(one for one in path.absolute().parents if os.path.lexists(one))
    if not (above.is_dir() and os.access(above, os.W_OK | os.X_OK)):
        raise OptionError(f"{path} cannot be written: {above} is no folder that can be written to; name another one")


def _is_method(path: Path) -> bool:
    """Whether a file may be replaced by the method of a table: it is not there, or it is such a method."""
    if not path.exists():
        return True
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and "method" in content and "rows" not in content


def write(
    table: pd.DataFrame,
    path: Path,
    *,
    about: Mapping[str, Any],
    shapes: gpd.GeoDataFrame | None = None,
    key: str = "id",
) -> Path:
    """Write a table; an older file is replaced.

    Parameters
    ----------
    table
        One row a line.
    path
        `.csv` (the method as comment lines before the header), `.gpkg` (one layer, rows with the geometry of their
        glacier; the method in `<name>.json` beside it) or `.json` (`about` and `rows`).
    about
        What has to be known with the numbers: method, notes, settings.
    shapes
        Geometries by index for `.gpkg`; rows without one have none.
    key
        Column of the table that names the geometry.

    Raises
    ------
    StoreError
        The file cannot be written.
    """
    suffix = path.suffix.lower()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if suffix == ".csv":
            _put(path, _csv(table, about).encode())
        elif suffix == ".json":
            rows = json.loads(table.to_json(orient="records", double_precision=12))
            _put(path, as_json({**about, "rows": rows}))
        else:
            _write_gpkg(table, path, shapes, key, as_json(dict(about)))
    except OSError as error:
        raise StoreError(f"cannot write the table {path}: {not_written(error, other='file')}") from error
    return path


def as_json(value: Any) -> bytes:
    """Return a value as JSON, which knows no NaN and no infinity: they are null."""
    return (json.dumps(_finite(value), indent=1, default=str, allow_nan=False) + "\n").encode()


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _csv(table: pd.DataFrame, about: Mapping[str, Any]) -> str:
    told = [(name, line) for name, value in about.items() for line in (value if _many(value) else [value])]
    lines = [f"# {name}: {_one_line(line)}" for name, line in told]
    rows = csv.reader(io.StringIO(table.to_csv(index=False, float_format="%.10g"), newline=""))
    return "\n".join([*lines, *(",".join(map(_field, row)) for row in rows), ""])


def _one_line(value: Any) -> Any:
    """Write a mapping as JSON in one line, as the settings are."""
    return json.dumps(_finite(value), default=str, allow_nan=False) if isinstance(value, Mapping) else value


def _field(value: str) -> str:
    """Put a field in quotes where it needs them: a # in a name would else be read as the begin of a comment."""
    return '"' + value.replace('"', '""') + '"' if set(value) & set('#,"\r\n') else value


def _many(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _write_gpkg(table: pd.DataFrame, target: Path, shapes: gpd.GeoDataFrame | None, key: str, about: bytes) -> None:
    """Write the layer and the method beside it: the table appears if both could be written."""
    import geopandas as gpd

    crs = 4326 if shapes is None else shapes.crs
    known = {} if shapes is None else dict(zip(shapes.index, shapes.geometry, strict=True))
    frame = gpd.GeoDataFrame(table, geometry=[known.get(name) for name in table[key]], crs=crs).to_crs(4326)
    whole_or_cut = vectorise.cut_at_antimeridian(np.asarray(frame.geometry.values, dtype=object))
    frame = frame.set_geometry(whole_or_cut, crs=4326)
    with whole.appearing(target) as part:
        whole.write_layer(frame, part, driver="GPKG", layer=target.stem, geometry_type="Unknown")
        write_bytes(target.with_suffix(".json"), about)


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file that appears in one step.

    Raises
    ------
    StoreError
        The file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _put(path, content)
    except OSError as error:
        raise StoreError(f"cannot write {path}: {not_written(error, other='file')}") from error


def _put(path: Path, content: bytes) -> None:
    with whole.appearing(path) as part:
        part.write_bytes(content)


def text(rows: Sequence[Sequence[Any]], header: Sequence[str]) -> str:
    """Set rows in columns, numbers to the right."""
    cells = [[str(name) for name in header], *[[_cell(value) for value in row] for row in rows]]
    widths = [max(len(line[k]) for line in cells) for k in range(len(header))]
    left = [all(not isinstance(row[k], int | float) for row in rows) for k in range(len(header))]
    return "\n".join(
        "  ".join(c.ljust(w) if flag else c.rjust(w) for c, w, flag in zip(line, widths, left, strict=True)).rstrip()
        for line in cells
    )


def _cell(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.3f}" if isinstance(value, float) else str(value)

"""Files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import glob
import re
import secrets
import shutil
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import geopandas as gpd

__all__ = ["appearing", "sweep_folders", "write_layer"]

_OF_SQLITE: Final = ("-wal", "-shm", "-journal")
"""What SQLite keeps beside a file that is open."""
_ABANDONED: Final = 24 * 3600.0
"""Seconds after which nobody writes to a hidden file any more."""
_READ_BACK: Final = ("GeoJSON", "ESRI Shapefile")
"""Formats whose end is written when GDAL closes the file; of a GeoPackage only the spatial index is."""


@contextlib.contextmanager
def appearing(path: Path) -> Iterator[Path]:
    """Yield a hidden path beside `path` to write to, which takes the place of `path` if the block succeeds.

    Else nothing is left of it, and what was at `path` stays. Its suffix is that of `path`, from which GDAL knows a
    format; no other process or thread has the same name. What a killed process left of the same file goes after a day.
    """
    _sweep(path)
    part = path.with_name(f".{path.stem}.{secrets.token_hex(4)}.part{path.suffix}")
    try:
        yield part
        if path.suffix.lower() == ".gpkg":
            for trace in _OF_SQLITE:  # of the old file, in another program; SQLite would write them into the new one
                path.with_name(path.name + trace).unlink(missing_ok=True)
        part.replace(path)
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def _abandoned(part: Path) -> bool:
    """Whether nobody has written to what is hidden for a day: its process was killed."""
    try:
        return time.time() - part.stat().st_mtime > _ABANDONED
    except OSError:  # gone in the meantime
        return False


def _sweep(path: Path) -> None:
    """Remove what processes that were killed long ago left half written of a file."""
    pattern = f".{glob.escape(path.stem)}.{'[0-9a-f]' * 8}.part{glob.escape(path.suffix)}"
    with contextlib.suppress(OSError):  # it is no matter if one stays
        for part in filter(_abandoned, path.parent.glob(pattern)):
            part.unlink()


def sweep_folders(folder: Path, suffix: str) -> None:
    """Remove what processes that were killed long ago left half written of a folder, under hidden names."""
    for part in filter(_abandoned, folder.parent.glob(f".{glob.escape(folder.name)}.????????{suffix}")):
        shutil.rmtree(part, ignore_errors=True)


def write_layer(frame: gpd.GeoDataFrame, path: Path, *, driver: str, **options: Any) -> None:
    """Write a table of shapes with pyogrio.

    Parameters
    ----------
    frame
        To write.
    path
        File that is not there yet.
    driver
        Of GDAL.
    **options
        As `GeoDataFrame.to_file` takes them with pyogrio.

    Raises
    ------
    OSError
        It cannot be written, or does not read back as it was written.
    """
    import pyogrio.errors

    try:
        frame.to_file(path, driver=driver, index=False, engine="pyogrio", **options)
        # pyogrio does not tell if the disk was full when GDAL closed the file
        if driver == "GPKG" and not _is_indexed(path):
            _tell_missing_index()
        if driver in _READ_BACK and _shapes(pyogrio.read_dataframe(path, columns=[])) != _shapes(frame):
            raise OSError("it does not read back as it was written")
    except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError) as error:
        reason = re.sub(r"sqlite3_exec\(.*\) failed: ", "", " ".join(str(error).split()))
        raise OSError(reason) from error


def _is_indexed(source: Path | str) -> bool:
    import pyogrio

    return bool(pyogrio.read_info(source)["capabilities"]["fast_spatial_filter"])


def _tell_missing_index() -> None:
    """Tell a full disk from a GDAL that makes no index of anything here: TensorFlow lent it another SQLite."""
    import geopandas as gpd
    import pyogrio

    path = f"/vsimem/{secrets.token_hex(4)}.gpkg"
    try:
        gpd.GeoDataFrame(geometry=gpd.points_from_xy([0], [0], crs=4326)).to_file(path, driver="GPKG", engine="pyogrio")
        if _is_indexed(path):
            raise OSError("there was no room for its spatial index")
    finally:
        pyogrio.vsi_unlink(path)
    warnings.warn(
        "layers that this process writes have no spatial index, as tensorflow was imported before pyogrio: import "
        "pyogrio first (icemapper_xr.models does) and write them anew",
        UserWarning,
        stacklevel=4,
    )


def _shapes(frame: gpd.GeoDataFrame) -> tuple[int, int]:
    return len(frame), int((frame.geometry.isna() | frame.geometry.is_empty).sum())

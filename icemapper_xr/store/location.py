"""Where a store is: the only module that knows local paths from URLs."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zarr.storage import LocalStore

from icemapper_xr import addresses, errors

if TYPE_CHECKING:
    from zarr.abc.store import Store
    from zarr.core.buffer import Buffer

__all__ = ["AtomicStore", "Location"]

PARTIAL = ".partial"
_CLIENTS = ("botocore", "aiobotocore", "aiohttp", "s3fs", "gcsfs", "adlfs", "azure", "google")
"""Modules whose errors are not those of Python."""


class AtomicStore(LocalStore):
    """A local zarr store in which a key is either absent, old or new, never half written.

    zarr's own store writes in place before 3.1; and where it does rename, the data may still be in the page cache
    when the machine goes down. Synchronising costs milliseconds for a unit that took seconds at least.
    """

    async def set(self, key: str, value: Buffer) -> None:
        """Write `value` beside its place, synchronise, and rename."""
        await asyncio.to_thread(replace_file, self.root / key, value.to_bytes())


def replace_file(path: Path, content: bytes, *, synchronise: bool = True) -> None:
    """Put `content` at `path` in one step; on failure the old file, if any, stays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}{PARTIAL}")
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            if synchronise:
                os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise


@dataclass(frozen=True)
class Location:
    """A folder on this machine, or a URL that fsspec understands (`s3://`, `memory://`)."""

    url: str
    """Absolute path, or URL without a trailing slash."""

    @classmethod
    def parse(cls, path: str | os.PathLike[str]) -> Location:
        """Make a location of what the user wrote.

        Raises
        ------
        StoreError
            If the path is empty.
        """
        text = os.fspath(path)
        if not text:
            raise errors.StoreError("The output has an empty name: give a folder, for example svalbard.zarr")
        if addresses.scheme(text) not in ("", "file"):
            return cls(addresses.unfolded(text).rstrip("/"))
        local = addresses.local_path(text).absolute()
        # A store is replaced by renaming, which would take a link's name from it, and leave what it leads to.
        return cls(str(local.resolve() if os.path.islink(local) else local))

    @property
    def local(self) -> Path | None:
        """The folder, or None for a URL."""
        return None if "://" in self.url else Path(self.url)

    def sibling(self, suffix: str) -> Location:
        """Return the hidden neighbour `.<name><suffix>`."""
        if self.local is None:
            parent, _, name = self.url.rpartition("/")
            return Location(f"{parent}/.{name}{suffix}")
        path = Path(self.url)
        return Location(str(path.with_name(f".{path.name}{suffix}")))

    def below(self, name: str) -> Location:
        """Return the folder or file `name` in this one."""
        return Location(f"{self.url}/{name}")

    def zarr_store(self, *, read_only: bool = False) -> Store:
        """Open the zarr store; the caller need not close it."""
        if self.local is not None:
            return AtomicStore(self.local, read_only=read_only)
        from zarr.storage import FsspecStore

        return FsspecStore.from_url(self.url, read_only=read_only)

    @contextlib.contextmanager
    def plainly(self) -> Iterator[None]:
        """Turn what the libraries of object stores raise into a line that the user can do something with.

        Raises
        ------
        StoreError
            There is no library for the URL, no account, no right, no bucket, or no answer.
        """
        try:
            yield
        except ImportError as error:
            if self.local is not None:
                raise
            scheme = self.url.partition("://")[0]
            raise errors.StoreError(
                f"{self.url} needs a library for {scheme}:// ({error}): install icemapper-xr[s3], or that library"
            ) from error
        except PermissionError as error:
            if self.local is not None:
                raise
            raise errors.StoreError(
                f"{self.url}: access denied ({errors.first_line(error)}): check the account and its rights to list, "
                "read and write there"
            ) from error
        except FileNotFoundError as error:
            if self.local is not None:
                raise
            raise errors.StoreError(
                f"{self.url} cannot be written to ({errors.first_line(error)}): make the bucket first"
            ) from error
        except Exception as error:
            if self.local is not None or not type(error).__module__.startswith(_CLIENTS):
                raise
            raise errors.StoreError(
                f"{self.url} cannot be reached ({errors.first_line(error)}): check the account (AWS_ACCESS_KEY_ID, "
                "AWS_SECRET_ACCESS_KEY), the address (AWS_ENDPOINT_URL) and the network"
            ) from error

    def kind(self) -> str:
        """Tell what is there: 'absent', 'empty', 'file', 'store' (any zarr v3 group) or 'other'.

        Raises
        ------
        StoreError
            The rights of the folders above it do not let this be told.
        """
        if self.local is not None:
            try:
                self.local.stat()
            except (FileNotFoundError, NotADirectoryError):
                return "absent"
            except PermissionError as error:
                raise errors.StoreError(
                    f"{self.local} cannot be looked at ({error.strerror}): mend the rights of the folders above it"
                ) from error
        filesystem, root = self._filesystem()
        filesystem.invalidate_cache()
        if not filesystem.exists(root):
            return "absent"
        if not filesystem.isdir(root):
            return "file"
        if filesystem.exists(f"{root}/zarr.json"):
            return "store"
        return "other" if filesystem.ls(root, detail=False) else "empty"

    def keys(self, prefix: str) -> Iterator[str]:
        """Iterate over the keys of all files below `prefix`."""
        if self.local is not None:  # os.walk is ten times as fast as fsspec's local `find`
            for folder, _, names in os.walk(self.local / prefix):
                relative = Path(folder).relative_to(self.local).as_posix()
                yield from (f"{relative}/{name}" for name in names)
            return
        filesystem, root = self._filesystem()
        filesystem.invalidate_cache()
        with contextlib.suppress(FileNotFoundError):
            yield from (path.split(root.lstrip("/") + "/", 1)[-1] for path in filesystem.find(f"{root}/{prefix}"))

    def folders(self) -> list[str]:
        """Return the names of the folders in this one."""
        filesystem, root = self._filesystem()
        filesystem.invalidate_cache()
        try:
            found = filesystem.ls(root, detail=True)
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted(row["name"].rstrip("/").rpartition("/")[2] for row in found if row["type"] == "directory")

    def sizes(self) -> tuple[int, int]:
        """Count all files, and their bytes."""
        if self.local is not None:
            found = []
            for path in self.local.rglob("*"):
                with contextlib.suppress(OSError):  # gone in the meantime
                    found += [path.stat().st_size] if path.is_file() else []
            return len(found), sum(found)
        filesystem, root = self._filesystem()
        filesystem.invalidate_cache()
        rows = filesystem.find(root, detail=True).values()
        return len(rows), sum(int(row["size"]) for row in rows)

    def put_file(self, key: str, content: bytes) -> None:
        """Write a file in one step; it need not survive a fall of the machine."""
        if self.local is not None:
            replace_file(self.local / key, content, synchronise=False)
            return
        filesystem, root = self._filesystem()
        filesystem.pipe_file(f"{root}/{key}", content)

    def get_file(self, key: str) -> bytes | None:
        """Read a file; None if there is none."""
        try:
            if self.local is not None:
                return (self.local / key).read_bytes()
            filesystem, root = self._filesystem()
            return bytes(filesystem.cat_file(f"{root}/{key}"))
        except FileNotFoundError:
            return None

    def drop_files(self, keys: Iterable[str]) -> None:
        """Remove files; those that are gone already are no error."""
        for key in keys:
            with contextlib.suppress(FileNotFoundError):
                if self.local is not None:
                    (self.local / key).unlink()
                else:
                    filesystem, root = self._filesystem()
                    filesystem.rm_file(f"{root}/{key}")

    def delete(self, keys: Iterator[str] | None = None) -> None:
        """Remove the whole store, or only some of its keys."""
        if keys is None and self.local is not None:
            shutil.rmtree(self.local)
            return
        filesystem, root = self._filesystem()
        if keys is None:
            filesystem.rm(root, recursive=True)
            return
        paths = [f"{root}/{key}" for key in keys]
        if paths:
            filesystem.rm(paths)

    def sweep(self) -> None:
        """Remove what writers that were killed left half written (local stores only; call it under the lock)."""
        if self.local is None:
            return
        for path in self.local.rglob(f"*{PARTIAL}"):
            path.unlink(missing_ok=True)

    def create(self, content: bytes) -> bool:
        """Put a small object where there is none, in one step; False if there is one (URLs only)."""
        filesystem, path = self._filesystem()
        try:
            filesystem.pipe_file(path, content, mode="create")
        except FileExistsError:
            return False
        return True

    def read(self) -> bytes | None:
        """Read a small object; None if there is none (URLs only)."""
        filesystem, path = self._filesystem()
        try:
            return bytes(filesystem.cat_file(path))
        except FileNotFoundError:
            return None

    def put(self, content: bytes) -> None:
        """Put a small object in place of what is there (URLs only)."""
        filesystem, path = self._filesystem()
        filesystem.pipe_file(path, content)

    def _filesystem(self) -> tuple[Any, str]:
        import fsspec  # type: ignore[import-untyped]

        try:
            filesystem, root = fsspec.core.url_to_fs(self.url)
        except ValueError as error:  # of an unknown scheme; what is missing for a known one is an ImportError
            raise errors.StoreError(
                f"{self.url} is no place for a store ({error}): name a folder, or s3://..."
            ) from error
        return filesystem, str(root).rstrip("/")

    def __str__(self) -> str:
        return self.url

"""`icemapper simulate`: a folder with a simulated Sentinel-1 archive, its catalogue and its truth."""

from __future__ import annotations

import math
import os
import secrets
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from icemapper_xr import addresses, conventions, errors, progress, vectorise, whole
from icemapper_xr.conventions import Feature
from icemapper_xr.simulate import places, scenes, worlds, write
from icemapper_xr.simulate.settings import SceneSettings

__all__ = ["SimulationReport", "simulate"]


@dataclass(frozen=True)
class SimulationReport:
    """What was simulated."""

    out: Path
    """Folder with the rasters; it is a catalogue."""
    settings: SceneSettings
    areas_km2: dict[int, float]
    """True glacier area by year, geodesic."""

    @property
    def rate_km2(self) -> float | None:
        """True rate of change, km2 a year, by least squares; None of a single year."""
        if len(self.areas_km2) < 2:
            return None
        return float(np.polyfit(list(self.areas_km2), list(self.areas_km2.values()), 1)[0])

    def table(self) -> str:
        """Text with a line a year."""
        rows, columns = self.settings.shape
        lines = [f"{year}   {area:9.3f} km2 of glacier" for year, area in self.areas_km2.items()]
        if self.rate_km2 is not None:
            lines.append(f"rate   {self.rate_km2:+9.4f} km2 a year")
        lines.append(f"{rows} x {columns} pixels of {self.settings.resolution:g} m, EPSG:{self.settings.epsg}")
        lines.append(f"catalogue  {self.out}")
        lines.append(f"truth      {self.out / write.TRUTH}")
        return "\n".join(lines)


def simulate(
    out: str | os.PathLike[str],
    *,
    seed: int = 1,
    size: int = 1000,
    years: Sequence[int] = (2023,),
    world: str = "polar",
    retreat: float = 6.0,
    glacier_share: float | None = None,
    features: Sequence[Feature] = ("rtc", "insar"),
    polarisation: str = "HH",
    orbit: int = 14,
    orbit_state: str = "ascending",
    resolution: float = conventions.PIXEL_SIZE,
    looks: float | None = None,
    posting: int = 1,
    dem: str | os.PathLike[str] | None = None,
    outlines: str | os.PathLike[str] | None = None,
    bounds: tuple[float, float, float, float] | None = None,
) -> SimulationReport:
    """Simulate Sentinel-1 years and write them as an archive: COGs, a STAC catalogue, and the truth beside them.

    Parameters
    ----------
    out
        Folder to write; it must not exist yet, or be empty. It appears whole or not at all.
    seed, size, years, world, retreat, glacier_share, features, resolution, looks, posting
        As in `SceneSettings`; `size` is the number of rows and of columns (over a DEM its extent or `bounds` say it).
    polarisation, orbit, orbit_state
        Of the passes.
    dem, outlines
        Real terrain and real glaciers instead of drawn ones (see `scene_of`); both or none.
    bounds
        Part of the DEM, in its CRS.

    Returns
    -------
    SimulationReport

    Raises
    ------
    icemapper_xr.errors.OptionError
        A value is out of range, or a file cannot be used.
    icemapper_xr.errors.StoreError
        The folder holds something already, or cannot be written.
    """
    settings = SceneSettings(
        seed=seed,
        shape=(size, size),
        world=world,
        resolution=resolution,
        left=_snap(520_000.0, resolution),
        top=_snap(8_690_000.0, resolution),
        years=tuple(years),
        relative_orbit=orbit,
        orbit_state=orbit_state,
        polarisation=polarisation,
        retreat=retreat,
        glacier_share=glacier_share,
        looks=looks,
        posting=posting,
        features=conventions.listed(features),
    )
    if glacier_share is not None and world not in worlds.GLACIATED:
        raise errors.OptionError(f"glacier_share is {glacier_share}, but world {world!r} has no glaciers; leave it out")
    if dem is not None and glacier_share is not None:
        raise errors.OptionError(f"glacier_share is {glacier_share}, but the outlines say where ice is; leave it out")
    if (dem is None) != (outlines is None):
        lacking = "outlines" if outlines is None else "dem"
        raise errors.OptionError(
            f"{lacking} is missing: real ground takes both, a DEM and the outlines of its glaciers"
        )
    if bounds is not None and dem is None:
        raise errors.OptionError(f"bounds is {bounds} but there is no DEM to cut; name one, or leave bounds out")
    target = _empty(addresses.local_path(out))
    progress.note("making the landscape")
    if dem is not None and outlines is not None:
        scene = places.scene_of(dem, outlines, bounds=bounds, settings=settings)
    else:
        scene = scenes.scene(settings)
    written = _write_whole(scene, target)
    truth = vectorise.read(written / write.TRUTH / "truth.gpkg")
    areas = {year: float(truth.loc[truth["year"] == year, "area_km2"].sum()) for year in scene.settings.years}
    return SimulationReport(target, scene.settings, areas)


def _snap(edge: float, resolution: float) -> float:
    """Round an edge to a multiple of the resolution; `SceneSettings` refuses one that is none."""
    return round(edge / resolution) * resolution if math.isfinite(resolution) and resolution else edge


def _empty(folder: Path) -> Path:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise errors.StoreError(f"{folder} is there already and is not empty; name another folder, or remove it")
    above = next(parent for parent in folder.absolute().parents if parent.exists())
    if not (above.is_dir() and os.access(above, os.W_OK)):
        reason = "cannot be written to" if above.is_dir() else "is a file"
        raise errors.StoreError(f"{folder} cannot be made: {above} {reason}; name another folder")
    return folder


def _write_whole(scene: scenes.Scene, target: Path) -> Path:
    """Write beside the target under a hidden name, then rename: half an archive would look like a whole one.

    No other process has that name, so that two that write one target do not mix. Returns the absolute path of the
    target: where that is the working folder, a relative one leads nowhere any more.
    """
    target = target.absolute()
    part = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    whole.sweep_folders(target, ".part")
    try:
        write.write_catalog(scene, part)
        if _empty(target).is_dir():  # another run may have been faster
            target.rmdir()
        part.rename(target)
    except OSError as error:
        raise errors.StoreError(f"Cannot write {target}: {errors.not_written(error, other='folder')}") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return target

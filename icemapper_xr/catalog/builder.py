"""Index a folder of GeoTIFFs: names, tags and side-cars become STAC items."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from icemapper_xr import addresses, pixels, progress
from icemapper_xr._types import Observation
from icemapper_xr.catalog import evidence, files, items, names, observe, orbits, raster, result
from icemapper_xr.catalog.facts import POLARISATIONS
from icemapper_xr.errors import CatalogError

if TYPE_CHECKING:
    import pystac

__all__ = ["OUTPUT_TAG", "BuildReport", "build"]

OUTPUT_TAG: Final = "ICEMAPPER_OUTPUT"
"""A GeoTIFF with this tag is a result of ours, never an observation."""

_SKIPPED_FOLDERS: Final = ("truth",)


@dataclass(frozen=True, repr=False)
class BuildReport:
    """What `build` found and wrote."""

    items: list[pystac.Item]
    """In the order of time, then of id; hrefs absolute."""
    observations: tuple[Observation, ...]
    paths: tuple[Path, ...]
    """The index files written."""
    superseded: int = 0
    """Files left out because a newer processing of the same burst and date is there."""
    ignored: Mapping[Path, str] = dataclasses.field(default_factory=dict)
    """Files that are no observations, with the reason."""
    skipped: Mapping[Path, str] = dataclasses.field(default_factory=dict)
    """Files that cannot be read, with the reason (`skip_bad`)."""
    source: str = ""

    def __len__(self) -> int:
        """Count the items."""
        return len(self.items)

    def table(self) -> str:
        """Return a summary as text: dates by feature, orbit, platform and polarisation; then what was left out."""
        lines = [result.table(self.observations)]
        if self.superseded:
            lines.append(f"{self.superseded} files are superseded by a newer processing")
        for files_, what in ((self.ignored, "left out"), (self.skipped, "unreadable")):
            if files_:
                path, reason = next(iter(files_.items()))
                lines.append(f"{len(files_)} files {what}, e.g. {path.name}: {reason}")
        return "\n".join(lines)

    def __repr__(self) -> str:
        head = f"<BuildReport: {len(self.items)} items, {len(self.observations)} observations in {self.source}>"
        return f"{head}\n{self.table()}"


def build(
    folder: str | Path,
    *,
    feature: str | None = None,
    quantity: str | None = None,
    scale: str | None = None,
    polarisation: str | None = None,
    relative_orbit: int | None = None,
    orbit_state: str | None = None,
    platform: str | None = None,
    mode: str | None = None,
    recursive: bool = True,
    out: str | Path | None = None,
    skip_bad: bool = False,
) -> BuildReport:
    """Index the GeoTIFFs of a folder as an item collection and as stac-geoparquet.

    Names of OPERA RTC-S1, HyP3 RTC and HyP3 InSAR are understood, and plain names with a date; GeoTIFF tags
    `ICEMAPPER_*` override the name, the options here fill what neither tells. Of several processings of an OPERA burst
    the newest counts. A second run writes the same bytes.

    Parameters
    ----------
    folder : str or Path
    feature : {'grd', 'rtc', 'insar'}, optional
    quantity : {'gamma0', 'sigma0', 'beta0', 'coherence', 'digital_number'}, optional
    scale : {'power', 'amplitude', 'dB', '1'}, optional
    polarisation : {'VV', 'VH', 'HH', 'HV'}, optional
    relative_orbit : int, optional
        1..175.
    orbit_state : {'ascending', 'descending'}, optional
    platform : {'S1A', 'S1B', 'S1C', 'S1D'}, optional
    mode : {'IW', 'EW', 'SM', 'WV'}, optional
    recursive : bool
        Whether to look into subfolders (never into `truth` and hidden ones).
    out : str or Path, optional
        Folder for `items.json` and `items.parquet`, made if need be, or one file with such a suffix; None is `folder`
        itself. Hrefs are relative to it.
    skip_bad : bool
        Leave out files that cannot be read, and list them in the report, instead of failing.

    Returns
    -------
    BuildReport

    Raises
    ------
    CatalogError
        No such folder; a file is damaged; nothing in it can be used; an option is wrong.
    """
    folder = addresses.local_path(folder).absolute()
    if not folder.is_dir():
        raise CatalogError(f"{folder} is not a folder: name the folder that holds the GeoTIFFs")
    options = evidence.check_options(
        {
            "feature": feature,
            "quantity": quantity,
            "scale": scale,
            "polarisation": polarisation,
            "relative_orbit": relative_orbit,
            "orbit_state": orbit_state,
            "platform": platform,
            "mode": mode,
        }
    )
    targets = _targets(folder, out)
    ignored: dict[Path, str] = {}
    skipped: dict[Path, str] = {}
    found = list(_describe_all(folder, recursive, options, ignored, skipped, skip_bad))
    if not found:
        raise CatalogError(_nothing(folder, ignored, skipped))
    newest = _newest(found)
    made = _group(newest, folder)
    targets[0].parent.mkdir(parents=True, exist_ok=True)
    for target in reversed(targets):
        files.write(target, made, relative_to=target.parent)
    for path, reason in ignored.items():
        progress.note(f"left out {path.name}: {reason}")
    flat = tuple(one for item in made for one in observe.observations(item, source=str(targets[0])))
    return BuildReport(made, flat, targets, len(found) - len(newest), ignored, skipped, str(folder))


def _targets(folder: Path, out: str | Path | None) -> tuple[Path, ...]:
    place = folder if out is None else addresses.local_path(out).absolute()
    if place.suffix.lower() in files.SUFFIXES:
        return (place,)
    if place.exists() and not place.is_dir():
        raise CatalogError(f"{place} is a file: name a folder, or a .json or .parquet file")
    return (place / files.INDEX_JSON, place / files.INDEX_PARQUET)


def _tiffs(folder: Path, recursive: bool) -> list[Path]:
    """GeoTIFFs of a folder; zarr stores, hidden folders and truths are not even looked into."""
    found = []
    seen: set[str] = set()
    for place, folders, names_here in os.walk(folder, followlinks=True):
        if (real := os.path.realpath(place)) in seen:  # a link back up
            folders[:] = []
            continue
        seen.add(real)
        folders[:] = [
            name for name in folders if not (name.startswith(".") or name.endswith(".zarr") or name in _SKIPPED_FOLDERS)
        ]
        tiffs = (name for name in names_here if name.lower().endswith((".tif", ".tiff")) and not name.startswith("."))
        found += [Path(place, name) for name in tiffs]
        if not recursive:
            break
    return sorted(found)


def _describe_all(
    folder: Path,
    recursive: bool,
    options: Mapping[str, Any],
    ignored: dict[Path, str],
    skipped: dict[Path, str],
    skip_bad: bool,
) -> Iterator[items.Described]:
    for path in progress.track(_tiffs(folder, recursive), f"Indexing {folder.name}"):
        if names.is_companion(path.name):
            ignored[path] = "a side product"
            continue
        try:
            header = raster.open_raster(path)
            yield from _describe(path, header, options, ignored)
        except CatalogError as error:
            if not skip_bad:
                raise CatalogError(f"{error} (or leave it out with --skip-bad)") from error
            skipped[path] = str(error)


def _describe(
    path: Path, header: raster.Raster, options: Mapping[str, Any], ignored: dict[Path, str]
) -> Iterator[items.Described]:
    """Gather the facts of one file: name, side-cars, tags, options; the later fill or override the earlier."""
    if OUTPUT_TAG in header.tags:
        ignored[path] = "a result of icemapper"
        return
    facts = names.parse(path.as_posix()) or names.Facts(group=path.stem)
    facts = evidence.from_sidecars(facts, path)
    facts = evidence.fill(evidence.from_tags(facts, header.tags, path), options)
    if not header.geocoded:
        # Control points only: as far as anyone can tell these are raw digital numbers, unless something says otherwise.
        quantity = "digital_number" if facts.quantity == "unknown" else facts.quantity
        scale = "amplitude" if quantity == "digital_number" and facts.scale == "unknown" else facts.scale
        facts = dataclasses.replace(facts, geocoded=False, quantity=quantity, scale=scale)
    if facts.when is None:
        ignored[path] = "no date in its name or tags"
        return
    if facts.feature is None:
        ignored[path] = "neither its name nor its tags say grd, rtc or insar: give --feature"
        return
    two = names.polarisations(path.stem)
    if len(header.bands) == 1 and len(two) > 1 and "ICEMAPPER_POLARISATION" not in header.tags:
        described = header.bands[0].upper()
        if described not in POLARISATIONS:
            ignored[path] = (
                f"its name tells {' and '.join(two)}, of which a ratio may be made: name one, describe the band as it, "
                "or tell it by the tag ICEMAPPER_POLARISATION"
            )
            return
        facts = dataclasses.replace(facts, polarisation=described)
    if header.footprint is None:
        raise CatalogError(
            f"{path} does not say where it lies, by a CRS with a geotransform or by control points: assign them "
            "(gdal_edit.py -a_srs, -a_ullr) or remove it"
        )
    if facts.relative_orbit is not None:
        try:
            orbits.checked(facts.relative_orbit)
        except ValueError as error:
            raise CatalogError(
                f"{path}: relative orbit {facts.relative_orbit} in its name is {error}: rename it, or tell the orbit "
                "by the tag ICEMAPPER_RELATIVE_ORBIT"
            ) from error
    if facts.feature == "insar" and not header.dtype.startswith("float"):
        raise CatalogError(
            f"{path} has coherence as {header.dtype}, which cannot hold 0 to 1: convert it to float32 "
            "(gdal_calc.py, percent divided by 100) or remove it"
        )
    _check_grid(path, header)
    for band, polarisation in _bands(path, header, facts):
        _check_unscaled(path, header, band)
        yield items.Described(dataclasses.replace(facts, polarisation=polarisation), header, band)


def _check_grid(path: Path, header: raster.Raster) -> None:
    """Refuse what would be refused when it is read, months of downloads later."""
    if header.dtype.startswith("complex"):
        raise CatalogError(f"{path} has complex numbers: make backscatter or coherence of them, or remove it")
    if header.transform is None:
        return
    if not pixels.are_square(header.transform):
        a, b, _, d, e, _ = header.transform
        raise CatalogError(
            f"{path} is not a north-up grid of square pixels (geotransform {a:g} {b:g}, {d:g} {e:g}): warp it to one "
            "(gdalwarp -tr), or remove it"
        )


def _check_unscaled(path: Path, header: raster.Raster, band: int) -> None:
    """Likewise of numbers that are not the values."""
    scale, offset = header.factors[band - 1]
    if (scale, offset) != (1, 0):
        raise CatalogError(
            f"{path} says that the values of band {band} are to be multiplied by {scale:g} and {offset:g} added, which "
            "is not done here: write the values themselves with `gdal_translate -unscale -ot Float32 IN OUT`, or "
            "remove it"
        )


def _bands(path: Path, header: raster.Raster, facts: names.Facts) -> list[tuple[int, str | None]]:
    """Bands of a file with the polarisation of each; a file of several bands must name them."""
    if len(header.bands) == 1:
        return [(1, facts.polarisation)]
    named = [(number, text.upper()) for number, text in enumerate(header.bands, 1) if text.upper() in POLARISATIONS]
    if not named:
        raise CatalogError(
            f"{path} has {len(header.bands)} bands and does not say what they are: describe them as VV, VH, HH or HV "
            "(gdal_edit.py, rasterio's set_band_description), or split the file"
        )
    return [(number, text) for number, text in named]


def _newest(found: Sequence[items.Described]) -> list[items.Described]:
    """Of several processings of one burst, date, platform and polarisation keep the newest."""
    latest: dict[tuple[object, ...], Any] = {}
    for one in found:
        if one.facts.burst and one.facts.processed and one.facts.acquired:
            key = _burst_key(one)
            latest[key] = max(latest.get(key, one.facts.processed), one.facts.processed)
    return [one for one in found if latest.get(_burst_key(one), one.facts.processed) == one.facts.processed]


def _burst_key(one: items.Described) -> tuple[object, ...]:
    facts = one.facts
    day = facts.acquired.date() if facts.acquired else None
    return facts.feature, facts.burst, day, facts.platform, facts.polarisation


def _group(found: Sequence[items.Described], folder: Path) -> list[pystac.Item]:
    """Put the polarisations of one acquisition into one item, with ids that are unique in the folder."""
    groups: dict[tuple[Path, str, str], dict[str | None, items.Described]] = {}
    for one in found:
        number = 1
        key = (one.raster.path.parent, one.facts.group, one.facts.feature or "")
        while one.facts.polarisation in groups.setdefault(key, {}):
            number += 1
            key = (key[0], f"{one.facts.group}-{number}", key[2])
        groups[key][one.facts.polarisation] = one
    ids = [key[1] for key in groups]
    made = []
    for (parent, group, feature), members in groups.items():
        item_id = group
        if ids.count(group) > 1:
            where = "-".join(parent.relative_to(folder).parts)
            same = [key for key in groups if key[0] == parent and key[1] == group]
            item_id = "_".join(part for part in (where, group, feature if len(same) > 1 else "") if part)
        made.append(items.make_item(item_id, list(members.values())))
    return sorted(made, key=lambda item: (str(item.datetime), item.id))


def _nothing(folder: Path, ignored: Mapping[Path, str], skipped: Mapping[Path, str]) -> str:
    if not ignored and not skipped:
        return f"{folder} holds no GeoTIFF (.tif, .tiff); names understood: {names.understood()}"
    path, reason = next(iter({**ignored, **skipped}.items()))
    count = len(ignored) + len(skipped)
    return (
        f"none of the {count} GeoTIFFs in {folder} can be used, e.g. {path.name}: {reason}; "
        f"names understood: {names.understood()}"
    )

"""An inventory as a folder of files: written in one step, and read back to be checked."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from icemapper_xr import whole
from icemapper_xr.errors import StoreError, VectorError, not_written
from icemapper_xr.inventory import products, schema

if TYPE_CHECKING:
    import geopandas as gpd
    import pandas as pd

__all__ = ["PROVENANCE", "is_package", "read_facts", "write_glims", "write_rgi"]

PROVENANCE: Final = "provenance.json"
SCENES: Final = "scenes.csv"


def is_package(path: Path) -> bool:
    """Tell whether a folder holds a package of ours."""
    return (path / PROVENANCE).is_file()


def read_facts(path: Path) -> dict[str, Any]:
    """Read what a package says of itself.

    Raises
    ------
    StoreError
        If it cannot be read.
    """
    try:
        found = json.loads((path / PROVENANCE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StoreError(f"Cannot read {path / PROVENANCE}: {error}; export the package again") from error
    if not isinstance(found, dict):
        raise StoreError(f"{path / PROVENANCE} is not ours: export the package again")
    return found


def write_rgi(
    folder: Path,
    *,
    product: gpd.GeoDataFrame,
    glaciers: gpd.GeoDataFrame,
    bands: pd.DataFrame,
    facts: products.Facts,
    links: pd.DataFrame | None,
    provenance: Mapping[str, Any],
) -> Path:
    """Write the glacier, complex and intersects products with all that goes with them.

    Parameters
    ----------
    folder
        To write; an older package of ours there is replaced.
    product
        Of `products.glacier_product`.
    glaciers
        The glaciers that it was made of.
    bands
        Hypsometry, rows as `glaciers`.
    facts
        Of the package.
    links
        To RGI 7, as of `links.link` with RGI 7 first and the product's ids second; None writes none.
    provenance
        What is known of the run.

    Returns
    -------
    Path
        The folder.
    """
    shapes_of = product.drop(columns="local_id")
    compound, members = products.complexes(product, facts)
    borders = products.intersects(product, facts)

    def fill(target: Path) -> None:
        names = {"G": shapes_of, "C": compound, "I": borders}
        kinds = {"G": "Polygon", "C": "Polygon", "I": "LineString"}
        fields = {"G": schema.GLACIER, "C": schema.COMPLEX, "I": schema.INTERSECTS}
        for key, table in names.items():
            stem = facts.stem(key)
            _shapefile(table, target / f"{stem}.shp", kinds[key])
            _csv(table.drop(columns="geometry"), target / f"{stem}-attributes.csv")
            _metadata(fields[key], target / f"{stem}-attributes_metadata.json")
        stem = facts.stem("G")
        _csv(products.submission_info(product, facts), target / f"{stem}-submission_info.csv")
        _metadata(schema.SUBMISSION, target / f"{stem}-submission_info_metadata.json")
        _csv(_hypsometry(product, glaciers, bands), target / f"{stem}-hypsometry.csv")
        _csv(products.uncertainty(product, glaciers), target / f"{stem}-uncertainty.csv")
        _json(members, target / f"{facts.stem('C')}-CtoG_links.json")
        if links is not None:
            _csv(_rgi7_links(links), target / f"{stem}-rgi7_links.csv")
        _common(target, provenance)

    return _whole(folder, fill)


def _hypsometry(product: gpd.GeoDataFrame, glaciers: gpd.GeoDataFrame, bands: pd.DataFrame) -> pd.DataFrame:
    known = bands.set_axis(glaciers["id"].astype(str), axis=0).reindex(product["local_id"].to_numpy())
    known = known.reset_index(drop=True)
    known.insert(0, "rgi_id", product["rgi_id"].to_numpy())
    known.insert(1, "area_km2", product["area_km2"].to_numpy())
    return known


def _rgi7_links(links: pd.DataFrame) -> pd.DataFrame:
    """Write links as RGI 7 writes those to RGI 6: all overlaps, from the new outlines' side."""
    both = links[links["id_1"].notna() & links["id_2"].notna()]
    names = {
        "id_2": "rgi_id",
        "id_1": "rgi7_id",
        "overlap_km2": "overlap_area_km2",
        "share_2": "area_fraction",
        "share_1": "rgi7_area_fraction",
        "n_2": "n_outlines",
        "n_1": "n_rgi7",
        "cluster": "cluster_id",
        "kind": "kind",
    }
    return both.rename(columns=names)[list(names.values())].sort_values(["rgi_id", "rgi7_id"])


def write_glims(folder: Path, *, product: gpd.GeoDataFrame, provenance: Mapping[str, Any]) -> Path:
    """Write outlines and rock with GLIMS' fields, and the scenes that they come from."""

    def fill(target: Path) -> None:
        _shapefile(product, target / "glaciers.shp", "Polygon")
        _metadata(schema.GLIMS, target / "fields.json")
        _common(target, provenance)

    return _whole(folder, fill)


def _common(target: Path, provenance: Mapping[str, Any]) -> None:
    import pandas as pd

    _csv(pd.DataFrame({"scene_id": list(provenance.get("scenes", ()))}), target / SCENES)
    _json(dict(provenance), target / PROVENANCE)


def _whole(folder: Path, fill: Callable[[Path], None]) -> Path:
    """Fill a hidden folder and put it in place in one step; what was there goes only when the new one is."""
    if folder.exists() and not (folder.is_dir() and (is_package(folder) or not any(folder.iterdir()))):
        raise StoreError(f"{folder} holds something that is no package of ours: name another folder")
    target = folder.resolve()  # "." has no name and no parent
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".partial", dir=target.parent))
    except OSError as error:
        raise VectorError(f"Cannot write {folder}: {not_written(error, other='folder')}") from error
    old = partial.with_suffix(".old")
    try:
        fill(partial)
        partial.chmod(0o777 & ~_umask())
        if target.exists():
            target.replace(old)
        try:
            partial.replace(target)
        except OSError:
            if old.exists():
                old.replace(target)
            raise
        shutil.rmtree(old, ignore_errors=True)
        whole.sweep_folders(target, ".partial")
    except OSError as error:
        raise VectorError(f"Cannot write {folder}: {not_written(error, other='folder')}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _shapefile(table: gpd.GeoDataFrame, path: Path, kind: str) -> None:
    import warnings

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Normalized/laundered")
        whole.write_layer(table, path, driver="ESRI Shapefile", geometry_type=kind, encoding="UTF-8")


def _csv(table: pd.DataFrame, path: Path) -> None:
    table.to_csv(path, index=False, float_format="%.10g", encoding="utf-8")


def _metadata(fields: Sequence[schema.Field], path: Path) -> None:
    described = {
        field.name: {
            "long_name": field.long_name,
            "description": field.description,
            "datatype": field.datatype,
            "units": field.units,
        }
        for field in fields
    }
    _json(described, path)


def _json(content: Any, path: Path) -> None:
    text = json.dumps(content, indent=2, ensure_ascii=False, default=_plain)
    path.write_text(text + "\n", encoding="utf-8")


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} has no form in JSON")

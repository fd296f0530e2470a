"""Map pictures: backscatter, probability, outlines against a reference. Draws without a display."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from icemapper_xr import conventions as cv
from icemapper_xr import errors, whole

if TYPE_CHECKING:
    import geopandas as gpd
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["map_figure", "save"]

CREDIT_SENTINEL = "Contains modified Copernicus Sentinel data"
CREDIT_SIMULATED = "Simulated data"

_MAX_PIXELS = 1200
"""Longest side drawn of a raster: more than a panel of a printed page can show."""
_OURS = "#e31a1c"
_TRUTH = "#33d6ff"
_FONT = 9


class _View(NamedTuple):
    """A raster ready to draw."""

    values: npt.NDArray[np.float32]
    extent: tuple[float, float, float, float]
    """Left, right, bottom, top in km of the CRS."""


def map_figure(
    backscatter: xr.DataArray,
    probability: xr.DataArray,
    outlines: gpd.GeoDataFrame,
    *,
    truth: gpd.GeoDataFrame | None = None,
    title: str | None = None,
    crs: Any = None,
    credit: str | None = None,
) -> Figure:
    """Draw backscatter, glacier probability, and the outlines on the backscatter, side by side.

    Parameters
    ----------
    backscatter
        Dims (y, x), dB; NaN where nothing was observed.
    probability
        Dims (y, x), 0..1, on the same CRS.
    outlines
        Our outlines, any CRS.
    truth
        Reference outlines to compare with; None draws ours alone.
    title
        Line above the panels.
    crs
        CRS of the map, anything that pyproj takes, projected; None takes that of `probability`.
    credit
        Source of the data, printed below: for example `plot.CREDIT_SENTINEL`.

    Returns
    -------
    matplotlib.figure.Figure
        Axes in km of the CRS; not attached to any window.

    Raises
    ------
    VectorError
        If no CRS is known, it is not projected, or a raster is not (y, x).
    OptionError
        If the CRS that is named is unknown.
    """
    from matplotlib.figure import Figure

    map_crs = _crs(probability, crs)
    radar, chance = _view(backscatter), _view(probability)
    width = chance.extent[1] - chance.extent[0]
    height = chance.extent[3] - chance.extent[2]
    panel = 4.0
    figure = Figure(
        figsize=(3 * panel + 1.6, float(np.clip(panel * height / width, 2.0, 8.0)) + 1.5), layout="constrained"
    )
    axes = figure.subplots(1, 3, sharex=True, sharey=True)
    low, high = _stretch(radar.values)
    grey = {"cmap": "gray", "vmin": low, "vmax": high, "interpolation": "none"}

    image = axes[0].imshow(radar.values, extent=radar.extent, **grey)
    _colour_bar(figure, image, axes[0], "Backscatter (dB)", "both")
    image = axes[1].imshow(chance.values, extent=chance.extent, cmap="viridis", vmin=0, vmax=1, interpolation="none")
    _colour_bar(figure, image, axes[1], "Glacier probability", "neither")
    axes[2].imshow(radar.values, extent=radar.extent, alpha=0.75, **grey)
    if truth is not None:
        _draw(axes[2], truth, map_crs, _TRUTH, "Reference", width=2.6)
    _draw(axes[2], outlines, map_crs, _OURS, "This map", width=0.9)
    _legend(axes[2], truth is not None)

    for axis, letter, name in zip(axes, "abc", ("Backscatter", "Probability", "Outlines"), strict=True):
        _dress(axis, chance.extent, f"({letter}) {name}")
    axes[0].set_ylabel("Northing (km)", fontsize=_FONT)
    _scale_bar(axes[0], chance.extent)
    if title:
        figure.suptitle(title, fontsize=_FONT + 3)
    note = f"{map_crs.name}" + (f". {credit}" if credit else "")
    figure.supxlabel(note, fontsize=_FONT - 2, color="0.35", x=0.99, ha="right")
    return figure


def save(figure: Figure, path: str | os.PathLike[str], *, dpi: int = 150) -> Path:
    """Write a figure to a file that appears in one step.

    Parameters
    ----------
    figure
        From `map_figure`, or any other.
    path
        The suffix names the format: `.png`, `.pdf`, `.svg` and what else matplotlib writes.
    dpi
        Pixels per inch.

    Raises
    ------
    OptionError
        If the suffix is none that matplotlib writes, or `dpi` is below 10.
    StoreError
        If the file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    target = Path(path)
    formats = FigureCanvasAgg.get_supported_filetypes()
    suffix = target.suffix.lower().lstrip(".")
    if suffix not in formats:
        raise errors.OptionError(f"Unknown suffix {target.suffix!r} of {target}: use .png, .pdf or .svg")
    if dpi < 10:
        raise errors.OptionError(f"dpi={dpi}: must be at least 10")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with whole.appearing(target) as part:
            figure.savefig(part, dpi=dpi, format=suffix)
    except OSError as error:
        raise errors.StoreError(
            f"Cannot write the picture {target}: {errors.not_written(error, other='file')}"
        ) from error
    return target


def _crs(probability: xr.DataArray, crs: Any) -> Any:
    import pyproj
    import rioxarray  # noqa: F401  (registers .rio)

    if crs is None:
        if probability.rio.crs is None:
            raise errors.VectorError("The probability has no CRS: set it with .rio.write_crs(...), or name crs=")
        crs = probability.rio.crs.to_wkt()
    try:
        found = pyproj.CRS.from_user_input(crs)
    except pyproj.exceptions.CRSError:
        raise errors.OptionError(f"crs={crs!r} is no CRS that pyproj knows: write it as EPSG:32633") from None
    if not found.is_projected:
        raise errors.VectorError(
            f"The map's CRS {found.name} is not projected, so it has no km: bring the rasters to a projected one "
            "first, for example with .rio.reproject(raster.rio.estimate_utm_crs())"
        )
    return found


def _view(raster: xr.DataArray) -> _View:
    """Thin a raster to what can be seen (block means where it is thinned), in km."""
    data = raster.squeeze([dim for dim in raster.dims if dim not in (cv.Y, cv.X) and raster.sizes[dim] == 1], drop=True)
    if set(data.dims) != {cv.Y, cv.X}:
        raise errors.VectorError(f"A map needs rasters with dims ('y', 'x'), got {raster.dims}: pick one year or step")
    data = data.transpose(cv.Y, cv.X).sortby(cv.Y, ascending=False).sortby(cv.X)
    x, y = np.asarray(data[cv.X].values, float) / 1e3, np.asarray(data[cv.Y].values, float) / 1e3
    either = np.abs([*np.diff(x[:2]), *np.diff(y[:2]), cv.PIXEL_SIZE / 1e3])[0]
    across, down = (abs(c[1] - c[0]) / 2 if c.size > 1 else either / 2 for c in (x, y))  # one pixel tells no side
    factor = -(-max(data.shape) // _MAX_PIXELS)
    if factor > 1:
        thinned = {dim: min(factor, data.sizes[dim]) for dim in (cv.Y, cv.X)}  # of a strip more than its width is gone
        rows, columns = (data.sizes[dim] - data.sizes[dim] % step for dim, step in thinned.items())
        data = data.isel({cv.Y: slice(rows), cv.X: slice(columns)}).coarsen(thinned).mean()
        x, y = x[:columns], y[:rows]
    values = np.asarray(data.values, dtype=np.float32)
    return _View(values, (x[0] - across, x[-1] + across, y[-1] - down, y[0] + down))


def _stretch(values: npt.NDArray[np.float32]) -> tuple[float, float]:
    """Grey range: the middle 98 % of what was observed."""
    seen = values[np.isfinite(values)]
    if not seen.size:
        return -25.0, 0.0
    low, high = np.percentile(seen, [1, 99])
    return float(low), float(max(high, low + 1.0))


def _colour_bar(figure: Figure, image: Any, axis: Axes, label: str, extend: str) -> None:
    bar = figure.colorbar(image, ax=axis, orientation="horizontal", shrink=0.8, pad=0.02, aspect=30, extend=extend)
    bar.set_label(label, fontsize=_FONT)
    bar.ax.tick_params(labelsize=_FONT - 1)


def _draw(axis: Axes, frame: gpd.GeoDataFrame, crs: Any, colour: str, label: str, *, width: float) -> None:
    """Draw the rings of polygons as lines in km."""
    import shapely
    from matplotlib.collections import LineCollection

    geometry = frame.geometry.to_crs(crs) if frame.crs is not None else frame.geometry
    rings = shapely.get_parts(shapely.boundary(geometry.values[~geometry.is_empty.values]))
    lines = [shapely.get_coordinates(ring) / 1e3 for ring in rings]
    axis.add_collection(LineCollection(lines, colors=colour, linewidths=width, label=label), autolim=False)


def _legend(axis: Axes, with_truth: bool) -> None:
    """Explain the lines below the panel, where the others have their colour bars."""
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], color=_OURS, lw=1.4, label="This map")]
    if with_truth:
        handles.append(Line2D([], [], color=_TRUTH, lw=2.6, label="Reference"))
    below = (0.5, -0.13)
    legend = axis.legend(
        handles=handles, loc="upper center", bbox_to_anchor=below, ncols=2, fontsize=_FONT, frameon=False
    )
    legend.set_in_layout(False)  # it takes the room of the colour bar that this panel has not


def _dress(axis: Axes, extent: tuple[float, float, float, float], name: str) -> None:
    axis.set_xlim(extent[0], extent[1])
    axis.set_ylim(extent[2], extent[3])
    axis.set_aspect("equal")
    axis.set_facecolor("#f2e9e4")  # not observed
    axis.set_title(name, fontsize=_FONT + 1, loc="left")
    axis.set_xlabel("Easting (km)", fontsize=_FONT)
    axis.tick_params(labelsize=_FONT - 1, direction="out", length=3)
    axis.locator_params(nbins=5)
    axis.ticklabel_format(useOffset=False, style="plain")


def _scale_bar(axis: Axes, extent: tuple[float, float, float, float]) -> None:
    """Draw a bar of a round length, about a quarter of the panel, on a light ground."""
    from matplotlib.offsetbox import AnchoredOffsetbox, AuxTransformBox, TextArea, VPacker
    from matplotlib.patches import Rectangle

    width, height = extent[1] - extent[0], extent[3] - extent[2]
    power = 10.0 ** np.floor(np.log10(width / 4))
    length = max(n * power for n in (1, 2, 5) if n * power <= width / 4)
    bar = AuxTransformBox(axis.transData)
    bar.add_artist(Rectangle((0, 0), length, height * 0.012, facecolor="black", edgecolor="none"))
    label = TextArea(f"{length:g} km", textprops={"fontsize": _FONT - 1})
    packed = VPacker(children=[label, bar], align="center", pad=0, sep=2)
    box = AnchoredOffsetbox(loc="lower left", child=packed, pad=0.35, borderpad=0.5, frameon=True)
    box.patch.set(edgecolor="none", alpha=0.85)
    axis.add_artist(box)

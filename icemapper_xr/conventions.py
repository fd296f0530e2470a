"""Names, units and numbers that the stages agree on.

This module imports nothing of ours. A stage that needs a dimension, an attribute or a published number takes it
from here, so that the objects handed from stage to stage are described in one place.

Numbers marked [M25] are those of Maslov, Schellenberger, Persello and Stein (2025), doi:10.31223/X5472T.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal, NamedTuple, get_args

# -- dimensions and coordinates ---------------------------------------------------------------------------------------
TIME: Final = "time"
YEAR: Final = "year"
Y: Final = "y"
X: Final = "x"
SPATIAL_REF: Final = "spatial_ref"

# -- time series [M25] ------------------------------------------------------------------------------------------------
N_STEPS: Final = 15
"""Steps of the time series that the network takes."""
STEP_DAYS: Final = 24
"""Length of a step in days: every second 12-day cycle of Sentinel-1."""
STEP_TOLERANCE_DAYS: Final = 6
"""A pass belongs to a step if it is at most this far from the step's locked date."""
CYCLE_DAYS: Final = 12
"""Repeat cycle of one Sentinel-1 satellite."""
START_SHIFT_DAYS: Final = 12
"""By which the first day of a series may lie off the middle of winter: as in the training of our weights."""
FIRST_YEAR: Final = 2014
"""Of the first data of Sentinel-1."""
MIN_STEPS: Final = 11
"""Valid steps below which a cube is refused unless the user gives leave (a judgement)."""

# -- grid -------------------------------------------------------------------------------------------------------------
PIXEL_SIZE: Final = 10.0
"""Pixel size of the published weights, metres [M25]."""
WINDOW: Final = 384
"""Window of the published weights, pixels [M25]."""
OVERLAP: Final = 0.5
"""Share of a window that overlaps the next one [M25]."""
BLEND_SIGMA: Final = 0.5
"""Width of the Gaussian blend, in half windows [M25]."""
LATTICE: Final = 1152
"""Pixels between anchors of the window lattice, from the origin of the CRS; also the default chunk.

A multiple of the strides of a 384 px window for overlap 0.5, 0.25 and 0 (192, 288 and 384 px); the strides of any
other window must divide it too.
"""
TILE_CHUNKS: Final = 8
"""Side of a region's tile in chunks: 92 km at 10 m, well inside the 250 km of an IW swath."""
MASK_BUFFER: Final = 1000.0
"""Metres by which the polygons of a mask are grown: glaciers advance, coastlines are coarse (a judgement)."""

# -- decibel ----------------------------------------------------------------------------------------------------------
NOISE_FLOOR_DB: Final = -35.0
"""What a value of zero or below (noise subtraction) becomes: a dark observation, not a gap (a judgement)."""

# -- features [M25] ---------------------------------------------------------------------------------------------------
Feature = Literal["grd", "rtc", "insar"]
FEATURES: Final[tuple[Feature, ...]] = get_args(Feature)
"""In the order of the channels: backscatter first, coherence last."""

Pooling = Literal["maxpool", "tweightedpool"]
POOLINGS: Final[tuple[Pooling, ...]] = get_args(Pooling)

Gap = Literal["nearest", "zero"]
"""What the network is fed where a step is missing: the nearest valid step of that pixel, or 0 in model units."""
GAPS: Final[tuple[Gap, ...]] = get_args(Gap)

Unobserved = Literal["zero", "mirror"]
"""What the network is fed where a pixel has no valid step: 0 in model units, or the mirror image of what was observed
in the window. It belongs to the weights."""
UNOBSERVED: Final[tuple[Unobserved, ...]] = get_args(Unobserved)

LoadEngine = Literal["stackstac", "odc"]
LOAD_ENGINES: Final[tuple[LoadEngine, ...]] = get_args(LoadEngine)

ModelEngine = Literal["auto", "tensorflow", "openvino"]
MODEL_ENGINES: Final[tuple[ModelEngine, ...]] = get_args(ModelEngine)

Precision = Literal["float32", "mixed_float16", "mixed_bfloat16"]
"""What the network computes in; the mixed ones keep its weights and sums in float32."""
PRECISIONS: Final[tuple[Precision, ...]] = get_args(Precision)

Resampling = Literal["nearest", "bilinear", "average"]
RESAMPLINGS: Final[tuple[Resampling, ...]] = get_args(Resampling)


class FeatureRange(NamedTuple):
    """Unit of a feature in the cube, and the range that the published scaling maps to 0..1, without clipping."""

    units: str
    minimum: float
    maximum: float
    long_name: str


FEATURE_RANGES: Final[dict[Feature, FeatureRange]] = {
    "grd": FeatureRange("dB", -146.01214599609375, 43.54314041137695, "Sentinel-1 GRD backscatter, terrain-geocoded"),
    "rtc": FeatureRange(
        "dB", -121.29015350341797, 44.299530029296875, "Sentinel-1 radiometrically terrain-corrected gamma0"
    ),
    "insar": FeatureRange("1", 0.0, 0.9979742169380188, "Sentinel-1 interferometric coherence"),
}

# -- the cube: dims (time, y, x), one variable a feature --------------------------------------------------------------
# Per step and feature, coordinates on `time`; "" / NaT / -1 where the step is missing.
ACQUIRED: Final = "{feature}_time"
"""Acquisition time, datetime64[ns] UTC; for coherence the middle of the pair."""
ITEMS: Final = "{feature}_items"
"""Item ids of the frames mosaicked, joined by ';'."""
PLATFORM: Final = "{feature}_platform"
"""'S1A', 'S1B', 'S1C', 'S1D'; joined by '/' for a pair of two platforms."""
RELATIVE_ORBIT: Final = "{feature}_relative_orbit"
"""Relative orbit, 1..175, int16; -1 where missing or unknown."""
OFFSET: Final = "{feature}_offset_days"
"""Acquisition minus the step's centre, days, float32."""
SHARE: Final = "{feature}_share"
"""Share of the area that the footprints of the frames cover, 0..1, from metadata; 0 where missing."""
PAIR_REFERENCE: Final = "insar_reference_time"
PAIR_SECONDARY: Final = "insar_secondary_time"
PAIR_BASELINE: Final = "insar_baseline_days"
"""Days between the two dates of a coherence pair, int16; -1 where missing."""

# Attributes of the cube (a Dataset). Values are plain numbers, strings or lists of them: they go into zarr as JSON.
ATTR_AREA: Final = "icemapper_area"
"""[left, bottom, right, top] of the area asked for, in the cube's CRS, on multiples of the pixel size."""
ATTR_MARGIN: Final = "icemapper_margin_px"
"""Pixels read around the area on each side; windows up to this size see data wherever they touch the area.

A cube that has ATTR_AREA and ATTR_MARGIN lies on the global lattice; one without is anchored at its own corner.
"""
ATTR_ORBIT: Final = "relative_orbit"
ATTR_ORBIT_STATE: Final = "orbit_state"
ATTR_POLARISATION: Final = "polarisation"
ATTR_YEAR: Final = "year"
ATTR_START: Final = "start"
"""First day of the first step, ISO date."""
ATTR_FIRST_DAY: Final = "first_day"
"""Month and day of the first step, MM-DD, the same in all years of a map; "named" where the user named the dates."""
ATTR_BASELINE: Final = "baseline_days"
"""Days between the two dates of a coherence pair; not of cubes without coherence, or of unknown dates."""
ATTR_PROCESSING: Final = "processing"
"""{"feature quantity", "feature filter" or "feature looks": what it is}, as far as it is known, as a JSON string."""
ATTR_STEPS_MISSING: Final = "steps_missing"
"""{feature: [indices of the steps without an observation]}, as a JSON string."""
ATTR_PLATFORMS: Final = "platforms"
"""{feature: {platform: steps}}, as a JSON string."""
ATTRS_OF_SERIES: Final = ("steps_valid", "steps_valid_in_melt_season", ATTR_PLATFORMS, "first_date", "last_date")
"""What else is said of one year's series; in a store of several years it belongs to the year."""
ATTR_TIME_OF_DAY: Final = "time_of_day"
"""UTC time of day of a year's passes, HH:MM:SS; only where the relative orbit is unknown, which it stands for."""
ATTR_CATALOG: Final = "catalog"
ATTR_FILES: Final = "icemapper_files"
"""JSON, {feature: digest of its files, and of how they are read}: tells series apart that have the same items."""
ATTR_READING: Final = "icemapper_reading"
"""JSON of how the rasters came onto the grid: pixel size they were read at, resampling, and what followed it.

It shapes the values as much as the model's settings do, so `predict` puts it among ATTR_SETTINGS.
"""

# -- the normalised cube: the same variables in model units -----------------------------------------------------------
ATTR_NORMALISED: Final = "icemapper_normalised"
"""On a variable: '<feature>: (x - minimum) / (maximum - minimum)', written by `normalise`."""

# -- the result: dims (y, x) or (year, y, x) --------------------------------------------------------------------------
PROBABILITY: Final = "probability"
N_OBS: Final = "n_obs"
CONFIDENCE: Final = "confidence"
CALIBRATED: Final = "calibrated_probability"
APPLICABILITY: Final = "applicability"

VARIABLE_ATTRIBUTES: Final[dict[str, dict[str, Any]]] = {
    PROBABILITY: {"units": "1", "long_name": "glacier probability", "valid_range": [0.0, 1.0]},
    N_OBS: {"units": "1", "long_name": "steps in which every feature is valid, 0 outside the mask"},
    CONFIDENCE: {"units": "1", "long_name": "calibrated confidence in the mapped class"},
    CALIBRATED: {"units": "1", "long_name": "calibrated glacier probability"},
    APPLICABILITY: {"units": "1", "long_name": "likeness of the input to the training data"},
}

NETWORK_LAYER: Final = "icemapper-network"
"""How the layers of a Dask graph that run the network are named, so that these tasks can be placed on GPUs."""
ANSWER_LAYER: Final = "icemapper-answer"
"""How the layers are named that look up the parts of what one task of the network answered: (layer, row, column)."""

ATTR_CALIBRATION: Final = "calibration"
"""On `confidence` and `calibrated_probability`: kind, number of knots and digest of the map."""
ATTR_WEIGHTS: Final = "weights"
ATTR_WEIGHTS_DIGEST: Final = "weights_digest"
ATTR_SETTINGS: Final = "icemapper_settings"
"""JSON of the settings that shaped the values (gap, overlap, window, features, resolution ...)."""
ATTR_VERSION: Final = "icemapper_version"
ATTR_ITEMS: Final = "item_ids"
"""Sorted list of all item ids that went in."""

PARQUET: Final = (".parquet", ".geoparquet", ".pq")
"""Suffixes of GeoParquet."""

ODD: Final = 0.01
"""Share of values that noise subtraction and bright targets may put where the scale of backscatter has none."""
JUDGED: Final = 2**16
"""Values that cannot all be above 0 dB; a slope that faces the radar, and a town, are smaller."""
THRESHOLD: Final = 0.5
MIN_AREA_KM2: Final = 0.01
"""Smallest glacier of RGI 7 and GLIMS."""


def listed(features: Sequence[Feature] | Feature) -> tuple[Feature, ...]:
    """Return features as a tuple, whether several are named or one: its letters are no features.

    Examples
    --------
    >>> listed("rtc"), listed(["grd", "insar"])
    (('rtc',), ('grd', 'insar'))
    """
    return (features,) if isinstance(features, str) else tuple(features)

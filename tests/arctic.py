"""A made catalogue of a year over the glacier regions of the Arctic: 10^5 RTC items of some 60 orbits."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

WIDTH, HEIGHT = 2.4, 1.7
"""Degrees of latitude that a frame is wide and high."""


def write(path: Path, count: int = 100_000, *, year: int = 2023) -> Path:
    """Write the items as stac-geoparquet."""
    import pystac

    from icemapper_xr.catalog import files

    files.write(path, [pystac.Item.from_dict(item) for item in items(count, year=year)], relative_to=None)
    return path


def items(count: int, *, year: int) -> Iterator[dict[str, Any]]:
    """Make items: frames that tile the regions' boxes, each seen every 12 days."""
    from icemapper_xr import regions

    boxes = np.array([box for region in regions.NAMED.values() for box in region.boxes])
    dates = [dt.datetime(year, 1, 3, 6, 0, tzinfo=dt.UTC) + dt.timedelta(days=12 * k) for k in range(30)]
    places = count // len(dates)
    rng = np.random.default_rng(0)
    spans = np.where(boxes[:, 2] < boxes[:, 0], boxes[:, 2] + 360, boxes[:, 2]) - boxes[:, 0]
    areas = spans * (boxes[:, 3] - boxes[:, 1]) * np.cos(np.radians((boxes[:, 1] + boxes[:, 3]) / 2))
    made = 0
    for place, k in enumerate(rng.choice(len(boxes), size=places + 1, p=areas / areas.sum())):
        west, south, _, north = boxes[k]
        lat = float(rng.uniform(south - 1, max(north - HEIGHT + 1, south)))
        lon = float(west + rng.uniform(0, spans[k]))
        wide = WIDTH / np.cos(np.radians(min(lat + HEIGHT / 2, 83)))
        lon = (lon + 180) % 360 - 180
        east = min(lon + wide, 180.0)
        orbit = 1 + place % 60
        for number, when in enumerate(dates):
            if made == count:
                return
            made += 1
            yield item(f"S1A_{place:05d}_{number:02d}", (lon, lat, east, lat + HEIGHT), when, orbit)


def item(name: str, box: tuple[float, float, float, float], when: dt.datetime, orbit: int) -> dict[str, Any]:
    """Make one item as Planetary Computer has them."""
    west, south, east, north = box
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": name,
        "collection": "sentinel-1-rtc",
        "bbox": list(box),
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "properties": {
            "datetime": when.isoformat().replace("+00:00", "Z"),
            "platform": "SENTINEL-1A",
            "sat:relative_orbit": orbit,
            "sat:orbit_state": "ascending",
            "sar:instrument_mode": "IW",
            "sar:polarizations": ["HH"],
        },
        "assets": {
            "hh": {"href": f"https://example.net/{name}/hh.tif", "type": "image/tiff", "roles": ["data"]},
        },
        "links": [],
        "stac_extensions": [],
    }

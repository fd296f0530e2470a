"""Simulated Sentinel-1 years over glaciers whose outlines are known: terrain, ice, weather, radar.

>>> from icemapper_xr import simulate
>>> scene = simulate.scene(simulate.SceneSettings(seed=1, shape=(128, 128), years=(2023,)))
>>> cube = scene.cube(2023)
>>> dict(cube.sizes)
{'time': 15, 'y': 128, 'x': 128}
"""

from icemapper_xr.simulate.classes import GLACIER, LEGEND, SurfaceClass
from icemapper_xr.simulate.places import scene_of
from icemapper_xr.simulate.scenes import Scene, scene
from icemapper_xr.simulate.settings import SceneSettings
from icemapper_xr.simulate.training import training_scene
from icemapper_xr.simulate.verbs import SimulationReport, simulate
from icemapper_xr.simulate.worlds import GLACIATED, WORLDS

__all__ = [
    "GLACIATED",
    "GLACIER",
    "LEGEND",
    "WORLDS",
    "Scene",
    "SceneSettings",
    "SimulationReport",
    "SurfaceClass",
    "scene",
    "scene_of",
    "simulate",
    "training_scene",
]

"""The Keras network: parameter counts, shapes, the original's answers, and the same on every backend."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys

import numpy as np
import pytest

from icemapper_xr import errors
from tests import models_support as support


@pytest.mark.parametrize(
    ("pooling", "channels", "wanted"),
    [("tweightedpool", 2, 4_686_434), ("tweightedpool", 1, 4_685_538), ("maxpool", 1, 4_358_850)],
)
def test_the_published_parameter_counts(pooling, channels, wanted):
    from icemapper_xr.models import icemapper

    assert icemapper.build(channels=channels, pooling=pooling).count_params() == wanted


@pytest.mark.parametrize("variant", support.VARIANTS)
def test_the_original_answers(variant):
    from icemapper_xr.models import weights

    answer = support.answer(variant)
    model = support.network(variant.split("_")[0], len(answer.features))
    weights.load_into(model, answer.path)
    support.assert_parity(np.asarray(model(answer.x, training=False)), answer.y)


@pytest.mark.parametrize("pooling", ["maxpool", "tweightedpool"])
@pytest.mark.parametrize("levels", [1, 2])
def test_any_extent_that_is_a_multiple(pooling, levels):
    model = support.network(pooling, channels=3, filters=2, levels=levels)
    y = np.asarray(model(np.zeros((1, 15, 2**levels, 3 * 2**levels, 3), np.float32), training=False))
    assert y.shape == (1, 2**levels, 3 * 2**levels, 2)
    np.testing.assert_allclose(y.sum(-1), 1, rtol=1e-6)


def test_temporal_weights_depend_on_the_extent_and_max_pooling_does_not():
    """Why the window's size belongs to the weights: far from the edge only `tweightedpool` sees the extent."""
    x = np.random.default_rng(0).normal(size=(1, 15, 64, 64, 1)).astype(np.float32)
    shifted = x.copy()
    shifted[:, :, 56:, 56:] += 3  # beyond the reach of the convolutions from the upper left corner
    change = {}
    for pooling in ("maxpool", "tweightedpool"):
        model = support.network(pooling, channels=1, filters=2, levels=1)
        one, other = (np.asarray(model(part, training=False))[0, :8, :8] for part in (x, shifted))
        change[pooling] = float(np.abs(one - other).max())
    assert change["maxpool"] < 1e-6 < 1e-5 < change["tweightedpool"]


@pytest.mark.parametrize(
    ("option", "value"), [("pooling", "mean"), ("channels", 0), ("filters", 1), ("levels", 0), ("n_steps", 0)]
)
def test_options_out_of_range_are_named(option, value):
    from icemapper_xr.models import icemapper

    options = {"channels": 1, "pooling": "tweightedpool", "filters": 4, option: value}
    with pytest.raises(errors.OptionError, match=option):
        icemapper.build(**options)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_other_keras_backends_answer_the_same(backend):
    """In a process of its own, since Keras settles its backend at import."""
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    program = (
        "import numpy as np, keras\n"
        "from icemapper_xr.models import weights\n"
        "from tests import models_support as support\n"
        "for variant in support.VARIANTS:\n"
        "    answer = support.answer(variant)\n"
        "    model = support.network(variant.split('_')[0], len(answer.features))\n"
        "    weights.load_into(model, answer.path)\n"
        "    y = keras.ops.convert_to_numpy(model(answer.x, training=False))\n"
        "    support.assert_parity(y, answer.y)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, env=os.environ | {"KERAS_BACKEND": backend})

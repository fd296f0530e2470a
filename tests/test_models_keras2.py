"""Files of ours in Keras 2 itself: a model whose layers nest as the weight names say loads them by order.

Runs where `tf_keras`, which is Keras 2 as a package of its own, is installed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests import models_support as support

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:__array__ implementation"),
]
STEPS = (15, 8, 4, 2)


def keras2_model(pooling: str, channels: int, filters: int, extent: int) -> Any:
    """The network in Keras 2, its sub-models and layers created in the order of the original's numbering."""
    import tensorflow as tf
    import tf_keras as keras

    layers = keras.layers
    widths = [filters * 2**level for level in range(4)]

    class Twice(layers.Layer):
        def __init__(self, width: int, convolution: Any) -> None:
            super().__init__()
            self.first, self.first_norm = convolution(width, 3, padding="same"), layers.BatchNormalization()
            self.second, self.second_norm = convolution(width, 3, padding="same"), layers.BatchNormalization()

        def call(self, x: Any) -> Any:
            x = tf.nn.leaky_relu(self.first_norm(self.first(x)), 0.3)
            return tf.nn.leaky_relu(self.second_norm(self.second(x)), 0.3)

    class Residual(layers.Layer):
        def __init__(self, width: int, convolution: Any) -> None:
            super().__init__()
            self.inner, self.projection = Twice(width, convolution), layers.Dense(width, use_bias=False)

        def call(self, x: Any) -> Any:
            return self.inner(x) + self.projection(x)

    class Weighted(layers.Layer):
        def __init__(self, size: tuple[int, int, int], width: int) -> None:
            super().__init__()
            self.space = layers.MaxPool3D((1, *size[1:]), padding="same")
            self.factor = keras.Sequential(
                [
                    layers.Conv3D(width // 2, (3, 1, 1), padding="same", activation="swish"),
                    layers.Conv3D(width, (3, 1, 1), padding="same", activation="sigmoid"),
                ]
            )
            self.time = layers.AveragePooling3D((size[0], 1, 1), padding="same")

        def call(self, x: Any) -> Any:
            x = self.space(x)
            return self.time(x * self.factor(tf.reduce_mean(x, (2, 3), keepdims=True)))

    def pool(size: tuple[int, int, int], width: int) -> Any:
        return Weighted(size, width) if pooling == "tweightedpool" else layers.MaxPool3D(size, padding="same")

    class Encoder(keras.Model):
        def __init__(self) -> None:
            super().__init__(name="Conv3DResUNetEncoder")
            blocks = [Residual(width, layers.Conv3D) for width in widths]
            skips, downs = [], []
            for level, width in enumerate(widths):
                skips.append(pool((STEPS[level], 1, 1), width))
                downs.append(pool((2, 2, 2), width) if level < 3 else None)
            self.path = [layer for pair in zip(blocks, downs, strict=True) for layer in pair if layer is not None]
            self.skips = skips

        def call(self, x: Any) -> Any:
            out = []
            for level in range(4):
                x = self.path[2 * level](x)
                out.append(self.skips[level](x)[:, 0])
                x = self.path[2 * level + 1](x) if level < 3 else x
            return out

    class Up(layers.Layer):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.double = layers.UpSampling2D(2)
            self.convolution = layers.Conv2D(width, 2, padding="same", use_bias=False)
            self.norm = layers.BatchNormalization()

        def call(self, x: Any) -> Any:
            return self.norm(self.convolution(self.double(x)))

    class Decoder(keras.Model):
        def __init__(self) -> None:
            super().__init__(name="ResUNetDecoder")
            self.path = [layer for w in widths[2::-1] for layer in (Up(w), Residual(w, layers.Conv2D))]
            self.head = layers.Dense(2, activation="softmax")

        def call(self, skips: Any) -> Any:
            y = skips[-1]
            for k, skip in enumerate(skips[2::-1]):
                y = self.path[2 * k + 1](tf.concat([self.path[2 * k](y), skip], -1))
            return self.head(y)

    inputs = keras.Input((15, extent, extent, channels), name="inputs")
    return keras.Model(inputs, Decoder()(Encoder()(inputs)))


@pytest.mark.parametrize("variant", support.VARIANTS)
@pytest.mark.parametrize("whose", ["theirs", "ours"])
def test_keras_2_loads_by_order_and_answers_as_the_original(tmp_path, variant, whose):
    """With the original's file this checks the model above, with ours the file."""
    pytest.importorskip("tf_keras", reason="tf_keras (Keras 2) is not installed")
    from icemapper_xr.models import weights

    answer = support.answer(variant)
    pooling, path = variant.split("_")[0], answer.path
    if whose == "ours":
        network = support.network(pooling, len(answer.features))
        weights.load_into(network, path)
        path = tmp_path / "ours.h5"
        weights.write(network, path, attrs={"features": answer.features, "window": 48})
    model = keras2_model(pooling, len(answer.features), 4, 48)
    model.load_weights(str(path))
    support.assert_parity(np.asarray(model(answer.x, training=False)), answer.y)

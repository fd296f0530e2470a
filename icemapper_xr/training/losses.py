"""Losses on `(n, y, x, 2)` one-hot labels and probabilities, in `keras.ops`.

A pixel whose label is (0, 0) has no known class, or was never observed: it counts nowhere; one of which a part is known
(labels are turned and scaled bilinearly) counts by that part.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

__all__ = ["SegmentationLoss"]

EPSILON = 1e-7


@keras.saving.register_keras_serializable(package="icemapper_xr")
class SegmentationLoss(keras.losses.Loss):  # type: ignore[misc]
    """Focal loss (sum over classes, mean over known pixels), mixed with a soft Dice loss of the class glacier.

    Parameters
    ----------
    gamma
        Focal exponent (Lin et al. 2017, doi:10.1109/ICCV.2017.324); 0 is cross-entropy.
    smoothing
        Label smoothing s: a label y becomes y (1 - s) + s / 2.
    dice
        Share of the Dice loss, 0 to 1, over the batch as a whole.
    """

    def __init__(self, *, gamma: float = 2.0, smoothing: float = 0.0, dice: float = 0.0) -> None:
        super().__init__(name="segmentation_loss", reduction=None)
        self.gamma, self.smoothing, self.dice = gamma, smoothing, dice

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Return the loss, a scalar."""
        y_true = ops.cast(y_true, y_pred.dtype)
        known = ops.sum(y_true, axis=-1, keepdims=True)
        p = ops.clip(y_pred, EPSILON, 1 - EPSILON)
        target = y_true * (1 - self.smoothing) + known * self.smoothing / y_true.shape[-1]
        focal = -ops.sum(target * (1 - p) ** self.gamma * ops.log(p)) / ops.maximum(ops.sum(known), 1.0)
        if self.dice == 0:
            return focal
        glacier, answer = y_true[..., 1], (p * known)[..., 1]
        # One pixel in numerator and denominator: a batch without glaciers has loss 0, not 0 / 0.
        overlap = (2 * ops.sum(glacier * answer) + 1) / (ops.sum(glacier) + ops.sum(answer) + 1)
        return (1 - self.dice) * focal + self.dice * (1 - overlap)

    def get_config(self) -> dict[str, Any]:
        """Return the options."""
        return {"gamma": self.gamma, "smoothing": self.smoothing, "dice": self.dice}

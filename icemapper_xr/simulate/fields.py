"""Random numbers by purpose, and random fields. Each purpose has its own stream: one more does not move the others."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.fft
from scipy import ndimage

from icemapper_xr._types import FloatArray

__all__ = ["distance_to", "enlarge", "fractal", "generator", "sigmoid", "smooth_noise", "white"]


def generator(seed: int, purpose: str, *keys: int) -> np.random.Generator:
    """Return the generator of one purpose (and year, step, ...) of a scene."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(zlib.crc32(purpose.encode()), *keys)))


def white(rng: np.random.Generator, shape: tuple[int, int]) -> FloatArray:
    """Return white Gaussian noise, mean 0, standard deviation 1."""
    return rng.standard_normal(shape, dtype=np.float32)


def fractal(
    rng: np.random.Generator, shape: tuple[int, int], *, longest: float, shortest: float = 2.0, exponent: float = 3.0
) -> FloatArray:
    """Return a Gaussian field whose power falls with wavenumber.

    Parameters
    ----------
    rng, shape
        Generator, rows and columns.
    longest, shortest
        Wavelengths in pixels between which there is power.
    exponent
        Power spectral density goes as wavenumber to the minus `exponent`.

    Returns
    -------
    array
        float32, mean 0, standard deviation 1. Not periodic: cut from a larger, periodic field.
    """
    pad = int(min(longest / 2, max(shape) / 2))
    rows, columns = (scipy.fft.next_fast_len(n + pad, real=True) for n in shape)
    ky = scipy.fft.fftfreq(rows).astype(np.float32)[:, None]
    kx = scipy.fft.rfftfreq(columns).astype(np.float32)[None, :]
    k = np.sqrt(ky * ky + kx * kx)
    low, high = 1 / longest, 1 / shortest
    gain = np.maximum(k, low) ** (-exponent / 2) * np.exp(-((np.maximum(k, 1e-9) / low) ** -4.0).clip(0, 50))
    gain *= k <= high
    spectrum = scipy.fft.rfft2(white(rng, (rows, columns))) * gain
    field = scipy.fft.irfft2(spectrum, s=(rows, columns))[: shape[0], : shape[1]].astype(np.float32)
    field -= field.mean()
    return np.asarray(field / max(float(field.std()), 1e-12), dtype=np.float32)


def smooth_noise(rng: np.random.Generator, shape: tuple[int, int], *, length: float) -> FloatArray:
    """Return Gaussian noise with a correlation length of about `length` pixels, standard deviation 1 in expectation.

    Long correlations are made on a coarser grid and interpolated: a hundredfold cheaper and hardly different.
    """
    step = max(1, int(length // 3))
    sigma = length / step / 2  # correlation of the result is exp(-d^2 / (4 sigma^2))
    coarse = (shape[0] // step + 3, shape[1] // step + 3)
    pad = int(np.ceil(3 * sigma))
    field = ndimage.gaussian_filter(white(rng, (coarse[0] + 2 * pad, coarse[1] + 2 * pad)), sigma, truncate=3)
    field = field[pad : pad + coarse[0], pad : pad + coarse[1]] * (2 * np.sqrt(np.pi) * sigma if sigma > 0.4 else 1.0)
    if step == 1:
        return np.ascontiguousarray(field[: shape[0], : shape[1]], dtype=np.float32)
    return enlarge(field, shape, step)


def enlarge(
    field: FloatArray, shape: tuple[int, int], step: float, origin: tuple[float, float] = (0.0, 0.0), order: int = 1
) -> FloatArray:
    """Interpolate a coarse field to `shape` pixels, `step` of them to one coarse cell, from `origin` (coarse cells)."""
    if order == 1:
        return _linear(_linear(field, shape[0], 1 / step, origin[0]).T, shape[1], 1 / step, origin[1]).T.copy()
    return np.asarray(
        ndimage.affine_transform(
            field,
            (1 / step, 1 / step),
            offset=origin,
            output_shape=shape,
            order=order,
            mode="nearest",
            output=np.float32,
        )
    )


def _linear(field: FloatArray, n: int, scale: float, origin: float) -> FloatArray:
    """Interpolate along the rows, linearly; beyond the ends the last value holds."""
    at = np.clip(np.arange(n, dtype=np.float64) * scale + origin, 0, field.shape[0] - 1)
    low = np.minimum(at.astype(np.intp), max(field.shape[0] - 2, 0))
    weight = (at - low).astype(np.float32)[:, None]
    below = field[low]
    return np.asarray(below + (field[np.minimum(low + 1, field.shape[0] - 1)] - below) * weight, dtype=np.float32)


def distance_to(mask: npt.NDArray[np.bool_]) -> FloatArray:
    """Distance to the nearest pixel of a mask, pixels; very far if there is none."""
    if not mask.any():
        return np.full(mask.shape, 1e6, np.float32)
    return np.asarray(ndimage.distance_transform_edt(~mask), dtype=np.float32)


def sigmoid(x: npt.NDArray[np.floating[Any]]) -> FloatArray:
    """Return the logistic function of x."""
    return np.asarray(1 / (1 + np.exp(-np.clip(x, -30, 30))), dtype=np.float32)

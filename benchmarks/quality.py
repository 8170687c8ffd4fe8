"""How far one clip is from another: latents by step, frames, sound."""

import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

# Of SSIM as it was published: a Gaussian window over luma, and two constants for flat places.
_WINDOW, _SIGMA = 11, 1.5
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
_LUMA = (0.299, 0.587, 0.114)
MOST = 99.0  # dB; of what is equal, where a ratio would be infinite


def relative_error(one: np.ndarray, other: np.ndarray) -> float:
    """Root mean square of the difference over that of `one`."""
    scale = math.sqrt(float(np.mean(np.square(one, dtype=np.float64))))
    difference = np.subtract(one, other, dtype=np.float64)
    return math.sqrt(float(np.mean(np.square(difference)))) / max(scale, 1e-12)


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    """Peak signal to noise of two uint8 pictures in dB, `MOST` where they are equal."""
    error = float(np.mean(np.square(np.subtract(one, other, dtype=np.float64))))
    return MOST if error == 0 else min(MOST, 10 * math.log10(255**2 / error))


def snr(one: np.ndarray, other: np.ndarray) -> float:
    """Signal to noise of a sound beside the sound it should be, in dB."""
    error = relative_error(one, other)
    return MOST if error == 0 else min(MOST, -20 * math.log10(error))


def ssim(one: np.ndarray, other: np.ndarray) -> float:
    """Structural similarity of the luma of two uint8 pictures (height, width, 3); 1 where equal.

    Pictures smaller than the window, 11 pixels, are a ValueError.
    """
    if min(one.shape[:2]) < _WINDOW:
        raise ValueError(f"SSIM needs pictures of at least {_WINDOW} pixels, not {one.shape[:2]}")
    x, y = _luma(one), _luma(other)
    mean_x, mean_y = _blurred(x), _blurred(y)
    var_x, var_y = _blurred(x * x) - mean_x**2, _blurred(y * y) - mean_y**2
    shared = _blurred(x * y) - mean_x * mean_y
    likeness = ((2 * mean_x * mean_y + _C1) * (2 * shared + _C2)) / (
        (mean_x**2 + mean_y**2 + _C1) * (var_x + var_y + _C2)
    )
    return float(likeness.mean())


def by_frame(one: np.ndarray, other: np.ndarray) -> Iterator[tuple[float, float]]:
    """PSNR and SSIM of each pair of frames, uint8 (frames, height, width, 3)."""
    for pair in zip(one, other, strict=True):
        yield psnr(*pair), ssim(*pair)


def _luma(picture: np.ndarray) -> Tensor:
    weights = torch.tensor(_LUMA, dtype=torch.float64)
    return (torch.from_numpy(picture.astype(np.float64)) @ weights)[None, None]


def _blurred(picture: Tensor) -> Tensor:
    """Through the window, where it fits."""
    line = torch.arange(_WINDOW, dtype=torch.float64) - _WINDOW // 2
    line = torch.exp(-(line**2) / (2 * _SIGMA**2))
    line = line / line.sum()
    across = functional.conv2d(picture, line.view(1, 1, 1, -1))
    return functional.conv2d(across, line.view(1, 1, -1, 1))

"""What is heard: pitch, side, loudness and silence of a clip's sound, float (2, samples)."""

import numpy as np
from numpy.typing import NDArray

Wave = NDArray[np.floating]  # (2, samples), left and right, -1 to 1
WINDOW = 0.1  # seconds, of everything that is told over time
SILENT = 0.01  # root mean square; the quietest thing of the world is four times that
LOUD = 0.5  # of the loudest window, to be the loud part
RANGE = (60.0, 6000.0)  # hertz, where a pitch is looked for


def check(wave: Wave) -> None:
    """ValueError unless this is a sound: two channels of finite samples, at least one."""
    if wave.ndim != 2 or wave.shape[0] != 2 or not wave.shape[1]:
        raise ValueError(f"a sound has the shape (2, samples), not {wave.shape}")
    if not np.isfinite(wave).all():
        raise ValueError("a sound has finite samples only")


def length(wave: Wave, rate: int) -> float:
    """Seconds."""
    check(wave)
    return wave.shape[1] / rate


def loudness(wave: Wave, rate: int) -> NDArray[np.floating]:
    """Per `WINDOW` the root mean square of both channels together, which does not depend on the
    side, (n,). A rest shorter than a window is left out.
    """
    return np.sqrt(_powers(wave, rate).sum(0))


def is_silent(wave: Wave, rate: int) -> bool:
    """Whether no window is louder than `SILENT`."""
    return bool(loudness(wave, rate).max() < SILENT)


def side(wave: Wave, rate: int) -> NDArray[np.floating]:
    """Per `WINDOW` where the sound comes from, -1 left to 1 right, (n,); not a number where it is
    silent. Equally powerful at every side, as the world's things are.
    """
    left, right = np.sqrt(_powers(wave, rate))
    angle = np.arctan2(right, left)
    return np.where(np.hypot(left, right) < SILENT, np.nan, angle * 4 / np.pi - 1)


def _powers(wave: Wave, rate: int) -> NDArray[np.floating]:
    """Mean squares per channel and window, (2, n)."""
    check(wave)
    size = min(round(WINDOW * rate), wave.shape[1])
    count = wave.shape[1] // size
    windows = wave[:, : count * size].reshape(2, count, size).astype(float)
    return (windows**2).mean(-1)


def spectrum(wave: Wave, rate: int) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Hertz and power of the loud part's partials, both (n,): both channels, the mean of windows
    of twice `WINDOW` that are at least `LOUD` of the loudest.
    """
    check(wave)
    size = min(2 * round(WINDOW * rate), wave.shape[1])
    begins = range(0, wave.shape[1] - size + 1, max(1, size // 2))
    windows = np.stack([wave[:, begin : begin + size] for begin in begins]).astype(float)
    power = (windows**2).mean((1, 2))
    loud = windows[power >= LOUD**2 * power.max()] * np.hanning(size)
    # Longer than the window, so that a peak is found between its lines.
    lines = np.fft.rfft(loud, n=8 * size)
    return np.fft.rfftfreq(8 * size, 1 / rate), (np.abs(lines) ** 2).mean((0, 1))


def pitch(wave: Wave, rate: int) -> float | None:
    """Hertz of the strongest partial in the loud part; None for silence."""
    if is_silent(wave, rate):
        return None
    hertz, power = spectrum(wave, rate)
    power = np.where((hertz >= RANGE[0]) & (hertz <= RANGE[1]), power, 0)
    top = int(power.argmax())
    before, at, after = np.log(np.maximum(power[top - 1 : top + 2], 1e-30))
    bend = before - 2 * at + after
    offset = 0.5 * (before - after) / bend if bend < 0 else 0.0
    return float(hertz[top] + offset * hertz[1])


def tonality(wave: Wave, rate: int, hertz: float) -> float:
    """The share of the loud part's power that is within 3 % of a pitch or of its second harmonic:
    near 1 for a pure tone, near 0 for noise and for another tone.
    """
    lines, power = spectrum(wave, rate)
    near = [np.abs(lines - tone) <= max(0.03 * tone, 1.5 / WINDOW) for tone in (hertz, 2 * hertz)]
    return float(power[near[0] | near[1]].sum() / max(power.sum(), 1e-30))

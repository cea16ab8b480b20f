"""What a valid candle is, for arrays of any leading shape whose last axis is `COLUMNS`.

A candle is valid when high >= max(open, close), low <= min(open, close), prices are positive, and volume and amount
are not negative. Frames are checked in `frame`; this file checks and mends arrays, above all sampled paths.
"""

import numpy as np
from numpy.typing import NDArray

COLUMNS = ("open", "high", "low", "close", "volume", "amount")
OPEN, HIGH, LOW, CLOSE, VOLUME, AMOUNT = range(6)

Array = NDArray[np.float64]


def invalid(candles: Array) -> NDArray[np.bool_]:
    """True for every candle (..., 6) that breaks a rule; not-a-number breaks them all."""
    body = candles[..., [OPEN, CLOSE]]
    with np.errstate(invalid="ignore"):
        good: NDArray[np.bool_] = (
            (candles[..., HIGH] >= body.max(axis=-1))
            & (candles[..., LOW] <= body.min(axis=-1))
            & (candles[..., LOW] > 0)
            & (candles[..., VOLUME] >= 0)
            & (candles[..., AMOUNT] >= 0)
            & np.isfinite(candles).all(axis=-1)
        )
    return ~good


def repair(candles: Array, floor: float) -> tuple[Array, int]:
    """A valid copy of finite `candles` (..., 6), and how many of them had to be changed.

    Prices are lifted to `floor`, the high and low widened to hold the body, volume and amount cut at zero. The body is
    believed rather than the wicks: open and close are what the network was trained hardest on.
    """
    mended = candles.copy()
    mended[..., : CLOSE + 1] = np.maximum(mended[..., : CLOSE + 1], floor)
    mended[..., HIGH] = mended[..., [OPEN, HIGH, CLOSE]].max(axis=-1)
    mended[..., LOW] = mended[..., [OPEN, LOW, CLOSE]].min(axis=-1)
    mended[..., VOLUME:] = np.maximum(mended[..., VOLUME:], 0.0)
    return mended, int((mended != candles).any(axis=-1).sum())

"""The learning rate of a step, as a share of its peak."""

import math

import numpy as np

from kronos.bars.candles import CLOSE
from kronos.data import Batch
from kronos.train.settings import LoopSettings


def rate_share(step: int, steps: int, settings: LoopSettings) -> float:
    """Of step `step` of `steps`: up to the peak in the warm-up, and then down as the schedule says.

    "onecycle" is torch's OneCycleLR of two phases, both cosines; "cosine" warms up in a straight line.
    """
    warmup = settings.warmup if settings.warmup >= 1 else settings.warmup * steps
    if settings.schedule == "onecycle":
        top = warmup - 1
        if step <= top:
            return _cosine(settings.initial_lr, 1.0, step / top if top else 1.0)
        return _cosine(1.0, settings.final_lr, (step - top) / (steps - 1 - top) if steps - 1 > top else 1.0)
    if step < warmup:
        return settings.initial_lr + (1 - settings.initial_lr) * step / warmup
    if settings.schedule == "constant":
        return 1.0
    return _cosine(1.0, settings.final_lr, (step - warmup) / max(steps - warmup, 1))


def volatility_of(batch: Batch) -> float:
    """The median over windows of the deviation of one-bar log returns."""
    closes = np.log(batch.bars[..., CLOSE])
    return float(np.median(np.diff(closes, axis=1).std(axis=1))) if closes.shape[1] > 2 else 0.0


def calm_share(batch: Batch, base: float) -> float:
    """1 / (1 + volatility / base): slower where the market is wilder."""
    return 1 / (1 + volatility_of(batch) / base)


def _cosine(begin: float, end: float, along: float) -> float:
    return end + (begin - end) * 0.5 * (1 + math.cos(math.pi * min(max(along, 0.0), 1.0)))

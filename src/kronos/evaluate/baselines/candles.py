"""Candles around paths of closes, so that baselines say something of highs, lows and volumes too.

Every step borrows a recent bar whose move was as large for its time as the step's is for its own, and takes over its
gap, both wicks, volume and amount; prices are in units of the volatility at the time. So a large move has the small
wicks against it that large moves have, and a quiet path has small ones.
"""

import numpy as np
from numpy.typing import NDArray

from kronos.bars.candles import AMOUNT, CLOSE, HIGH, LOW, OPEN, VOLUME, repair
from kronos.evaluate.baselines.asking import Past
from kronos.evaluate.baselines.filters import DECAY, ewma_variances

Array = NDArray[np.float64]

RECENT = 200  # bars that are borrowed from
NEAR = 0.025  # the share of them, to either side, whose moves count as alike
LONGEST = 5.0  # no gap and no wick is longer than exp(5) times
LEAST_UNIT = 0.2  # of the overall volatility: a quieter moment is no unit, a wick of its would become huge


def dressed(past: Past, moves: Array, random: np.random.Generator) -> Array:
    """Valid candles (S, H, 6) whose closes went `moves` (S, H) in log return since the last close."""
    candles, changes = past.candles, past.changes
    overall = float(np.sqrt(np.square(changes).mean())) or 1.0  # without moves wicks keep their size
    units = np.sqrt(np.maximum(ewma_variances(changes), (LEAST_UNIT * overall) ** 2))  # (L,): before each, and now
    first = max(len(changes) - RECENT, 0)
    donors = candles[first + 1 :]  # (D, 6)
    steps = np.diff(moves, axis=1, prepend=0.0)
    scale = _path_units(steps, units[-1] ** 2, LEAST_UNIT * overall)
    chosen = _alike(changes[first:] / units[first:-1], steps / scale, random)  # (S, H)
    gap, upper, lower = (
        np.clip((part[first:] / units[first:-1])[chosen] * scale, -LONGEST, LONGEST) for part in _geometry(candles)
    )
    before = np.concatenate([np.zeros_like(moves[:, :1]), moves[:, :-1]], axis=1)
    last = float(candles[-1, CLOSE])
    paths = np.empty((*moves.shape, candles.shape[1]))
    paths[..., CLOSE] = last * np.exp(moves)
    paths[..., OPEN] = last * np.exp(before + gap)
    paths[..., HIGH] = paths[..., [OPEN, CLOSE]].max(axis=-1) * np.exp(upper)
    paths[..., LOW] = paths[..., [OPEN, CLOSE]].min(axis=-1) * np.exp(-lower)
    paths[..., VOLUME] = donors[chosen, VOLUME]
    paths[..., AMOUNT] = donors[chosen, AMOUNT] * (paths[..., CLOSE] / donors[chosen, CLOSE])  # as many, dearer
    return repair(paths, floor=np.finfo(np.float64).tiny)[0]  # rounding alone


def _geometry(candles: Array) -> tuple[Array, Array, Array]:
    """Gap, upper and lower wick of every bar but the first, as logarithms."""
    prices = np.log(candles[:, [OPEN, HIGH, LOW, CLOSE]])
    open_, high, low, close = prices[1:].T
    return open_ - prices[:-1, 3], high - np.maximum(open_, close), np.minimum(open_, close) - low


def _path_units(steps: Array, variance: float, least: float) -> Array:
    """(S, H) the volatility before every step, which each path's own steps move."""
    units = np.empty_like(steps)
    now = np.full(len(steps), variance)
    for step in range(steps.shape[1]):
        units[:, step] = np.sqrt(np.maximum(now, least**2))
        now = DECAY * now + (1.0 - DECAY) * steps[:, step] ** 2
    return units


def _alike(known: Array, steps: Array, random: np.random.Generator) -> NDArray[np.int64]:
    """For steps (S, H) the number of a known move (D,) that is about as large: one of the nearest in rank."""
    order = np.argsort(known, kind="stable")
    reach = max(round(NEAR * len(known)), 1)
    rank = np.searchsorted(known[order], steps) + random.integers(-reach, reach + 1, steps.shape)
    chosen: NDArray[np.int64] = order[np.clip(rank, 0, len(known) - 1)]
    return chosen

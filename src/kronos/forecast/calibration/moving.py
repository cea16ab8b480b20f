"""Candles follow their closes: a forecast whose cumulative returns are changed stays a forecast of valid candles."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kronos.bars import Forecast, repair
from kronos.bars.candles import CLOSE, HIGH, LOW, OPEN

Array = NDArray[np.float64]

RECENT_BARS = 100  # what recent volatility is measured over, at most
HALF_LIFE = 20.0  # bars after which a return counts half
LEAST_BARS = 20  # fewer have no volatility that one would lean on

_TAMEST, _WILDEST = 0.25, 4.0  # how far gaps and wicks are scaled
_LOWEST_PRICE = 1e-4  # of the last close, as forecasters have it


def recent_volatility(closes: Array) -> Array:
    """The deviation (...) of one-bar log returns of closes (..., B), the latest of them weighing most; 0 where still.

    Around zero, not around a mean: a hundred bars say nothing about a drift.
    """
    returns = np.diff(np.log(closes[..., -RECENT_BARS - 1 :]), axis=-1)
    weights = 0.5 ** (np.arange(returns.shape[-1])[::-1] / HALF_LIFE)
    found: Array = np.sqrt((np.square(returns) * weights).sum(axis=-1) / weights.sum())
    return found


def volatility_of(history: pd.DataFrame | None) -> float | None:
    """That of a forecast's history, None where there is none or it is too short."""
    if history is None or len(history) <= LEAST_BARS:
        return None
    closes = history["close"].to_numpy(dtype=np.float64)[-RECENT_BARS - 1 :]
    return float(recent_volatility(closes)) if (closes > 0).all() else None


def with_returns(forecast: Forecast, returns: Array, meta: dict[str, Any]) -> Forecast:
    """The forecast whose cumulative log returns (S, H) are these, and `meta` what it says of itself.

    A candle keeps its gap, its body's ends and its wicks, as far as they are not the close: gap and wicks grow as the
    step's one-bar moves did. Volume and amount stay as they are.
    """
    paths, last = forecast.paths, forecast.last_close
    grown = growth(forecast.returns(), returns)
    before = np.concatenate([np.full((len(paths), 1), last), paths[:, :-1, CLOSE]], axis=1)
    body = paths[..., [OPEN, CLOSE]]
    gap = np.log(paths[..., OPEN] / before) * grown
    above = np.log(np.maximum(paths[..., HIGH] / body.max(axis=-1), 1.0)) * grown
    below = np.log(np.maximum(body.min(axis=-1) / paths[..., LOW], 1.0)) * grown
    new = paths.copy()
    new[..., CLOSE] = last * np.exp(returns)
    new[:, 0, OPEN] = last
    new[:, 1:, OPEN] = new[:, :-1, CLOSE]
    new[..., OPEN] *= np.exp(gap)
    body = new[..., [OPEN, CLOSE]]
    new[..., HIGH] = body.max(axis=-1) * np.exp(above)
    new[..., LOW] = body.min(axis=-1) * np.exp(-below)
    new, mended = repair(new, floor=last * _LOWEST_PRICE)
    return replace(forecast, paths=new, repaired=forecast.repaired + mended, meta={**forecast.meta, **meta})


def growth(old: Array, new: Array) -> Array:
    """(H,) how much wider the one-bar moves of the paths have become at every step."""
    widths = [np.diff(one, axis=1, prepend=0.0).std(axis=0) for one in (old, new)]
    ratio = np.divide(widths[1], widths[0], out=np.ones_like(widths[0]), where=widths[0] > 0)
    bounded: Array = np.clip(ratio, _TAMEST, _WILDEST)
    return bounded

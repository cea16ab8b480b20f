"""The one normaliser: bars to network inputs and back, in three kinds.

    zscore    each column's level by the look-back's mean and deviation: what the published weights were trained on
    robust    the same with median and scaled MAD, which one bad tick cannot move
    returns   candle geometry in units of the look-back's volatility: gap, body and both wicks as logarithms, so that
              every inverted bar is a valid candle that joins the last close, and no level pulls the forecast back

`fit_normaliser` sees the look-back and nothing else; what it returns is applied to any bars and inverted for bars that
follow the look-back. All arrays are (..., T, 6) in the order of `COLUMNS`, so one call serves a batch of windows.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from kronos.bars.candles import AMOUNT, CLOSE, COLUMNS, HIGH, LOW, OPEN, VOLUME, Array
from kronos.errors import BarsError, ConfigError

Kind = Literal["zscore", "robust", "returns"]
KINDS: tuple[str, ...] = get_args(Kind)

Inputs = NDArray[np.float32]

_EPSILON = np.float32(1e-5)  # the reference's guard against a constant column
_MAD_TO_DEVIATION = 1.4826  # the MAD of a normal distribution, as a share of its standard deviation, inverted
_LEAST_VOLATILITY = 1e-6  # a flat look-back still needs a unit; a millionth per bar is below any tick
_LEAST_SPREAD = 1e-9  # of log volume: constant volume has a deviation of rounding errors, which is no unit
_FARTHEST = 30.0  # no path leaves exp(+-30) of the last close, so that prices stay finite and positive


class Normaliser(ABC):
    """A fitted normaliser; make one with `fit_normaliser`."""

    @abstractmethod
    def apply(self, bars: Array) -> Inputs:
        """Network inputs for bars (..., T, 6) that begin where the look-back began, clipped."""

    @abstractmethod
    def invert(self, inputs: NDArray[np.floating]) -> Array:
        """Bars (..., H, 6) for inputs that follow the look-back; leading axes broadcast against the fit's."""


def fit_normaliser(kind: str, lookback: NDArray[np.floating], clip: float = 5.0) -> Normaliser:
    """Fit the normaliser of this kind on look-back bars (..., T, 6); the future must not be among them."""
    if lookback.ndim < 2 or lookback.shape[-1] != len(COLUMNS) or lookback.shape[-2] < 1:
        raise BarsError(f"a look-back must have shape (..., T, {len(COLUMNS)}) with T >= 1, not {lookback.shape}")
    if kind == "zscore":
        # float32 throughout, as in the reference: a statistic in float64 moves inputs by more than the promised digits
        levels = lookback.astype(np.float32)
        return _Levels(levels.mean(axis=-2, keepdims=True), levels.std(axis=-2, keepdims=True), clip)
    if kind == "robust":
        centre = np.median(lookback, axis=-2, keepdims=True)
        spread = _MAD_TO_DEVIATION * np.median(np.abs(lookback - centre), axis=-2, keepdims=True)
        # volume that is zero more than half of the time has no MAD; its deviation is the next best unit
        spread = np.where(spread > 0, spread, lookback.std(axis=-2, keepdims=True))
        return _Levels(centre.astype(np.float32), spread.astype(np.float32), clip)
    if kind == "returns":
        return _fit_returns(lookback.astype(np.float64), clip)
    raise ConfigError(f"unknown normaliser '{kind}'; known are {', '.join(KINDS)}")


@dataclass(frozen=True)
class _Levels(Normaliser):
    """Every column's level, centred and scaled: the kinds zscore and robust."""

    centre: Inputs  # (..., 1, 6)
    spread: Inputs  # (..., 1, 6)
    clip: float

    def apply(self, bars: Array) -> Inputs:
        scaled = (bars.astype(np.float32) - self.centre) / (self.spread + _EPSILON)
        clipped: Inputs = np.clip(scaled, -self.clip, self.clip)
        return clipped

    def invert(self, inputs: NDArray[np.floating]) -> Array:
        levels: Array = inputs.astype(np.float64) * (self.spread + _EPSILON) + self.centre
        return levels


@dataclass(frozen=True)
class _Returns(Normaliser):
    """Candle geometry in volatility units: input columns gap, body, upper wick, lower wick, volume, amount."""

    last_close: Array  # (..., 1)
    volatility: Array  # (..., 1) root mean square one-bar log return of the look-back
    volume_mean: Array  # (..., 1) of log1p(volume)
    volume_spread: Array  # (..., 1)
    price_gap: Array  # (..., 1) median of log(amount / (volume * typical price)): 0, or the unit the source counts in
    clip: float

    def apply(self, bars: Array) -> Inputs:
        volume = _log_volume(bars) - self.volume_mean
        columns = [np.arcsinh(part / self.volatility) for part in _geometry(bars)]
        columns.append(np.divide(volume, self.volume_spread, out=np.zeros_like(volume), where=self.volume_spread > 0))
        columns.append(np.arcsinh(_amount_gap(bars, self.price_gap) / self.volatility))
        clipped: Inputs = np.clip(np.stack(columns, axis=-1), -self.clip, self.clip).astype(np.float32)
        return clipped

    def invert(self, inputs: NDArray[np.floating]) -> Array:
        values = np.clip(inputs.astype(np.float64), -_FARTHEST, _FARTHEST)
        gap, body, upper, lower = (np.sinh(values[..., i]) * self.volatility for i in range(4))
        travelled = np.clip(np.cumsum(gap + body, axis=-1), -_FARTHEST, _FARTHEST)
        close = self.last_close * np.exp(travelled)
        before = np.concatenate([np.broadcast_to(self.last_close, close[..., :1].shape), close[..., :-1]], axis=-1)
        open_ = before * np.exp(np.clip(gap, -_FARTHEST, _FARTHEST))
        high = np.maximum(open_, close) * np.exp(np.clip(upper, 0.0, _FARTHEST))
        low = np.minimum(open_, close) * np.exp(-np.clip(lower, 0.0, _FARTHEST))
        growth = np.clip(values[..., 4] * self.volume_spread, -_FARTHEST, _FARTHEST)
        volume = np.maximum(np.expm1(growth + self.volume_mean), 0.0)
        typical = (open_ + high + low + close) / 4
        deviation = np.clip(np.sinh(values[..., 5]) * self.volatility, -_FARTHEST, _FARTHEST)
        amount = volume * typical * np.exp(deviation + self.price_gap)
        return np.stack([open_, high, low, close, volume, amount], axis=-1)


def _fit_returns(lookback: Array, clip: float) -> _Returns:
    if not (lookback[..., : CLOSE + 1] > 0).all():
        raise BarsError("the look-back holds a price that is not positive, and a log return of it means nothing")
    gap, body, _, _ = _geometry(lookback)
    volatility = np.sqrt(np.square(gap + body).mean(axis=-1, keepdims=True))
    volume = _log_volume(lookback)
    volume_spread = volume.std(axis=-1, keepdims=True)
    known = (lookback[..., VOLUME] > 0) & (lookback[..., AMOUNT] > 0)
    deviation = _amount_gap(lookback, np.zeros(1))
    # the median over the bars that have an amount; where none has, there is nothing to be off by
    price_gap = np.nan_to_num(_masked_median(deviation, known))
    return _Returns(
        last_close=lookback[..., -1:, CLOSE],
        volatility=np.maximum(volatility, _LEAST_VOLATILITY),
        volume_mean=volume.mean(axis=-1, keepdims=True),
        volume_spread=np.where(volume_spread > _LEAST_SPREAD, volume_spread, 0.0),
        price_gap=price_gap,
        clip=clip,
    )


def _geometry(bars: Array) -> tuple[Array, Array, Array, Array]:
    """Gap, body, upper and lower wick of every bar as logarithms, each (..., T); the first bar has no gap."""
    prices = np.log(bars[..., : CLOSE + 1])
    open_, high, low, close = prices[..., OPEN], prices[..., HIGH], prices[..., LOW], prices[..., CLOSE]
    gap = np.concatenate([np.zeros_like(open_[..., :1]), open_[..., 1:] - close[..., :-1]], axis=-1)
    return gap, close - open_, high - np.maximum(open_, close), np.minimum(open_, close) - low


def _log_volume(bars: Array) -> Array:
    volume: Array = np.log1p(bars[..., VOLUME])
    return volume


def _amount_gap(bars: Array, price_gap: Array) -> Array:
    """log(amount / (volume * typical price)) less `price_gap`, (..., T); 0 where there is no volume or amount."""
    value = bars[..., VOLUME] * bars[..., : CLOSE + 1].mean(axis=-1)
    known = (value > 0) & (bars[..., AMOUNT] > 0)
    ratio = np.divide(bars[..., AMOUNT], value, out=np.ones_like(value), where=known)
    gap: Array = np.where(known, np.log(ratio) - price_gap, 0.0)
    return gap


def _masked_median(values: Array, known: NDArray[np.bool_]) -> Array:
    """Median along the last axis over known entries, kept as an axis of length 1; nan where none is known."""
    ordered = np.sort(np.where(known, values, np.inf), axis=-1)
    count = known.sum(axis=-1, keepdims=True)
    low = np.take_along_axis(ordered, np.maximum(count - 1, 0) // 2, axis=-1)
    high = np.take_along_axis(ordered, np.minimum(count // 2, values.shape[-1] - 1), axis=-1)
    return np.where(count > 0, 0.5 * (np.where(count > 0, low, 0.0) + np.where(count > 0, high, 0.0)), np.nan)

"""Augmentation: windows that could have happened, made from those that did.

    noise    every close, and with it the next open, is moved a little; gaps and wicks keep their length
    scale    all logarithmic moves of a window are multiplied by one factor
    warp     time runs faster and slower: bars are merged and split, and the total volume stays
    invert   logarithmic prices are mirrored at the first open: what rose falls

The functions are pure: bars (B, T, 6) and a generator in, new bars out. Valid candles stay valid, and the amount
follows the price, so that amount / volume keeps its place beside the candle whatever unit the source counts in.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from kronos.bars.candles import AMOUNT, CLOSE, HIGH, LOW, OPEN, VOLUME, Array
from kronos.errors import BarsError, ConfigError

_WAVES = 4  # of the speed of time over a window: the slowest ones, or neighbours would jump
_FARTHEST = 300.0  # no price leaves exp(+-300): what a hopeless factor makes must still be a number
_DUST = 1e-9


def price_noise(bars: Array, random: Generator, scale: float = 0.001) -> Array:
    """Move every close by a log-normal factor exp(`scale` * z), and the open after it by the same one."""
    moved = random.standard_normal(bars.shape[:-1]) * scale
    if scale == 0:
        return bars.copy()
    prices = _logs(bars)
    before = np.concatenate([np.zeros_like(moved[..., :1]), moved[..., :-1]], axis=-1)
    open_, close = prices[..., OPEN] + before, prices[..., CLOSE] + moved
    body = prices[..., [OPEN, CLOSE]]
    high = np.maximum(open_, close) + (prices[..., HIGH] - body.max(axis=-1))
    low = np.minimum(open_, close) - (body.min(axis=-1) - prices[..., LOW])
    return _candles(bars, np.stack([open_, high, low, close], axis=-1))


def scale_amplitude(bars: Array, random: Generator, most: float = 1.5) -> Array:
    """Multiply the log returns of each window by a factor between 1 / `most` and `most`, its first open staying."""
    factor = np.exp(random.uniform(-1, 1, (*bars.shape[:-2], 1, 1)) * np.log(most))
    if most == 1:
        return bars.copy()
    prices = _logs(bars)
    first = prices[..., :1, OPEN:HIGH]
    return _candles(bars, first + factor * (prices - first))


def invert_trend(bars: Array, random: Generator | None = None) -> Array:
    """Mirror log prices at the first open; the high and the low change places. There is nothing random in it."""
    prices = _logs(bars)
    mirrored = 2 * prices[..., :1, OPEN:HIGH] - prices
    return _candles(bars, mirrored[..., [OPEN, LOW, HIGH, CLOSE]])


def warp_time(bars: Array, random: Generator, strength: float = 0.3) -> Array:
    """Let time run faster and slower within each window: as many bars again, cut elsewhere out of the same path.

    Within a bar the price goes from the open by the nearer extreme to the farther and to the close, in straight lines,
    and volume comes evenly. A new bar merges or splits the old ones that it covers (a gap among them becomes a move
    within it); the total volume is conserved.
    `strength` is the deviation of the logarithm of the speed.
    """
    phases = random.standard_normal((*bars.shape[:-2], _WAVES)) / np.sqrt(_WAVES / 2)
    if strength == 0 or bars.shape[-2] < 2:
        return bars.copy()
    flat = bars.reshape(-1, *bars.shape[-2:])
    length = flat.shape[1]
    waves = np.cos(np.pi * np.outer(np.arange(1, _WAVES + 1), (np.arange(length) + 0.5) / length))
    speed = np.exp(np.clip(strength * phases.reshape(-1, _WAVES) @ waves, -3, 3))
    cuts = np.concatenate([np.zeros((len(flat), 1)), np.cumsum(speed, axis=1)], axis=1)
    cuts *= length / cuts[:, -1:]
    cuts[:, -1] = length
    warped = _recut(flat, np.minimum(cuts, length))
    return _inside(flat, warped).reshape(bars.shape)


@dataclass(frozen=True)
class Augmentation:
    """One kind of augmentation, and the share of the windows that it befalls."""

    kind: str
    share: float = 0.5
    strength: float | None = None
    """Deviation of the noise, greatest factor of the scale, strength of the warp; None is the usual one."""

    def __post_init__(self) -> None:
        """Refuse unknown kinds and strengths that leave no market behind."""
        if self.kind not in _KINDS:
            raise ConfigError(f"unknown augmentation '{self.kind}'; known are {', '.join(_KINDS)}")
        check_share(self.share, f"share of '{self.kind}'")
        low, high = _KINDS[self.kind][1]
        if self.strength is not None and not low <= self.strength <= high:
            raise ConfigError(f"strength of '{self.kind}' is {self.strength}; it lies from {low:g} to {high:g}")

    def __call__(self, bars: Array, random: Generator) -> Array:
        """Augment these windows (B, T, 6), all of them."""
        function = _KINDS[self.kind][0]
        return function(bars, random) if self.strength is None else function(bars, random, self.strength)


def altered(bars: Array, seed: Sequence[int], augment: Sequence[Augmentation], without_volume: float = 0.0) -> Array:
    """Windows (B, T, 6) with augmentations, each in its share of them, and volume and amount zeroed in a share.

    All of it follows from `seed`; where there is nothing to do, the bars come back as they are.
    """
    if not augment and not without_volume:
        return bars
    random, bars = np.random.default_rng(list(seed)), bars.copy()
    for one in augment:
        chosen = random.random(len(bars)) < one.share
        if chosen.any():
            bars[chosen] = one(bars[chosen], random)
    bars[random.random(len(bars)) < without_volume, :, VOLUME:] = 0.0
    return bars


def check_share(share: float, what: str) -> None:
    """Refuse what is no share."""
    if not 0 <= share <= 1:
        raise ConfigError(f"{what} is {share}; it lies from 0 to 1")


def _invert(bars: Array, random: Generator, strength: float = 1.0) -> Array:
    return invert_trend(bars)


_KINDS: dict[str, tuple[Callable[..., Array], tuple[float, float]]] = {
    "noise": (price_noise, (0.0, 0.1)),
    "scale": (scale_amplitude, (1.0, 5.0)),
    "warp": (warp_time, (0.0, 1.0)),
    "invert": (_invert, (1.0, 1.0)),
}


# --- prices, and the amount that belongs to them ----------------------------------------------------------------------


def _logs(bars: Array) -> Array:
    """Log prices (..., T, 4)."""
    prices = bars[..., : CLOSE + 1]
    if not (prices > 0).all():
        raise BarsError("a window holds a price that is not positive; only valid candles can be augmented")
    logs: Array = np.log(prices)
    return logs


def _candles(before: Array, logs: Array) -> Array:
    """Candles of new log prices with the volume of `before`, the amount following the middle of high and low."""
    prices = np.exp(np.clip(logs, -_FARTHEST, _FARTHEST))
    # logarithms round: what was equal must stay so
    prices[..., HIGH] = prices[..., [OPEN, HIGH, CLOSE]].max(axis=-1)
    prices[..., LOW] = prices[..., [OPEN, LOW, CLOSE]].min(axis=-1)
    middle = np.sqrt(before[..., HIGH]) * np.sqrt(before[..., LOW])
    amount = before[..., AMOUNT] * (np.sqrt(prices[..., HIGH]) * np.sqrt(prices[..., LOW]) / middle)
    after = np.concatenate([prices, before[..., VOLUME : VOLUME + 1], amount[..., None]], axis=-1)
    return _inside(before, after)


def _inside(before: Array, after: Array) -> Array:
    """Keep amount / volume between low and high in the windows where it was so in every bar."""
    value, volume = before[..., AMOUNT], before[..., VOLUME]
    with np.errstate(over="ignore", invalid="ignore"):
        fits = (value <= volume * before[..., HIGH] * (1 + _DUST)) & (value >= volume * before[..., LOW] * (1 - _DUST))
        low, high = after[..., VOLUME] * after[..., LOW], after[..., VOLUME] * after[..., HIGH]
    held = np.clip(after[..., AMOUNT], low, high)
    after[..., AMOUNT] = np.where(fits.all(axis=-1, keepdims=True), held, after[..., AMOUNT])
    return after


# --- cutting bars anew ------------------------------------------------------------------------------------------------


def _recut(bars: Array, cuts: NDArray[np.float64]) -> Array:
    """Bars (N, T, 6) cut out of the paths of bars (N, T, 6) at times (N, T + 1) that run from 0 to T."""
    length = bars.shape[1]
    knots = _knots(bars)  # (N, T, 4), at 0, 1/3, 2/3 and 1 of every bar
    at = np.minimum(np.floor(cuts[:, :-1]), length - 1)  # where a new bar begins on an edge, the next old one counts
    open_ = _along(knots, at, cuts[:, :-1] - at)
    until = np.maximum(np.ceil(cuts[:, 1:]) - 1, 0)  # and where it ends on one, the old one before
    close = _along(knots, until, cuts[:, 1:] - until)
    times = (np.arange(length)[:, None] + np.arange(4) / 3).reshape(-1)
    first = np.searchsorted(times, cuts[:, :-1], side="right")
    stop = np.searchsorted(times, cuts[:, 1:], side="left")
    inner_high = _extreme(np.maximum, knots, first, stop, -np.inf)
    inner_low = _extreme(np.minimum, knots, first, stop, np.inf)
    high = np.maximum(np.maximum(open_, close), inner_high)
    low = np.minimum(np.minimum(open_, close), inner_low)
    return np.stack([open_, high, low, close, _flow(bars, cuts, VOLUME), _flow(bars, cuts, AMOUNT)], axis=-1)


def _knots(bars: Array) -> Array:
    """The path within each bar: the open, the extreme that lies nearer to it, the other one, the close."""
    open_, high, low, close = (bars[..., i] for i in (OPEN, HIGH, LOW, CLOSE))
    up = high - open_ < open_ - low
    return np.stack([open_, np.where(up, high, low), np.where(up, low, high), close], axis=-1)


def _along(knots: Array, bar: NDArray[np.float64], share: NDArray[np.float64]) -> Array:
    """The price at a share of the way through bars, all (N, T)."""
    path = np.take_along_axis(knots, bar.astype(np.int64)[..., None], axis=1)
    leg = np.clip(np.floor(share * 3), 0, 2)
    begin, end = (np.take_along_axis(path, leg.astype(np.int64)[..., None] + i, axis=-1)[..., 0] for i in (0, 1))
    along = np.clip(share * 3 - leg, 0.0, 1.0)
    price: Array = begin * (1 - along) + end * along
    return price


def _extreme(which: np.ufunc, knots: Array, first: NDArray[np.int64], stop: NDArray[np.int64], none: float) -> Array:
    """The highest or lowest of the knots [first, stop) of each window, all (N, T); `none` where there is not one."""
    count, each = len(knots), knots[0].size
    flat = np.append(knots.reshape(-1), none)
    begin = np.arange(count)[:, None] * each
    pairs = np.stack([begin + first, begin + np.maximum(stop, first)], axis=-1).reshape(-1)
    found = which.reduceat(flat, pairs)[::2].reshape(first.shape)
    return np.where(stop > first, found, none)


def _flow(bars: Array, cuts: NDArray[np.float64], column: int) -> Array:
    """What of a column falls between the cuts."""
    total = np.concatenate([np.zeros((len(bars), 1)), np.cumsum(bars[..., column], axis=1)], axis=1)
    at = np.minimum(np.floor(cuts), bars.shape[1] - 1).astype(np.int64)
    passed = np.take_along_axis(total, at, axis=1)
    passed = passed + (cuts - at) * np.take_along_axis(bars[..., column], at, axis=1)
    passed[:, -1] = total[:, -1]
    flow: Array = np.maximum(np.diff(passed, axis=1), 0.0)
    return flow

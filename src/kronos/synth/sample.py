"""Sample bars from the package's own market: no download, no licence, the same numbers on every machine.

The simulated market has what makes real bars recognisable: volatility that clusters and rises after losses, fat tails,
a daily rhythm of volatility and volume, overnight gaps where there are sessions, and volume that follows the size of
the move. Every candle is drawn from simulated steps inside the bar, so that its wicks are prices that were "traded".
It is for examples, tests and smoke runs; it holds no edge to be found, and says nothing about a real market.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kronos.bars.candles import COLUMNS
from kronos.errors import ConfigError

Array = NDArray[np.float64]

_MINUTES = {"1m": 1, "5m": 5, "15m": 15, "30m": 30, "1h": 60, "4h": 240, "1d": 1440}
_STEPS = 24  # simulated prices inside a bar
_SESSIONS = ((570, 690), (780, 900))  # minutes of the day: 09:30 to 11:30 and 13:00 to 15:00
_TAIL = 6.0  # degrees of freedom of the Student-t shocks: fat, and the variance of a squared return still exists


@dataclass(frozen=True)
class _Market:
    """The constants of one simulated market."""

    start: str
    price: float
    tick: float
    daily_volatility: float  # of the log return while the market is open
    minutes_a_day: float
    leverage: float  # correlation of a shock with the next change of volatility
    daily_volume: float
    lot: float
    overnight: float  # standard deviation of the log return between two sessions
    lunch: float


_MARKETS = {
    "crypto": _Market("2024-01-01", 42_000.0, 0.1, 0.028, 1440.0, -0.2, 24_000.0, 0.001, 0.0, 0.0),
    "stock": _Market("2024-01-02", 36.80, 0.01, 0.016, 240.0, -0.4, 20_000_000.0, 100.0, 0.008, 0.001),
}


def sample_bars(
    kind: Literal["crypto", "stock"] = "crypto", rows: int = 480, seed: int = 7, timeframe: str = "1h"
) -> pd.DataFrame:
    """`rows` simulated candles, stamped with their opening time (index "timestamp", no time zone), always valid.

    "crypto" trades around the clock from 2024-01-01; "stock" on weekdays from 2024-01-02, from 09:30 to 11:30 and from
    13:00 to 15:00. The timeframe is one of 1m, 5m, 15m, 30m, 1h, 4h (crypto only) and 1d. Equal arguments give equal
    bars.
    """
    market = _MARKETS.get(kind)
    if market is None:
        raise ConfigError(f"kind must be one of {', '.join(_MARKETS)}, got {kind!r}")
    if timeframe not in _MINUTES or (kind == "stock" and timeframe == "4h"):
        raise ConfigError(f"{kind} bars have no timeframe {timeframe!r}; choose from {', '.join(_MINUTES)}")
    if rows < 1:
        raise ConfigError(f"rows must be at least 1, got {rows}")
    minutes = _MINUTES[timeframe]
    times = _clock(kind, market, rows, minutes)
    rng = np.random.Generator(np.random.PCG64(seed))
    days = min(minutes / market.minutes_a_day, 1.0)  # the part of a trading day that one bar covers
    log_volatility, shocks = _volatility_and_shocks(rng, rows, days, market.leverage)
    rhythm = _rhythm(kind, times, minutes)
    scale = market.daily_volatility * np.sqrt(days) * rhythm * np.exp(log_volatility)
    gaps = _gaps(rng, times, minutes, market) * np.exp(log_volatility)
    prices = _walk(rng, scale, shocks, gaps, market)
    volume = _volume(rng, market.daily_volume * days, market.lot, log_volatility, rhythm, shocks)
    return _candles(rng, times, prices, volume)


def _clock(kind: str, market: _Market, rows: int, minutes: int) -> pd.DatetimeIndex:
    """The opening times of the bars."""
    if kind == "crypto":
        times = pd.date_range(market.start, periods=rows, freq=pd.Timedelta(minutes=minutes))
    elif minutes == 1440:
        times = pd.date_range(market.start, periods=rows, freq="B")
    else:
        opens = np.concatenate([np.arange(start, end, minutes) for start, end in _SESSIONS])
        days = pd.date_range(market.start, periods=-(-rows // len(opens)), freq="B").to_numpy("datetime64[m]")
        times = pd.DatetimeIndex((days[:, None] + opens[None, :].astype("timedelta64[m]")).ravel()[:rows])
    return pd.DatetimeIndex(times.to_numpy("datetime64[ns]"), name="timestamp")


def _volatility_and_shocks(rng: np.random.Generator, rows: int, days: float, leverage: float) -> tuple[Array, Array]:
    """The log volatility of every bar of length `days`, around zero, and the bar's standardised Student-t shock."""
    shocks = _student(rng, rows)
    log_volatility = np.zeros(rows)
    # Waves of months, days and hours: any one alone forgets too soon or too late. They start in their stationary state,
    # so that the first bars are like the others.
    for memory, spread in ((45.0, 0.40), (6.0, 0.35), (0.5, 0.30)):
        keep = np.exp(-days / memory)
        news = leverage * shocks + np.sqrt(1.0 - leverage**2) * rng.standard_normal(rows)
        level = spread * rng.standard_normal()
        for bar in range(rows):
            log_volatility[bar] += level
            level = keep * level + np.sqrt(1.0 - keep**2) * spread * news[bar]
    calm = 1.5 * np.tanh(log_volatility / 1.5)  # crises stay within a few times the usual volatility
    return calm - 0.3, shocks  # e^(2 x) averages about one: the market is as volatile as its constants say


def _student(rng: np.random.Generator, rows: int) -> Array:
    """Student-t shocks of variance one, cut where even a real market would have halted."""
    shocks: Array = np.clip(rng.standard_t(_TAIL, rows) * np.sqrt((_TAIL - 2.0) / _TAIL), -5.0, 5.0)
    return shocks


def _rhythm(kind: str, times: pd.DatetimeIndex, minutes: int) -> Array:
    """How volatile a bar's time of day and week is, around one."""
    middle = (times.hour * 60 + times.minute).to_numpy(dtype=np.float64) + minutes / 2
    if kind == "stock":
        if minutes == 1440:
            return np.ones(len(times))
        traded = np.where(middle < 720, middle - 570, middle - 660)  # minutes of trading since the opening
        reopening = np.where(traded > 120, np.exp(-(traded - 120) / 12), 0.0)
        return 0.78 + 1.3 * np.exp(-traded / 18) + 0.25 * reopening + 0.35 * np.exp((traded - 240) / 15)
    weekend = np.where(times.day_of_week.to_numpy() >= 5, 0.72, 1.06)
    if minutes == 1440:
        return weekend
    new_york, asia = _bump(middle, 14.75 * 60, 130.0), _bump(middle, 1.0 * 60, 100.0)
    return weekend * (0.84 + 0.75 * new_york + 0.2 * asia)


def _bump(minute: Array, centre: float, width: float) -> Array:
    """A bell around a minute of the day that knows that midnight is near both ends."""
    distance = (minute - centre + 720.0) % 1440.0 - 720.0
    bell: Array = np.exp(-0.5 * np.square(distance / width))
    return bell


def _gaps(rng: np.random.Generator, times: pd.DatetimeIndex, minutes: int, market: _Market) -> Array:
    """The log return between the previous close and a bar's open: nothing inside a session or around the clock."""
    pause = np.diff(times.to_numpy(), prepend=times.to_numpy()[:1]) / np.timedelta64(1, "m")
    night = pause > 720 if market.overnight else np.zeros(len(times), dtype=bool)
    spread = np.where(night, market.overnight, np.where(pause > minutes, market.lunch, 0.0))
    return spread * _student(rng, len(times))


def _walk(rng: np.random.Generator, scale: Array, shocks: Array, gaps: Array, market: _Market) -> Array:
    """(rows, steps + 1) prices on the tick grid: the open, then a bridge that ends at the bar's own return."""
    steps = rng.standard_normal((len(scale), _STEPS)) * scale[:, None] / np.sqrt(_STEPS)
    steps += (scale * shocks - steps.sum(axis=1))[:, None] / _STEPS
    log_price = np.cumsum(np.column_stack([gaps, steps]).ravel()).reshape(-1, _STEPS + 1)
    # Rounding the quotient, not the product, gives the doubles nearest to the decimal prices (36.8, not 36.8000000004).
    ticks = np.maximum(np.round(market.price * np.exp(log_price) / market.tick), 1.0)
    prices: Array = np.round(ticks * market.tick, 8)
    return prices


def _volume(
    rng: np.random.Generator, expected: float, lot: float, log_volatility: Array, rhythm: Array, shocks: Array
) -> Array:
    """Volume that follows the market's state, the time of day and the size of the bar's own move."""
    noise = 0.35 * rng.standard_normal(len(shocks))
    activity = 0.9 * log_volatility + 1.5 * np.log(rhythm) + 0.7 * np.log(0.35 + np.abs(shocks)) + noise
    return np.round(np.maximum(np.round(expected * np.exp(activity) / lot), 1.0) * lot, 8)


def _candles(rng: np.random.Generator, times: pd.DatetimeIndex, prices: Array, volume: Array) -> pd.DataFrame:
    """Candles of the simulated prices; the amount is the volume at an average of prices that were traded."""
    high, low = prices.max(axis=1), prices.min(axis=1)
    weights = rng.standard_exponential(prices.shape)
    average = (weights * prices).sum(axis=1) / weights.sum(axis=1)
    amount = np.clip(np.round(volume * average, 2), volume * low, volume * high)
    columns = (prices[:, 0], high, low, prices[:, -1], volume, amount)
    return pd.DataFrame(dict(zip(COLUMNS, columns, strict=True)), index=times)

"""Forecasters of known skill, and the walks that they are judged on, for the tests of the paper's protocol."""

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import pandas as pd

from kronos.bars import Forecast, next_times
from kronos.bars.candles import CLOSE
from kronos.data import Series
from kronos.errors import BarsError

SIGMA = 0.01


def series(name: str, rows: int = 700, timeframe: str = "1h", seed: int = 0, start: str = "2024-06-25") -> Series:
    """A random walk with wicks and volume."""
    rng = np.random.default_rng([seed, len(name)])
    step = {"1h": "1h", "1d": "1D", "30m": "30min"}[timeframe]
    index = pd.date_range(start, periods=rows, freq=step, name="timestamp")
    closes = 50 * np.exp(rng.normal(0, SIGMA, rows).cumsum())
    opens = np.r_[50.0, closes[:-1]]
    top, bottom = np.maximum(opens, closes), np.minimum(opens, closes)
    volume = rng.lognormal(5, 0.4, rows)
    bars = {"open": opens, "high": top * 1.002, "low": bottom / 1.002, "close": closes, "volume": volume}
    return Series.of(pd.DataFrame({**bars, "amount": volume * closes}, index=index), name)


class Walker:
    """A random walk; it keeps what it was asked, and fails where it is told to."""

    name = "walker"

    def __init__(
        self, drift: float = 0.0, fails: Collection[pd.Timestamp] = (), breaks_after: int | None = None
    ) -> None:
        self.drift, self.fails, self.breaks_after = drift, set(fails), breaks_after
        self.asked: list[dict[str, Any]] = []
        self.told: list[pd.DatetimeIndex] = []

    def forecast(self, data: Any, horizon: int, *, samples: int = 100, seed: int = 0, y_timestamp: Any = None,
                 **options: Any) -> Any:  # fmt: skip
        if self.breaks_after is not None and len(self.asked) >= self.breaks_after:
            raise RuntimeError("the machine went down")
        lookback = len(data[0])
        self.asked.append({"lookback": lookback, "horizon": horizon, "samples": samples, **options})
        times = y_timestamp or [next_times(pd.DatetimeIndex(one.index), horizon) for one in data]
        self.told += times
        return [self._one(frame, ahead, samples, seed) for frame, ahead in zip(data, times, strict=True)]

    def _one(self, frame: pd.DataFrame, times: pd.DatetimeIndex, samples: int, seed: int) -> Forecast:
        if frame.index[-1] in self.fails:
            raise BarsError("these bars are not to my taste")
        return Forecast(paths_of(self.moves(frame, times, samples, seed), frame), times, float(frame["close"].iloc[-1]))

    def moves(self, frame: pd.DataFrame, times: pd.DatetimeIndex, samples: int, seed: int) -> np.ndarray:
        key = int(frame.index[-1].value) % 2**32 + int(1e6 * frame["close"].iloc[-1])
        return np.random.default_rng([seed, key]).normal(self.drift, SIGMA, (samples, len(times))).cumsum(axis=1)


class Prophet(Walker):
    """One who knows the truth: found by the close that it was given."""

    name = "prophet"

    def __init__(self, known: Sequence[Series]) -> None:
        super().__init__()
        self.closes = {one.name: pd.Series(one.bars[:, CLOSE], pd.DatetimeIndex(one.times)) for one in known}

    def moves(self, frame: pd.DataFrame, times: pd.DatetimeIndex, samples: int, seed: int) -> np.ndarray:
        last, moment = frame["close"].iloc[-1], frame.index[-1]
        whole = next(one for one in self.closes.values() if one.get(moment) == last)
        after = whole[whole.index > moment].to_numpy()[: len(times)]
        after = np.r_[after, np.full(len(times) - len(after), after[-1] if len(after) else last)]
        return np.repeat(np.log(after / last)[None], samples, axis=0)


def paths_of(moves: np.ndarray, frame: pd.DataFrame) -> np.ndarray:
    last = float(frame["close"].iloc[-1])
    closes = last * np.exp(moves)
    opens = np.concatenate([np.full_like(closes[:, :1], last), closes[:, :-1]], axis=1)
    volume = np.full_like(closes, float(frame["volume"].mean()))
    high, low = np.maximum(opens, closes) * 1.002, np.minimum(opens, closes) / 1.002
    return np.stack([opens, high, low, closes, volume, volume * closes], axis=-1)


class Listener:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)

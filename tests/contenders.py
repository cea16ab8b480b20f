"""Who is judged in the tests of the benchmark, and on what: walks of known laws, and forecasters good and bad."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from kronos.bars import Forecast
from kronos.errors import BarsError
from kronos.evaluate.benchmark.contestants import Contestant
from kronos.evaluate.benchmark.reporting import Progress

SIGMA = 0.01
COLUMNS = ["open", "high", "low", "close", "volume", "amount"]


def candles(closes: np.ndarray, before: float) -> np.ndarray:
    """Candles without wicks (..., H, 6) of closes (..., H)."""
    opens = np.concatenate([np.full_like(closes[..., :1], before), closes[..., :-1]], axis=-1)
    high, low = np.maximum(opens, closes), np.minimum(opens, closes)
    return np.stack([opens, high, low, closes, np.ones_like(closes), closes], axis=-1)


def bars(moves: np.ndarray, start: str = "2024-01-01", freq: str = "1h") -> pd.DataFrame:
    """The frame of a market that moved by these log returns."""
    index = pd.date_range(start, periods=len(moves), freq=freq, unit="ns", name="timestamp")
    return pd.DataFrame(candles(50 * np.exp(moves.cumsum()), 50.0), index=index, columns=COLUMNS)


def walk(rows: int, seed: int, sigma: float = SIGMA, **how: Any) -> pd.DataFrame:
    """A Gaussian random walk."""
    return bars(np.random.default_rng(seed).normal(0, sigma, rows), **how)


def put(folder: Path, **frames: pd.DataFrame) -> Path:
    """A folder of files; in a name a `__` stands for a folder (`crypto__BTC_1h`)."""
    for name, frame in frames.items():
        path = folder / f"{name.replace('__', '/')}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        frame.to_parquet(path)
    return folder


class Walker:
    """A random walk of known volatility: for such series the true distribution."""

    name = "walker"

    def __init__(self, sigma: float = SIGMA, cutoff: str | None = None, samples: int | None = None) -> None:
        self.sigma, self.cutoff, self.samples = sigma, cutoff, samples

    def forecast(self, data: Any, horizon: int, *, samples: int = 100, seed: int = 0, y_timestamp: Any = None) -> Any:
        times = y_timestamp or [None] * len(data)
        return [self.one(frame, horizon, samples, seed, when) for frame, when in zip(data, times, strict=True)]

    def one(self, frame: pd.DataFrame, horizon: int, samples: int, seed: int, times: Any) -> Forecast:
        if times is None:
            times = pd.date_range(frame.index[-1], periods=horizon + 1, freq="1h", unit="ns")[1:]
        last = float(frame["close"].iloc[-1])
        key = int(frame.index[-1].value) % 2**32  # of the series' own: not of its place in the list
        moves = self.moves(frame, samples, horizon, np.random.default_rng([seed, key]))
        meta = {"cutoff": self.cutoff, "sigma": self.sigma}
        return Forecast(candles(last * np.exp(moves), last), times, last, history=frame, meta=meta)

    def moves(self, frame: pd.DataFrame, samples: int, horizon: int, random: np.random.Generator) -> np.ndarray:
        """(S, H) cumulative log returns."""
        found: np.ndarray = random.normal(0, self.sigma, (samples, horizon)).cumsum(axis=1)
        return found


class Recent(Walker):
    """A Gaussian of the last bars' volatility, times a factor."""

    name = "recent"

    def __init__(self, count: int = 100, factor: float = 1.0) -> None:
        super().__init__()
        self.count, self.factor = count, factor

    def moves(self, frame: pd.DataFrame, samples: int, horizon: int, random: np.random.Generator) -> np.ndarray:
        changes = np.diff(np.log(frame["close"].to_numpy()))[-self.count :]
        found: np.ndarray = self.factor * changes.std() * random.normal(size=(samples, horizon)).cumsum(axis=1)
        return found


class Fails(Walker):
    """It has no forecast where the last known bar is one of these."""

    name = "fails"

    def __init__(self, at: Sequence[Any], error: Callable[[str], Exception] = BarsError) -> None:
        super().__init__()
        self.at, self.error = {pd.Timestamp(one) for one in at}, error

    def one(self, frame: pd.DataFrame, *rest: Any) -> Forecast:
        if frame.index[-1] in self.at:
            raise self.error("these bars are not to its taste")
        return super().one(frame, *rest)


def contestant(name: str, make: Callable[[], Any] = Walker, **more: Any) -> Contestant:
    """With fewer defaults than the class."""
    return Contestant(name, make, **more)


class Listener:
    """Keeps what it hears."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.ticks: list[Progress] = []

    def say(self, line: str) -> None:
        self.lines.append(line)

    def tick(self, progress: Progress) -> None:
        self.ticks.append(progress)

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

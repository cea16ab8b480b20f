"""What the tests of the ledger write down: a market of random steps, forecasts of it, and a clock that obeys."""

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd

from kronos.bars import COLUMNS, Forecast
from kronos.data import Series
from kronos.evaluate.ledger.ledger import Added, Ledger

START = datetime(2025, 3, 1, tzinfo=UTC)
STEP = 0.01  # deviation of a one-bar log return


class Clock:
    """The time, as the test sets it."""

    def __init__(self, now: datetime = START) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def at(self, frame: pd.DataFrame, row: int) -> None:
        """A moment after the bar before `row` is over."""
        self.now = frame.index[row].to_pydatetime().replace(tzinfo=UTC) + timedelta(seconds=5)


def market(bars: int, seed: int = 0) -> pd.DataFrame:
    """Hourly bars of a random walk."""
    rng = np.random.default_rng(seed)
    close = 100.0 * np.exp(np.cumsum(rng.normal(0.0, STEP, bars)))
    opened = np.r_[100.0, close[:-1]]
    high, low = np.maximum(opened, close) * 1.002, np.minimum(opened, close) * 0.998
    volume = 1.0 + rng.random(bars)
    index = pd.date_range(START.replace(tzinfo=None), periods=bars, freq="1h", name="timestamp")
    columns = (opened, high, low, close, volume, volume * close)
    return pd.DataFrame(dict(zip(COLUMNS, columns, strict=True)), index=index)


def forecast_of(
    frame: pd.DataFrame,
    row: int,
    *,
    horizon: int = 24,
    samples: int = 20,
    seed: int = 0,
    wide: float = 1.0,
    **meta: Any,
) -> Forecast:
    """What somebody who knows the market says of the bars from `row` on; `wide` times the true deviation."""
    past = frame.iloc[max(row - 150, 0) : row]
    rng = np.random.default_rng([seed, row])
    last = float(past["close"].iloc[-1])
    close = last * np.exp(np.cumsum(rng.normal(0.0, STEP * wide, (samples, horizon)), axis=1))
    opened = np.concatenate([np.full((samples, 1), last), close[:, :-1]], axis=1)
    paths = np.zeros((samples, horizon, 6))
    paths[..., 0], paths[..., 3] = opened, close
    paths[..., 1], paths[..., 2] = np.maximum(opened, close) * 1.002, np.minimum(opened, close) * 0.998
    times = pd.date_range(past.index[-1], periods=horizon + 1, freq="1h")[1:]
    told = {"model": "gauss", "seed": seed, "T": 1.0, **meta}
    return Forecast(paths, times, last, history=past, timeframe="1h", meta=told)


def series_of(frame: pd.DataFrame, symbol: str = "BTC/USDT", name: str | None = None, market: str = "") -> Series:
    """The bars as the data room hands them out."""
    return Series.of(frame, name or symbol.replace("/", "-"), symbol=symbol, market=market)


def write(ledger: Ledger, clock: Clock, frame: pd.DataFrame, row: int, symbol: str = "BTC/USDT", **how: Any) -> Added:
    """Write down a forecast at the moment when it can be made."""
    clock.at(frame, row)
    return ledger.add(forecast_of(frame, row, **how), symbol=symbol)

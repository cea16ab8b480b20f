"""The places from which is forecast, and what gave none.

An `Origin` has two doors: the past for the forecaster, the truth for whoever scores it. It holds copies of its own
bars, so that a whole series is in memory only while its windows are chosen, and no view leads to the future.
"""

from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kronos.bars import COLUMNS
from kronos.bars.candles import CLOSE
from kronos.evaluate.benchmark.shelves import Shelf

Array = NDArray[np.float64]
UNIT_BARS, RECENT_BARS = 100, 20
MOSTLY = 0.5  # the share of bars that do not move from which on a market stands still
REGIMES = ("calm", "usual", "wild")


@dataclass(frozen=True, eq=False)
class Origin:
    """One window: the bars that were known, those that came, and the ones before, for forecasts made too early."""

    number: int
    series: str
    market: str
    asset: str
    timeframe: str
    times: NDArray[np.datetime64]  # (B + L + H,)
    bars: Array  # (B + L + H, 6)
    before: int  # B
    lookback: int  # L
    shelf: Shelf

    def past(self) -> pd.DataFrame:
        """The look-back as a frame of its own."""
        return self._frame(self.before, self.before + self.lookback)

    def past_candles(self) -> Array:
        """The same as an array (L, 6)."""
        return self.bars[self.before : self._first].copy()

    def future_times(self) -> pd.DatetimeIndex:
        """The times of the bars to be predicted."""
        return pd.DatetimeIndex(self.times[self._first :].copy(), name="timestamp")

    def truth(self) -> Array:
        """The candles (H, 6) that came."""
        return self.bars[self._first :].copy()

    def earlier(self, bars: int) -> pd.DataFrame | None:
        """The look-back as it was so many bars before; None where the series begins later."""
        return self._frame(self.before - bars, self._first - bars) if bars <= self.before else None

    def earlier_times(self, bars: int) -> pd.DatetimeIndex:
        """The times of the bars that come after it."""
        first = self._first - bars
        return pd.DatetimeIndex(self.times[first : first + len(self.times) - self._first].copy(), name="timestamp")

    @property
    def time(self) -> np.datetime64:
        """Of the first bar to be predicted."""
        return np.datetime64(self.times[self._first], "ns")

    @property
    def last_known(self) -> np.datetime64:
        """The time of the last bar that is known."""
        return np.datetime64(self.times[self._first - 1], "ns")

    @property
    def digest(self) -> str:
        """A name for the bars in the window."""
        rows = slice(self.before, None)
        content = np.ascontiguousarray(self.bars[rows]).tobytes() + self.times[rows].astype(np.int64).tobytes()
        return blake2b(content, digest_size=8).hexdigest()

    @property
    def wildness(self) -> float:
        """The deviation of the last returns over that of all in the look-back."""
        changes = _changes(self.past_candles())
        return float(changes[-RECENT_BARS:].std() / changes.std())

    @property
    def still(self) -> bool:
        """True where there is nothing to divide by: a suspended share, a market that does not trade."""
        changes = _changes(self.past_candles())
        return bool((changes[-UNIT_BARS:] == 0).mean() > MOSTLY or not changes[-RECENT_BARS:].any())

    @property
    def _first(self) -> int:
        return self.before + self.lookback

    def _frame(self, first: int, stop: int) -> pd.DataFrame:
        index = pd.DatetimeIndex(self.times[first:stop].copy(), name="timestamp")
        return pd.DataFrame(self.bars[first:stop].copy(), index=index, columns=list(COLUMNS))


@dataclass
class Found:
    """The origins of a task, and what could not be judged."""

    origins: list[Origin] = field(default_factory=list)
    excluded: list[str] = field(default_factory=list)  # by name
    refused: dict[str, str] = field(default_factory=dict)  # files that are no bars, and why
    mixed: list[str] = field(default_factory=list)  # two contracts in turn: no forecast of such prices means anything
    short: list[str] = field(default_factory=list)
    before_cutoff: list[str] = field(default_factory=list)  # series all of whose windows begin too early
    still: int = 0  # origins at which the market stood still

    def left_out(self) -> dict[str, Any]:
        """Names and numbers, without what is empty."""
        refused = [f"{name}: {why}" for name, why in self.refused.items()]
        found = {key: value for key, value in vars(self).items() if key not in ("origins", "refused")}
        return {key: value for key, value in (found | {"refused": refused}).items() if value}

    def table(self) -> pd.DataFrame:
        """A row for every origin."""
        ratios = np.array([one.wildness for one in self.origins])
        return pd.DataFrame(
            {
                "number": [one.number for one in self.origins],
                "series": [one.series for one in self.origins],
                "market": [one.market for one in self.origins],
                "asset": [one.asset for one in self.origins],
                "timeframe": [one.timeframe for one in self.origins],
                "time": np.array([one.time for one in self.origins], dtype="datetime64[ns]"),
                "origin": np.array([one.last_known for one in self.origins], dtype="datetime64[ns]"),
                "regime": regimes(ratios),
                "digest": [one.digest for one in self.origins],
            }
        )


def regimes(ratios: Array) -> list[str]:
    """calm, usual or wild: thirds of what was given."""
    low, high = np.quantile(ratios, (1 / 3, 2 / 3))
    return [REGIMES[int(ratio > low) + int(ratio > high)] for ratio in ratios]


def _changes(candles: Array) -> Array:
    found: Array = np.diff(np.log(candles[:, CLOSE]))
    return found

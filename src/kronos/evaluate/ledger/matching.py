"""Which bars are the ones that a forecast spoke of: by symbol, timeframe and time stamps, never by counting rows.

A name alone may mislead: a swap is spelt much like the coin it is on, and two exchanges trade the same pair. So the
bars that the forecast was made from are looked for in the series too, and what they show outweighs the name.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kronos.bars.candles import CLOSE
from kronos.data import Series
from kronos.data.sets.series import plain_symbol
from kronos.evaluate.ledger.packing import digest_of
from kronos.evaluate.ledger.statement import Moments

Array = NDArray[np.float64]

SAME, CLOSES, RESCALED, DIFFERENT, UNKNOWN = "same", "closes", "rescaled", "different", "unknown"
"""How the look-back of a series stands to that of a forecast: every bar is the same; the closes are, as far as they go
(volume is not, or older bars are missing); all prices are multiplied by one factor, as a split does; other bars; not
there."""

_EQUAL = 1e-9  # of a price
_LEAST_FACTOR = 1e-3  # what changes prices by less than this share is no split
_FEWEST = 3  # closes, to tell a factor from other bars


@dataclass(frozen=True)
class Wanted:
    """What a forecast says of the bars it was made from and those it speaks of."""

    symbol: str
    market: str
    timeframe: str
    lookback: int
    began: int
    data: str
    past_times: Moments
    past_closes: Array


@dataclass(frozen=True)
class Match:
    """A series, and how its bars stand to those the forecast was made from."""

    series: Series
    past: str
    factor: float = 1.0
    """Prices of the series for one of the forecast's."""


class Shelf:
    """Series by what they are of."""

    def __init__(self, series: Iterable[Series]) -> None:
        """Put them in order."""
        self._series: dict[tuple[str, str], list[Series]] = defaultdict(list)
        for one in series:
            self._series[plain_symbol(one.symbol or one.name), one.timeframe].append(one)

    def find(self, wanted: Wanted) -> Match | str:
        """The series that a forecast speaks of, or why there is none."""
        near = self._series.get((plain_symbol(wanted.symbol), wanted.timeframe), [])
        if not near:
            return f"no series of {wanted.symbol} {wanted.timeframe} is there"
        matches = [compare(wanted, one) for one in near]
        for past in (SAME, CLOSES):  # as many equal prices are no chance: whatever it is called, and however often it
            proven = [match for match in matches if match.past == past]  # is there, these are its bars
            if proven:
                return max(proven, key=lambda match: match.series.times[-1])
        for past in (RESCALED, UNKNOWN, DIFFERENT):
            alike = [match for match in matches if match.past == past and _named(wanted, match.series)]
            if len(alike) == 1:
                return alike[0]
            if alike:
                names = ", ".join(sorted(match.series.name for match in alike))
                return f"{len(alike)} series could be meant ({names}); name a place that holds one of them"
        return f"{near[0].name} is not called {wanted.symbol} and does not hold the bars the forecast was made from"


def compare(wanted: Wanted, series: Series) -> Match:
    """How the bars of a series stand to those a forecast was made from."""
    times = series.times.astype("datetime64[ns]").astype(np.int64)
    first, stop = np.searchsorted(times, [wanted.began, wanted.past_times[-1] + 1])
    if stop - first == wanted.lookback and digest_of(times[first:stop], series.bars[first:stop]) == wanted.data:
        return Match(series, SAME)
    rows = rows_at(times, wanted.past_times)
    there = rows >= 0
    if not there.any():
        return Match(series, UNKNOWN)
    ratios = series.bars[rows[there], CLOSE] / wanted.past_closes[there]
    factor = float(np.median(ratios))
    spread = float(np.abs(ratios / factor - 1.0).max())
    if spread < _EQUAL and abs(factor - 1.0) < _EQUAL:
        return Match(series, CLOSES)
    away = abs(factor - 1.0)
    if len(ratios) >= _FEWEST and away > _LEAST_FACTOR and spread < 0.1 * away:  # prices are rounded, factors are not
        return Match(series, RESCALED, factor)
    return Match(series, DIFFERENT)


def rows_at(times: Moments, wanted: Moments) -> NDArray[np.int64]:
    """The rows that have these times; -1 where there is none."""
    if not len(times):
        return np.full(len(wanted), -1)
    rows = np.minimum(np.searchsorted(times, wanted), len(times) - 1)
    return np.where(times[rows] == wanted, rows, -1)


def _named(wanted: Wanted, series: Series) -> bool:
    """Whether it is called the same: BTC/USDT is BTC-USDT, but not BTC/USDT:USDT, which is a swap."""
    if _letters(wanted.symbol) != _letters(series.symbol or series.name):
        return False
    return not wanted.market or not series.market or wanted.market.casefold() == series.market.casefold()


def _letters(symbol: str) -> str:
    return "".join(sign for sign in symbol.casefold() if sign.isalnum()) or symbol

"""A split, planned: which rows of which series belong to which part, and what can be said about that."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kronos.data.sets.series import Series, Timeline, plain_symbol
from kronos.data.sets.windows import Windows, count_windows
from kronos.errors import ConfigError

Rows = NDArray[np.int64]  # (N, 2), the rows [first, stop) of every series
Span = tuple[np.datetime64, np.datetime64]  # the first and the last


@dataclass(frozen=True)
class Split:
    """A plan: which rows of every series belong to which part."""

    series: Sequence[Timeline]
    lookback: int
    horizon: int
    embargo: int
    parts: Mapping[str, Rows]  # in the order of time
    held_out: tuple[str, ...] = ()  # symbols

    def rows(self, part: str) -> Rows:
        """The rows [first, stop) of every series that belong to a part."""
        if part not in self.parts:
            raise ConfigError(f"no part is called '{part}'; there are {', '.join(self.parts)}")
        return self.parts[part]

    def windows(self, part: str, series: Sequence[Series] | None = None) -> Windows:
        """The windows of a part; `series` where the plan was made over times alone."""
        if series is None:
            series = [one for one in self.series if isinstance(one, Series)]
        if [one.name for one in series] != [one.name for one in self.series]:
            raise ConfigError("pass the series that the split was planned over, in their order")
        return Windows(series, self.lookback, self.horizon, rows=self.rows(part))

    def cut(self, part: str, series: Sequence[Series]) -> Iterator[Series]:
        """The series of a part as series of their own, those without a row left out; nothing is copied."""
        for one, (first, stop) in zip(series, self.rows(part).tolist(), strict=True):
            if stop > first:
                yield one.cut(first, stop)

    def summary(self) -> dict[str, Any]:
        """What is where, ready for JSON: rows, windows and times of each part, and which parts overlap in time."""
        pairs = [(a, b) for i, a in enumerate(self.parts) for b in list(self.parts)[i + 1 :]]
        return {
            "lookback": self.lookback,
            "horizon": self.horizon,
            "embargo": self.embargo,
            "series": len(self.series),
            "held_out": list(self.held_out),
            "parts": {name: self._describe(rows) for name, rows in self.parts.items()},
            "overlaps": [self._overlap(a, b) for a, b in pairs],
        }

    def _describe(self, rows: Rows) -> dict[str, Any]:
        span = _span(self.series, rows)
        return {
            "series": int((rows[:, 1] > rows[:, 0]).sum()),
            "rows": int((rows[:, 1] - rows[:, 0]).sum()),
            "windows": int(count_windows(rows, self.lookback, self.horizon).sum()),
            "first": None if span is None else _iso(span[0]),
            "last": None if span is None else _iso(span[1]),
        }

    def _overlap(self, a: str, b: str) -> dict[str, Any]:
        """Whether two parts hold bars of the same time, in whichever series, and how many of the first lie there.

        `same_symbol` says whether they do so within one asset, over all its timeframes and pieces: that is a leak.
        """
        spans = [_span(self.series, self.parts[name]) for name in (a, b)]
        ours, theirs = self._asset_spans(a), self._asset_spans(b)
        shared = ours.keys() & theirs.keys()
        same = any(max(ours[key][0], theirs[key][0]) <= min(ours[key][1], theirs[key][1]) for key in shared)
        fact: dict[str, Any] = {"parts": [a, b], "in_time": False, "same_symbol": same, "rows": 0}
        fact["symbols_in_both"] = len(shared)
        if None not in spans:
            first, last = max(span[0] for span in spans if span), min(span[1] for span in spans if span)
            if first <= last:
                inside = [
                    np.searchsorted(one.times[low:stop], last, "right") - np.searchsorted(one.times[low:stop], first)
                    for one, (low, stop) in zip(self.series, self.parts[a].tolist(), strict=True)
                ]
                fact |= {"in_time": True, "rows": int(sum(inside)), "first": _iso(first), "last": _iso(last)}
        return fact

    def _asset_spans(self, part: str) -> dict[str, Span]:
        """The times of the first and the last bar of every asset that has one."""
        spans: dict[str, Span] = {}
        for one, (first, stop) in zip(self.series, self.parts[part].tolist(), strict=True):
            if stop > first:
                begin, end = one.times[first], one.times[stop - 1]
                known = spans.get(asset_of(one), (begin, end))
                spans[asset_of(one)] = min(begin, known[0]), max(end, known[1])
        return spans


def asset_of(one: Timeline) -> str:
    """What a series is of, at whichever timeframe and in whichever piece: BTC/USDT, BTC-USDT and btcusdt are one."""
    return plain_symbol(one.symbol or one.name)


def _span(series: Sequence[Timeline], rows: Rows) -> Span | None:
    """The times of the first and the last bar."""
    held = [(one.times, first, stop) for one, (first, stop) in zip(series, rows.tolist(), strict=True) if stop > first]
    if not held:
        return None
    return min(times[first] for times, first, _ in held), max(times[stop - 1] for times, _, stop in held)


def _iso(moment: np.datetime64) -> str:
    return pd.Timestamp(moment).isoformat()

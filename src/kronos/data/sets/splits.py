"""Train, validation and test: parts of series that no window straddles and no two of which touch.

A part is one stretch of rows of every series, so parts cannot overlap, and between two parts of a series lie `embargo`
rows, by default a full window: nothing that a later part predicts was seen by an earlier one. Planning reads times
only. `common=True` cuts all series at the same moments; without it series are cut by their own rows, and a market that
is trained on late in one series is tested on early in another: `Split.summary` says whether that is so.
"""

import difflib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import pairwise
from math import ceil
from typing import NoReturn

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kronos.bars import Timeframe
from kronos.bars.timeframe import DAY
from kronos.data.sets.partition import Rows, Split
from kronos.data.sets.series import Timeline, plain_symbol
from kronos.data.sets.windows import check_shape, count_windows
from kronos.errors import BarsError, ConfigError

Moment = str | date | None  # None: the first or the last there is

__all__ = ["RATIOS", "Split", "check_ratios", "cut_rows", "split_by_dates", "split_by_ratio", "walk_forward"]

NAMES = ("train", "validation", "test")
RATIOS = (0.7, 0.15, 0.15)


def split_by_ratio(
    series: Sequence[Timeline],
    lookback: int,
    horizon: int,
    *,
    ratios: Sequence[float] = RATIOS,
    common: bool = False,
    embargo: int | None = None,
    hold_out: Collection[str] | float = (),
    seed: int = 0,
) -> Split:
    """Train, validation and test by their shares of the rows; a share of 0 leaves a part out.

    A series that is too short to give every part a window is trained on whole. With `common`, all series are cut at
    the moments at which the shares hold for all rows together. The symbols in `hold_out` (or, as a share, so many of
    them, drawn by `seed`) are tested on and nothing else, at all their timeframes; with `common` only after the last
    cut.
    """
    plan = _Plan.of(series, lookback, horizon, embargo, hold_out, seed)
    if len(ratios) != len(NAMES) or not ratios[2] or sum(map(bool, ratios)) < 2:
        raise ConfigError(f"ratios {tuple(ratios)}: give one each for {', '.join(NAMES)}; test and another above 0")
    names = [name for name, ratio in zip(NAMES, ratios, strict=True) if ratio]
    shares = [ratio for ratio in ratios if ratio]
    check_ratios(shares)
    if common:
        return plan.by_share(names, plan.with_gaps(shares), common=True, change="ratios")
    layout = np.zeros((len(names), len(series), 2), dtype=np.int64)
    for i, one in enumerate(series):
        parts = np.array(cut_rows(len(one), shares, plan.embargo))
        if plan.held[i]:
            layout[-1, i] = 0, len(one)
        elif count_windows(parts, lookback, horizon).all():
            layout[:, i] = parts
        else:
            layout[0, i] = 0, len(one)
    enough = ceil((lookback + horizon + 1) / min(shares)) + plan.embargo * (len(shares) - 1)
    return plan.split(names, layout, change=f"ratios (a series of {enough} rows has room for them)")


def split_by_dates(
    series: Sequence[Timeline],
    lookback: int,
    horizon: int,
    dates: Mapping[str, tuple[Moment, Moment]],
    *,
    embargo: int | None = None,
    hold_out: Collection[str] | float = (),
    seed: int = 0,
) -> Split:
    """Parts by name and [begin, end), such as {"train": (None, "2023"), "test": ("2023-07-01", None)}.

    They are given in the order of time. The embargo is taken from the end of a part, so that the next one begins when
    it is said to. Symbols in `hold_out` are left to the last part.
    """
    plan = _Plan.of(series, lookback, horizon, embargo, hold_out, seed)
    names, bounds = list(dates), [(_moment(begin), _moment(end)) for begin, end in dates.values()]
    if not names:
        raise ConfigError("no part was given; name at least one with its dates")
    flat = [-np.inf if b is None else b for b, _ in bounds], [np.inf if e is None else e for _, e in bounds]
    for i, name in enumerate(names):
        if flat[0][i] >= flat[1][i] or (i and flat[0][i] < flat[1][i - 1]):
            before = f" or before '{names[i - 1]}' ends" if i else ""
            raise ConfigError(
                f"dates: '{name}' begins at {dates[name][0]}, after it ends{before}; parts must not overlap"
            )
    return plan.by_moments(names, bounds, change="the dates")


def walk_forward(
    series: Sequence[Timeline],
    lookback: int,
    horizon: int,
    *,
    folds: int = 5,
    expanding: bool = True,
    validation: float = 0.0,
    common: bool = True,
    embargo: int | None = None,
    hold_out: Collection[str] | float = (),
    seed: int = 0,
) -> list[Split]:
    """Time-series cross-validation: time in `folds` + 1 blocks, and each fold tests on one and trains before it.

    `expanding` trains on all blocks before it, otherwise on the one before it. The last share `validation` of what is
    trained on becomes a part of its own, for early stopping.
    """
    if folds < 1 or not 0 <= validation < 1:
        raise ConfigError(f"walk-forward needs folds >= 1 and 0 <= validation < 1, not {folds} and {validation}")
    plan = _Plan.of(series, lookback, horizon, embargo, hold_out, seed)
    splits = []
    for fold in range(1, folds + 1):
        begin, end, stop = (0 if expanding else fold - 1), fold, fold + 1
        edges = [begin, end - validation * (end - begin), end, stop] if validation else [begin, end, stop]
        names = NAMES if validation else (NAMES[0], NAMES[2])
        change = f"folds (this is fold {fold} of {folds})"
        splits.append(plan.by_share(names, np.array(edges) / (folds + 1), common=common, change=change))
    return splits


def cut_rows(rows: int, ratios: Sequence[float], embargo: int = 0) -> list[tuple[int, int]]:
    """Rows [first, stop) by ratio, one stretch after the other with `embargo` rows between them."""
    check_ratios(ratios)
    usable = max(rows - embargo * (len(ratios) - 1), 0)
    ends = [round(usable * share) for share in np.cumsum(ratios).tolist()]
    return [
        (min(first + gap * embargo, rows), min(end + gap * embargo, rows))
        for gap, (first, end) in enumerate(zip([0, *ends[:-1]], ends, strict=True))
    ]


def check_ratios(ratios: Sequence[float]) -> None:
    """Refuse shares that do not make a whole."""
    if not ratios or not all(0 < ratio <= 1 for ratio in ratios) or abs(sum(ratios) - 1) > 1e-6:
        raise ConfigError(f"ratios {tuple(ratios)}: they lie above 0 and add up to 1")


# --- laying the parts -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Plan:
    """What all ways to split share."""

    series: Sequence[Timeline]
    lookback: int
    horizon: int
    embargo: int
    held: NDArray[np.bool_]  # (N,) which series are held out

    @classmethod
    def of(
        cls,
        series: Sequence[Timeline],
        lookback: int,
        horizon: int,
        embargo: int | None,
        hold_out: Collection[str] | float,
        seed: int,
    ) -> "_Plan":
        check_shape(lookback, horizon)
        embargo = lookback + horizon if embargo is None else embargo
        if embargo < 0:
            raise ConfigError(f"embargo is {embargo}; it is a number of rows from 0 up")
        if not series:
            raise BarsError("there is no series to split")
        return cls(series, lookback, horizon, embargo, _held(series, hold_out, seed))

    def with_gaps(self, shares: Sequence[float]) -> NDArray[np.float64]:
        """Edges between shares of all rows, moved so that what is left beside the embargo is shared as asked for."""
        rows, gaps = np.array([len(one) for one in self._free()]), len(shares) - 1
        lost = self.embargo * int((rows > self.embargo * gaps).sum()) / max(int(rows.sum()), 1)  # by each gap
        ends = np.cumsum(shares)[:-1]
        if lost * gaps < 1:
            ends = ends * (1 - lost * gaps) + lost * np.arange(1, len(shares))
        return np.array([0.0, *ends, 1.0])

    def _free(self) -> list[Timeline]:
        """The series that are not held out."""
        return [one for one, held in zip(self.series, self.held, strict=True) if not held] or list(self.series)

    def by_share(self, names: Sequence[str], edges: NDArray[np.float64], *, common: bool, change: str) -> Split:
        """Adjacent parts between shares of all rows together, or of the rows of each series."""
        if common:
            marks = [_moment_at(self._free(), share) for share in edges.tolist()]
            return self.by_moments(names, [*pairwise(marks)], change=change)
        rows = np.array([[round(len(one) * share) for one in self.series] for share in edges.tolist()])
        return self.trimmed(names, np.stack([rows[:-1], rows[1:]], axis=-1), change=change)

    def by_moments(
        self, names: Sequence[str], bounds: Sequence[tuple[int | None, int | None]], *, change: str
    ) -> Split:
        """Parts of the bars that begin at or after a moment and have ended by another."""
        layout = np.zeros((len(names), len(self.series), 2), dtype=np.int64)
        for i, one in enumerate(self.series):
            times, length = one.times.view(np.int64), _length(one)
            for part, (begin, end) in enumerate(bounds):
                layout[part, i, 0] = 0 if begin is None else np.searchsorted(times, begin)
                layout[part, i, 1] = len(one) if end is None else np.searchsorted(times, end - length, side="right")
        return self.trimmed(names, layout, change=change)

    def trimmed(self, names: Sequence[str], layout: NDArray[np.int64], *, change: str) -> Split:
        """The embargo is taken from the end of a part, counted back from the next one that has a row."""
        layout = layout.copy()
        layout[:-1, self.held] = 0
        limit = np.full(len(self.series), np.iinfo(np.int64).max)
        for part in layout[::-1]:
            part[:, 1] = np.minimum(part[:, 1], limit)
            filled = part[:, 1] > part[:, 0]
            part[~filled] = 0
            limit = np.where(filled, part[:, 0] - self.embargo, limit)
        return self.split(names, layout, change=change)

    def split(self, names: Sequence[str], layout: NDArray[np.int64], *, change: str) -> Split:
        """The split, where every part has a window."""
        layout = np.where((layout[..., 1] > layout[..., 0])[..., None], layout, 0)
        for name, rows in zip(names, layout, strict=True):
            if not count_windows(rows, self.lookback, self.horizon).any():
                self._refuse(name, rows, change)
        symbols = sorted({one.symbol or one.name for one, held in zip(self.series, self.held, strict=True) if held})
        parts = dict(zip(names, layout, strict=True))
        return Split(self.series, self.lookback, self.horizon, self.embargo, parts, tuple(symbols))

    def _refuse(self, name: str, rows: Rows, change: str) -> NoReturn:
        order = np.argsort([-len(one) for one in self.series], kind="stable")[:3].tolist()
        sizes = "; ".join(
            f"{self.series[i].name} has {len(self.series[i])} rows, {rows[i, 1] - rows[i, 0]} of them here"
            for i in order
        )
        more = f"; and {len(self.series) - len(order)} more" if len(self.series) > len(order) else ""
        held = f", {int(self.held.sum())} of the series held out" if self.held.any() else ""
        raise BarsError(
            f"the part '{name}' is empty: no window of {self.lookback} + {self.horizon} rows fits, with {self.embargo} "
            f"left out between parts{held} ({sizes}{more}); change {change}, or lower lookback, horizon or embargo"
        )


def _length(one: Timeline) -> int:
    """How long a bar lasts at most, in nanoseconds."""
    timeframe = Timeframe.parse(one.timeframe)
    return timeframe.count * 31 * DAY if timeframe.unit == "mo" else timeframe.nanoseconds


def _moment_at(series: Sequence[Timeline], share: float) -> int | None:
    """The first moment at which a bar begins and before which at least a share of all do; None at both ends."""
    if share <= 0 or share >= 1 - 1e-9:
        return None
    times = [one.times.view(np.int64) for one in series if len(one)]
    low, high = min(int(one[0]) for one in times), max(int(one[-1]) for one in times) + 1
    wanted = share * sum(map(len, times)) - 1e-6
    while low < high:  # by halves: no list of all moments is ever made
        middle = (low + high) // 2
        if sum(int(np.searchsorted(one, middle)) for one in times) < wanted:
            low = middle + 1
        else:
            high = middle
    begins = (int(one[place]) for one in times if (place := int(np.searchsorted(one, low))) < len(one))
    return min(begins, default=low)


def _moment(value: Moment) -> int | None:
    """Nanoseconds of a date, in UTC or naive as the series are."""
    if value is None:
        return None
    try:
        if not isinstance(value, str | date):  # a bare number would be read as nanoseconds
            raise ValueError
        stamp = pd.Timestamp(value)
        if pd.isna(stamp):
            raise ValueError
        stamp = stamp if stamp.tzinfo is None else stamp.tz_convert("UTC").tz_localize(None)
        return int(stamp.as_unit("ns").value)
    except ValueError as error:
        raise ConfigError(f"dates: {value!r} is no date; write it like '2024-01-05'") from error


# --- hold-outs --------------------------------------------------------------------------------------------------------


def _held(series: Sequence[Timeline], hold_out: Collection[str] | float, seed: int) -> NDArray[np.bool_]:
    """Which series are held out; BTC/USDT, BTC-USDT and btcusdt are one symbol."""
    own = [plain_symbol(one.symbol or one.name) for one in series]
    if isinstance(hold_out, str):
        hold_out = (hold_out,)
    if isinstance(hold_out, int | float):
        if not 0 <= hold_out < 1:
            raise ConfigError(f"hold_out is {hold_out}; a share lies from 0 up to 1, without 1")
        symbols = sorted(set(own))
        count = min(max(round(hold_out * len(symbols)), 1), len(symbols) - 1) if hold_out else 0
        wanted = set(np.random.default_rng(seed).permutation(symbols)[:count].tolist())
        return np.array([one in wanted for one in own])
    held = np.zeros(len(series), dtype=bool)
    for text in hold_out:
        found = np.array(
            [text == one.name or plain_symbol(text) == plain for one, plain in zip(series, own, strict=True)]
        )
        if not found.any():
            near = difflib.get_close_matches(text, sorted({one.symbol or one.name for one in series}), n=1, cutoff=0.4)
            raise ConfigError(f"hold_out: no series of '{text}'" + (f"; did you mean '{near[0]}'?" if near else ""))
        # another timeframe of the same symbol would give it away
        held |= np.isin(own, [plain for plain, hit in zip(own, found, strict=True) if hit])
    return held

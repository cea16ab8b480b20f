"""Training windows: look-back plus horizon, cut from many series without copying them.

A window is an (index of series, first row) pair and nothing is random here: the same index is always the same window.
Which windows a step reads is decided by `WindowSampler` from (seed, step) alone, so an interrupted run goes on with
exactly the windows it would have read; `epochs` has the other order, every window once.
"""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kronos.bars import fit_normaliser
from kronos.bars.normaliser import Inputs
from kronos.data.sets.augment import Augmentation, altered, check_share
from kronos.data.sets.series import Series, Timeline
from kronos.errors import BarsError, ConfigError

Moment = str | date | None  # None: the first or the last there is

LONGEST = 2**62  # more rows than any series has, and no overflow in what is reckoned with them


class Batch(NamedTuple):
    """Windows of one shape: the first `lookback` bars are known, the rest is to be predicted."""

    bars: NDArray[np.float64]  # (B, L + H, 6)
    stamps: NDArray[np.int8]  # (B, L + H, 5)
    lookback: int

    def inputs(self, kind: str, clip: float = 5.0) -> Inputs:
        """Network inputs (B, L + H, 6) in units fitted on the look-back alone."""
        return fit_normaliser(kind, self.bars[:, : self.lookback], clip).apply(self.bars)


class Windows:
    """All windows of one shape in a list of series whose first predicted bar lies in [since, before)."""

    def __init__(
        self,
        series: Sequence[Series],
        lookback: int,
        horizon: int,
        *,
        since: Moment = None,
        before: Moment = None,
        rows: Sequence[tuple[int, int]] | NDArray[np.int64] | None = None,
    ) -> None:
        """Index the windows; with `before`, a window's last bar lies before it too, so that parts cannot overlap.

        `rows` says for every series in which rows [first, stop) its windows lie whole, as a part of a split does.
        """
        check_shape(lookback, horizon)
        self.series, self.lookback, self.length = series, lookback, lookback + horizon
        bounds = _bounds(series, rows)
        begin, end = (
            None if moment is None else np.datetime64(nanoseconds_of(moment, what), "ns")
            for moment, what in ((since, "since"), (before, "before"))
        )
        for one, bound in zip(series, bounds, strict=True):
            if begin is not None:
                bound[0] = max(bound[0], np.searchsorted(one.times, begin) - lookback)
            if end is not None:
                bound[1] = min(bound[1], np.searchsorted(one.times, end))
        self.firsts = bounds[:, 0]
        self.counts = count_windows(bounds, lookback, horizon)
        self._ends = np.cumsum(self.counts)
        if not len(self):
            span = f"between {since or 'the beginning'} and {before or 'the end'}"
            within = "" if rows is None else " in the rows given"
            raise BarsError(
                f"no window of {lookback} + {horizon} bars fits into any of {len(series)} series {span}{within}"
            )

    def __len__(self) -> int:
        """How many windows there are."""
        return int(self._ends[-1]) if len(self._ends) else 0

    def place(self, index: int) -> tuple[int, int]:
        """The (series, first row) of window number `index`."""
        if not 0 <= index < len(self):
            raise IndexError(f"there is no window {index}; they are numbered from 0 to {len(self) - 1}")
        which = int(np.searchsorted(self._ends, index, side="right"))
        return which, int(self.firsts[which] + index - (self._ends[which] - self.counts[which]))

    def batch(self, indices: Sequence[int] | NDArray[np.int64]) -> Batch:
        """Windows by number."""
        places = [self.place(int(index)) for index in indices]
        if not places:
            raise ConfigError("a batch of no windows was asked for; give at least one number")
        bars = np.stack([self.series[s].bars[row : row + self.length] for s, row in places])
        stamps = np.stack([self.series[s].stamps[row : row + self.length] for s, row in places])
        return Batch(bars, stamps, self.lookback)

    def numbers(self, which: NDArray[np.int64], along: NDArray[np.float64]) -> NDArray[np.int64]:
        """The numbers of the windows that lie at a share `along` in [0, 1) of the windows of series `which`."""
        counts = self.counts[which]
        numbers: NDArray[np.int64] = self._ends[which] - counts + (along * counts).astype(np.int64)
        return numbers


class WindowSampler:
    """Draws batches: a group of series, then a series, then a window, from a generator keyed by (seed, step).

    Groups (the timeframe and the market, or the series' top folder) weigh by the square root of their windows, so that
    a million hourly bars do not drown a hundred thousand daily ones. `weights` gives every market its share of the
    draws instead; within a market it stays at the square root. Neither `augment` nor `without_volume` (the share of
    windows whose volume and amount are zeroed) changes which windows are drawn.
    """

    def __init__(
        self,
        windows: Windows,
        batch: int,
        seed: int,
        *,
        weights: Mapping[str, float] | None = None,
        augment: Sequence[Augmentation] = (),
        without_volume: float = 0.0,
    ) -> None:
        """Draw `batch` windows a step."""
        check_share(without_volume, "without_volume")
        self.windows, self.batch_size, self.seed = windows, batch, seed
        self.augment, self.without_volume = tuple(augment), without_volume
        odds = _odds(windows) if weights is None else _weighted(_odds(windows), windows.series, weights)
        self._odds = np.cumsum(odds) / np.sum(odds)

    def __call__(self, step: int) -> Batch:
        """The batch of this step, always the same one."""
        random = np.random.default_rng([self.seed, step])
        chosen = np.minimum(
            np.searchsorted(self._odds, random.random(self.batch_size), side="right"), len(self._odds) - 1
        )
        batch = self.windows.batch(self.windows.numbers(chosen, random.random(self.batch_size)))
        return batch._replace(bars=altered(batch.bars, [self.seed, step, 1], self.augment, self.without_volume))


def check_shape(lookback: int, horizon: int) -> None:
    """Refuse windows that are none."""
    if lookback < 1 or horizon < 0:
        raise ConfigError(f"a window has lookback >= 1 and horizon >= 0, not {lookback} and {horizon}")
    if lookback + horizon > LONGEST:
        raise ConfigError(f"lookback {lookback} + horizon {horizon} is longer than any series; give numbers of rows")


def count_windows(rows: NDArray[np.int64], lookback: int, horizon: int) -> NDArray[np.int64]:
    """How many windows lie whole in each of the rows [first, stop), (N, 2)."""
    counts: NDArray[np.int64] = np.maximum(rows[:, 1] - rows[:, 0] - (lookback + horizon) + 1, 0)
    return counts


def nanoseconds_of(value: str | date, what: str) -> int:
    """Nanoseconds of a date, in UTC or naive as the series are; `what` names the setting in an error."""
    try:
        if not isinstance(value, str | date | np.datetime64):  # a bare number would be read as nanoseconds
            raise ValueError
        stamp = pd.Timestamp(value)
        if pd.isna(stamp):
            raise ValueError
        stamp = stamp if stamp.tzinfo is None else stamp.tz_convert("UTC").tz_localize(None)
        return int(stamp.as_unit("ns").value)
    except ValueError as error:
        raise ConfigError(f"{what}: {value!r} is no date; write it like '2024-01-05'") from error


def _bounds(
    series: Sequence[Timeline], rows: Sequence[tuple[int, int]] | NDArray[np.int64] | None
) -> NDArray[np.int64]:
    """The rows [first, stop) of every series in which windows may lie, (N, 2)."""
    whole = np.array([[0, len(one)] for one in series], dtype=np.int64).reshape(-1, 2)
    if rows is None:
        return whole
    given = np.array(rows, dtype=np.int64).reshape(-1, 2)
    if len(given) != len(whole):
        raise ConfigError(f"rows are given for {len(given)} series and there are {len(whole)}; give a pair for each")
    bad = (given[:, 0] < 0) | (given[:, 1] > whole[:, 1])
    if bad.any():
        which = int(bad.argmax())
        raise ConfigError(f"rows {given[which].tolist()} do not lie in the {whole[which, 1]} of {series[which].name}")
    return given


def group_of(one: Timeline) -> str:
    """What a series is weighed with: its market, or the top folder of its name."""
    return one.market or one.name.partition("/")[0]


def _odds(windows: Windows) -> NDArray[np.float64]:
    """How often each series is drawn, in no unit: by its windows, over the root of those of its group."""
    groups = [(one.timeframe, group_of(one)) for one in windows.series]
    totals: dict[tuple[str, str], int] = {}
    for group, count in zip(groups, windows.counts, strict=True):
        totals[group] = totals.get(group, 0) + int(count)
    return np.array(
        [
            float(count) / totals[group] ** 0.5 if totals[group] else 0.0
            for group, count in zip(groups, windows.counts, strict=True)
        ]
    )


def _weighted(
    odds: NDArray[np.float64], series: Sequence[Timeline], weights: Mapping[str, float]
) -> NDArray[np.float64]:
    """The odds, scaled within every market so that they sum to its weight."""
    markets = np.array([group_of(one) for one in series])
    there = set(markets.tolist())
    if there != set(weights):
        missing, unknown = sorted(there - set(weights)), sorted(set(weights) - there)
        what = f"no weight for {', '.join(missing)}" if missing else f"no series of {', '.join(unknown)}"
        raise ConfigError(f"weights: {what}; the markets are {', '.join(sorted(there))}, and 0 leaves one out")
    scaled = np.zeros_like(odds)
    for market, weight in weights.items():
        if not 0 <= weight < float("inf"):
            raise ConfigError(f"weights: {market} has {weight}; a weight is a number from 0 up")
        mine = markets == market
        total = odds[mine].sum()
        scaled[mine] = odds[mine] * (weight / total) if total else 0.0
    if not scaled.sum():
        raise ConfigError("weights: no market with a window has a weight above 0")
    return scaled

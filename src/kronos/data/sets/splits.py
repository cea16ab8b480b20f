"""Train, validation and test: parts of series that no window straddles and no two of which touch.

A part is one stretch of rows of every series, so parts cannot overlap, and between two parts of a series lie `embargo`
rows, by default a full window: nothing that a later part predicts was seen by an earlier one. All series of one asset
(its timeframes, the pieces of a cleaned series) are cut at the same moments, and the embargo lies between them in time:
so many bars of the series that ends. Planning reads times only. `common=True` cuts all assets at the same moments;
without it a time that is trained on in one asset may be tested on in another: `Split.summary` says whether that is so.
"""

import difflib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from kronos.bars import Timeframe
from kronos.bars.timeframe import DAY
from kronos.data.sets.partition import Rows, Split, asset_of
from kronos.data.sets.series import Timeline, plain_symbol
from kronos.data.sets.windows import LONGEST, Moment, check_shape, count_windows, nanoseconds_of
from kronos.errors import BarsError, ConfigError

Bounds = Sequence[tuple[int | None, int | None]]  # [begin, end) of each part in nanoseconds; None is open

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

    An asset of one series is cut by its rows, and trained on whole where it is too short to give every part a window.
    An asset of several is cut at the moments at which the shares hold for all its rows together, and each series gives
    what falls between them. With `common`, so are all assets at once. The symbols in `hold_out` (or, as a share, so
    many of them, drawn by `seed`) are tested on and nothing else, at all their timeframes; with `common` only after
    the last cut.
    """
    plan = _Plan.of(series, lookback, horizon, embargo, hold_out, seed)
    if len(ratios) != len(NAMES) or not ratios[2] or sum(map(bool, ratios)) < 2:
        raise ConfigError(f"ratios {tuple(ratios)}: give one each for {', '.join(NAMES)}; test and another above 0")
    names = [name for name, ratio in zip(NAMES, ratios, strict=True) if ratio]
    shares = [ratio for ratio in ratios if ratio]
    check_ratios(shares)
    if common:
        return plan.by_share(names, plan.with_gaps(shares, plan.free), common=True, change="ratios")
    layout = np.zeros((len(names), len(series), 2), dtype=np.int64)
    for mine in plan.assets:
        one = series[mine[0]]
        if plan.held[mine[0]]:
            layout[-1, mine, 1] = [len(series[i]) for i in mine]
        elif len(mine) > 1:
            layout[:, mine] = plan.between(mine, plan.moments(mine, plan.with_gaps(shares, mine)))
        else:
            parts = np.array(cut_rows(len(one), shares, plan.embargo))
            if count_windows(parts, lookback, horizon).all():
                layout[:, mine[0]] = parts
            else:
                layout[0, mine[0]] = 0, len(one)
    enough = ceil((lookback + horizon + 1) / min(shares)) + plan.embargo * (len(shares) - 1)
    return plan.trimmed(names, layout, change=f"ratios (a series of {enough} rows has room for them)")


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
    return plan.trimmed(names, plan.between(range(len(series)), bounds), change="the dates")


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
    trained on becomes a part of its own, for early stopping. Without `common`, every asset has blocks of its own rows.
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
    held: NDArray[np.bool_]  # (N,) which series are held out, an asset always whole
    assets: Sequence[Sequence[int]]  # the series of each asset

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
        if not 0 <= embargo <= LONGEST:
            raise ConfigError(
                f"embargo is {embargo}; it is a number of rows from 0 up, and no series has more than 2^62"
            )
        if not series:
            raise BarsError("there is no series to split")
        assets: dict[str, list[int]] = {}
        for i, one in enumerate(series):
            assets.setdefault(asset_of(one), []).append(i)
        return cls(series, lookback, horizon, embargo, _held(series, hold_out, seed), [*assets.values()])

    @property
    def free(self) -> Sequence[int]:
        """The series that are not held out."""
        return np.flatnonzero(~self.held).tolist() or range(len(self.series))

    def with_gaps(self, shares: Sequence[float], which: Sequence[int]) -> NDArray[np.float64]:
        """Edges between shares of all rows, moved so that what is left beside the embargo is shared as asked for."""
        sizes: dict[tuple[str, str], int] = {}  # pieces of a series lose the embargo once
        for one in (self.series[i] for i in which):
            key = asset_of(one), one.timeframe
            sizes[key] = sizes.get(key, 0) + len(one)
        gaps = len(shares) - 1
        with_room = sum(rows > self.embargo * gaps for rows in sizes.values())
        lost = self.embargo * with_room / max(sum(sizes.values()), 1)  # by each gap
        ends = np.cumsum(shares)[:-1]
        if lost * gaps < 1:
            ends = ends * (1 - lost * gaps) + lost * np.arange(1, len(shares))
        return np.array([0.0, *ends, 1.0])

    def by_share(self, names: Sequence[str], edges: NDArray[np.float64], *, common: bool, change: str) -> Split:
        """Adjacent parts between shares of all rows together, or of the rows of each asset."""
        everything = range(len(self.series))
        if common:
            return self.trimmed(names, self.between(everything, self.moments(self.free, edges)), change=change)
        layout = np.zeros((len(names), len(self.series), 2), dtype=np.int64)
        for mine in self.assets:
            if len(mine) > 1:
                layout[:, mine] = self.between(mine, self.moments(mine, edges))
            else:
                layout[:, mine[0]] = [*pairwise(round(len(self.series[mine[0]]) * share) for share in edges.tolist())]
        return self.trimmed(names, layout, change=change)

    def moments(self, which: Sequence[int], edges: NDArray[np.float64]) -> Bounds:
        """The moments between which lie these shares of all rows of some series together."""
        series = [self.series[i] for i in which]
        return [*pairwise(_moment_at(series, share) for share in edges.tolist())]

    def between(self, which: Sequence[int], bounds: Bounds) -> NDArray[np.int64]:
        """Of some series, the bars of each part that begin at or after a moment and have ended by another."""
        layout = np.zeros((len(bounds), len(which), 2), dtype=np.int64)
        for place, i in enumerate(which):
            one = self.series[i]
            for part, (begin, end) in enumerate(bounds):
                layout[part, place, 0] = 0 if begin is None else np.searchsorted(_times(one), begin)
                layout[part, place, 1] = len(one) if end is None else _ended(one, end)
        return layout

    def trimmed(self, names: Sequence[str], layout: NDArray[np.int64], *, change: str) -> Split:
        """The embargo is taken from the end of a part, counted back from the next one that has a row.

        It is counted in rows within a series, and in time from the first bar that any later part has of the asset.
        """
        layout = layout.copy()
        layout[:-1, self.held] = 0
        limit = np.full(len(self.series), np.iinfo(np.int64).max)
        shared = [mine for mine in self.assets if len(mine) > 1]
        begins: dict[int, int] = {}  # of what later parts have of a shared asset
        for part in layout[::-1]:
            part[:, 1] = np.minimum(part[:, 1], limit)
            for asset, begin in begins.items():
                for i in shared[asset]:
                    part[i, 1] = min(part[i, 1], _ended(self.series[i], begin, self.embargo))
            filled = part[:, 1] > part[:, 0]
            part[~filled] = 0
            limit = np.where(filled, part[:, 0] - self.embargo, limit)
            for asset, mine in enumerate(shared):
                firsts = [int(_times(self.series[i])[part[i, 0]]) for i in mine if filled[i]]
                if firsts:
                    begins[asset] = min(*firsts, begins.get(asset, firsts[0]))
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


def _times(one: Timeline) -> NDArray[np.int64]:
    return one.times.view(np.int64)


def _ended(one: Timeline, moment: int, embargo: int = 0) -> int:
    """How many bars have ended by a moment, and `embargo` times their length before it."""
    timeframe = Timeframe.parse(one.timeframe)
    length = timeframe.count * 31 * DAY if timeframe.unit == "mo" else timeframe.nanoseconds  # the longest month
    latest = max(moment - (embargo + 1) * length, np.iinfo(np.int64).min)
    return int(np.searchsorted(_times(one), latest, side="right"))


def _moment_at(series: Sequence[Timeline], share: float) -> int | None:
    """The first moment at which a bar begins and before which at least a share of all do; None at both ends."""
    if share <= 0 or share >= 1 - 1e-9:
        return None
    times = [_times(one) for one in series if len(one)]
    if not times:
        return None
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
    return None if value is None else nanoseconds_of(value, "dates")


# --- hold-outs --------------------------------------------------------------------------------------------------------


def _held(series: Sequence[Timeline], hold_out: Collection[str] | float, seed: int) -> NDArray[np.bool_]:
    """Which series are held out; BTC/USDT, BTC-USDT and btcusdt are one symbol."""
    own = [asset_of(one) for one in series]
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

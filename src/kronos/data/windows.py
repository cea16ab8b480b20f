"""Training windows: look-back plus horizon, cut from many series without copying them.

A window is an (index of series, first row) pair and nothing is random here: the same index is always the same window.
Which windows a step reads is decided by `WindowSampler` from (seed, step) alone, so an interrupted run goes on with
exactly the windows it would have read.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kronos.bars import COLUMNS, infer_timeframe, time_stamps
from kronos.data.files import bar_files, read_bars
from kronos.errors import BarsError


@dataclass(frozen=True)
class Series:
    """One series of bars as arrays."""

    name: str
    timeframe: str
    times: NDArray[np.datetime64]  # (T,) naive, ns
    bars: NDArray[np.float64]  # (T, 6)
    stamps: NDArray[np.int8]  # (T, 5)

    @classmethod
    def of(cls, frame: pd.DataFrame, name: str) -> "Series":
        """From a canonical frame."""
        index = frame.index
        assert isinstance(index, pd.DatetimeIndex)
        naive = index.tz_convert("UTC").tz_localize(None) if index.tz is not None else index
        return cls(
            name=name,
            timeframe=str(infer_timeframe(index)),
            times=naive.as_unit("ns").to_numpy(),
            bars=np.ascontiguousarray(frame[list(COLUMNS)].to_numpy(dtype=np.float64)),
            stamps=time_stamps(naive).astype(np.int8),
        )


def load_series(place: str | Path) -> list[Series]:
    """Every series below a folder (or the one in a file), named by its path in that folder."""
    place = Path(place)
    root = place if place.is_dir() else place.parent
    return [Series.of(read_bars(path), str(path.relative_to(root).with_suffix(""))) for path in bar_files(place)]


class Batch(NamedTuple):
    """Windows of one shape: the first `lookback` bars are known, the rest is to be predicted."""

    bars: NDArray[np.float64]  # (B, L + H, 6)
    stamps: NDArray[np.int8]  # (B, L + H, 5)
    lookback: int


class Windows:
    """All windows of one shape in a list of series whose first predicted bar lies in [since, before)."""

    def __init__(
        self,
        series: Sequence[Series],
        lookback: int,
        horizon: int,
        *,
        since: str | None = None,
        before: str | None = None,
    ) -> None:
        """Index the windows; with `before`, a window's last bar lies before it too, so that parts cannot overlap."""
        self.series, self.lookback, self.length = series, lookback, lookback + horizon
        firsts, counts = [], []
        for one in series:
            low = 0 if since is None else int(np.searchsorted(one.times, np.datetime64(since))) - lookback
            stop = len(one.times) if before is None else int(np.searchsorted(one.times, np.datetime64(before)))
            firsts.append(max(low, 0))
            counts.append(max(stop - self.length + 1 - max(low, 0), 0))
        self.firsts, self.counts = np.array(firsts), np.array(counts)
        self._ends = np.cumsum(self.counts)
        if not len(self):
            span = f"between {since or 'the beginning'} and {before or 'the end'}"
            raise BarsError(f"no window of {lookback} + {horizon} bars fits into any of {len(series)} series {span}")

    def __len__(self) -> int:
        """How many windows there are."""
        return int(self._ends[-1]) if len(self._ends) else 0

    def place(self, index: int) -> tuple[int, int]:
        """The (series, first row) of window number `index`."""
        which = int(np.searchsorted(self._ends, index, side="right"))
        return which, int(self.firsts[which] + index - (self._ends[which] - self.counts[which]))

    def batch(self, indices: Sequence[int] | NDArray[np.int64]) -> Batch:
        """Windows by number."""
        places = [self.place(int(index)) for index in indices]
        bars = np.stack([self.series[s].bars[row : row + self.length] for s, row in places])
        stamps = np.stack([self.series[s].stamps[row : row + self.length] for s, row in places])
        return Batch(bars, stamps, self.lookback)


class WindowSampler:
    """Draws batches: a group of series, then a series, then a window, from a generator keyed by (seed, step).

    Groups (by default the timeframe and the series' top folder) weigh by the square root of their windows, so that a
    million hourly bars do not drown a hundred thousand daily ones.
    """

    def __init__(self, windows: Windows, batch: int, seed: int) -> None:
        """Draw `batch` windows a step."""
        self.windows, self.batch_size, self.seed = windows, batch, seed
        groups = [(one.timeframe, one.name.partition("/")[0]) for one in windows.series]
        totals: dict[tuple[str, str], int] = {}
        for group, count in zip(groups, windows.counts, strict=True):
            totals[group] = totals.get(group, 0) + int(count)
        weights = [
            float(count) / totals[group] ** 0.5 if totals[group] else 0.0
            for group, count in zip(groups, windows.counts, strict=True)
        ]
        self._odds = np.cumsum(weights) / np.sum(weights)

    def __call__(self, step: int) -> Batch:
        """The batch of this step, always the same one."""
        random = np.random.default_rng([self.seed, step])
        chosen = np.minimum(
            np.searchsorted(self._odds, random.random(self.batch_size), side="right"), len(self._odds) - 1
        )
        counts = self.windows.counts[chosen]
        before = self.windows._ends[chosen] - counts
        return self.windows.batch(before + (random.random(self.batch_size) * counts).astype(np.int64))

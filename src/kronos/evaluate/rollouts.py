"""Rolling forecasts of windows, scored: any `Forecaster` reads the past, and the truth comes out after it has spoken.

What the figures are is said in `scoring`; here they are collected over windows, with the place of each.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kronos.bars import Forecaster
from kronos.bars.candles import CLOSE
from kronos.data import Windows
from kronos.data.sets.partition import asset_of
from kronos.errors import ConfigError
from kronos.evaluate.metrics.uncertainty import Figures
from kronos.evaluate.scoring import score_forecast, scored_steps

Array = NDArray[np.float64]
Numbers = NDArray[np.int64]

TURN = (5**0.5 - 1) / 2  # multiples of the golden section, modulo 1, are spread however many are taken


def score_windows(
    forecaster: Forecaster,
    windows: Windows,
    origins: int | Sequence[int] | Numbers,
    *,
    samples: int = 50,
    seed: int = 0,
    steps: Sequence[int] = (1, 6, 12, 24),
    together: int = 32,
    wanted: Collection[str] | None = None,
) -> Figures:
    """Figures of a forecaster at windows, an entry for each: given by number, or as many as `choose_origins` picks.

    Their names and meanings are `scoring.FIGURES`; `wanted` keeps to some groups of them ("brief": the few that say
    most). A step beyond the horizon becomes the horizon: a horizon of 10 is scored at 1, 6 and 10.

    `series`, `asset` and `time` (of the first bar that was predicted) say where each belongs. Where the look-back did
    not move, figures in u are not numbers. `together` windows are forecast in one call.
    """
    trials = Trials(windows, _numbers(windows, origins))
    _check(trials, samples, together)
    scored_steps(steps, trials.horizon)  # refused before the work, not after it
    rows: list[dict[str, float]] = []
    for first in range(0, len(trials), together):
        some = range(first, min(first + together, len(trials)))
        pasts = [trials.past(i) for i in some]
        times = [trials.future_times(i) for i in some]
        made = forecaster.forecast(pasts, trials.horizon, samples=samples, seed=seed, y_timestamp=times)
        if len(made) != len(pasts):
            raise ConfigError(f"{forecaster.name} gave {len(made)} forecasts of {len(pasts)} series")
        rows += [  # the truth is fetched here and nowhere else
            score_forecast(one, trials.past_candles(i), trials.truth(i), steps, wanted)
            for one, i in zip(made, some, strict=True)
        ]
    figures: Figures = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    return trials.places() | figures


@dataclass(frozen=True)
class Trials:
    """Windows by number, with two doors: the past for the forecaster, the truth for whoever scores it."""

    windows: Windows
    numbers: Numbers

    def __len__(self) -> int:
        """How many there are."""
        return len(self.numbers)

    @property
    def horizon(self) -> int:
        """How many bars are to be predicted."""
        return self.windows.length - self.windows.lookback

    def past(self, trial: int) -> pd.DataFrame:
        """The look-back as a frame of its own: no view, behind which the future could be found."""
        which, first, origin, _ = self._rows(trial)
        return self.windows.series[which].cut(first, origin).frame()

    def past_candles(self, trial: int) -> Array:
        """The candles (L, 6) of the look-back, for the scores' units: a forecaster may have changed its frame."""
        which, first, origin, _ = self._rows(trial)
        return self.windows.series[which].bars[first:origin].copy()

    def past_closes(self, trial: int) -> Array:
        """The closes (L,) among them."""
        return self.past_candles(trial)[:, CLOSE]

    def future_times(self, trial: int) -> pd.DatetimeIndex:
        """The times of the bars to be predicted."""
        which, _, origin, stop = self._rows(trial)
        return pd.DatetimeIndex(self.windows.series[which].times[origin:stop].copy(), name="timestamp")

    def truth(self, trial: int) -> Array:
        """The candles (H, 6) that came."""
        which, _, origin, stop = self._rows(trial)
        return self.windows.series[which].bars[origin:stop].copy()

    def places(self) -> Figures:
        """Series and asset of every trial, and the time of the first bar that is to be predicted."""
        rows = [self._rows(i) for i in range(len(self))]
        series = [self.windows.series[which] for which, *_ in rows]
        return {
            "series": np.array([one.name for one in series]),
            "asset": np.array([asset_of(one) for one in series]),
            "time": np.array([one.times[row[2]] for one, row in zip(series, rows, strict=True)]),
        }

    def _rows(self, trial: int) -> tuple[int, int, int, int]:
        """The series, its first row, the first that is to be predicted, and where the window stops."""
        which, first = self.windows.place(int(self.numbers[trial]))
        return which, first, first + self.windows.lookback, first + self.windows.length


def choose_origins(windows: Windows, count: int) -> Numbers:
    """The numbers of `count` windows (of all, where there are fewer), in order, and always the same ones.

    Every series gives equally many as far as it has them, and they are spread evenly over its windows; one series
    begins earlier than the next, so that origins of all together are spread over time too. Windows of a series share
    no predicted bar, unless more are asked for than there is room for.
    """
    if count < 1:
        raise ConfigError(f"origins is {count}; at least one window is needed")
    horizon = max(windows.length - windows.lookback, 1)
    apart = -(-windows.counts // horizon)  # how many windows of each series share no predicted bar
    given = _shared_out(count, apart)
    given += _shared_out(count - int(given.sum()), windows.counts - given)
    chosen = []
    ends = np.cumsum(windows.counts)
    for which in np.flatnonzero(given).tolist():
        total, wanted = int(windows.counts[which]), int(given[which])
        least = horizon if wanted <= apart[which] else 1
        slack = total - 1 - (wanted - 1) * least
        shift = (which + 1) * TURN % 1.0
        along = np.arange(wanted) * least + ((np.arange(wanted) + shift) * slack / wanted).astype(np.int64)
        chosen.append(ends[which] - total + along)
    return np.concatenate(chosen)


def _shared_out(count: int, room: Numbers) -> Numbers:
    """`count` things, or what there is room for, dealt out as equally as the room allows."""
    given = np.zeros_like(room)
    left = min(count, int(room.sum()))
    while left:
        open_ = np.flatnonzero(given < room)
        if left < len(open_):  # the last few go to series spread over the list, which is sorted by market
            given[open_[(2 * np.arange(left) + 1) * len(open_) // (2 * left)]] += 1
            return given
        more = np.minimum(room[open_] - given[open_], left // len(open_))
        given[open_] += more
        left -= int(more.sum())
    return given


def _numbers(windows: Windows, origins: int | Sequence[int] | Numbers) -> Numbers:
    if isinstance(origins, int | np.integer):
        return choose_origins(windows, int(origins))
    numbers = np.asarray(origins)
    if numbers.ndim != 1 or not len(numbers) or numbers.dtype.kind not in "iu":
        raise ConfigError("origins is a number of windows, or a list of their numbers, at least one")
    if len(np.unique(numbers)) < len(numbers):
        raise ConfigError("origins: a window is given twice; it would count as two that agree")
    if numbers.min() < 0 or numbers.max() >= len(windows):
        raise ConfigError(f"origins: windows are numbered from 0 to {len(windows) - 1}")
    return numbers.astype(np.int64)


def _check(trials: Trials, samples: int, together: int) -> None:
    if trials.horizon < 1:
        raise ConfigError("these windows have no bar to predict; give them a horizon")
    if trials.windows.lookback < 3:
        raise ConfigError(f"a look-back of {trials.windows.lookback} bars has no volatility; at least 3 are needed")
    if samples < 2:
        raise ConfigError(f"samples is {samples}; a distribution is scored from at least 2 paths")
    if together < 1:
        raise ConfigError(f"together is {together}; at least one window is forecast at a time")

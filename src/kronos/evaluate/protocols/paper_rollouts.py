"""Forecasts at rolling origins in the paper's settings, as one frame per entrant: what its tables are made of.

Of each forecast only what the tasks ask for is kept: how its mean path goes with the true one, the return and the
variance that it said, and those that came.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kronos.bars import Forecast
from kronos.bars.candles import CLOSE
from kronos.errors import BarsError, ConfigError, KronosError
from kronos.evaluate.metrics.points import correlation, rank_correlation
from kronos.evaluate.protocols.paper_tasks import Cell, Entrant, PaperSettings, TaskName
from kronos.evaluate.rollouts import Trials

FIGURES = ("path_ic", "path_rank_ic", "said_return", "came_return", "said_variance", "came_variance")
"""Of one origin: correlations along the path, simple returns at the end of the horizon, sums of squared returns."""

FAILED_SHARE = 0.05
"""An entrant that fails at more of a cell's origins is not judged in that cell; the others keep its origins."""

_SAY_EVERY = 15.0  # seconds


class Reporter(Protocol):
    """Who is told how far it is."""

    def say(self, line: str) -> None:
        """A line of its own."""


class Progress:
    """Says now and then how much of a long work is done, and about how long the rest takes."""

    def __init__(self, what: str, total: int, reporter: Reporter | None) -> None:
        """Nothing of it is done."""
        self._what, self._total, self._reporter = what, total, reporter
        self._done, self._begun = 0, time.monotonic()
        self._said = self._begun

    def add(self, count: int) -> None:
        """So much more is done."""
        self._done += count
        now = time.monotonic()
        if self._reporter is None or now - self._said < _SAY_EVERY or self._done >= self._total:
            return
        self._said = now
        left = (now - self._begun) / self._done * (self._total - self._done)
        self._reporter.say(f"{self._what}: {self._done:,} of {self._total:,}, about {max(left, 1) / 60:.1f} min left")


def roll_out(
    entrant: Entrant, cells: Sequence[Cell], task: TaskName, settings: PaperSettings, reporter: Reporter | None = None
) -> pd.DataFrame:
    """A row for every origin of every cell: where it belongs, and `FIGURES`; not numbers where the forecast failed."""
    trials = [cell.trials(settings.origins) for cell in cells]
    progress = Progress(f"{entrant.name} {task}", sum(map(len, trials)), reporter)
    frames = []
    for cell, some in zip(cells, trials, strict=True):
        options = entrant.options(task, settings, cell.windows.lookback)
        frames.append(_cell_rows(entrant, cell, some, options, settings.together, progress))
    rows = pd.concat(frames, ignore_index=True)
    rows.insert(0, "model", entrant.name)
    rows["before_cutoff"] = before_cutoff(rows["time"], entrant.cutoff)
    _tell_failures(entrant, rows, reporter)
    return rows


def before_cutoff(times: "pd.Series[Any]", cutoff: str | None) -> "pd.Series[bool]":
    """Whether a first predicted bar lies on a day that the entrant was trained on."""
    known = pd.Timestamp.min if cutoff is None else pd.Timestamp(cutoff).normalize() + pd.Timedelta(days=1)
    marked: pd.Series[bool] = times < known
    return marked


def forecasts_of(
    entrant: Entrant,
    pasts: Sequence[pd.DataFrame],
    horizon: int,
    times: Sequence[Any],
    options: Mapping[str, Any],
) -> list[Forecast | KronosError]:
    """A forecast of every look-back, or the error in its place; one that fails does not stop its neighbours."""
    ask: Any = entrant.forecaster.forecast
    try:
        made = list(ask(list(pasts), horizon, y_timestamp=list(times), **options))
    except ConfigError:  # what was asked for is wrong, for one as for all
        raise
    except KronosError as error:
        if len(pasts) == 1:
            return [error]
        pairs = zip(pasts, times, strict=True)
        return [forecasts_of(entrant, [past], horizon, [one], options)[0] for past, one in pairs]
    if len(made) != len(pasts):
        raise ConfigError(f"{entrant.name} gave {len(made)} forecasts of {len(pasts)} series")
    for forecast in made:
        if forecast.horizon != horizon:
            raise BarsError(f"{entrant.name} gave {forecast.horizon} bars of {horizon}")
    return made


def _cell_rows(
    entrant: Entrant, cell: Cell, trials: Trials, options: Mapping[str, Any], together: int, progress: Progress
) -> pd.DataFrame:
    figures: list[dict[str, float]] = []
    for first in range(0, len(trials), together):
        some = range(first, min(first + together, len(trials)))
        pasts, times = [trials.past(i) for i in some], [trials.future_times(i) for i in some]
        made = forecasts_of(entrant, pasts, trials.horizon, times, options)
        figures += [_figures(one, trials, i) for one, i in zip(made, some, strict=True)]
        progress.add(len(some))
    rows = pd.DataFrame({"market": cell.market, "timeframe": cell.timeframe, **trials.places()})
    rows["origin"] = _last_known(trials)
    return pd.concat([rows, pd.DataFrame(figures, columns=list(FIGURES))], axis=1)


def _last_known(trials: Trials) -> NDArray[np.datetime64]:
    """The time of the last bar of every look-back."""
    windows = trials.windows
    places = [windows.place(int(number)) for number in trials.numbers]
    return np.array([windows.series[which].times[first + windows.lookback - 1] for which, first in places])


def _figures(forecast: Forecast | KronosError, trials: Trials, trial: int) -> dict[str, float]:
    """Figures of one forecast; the truth is fetched here and nowhere else."""
    if not isinstance(forecast, Forecast):
        return dict.fromkeys(FIGURES, float("nan"))
    last, truth = float(trials.past_closes(trial)[-1]), trials.truth(trial)[:, CLOSE]
    closes = forecast.paths[..., CLOSE]  # (S, H)
    mean = closes.mean(axis=0)
    moved = np.log(np.concatenate([np.full((len(closes), 1), last), closes], axis=1))
    came = np.log(np.concatenate([[last], truth]))
    return {
        "path_ic": float(correlation(mean, truth)),
        "path_rank_ic": float(rank_correlation(mean, truth)),
        "said_return": float(mean[-1] / last - 1.0),
        "came_return": float(truth[-1] / last - 1.0),
        "said_variance": float(np.square(np.diff(moved, axis=1)).sum(axis=1).mean()),
        "came_variance": float(np.square(np.diff(came)).sum()),
    }


def _tell_failures(entrant: Entrant, rows: pd.DataFrame, reporter: Reporter | None) -> None:
    failed = rows["said_return"].isna()
    if reporter is not None and failed.any():
        where = (rows["market"] + " " + rows["timeframe"])[failed].value_counts(sort=False)
        told = ", ".join(f"{cell} {count}" for cell, count in where.items())
        reporter.say(f"{entrant.name} failed at {failed.sum():,} of {len(rows):,} origins ({told})")


def aligned(rows: Mapping[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """The entrants' rows at the origins where all spoke; who fails too often in a cell has no rows there instead."""
    spoke = {name: own["said_return"].notna() for name, own in rows.items()}
    keys = {name: own["market"] + " " + own["timeframe"] for name, own in rows.items()}
    stays = {
        name: spoke[name].groupby(keys[name]).transform("mean") >= 1.0 - FAILED_SHARE for name in rows
    }  # of every row, whether its entrant is judged in its cell
    common = np.logical_and.reduce([(spoke[name] | ~stays[name]).to_numpy() for name in rows])
    return {name: own[common & stays[name].to_numpy()].reset_index(drop=True) for name, own in rows.items()}

"""Scores of several models at the same origins, laid side by side, and how sure one may be of what they average to.

What every table, picture and sentence of a benchmark is made from. Errors are those of `metrics.uncertainty`: origins
near each other in time, and those of one asset, share their luck.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kronos.bars.timeframe import Timeframe
from kronos.errors import ConfigError
from kronos.evaluate.baselines.choosing import BASELINES
from kronos.evaluate.metrics.bootstrap import block_bootstrap, ratio
from kronos.evaluate.metrics.laws import two_sided_t
from kronos.evaluate.metrics.uncertainty import BLOCKS, standard_error

if TYPE_CHECKING:
    from kronos.evaluate.benchmark.results import Results

Array = NDArray[np.float64]
Rows = NDArray[np.bool_]

PLACES = ("number", "series", "market", "asset", "timeframe", "time", "origin", "regime")
"""The columns of scores that say where an origin belongs, and are the same for every model."""

DRAWS = 1000  # of a bootstrap
Row = Mapping[str, Any]
"""A row of a table."""

REGIMES = ("calm", "usual", "wild")
LEVELS = (50, 80, 90, 95)
"""Shares, in per cent, that the bands named `cover50` and so on are to hold."""


class Estimate(NamedTuple):
    """A mean, or a ratio of means, and its standard error (not a number where none can be had)."""

    value: float
    error: float

    def named(self, name: str) -> dict[str, float]:
        """Two columns of a table."""
        return {name: self.value, f"{name}_se": self.error}


UNKNOWN = Estimate(float("nan"), float("nan"))


class Cut(NamedTuple):
    """Some of the origins: which question they are cut by, what they are called, and which they are (N,)."""

    slice: str
    group: str
    rows: Rows


@dataclass(frozen=True, eq=False)
class Panel:
    """Figures (M, N) of M models at the N origins that all of them have; `places` has a row for each origin."""

    models: tuple[str, ...]
    places: pd.DataFrame
    figures: Mapping[str, Array]
    baselines: tuple[str, ...]
    samples: Mapping[str, int]
    """How many paths each model's forecasts have, where that is known."""
    horizon: int
    uncommon: int
    """How many origins at least one model lacks: they are in no figure."""

    @classmethod
    def of(cls, results: "Results") -> "Panel":
        """The panel of a benchmark's results; models in the order in which they were given."""
        scores = results.scores
        if not len(scores):
            raise ConfigError("there are no scores to lay side by side: no origin was judged")
        models = tuple(dict.fromkeys(scores["model"].astype(str)))
        by_model = {name: scores[scores["model"] == name].set_index("number") for name in models}
        for name, part in by_model.items():
            if part.index.has_duplicates:
                raise ConfigError(f"the scores of {name} hold an origin twice; it would count as two that agree")
        numbers = sorted(set.intersection(*(set(part.index) for part in by_model.values())))
        if not numbers:
            raise ConfigError("no origin was judged with every model, so nothing can be compared")
        parts = {name: by_model[name].loc[numbers].reset_index() for name in models}
        measured = [name for name in scores.columns if name not in (*PLACES, "model") and _is_number(scores[name])]
        figures = {
            name: np.stack([parts[model][name].to_numpy(dtype=np.float64) for model in models]) for name in measured
        }
        places = parts[models[0]][list(PLACES)]
        baselines = tuple(name for name in models if is_baseline(name, results.facts.get(name, {})))
        samples = {name: int(facts["samples"]) for name, facts in results.facts.items() if facts.get("samples")}
        uncommon = scores["number"].nunique() - len(numbers)
        return cls(models, places, figures, baselines, samples, int(results.task.horizon), uncommon)

    # What is where -----------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        """How many origins there are."""
        return len(self.places)

    @property
    def every(self) -> Rows:
        """All origins."""
        return np.ones(len(self), dtype=np.bool_)

    @cached_property
    def steps(self) -> tuple[int, ...]:
        """The bars of the horizon at which there are scores."""
        return steps_of(self.figures)

    @cached_property
    def order(self) -> tuple[str, ...]:
        """The models, best CRPS first; without a number last."""
        means = {name: self.mean(name, "crps").value for name in self.models}
        return tuple(sorted(self.models, key=lambda name: (not np.isfinite(means[name]), means[name])))

    @cached_property
    def best(self) -> str | None:
        """The baseline with the lowest CRPS."""
        ranked = [name for name in self.order if name in self.baselines]
        return ranked[0] if ranked else None

    def rival(self, model: str) -> str | None:
        """Whom the model is held against: the best baseline, and for that one the next."""
        return next((name for name in self.order if name in self.baselines and name != model), None)

    def values(self, model: str, figure: str) -> Array:
        """(N,) a figure of one model; not a number where it was not measured."""
        if figure not in self.figures:
            return np.full(len(self), np.nan)
        found: Array = self.figures[figure][self.models.index(model)]
        return found

    # What it averages to -------------------------------------------------------------------------------------------

    def mean(self, model: str, figure: str, rows: Rows | None = None) -> Estimate:
        """The mean of a figure over the origins that have it."""
        return self.estimate(self.values(model, figure), rows)

    def difference(self, model: str, other: str, figure: str = "crps", rows: Rows | None = None) -> Estimate:
        """The mean of the model's figure less the other's, at the same origins."""
        return self.estimate(self.values(model, figure) - self.values(other, figure), rows)

    def ratio(self, mine: Array, theirs: Array, rows: Rows | None = None) -> Estimate:
        """The mean of `mine` (N,) over that of `theirs` (N,), where both are; its error by the delta method."""
        there = np.isfinite(mine) & np.isfinite(theirs) & (self.every if rows is None else rows)
        base = float(theirs[there].mean()) if there.any() else 0.0
        if not base > 0:
            return UNKNOWN
        share = float(mine[there].mean()) / base
        return Estimate(share, self.estimate(mine - share * theirs, there).error / base)

    def estimate(self, values: Array, rows: Rows | None = None) -> Estimate:
        """The mean of `values` (N,) over the rows at which they are numbers, and its standard error."""
        there = ~np.isnan(values) if rows is None else ~np.isnan(values) & rows
        return self.estimate_at(values[there], np.flatnonzero(there))

    def estimate_at(self, values: Array, origins: NDArray[np.intp]) -> Estimate:
        """The mean of any number of `values`, each of the origin (by row) that it says it is of."""
        if not len(values):
            return UNKNOWN
        if np.isinf(values).any():  # an endless loss is one, and leaving it out would forgive it
            return Estimate(float("inf"), float("nan"))
        error = standard_error(values, self._owners[origins], self._moments[origins])
        return Estimate(float(values.mean()), error)

    def p_value(self, estimate: Estimate, null: float) -> float:
        """How likely so far an estimate from `null` is where that is the truth; two-sided, by Student's t.

        Its freedom is that of the blocks of time that the error comes from.
        """
        freedom = min(BLOCKS[0], len(np.unique(self._moments))) - 1
        if not (math.isfinite(estimate.error) and freedom > 0):
            return float("nan")
        off = estimate.value - null
        if estimate.error == 0.0:
            return 1.0 if off == 0.0 else 0.0
        return two_sided_t(off / estimate.error, freedom)

    def interval(self, values: Array, over: Array | None = None) -> tuple[float, float]:
        """The ends of the 95 % interval, by block bootstrap over days, of the mean of `values`, or of its ratio."""
        there = np.isfinite(values) if over is None else np.isfinite(values) & np.isfinite(over)
        if not there.any():
            return float("nan"), float("nan")
        days = self.days[there].astype(np.int64)
        if over is None:
            found = block_bootstrap(values[there], days, draws=DRAWS)
        else:
            found = block_bootstrap(np.stack([values, over], axis=1)[there], days, ratio, draws=DRAWS)
        return found.low, found.high

    # Whom and when it is about -------------------------------------------------------------------------------------

    @cached_property
    def days(self) -> NDArray[Any]:
        """(N,) the day of the first bar that was predicted."""
        return self.places["time"].to_numpy().astype("datetime64[D]")

    @cached_property
    def _owners(self) -> NDArray[np.int64]:
        return np.unique(self.places["asset"].astype(str).to_numpy(), return_inverse=True)[1]

    @cached_property
    def _moments(self) -> NDArray[np.int64]:
        return self.places["time"].to_numpy().astype("datetime64[ns]").astype(np.int64)

    def spans_apart(self, rows: Rows | None = None) -> int:
        """The most predictions among these origins that share no moment, over all series.

        A thousand forecasts of one week are one week's evidence. Nights and weekends are not counted as time.
        """
        kept = self.every if rows is None else rows
        lengths = self.places["timeframe"].map({name: _length(name) for name in self.places["timeframe"].unique()})
        begins = self._moments[kept]
        ends = begins + np.maximum(lengths.to_numpy(dtype=np.int64)[kept] * self.horizon, 1)
        found, until = 0, np.iinfo(np.int64).min
        for begin, end in sorted(zip(begins.tolist(), ends.tolist(), strict=True), key=lambda span: span[1]):
            if begin >= until:
                found, until = found + 1, end
        return found

    # Parts of it ---------------------------------------------------------------------------------------------------

    def cuts(self) -> Iterator[Cut]:
        """The origins by market, by timeframe, by both, by how wild the market was, and by year."""
        markets, timeframes = (self.places[name].astype(str).to_numpy() for name in ("market", "timeframe"))
        lengths = sorted(set(timeframes), key=lambda name: (_length(name), name))
        for market in sorted(set(markets)):
            yield Cut("market", market, markets == market)
        for timeframe in lengths:
            yield Cut("timeframe", timeframe, timeframes == timeframe)
        for market in sorted(set(markets)):
            for timeframe in lengths:
                both = (markets == market) & (timeframes == timeframe)
                if both.any():
                    yield Cut("market x timeframe", f"{market} {timeframe}", both)
        regimes = self.places["regime"].astype(str).to_numpy()
        for regime in (*REGIMES, *sorted(set(regimes) - set(REGIMES))):
            if (regimes == regime).any():
                yield Cut("regime", regime, regimes == regime)
        years = self.days.astype("datetime64[Y]").astype(str)
        for year in sorted(set(years)):
            yield Cut("year", year, years == year)


def records(table: pd.DataFrame) -> list[Row]:
    """The rows of a table."""
    return [{str(key): value for key, value in row.items()} for row in table.to_dict("records")]


def is_baseline(name: str, facts: Mapping[str, Any]) -> bool:
    """Whether results of this name are a baseline's: as they were recorded, or else by the name itself."""
    recorded = facts.get("baseline")
    return bool(recorded) if recorded is not None else name in BASELINES or name.startswith("chronos:")


def steps_of(figures: Mapping[str, Any]) -> tuple[int, ...]:
    """The steps h for which there is a figure `crps_h`."""
    return tuple(sorted(int(name[5:]) for name in figures if name.startswith("crps_") and name[5:].isdigit()))


def _is_number(column: "pd.Series[Any]") -> bool:
    return column.dtype.kind in "fiub"


def _length(timeframe: str) -> int:
    """Nanoseconds; of what is no timeframe 0, because a results folder of somebody else's may hold any word."""
    try:
        return int(Timeframe.parse(timeframe).nanoseconds)
    except ConfigError:
        return 0

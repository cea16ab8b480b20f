"""Every figure of one forecast against what came: one place where they are computed, named and explained.

The unit u_h of step h is the standard deviation of the last 100 one-bar log returns of the look-back, times sqrt(h):
in it quiet and wild markets, and steps near and far, weigh alike. A look-back that stood still has no unit, and
figures in u are not numbers there. Prices are compared with the last close of the look-back.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kronos.bars import Forecast
from kronos.bars.candles import CLOSE, COLUMNS, HIGH, LOW
from kronos.errors import BarsError, ConfigError
from kronos.evaluate.metrics.distribution import crps, crps_gaussian, pinball_of, pit, quantiles
from kronos.evaluate.metrics.joint import energy_score, variogram_score
from kronos.evaluate.metrics.points import correlation, direction, mape, rank_correlation, rmse
from kronos.evaluate.metrics.volatility import qlike

Array = NDArray[np.float64]
Numbers = NDArray[np.int64]

UNIT_BARS, BASELINE_BARS = 100, 20
LEAST_UNIT = 1e-9  # a look-back that moves less has no unit
LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)
SHARES = (0.5, 0.8, 0.9, 0.95)

FIGURES: Mapping[str, str] = {
    "crps": "fair CRPS of the cumulative log return, in u; lower is better",
    "crps_h": "the same at step h alone",
    "hv20_crps": "CRPS in closed form of a Gaussian without drift that has the volatility of the last 20 bars, in u",
    "hv20_crps_h": "the same at step h alone",
    "pinball": "quantile loss, mean over the levels .05 .25 .5 .75 .95, in u",
    "cover50": "share of truths inside the central 50 % interval",
    "cover80": "share of truths inside the central 80 % interval",
    "cover90": "share of truths inside the central 90 % interval",
    "cover95": "share of truths inside the central 95 % interval",
    "cover50_h": "1 where the truth lies inside the 50 % interval of step h",
    "cover80_h": "1 where the truth lies inside the 80 % interval of step h",
    "cover90_h": "1 where the truth lies inside the 90 % interval of step h",
    "cover95_h": "1 where the truth lies inside the 95 % interval of step h",
    "width50": "width of the 50 % interval, in u",
    "width80": "width of the 80 % interval, in u",
    "width90": "width of the 90 % interval, in u",
    "width95": "width of the 95 % interval, in u",
    "width90_h": "width of the 90 % interval of step h, in u",
    "pit_h": "mid-rank of the truth among the paths at step h, 0 to 1; uniform if the law is right",
    "bias": "mean log return of the paths less the true one, in u",
    "mae": "|log(mean close / true close)|, in percent",
    "mape": "|mean close - true close| in percent of the true one, over the whole horizon",
    "rmse": "root mean square error of the mean close over the whole horizon, in percent of the last close",
    "close_correlation": "Pearson correlation of mean closes with true ones along the path (the paper's IC)",
    "rank_correlation": "Spearman correlation of mean closes with true ones along the path (the paper's RankIC)",
    "direction": "at the last of the steps, 1 where most paths end on the true side of the last close; a tie .5",
    "direction_steps": "share of all steps at which the mean close lies on the true side of the last close; a tie .5",
    "up_h": "said P(close of step h > last close), (k + 1) / (S + 2)",
    "rose_h": "whether it was: 1, 0, or .5 where it equals the last close",
    "brier": "(said P(up) - whether it rose)^2",
    "said_return": "mean log return of the paths at the end of the horizon",
    "came_return": "the true one",
    "touch_up": "said P(a high reaches last close x exp(u_H) within the horizon H), (k + 1) / (S + 2)",
    "touched_up": "whether one did",
    "touch_down": "said P(a low reaches last close x exp(-u_H) within the horizon H)",
    "touched_down": "whether one did",
    "brier_touch": "(said - whether it happened)^2, mean of up and down",
    "energy": "fair energy score of the whole close path, cumulative log returns in u_h",
    "variogram": "fair variogram score (order .5, mean over pairs of steps) of the same",
    "said_variance": "mean over paths of the sum of squared one-bar log returns over the horizon",
    "came_variance": "the true sum",
    "qlike": "r - log r - 1 with r = came / said variance; 0 is best, infinite where the paths stand still",
    "volatility_unit": "standard deviation of the last 100 one-bar log returns: u of one bar",
}
"""What each figure says. One that ends in `_h` is there for every step: `crps_h` as `crps_1`, `crps_6`, ...; figures
without such an ending are means over the steps, if they do not speak of the whole horizon."""

GROUPS: Mapping[str, tuple[str, ...]] = {
    "crps": ("crps", "crps_h", "hv20_crps", "hv20_crps_h", "pinball"),
    "coverage": tuple(name for name in FIGURES if name.startswith(("cover", "width"))),
    "pit": ("pit_h",),
    "points": ("bias", "mae", "mape", "rmse", "close_correlation", "rank_correlation"),
    "direction": ("direction", "direction_steps", "up_h", "rose_h", "brier", "said_return", "came_return"),
    "touch": ("touch_up", "touched_up", "touch_down", "touched_down", "brier_touch"),
    "paths": ("energy", "variogram"),
    "volatility": ("said_variance", "came_variance", "qlike", "volatility_unit"),
}
"""Figures that are computed together."""

BRIEF = ("crps", "crps_h", "hv20_crps", "cover50", "cover90", "width90", "bias", "mae", "direction")
"""A few that say most, `wanted` as "brief"."""


def score_forecast(
    forecast: Forecast,
    past: ArrayLike,
    truth: ArrayLike,
    steps: Sequence[int] = (1, 6, 12, 24),
    wanted: Collection[str] | None = None,
) -> dict[str, float]:
    """Figures by name (`FIGURES`) of a forecast, made from candles `past` (L, 6), when candles `truth` (H, 6) came.

    A step beyond the horizon becomes the horizon. `wanted` names `GROUPS`, or "brief", and only these are computed;
    None are all of them.
    """
    case = _case(forecast, past, truth, steps)
    groups = set(GROUPS) if wanted is None else _groups(wanted)
    found: dict[str, float] = {}
    for name, compute in _COMPUTE.items():
        if name in groups or ("brief" in groups and not set(BRIEF).isdisjoint(GROUPS[name])):
            found |= compute(case)
    kept = {name for group in groups for name in (BRIEF if group == "brief" else GROUPS[group])}
    at = case.steps.tolist()
    names = {f"{name[:-1]}{h}" if name.endswith("_h") else name for name in kept for h in at}
    return {name: value for name, value in found.items() if name in names}


def scored_steps(steps: Sequence[int], horizon: int) -> list[int]:
    """The steps that are scored, each once and in order: one beyond the horizon becomes the horizon."""
    if not len(steps) or min(steps) < 1:
        raise ConfigError(f"steps {tuple(steps)}: give the bars of the horizon to score at, counted from 1")
    return sorted({min(int(step), horizon) for step in steps})


@dataclass(frozen=True)
class _Case:
    """One forecast and what came, in log returns from the last close of the look-back."""

    paths: Array  # (S, H, 6)
    truth: Array  # (H, 6)
    last: float
    steps: Numbers  # (K,)
    moves: Array  # (S, H) cumulative
    came: Array  # (H,)
    changes: Array  # (L - 1,) one-bar log returns of the look-back

    @property
    def at(self) -> Numbers:
        """Where the steps lie."""
        return self.steps - 1

    @property
    def deviation(self) -> float:
        """Of the last one-bar returns."""
        return float(self.changes[-UNIT_BARS:].std())

    def units(self, steps: ArrayLike) -> Array:
        """u at each of the steps; not a number where the look-back did not move."""
        deviation = self.deviation if self.deviation > LEAST_UNIT else np.nan
        found: Array = deviation * np.sqrt(np.asarray(steps, dtype=np.float64))
        return found

    @cached_property
    def mean_closes(self) -> Array:
        """The mean close of every step (H,)."""
        means: Array = np.exp(self.moves).mean(axis=0) * self.last
        return means


def _case(forecast: Forecast, past: ArrayLike, truth: ArrayLike, steps: Sequence[int]) -> _Case:
    known, came = _candles(past, "past"), _candles(truth, "truth")
    if forecast.samples < 2 or forecast.horizon != len(came):
        raise BarsError(f"a forecast of {forecast.samples} paths x {forecast.horizon} bars, of {len(came)} to predict")
    if len(known) < 3:
        raise ConfigError(f"a look-back of {len(known)} bars has no volatility; at least 3 are needed")
    last = float(known[-1, CLOSE])
    return _Case(
        paths=forecast.paths,
        truth=came,
        last=last,
        steps=np.array(scored_steps(steps, len(came))),
        moves=forecast.returns() + np.log(forecast.last_close / last),
        came=np.log(came[:, CLOSE] / last),
        changes=np.diff(np.log(known[:, CLOSE])),
    )


def _candles(bars: ArrayLike, what: str) -> Array:
    candles = np.asarray(bars, dtype=np.float64)
    if candles.ndim != 2 or candles.shape[1] != len(COLUMNS) or not len(candles):
        raise BarsError(f"{what} must be candles (bars, {len(COLUMNS)}), at least one; the shape is {candles.shape}")
    prices = candles[:, : CLOSE + 1]
    if not (np.isfinite(prices) & (prices > 0)).all():
        row, column = np.argwhere(~(np.isfinite(prices) & (prices > 0)))[0]
        raise BarsError(f"{what}, row {row}: {COLUMNS[column]} is {prices[row, column]}, not a positive price")
    return candles


def _groups(wanted: Collection[str]) -> set[str]:
    groups = {wanted} if isinstance(wanted, str) else set(wanted)
    unknown = sorted(groups - set(GROUPS) - {"brief"})
    if unknown or not groups:
        known = ", ".join(["brief", *GROUPS])
        raise ConfigError(f"there is no group of figures {', '.join(unknown) or 'in an empty list'}; there are {known}")
    return groups


def _each(name: str, case: _Case, values: Array) -> dict[str, float]:
    """A figure of every step: NAME_1, NAME_6, ..."""
    return {f"{name}_{step}": float(value) for step, value in zip(case.steps.tolist(), values, strict=True)}


def _crps(case: _Case) -> dict[str, float]:
    moves, came = case.moves[:, case.at], case.came[case.at]  # (S, K), (K,)
    unit = case.units(case.steps)
    scores = crps(moves, came) / unit
    recent = case.changes[-BASELINE_BARS:].std() * np.sqrt(case.steps)
    baseline = crps_gaussian(0.0, recent, came) / unit
    levels = np.array(LEVELS)[:, None]
    return {
        "crps": float(scores.mean()),
        **_each("crps", case, scores),
        "hv20_crps": float(baseline.mean()),
        **_each("hv20_crps", case, baseline),
        "pinball": float((pinball_of(quantiles(moves, LEVELS), came, levels) / unit).mean()),
    }


def _coverage(case: _Case) -> dict[str, float]:
    moves, came = case.moves[:, case.at], case.came[case.at]
    tails = [(1.0 - share) / 2.0 for share in SHARES]
    low, high = np.split(quantiles(moves, [*tails, *(1.0 - tail for tail in tails)]), 2)  # (shares, K) each
    inside, widths = ((low <= came) & (came <= high)).astype(np.float64), (high - low) / case.units(case.steps)
    found: dict[str, float] = {}
    for share, hits in zip(SHARES, inside, strict=True):
        name = f"cover{100 * share:.0f}"
        found |= {name: float(hits.mean()), **_each(name, case, hits)}
    for share, wide in zip(SHARES, widths, strict=True):
        found[f"width{100 * share:.0f}"] = float(wide.mean())
    return found | _each("width90", case, widths[SHARES.index(0.9)])


def _pit(case: _Case) -> dict[str, float]:
    return _each("pit", case, pit(case.moves[:, case.at], case.came[case.at]))


def _points(case: _Case) -> dict[str, float]:
    moves, came = case.moves[:, case.at], case.came[case.at]
    closes, means = case.truth[:, CLOSE], case.mean_closes
    return {
        "bias": float(((moves.mean(axis=0) - came) / case.units(case.steps)).mean()),
        "mae": float(100.0 * np.abs(np.log(np.exp(moves).mean(axis=0) * case.last / closes[case.at])).mean()),
        "mape": float(mape(means, closes)),
        "rmse": float(100.0 * rmse(means, closes) / case.last),
        "close_correlation": float(correlation(means, closes)),
        "rank_correlation": float(rank_correlation(means, closes)),
    }


def _direction(case: _Case) -> dict[str, float]:
    up = _shares(np.sign(case.moves[:, case.at]) * 0.5 + 0.5)
    rose = np.sign(case.came[case.at]) * 0.5 + 0.5
    votes = np.sign(case.moves[:, case.at[-1]]).sum()
    drift = np.expm1(case.moves).mean(axis=0)  # of differences: paths that stand still tie exactly
    return {
        "direction": float(direction(votes, case.came[case.at[-1]])),
        "direction_steps": float(direction(drift, case.came).mean()),
        **_each("up", case, up),
        **_each("rose", case, rose),
        "brier": float(np.square(up - rose).mean()),
        "said_return": float(case.moves[:, -1].mean()),
        "came_return": float(case.came[-1]),
    }


def _touch(case: _Case) -> dict[str, float]:
    unit = float(case.units(len(case.truth)))
    if np.isnan(unit):
        return dict.fromkeys(GROUPS["touch"], float("nan"))
    above, below = case.last * np.exp(unit), case.last * np.exp(-unit)
    up = float(_shares((case.paths[..., HIGH] >= above).any(axis=1)))
    down = float(_shares((case.paths[..., LOW] <= below).any(axis=1)))
    went_up, went_down = float(case.truth[:, HIGH].max() >= above), float(case.truth[:, LOW].min() <= below)
    return {
        "touch_up": up,
        "touched_up": went_up,
        "touch_down": down,
        "touched_down": went_down,
        "brier_touch": 0.5 * ((up - went_up) ** 2 + (down - went_down) ** 2),
    }


def _paths(case: _Case) -> dict[str, float]:
    unit = case.units(np.arange(1, len(case.came) + 1))
    moves, came = case.moves / unit, case.came / unit
    return {"energy": energy_score(moves, came), "variogram": variogram_score(moves, came)}


def _volatility(case: _Case) -> dict[str, float]:
    said = float(np.square(np.diff(case.moves, axis=1, prepend=0.0)).sum(axis=1).mean())
    came = float(np.square(np.diff(case.came, prepend=0.0)).sum())
    return {
        "said_variance": said,
        "came_variance": came,
        "qlike": float(qlike(said, came)),
        "volatility_unit": case.deviation,
    }


def _shares(hits: ArrayLike) -> Array:
    """The share of hits (S, ...) along axis 0 as a probability, as `Forecast` counts them: never quite 0 or 1."""
    counted = np.asarray(hits, dtype=np.float64)
    found: Array = (counted.sum(axis=0) + 1.0) / (len(counted) + 2.0)
    return found


_COMPUTE: Mapping[str, Callable[[_Case], dict[str, float]]] = {
    "crps": _crps,
    "coverage": _coverage,
    "pit": _pit,
    "points": _points,
    "direction": _direction,
    "touch": _touch,
    "paths": _paths,
    "volatility": _volatility,
}

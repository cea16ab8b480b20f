"""Fitting a calibration to past forecasts.

Factors are conformal: the truth's distance from the centre, in units of the forecast's own interval on that side, has a
quantile over origins, and stretched by it the interval holds as much as it says. What else could be done (taking drift
away, leaning on recent volatility, stretching the sides differently, moving P(up)) has to earn its place: origins are
dealt into blocks of time, each is scored with what the others teach, and of the settings within one standard error of
the best CRPS the one that changes least is taken. Groups of few origins are drawn to the table of all.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kronos.errors import BarsError, ConfigError
from kronos.forecast.calibration.calibration import ALL, GROUPINGS, Calibration
from kronos.forecast.calibration.maps import SHARES
from kronos.forecast.calibration.rising import brier_of_law, rising_map
from kronos.forecast.calibration.samples import Outcomes, Samples
from kronos.forecast.calibration.tables import DIGITS, HIGHEST, LOWEST, Table, leaning

Array = NDArray[np.float64]

DRIFTS = (0.0, 0.25, 0.5, 0.75, 1.0)
LEANS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6)
SIDES = (0.0, 0.5, 1.0)
SHAPES = (1.0, 0.5, 0.0)  # bands that hold what they say come first

PATIENCE = 2  # values tried beyond the best one
FOLDS, BLOCKS = 5, 20  # of time: for scoring what others teach, and for standard errors
LEAST_ORIGINS = 50  # fewer are no group of their own
SHRINKAGE = 300.0  # a group of n origins weighs n / (n + this) beside the table of all
SLACK = 1e-3  # how much CRPS bands and probabilities that mean what they say may cost
IDENTITY = 100.0  # and the table of all weighs n / (n + this) beside doing nothing


@dataclass(frozen=True)
class Setting:
    """What a table is made with, beside the origins: 0 everywhere changes nothing but the one scale of each step."""

    drift: float = 0.0
    lean: float = 0.0
    sides: float = 0.0  # how far the two sides may differ
    shapes: float = 0.0  # how far the intervals' factors may differ
    narrow: bool = True  # whether intervals may become narrower


def fit(
    outcomes: Outcomes,
    *,
    by: str = "timeframe",
    drift: bool = True,
    lean: bool = True,
    sides: bool = True,
    up: bool = True,
    narrow: bool = True,
    model: str = "",
    weights: str | None = None,
    sampler: Mapping[str, float] | None = None,
    facts: Mapping[str, Any] | None = None,
) -> Calibration:
    """A calibration of these outcomes, with a table for all and for each group that has the origins for one.

    `narrow` False makes no interval narrower. That is for forecasts of bars that the model was trained on: they can
    show that its bands are too narrow, and never that they are too wide for bars it has not seen.
    """
    if by not in GROUPINGS:
        raise ConfigError(f"a calibration is by {', '.join(GROUPINGS)}, not by {by!r}")
    samples, good = Samples.of(outcomes)
    if len(samples) < LEAST_ORIGINS:
        raise BarsError(
            f"{len(samples)} origins are too few to fit a calibration on; at least {LEAST_ORIGINS} are needed"
        )
    allowed: dict[str, Sequence[float]] = {"drift": DRIFTS if drift else (0.0,), "lean": LEANS if lean else (0.0,)}
    allowed |= {"shapes": SHAPES, "sides": SIDES if sides else (0.0,)}
    groups = np.full(len(samples), ALL) if by == "all" else np.asarray(getattr(outcomes, by))[good].astype(str)
    setting, notes = choose(samples, groups, allowed, Setting(narrow=narrow))
    tables = tables_of(samples, groups, setting)
    if up:
        tables, notes["up"] = _with_rise(samples, groups, setting, tables)
    tables[ALL] = replace(tables[ALL], notes=notes)
    return Calibration(tables, by, model, weights, dict(sampler or {}), dict(facts or {}))


def choose(
    samples: Samples, groups: NDArray[Any], allowed: Mapping[str, Sequence[float]], setting: Setting
) -> tuple[Setting, dict[str, Any]]:
    """The setting that earns its place, one thing after the other, and what each would have brought.

    What leans on a forecast's own median and spread is judged as if those were known exactly, and on all origins, for
    it is one number; what has many numbers by origins that they were not fitted on.
    """
    notes: dict[str, Any] = {}
    for name, values in allowed.items():
        if len(values) < 2:
            continue
        scores: list[Array] = []
        for value in values:
            one = _with(setting, name, value)
            if name in ("drift", "lean"):
                scores.append(samples.law_scores(tables_of(samples, np.full(len(samples), ALL), one)[ALL]))
            else:
                scores.append(held_out(samples, groups, partial(tables_of, setting=one)))
            best = int(np.argmin([score.mean() for score in scores]))
            if len(scores) - best > PATIENCE:  # more of what makes it worse makes it worse still
                break
        taken, notes[name] = _pick(values, scores, samples.time, SLACK if name == "shapes" else 0.0)
        setting = _with(setting, name, values[taken])
    return setting, notes


def _with(setting: Setting, name: str, value: float) -> Setting:
    changed: dict[str, Any] = {name: value}
    return replace(setting, **changed)


def _pick(
    values: Sequence[float], scores: Sequence[Array], time: NDArray[Any], slack: float = 0.0
) -> tuple[int, dict[str, Any]]:
    """The first value within one standard error, or `slack`, of the best; and a note: gains are over the first one."""
    best = int(np.argmin([score.mean() for score in scores]))
    enough = scores[best].mean() * (1.0 + slack)
    taken = next(i for i, one in enumerate(scores) if one.mean() <= enough or one_error(one, scores[best], time))
    gains = [round(1.0 - float(score.mean() / scores[0].mean()), DIGITS) for score in scores]
    return taken, {"taken": values[taken], "tried": list(values[: len(scores)]), "gains": gains}


def held_out(
    samples: Samples,
    groups: NDArray[Any],
    make: Callable[[Samples, NDArray[Any]], dict[str, Table]],
    score: Callable[[Samples, Table], Array] = Samples.scores,
) -> Array:
    """The score (N,), CRPS by default, of every origin under tables made of the other blocks of time."""
    folds = time_blocks(samples.time, FOLDS)
    scores = np.zeros(len(samples))
    for fold in np.unique(folds):
        inside = folds == fold
        tables = make(samples.at(~inside), groups[~inside])
        scores[inside] = scored(samples.at(inside), groups[inside], tables, score)
    return scores


def scored(
    samples: Samples,
    groups: NDArray[Any],
    tables: Mapping[str, Table],
    score: Callable[[Samples, Table], Array] = Samples.scores,
) -> Array:
    """The score (N,) of every origin under the table of its group."""
    scores = np.zeros(len(samples))
    for group in np.unique(groups):
        mine = groups == group
        scores[mine] = score(samples.at(mine), tables.get(str(group), tables[ALL]))
    return scores


def one_error(score: Array, best: Array, time: NDArray[Any]) -> bool:
    """Whether a mean is within one standard error of the best; origins of one block of time may all be alike."""
    apart = score - best
    sums = np.bincount(time_blocks(time, BLOCKS), weights=apart - apart.mean())
    error = np.sqrt((sums**2).sum()) / len(apart)
    return bool(apart.mean() <= error)


def time_blocks(time: NDArray[Any], count: int) -> NDArray[np.int64]:
    """The number of every origin's block of time, each of about as many."""
    ranks = np.searchsorted(np.sort(time), time)
    blocks: NDArray[np.int64] = ranks * min(count, len(np.unique(time))) // len(ranks)
    return blocks


def tables_of(samples: Samples, groups: NDArray[Any], setting: Setting) -> dict[str, Table]:
    """The table of all, and one for each group with origins enough."""
    everything = _raw(samples, setting)
    weight = len(samples) / (len(samples) + IDENTITY)
    common = _Raw(weight * everything.logs, everything.lean_at)
    tables = {ALL: _table(samples.steps, common, setting, len(samples))}
    for group in np.unique(groups).tolist():
        mine = groups == group
        count = int(mine.sum())
        if group == ALL or count < LEAST_ORIGINS:
            continue
        own, weight = _raw(samples.at(mine), setting), count / (count + SHRINKAGE)
        drawn = _Raw(
            *(weight * a + (1 - weight) * b for a, b in ((own.logs, common.logs), (own.lean_at, common.lean_at)))
        )
        tables[group] = _table(samples.steps, drawn, setting, count)
    return tables


@dataclass(frozen=True)
class _Raw:
    """A table before it is written."""

    logs: Array  # (K, 2, 4) of the factors
    lean_at: Array  # (K,)


def _raw(samples: Samples, setting: Setting) -> _Raw:
    """Factors that make the intervals of these origins hold what they say, smooth over the horizon."""
    many, few = samples.came.shape
    reach = samples.shape.reach.reshape(many, few, 2, len(SHARES))
    away = samples.came - (1.0 - setting.drift) * samples.shape.median.reshape(many, few)
    lean_at = _usual_ratio(samples)
    extra = leaning(samples.shape, setting.lean, np.tile(lean_at, many), samples.units.reshape(-1)).reshape(many, few)
    said = reach * extra[..., None, None]
    own = np.where((away > 0)[..., None], said[:, :, 1], said[:, :, 0])  # (N, K, 4) on the truth's side
    both = _quantiles(np.abs(away)[..., None], own, np.array(SHARES))
    logs = np.repeat(np.log(both)[:, None], 2, axis=1)  # (K, 2, 4)
    if setting.sides:
        halves = (1.0 + np.array(SHARES)) / 2.0
        single = np.stack(
            [_quantiles(s * away[..., None], said[:, :, i], halves) for i, s in ((0, -1), (1, 1))], axis=1
        )
        logs = logs + setting.sides * (np.log(single) - logs)
    level = logs.mean(axis=2, keepdims=True)
    return _Raw(_smooth(level + setting.shapes * (logs - level)), lean_at)


def _usual_ratio(samples: Samples) -> Array:
    """(K,) log of recent volatility over spread, in the middle of the origins."""
    spread = samples.shape.spread.reshape(samples.units.shape)
    found: Array = np.median(np.log(samples.units) - np.log(np.maximum(spread, 1e-12)), axis=0)
    return found


def _quantiles(away: Array, said: Array, levels: Array) -> Array:
    """(K, 4) the conformal quantiles of away (N, K, 1) over said (N, K, 4), of rank level x (N + 1)."""
    ratios = np.sort(
        np.divide(away, said, out=np.full(said.shape, np.nan), where=said > 0), axis=0
    )  # the last are none
    counts = np.isfinite(ratios).sum(axis=0)  # (K, 4)
    ranks = np.clip(levels * (counts + 1), 1, np.maximum(counts, 1)) - 1
    low = np.floor(ranks).astype(np.int64)
    high = np.minimum(low + 1, np.maximum(counts - 1, 0))
    ends = [np.take_along_axis(ratios, rank[None], axis=0)[0] for rank in (low, high)]
    found = np.where(counts > 0, ends[0] + (ranks - low) * (ends[1] - ends[0]), 1.0)
    return np.clip(found, LOWEST, HIGHEST)


def _smooth(logs: Array) -> Array:
    """Every step between others drawn to them: half its own, a quarter of each. A straight line stays as it is."""
    smooth = logs.copy()
    smooth[1:-1] = 0.25 * logs[:-2] + 0.5 * logs[1:-1] + 0.25 * logs[2:]
    return smooth


def _table(steps: tuple[int, ...], raw: _Raw, setting: Setting, origins: int) -> Table:
    factors = np.round(np.clip(np.exp(raw.logs), LOWEST if setting.narrow else 1.0, HIGHEST), DIGITS)
    return Table(
        steps=steps,
        factors=tuple(tuple(tuple(side) for side in step) for step in factors.tolist()),
        drift=setting.drift,
        lean=setting.lean,
        lean_at=tuple(np.round(raw.lean_at, DIGITS).tolist()) if setting.lean else (),
        origins=origins,
    )


def _with_rise(
    samples: Samples, groups: NDArray[Any], setting: Setting, tables: dict[str, Table]
) -> tuple[dict[str, Table], dict[str, Any]]:
    """The tables with the map of P(up), where it makes P(up) surely better and CRPS not worse; and what it brought.

    One map for all groups and steps: a single group says next to nothing about which way a market goes. It is
    judged as if P(up) were counted on any number of paths: that few of them are unsure is no fault to mend.
    """

    def risen(train: Samples, keys: NDArray[Any]) -> dict[str, Table]:
        knots = rising_map(train)
        return {name: replace(one, up=knots) for name, one in tables_of(train, keys, setting).items()}

    before = held_out(samples, groups, partial(tables_of, setting=setting), score=brier_of_law)
    after = held_out(samples, groups, risen, score=brier_of_law)
    better = not one_error(before, after, samples.time) and after.mean() < before.mean()
    notes = {"taken": False, "brier": [round(float(one.mean()), DIGITS) for one in (before, after)]}
    if not better or not (knots := rising_map(samples)):
        return tables, notes
    costs = [samples.law_scores(replace(tables[ALL], up=up)).mean() for up in ((), knots)]
    notes["crps_gain"] = round(float(1.0 - costs[1] / costs[0]), DIGITS)
    if costs[1] > costs[0] * (1.0 + SLACK):
        return tables, notes
    return {name: replace(one, up=knots) for name, one in tables.items()}, notes | {"taken": True}

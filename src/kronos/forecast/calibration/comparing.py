"""What a calibration makes of past forecasts, and which way of sampling gives the better ones."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kronos.errors import ConfigError
from kronos.forecast.calibration.calibration import ALL, Calibration
from kronos.forecast.calibration.fitting import Setting, held_out, one_error, tables_of
from kronos.forecast.calibration.samples import Outcomes, Samples
from kronos.forecast.calibration.tables import DIGITS

Array = NDArray[np.float64]
Way = tuple[float, float]  # T and top_p


def calibrated_moves(calibration: Calibration, outcomes: Outcomes) -> NDArray[np.float32]:
    """(N, S, K) the paths' returns under a calibration that was fitted at the same steps; as they are where still."""
    moves = np.array(outcomes.moves, dtype=np.float32)
    samples, good = Samples.of(outcomes)
    if any(table.steps != samples.steps for table in calibration.groups.values()):
        raise ConfigError(f"calibration {calibration.id} was fitted at other steps than {samples.steps}")
    keys = np.full(len(good), ALL) if calibration.by == "all" else np.asarray(getattr(outcomes, calibration.by))
    keys = np.where(np.isin(keys, list(calibration.groups)), keys, ALL)[good]
    new = np.zeros_like(samples.ordered)
    for key in np.unique(keys).tolist():
        mine = keys == key
        some = samples.at(mine)
        new[:, mine] = some.changed(calibration.groups[key], some.paths)
    moves[good] = np.moveaxis(new, 0, 1)
    return moves


def choose_sampler(tried: Mapping[Way, Outcomes]) -> tuple[Way, list[dict[str, Any]]]:
    """The T and top_p whose forecasts, calibrated, have the best CRPS; and what each had.

    All are of the same origins and random numbers, scored with what other blocks of time teach. Of those within one
    standard error of the best, the one nearest to plain sampling (T 1, top_p 1) is taken.
    """
    scores, times = {}, None
    for way, outcomes in tried.items():
        samples, good = Samples.of(outcomes)
        found = np.full(len(good), np.nan)
        keys = np.full(len(samples), ALL)
        found[good] = held_out(samples, keys, lambda train, groups: tables_of(train, groups, Setting()))
        scores[way], times = found, np.asarray(outcomes.time)
    if times is None or len({len(score) for score in scores.values()}) > 1:
        raise ConfigError("ways of sampling are compared at the same origins, and at least one is needed")
    there = np.all([np.isfinite(score) for score in scores.values()], axis=0)
    scores = {way: score[there] for way, score in scores.items()}
    best = min(scores, key=lambda way: float(scores[way].mean()))
    near = [way for way, score in scores.items() if one_error(score, scores[best], times[there])]
    chosen = min(near, key=lambda way: (abs(np.log(way[0])) + (1.0 - way[1]), way))
    notes = [
        {"T": way[0], "top_p": way[1], "crps": round(float(score.mean()), DIGITS), "taken": way == chosen}
        for way, score in scores.items()
    ]
    return chosen, notes

"""Who is judged: a name, how the forecaster is made, and what it says of itself before anything is scored."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import blake2b
from typing import Any

import numpy as np
import pandas as pd

from kronos.bars import COLUMNS, Forecast, Forecaster
from kronos.errors import ConfigError
from kronos.evaluate.benchmark.task import Task

PROBE_SAMPLES = 20  # of fewer paths a calibration says nothing, and two of them would look alike
DIGITS = 6  # of the paths that two runs of one forecaster are recognised by


@dataclass(frozen=True)
class Contestant:
    """One forecaster to be judged.

    `make` is called where the forecasts are made: with `parallel` in other processes, so that it must be picklable, and
    in each of them for one thread. `cutoff` is the last day that it was trained on, where its forecasts do not say so.
    `options` say how it was made, for the record; of them `samples` replaces the task's number of paths.
    """

    name: str
    make: Callable[[], Forecaster]
    cutoff: str | None = None
    parallel: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)

    def samples(self, task: Task) -> int:
        """How many paths each forecast has."""
        return int(self.options.get("samples") or (task.baseline_samples if self.is_baseline else task.samples))

    @property
    def is_baseline(self) -> bool:
        """Whether others are held against it; by default those that need no device are."""
        return bool(self.options.get("baseline", self.parallel))


@dataclass(frozen=True)
class Introduced:
    """A contestant that has been made, and has forecast bars that were made up."""

    contestant: Contestant
    forecaster: Forecaster
    first: Forecast

    @property
    def name(self) -> str:
        """The contestant's."""
        return self.contestant.name

    @property
    def cutoff(self) -> str | None:
        """The last day that it was trained on, as it says itself or as was said of it; None where nobody knows."""
        said = self.first.meta.get("cutoff") or self.contestant.cutoff
        return None if said is None else str(said)

    @cached_property
    def fingerprint(self) -> str:
        """The same for two runs of one forecaster; another for other weights, settings or calibration."""
        digits = np.array([f"{value:.{DIGITS}g}" for value in self.first.paths.ravel()])
        return blake2b(",".join(digits.tolist()).encode(), digest_size=8).hexdigest()

    def facts(self, task: Task) -> dict[str, Any]:
        """What is known of it before it is judged."""
        one = self.contestant
        return {
            "samples": one.samples(task),
            "cutoff": self.cutoff,
            "calibration": self.first.meta.get("calibration"),
            "baseline": one.is_baseline,
            "seed": task.seed,
            "options": dict(one.options),
            "fingerprint": self.fingerprint,
        }


def introduce(contestant: Contestant, task: Task) -> Introduced:
    """Make it, and let it forecast a walk that never was: that loads what it needs, and tells what it is."""
    forecaster = contestant.make()
    bars = made_up(task.lookback)
    made = forecaster.forecast([bars], task.horizon, samples=PROBE_SAMPLES, seed=task.seed)
    if len(made) != 1 or made[0].horizon != task.horizon:
        raise ConfigError(f"{contestant.name}: asked for one forecast of {task.horizon} bars, it gave something else")
    return Introduced(contestant, forecaster, made[0])


def made_up(rows: int) -> pd.DataFrame:
    """A random walk in hourly bars, always the same."""
    random = np.random.default_rng(0)
    close = 100.0 * np.exp(random.normal(0.0, 0.01, rows).cumsum())
    open_ = np.r_[100.0, close[:-1]]
    wicks = np.exp(np.abs(random.normal(0.0, 0.004, (2, rows))))
    volume = random.lognormal(5.0, 0.5, rows)
    high, low = np.maximum(open_, close) * wicks[0], np.minimum(open_, close) / wicks[1]
    index = pd.date_range("2024-01-01", periods=rows, freq="1h", unit="ns", name="timestamp")
    return pd.DataFrame(np.column_stack([open_, high, low, close, volume, volume * close]), index, list(COLUMNS))


def latest_cutoff(introduced: Sequence[Introduced]) -> tuple[str, str] | None:
    """The latest cut-off of all, as (day, name of its model); None where none has one."""
    dated = [(one.cutoff[:10], one.name) for one in introduced if one.cutoff is not None]
    return max(dated) if dated else None


def check_names(contestants: Sequence[Contestant]) -> None:
    """Refuse two of one name, and nobody."""
    if not contestants:
        raise ConfigError("there is nobody to judge: name at least one model or baseline (--models nano,hv20)")
    names = [one.name for one in contestants]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigError(f"{twice[0]} is named twice; give one of them a label of its own (label=name)")

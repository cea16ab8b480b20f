"""A benchmark as data: which bars, which windows of them, how many paths, which figures.

A task is a YAML or TOML file, or one of those in the package by its name (`ready_tasks`); every setting has a default,
and KEY=VALUE overrides any.
"""

from collections.abc import Iterable
from datetime import date
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

from kronos.bars import Timeframe
from kronos.config import Settings
from kronos.data.sets.windows import nanoseconds_of
from kronos.errors import ConfigError
from kronos.evaluate.scoring import GROUPS

READY = Path(__file__).parent / "tasks"
LEAST_LOOKBACK = 21  # the baseline of all tables needs 20 returns
NEEDED = ("crps", "coverage")  # groups of figures that no summary can do without


def _listed(value: Any) -> Any:
    """A list written as `a, b`, or as one thing."""
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return [value] if isinstance(value, int | float) else value


def _dated(value: Any) -> Any:
    """YAML reads dates as dates."""
    return value.isoformat() if isinstance(value, date) else value


def _moment(value: str) -> str:
    nanoseconds_of(value, "the date")
    return value


def _timeframe(value: str) -> str:
    return str(Timeframe.parse(value))


def _group(value: str) -> str:
    if value not in GROUPS:
        raise ValueError(f"no group of figures is called '{value}'; there are {', '.join(GROUPS)}")
    return value


Count = Annotated[int, Field(ge=1)]
Paths = Annotated[int, Field(ge=2)]
Texts = Annotated[tuple[str, ...], BeforeValidator(_listed)]
Moment = Annotated[str, AfterValidator(_moment)]
Date = Annotated[Moment | None, BeforeValidator(_dated)]


class Task(Settings):
    """What is to be forecast, and how it is judged."""

    name: str = "task"
    data: Texts = ()
    """Files, folders, lakes and packs of bars."""
    symbols: Texts = ()
    """Only these; BTC/USDT, BTC-USDT and btcusdt are one."""
    markets: Texts = ()
    """Only these, as the lake or the top folders call them."""
    timeframes: Annotated[tuple[Annotated[str, AfterValidator(_timeframe)], ...], BeforeValidator(_listed)] = ()
    """Only these."""
    exclude: Texts = ()
    """Series whose names contain one of these are left out."""

    lookback: Annotated[int, Field(ge=LEAST_LOOKBACK)] = 400
    """Bars that are known."""
    horizon: Count = 24
    """Bars that are to be forecast."""
    steps: Annotated[tuple[Count, ...], BeforeValidator(_listed), Field(min_length=1)] = (1, 6, 12, 24)
    """The bars of the horizon that are scored; one beyond the horizon becomes its last."""
    origins: Count = 4
    """Windows of every series, spread evenly over it; they share no predicted bar where there is room."""
    most: Count | None = None
    """At most so many windows of all series together, spread evenly over them."""
    since: Date = None
    """Bars to be forecast lie at or after this."""
    until: Date = None
    """Bars to be forecast lie before this."""
    min_history: Annotated[int, Field(ge=0)] = 0
    """Bars that a series must have before an origin, where the look-back is not enough."""
    include_before_cutoff: bool = False
    """Judge windows too that a model may have been trained on; they are marked."""

    samples: Paths = 100
    """Paths of every forecast."""
    baseline_samples: Paths = 1000
    """Paths of every baseline's forecast."""
    seed: Annotated[int, Field(ge=0)] = 0
    metrics: Annotated[tuple[Annotated[str, AfterValidator(_group)], ...], BeforeValidator(_listed)] = ()
    """Groups of figures (`kronos.evaluate.scoring.GROUPS`) beside CRPS and coverage; by default all."""
    tripwires: Annotated[int, Field(ge=0)] = 16
    """Windows at which it is tried whether the future leaks into forecasts or scores; 0 leaves that out."""

    @property
    def wanted(self) -> tuple[str, ...] | None:
        """The groups of figures that are computed; None are all."""
        return tuple(name for name in GROUPS if name in {*self.metrics, *NEEDED}) if self.metrics else None


def ready_tasks() -> dict[str, Path]:
    """The tasks in the package, by name."""
    return {path.stem: path for path in sorted(READY.glob("*.yaml"))}


def read_task(task: str | Path | None = None, overrides: Iterable[str] = ()) -> Task:
    """The task in a file, or of this name in the package; None is the one that has all defaults."""
    if task is None:
        return Task.read(None, overrides)
    ready = ready_tasks()
    path = ready.get(str(task), Path(task))
    if not path.exists():
        raise ConfigError(f"{task}: no such file, and no task of the package ({', '.join(ready)})")
    return Task.read(path, overrides)

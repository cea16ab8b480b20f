"""The paper's five tasks as data: windows by timeframe, the sampler's settings of each task, and which series are read.

The paper judges without tuning on bars from July 2024 on. A *class* is a market here, a *cell* a class at one
timeframe; every cell weighs alike within its class, and every class alike in the whole. Timeframes that are not in the
paper's table have no window and are left out, with a word.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from hashlib import blake2b
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from pydantic import Field

from kronos.bars import Forecaster, Timeframe, inspect
from kronos.config import Settings
from kronos.data import Series, Windows
from kronos.data.sets.series import plain_symbol
from kronos.data.sets.windows import group_of, nanoseconds_of
from kronos.errors import BarsError, ConfigError, KronosError, SourceError
from kronos.evaluate.benchmark.contestants import made_up
from kronos.evaluate.benchmark.shelves import as_series, shelves
from kronos.evaluate.rollouts import Trials, choose_origins

TaskName = Literal["price", "return", "volatility", "generation", "signals"]

TASKS: Mapping[TaskName, str] = {
    "price": "correlation of the mean predicted closes with the true ones, along each path",
    "return": "correlation of predicted with true returns at the end of the horizon, over all samples of a cell",
    "volatility": "realised variance over the horizon, said against true",
    "generation": "can a network tell generated sequences from real ones, and learn from them; stylised facts",
    "signals": "a signal for every asset and day, ready for a portfolio, and how it ranks the assets",
}

SHAPES: Mapping[str, tuple[int, int]] = {
    "5m": (480, 96),
    "10m": (240, 48),
    "15m": (160, 32),
    "20m": (120, 24),
    "40m": (90, 24),
    "1h": (80, 12),
    "2h": (60, 12),
    "4h": (90, 18),
    "1d": (40, 12),
}
"""Look-back and horizon of each timeframe, in bars."""

SIGNAL_TIMEFRAME, SIGNAL_SHAPE = "1d", (90, 10)
"""The investment simulation reads 90 days and speaks of the next 10."""

MIXED = "mixed_series"  # what the inspection calls two contracts in turn: no forecast of such prices means anything


class Sampling(NamedTuple):
    """How a network is sampled."""

    T: float
    top_p: float
    samples: int


SAMPLING: Mapping[TaskName, Sampling] = {
    "price": Sampling(0.6, 0.9, 10),
    "return": Sampling(0.6, 0.9, 10),
    "volatility": Sampling(0.9, 0.9, 1),
    "generation": Sampling(1.0, 0.95, 1),
    "signals": Sampling(0.6, 0.9, 10),
}
"""The paper's settings; a generated sequence is one path, so that the generation task has one."""


class PaperSettings(Settings):
    """What is asked of the protocol; the defaults are the paper's, as far as it says."""

    data: tuple[str, ...] = ()
    """Files, folders, lakes or packs of bars."""
    symbols: tuple[str, ...] = ()
    markets: tuple[str, ...] = ()
    timeframes: tuple[str, ...] = ()
    tasks: tuple[TaskName, ...] = tuple(TASKS)
    since: str = "2024-07-01"
    until: str | None = None
    origins: int = Field(default=0, ge=0)
    """Per series, spread evenly; 0 takes all that share no bar to predict."""
    samples: int | None = Field(default=None, ge=1)
    """Paths of a network instead of the paper's number."""
    baseline_samples: int = Field(default=100, ge=2)
    """Paths of a forecaster that has no sampler to set."""
    overflow: Literal["exact", "slide"] = "exact"
    """What a network does where look-back and horizon exceed its context (5m)."""
    sequences: int = Field(default=6000, ge=1)
    """Real sequences in a cell of the generation task, and as many generated ones, where there is room for them."""
    epochs: int = Field(default=20, ge=1)
    """Of the networks that tell real from generated."""
    dates: int = Field(default=0, ge=0)
    """Days of the signals task, spread evenly; 0 takes every one."""
    together: int = Field(default=32, ge=1)
    """Series that are forecast in one call."""
    seed: int = 0
    include_before_cutoff: bool = False


@dataclass(frozen=True)
class Entrant:
    """Who is judged."""

    name: str
    forecaster: Forecaster
    sampled: bool = False
    """Whether it takes T, top_p, lookback and overflow: a network does, a baseline does not."""
    cutoff: str | None = None
    """The last day that it was trained on, where that is known."""
    fingerprint: str = ""
    """The same for two runs of one forecaster, another for other weights; empty where nobody asked."""

    @classmethod
    def of(cls, name: str, forecaster: Forecaster, *, sampled: bool = False) -> "Entrant":
        """With what it tells of itself in a forecast of bars that never were."""
        probe = forecaster.forecast([made_up(64)], 4, samples=4)[0]
        digits = ",".join(f"{value:.6g}" for value in probe.paths.ravel())
        said = probe.meta.get("cutoff")
        mark = blake2b(digits.encode(), digest_size=8).hexdigest()
        return cls(name, forecaster, sampled, None if said is None else str(said), mark)

    def options(self, task: TaskName, settings: PaperSettings, lookback: int | None = None) -> dict[str, object]:
        """The arguments of its forecasts in a task."""
        paper = SAMPLING[task]
        one = 1 if task == "generation" else None
        if not self.sampled:
            return {"samples": one or settings.baseline_samples, "seed": settings.seed}
        given = {"samples": one or settings.samples or paper.samples, "T": paper.T, "top_p": paper.top_p}
        reading = {} if lookback is None else {"lookback": lookback, "overflow": settings.overflow}
        return {**given, **reading, "seed": settings.seed}


@dataclass(frozen=True)
class Cell:
    """The series of one class at one timeframe, with their windows."""

    market: str
    timeframe: str
    windows: Windows

    @property
    def name(self) -> str:
        """What tables call it."""
        return f"{self.market} {self.timeframe}"

    def trials(self, origins: int) -> Trials:
        """So many origins of each series, or all that share no bar to predict."""
        horizon = self.windows.length - self.windows.lookback
        apart = -(-self.windows.counts // horizon)
        count = int(apart.sum() if origins == 0 else apart.clip(max=origins).sum())
        return Trials(self.windows, choose_origins(self.windows, count))


@dataclass
class Gathered:
    """The series that can be judged, their cells, and what was left out."""

    series: list[Series] = field(default_factory=list)
    cells: list[Cell] = field(default_factory=list)
    left_out: dict[str, list[str]] = field(default_factory=dict)
    """By reason, the series."""

    def keep(self, series: Sequence[Series], judged: Callable[[Series], bool], reason: str) -> list[Series]:
        """Those that can be judged; the others are noted with the reason why not."""
        verdicts = [judged(one) for one in series]
        left = [one.name for one, good in zip(series, verdicts, strict=True) if not good]
        if left:
            self.left_out[reason] = [*self.left_out.get(reason, []), *left]
        return [one for one, good in zip(series, verdicts, strict=True) if good]

    def told(self) -> list[str]:
        """What is judged and what is not, in words."""
        lines = [f"{len(self.cells)} cells: " + ", ".join(cell.name for cell in self.cells)]
        for reason, names in self.left_out.items():
            shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
            lines.append(f"left out, {reason}: {len(names)} series ({shown})")
        return lines


def read_all(settings: PaperSettings) -> tuple[list[Series], dict[str, str]]:
    """The series that are asked for, and those that are refused with the reason: one bad file stops no folder."""
    found: list[Series] = []
    refused: dict[str, str] = {}
    wanted = set(map(plain_symbol, settings.symbols))
    lengths = {str(Timeframe.parse(one)) for one in settings.timeframes}
    for shelf in shelves(settings.data):
        if wanted and plain_symbol(shelf.symbol) not in wanted:
            continue
        try:
            one = as_series(shelf, shelf.read())
        except KronosError as error:
            refused[shelf.name] = str(error)
            continue
        if (not lengths or one.timeframe in lengths) and (not settings.markets or group_of(one) in settings.markets):
            found.append(one)
    if not found:
        first = next((f"; {name}: {why}" for name, why in refused.items()), "")
        raise SourceError(f"no series of the symbols, markets and timeframes that were asked for{first}")
    return found, refused


def begin_of(settings: PaperSettings, entrants: Sequence[Entrant]) -> str:
    """The first day that may be predicted: none that an entrant was trained on, if not asked for."""
    nanoseconds_of(settings.since, "since")
    if settings.include_before_cutoff:
        return settings.since
    known = [day_after(one.cutoff) for one in entrants if one.cutoff is not None]
    return max([settings.since, *known], key=lambda day: nanoseconds_of(day, "since"))


def day_after(cutoff: str) -> str:
    """The first moment that a cut-off does not speak of: it is a day, the whole of which was known."""
    return str((pd.Timestamp(nanoseconds_of(cutoff, "cutoff"), unit="ns").normalize() + pd.Timedelta(days=1)).date())


def gather(series: Sequence[Series], settings: PaperSettings, entrants: Sequence[Entrant]) -> Gathered:
    """The series that can be judged after `since` and after what the entrants were trained on, and their cells."""
    begin, found = begin_of(settings, entrants), Gathered()
    since = np.datetime64(nanoseconds_of(begin, "since"), "ns")
    recent = found.keep(series, lambda one: bool(len(one)) and one.times[-1] >= since, f"no bar since {begin}")
    found.series = found.keep(recent, _is_one, "two contracts take turns in them")
    known = found.keep(found.series, lambda one: one.timeframe in SHAPES, "no window in the paper's table")
    for market, timeframe in sorted({(group_of(one), one.timeframe) for one in known}):
        those = [one for one in known if (group_of(one), one.timeframe) == (market, timeframe)]
        reach = partial(_has_window, shape=SHAPES[timeframe], begin=begin, until=settings.until)
        long = found.keep(those, reach, f"no window of their timeframe since {begin}")
        if long:
            windows = Windows(long, *SHAPES[timeframe], since=begin, before=settings.until)
            found.cells.append(Cell(market, timeframe, windows))
    if not found.cells:
        raise ConfigError(_nothing(settings, begin, entrants, found))
    return found


def _is_one(one: Series) -> bool:
    """Whether it holds the prices of one thing."""
    return MIXED not in inspect(one.frame(), name=one.name).counts()


def _has_window(one: Series, shape: tuple[int, int], begin: str, until: str | None) -> bool:
    try:
        Windows([one], *shape, since=begin, before=until)
    except BarsError:
        return False
    return True


def _nothing(settings: PaperSettings, begin: str, entrants: Sequence[Entrant], found: Gathered) -> str:
    """Why there is nothing to judge, and what would help."""
    if begin != settings.since:
        latest = max((one for one in entrants if one.cutoff), key=lambda one: str(one.cutoff))
        return (
            f"no window lies after the cut-off of {latest.name} ({latest.cutoff}); newer bars are needed, or "
            "--include-before-cutoff to judge it on days that it was trained on (marked)"
        )
    return f"no window to judge since {settings.since}: " + "; ".join(found.told()[1:])

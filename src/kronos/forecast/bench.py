"""How fast forecasts are: the engine beside the reference's algorithm, on the same networks and the same machine.

Weights are random where the published ones would have to be fetched, because no time depends on them. A case is timed
slowly, with whatever backends are asked for, and on paper (`bench_floor`).
"""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cache, partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kronos.errors import ConfigError, KronosError
from kronos.forecast.backends import BACKENDS, make_backend
from kronos.forecast.bench_floor import Floor, Load, floor
from kronos.forecast.bench_machine import Rates, timed
from kronos.forecast.bench_slow import Slow, slow_forecast
from kronos.forecast.engine import Engine, Prompt
from kronos.forecast.sampling import Sampler
from kronos.model import PRECISIONS, ZOO, Kronos, KronosTokenizer, Pair, context_of, load_pair
from kronos.model.network import STAMP_SIZES

SAMPLER = Sampler(top_p=0.9)
"""How tokens are chosen in every run: the reference's default."""

STEPS_TIMED = 4
"""Of the slow algorithm's steps; the others are interpolated."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class Case:
    """Series to be forecast by a pair of networks."""

    name: str
    model: str
    make: Callable[[], Pair]
    lookbacks: tuple[int, ...]
    horizons: tuple[int, ...]
    paths: int

    @property
    def title(self) -> str:
        """In words: the network, series, look-back -> horizon, paths."""
        series, paths = len(self.lookbacks), f"{self.paths} path{'s' * (self.paths > 1)}"
        return f"{self.model}, {series} series {_span(self.lookbacks)}->{_span(self.horizons)}, {paths}"

    @property
    def path_bars(self) -> int:
        """Bars that are written, of all paths of all series."""
        return self.paths * sum(self.horizons)

    def inputs(self, pair: Pair) -> list[tuple[Tensor, Tensor]]:
        """Normalised look-backs (T, 6) and stamps (T + H, 5), the same ones every time."""
        rng = np.random.default_rng(0)
        columns, tops = pair.tokenizer.config["d_in"], list(STAMP_SIZES.values())
        found = []
        for length, horizon in zip(self.lookbacks, self.horizons, strict=True):
            bars = rng.standard_normal((length, columns)).clip(-5, 5).astype(np.float32)
            stamps = rng.integers(0, tops, (length + horizon, len(tops)))
            found.append((torch.from_numpy(bars), torch.from_numpy(stamps)))
        return found


def _span(lengths: Sequence[int]) -> str:
    return "..".join(str(length) for length in sorted({min(lengths), max(lengths)}))


@cache
def random_pair(model: str) -> Pair:
    """Networks of a published size with random weights."""
    entry = ZOO[model]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network, tokenizer = Kronos(**entry.network_config), KronosTokenizer(**entry.tokenizer_config)
    for part in (network, tokenizer):
        part.eval().requires_grad_(False)
    return Pair(model, network, tokenizer)


@cache
def embedded_pair() -> Pair:
    """The embedded networks, whose weights are at hand."""
    pair = load_pair("nano")
    return Pair("nano", pair.network.requires_grad_(False), pair.tokenizer.requires_grad_(False))


_RAGGED = ((120, 160, 200, 240, 280, 320, 360, 400), (24, 6, 18, 9, 12, 21, 15, 24))


def published(name: str, model: str, lookbacks: tuple[int, ...], horizons: tuple[int, ...], paths: int) -> Case:
    """A case of a published size, with random weights."""
    return Case(name, model, partial(random_pair, model), lookbacks, horizons, paths)


CASES: dict[str, Case] = {
    case.name: case
    for case in (
        published("mini", "mini", (400,), (112,), 1),
        published("small", "small", (400,), (112,), 1),
        published("demo", "small", (360,), (24,), 30),
        published("batch", "small", (400,) * 32, (24,) * 32, 1),
        Case("nano", "nano", embedded_pair, (400,), (24,), 100),
        published("overflow", "small", (512,), (24,), 4),
        published("ragged", "small", *_RAGGED, 1),
    )
}
"""The cases by name: what people ask for, the published live demo, and what is hard for an engine."""


@dataclass(frozen=True)
class Run:
    """One backend's times of a case."""

    backend: str  # as it was asked for
    ran: str  # what it turned out to be
    precision: str
    seconds: float  # the median
    fastest: float
    slowest: float
    repeats: int
    path_bars_per_second: float
    ratio: float | None  # the slow algorithm's time over this one
    floor: Floor
    fraction: float  # the floor's time over this one


@dataclass(frozen=True)
class Skipped:
    """A backend that cannot run this case here."""

    backend: str
    precision: str
    reason: str


@dataclass(frozen=True)
class Result:
    """All times of a case."""

    case: Case
    max_context: int
    slow: list[Slow]  # one for each group of equally long series: the reference takes only such together
    runs: list[Run]
    skipped: list[Skipped]

    @property
    def slow_seconds(self) -> float | None:
        """The slow algorithm's time for all series, where it was timed."""
        return sum(one.seconds for one in self.slow) if self.slow else None

    @property
    def estimated(self) -> bool:
        """Whether the slow algorithm's time is interpolated between some of its steps."""
        return not all(one.complete for one in self.slow)

    def record(self) -> dict[str, Any]:
        """Every figure, ready for JSON."""
        case, seconds = self.case, self.slow_seconds
        slow = None
        if seconds is not None:
            slow = {
                "seconds": seconds,
                "estimated": self.estimated,
                "path_bars_per_second": case.path_bars / seconds,
                "groups": [
                    {"encode": one.encode, "decode": one.decode, "steps": one.steps, "passes": _plain(one.passes)}
                    for one in self.slow
                ],
            }
        return {
            "name": case.name,
            "title": case.title,
            "model": case.model,
            "lookbacks": list(case.lookbacks),
            "horizons": list(case.horizons),
            "paths": case.paths,
            "path_bars": case.path_bars,
            "max_context": self.max_context,
            "slow": slow,
            "fast": _plain(self.runs),
            "skipped": _plain(self.skipped),
        }


def _plain(items: Sequence[Any]) -> list[dict[str, Any]]:
    return [asdict(item) for item in items]


def find_cases(names: Sequence[str]) -> list[Case]:
    """The cases of these names, all of them for none; an unknown name is an error."""
    unknown = [name for name in names if name not in CASES]
    if unknown:
        raise ConfigError(f"unknown case '{unknown[0]}'; known are {', '.join(CASES)}")
    return [CASES[name] for name in dict.fromkeys(names)] if names else list(CASES.values())


def check_choices(backends: Sequence[str], precisions: Sequence[str], repeats: int) -> None:
    """Refuse what means nothing anywhere; a backend that only is not here is skipped later."""
    if repeats < 1:
        raise ConfigError(f"a case is run at least once, not {repeats} times")
    for what, given, known in (("backend", backends, BACKENDS), ("precision", precisions, PRECISIONS)):
        for name in given:
            if name not in known:
                raise ConfigError(f"unknown {what} '{name}'; known are {', '.join(known)}")


def run_case(
    case: Case,
    rates: Rates,
    *,
    backends: Sequence[str] = ("auto",),
    precisions: Sequence[str] = ("float32",),
    repeats: int = 5,
    slow: bool = True,
    say: Say = lambda what: None,
) -> Result:
    """Time a case with every backend in every precision, and with the reference's algorithm (always in float32)."""
    check_choices(backends, precisions, repeats)
    pair = case.make()
    slows = []
    if slow:
        say(f"{case.name}: the reference's algorithm")
        slows = time_slow(case, pair, repeats)
    result = Result(case, context_of(pair.network), slows, [], [])
    for backend in dict.fromkeys(backends):
        for precision in dict.fromkeys(precisions):
            say(f"{case.name}: backend {backend}, {precision}")
            try:
                ran, times = time_fast(case, pair, backend, precision, repeats)
            except KronosError as error:
                result.skipped.append(Skipped(backend, precision, str(error)))
                continue
            least = floor(_load(case, pair, precision), rates)
            result.runs.append(_run((backend, ran, precision), times, case, result.slow_seconds, least))
    return result


def time_slow(case: Case, pair: Pair, repeats: int, timed: int | None = STEPS_TIMED) -> list[Slow]:
    """The reference's algorithm for every group of series that are equally long."""
    groups: dict[tuple[int, int], list[tuple[Tensor, Tensor]]] = {}
    for shape, given in zip(zip(case.lookbacks, case.horizons, strict=True), case.inputs(pair), strict=True):
        groups.setdefault(shape, []).append(given)
    done = []
    for members in groups.values():
        bars, stamps = (torch.stack(parts) for parts in zip(*members, strict=True))
        context = context_of(pair.network)
        done.append(slow_forecast(pair, bars, stamps, case.paths, context, SAMPLER, timed=timed, repeats=repeats))
    return done


def time_fast(case: Case, pair: Pair, backend: str, precision: str, repeats: int) -> tuple[str, list[float]]:
    """What a backend calls itself, and the seconds of every run after the first, which warms up."""
    made = make_backend(backend, pair.network, pair.tokenizer, precision)
    engine = Engine(pair.network, made, context_of(pair.network), SAMPLER)
    inputs = case.inputs(pair)
    fast_forecast(engine, inputs, case.paths)
    return made.name, timed(lambda: fast_forecast(engine, inputs, case.paths), repeats)[0]


@torch.inference_mode()
def fast_forecast(engine: Engine, inputs: Sequence[tuple[Tensor, Tensor]], paths: int) -> list[Tensor]:
    """Normalised future bars (paths, H, 6) of every series, as the forecaster makes them."""
    tokens = engine.backend.encode([bars for bars, _ in inputs])
    prompts = [
        Prompt(
            s1[-engine.max_context :], s2[-engine.max_context :], stamps[max(len(s1) - engine.max_context, 0) :], key
        )
        for key, ((s1, s2), (_, stamps)) in enumerate(zip(tokens, inputs, strict=True))
    ]
    return engine.run(prompts, paths)


def _load(case: Case, pair: Pair, precision: str) -> Load:
    configs = pair.network.config, pair.tokenizer.config
    return Load(*configs, case.lookbacks, case.horizons, case.paths, context_of(pair.network), precision)


def _run(names: tuple[str, str, str], times: Sequence[float], case: Case, slow: float | None, least: Floor) -> Run:
    seconds = statistics.median(times)
    return Run(
        *names,
        seconds=seconds,
        fastest=min(times),
        slowest=max(times),
        repeats=len(times),
        path_bars_per_second=case.path_bars / seconds,
        ratio=None if slow is None else slow / seconds,
        floor=least,
        fraction=least.seconds / seconds,
    )

"""The judge of the embedded model: its distributions beside honest baselines, at the same origins.

    python benchmarks/nano.py FOLDER --origins 4 --cache CACHE --json judged.json
    python benchmarks/nano.py FOLDER --tail .1 --model DIR

Rolling origins, evenly spaced over every bar file below FOLDER and staggered from file to file: look-back 400, horizon
24 (the future bars' times are given, as a calendar would). Scored is the cumulative log return at 1, 6, 12 and 24 bars:
CRPS divided by (deviation of the last 100 one-bar log returns x sqrt(h)), and whether the truth lay inside the central
50 and 90 %. Baselines see the look-back and nothing else:

    hv20        a Gaussian of the last 20 bars' volatility, without drift
    ewma        a Gaussian of the exponentially weighted volatility (.94), without drift
    fhs         filtered historical simulation: GARCH(1,1) with Student-t innovations by maximum likelihood, whose
                residuals are drawn again and carried through the variance's recursion, 1,000 paths; no drift
    fhs-drift   the same with the look-back's mean return left in, as textbooks have it: the weaker form

They are those of `kronos.evaluate.baselines`. The number of samples does not matter: CRPS is the fair one, intervals
are those that one more draw falls into so often, and Gaussians are scored in closed form. Standard errors come from
sums over calendar months: whatever happens in one month, in however many series, is one observation; of fewer than five
months none is given.
"""

import argparse
import hashlib
import json
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

import kronos
from kronos.bars import COLUMNS, infer_timeframe, inspect
from kronos.data import Batch, bar_files, name_of, read_bars
from kronos.errors import BarsError, CheckpointError
from kronos.evaluate import coverage, crps, crps_gaussian
from kronos.evaluate.baselines.asking import Past, read_past
from kronos.evaluate.baselines.garch import FilteredHistorical
from kronos.evaluate.baselines.garch_fit import Garch
from kronos.evaluate.baselines.gaussian import Ewma, Gaussian, HistoricalVolatility
from kronos.writing import replacing

LOOKBACK, HORIZON, STEPS = 400, 24, (1, 6, 12, 24)
AT = np.array(STEPS) - 1
BASELINES = {one.name: one for one in (HistoricalVolatility(), Ewma(), FilteredHistorical(), FilteredHistorical(True))}
PATHS, TOGETHER = 1000, 32
FEWEST = 5  # months: from fewer no standard error can be had
BAND, AIM = (0.87, 0.93), 0.97  # of the 90 % coverage; of CRPS as a share of hv20's
LENGTHS = ("5m", "15m", "30m", "1h", "4h", "1d")
INPUTS = {"returns": ("gap", "body", "upper wick", "lower wick", "volume", "amount")}

Array = NDArray[np.float64]


# Origins --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Case:
    """One origin: what was known and what came."""

    series: str
    market: str
    timeframe: str
    past: pd.DataFrame
    future: pd.DataFrame

    @cached_property
    def changes(self) -> Array:
        """The look-back's one-bar log returns."""
        return np.diff(np.log(self.past["close"].to_numpy(dtype=np.float64)))

    @cached_property
    def truth(self) -> Array:
        """(4,) cumulative log returns."""
        closes = self.future["close"].to_numpy(dtype=np.float64)[AT]
        truth: Array = np.log(closes / float(self.past["close"].iloc[-1]))
        return truth

    @cached_property
    def unit(self) -> Array:
        """(4,) what CRPS is divided by."""
        unit: Array = self.changes[-100:].std() * np.sqrt(AT + 1)
        return unit

    @property
    def still(self) -> bool:
        """True where there is nothing to divide by: a suspended share, a market that does not trade."""
        return bool((self.changes[-100:] == 0).mean() > 0.5 or not self.changes[-20:].any())


@dataclass(frozen=True)
class Span:
    """Which origins of a series are judged."""

    origins: int
    since: str = "1900-01-01"
    until: str = "2200-01-01"
    tail: float = 1.0
    least: int = LOOKBACK
    lookback: int = LOOKBACK
    ends: bool = False  # from the first possible origin to the last, in every series

    def starts(self, index: pd.DatetimeIndex, series: str) -> list[int]:
        """The rows of the first predicted bars, evenly spaced.

        Where they begin follows from the series' name: with `ends`, a hundred shares of one history would all be
        judged on the same few days.
        """
        since, until = (pd.Timestamp(text, tz=index.tz) for text in (self.since, self.until))
        low = max(int(index.searchsorted(since)), self.least, math.ceil(len(index) * (1 - self.tail)))
        high = int(index.searchsorted(until)) - HORIZON
        if low > high:
            return []
        along = np.arange(self.origins) + int(digest(np.frombuffer(series.encode(), dtype=np.uint8)), 16) / 2**96
        rows = np.linspace(low, high, self.origins) if self.ends else low + along / self.origins * (high - low + 1)
        return [int(row) for row in np.unique(rows.astype(int))]


@dataclass
class Origins:
    """The cases of a folder, and the series that gave none."""

    cases: list[Case] = field(default_factory=list)
    excluded: list[str] = field(default_factory=list)  # by name
    mixed: list[str] = field(default_factory=list)  # two contracts in turn: no forecast of such prices means anything
    refused: dict[str, str] = field(default_factory=dict)
    short: list[str] = field(default_factory=list)
    still: int = 0  # origins left out

    def add(self, cases: Sequence[Case]) -> None:
        """Take those that can be scored."""
        moving = [case for case in cases if not case.still]
        self.still += len(cases) - len(moving)
        self.cases += moving

    def told(self) -> str:
        """What is judged and what is not, in words."""
        left = [f"{len(names)} series {why} ({', '.join(names)})" for why, names in (
            ("left out by name", self.excluded), ("left out because two contracts take turns in them", self.mixed),
            ("refused", list(self.refused)),
        ) if names]  # fmt: skip
        left += [f"{len(self.short)} series too short for the span"] * bool(self.short)
        left += [f"{self.still} origins left out because the market stood still"] * bool(self.still)
        count = len({case.series for case in self.cases})
        return "; ".join([f"{len(self.cases)} origins of {count} series", *left])


def find_origins(folder: Path, span: Span, cache: "Cache", exclude: Sequence[str] = ()) -> Origins:
    """The origins of every bar file below the folder."""
    found = Origins()
    root = folder if folder.is_dir() else folder.parent
    for path in bar_files(folder):
        series = path.relative_to(root).with_suffix("").as_posix()
        if any(part in series for part in exclude):
            found.excluded.append(series)
            continue
        try:
            bars = read_bars(path, volume_rule="fill")
        except BarsError as error:
            found.refused[series] = str(error)
            continue
        index = bars.index
        assert isinstance(index, pd.DatetimeIndex)
        starts = span.starts(index, series)
        if not starts:
            found.short.append(series)
        elif is_mixed(bars, series, cache):
            found.mixed.append(series)
        else:
            named = name_of(path, root)
            market, timeframe = named.market or path.parent.name, named.timeframe or str(infer_timeframe(index))
            pairs = [(bars.iloc[max(at - span.lookback, 0) : at], bars.iloc[at : at + HORIZON]) for at in starts]
            # copies: a view would keep the whole series in memory
            found.add([Case(series, market, timeframe, past.copy(), future.copy()) for past, future in pairs])
    cache.flush()
    return found


def is_mixed(bars: pd.DataFrame, series: str, cache: "Cache") -> bool:
    """What `kronos data check` calls mixed_series."""
    key = digest(bars.to_numpy())
    if key not in cache.mixed:
        cache.mixed[key] = "mixed_series" in inspect(bars, name=series).counts()
    return cache.mixed[key]


def windows(
    folder: Path, since: str, origins: int, least: int, lookback: int = LOOKBACK
) -> list[tuple[str, pd.DataFrame, pd.DataFrame]]:
    """(group, past, future) at evenly spaced origins of every file, for other benchmarks."""
    span = Span(origins, since, least=least, lookback=lookback, ends=True)
    found = find_origins(folder, span, Cache(None))
    return [(f"{case.market} {case.timeframe}", case.past, case.future) for case in found.cases]


class Cache:
    """Which series are mixed, by a digest of their bars: a JSON file in a folder, for the next model's sake."""

    def __init__(self, folder: Path | None) -> None:
        """Without a folder nothing is kept."""
        self.path = None if folder is None else folder / "mixed.json"
        self.mixed: dict[str, bool] = self._read()

    def flush(self) -> None:
        """Write, together with what another process has written meanwhile."""
        if self.path is not None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(self.path) as path:
                path.write_text(json.dumps({**self._read(), **self.mixed}, indent=0) + "\n", encoding="utf-8")

    def _read(self) -> dict[str, bool]:
        there = self.path is not None and self.path.exists()
        return json.loads(self.path.read_text(encoding="utf-8")) if self.path is not None and there else {}


def digest(values: NDArray[Any]) -> str:
    """A name for what an array holds."""
    return hashlib.blake2b(np.ascontiguousarray(values).tobytes(), digest_size=12).hexdigest()


# Baselines ------------------------------------------------------------------------------------------------------------


def gaussian_scores(case: Case, deviation: float) -> Array:
    """(3, 4): CRPS, inside 50 %, inside 90 % of a Gaussian random walk whose steps deviate so much."""
    wide = deviation * np.sqrt(AT + 1)
    inside = [np.abs(case.truth) <= reach * wide for reach in (0.674489750196, 1.644853626951)]
    return np.array([crps_gaussian(0.0, wide, case.truth) / case.unit, *inside], dtype=np.float64)


def path_scores(case: Case, paths: Array) -> Array:
    """(3, 4): CRPS, inside 50 %, inside 90 % of samples (S, 4)."""
    inside = [coverage(paths, case.truth, share) for share in (0.5, 0.9)]
    return np.array([crps(paths, case.truth) / case.unit, *inside], dtype=np.float64)


def baseline_scores(cases: Sequence[Case], names: Sequence[str]) -> tuple[dict[str, Array], int]:
    """(N, 3, 4) of every baseline, and at how many origins the GARCH fit would not do."""
    found: dict[str, list[Array]] = {name: [] for name in names}
    fallen = set()
    for first in range(0, len(cases), TOGETHER):
        some = cases[first : first + TOGETHER]
        pasts = [read_past(case.past, case.series, HORIZON, case.future.index, LOOKBACK) for case in some]
        for name in names:
            fits = BASELINES[name].fit(pasts)
            fallen |= {first + i for i, fit in enumerate(fits) if isinstance(fit, Garch) and fit.fallback}
            found[name] += [scored(name, *one) for one in zip(some, pasts, fits, strict=True)]
    return {name: np.array(scores) for name, scores in found.items()}, len(fallen)


def scored(name: str, case: Case, past: Past, fit: Any) -> Array:
    """(3, 4) of a fitted baseline: in closed form where it has one."""
    if isinstance(fit, Gaussian):
        return gaussian_scores(case, fit.deviation)
    return path_scores(case, BASELINES[name].draw(past, fit, PATHS, past.random(0))[:, AT])


# The model ------------------------------------------------------------------------------------------------------------


def model_scores(model: Any, cases: Sequence[Case], **options: Any) -> tuple[Array, dict[str, Any]]:
    """(N, 3, 4) of a forecaster, and what its forecasts say of themselves."""
    found, facts = [], {}
    for first in range(0, len(cases), TOGETHER):
        some = cases[first : first + TOGETHER]
        times = [case.future.index for case in some]
        made = model.forecast([case.past for case in some], HORIZON, y_timestamp=times, **options)
        found += [path_scores(case, forecast.returns()[:, AT]) for case, forecast in zip(some, made, strict=True)]
        facts = dict(made[0].meta)
        print(f"{len(found)} of {len(cases)} forecasts", file=sys.stderr)
    return np.array(found), facts


def reconstruction(place: str, cases: Sequence[Case]) -> dict[str, Any]:
    """The tokenizer's error by input column, the variance of the column, and the share of codes in use."""
    from kronos.model import load_pair
    from kronos.train.reconstruction import codes_used, reconstruction_error

    try:
        tokenizer = load_pair(place).tokenizer.eval()
    except CheckpointError as error:  # an ensemble has several
        return {"not_measured": str(error)}
    bars = [pd.concat([case.past, case.future])[list(COLUMNS)].to_numpy(dtype=np.float64) for case in cases]
    batches = []
    for first in range(0, len(bars), TOGETHER):
        some = np.stack(bars[first : first + TOGETHER])  # (B, 424, 6)
        batches.append(Batch(some, np.zeros((*some.shape[:2], 5), dtype=np.int8), LOOKBACK))
    found = {name: list(values) for name, values in reconstruction_error(tokenizer, batches).items()}
    names = INPUTS.get(tokenizer.normaliser, COLUMNS)
    return {"columns": list(names), **found, "codes_used": codes_used(tokenizer, batches)}


# Statistics -----------------------------------------------------------------------------------------------------------


def clustered(values: Array, blocks: NDArray[np.int64], weights: Array) -> tuple[float, float]:
    """The weighted mean and its standard error, of values that are independent between blocks and nowhere else."""
    total = weights.sum()
    mean = float(weights @ values / total)
    sums = np.bincount(blocks, weights=weights * (values - mean))
    count = len(np.unique(blocks))
    error = math.sqrt(np.square(sums).sum() * count / (count - 1)) / total if count >= FEWEST else math.nan
    return mean, float(error)


class Cut(NamedTuple):
    """Some origins and horizons of a table."""

    table: str
    group: str
    rows: NDArray[np.bool_]
    steps: Sequence[int] = range(len(STEPS))
    even: bool = False  # every timeframe weighs alike, and not every origin


@dataclass(frozen=True, eq=False)
class Judged:
    """Scores (N, 3, 4) of every forecaster at every origin; `who` is judged beside the others."""

    who: str
    cases: Sequence[Case]
    scores: dict[str, Array]

    def called(self, label: Callable[[Case], str]) -> NDArray[np.str_]:
        """(N,) what every case is called."""
        return np.array([label(case) for case in self.cases])

    @cached_property
    def months(self) -> NDArray[np.int64]:
        """(N,) the block of every origin."""
        return np.unique(self.called(lambda case: f"{case.future.index[0]:%Y-%m}"), return_inverse=True)[1]

    @cached_property
    def kinds(self) -> NDArray[np.int64]:
        """(N,) the timeframe of every origin."""
        return np.unique(self.called(lambda case: case.timeframe), return_inverse=True)[1]

    def cuts(self, cutoff: str | None) -> Iterator[Cut]:
        """Every table's rows."""
        every = np.ones(len(self.cases), dtype=np.bool_)
        hardest = np.max([scores[:, 0].mean(axis=1) for scores in self.scores.values()], axis=0)
        yield Cut("overall", "every origin alike", every)
        yield Cut("overall", "every timeframe alike", every, even=True)
        yield Cut("overall", "without the hardest 1 %", hardest <= np.quantile(hardest, 0.99))
        for place, step in enumerate(STEPS):
            yield Cut("horizon", str(step), every, [place])
        timeframes = self.called(lambda case: case.timeframe)
        groups = self.called(lambda case: f"{case.market} {case.timeframe}")
        for timeframe in sorted(set(timeframes), key=length):
            yield Cut("timeframe", timeframe, timeframes == timeframe)
        for group in sorted(set(groups), key=lambda name: (name.split()[0], length(name.split()[1]))):
            yield Cut("market x timeframe", group, groups == group)
        if cutoff is not None:
            after = np.array([f"{case.future.index[0]:%Y-%m-%d}" > cutoff for case in self.cases])
            yield Cut("cutoff", f"until {cutoff}", ~after)
            yield Cut("cutoff", f"after {cutoff}", after)

    def rows(self, cutoff: str | None) -> list[dict[str, Any]]:
        """Every table: a row for each group and forecaster."""
        filled = [cut for cut in self.cuts(cutoff) if cut.rows.any()]
        return [{"table": cut.table, "group": cut.group, **self.row(who, cut)} for cut in filled for who in self.scores]

    def row(self, who: str, cut: Cut) -> dict[str, Any]:
        """One forecaster's figures, each with its standard error; `/hv20` is a ratio of CRPS, `-hv20` a difference."""
        kinds, blocks = (np.unique(one[cut.rows], return_inverse=True)[1] for one in (self.kinds, self.months))
        weights = 1.0 / np.bincount(kinds)[kinds] if cut.even else np.ones(len(kinds))
        mine = self.scores[who][cut.rows][:, :, list(cut.steps)].mean(axis=2)  # (n, 3)
        found: dict[str, Any] = {"forecaster": who, "origins": len(mine), "months": len(np.unique(blocks))}
        for column, name in enumerate(("crps", "cover50", "cover90")):
            found[name], found[f"{name}_error"] = clustered(mine[:, column], blocks, weights)
        for other in ("hv20", "fhs"):
            if other in self.scores:
                theirs = self.scores[other][cut.rows][:, 0, list(cut.steps)].mean(axis=1)
                base = clustered(theirs, blocks, weights)[0]
                ratio = found["crps"] / base
                error = clustered(mine[:, 0] - ratio * theirs, blocks, weights)[1] / base  # by the delta method
                found[f"/{other}"], found[f"/{other}_error"] = ratio, error
                found[f"-{other}"], found[f"-{other}_error"] = clustered(mine[:, 0] - theirs, blocks, weights)
        return found

    def worst(self, count: int = 10) -> list[dict[str, Any]]:
        """The origins with the highest CRPS of the judged: a false tick shows here."""
        order = np.argsort(-self.scores[self.who][:, 0].mean(axis=1))[:count]
        return [
            {
                "series": self.cases[i].series,
                "first bar": str(self.cases[i].future.index[0]),
                "came (units)": float(self.cases[i].truth[-1] / self.cases[i].unit[-1]),
                **{name: float(scores[i, 0].mean()) for name, scores in self.scores.items()},
            }
            for i in order
        ]


def length(timeframe: str) -> int:
    """Where a timeframe stands among the others."""
    return LENGTHS.index(timeframe) if timeframe in LENGTHS else len(LENGTHS)


# The verdict ----------------------------------------------------------------------------------------------------------


def verdict(who: str, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Whether the bar is met, by how much it is missed, and where."""
    mine = [row for row in rows if row["forecaster"] == who]
    whole = mine[0]
    failed, aimed = shortfalls(whole), whole["/hv20"] - AIM
    says = [
        f"CRPS is {whole['/fhs']:.4f} +- {whole['/fhs_error']:.4f} of fhs's (at most 1: {yes(whole['/fhs'] <= 1)})",
        f"{whole['/hv20']:.4f} +- {whole['/hv20_error']:.4f} of hv20's (below 1: {yes(whole['/hv20'] < 1)}; the aim of "
        f"{AIM} is {'reached' if aimed <= 0 else f'missed by {aimed:.4f}'})",
        f"90 % coverage is {whole['cover90']:.3f} +- {whole['cover90_error']:.3f} "
        f"({BAND[0]} to {BAND[1]}: {yes(BAND[0] <= whole['cover90'] <= BAND[1])})",
    ]
    sentence = (
        f"{who} {'falls short of' if failed else 'meets'} the bar at {whole['origins']} origins in {whole['months']} "
        f"months: {', '.join(says)}."
    )
    parts = [row for row in mine if row["table"] in ("horizon", "timeframe", "market x timeframe")]
    where = {f"{row['table']} {row['group']}": short for row in parts if (short := shortfalls(row))}
    return {"met": not failed, "aim_reached": aimed <= 0, "short": failed, "where": where, "sentence": sentence}


def shortfalls(row: dict[str, Any]) -> list[str]:
    """What a row misses of the bar, with the standard error that says how sure this is."""
    found = []
    for other, missed in (("fhs", row["/fhs"] > 1), ("hv20", row["/hv20"] >= 1)):
        if missed:
            found.append(f"CRPS {row[f'/{other}']:.3f} +- {row[f'/{other}_error']:.3f} of {other}'s")
    if not BAND[0] <= row["cover90"] <= BAND[1]:
        found.append(f"cover 90 {row['cover90']:.3f} +- {row['cover90_error']:.3f}")
    return found


def yes(met: bool) -> str:
    """A word for it."""
    return "yes" if met else "NO"


# Running it -----------------------------------------------------------------------------------------------------------


def arguments(description: str | None) -> argparse.ArgumentParser:
    """What every benchmark over origins can be told."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--since", default="1900-01-01", help="first time of a predicted bar")
    parser.add_argument("--origins", type=int, default=4, help="of every series")
    parser.add_argument("--model", default="nano", help="a name or a folder")
    parser.add_argument("--samples", type=int, default=100)
    return parser


def judge_arguments() -> argparse.ArgumentParser:
    """What the judge can be told."""
    parser = arguments(__doc__)
    add = parser.add_argument
    add("--until", default="2200-01-01", help="every predicted bar is earlier than this")
    add("--tail", type=float, default=1.0, metavar="SHARE", help="forecasts lie in this last share of each series")
    add("--exclude", nargs="*", default=[], metavar="TEXT", help="series whose name contains this")
    add("--baselines", default=",".join(BASELINES), help="of these, separated by commas")
    add("--baselines-only", action="store_true", help="judge no model")
    add("--overflow", choices=("exact", "slide"), default="exact")
    add("--seed", type=int, default=0)
    add("--cache", type=Path, help="folder for the checks of the series, for the next model's sake")
    add("--json", type=Path, help="everything, every origin's scores too")
    return parser


def show(judged: Judged, rows: Sequence[dict[str, Any]]) -> None:
    """Print the tables; of groups the judged and fhs alone."""
    table = pd.DataFrame(rows)
    figures = ["crps", "/hv20", "/fhs", "cover50", "cover90"]
    names = [name for figure in figures for name in (figure, f"{figure}_error") if name in table]
    for title, part in table.groupby("table", sort=False):
        kept = [judged.who, "fhs"] if title in ("timeframe", "market x timeframe") else list(judged.scores)
        shown = part[part["forecaster"].isin(kept)].set_index(["group", "forecaster"])[["origins", "months", *names]]
        shown.columns = ["+-" if name.endswith("_error") else name for name in shown.columns]
        print(f"\n{title}\n{shown.round(4).to_string(na_rep='-')}")
    if judged.who not in BASELINES:
        whole = next(row for row in rows if row["forecaster"] == judged.who)
        pairs = [
            f"{whole[f'-{o}']:+.5f} +- {whole[f'-{o}_error']:.5f} to {o}" for o in ("hv20", "fhs") if f"-{o}" in whole
        ]
        print(f"\npaired differences of CRPS: {', '.join(pairs)}")
    print(f"\nthe hardest origins\n{pd.DataFrame(judged.worst()).round(3).to_string(index=False)}")


def plain(value: Any) -> Any:
    """What JSON has a word for."""
    if isinstance(value, dict):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if isinstance(value, str | int | bool | None) else str(value)


def origin_rows(judged: Judged) -> list[dict[str, Any]]:
    """Every origin and what it was scored."""
    return [
        {
            "series": case.series,
            "market": case.market,
            "timeframe": case.timeframe,
            "first bar": str(case.future.index[0]),
            "scores": {name: scores[i].round(6).tolist() for name, scores in judged.scores.items()},
        }
        for i, case in enumerate(judged.cases)
    ]


def checked_arguments() -> argparse.Namespace:
    """The command line, refused where it makes no sense."""
    parser = judge_arguments()
    options = parser.parse_args()
    options.baselines = [name for name in options.baselines.split(",") if name]
    if unknown := set(options.baselines) - set(BASELINES):
        parser.error(f"--baselines knows {', '.join(BASELINES)}, not {', '.join(sorted(unknown))}")
    if not 0 < options.tail <= 1:
        parser.error("--tail is a share of each series, above 0 and at most 1")
    if options.baselines_only and not options.baselines:
        parser.error("--baselines-only without baselines judges nothing")
    return options


def judge_model(options: argparse.Namespace, cases: Sequence[Case]) -> tuple[Array, dict[str, Any]]:
    """The model's scores, and what there is to say of it."""
    model = kronos.load(options.model)
    began = time.monotonic()
    asked = {"samples": options.samples, "overflow": options.overflow, "seed": options.seed}
    scores, facts = model_scores(model, cases, **asked)
    seconds = (time.monotonic() - began) / len(cases)
    about = {**facts, "name": model.name, "place": options.model, "seconds_a_forecast": seconds}
    return scores, {**about, "reconstruction": reconstruction(options.model, cases)}


def main() -> None:
    """Judge, print, and write."""
    options = checked_arguments()
    cache = Cache(options.cache)
    span = Span(options.origins, options.since, options.until, options.tail)
    found = find_origins(options.folder, span, cache, options.exclude)
    print(found.told(), flush=True)
    if not found.cases:
        raise SystemExit("there is nothing to judge")
    scores, fallbacks = baseline_scores(found.cases, options.baselines)
    if any(name.startswith("fhs") for name in options.baselines):
        print(f"fhs: at {fallbacks} origins the GARCH fit would not do, and the EWMA filtered instead")
    model: dict[str, Any] = {}
    if not options.baselines_only:
        own, model = judge_model(options, found.cases)
        scores = {model["name"]: own, **scores}
    judged = Judged(next(iter(scores)), found.cases, scores)
    rows = judged.rows(model.get("cutoff"))
    show(judged, rows)
    said = verdict(judged.who, rows) if model and {"hv20", "fhs"} <= set(scores) else {}
    if model:
        tell_model(model)
    if said:
        places = [f"  {place}: {', '.join(short)}" for place, short in said["where"].items()]
        print("\n".join(["", said["sentence"], "Taken by themselves these fall short:", *(places or ["  none"])]))
    if options.json is not None:
        whole = {
            "options": vars(options), "model": model, "verdict": said, "tables": rows, "worst": judged.worst(),
            "left_out": {name: value for name, value in vars(found).items() if name != "cases"},
            "garch_fallbacks": fallbacks, "steps": STEPS, "scores": ["crps", "inside50", "inside90"],
            "origins": origin_rows(judged),
        }  # fmt: skip
        with replacing(options.json) as path:
            path.write_text(json.dumps(plain(whole)) + "\n", encoding="utf-8")


def tell_model(model: dict[str, Any]) -> None:
    """Print what is known of the model beside its scores."""
    errors = model["reconstruction"]
    if "not_measured" in errors:
        print(f"\nthe tokenizer's error was not measured: {errors['not_measured']}")
    else:
        table = pd.DataFrame({name: errors[name] for name in ("error", "variance")}, index=errors["columns"]).T
        print(f"\nthe tokenizer's mean absolute error, and the variance of its input\n{table.round(4).to_string()}")
        print("codes used:", ", ".join(f"{name} {share:.1%}" for name, share in errors["codes_used"].items()))
    print(f"cut-off {model.get('cutoff')}; {model['seconds_a_forecast']:.3f} s a forecast")


if __name__ == "__main__":
    main()

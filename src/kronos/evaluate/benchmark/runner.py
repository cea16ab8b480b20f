"""A benchmark from beginning to end: origins, forecasts, scores, tripwires, results; killed, it goes on where it was.

Contestants that need one core each share a pool of processes; those that want the whole machine come one after the
other in this one. Origins are forecast in batches, and the scores of each are a file, written whole.
"""

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import numpy as np
import pandas as pd

from kronos.errors import ConfigError
from kronos.evaluate.benchmark.chunks import TOGETHER, Ask, Chunk, Row, forecasts, score_chunk
from kronos.evaluate.benchmark.contestants import Contestant, Introduced, check_names, introduce, latest_cutoff
from kronos.evaluate.benchmark.controls import try_pipeline
from kronos.evaluate.benchmark.finding import end_of_day, find_origins
from kronos.evaluate.benchmark.folder import RunFolder
from kronos.evaluate.benchmark.material import Material, rereader, some_of
from kronos.evaluate.benchmark.origins import Found, Origin
from kronos.evaluate.benchmark.pool import Pool, score_elsewhere, try_elsewhere
from kronos.evaluate.benchmark.reporting import Progress, Reporter, Silent
from kronos.evaluate.benchmark.results import PLACE_COLUMNS, Results, write_results
from kronos.evaluate.benchmark.shelves import Prepare, as_series
from kronos.evaluate.benchmark.task import Task
from kronos.evaluate.benchmark.tripwires import try_contestant

T = TypeVar("T")
Job: TypeAlias = tuple[Introduced, int]  # and the number of a batch

MOST_FAILED = 0.05  # of the origins: a contestant that fails more often is not judged on the rest
_SHOWN = 5  # failures


def run(
    task: Task,
    contestants: Sequence[Contestant],
    out: str | Path,
    *,
    workers: int = 1,
    reporter: Reporter | None = None,
    restart: bool = False,
    prepare: Prepare = as_series,
) -> Results:
    """Judge the contestants at the origins of a task, and write what is found below `out`.

    Called again with the same arguments it goes on where it was, or reads what is there. Origins at which a contestant
    fails count for none of them; where more than 5 % would go, the run ends. `workers` processes share the contestants
    that are `parallel` (with 1 everything happens in this one). `prepare` makes of a series as it lies on its shelf
    what windows are cut from. Tripwires that trip do not end a run: `Results.failed_tripwires` has them.
    """
    heard = reporter or Silent()
    check_names(contestants)
    folder = RunFolder(Path(out), restart=restart)
    who = [introduce(one, task) for one in contestants]
    found = _origins(task, who, folder, prepare, heard)
    places = found.table()
    folder.begin(task, places)
    for one in who:
        folder.enter(one.name, one.facts(task))
    with Pool(workers) as pool:
        stage = _Stage(task, found.origins, places, folder, heard, pool if workers > 1 else None)
        scores = _scored(stage, who)
        judged, failures = _common(stage, scores)
        wires = _tried(stage, who, [one for one in found.origins if one.number in judged], prepare)
    left_out = found.left_out() | ({"failed": failures} if failures else {})
    results = Results(task, _table(stage, who, scores, judged), _facts(task, who, scores, judged), left_out, wires)
    write_results(results, folder.out)
    return results


@dataclass(frozen=True)
class _Stage:
    """What every part of a run needs."""

    task: Task
    origins: Sequence[Origin]
    places: pd.DataFrame  # of them
    folder: RunFolder
    heard: Reporter
    pool: Pool | None  # None: everything happens in this process

    def ask(self, contestant: Contestant) -> Ask:
        task = self.task
        return Ask(task.horizon, contestant.samples(task), task.seed, task.steps, task.wanted)

    def shares(self, one: Introduced) -> bool:
        """Whether its forecasts are made in the pool."""
        return self.pool is not None and one.contestant.parallel

    def elsewhere(self, calls: Iterable[Callable[[], T]]) -> Iterator[tuple[int, T]]:
        """The calls' results from the pool, as they come."""
        return iter(()) if self.pool is None else self.pool.call_all(calls)

    @property
    def parts(self) -> range:
        """The numbers of the batches."""
        return range(-(-len(self.origins) // TOGETHER))

    def size(self, part: int) -> int:
        return min(TOGETHER, len(self.origins) - part * TOGETHER)

    def batch(self, part: int) -> Chunk:
        return Chunk.of(self.origins[part * TOGETHER : (part + 1) * TOGETHER])


# Origins --------------------------------------------------------------------------------------------------------------


def _origins(task: Task, who: Sequence[Introduced], folder: RunFolder, prepare: Prepare, heard: Reporter) -> Found:
    """The origins, all behind the latest cut-off unless that was not asked for."""
    latest = None if task.include_before_cutoff else latest_cutoff(who)
    for one in who:
        if one.cutoff is None and not one.contestant.is_baseline:
            heard.say(f"{one.name} does not say until when it was trained: it may know what it is judged on")
    if latest is not None:
        heard.say(f"judged is what came after {latest[0]}, the cut-off of {latest[1]}")
    inspected = folder.inspected()
    try:
        found = find_origins(
            task, after=None if latest is None else latest[0], prepare=prepare, inspected=inspected, reporter=heard
        )
    finally:
        folder.remember(inspected)
    for line in _told(found):
        heard.say(line)
    return found


def _told(found: Found) -> Iterator[str]:
    """What is judged and what is not, in words."""
    times = [one.time for one in found.origins]
    count = len({one.series for one in found.origins})
    first, last = (pd.Timestamp(moment) for moment in (min(times), max(times)))
    yield f"{len(times):,} origins in {count} series, {first} to {last}"
    for names, why in (
        (found.excluded, "by name"),
        (found.mixed, "because prices of two contracts take turns in them"),
        (found.short, "because they are too short for the window and the dates"),
        (found.before_cutoff, "because they end before the cut-off"),
    ):
        if names:
            more = f", and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
            yield f"left out: {len(names)} series {why} ({', '.join(names[:_SHOWN])}{more})"
    for name, error in found.refused.items():
        yield f"refused: {name}: {error}"
    if found.still:
        yield f"left out: {found.still} origins at which the market stood still"


# Scores ---------------------------------------------------------------------------------------------------------------


def _scored(stage: _Stage, who: Sequence[Introduced]) -> dict[str, pd.DataFrame]:
    """The rows of every contestant; those that are on disk are read."""
    tables: dict[str, dict[int, pd.DataFrame]] = {one.name: {} for one in who}
    for one in who:
        for part in stage.parts:
            table = stage.folder.read_part(one.name, part)
            if table is not None:
                tables[one.name][part] = table
    there = sum(len(parts) for parts in tables.values())
    if there:
        stage.heard.say(f"{there} of {len(who) * len(stage.parts)} batches of scores are there already")
    missing = [(one, part) for one in who for part in stage.parts if part not in tables[one.name]]
    shared = [job for job in missing if stage.shares(job[0])]
    own = [job for job in missing if job not in shared]
    for one, part, rows in chain(_in_pool(stage, shared), _here(stage, own)):
        tables[one.name][part] = stage.folder.write_part(one.name, part, rows)
        _check_failures(stage, one.name, tables[one.name])
    return {name: pd.concat([parts[part] for part in stage.parts], ignore_index=True) for name, parts in tables.items()}


def _in_pool(stage: _Stage, jobs: Sequence[Job]) -> Iterator[tuple[Introduced, int, list[Row]]]:
    """The scores of batches, as other processes finish them."""
    total = sum(stage.size(part) for _, part in jobs)
    meter = _Meter(stage.heard, "baselines", total)
    calls = (
        partial(score_elsewhere, one.name, one.contestant.make, stage.batch(part), stage.ask(one.contestant))
        for one, part in jobs
    )
    for number, rows in stage.elsewhere(calls):
        meter.add(len(rows))
        yield *jobs[number], rows


def _here(stage: _Stage, jobs: Sequence[Job]) -> Iterator[tuple[Introduced, int, list[Row]]]:
    """The scores of batches, one contestant after the other, in this process."""
    meter, warm = _Meter(stage.heard, "", 0), ""
    for one, part in jobs:
        batch, ask = stage.batch(part), stage.ask(one.contestant)
        if one.name != warm:  # what is loaded or compiled at first is no part of a forecast's time
            warm = one.name
            forecasts(one.forecaster, batch.pasts[:1], batch.times[:1], ask)
            meter = _Meter(stage.heard, one.name, sum(stage.size(own) for each, own in jobs if each is one))
        rows = score_chunk(one.forecaster, batch, ask)
        meter.add(len(rows))
        yield one, part, rows


class _Meter:
    """How much of a stage is done, and how long the rest will take."""

    def __init__(self, heard: Reporter, stage: str, total: int, unit: str = "forecasts") -> None:
        self._heard, self._stage, self._total, self._unit = heard, stage, total, unit
        self._done, self._began = 0, time.monotonic()

    def add(self, count: int) -> None:
        self._done += count
        left = (time.monotonic() - self._began) / self._done * (self._total - self._done)
        self._heard.tick(Progress(self._stage, self._done, self._total, self._unit, left))


def _check_failures(stage: _Stage, name: str, parts: dict[int, pd.DataFrame]) -> None:
    """End where a contestant fails so often that what is left would be another task."""
    failed = pd.concat([table[table["failed"] != ""] for table in parts.values()])
    if len(failed) > MOST_FAILED * len(stage.origins):
        first = failed.iloc[0]
        origin = stage.origins[int(first["number"])]
        raise ConfigError(
            f"{name} has no forecast at {len(failed)} of {len(stage.origins)} origins, more than {MOST_FAILED:.0%}; "
            f"the first is {origin.series} at {pd.Timestamp(origin.time)}: {first['failed']}. Leave it out or mend it; "
            "the same command then goes on, and tries these again"
        )


def _common(stage: _Stage, scores: dict[str, pd.DataFrame]) -> tuple[set[int], list[str]]:
    """The origins that all contestants have a forecast for, and which of them failed where."""
    judged, failures = {one.number for one in stage.origins}, []
    for name, table in scores.items():
        rows = table[table["failed"] != ""]
        for number, why in zip(rows["number"].tolist(), rows["failed"].tolist(), strict=True):
            origin = stage.origins[number]
            failures.append(f"{name}: {origin.series} at {pd.Timestamp(origin.time)}: {why}")
            judged.discard(origin.number)
    if failures:
        count = len(stage.origins) - len(judged)
        stage.heard.say(f"left out: {count} origins at which a forecast failed (the first: {failures[0]})")
    if not judged:
        raise ConfigError(f"at every origin some forecast failed; the first: {failures[0]}")
    return judged, failures


# Tripwires ------------------------------------------------------------------------------------------------------------


def _tried(
    stage: _Stage, who: Sequence[Introduced], origins: Sequence[Origin], prepare: Prepare
) -> list[dict[str, Any]]:
    """What the tripwires find; of contestants that were tried at these origins before, what they found then."""
    if not stage.task.tripwires:
        stage.heard.say("tripwires: none were set (tripwires: 0)")
        return []
    some = some_of(origins, stage.task.tripwires)
    numbers = [one.number for one in some]
    material = Material.of(some, prepare)
    found = {one.name: stage.folder.read_wires(one.name, numbers) for one in who}
    missing = [one for one in who if found[one.name] is None]
    shared = [one for one in missing if stage.shares(one)]
    meter = _Meter(stage.heard, "tripwires", len(missing), "models")
    calls = (
        partial(try_elsewhere, one.name, one.contestant.make, material, stage.ask(one.contestant)) for one in shared
    )
    own = [one for one in missing if one not in shared]
    reread = rereader(some, prepare)
    here = ((one, try_contestant(one.name, one.forecaster, material, stage.ask(one.contestant), reread)) for one in own)
    pooled = ((shared[number], wires) for number, wires in stage.elsewhere(calls))
    for one, wires in chain(pooled, here):
        stage.folder.write_wires(one.name, numbers, wires)
        found[one.name] = wires
        meter.add(1)
    every = try_pipeline(some, material, prepare, stage.ask(who[0].contestant))
    every += [wire for one in who for wire in found[one.name] or []]
    tripped = [wire for wire in every if not wire["passed"]]
    for wire in tripped:
        stage.heard.say(f"TRIPPED: {wire['model']}, {wire['wire']}: {wire['sentence']}")
    stage.heard.say(f"tripwires: {len(every) - len(tripped)} of {len(every)} hold, at {len(some)} origins")
    return every


# Results --------------------------------------------------------------------------------------------------------------


def _table(stage: _Stage, who: Sequence[Introduced], scores: dict[str, pd.DataFrame], judged: set[int]) -> pd.DataFrame:
    """All rows of all contestants at the origins that are judged."""
    places = stage.places.drop(columns="digest")
    tables = []
    for one in who:
        table = scores[one.name].drop(columns="failed").merge(places, on="number")
        table = table[table["number"].isin(judged)].sort_values("number")
        early = False if one.cutoff is None else table["time"] < pd.Timestamp(end_of_day(one.cutoff))
        tables.append(table.assign(model=one.name, before_cutoff=early))
    whole = pd.concat(tables, ignore_index=True)
    return whole[[*PLACE_COLUMNS, *(name for name in whole if name not in PLACE_COLUMNS)]]


def _facts(
    task: Task, who: Sequence[Introduced], scores: dict[str, pd.DataFrame], judged: set[int]
) -> dict[str, dict[str, Any]]:
    """What there is to know of every contestant."""
    cores = os.cpu_count() or 1
    return {
        one.name: {
            "seconds": float(np.median(scores[one.name]["seconds"].to_numpy()[::TOGETHER])),
            "cores": 1 if one.contestant.parallel else cores,
            "origins": len(judged),
            "failed": int(scores[one.name]["failed"].ne("").sum()),
            **one.facts(task),
        }
        for one in who
    }

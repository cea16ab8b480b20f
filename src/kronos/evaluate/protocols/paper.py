"""The paper's protocol from end to end: five tasks, any forecasters, one folder that a killed run goes on in.

What is finished is read back from the folder, part by part. At the end all figures stand in one tidy frame (task,
model, market, timeframe, measure, value, se, origins, cells), in a summary with a plain sentence for each task and
model, and in a picture.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from kronos.data import Series
from kronos.evaluate.protocols import paper_store as store
from kronos.evaluate.protocols.fidelity import FEWEST_SEQUENCES, Sequences, draw_sequences, judge_sequences
from kronos.evaluate.protocols.fidelity_pictures import draw_fidelity
from kronos.evaluate.protocols.paper_figures import ALL, FEWEST_ORIGINS, class_weights, table_of
from kronos.evaluate.protocols.paper_pictures import draw_paper
from kronos.evaluate.protocols.paper_rollouts import Reporter, aligned, roll_out
from kronos.evaluate.protocols.paper_tasks import (
    SIGNAL_TIMEFRAME,
    Cell,
    Entrant,
    Gathered,
    PaperSettings,
    TaskName,
    begin_of,
    gather,
)
from kronos.evaluate.protocols.paper_words import verdicts
from kronos.evaluate.protocols.signals import cross_section, ranking, signal_points, signals_of

ROLLED: tuple[TaskName, ...] = ("price", "return", "volatility")
"""Tasks that are made of forecasts at rolling origins."""

_UNASKED = {"tasks", "together", "data", "symbols", "markets", "timeframes"}
"""Settings that change no number, or whose effect is in the digest of the bars."""


@dataclass
class Paper:
    """One run of the protocol in its folder."""

    settings: PaperSettings
    entrants: Sequence[Entrant]
    out: Path
    reporter: Reporter | None = None
    gathered: Gathered = field(default_factory=Gathered)
    rows: dict[str, dict[str, pd.DataFrame]] = field(default_factory=dict)
    """Of every rolled task, the entrants' aligned rows."""
    tables: list[pd.DataFrame] = field(default_factory=list)

    @property
    def table(self) -> pd.DataFrame:
        """All figures so far, tidy."""
        return _stacked(self.tables)

    def run(self, series: Sequence[Series], refused: Mapping[str, str] | None = None) -> dict[str, Any]:
        """Do all tasks, write everything, and return the summary."""
        store.check_names([one.name for one in self.entrants])
        self.gathered = gather(series, self.settings, self.entrants)
        asked = {key: value for key, value in self.settings.tree().items() if key not in _UNASKED}
        asked |= {"begin": begin_of(self.settings, self.entrants), "bars": store.digest_of(self.gathered.series)}
        store.claim(self.out, store.plain(asked), {one.name: one.fingerprint for one in self.entrants})
        self._tell()
        work: Mapping[str, Callable[[], pd.DataFrame]] = {"generation": self._generation, "signals": self._signals}
        for task in dict.fromkeys(self.settings.tasks):
            self.tables.append(self._rolled(task) if task in ROLLED else work[task]())
        return self._finish(dict(refused or {}))

    def _rolled(self, task: TaskName) -> pd.DataFrame:
        cells = [cell for cell in self.gathered.cells if not self._is_few(cell)]
        if not cells:
            return _EMPTY
        rows = {one.name: self._rollout(one, task, cells) for one in self.entrants}
        self.rows[task] = aligned(rows)
        return table_of(task, self.rows[task])

    def _rollout(self, entrant: Entrant, task: TaskName, cells: Sequence[Cell]) -> pd.DataFrame:
        """Tasks with the same setting share their forecasts."""
        options = entrant.options(task, self.settings)
        name = "-".join(f"{key}{value}" for key, value in options.items() if key != "seed")
        file = self.out / "rollouts" / name / f"{store.file_name(entrant.name)}.parquet"
        return store.kept_frame(file, lambda: roll_out(entrant, cells, task, self.settings, self.reporter))

    def _generation(self) -> pd.DataFrame:
        found = [self._generated(one, cell) for one in self.entrants for cell in self.gathered.cells]
        return _with_means(_stacked([one for one in found if one is not None]))

    def _generated(self, entrant: Entrant, cell: Cell) -> pd.DataFrame | None:
        room = len(cell.trials(0))
        if room < FEWEST_SEQUENCES:
            need = f"a network needs {FEWEST_SEQUENCES} to learn from"
            self._say(f"generation: {cell.name} has room for {room} sequences; {need}")
            return None
        place = self.out / "generation" / store.file_name(entrant.name) / store.file_name(cell.name.replace(" ", "-"))
        sequences = store.kept_sequences(
            place.with_name(place.name + ".npz"), lambda: draw_sequences(entrant, cell, self.settings, self.reporter)
        )
        figures = store.kept_figures(
            place.with_name(place.name + ".json"), lambda: self._judged(entrant, cell, sequences)
        )
        picture = place.with_name(place.name + ".png")
        if not picture.exists():
            draw_fidelity(sequences, f"{entrant.name}, {cell.name}", picture)
        rows = [(name, *(math.nan if one is None else one for one in pair)) for name, pair in figures.items()]
        table = pd.DataFrame(rows, columns=["measure", "value", "se"])
        places = {"task": "generation", "model": entrant.name, "market": cell.market, "timeframe": cell.timeframe}
        return table.assign(**places, origins=float(len(sequences)), cells=1.0)[list(_EMPTY.columns)]

    def _judged(self, entrant: Entrant, cell: Cell, sequences: Sequences) -> dict[str, Any]:
        self._say(
            f"{entrant.name} generation {cell.name}: {len(sequences):,} + {len(sequences):,} sequences are judged"
        )
        return dict(judge_sequences(sequences, self.settings))

    def _signals(self) -> pd.DataFrame:
        begin = begin_of(self.settings, self.entrants)
        points = signal_points(self.gathered.series, begin, self.settings)
        if not points:
            self._say("signals: no market has daily series of 90 bars and a day to speak of; nothing to rank")
            return _EMPTY
        tables = []
        for one in self.entrants:
            file = self.out / "signals" / f"{store.file_name(one.name)}.parquet"
            make = lambda one=one: signals_of(one, points, self.settings, self.reporter)  # noqa: E731
            tables.append(_ranking_table(one.name, store.kept_frame(file, make)))
        return _with_means(_stacked(tables))

    def _finish(self, refused: dict[str, str]) -> dict[str, Any]:
        table = self.table
        left_out = {
            **self.gathered.left_out,
            **({"refused": [f"{k}: {v}" for k, v in refused.items()]} if refused else {}),
        }
        summary = {
            "tasks": summary_of(table),
            "verdicts": verdicts(table, self.rows, self.entrants),
            "models": {one.name: self._facts(one) for one in self.entrants},
            "cells": [cell.name for cell in self.gathered.cells],
            "left_out": left_out,
            "begin": begin_of(self.settings, self.entrants),
        }
        store.write_frame(self.out / store.FIGURES, table)
        store.write_json(self.out / store.SUMMARY, summary)
        if len(table):
            draw_paper(table, self.entrants, self.out / store.PICTURE)
        tree: dict[str, Any] = store.plain(summary)
        return tree

    def _facts(self, entrant: Entrant) -> dict[str, Any]:
        options = {task: entrant.options(task, self.settings) for task in dict.fromkeys(self.settings.tasks)}
        known = [rows[entrant.name]["before_cutoff"] for rows in self.rows.values() if entrant.name in rows]
        share = float(pd.concat(known).mean()) if known and sum(map(len, known)) else 0.0
        return {"cutoff": entrant.cutoff, "network": entrant.sampled, "before_cutoff": share, "options": options}

    def _tell(self) -> None:
        few = [cell.name for cell in self.gathered.cells if self._is_few(cell)]
        told = f"fewer than {FEWEST_ORIGINS} origins, too few for a figure: {', '.join(few)}"
        for line in [*self.gathered.told(), *([told] if few and set(ROLLED) & set(self.settings.tasks) else [])]:
            self._say(line)

    def _is_few(self, cell: Cell) -> bool:
        """Whether no figure comes of it, so that nobody has to forecast it."""
        return len(cell.trials(self.settings.origins)) < FEWEST_ORIGINS

    def _say(self, line: str) -> None:
        if self.reporter is not None:
            self.reporter.say(line)


_EMPTY = pd.DataFrame(
    {
        **{name: pd.Series(dtype=object) for name in ("task", "model", "market", "timeframe", "measure")},
        **{name: pd.Series(dtype=np.float64) for name in ("value", "se", "origins", "cells")},
    }
)


def summary_of(table: pd.DataFrame) -> dict[str, dict[str, dict[str, dict[str, float]]]]:
    """task -> model -> measure -> value, se, origins, cells: the mean over all classes."""
    found: dict[str, Any] = {}
    whole = table[(table["market"] == ALL) & (table["timeframe"] == ALL)]
    for row in whole.to_dict("records"):
        figures = {name: row[name] for name in ("value", "se", "origins", "cells")}
        found.setdefault(row["task"], {}).setdefault(row["model"], {})[row["measure"]] = figures
    return found


def _ranking_table(model: str, signals: pd.DataFrame) -> pd.DataFrame:
    table = ranking(cross_section(signals))
    rows = []
    for row in table.to_dict("records"):
        place = {"task": "signals", "model": model, "market": row["market"], "timeframe": SIGNAL_TIMEFRAME}
        for name in ("rank_ic", "icir", "assets", "coverage"):
            error = row["rank_ic_se"] if name == "rank_ic" else math.nan
            figures = {"measure": name, "value": row[name], "se": error, "origins": float(row["days"]), "cells": 1.0}
            rows.append(place | figures)
    return pd.DataFrame(rows, columns=list(_EMPTY.columns))


def _with_means(table: pd.DataFrame) -> pd.DataFrame:
    """The same with the means over all classes; the errors of their cells are taken as independent."""
    means = []
    there = table[table["value"].notna()]
    for (task, model, measure), own in there.groupby(["task", "model", "measure"], sort=False):
        weights = class_weights(list(zip(own["market"], own["timeframe"], strict=True)))
        weigh = np.array([weights[key] for key in zip(own["market"], own["timeframe"], strict=True)])
        place = {"task": task, "model": model, "market": ALL, "timeframe": ALL, "measure": measure}
        means.append(
            place
            | {
                "value": float(weigh @ own["value"]),
                "se": float(np.sqrt((weigh**2) @ (own["se"] ** 2))),
                "origins": float(own["origins"].sum()),
                "cells": float(len(own)),
            }
        )
    return _stacked([table, pd.DataFrame(means, columns=list(_EMPTY.columns))])


def _stacked(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Tables below each other; empty ones are left out, because their columns have no type."""
    there = [one for one in tables if len(one)]
    return pd.concat(there, ignore_index=True) if there else _EMPTY.copy()

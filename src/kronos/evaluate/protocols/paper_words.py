"""The protocol's results in words: a table for the terminal and one plain sentence for each task and network.

Two standard errors are the border between "is" and "no evidence". A loss is told in the same words as a win.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from kronos.evaluate.benchmark.wording import counted, significant
from kronos.evaluate.protocols.paper_figures import ALL, LEADING, LOWER_IS_BETTER, difference
from kronos.evaluate.protocols.paper_tasks import Entrant
from kronos.evaluate.protocols.stylised import FACTS

SURE = 2.0  # standard errors

TITLES: Mapping[str, str] = {
    "ic": "IC",
    "rank_ic": "RankIC",
    "mae": "MAE, 1e-4",
    "r2": "R2",
    "correlation": "correlation",
    "discriminative": "discriminative (.5 best)",
    "discriminative_close": "of closes alone",
    "tstr_mae": "TSTR MAE, u",
    "trtr_mae": "real-trained MAE",
    "zero_mae": "MAE of 0",
    "tstr_rank_ic": "TSTR RankIC",
    "trtr_rank_ic": "real-trained RankIC",
    "icir": "ICIR",
    "assets": "assets a day",
    "coverage": "coverage",
}
"""Measures of the table, in its order."""

NAMES: Mapping[str, str] = {
    "price": "path RankIC",
    "return": "RankIC of returns",
    "volatility": "R2 of realised variance",
    "generation": "discriminative score",
    "signals": "cross-sectional RankIC",
}

COUNTED: Mapping[str, str] = {"generation": "sequence", "signals": "day"}
"""What the figures of a task are over, where it is not origins."""

PUBLISHED: Mapping[str, str] = {
    "price": "RankIC: small .0254, base .0258, large .0267; best other .0143",
    "return": "RankIC: small .0622, base .0634, large .0675; best other .0533",
    "volatility": "R2: small .2490, base .2470, large .2624; GARCH .2323",
    "generation": "discriminative score: small .2876, base .3009, large .3048; best other .2504",
}
"""What the paper reports on bars of its own: a hint of the size, no comparison."""


def verdicts(
    table: pd.DataFrame, rows: Mapping[str, Mapping[str, pd.DataFrame]], entrants: Sequence[Entrant]
) -> dict[str, dict[str, str]]:
    """task -> model -> a sentence, for every network; of baselines alone, for them."""
    judged = [one for one in entrants if one.sampled] or list(entrants)
    found: dict[str, dict[str, str]] = {}
    for task in dict.fromkeys(table["task"]):
        for one in judged:
            own = _overall(table, task, one.name)
            if own is not None:
                found.setdefault(task, {})[one.name] = _sentence(task, one, own, table, rows.get(task, {}), entrants)
    return found


def told(summary: Mapping[str, Any]) -> str:
    """The summary as text: a table for each task, the sentences, and what the paper reports."""
    blocks = []
    for task, models in summary["tasks"].items():
        columns = [name for name in TITLES if any(name in figures for figures in models.values())]
        cells = [[task, *(TITLES[name] for name in columns), COUNTED.get(task, "origin") + "s", "cells"]]
        cells += [_line(model, figures, columns, summary["models"]) for model, figures in models.items()]
        widths = [max(len(line[i]) for line in cells) for i in range(len(cells[0]))]
        block = [_joined(line, widths) for line in cells] + _fewer_cells(models)
        block += list(summary["verdicts"].get(task, {}).values())
        if task in PUBLISHED:
            block.append(f"(the paper, on other bars: {PUBLISHED[task]})")
        blocks.append("\n".join(block))
    if any(facts["before_cutoff"] for facts in summary["models"].values()):
        blocks.append("* judged on days that it was trained on, which flatters it")
    return "\n\n".join(blocks) or "no figures: too few origins, sequences or assets"


def facts_told(table: pd.DataFrame, models: Sequence[str]) -> str:
    """The stylised facts, real and of every model: means over all classes; empty where nothing was generated."""
    own = table[(table["task"] == "generation") & (table["market"] == ALL)]
    figures = {(row["model"], row["measure"]): (row["value"], row["se"]) for row in own.to_dict("records")}
    there = [name for name in models if (name, "discriminative") in figures]
    lines = [["stylised fact", "real", *there]]
    for fact, title in FACTS.items():
        known = [figures[name, f"real_{fact}"] for name in there if (name, f"real_{fact}") in figures]
        if known:
            lines.append([title, within(*known[0]), *(_fact_of(figures, name, fact) for name in there)])
    if len(lines) == 1:
        return ""
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    note = f"! is more than {SURE:g} standard errors off the real one (of the difference at the same origins)"
    return "\n".join([*(_joined(line, widths) for line in lines), note])


def _fact_of(figures: Mapping[tuple[str, str], tuple[float, float]], model: str, fact: str) -> str:
    if (model, f"made_{fact}") not in figures:
        return "–"
    gap, error = figures.get((model, f"gap_{fact}"), (math.nan, math.nan))
    return within(*figures[model, f"made_{fact}"]) + ("!" if abs(gap) > SURE * error else " ")


def _line(model: str, figures: Mapping[str, Any], columns: Sequence[str], models: Mapping[str, Any]) -> list[str]:
    mark = "*" if models.get(model, {}).get("before_cutoff") else ""
    first = next(iter(figures.values()))
    shown = [_shown(figures.get(name)) for name in columns]
    return [model + mark, *shown, f"{first['origins']:,.0f}", f"{first['cells']:.0f}"]


def within(value: float, error: float) -> str:
    """A figure with its error, as many digits of both as the first two of the error; a dash for what is none."""
    if not math.isfinite(value):
        return "–"
    if not (math.isfinite(error) and error > 0):
        return significant(value)
    digits = min(max(1 - math.floor(math.log10(error)), 0), 5)
    return f"{value:.{digits}f} ± {error:.{digits}f}"


def _joined(line: Sequence[str], widths: Sequence[int]) -> str:
    """Names to the left, figures to the right."""
    figures = (cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True))
    return "  ".join([line[0].ljust(widths[0]), *figures])


def _fewer_cells(models: Mapping[str, Any]) -> list[str]:
    """Who has figures in fewer cells than others, so that its means are of something else."""
    counts = {model: round(next(iter(figures.values()))["cells"]) for model, figures in models.items()}
    most = max(counts.values())
    return [
        f"{model} spoke in {count} of {most} cells: its means are of those, and not beside the others'"
        for model, count in counts.items()
        if count < most
    ]


def _shown(figure: Mapping[str, float | None] | None) -> str:
    if figure is None or figure["value"] is None:
        return "–"
    error = figure["se"]
    return within(figure["value"], math.nan if error is None else error)


def _overall(table: pd.DataFrame, task: str, model: str) -> tuple[float, float, float] | None:
    """Value, error and origins of the leading measure."""
    chosen = (table["task"] == task) & (table["model"] == model) & (table["measure"] == LEADING[task])
    own = table[chosen & (table["market"] == ALL) & (table["timeframe"] == ALL)]
    if own.empty:
        return None
    row = own.iloc[0]
    return float(row["value"]), float(row["se"]), float(row["origins"])


def _sentence(
    task: str,
    entrant: Entrant,
    own: tuple[float, float, float],
    table: pd.DataFrame,
    rows: Mapping[str, pd.DataFrame],
    entrants: Sequence[Entrant],
) -> str:
    value, error, count = own
    over = counted(int(count), COUNTED.get(task, "origin"))
    said = f"{entrant.name}: {NAMES[task]} {within(value, error)} over {over}"
    rival = _best_rival(table, task, entrant, entrants)
    if task == "generation":
        beside = "" if rival is None else f"; {rival[0]} reaches {within(*rival[1][:2])}"
        return f"{said}: {_told_apart(value, error)}{beside}"
    meaning = "" if task == "volatility" else f", {_against(value, error)}"
    if rival is None:
        return said + meaning
    if not rows:
        return f"{said}{meaning}; the best baseline, {rival[0]}, has {within(*rival[1][:2])}"
    gap = difference(task, LEADING[task], rows[entrant.name], rows[rival[0]])
    return f"{said}{meaning}; {_beside(rival[0], gap['value'], gap['se'])}"


def _best_rival(
    table: pd.DataFrame, task: str, entrant: Entrant, entrants: Sequence[Entrant]
) -> tuple[str, tuple[float, float, float]] | None:
    """The baseline with the best value of the leading measure, of those that spoke wherever the entrant did."""
    rivals, judged = {}, _cells(table, task, entrant.name)
    for one in entrants:
        found = _overall(table, task, one.name)
        if one.sampled or one.name == entrant.name or found is None or not math.isfinite(found[0]):
            continue
        if judged <= _cells(table, task, one.name):
            rivals[one.name] = found
    sign = -1.0 if LEADING[task] in LOWER_IS_BETTER else 1.0
    return max(rivals.items(), key=lambda item: sign * item[1][0]) if rivals else None


def _cells(table: pd.DataFrame, task: str, model: str) -> set[tuple[str, str]]:
    own = table[(table["task"] == task) & (table["model"] == model) & (table["measure"] == LEADING[task])]
    return set(zip(own["market"], own["timeframe"], strict=True))


def _against(value: float, error: float) -> str:
    """Whether a correlation is more than chance."""
    if not (math.isfinite(value) and math.isfinite(error) and error > 0):
        return "too little to tell"
    if abs(value) < SURE * error:
        return "no evidence that it is not 0"
    return f"{'above' if value > 0 else 'below'} 0 by {abs(value) / error:.1f} standard errors"


def _beside(rival: str, gap: float, error: float) -> str:
    if not (math.isfinite(gap) and math.isfinite(error) and error > 0):
        return f"too little to tell it from the best baseline, {rival}"
    if abs(gap) < SURE * error:
        return f"level with the best baseline, {rival} (difference {within(gap, error)})"
    return f"{'better' if gap > 0 else 'worse'} than the best baseline, {rival}, by {within(abs(gap), error)}"


def _told_apart(value: float, error: float) -> str:
    """What a share of errors means: half of them is blindness."""
    if not (math.isfinite(value) and math.isfinite(error)):
        return "too little to tell"
    if value + SURE * error >= 0.5:
        return "the network cannot tell it from the market"
    return f"the network sees which is which {1.0 - value:.0%} of the time"

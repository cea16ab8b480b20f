"""What the drift report says in sentences, and the table it says it from."""

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from kronos.evaluate.protocols.drift import PLACE
from kronos.evaluate.protocols.drift_run import DriftResults
from kronos.evaluate.protocols.drift_slope import length_effect
from kronos.evaluate.protocols.periods_table import Table

SURE = 2.0  # standard errors
MATERIAL = 0.02  # u per u: a smaller lean costs nothing that could be measured


def main_trend(results: DriftResults) -> str:
    """The trend that sentences speak of, chosen before anything is seen: the middle one of those asked for."""
    ordered = sorted(results.task.trends)
    return str(ordered[len(ordered) // 2])


def settings_line(results: DriftResults) -> str:
    """What was done, in a line."""
    task, rows = results.task, results.rows
    origins = rows.drop_duplicates(["series", "time"])
    lengths = ", ".join(str(length) for length in task.lookbacks)
    return (
        f"{origins['series'].nunique()} series, {len(origins)} origins, look-backs of {lengths} bars, "
        f"{task.horizon} bars ahead; {task.samples} paths, seed {task.seed}"
    )


def verdict(results: DriftResults, table: pd.DataFrame, trend: str | None = None) -> list[str]:
    """A sentence for every model and length of the look-back, and one on what the length changes."""
    step, trend = results.task.at[-1], trend or main_trend(results)
    lines = []
    for model in results.models:
        mine = table[(table["model"] == model) & (table["step"] == step) & (table["trend"] == trend)]
        lines += [_lean(row) for row in mine.to_dict("records")]
        lines += _length(results, model, trend, step)
    return lines


def warnings_(results: DriftResults) -> list[str]:
    """What a reader must know before believing any of it."""
    task, rows = results.task, results.rows
    said = len(results.models) * len(task.lookbacks) * len(results.trends) * len(task.at)
    lines = [
        f"The table holds {said} slopes; one in twenty lies beyond two standard errors by chance alone. The sentences "
        f"speak of the return of the last {main_trend(results)} bars and of step {task.at[-1]} only, chosen beforehand."
    ]
    for model, mine in rows.groupby("model", sort=False):
        cut = mine[mine["read"] < mine["lookback"]]
        if len(cut):
            read = int(cut["read"].max())
            lines.append(f"{model}: read {read} bars where it was given {int(cut['lookback'].max())}, for its context.")
        seen = int(mine.drop_duplicates(["series", "time"])["before_cutoff"].sum())
        if seen:
            lines.append(f"{model}: {seen} origins lie before its cut-off; it may have been trained on what followed.")
    if results.still:
        lines.append(f"{results.still} origins are left out: the price had not moved before them.")
    return lines + [f"left out: {name} ({reason})" for name, reason in results.left_out.items()]


def slope_table(results: DriftResults, table: pd.DataFrame) -> Table:
    """Slopes at the last step: what was said, what came, and how far one exceeds the other, with standard errors."""
    step = results.task.at[-1]
    heads = ["model", "look-back", "trend", "forecast", "market", "excess", "mean drift", "market's", "origins"]
    rows = []
    for row in table[table["step"] == step].to_dict("records"):
        cells = [str(row["model"]), str(row["lookback"]), trend_name(str(row["trend"]))]
        pairs = [(row[name], row[f"{name}_se"]) for name in ("said", "came", "excess", "drift", "market")]
        rows.append([*cells, *(_cell(*pair) for pair in pairs), str(row["origins"])])
    return Table(heads, rows, words=3)


def step_table(results: DriftResults, table: pd.DataFrame) -> Table:
    """How the lean grows with the step, for the main trend."""
    heads = ["model", "look-back", *(f"step {step}" for step in results.task.at)]
    rows = []
    mine = table[table["trend"] == main_trend(results)]
    for (model, lookback), some in mine.groupby(["model", "lookback"], sort=False):
        cells = [_cell(row["said"], row["said_se"]) for row in some.to_dict("records")]
        rows.append([str(model), str(lookback), *cells])
    return Table(heads, rows, words=2)


def trend_name(trend: str) -> str:
    """A trend in words."""
    return "place in look-back" if trend == PLACE else f"last {trend} bars"


def _lean(row: Mapping[Any, Any]) -> str:
    """Which way the forecasts of one model and length lean, what the market did, and what follows from both."""
    who = f"{row['model']}, {row['lookback']} bars: over {row['step']} bars forecasts"
    if not math.isfinite(row["said"]) or not math.isfinite(row["said_se"]):
        return f"{who}: too few origins, or too few moments, to say which way they lean."
    trend, said, error = trend_name(str(row["trend"])), row["said"], row["said_se"]
    amount = f"by {abs(said):.2f} ± {error:.2f} u per u"
    way = "lean against" if said < 0 else "lean with"
    lean = f"{way} the trend of the {trend} {amount}" if abs(said) > SURE * error else (
        f"do not clearly lean either way on the trend of the {trend} ({said:+.2f} ± {error:.2f} u per u)"
    )  # fmt: skip
    market = f"the market went on by {row['came']:+.2f} ± {row['came_se']:.2f}"
    return f"{who} {lean}; {market}; {_judged(row)}."


def _judged(row: Mapping[Any, Any]) -> str:
    excess, error = row["excess"], row["excess_se"]
    gap = f"{excess:+.2f} ± {error:.2f}"
    if abs(excess) <= SURE * error:
        return f"no bias that {row['origins']} origins could show ({gap})"
    if abs(excess) < MATERIAL:
        return f"a bias too small to matter ({gap})"
    return f"biased towards the mean ({gap})" if excess < 0 else f"biased towards going on ({gap})"


def _length(results: DriftResults, model: str, trend: str, step: int) -> list[str]:
    """Whether the lean depends on how far back the model looks."""
    lengths = results.task.lookbacks
    if len(lengths) < 2:
        return []
    effect = length_effect(results, model, trend, step)
    if not (math.isfinite(effect.slope) and math.isfinite(effect.error)):
        return []
    clear = abs(effect.slope) > SURE * effect.error
    return [
        f"{model}: from {min(lengths)} to {max(lengths)} bars of look-back the lean changes by {effect.slope:+.2f} ± "
        f"{effect.error:.2f} u per u: {'it depends' if clear else 'no evidence that it depends'} on the length."
    ]


def _cell(value: float, error: float) -> str:
    return f"{value:+.3f} ±{error:.3f}" if math.isfinite(value) and math.isfinite(error) else "-"

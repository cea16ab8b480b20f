"""Pictures of the drift report: what forecasts say over the recent trend, and how that hangs on the look-back."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from kronos.bars.plot import picture_format
from kronos.evaluate.protocols.drift_run import DriftResults
from kronos.evaluate.protocols.drift_slope import binned
from kronos.evaluate.protocols.drift_words import settings_line, trend_name
from kronos.evaluate.protocols.periods_chart import INK, dress, new_figure, write_heading
from kronos.evaluate.protocols.periods_summary_chart import COLOURS, MARKS
from kronos.writing import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SAID, _CAME = "#2950a3", "#d9730d"
_PANE, _HEAD, _FOOT = 2.35, 0.95, 0.6  # inches


def draw_lean(results: DriftResults, table: pd.DataFrame, model: str, out: Path) -> Path:
    """Drift over trend in bins, a row a trend and a column a look-back, with the truth beside it."""
    lengths, trends, step = results.task.lookbacks, results.trends, results.task.at[-1]
    width, height = 0.9 + 2.9 * len(lengths), _HEAD + _PANE * len(trends) + _FOOT
    width = max(width, 6.5)
    figure = new_figure(width, height)
    grid = figure.add_gridspec(
        len(trends), len(lengths), left=0.75 / width, right=1 - 0.15 / width, top=1 - (_HEAD + 0.1) / height,
        bottom=_FOOT / height, hspace=0.42, wspace=0.1,
    )  # fmt: skip
    for i, trend in enumerate(trends):
        row = [figure.add_subplot(grid[i, j]) for j in range(len(lengths))]
        for pane, length in zip(row, lengths, strict=True):
            mine = results.rows[(results.rows["model"] == model) & (results.rows["lookback"] == length)]
            line = table[(table["model"] == model) & (table["lookback"] == length)]
            line = line[(line["trend"] == trend) & (line["step"] == step)]
            _draw_bins(pane, mine, line.iloc[0].to_dict(), trend, step)
        _share_scale(row)
        row[0].set_ylabel(f"drift over {step} bars, u", fontsize=7.5, color=INK)
        for pane in row:
            what = "deviations from the mean" if trend == results.trends[-1] else "u"
            pane.set_xlabel(f"{trend_name(trend)}, {what}", fontsize=7.5, color=INK, labelpad=2)
    _legend(figure)
    write_heading(figure, f"{model}: drift over the recent trend", settings_line(results))
    return _save(figure, out)


def draw_slopes(results: DriftResults, table: pd.DataFrame, out: Path) -> Path:
    """Slopes of every trend over the length of the look-back, and below the mean drift of every step, all models."""
    trends, steps = results.trends, results.task.at
    columns = max(len(trends), len(steps))
    width, height = max(0.9 + 2.9 * columns, 6.5), _HEAD + 2 * 2.6 + _FOOT
    figure = new_figure(width, height)
    grid = figure.add_gridspec(
        2, columns, left=0.75 / width, right=1 - 0.15 / width, top=1 - (_HEAD + 0.1) / height, bottom=_FOOT / height,
        hspace=0.38, wspace=0.22,
    )  # fmt: skip
    for j, trend in enumerate(trends):
        pane = figure.add_subplot(grid[0, j])
        mine = table[(table["trend"] == trend) & (table["step"] == steps[-1])]
        _draw_lengths(pane, mine, results, ("said", "came"))
        pane.set_title(f"slope on {trend_name(trend)}, step {steps[-1]}", fontsize=8, color=INK, loc="left")
    for j, step in enumerate(steps):
        pane = figure.add_subplot(grid[1, j])
        mine = table[(table["trend"] == trends[0]) & (table["step"] == step)]
        _draw_lengths(pane, mine, results, ("drift", "market"))
        pane.set_title(f"mean drift, step {step}, u", fontsize=8, color=INK, loc="left")
        pane.set_xlabel("bars of look-back", fontsize=7.5, color=INK)
    figure.axes[0].set_ylabel("u per u", fontsize=7.5, color=INK)
    _legend(figure)
    write_heading(figure, "Lean and drift by look-back", settings_line(results))
    return _save(figure, out)


def _draw_bins(pane: "Axes", rows: pd.DataFrame, line: dict[Any, Any], trend: str, step: int) -> None:
    """What was said and what came in bins of the trend, each with two standard errors, and the lines through them."""
    dress(pane)
    pane.axhline(0.0, color=INK, linewidth=0.8, linestyle=(0, (4, 3)), zorder=1.5)
    x = rows[f"trend_{trend}"].to_numpy(dtype=np.float64)
    there = x[np.isfinite(x)]
    for name, colour, mark, label, slope, level in (
        ("came", _CAME, "s", "market", "came", "market"),
        ("mean", _SAID, "o", "forecast", "said", "drift"),
    ):
        at, means, errors = binned(x, rows[f"{name}_{step}"])
        pane.errorbar(
            at, means, yerr=2 * errors, color=colour, marker=mark, markersize=4, linestyle="none", elinewidth=1,
            label=f"{label} (bins, ±2 s.e.)", zorder=3,
        )  # fmt: skip
        if math.isfinite(line[slope]):
            ends = np.quantile(there, (0.02, 0.98))
            pane.plot(ends, line[level] + line[slope] * (ends - there.mean()), color=colour, linewidth=1.2, zorder=2.5)
    pairs = (f"{name} {line[name]:+.2f} ±{line[f'{name}_se']:.2f}" for name in ("said", "came"))
    text = f"{line['lookback']} bars: {', '.join(pairs)}"
    pane.set_title(text, fontsize=7.2, color=INK, loc="left", pad=3)


def _draw_lengths(pane: "Axes", mine: pd.DataFrame, results: DriftResults, names: tuple[str, str]) -> None:
    """A figure of every model over the length of the look-back, with two standard errors, and the market's."""
    dress(pane)
    pane.axhline(0.0, color=INK, linewidth=0.8, linestyle=(0, (4, 3)), zorder=1.5)
    said, came = names
    lengths = sorted(results.task.lookbacks)
    places = {length: place for place, length in enumerate(lengths)}
    first = mine[mine["model"] == results.models[0]].sort_values("lookback")
    low, high = first[came] - 2 * first[f"{came}_se"], first[came] + 2 * first[f"{came}_se"]
    x = first["lookback"].map(places).to_numpy(dtype=np.float64)
    pane.fill_between(x, low, high, color="#fbe6d3", linewidth=0, zorder=1, label="market ±2 s.e.")
    pane.plot(x, first[came], color=_CAME, linewidth=1.4, zorder=2, label="market")
    for number, model in enumerate(results.models):
        some = mine[mine["model"] == model].sort_values("lookback")
        shift = 0.24 * ((number + 0.5) / len(results.models) - 0.5)
        pane.errorbar(
            some["lookback"].map(places) + shift, some[said], yerr=2 * some[f"{said}_se"],
            color=COLOURS[0 if number == 0 else (number + 1) % len(COLOURS)], marker=MARKS[number % len(MARKS)],
            markersize=4, linewidth=1, label=model, zorder=3,
        )  # fmt: skip
    pane.set_xticks(list(places.values()), [str(length) for length in lengths])
    pane.set_xlim(-0.4, len(lengths) - 0.6)


def _share_scale(row: "list[Axes]") -> None:
    low, high = min(pane.get_ylim()[0] for pane in row), max(pane.get_ylim()[1] for pane in row)
    for number, pane in enumerate(row):
        pane.set_ylim(low, high)
        pane.tick_params(labelleft=number == 0)


def _legend(figure: "Figure") -> None:
    width, height = figure.get_size_inches()
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="upper right", bbox_to_anchor=(1 - 0.1 / width, 1 - 0.5 / height), ncols=6, frameon=False,
        fontsize=7.5, labelcolor=INK, columnspacing=1.2,
    )  # fmt: skip


def _save(figure: "Figure", out: Path) -> Path:
    kind = picture_format(out)
    with replacing(out) as temporary:
        figure.savefig(temporary, format=kind)
    return out

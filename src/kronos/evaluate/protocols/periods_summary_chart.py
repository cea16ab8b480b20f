"""One chart of all periods: every figure in the order of time, against volatility, and against the trend."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from kronos.bars.plot import picture_format
from kronos.evaluate.protocols.periods_chart import FAINT, INK, dress, new_figure, write_heading
from kronos.evaluate.protocols.periods_table import NAMES, RELATED
from kronos.writing import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#2950a3", "#d9730d", "#0f8a70", "#8a4fb5", "#b8860b", "#b42318", "#4a5568", "#0891b2")
MARKS = ("o", "s", "^", "D", "v", "P", "X", "*")

_NEUTRAL = {"close_correlation": 0.0, "direction_steps": 0.5, "mape_ratio": 1.0, "crps_ratio": 1.0, "cover90": 0.9}
"""What a forecast that knows nothing and is honest about it would have."""

_WIDTH, _ROW, _HEAD = 12.4, 1.85, 0.8  # inches
_NOTED = 3  # models whose rank correlations there is room for


def draw_summary(
    table: pd.DataFrame, related: pd.DataFrame, means: Mapping[str, Mapping[str, float]], title: str, out: Path
) -> Path:
    """Draw how performance varies with the regime, all models together, and write it (.png, .svg or .pdf)."""
    kind = picture_format(out)
    figure = _draw(table, related, means, title)
    with replacing(out) as temporary:
        figure.savefig(temporary, format=kind)
    return out


def _draw(table: pd.DataFrame, related: pd.DataFrame, means: Mapping[str, Mapping[str, float]], title: str) -> "Figure":
    figure = new_figure(_WIDTH, _HEAD + _ROW * len(RELATED) + 0.55)
    height = figure.get_size_inches()[1]
    grid = figure.add_gridspec(
        len(RELATED), 3, left=0.062, right=0.99, top=1 - _HEAD / height, bottom=0.55 / height, hspace=0.2, wspace=0.13,
        width_ratios=(1.35, 1, 1),
    )  # fmt: skip
    for row, name in enumerate(RELATED):
        panes = [figure.add_subplot(grid[row, column]) for column in range(3)]
        for pane in panes:
            dress(pane)
            pane.axhline(_NEUTRAL[name], color=INK, linewidth=0.9, linestyle=(0, (4, 3)), zorder=1.5)
        _draw_row(panes, table, related, name)
        if name == "close_correlation":
            _shade_chance(panes, table, means)
        panes[0].set_ylabel(NAMES[name], fontsize=8, color=INK)
        _finish(panes, table, last=row == len(RELATED) - 1)
    models = list(dict.fromkeys(table["model"]))
    handles, labels = figure.axes[0].get_legend_handles_labels()
    count = int(table.groupby(["series", "period"], sort=False).ngroups)
    facts = (
        f"{count} periods; dashes: a forecast that knows nothing; bars: spread over windows, where there are several"
    )
    if len(related):
        facts += f"; rank correlations beyond ±{float(related['by_chance'].max()):.2f}: one in twenty by chance"
    write_heading(figure, title, facts)
    figure.legend(
        handles, labels, loc="upper right", bbox_to_anchor=(0.995, 1 - 0.05 / height), ncols=min(len(models) + 1, 6),
        frameon=False, fontsize=8, labelcolor=INK, columnspacing=1.2, handletextpad=0.4,
    )  # fmt: skip
    return figure


def _draw_row(panes: "list[Axes]", table: pd.DataFrame, related: pd.DataFrame, name: str) -> None:
    """A figure of every model against the number of the period, its volatility and its trend."""
    models = list(dict.fromkeys(table["model"]))
    notes: list[list[str]] = [[], []]
    for number, model in enumerate(models):
        mine = table[table["model"] == model]
        style: dict[str, Any] = {
            "color": COLOURS[number % len(COLOURS)],
            "marker": MARKS[number % len(MARKS)],
            "markersize": 4.2,
        }
        shift = 0.5 * ((number + 0.5) / len(models) - 0.5)  # beside each other, not over each other
        values = mine[name].to_numpy(dtype=np.float64)
        spread = mine[f"{name}_spread"].to_numpy(dtype=np.float64) if f"{name}_spread" in mine else None
        x = np.arange(len(mine)) + shift
        if spread is not None and np.isfinite(spread).any():
            panes[0].vlines(x, values - spread, values + spread, color=style["color"], alpha=0.35, linewidth=1.2)
        panes[0].plot(x, values, linestyle="none", label=model, **style)
        panes[1].plot(100 * mine["volatility"], values, linestyle="none", **style)
        panes[2].plot(mine["trend"], values, linestyle="none", **style)
        for note, part in zip(notes, ("volatility", "trend"), strict=True):
            found = related[(related["model"] == model) & (related["figure"] == name) & (related["regime"] == part)]
            if len(found) and math.isfinite(float(found["correlation"].iloc[0])):
                note.append(f"{model} {float(found['correlation'].iloc[0]):+.2f}")
    for pane, note in zip(panes[1:], notes, strict=True):
        if note:
            text = f"rank correlation {', '.join(note[:_NOTED])}"
            pane.set_title(text, fontsize=7, color=FAINT, loc="left", pad=2, parse_math=False)


def _shade_chance(panes: "list[Axes]", table: pd.DataFrame, means: Mapping[str, Mapping[str, float]]) -> None:
    """Where a single window's correlation lies two times in three although nothing is known."""
    chance = max((row["correlation_chance"] for row in means.values()), default=math.nan)
    if math.isfinite(chance):
        for pane in panes:
            pane.axhspan(-chance, chance, color="#f0f2f5", zorder=0.2, label="chance, one window")


def _finish(panes: "list[Axes]", table: pd.DataFrame, *, last: bool) -> None:
    """The labels of the axes, below the last row only."""
    places = table.drop_duplicates(["series", "period"])
    several = places["series"].nunique() > 1
    every = -(-len(places) // 13)
    ticks = np.arange(0, len(places), every)
    pairs = zip(places["series"].astype(str), places["period"].astype(str), strict=True)
    names = [f"{series.rpartition('/')[2]} {period}" if several else period for series, period in pairs]
    panes[0].set_xticks(ticks)
    panes[0].set_xlim(-0.8, len(places) - 0.2)
    for pane in panes[1:]:
        pane.tick_params(labelleft=False)
        pane.set_ylim(panes[0].get_ylim())
    if not last:
        for pane in panes:
            pane.tick_params(labelbottom=False)
        return
    panes[0].set_xticklabels([names[tick] for tick in ticks], rotation=28, ha="right", fontsize=7)
    panes[1].set_xlabel("volatility of a bar, %", fontsize=8, color=INK)
    panes[2].set_xlabel("trend of the period, in deviations of a random walk", fontsize=8, color=INK)

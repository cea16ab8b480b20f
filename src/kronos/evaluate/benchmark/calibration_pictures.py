"""The pictures of a benchmark that say whether a model means what it says: coverage, PIT, reliability, width and error.

Drawn from the tables of `calibration_tables`; bars are two standard errors either way.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from kronos.evaluate.benchmark.picture_frame import (
    FAINT,
    GOOD_GROUND,
    Style,
    add_panes,
    dress,
    finite,
    head,
    legend,
    legend_height,
    new_figure,
    reach,
    styles,
    with_interval,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Tables = Mapping[str, pd.DataFrame]

MOST_PANES, COLUMNS = 12, 4
_EVENTS = {"up": ("#0072b2", "o"), "touch up": ("#d55e00", "^"), "touch down": ("#009e73", "v")}


def draw_calibration(tables: Tables) -> "Figure | None":
    """What central bands of every size cover, and by how much that is too little or too much."""
    table = tables["calibration"]
    if not np.isfinite(table["covered"]).any():
        return None
    used = styles(tables["leaderboard"])
    figure = new_figure(4.2 + legend_height(used))
    whole, off = add_panes(figure, 2, top=0.95 + legend_height(used), gap=0.72)
    for pane in (whole, off):
        pane.set_xlim(0.0, 1.0)
    whole.plot([0, 1], [0, 1], color=FAINT, linewidth=1.0)
    whole.set_ylim(0.0, 1.0)
    off.axhline(0.0, color=FAINT, linewidth=1.0)
    ends = []
    for name, style in used.items():
        part = table[table["model"] == name]
        marks = {**style.line, "markevery": 3, "markersize": 3.5}
        whole.plot(part["level"], part["covered"], **marks)
        points = 100.0 * (part["covered"] - part["level"]).to_numpy()
        off.plot(part["level"], points, **marks)
        if style.weight == "bold":  # of all of them it would be a thicket
            room = 200.0 * finite(part["covered_se"])
            off.fill_between(part["level"], points - room, points + room, color=style.colour, alpha=0.13, linewidth=0)
            ends += [points - room, points + room]
        ends.append(points)
    off.set_ylim(*reach(ends, 0.0, 2.0))
    dress(whole, "share of truths inside", below="share that the band is to hold")
    dress(off, "too many (+) or too few (−), in points", below="share that the band is to hold")
    head(figure, "What central bands cover", "On the line is right; below it bands are too narrow. Shaded: two errors.")
    legend(figure, used)
    return figure


def draw_coverage(tables: Tables) -> "Figure | None":
    """Coverage and width of the 90 % band at every step of the horizon."""
    table = tables["steps"]
    if not len(table) or not np.isfinite(table["cover90"]).any():
        return None
    used = styles(tables["leaderboard"])
    figure = new_figure(3.5 + legend_height(used))
    inside, wide = add_panes(figure, 2, top=0.95 + legend_height(used))
    inside.axhspan(0.88, 0.92, color=GOOD_GROUND, zorder=0, linewidth=0)
    inside.axhline(0.9, color=FAINT, linewidth=1.0, zorder=1)
    steps = sorted(int(step) for step in table["step"].unique())
    for pane, figure_name in ((inside, "cover90"), (wide, "width90")):
        ends = []
        for number, (name, style) in enumerate(used.items()):
            part = table[table["model"] == name].set_index("step").reindex(steps)
            values, errors = (part[what].to_numpy(dtype=np.float64) for what in (figure_name, f"{figure_name}_se"))
            places = np.arange(len(steps)) + min(0.08, 0.6 / len(used)) * (number - (len(used) - 1) / 2)
            room = 2 * finite(errors) if with_interval(style, used) else 0.0 * values
            pane.errorbar(places, values, yerr=room, **{**style.line, "elinewidth": 1.1})
            ends += [values - room, values + room]
        pane.set_xticks(range(len(steps)), [str(step) for step in steps])
        pane.set_xlim(-0.5, len(steps) - 0.5)
        around = 0.9 if pane is inside else float(np.nanmean(table["width90"]))
        pane.set_ylim(*reach(ends, around, 0.03))
    dress(inside, "90 % band covers", below="bars ahead", grid="y")
    dress(wide, "how wide it is, in u", below="bars ahead", grid="y")
    note = "u: deviation of the look-back's last 100 returns x √h. Shaded: 88 to 92 %. Bars: two standard errors."
    head(figure, "The 90 % band by horizon", note)
    legend(figure, used)
    return figure


def draw_pit(tables: Tables) -> "Figure | None":
    """Where the truth lay in what was said: a histogram for each model."""
    table = tables["pit"]
    names = _panes_of(tables, table[np.isfinite(table["share"])])
    if not names:
        return None
    rows = -(-len(names) // COLUMNS)
    figure = new_figure(1.05 + 1.65 * rows)
    panes = add_panes(figure, len(names), columns=min(COLUMNS, max(len(names), 2)), bottom=0.42, gap=0.42, top=0.9)
    used = styles(tables["leaderboard"])
    most = max(0.2, float(np.nanmax(table["share"] + 2 * finite(table["share_se"]))))
    for pane, name in zip(panes, names, strict=True):
        part = table[table["model"] == name]
        middle = ((part["low"] + part["high"]) / 2).to_numpy()
        errors = 2 * finite(part["share_se"])
        pane.bar(middle, part["share"], width=0.09, color=used[name].colour, alpha=0.55, linewidth=0)
        pane.errorbar(middle, part["share"], yerr=errors, color=used[name].colour, linestyle="none", elinewidth=1.0)
        pane.axhline(0.1, color=FAINT, linewidth=1.0, linestyle=(0, (3, 2)))
        dress(pane, name, grid="y")
        pane.set_xlim(0.0, 1.0)
        pane.set_xticks([0.0, 0.5, 1.0], ["0", ".5", "1"])
        pane.set_yticks([0.0, 0.1, 0.2] if most < 0.35 else [0.0, 0.1, 0.3, 0.5, 0.7, 0.9])
        pane.set_ylim(0.0, 1.06 * most)  # after the ticks, which would stretch it
    note = "Level at .1 is right. A valley: bands too narrow; a hill: too wide; a slope: shifted. Bars: two errors."
    head(figure, "Where the truth lay in what was said (PIT)", note)
    return figure


def draw_reliability(tables: Tables) -> "Figure | None":
    """What was said to happen with some probability, and how often it did."""
    table = tables["reliability"]
    names = _panes_of(tables, table)
    if not names:
        return None
    rows = -(-len(names) // COLUMNS)
    figure = new_figure(1.25 + 2.2 * rows)
    columns = min(COLUMNS, max(len(names), 2))
    panes = add_panes(figure, len(names), columns=columns, bottom=0.45, gap=0.42, top=1.1)
    for pane, name in zip(panes, names, strict=True):
        _draw_events(pane, table[table["model"] == name])
        dress(pane, name)
    for pane in panes[-min(len(names), columns) :]:
        pane.set_xlabel("said", fontsize=8.0, color=FAINT, labelpad=3.0)
    note = "On the line is right. Every dot is as many forecasts. u: deviation of the look-back's returns x √horizon."
    head(figure, "Probabilities said, and how often it happened", note)
    labels = {"up": "closes higher", "touch up": "touches +u", "touch down": "touches −u"}
    marks = {labels[event]: Style(colour, mark, "none", "normal") for event, (colour, mark) in _EVENTS.items()}
    legend(figure, marks)
    return figure


def draw_width_error(tables: Tables) -> "Figure | None":
    """Whether forecasts that are unsure miss by more."""
    table = tables["width_error"]
    if not len(table):
        return None
    used = styles(tables["leaderboard"])
    figure = new_figure(3.8 + legend_height(used))
    (pane,) = add_panes(figure, 1, top=0.62 + legend_height(used))
    bold = table["model"].map({name: style.weight == "bold" for name, style in used.items()})
    room = np.where(bold, 2 * finite(table["missed_se"]), 0.0)
    low, high = reach([table["said"], table["missed"] - room, table["missed"] + room], 1.0, 0.2)
    pane.plot([low, high], [low, high], color=FAINT, linewidth=1.0)
    for name, style in used.items():
        part = table[table["model"] == name]
        errors = 2 * finite(part["missed_se"]) if style.weight == "bold" else None  # of all it would be a thicket
        pane.errorbar(part["said"], part["missed"], yerr=errors, **{**style.line, "elinewidth": 1.0})
    pane.set_xlim(max(low, 0.0), reach([table["said"]], 1.0, 0.2)[1])
    pane.set_ylim(max(low, 0.0), high)
    dress(pane, below="deviation that the 90 % band at the end stands for, in u")
    note = "Root mean square error of the mean, in u. On the line is right; a flat line: the width says nothing."
    head(figure, "Do unsure forecasts miss by more?", note)
    legend(figure, used)
    return figure


def _draw_events(pane: "Axes", part: pd.DataFrame) -> None:
    pane.plot([0, 1], [0, 1], color=FAINT, linewidth=1.0)
    for event, (colour, mark) in _EVENTS.items():
        some = part[part["event"] == event]
        errors = 2 * finite(some["happened_se"])
        style: dict[str, Any] = {"color": colour, "marker": mark, "markersize": 4.0, "linestyle": "none"}
        pane.errorbar(some["said"], some["happened"], yerr=errors, alpha=0.85, elinewidth=0.9, **style)
    pane.set_xlim(0.0, 1.0)
    pane.set_ylim(0.0, 1.0)
    for axis in (pane.xaxis, pane.yaxis):
        axis.set_ticks([0.0, 0.5, 1.0], ["0", ".5", "1"])


def _panes_of(tables: Tables, table: pd.DataFrame) -> list[str]:
    """The models that get a pane of their own: all that are judged, then baselines, best first, as far as they fit."""
    board = tables["leaderboard"].sort_values("kind", ascending=False, kind="stable")
    there = set(table["model"])
    return [str(name) for name in board["model"] if name in there][:MOST_PANES]

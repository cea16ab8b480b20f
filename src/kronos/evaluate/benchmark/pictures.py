"""The pictures of a benchmark that say who is better, and where; how far what is said can be trusted is drawn in
`calibration_pictures`. All are drawn from the tables alone, so a picture cannot say what no table does.

Bars around a dot are two standard errors either way; where there are many models, only those that are judged have
them. "The best baseline" is drawn as the line at 1.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from kronos.evaluate.benchmark.calibration_pictures import (
    draw_calibration,
    draw_coverage,
    draw_pit,
    draw_reliability,
    draw_width_error,
)
from kronos.evaluate.benchmark.panel import Row, records
from kronos.evaluate.benchmark.picture_frame import (
    BETTER,
    DPI,
    DULL_GROUND,
    FAINT,
    GOOD_GROUND,
    HALO,
    INK,
    PAPER,
    SMALL,
    USUAL,
    WORSE,
    add_panes,
    dress,
    finite,
    head,
    held_against,
    legend,
    legend_height,
    name_rows,
    new_figure,
    png_of,
    reach,
    shown,
    styles,
    with_interval,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Tables = Mapping[str, pd.DataFrame]

MOST_MAPS = 4
FEWEST_IN_CELL = 20  # origins: the ratio of fewer is shown, but not in colour
_DARK, _DEEPEST = 0.08, 0.12  # of a ratio's distance from 1: where white letters are read, and where colour ends


def draw_pictures(tables: Tables) -> dict[str, bytes]:
    """Every picture there is something to draw for, by name, as PNG."""
    drawn: dict[str, Callable[[Tables], Figure | None]] = {
        "leaderboard": draw_leaderboard,
        "horizon": draw_horizon,
        "places": draw_places,
        "regimes": draw_regimes,
        "calibration": draw_calibration,
        "coverage": draw_coverage,
        "pit": draw_pit,
        "reliability": draw_reliability,
        "width_error": draw_width_error,
        "speed": draw_speed,
    }
    figures = {name: draw(tables) for name, draw in drawn.items()}
    return {name: png_of(figure) for name, figure in figures.items() if figure is not None}


def draw_leaderboard(tables: Tables) -> "Figure | None":
    """CRPS beside the best baseline's, coverage of the 90 % band, and direction: a row for each model."""
    table = tables["leaderboard"]
    used, names = styles(table), [str(name) for name in table["model"]]
    column, against, best = held_against(table)
    figure = new_figure(1.35 + 0.29 * len(names))
    longest = max(len(shown(name)) for name in names)
    ratio, cover, right = add_panes(figure, 3, left=0.35 + 0.072 * longest, top=0.88, bottom=0.28, gap=0.3)
    rows = table.set_index("model")
    panes = (
        (ratio, f"CRPS / {against}", column, f"{column}_se", 1.0, 0.02),
        (cover, "90 % band covers", "cover90", "cover90_se", 0.9, 0.04),
        (right, "right direction", "direction", "direction_se", 0.5, 0.03),
    )
    for pane, title, value, error, line, least in panes:
        dress(pane, title, grid="x")
        values, errors = (rows.loc[names, what].to_numpy(dtype=np.float64).copy() for what in (value, error))
        if value == "ratio_best" and best is not None:
            values[names.index(best)], errors[names.index(best)] = 1.0, 0.0
        pane.axvline(line, color=FAINT, linewidth=1.0, zorder=1)
        for place, name in enumerate(names):
            pane.errorbar(values[place], place, xerr=2 * finite(errors[place]), **used[name].dot)
        pane.set_xlim(*reach([values - 2 * finite(errors), values + 2 * finite(errors)], line, least))
        pane.xaxis.set_major_locator(_few(5))
        pane.set_ylim(len(names) - 0.5, -0.5)
        pane.set_yticks([])
    cover.axvspan(0.88, 0.92, color=GOOD_GROUND, zorder=0, linewidth=0)
    name_rows(ratio, names, used)
    head(figure, "Who leads", "CRPS: left of the line is better. Bars: two standard errors. Shaded: 88 to 92 %.")
    return figure


def draw_horizon(tables: Tables) -> "Figure | None":
    """CRPS beside the best baseline's at every step of the horizon."""
    table = tables["steps"]
    if len(table) == 0 or table["step"].nunique() < 2:
        return None
    used = _compared(tables)
    column, against, _ = held_against(tables["leaderboard"])
    figure = new_figure(3.4 + legend_height(used))
    (pane,) = add_panes(figure, 1, top=0.62 + legend_height(used))
    groups = [str(step) for step in sorted(table["step"].unique())]
    _draw_ratios(pane, table.assign(group=table["step"].astype(str)), groups, column, used)
    dress(pane, below="bars ahead", grid="y")
    head(figure, f"CRPS by horizon, as a share of {against}", "Below the line is better. Bars: two standard errors.")
    legend(figure, used)
    return figure


def draw_regimes(tables: Tables) -> "Figure | None":
    """CRPS beside the best baseline's, and coverage, in calm, usual and wild markets."""
    table = tables["slices"]
    table = table[table["slice"] == "regime"]
    groups = [str(name) for name in dict.fromkeys(table["group"])]
    if len(groups) < 2:
        return None
    used = _compared(tables)
    both = styles(tables["leaderboard"])
    column, against, _ = held_against(tables["leaderboard"])
    figure = new_figure(3.4 + legend_height(both))
    ratio, cover = add_panes(figure, 2, top=0.95 + legend_height(both))
    _draw_ratios(ratio, table, groups, column, used)
    dress(ratio, f"CRPS / {against}", grid="y")
    _draw_ratios(cover, table, groups, "cover90", both, line=0.9, least=0.03)
    cover.axhspan(0.88, 0.92, color=GOOD_GROUND, zorder=0, linewidth=0)
    dress(cover, "90 % band covers", grid="y")
    note = "Regime: the last 20 bars' volatility beside the look-back's, in thirds of all origins. Bars: two errors."
    head(figure, "By how wild the market was", note)
    legend(figure, both)
    return figure


def draw_places(tables: Tables) -> "Figure | None":
    """A map for every model: market x timeframe, CRPS beside the best baseline's, and how many origins."""
    table = tables["slices"]
    table = table[table["slice"] == "market x timeframe"]
    column, against, best = held_against(tables["leaderboard"])
    board = tables["leaderboard"]
    own = [str(name) for name in board.loc[board["kind"] == "model", "model"]]
    names = (own or [str(name) for name in board["model"] if name != best])[:MOST_MAPS]
    if not len(table) or not names:
        return None
    parts = table["group"].str.rsplit(" ", n=1)
    table = table.assign(market=parts.str[0], timeframe=parts.str[1])
    markets = list(dict.fromkeys(table["market"]))
    timeframes = list(dict.fromkeys(tables["slices"].query("slice == 'timeframe'")["group"]))
    columns = 1 if len(names) == 1 else 2
    rows = -(-len(names) // columns)
    figure = new_figure(0.95 + rows * (0.55 + 0.42 * len(markets)))
    left = 0.35 + 0.085 * max(len(shown(name)) for name in markets)
    panes = add_panes(figure, len(names), columns=columns, left=left, bottom=0.35, top=0.9, gap=left, row_gap=0.6)
    for pane, name in zip(panes, names, strict=True):
        part = records(table[table["model"] == name])
        _draw_map(pane, part, markets, timeframes, column)
        dress(pane, name, grid="both")
        pane.grid(False)
    note = (
        "Blue is better, orange worse; bold: two standard errors from 1. Below it how many origins; "
        f"grey: fewer than {FEWEST_IN_CELL}."
    )
    head(figure, f"CRPS by market and timeframe, as a share of {against}", note)
    return figure


def draw_speed(tables: Tables) -> "Figure | None":
    """How long a forecast takes, and how good it is."""
    table = tables["leaderboard"]
    table = table[(table["seconds"] > 0) & np.isfinite(table["crps"])]
    if not len(table):
        return None
    used = styles(tables["leaderboard"])
    figure = new_figure(3.9)
    (pane,) = add_panes(figure, 1)
    dress(pane, below="seconds a forecast")
    pane.set_xscale("log")
    for row in table.to_dict("records"):
        pane.plot(row["seconds"], row["ratio_hv20"], **used[row["model"]].line, zorder=5)
    low, high = float(table["seconds"].min()), float(table["seconds"].max())
    pane.set_xlim(low / 2.5, high * 6.0)
    pane.set_ylim(*reach([table["ratio_hv20"]], 1.0, 0.01))
    pane.axhline(1.0, color=FAINT, linewidth=1.0, zorder=1)
    _plain_seconds(pane)
    _name_points(pane, table, used)
    note = "Down and left is better. How sure the ratios are is in the leaderboard."
    head(figure, "Seconds a forecast, and CRPS as a share of a Gaussian's with 20-bar volatility", note)
    return figure


# Parts ----------------------------------------------------------------------------------------------------------------


def _compared(tables: Tables) -> dict[str, Any]:
    """The styles of all but the best baseline, which is the line that they are held against."""
    best = held_against(tables["leaderboard"])[2]
    return {name: style for name, style in styles(tables["leaderboard"]).items() if name != best}


def _draw_ratios(
    pane: "Axes",
    table: pd.DataFrame,
    groups: list[str],
    column: str,
    used: Mapping[str, Any],
    *,
    line: float = 1.0,
    least: float = 0.02,
) -> None:
    """A figure of every model in every group, beside each other, with what it is held against."""
    pane.axhline(line, color=FAINT, linewidth=1.0, zorder=1)
    apart = min(0.08, 0.6 / max(len(used), 1))
    ends: list[Any] = []
    for number, (name, style) in enumerate(used.items()):
        part = table[table["model"] == name].set_index("group").reindex(groups)
        values, errors = (part[what].to_numpy(dtype=np.float64) for what in (column, f"{column}_se"))
        places = np.arange(len(groups)) + apart * (number - (len(used) - 1) / 2)
        room = 2 * finite(errors) if with_interval(style, used) else 0.0 * values
        pane.errorbar(places, values, yerr=room, **{**style.line, "elinewidth": 1.1})
        ends += [values - room, values + room]
    pane.set_xticks(range(len(groups)), groups)
    pane.set_xlim(-0.5, len(groups) - 0.5)
    pane.set_ylim(*reach(ends, line, least))


def _draw_map(pane: "Axes", part: list[Row], markets: list[str], timeframes: list[str], column: str) -> None:
    from matplotlib.colors import LinearSegmentedColormap
    from matplotlib.patches import Rectangle

    colours = LinearSegmentedColormap.from_list("ratio", [BETTER, PAPER, WORSE])
    for row in part:
        ratio, error = float(row[column]), float(row[f"{column}_se"])
        x, y = timeframes.index(row["timeframe"]), markets.index(row["market"])
        told = np.isfinite(ratio) and row["origins"] >= FEWEST_IN_CELL
        deep = np.clip((ratio - 1.0) / _DEEPEST, -1.0, 1.0) if told else 0.0
        ground = colours(0.5 + 0.5 * deep) if told else DULL_GROUND
        pane.add_patch(Rectangle((x - 0.48, y - 0.47), 0.96, 0.94, color=ground, linewidth=0))
        ink = FAINT if not told else PAPER if abs(ratio - 1.0) > _DARK else INK
        bold = "bold" if told and abs(ratio - 1.0) >= 2 * error else "normal"
        text = f"{ratio:.3f}" if np.isfinite(ratio) else "–"
        pane.text(x, y - 0.12, text, ha="center", va="center", fontsize=USUAL, color=ink, fontweight=bold)
        pane.text(x, y + 0.27, f"{int(row['origins']):,}", ha="center", va="center", fontsize=7.0, color=ink)
    pane.set_xlim(-0.5, len(timeframes) - 0.5)
    pane.set_ylim(len(markets) - 0.5, -0.5)
    pane.set_xticks(range(len(timeframes)), [shown(name) for name in timeframes])
    pane.set_yticks(range(len(markets)), [shown(name) for name in markets])
    for label in (*pane.get_xticklabels(), *pane.get_yticklabels()):
        label.set_parse_math(False)


def _name_points(pane: "Axes", table: pd.DataFrame, used: Mapping[str, Any]) -> None:
    """Names beside the dots, moved up where two would lie on each other."""
    inverse = pane.transData.inverted()
    row_height, letter = 11.0 * DPI / 72.0, 5.2 * DPI / 72.0  # pixels
    taken: list[tuple[float, float, float]] = []
    for row in table.sort_values("ratio_hv20").to_dict("records"):
        name = shown(str(row["model"]))
        x, y = (float(one) for one in pane.transData.transform((row["seconds"], row["ratio_hv20"])))
        x, wide = x + 9.0, letter * len(name)
        for at in sorted(at for other, width, at in taken if other < x + wide and x < other + width):
            y = at + row_height if abs(y - at) < row_height else y  # upwards, so that one pass is enough
        taken.append((x, wide, y))
        left, middle = (float(one) for one in inverse.transform((x, y)))
        style = used[row["model"]]
        words = pane.text(left, middle, name, va="center", fontsize=SMALL, color=style.colour, fontweight=style.weight)
        words.set(parse_math=False, bbox=HALO, zorder=4)


def _plain_seconds(pane: "Axes") -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    pane.xaxis.set_major_locator(LogLocator(subs=(1.0,)))
    pane.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    pane.xaxis.set_minor_formatter(NullFormatter())


def _few(count: int) -> Any:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(nbins=count, steps=[1, 2, 2.5, 5, 10])

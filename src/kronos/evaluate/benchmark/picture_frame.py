"""The frame of a benchmark's pictures: one size, one grid, and a colour, marker and dash for every model.

Colours are Okabe and Ito's, told apart by the colour-blind too, and kept for what is judged; baselines are grey, and
known by marker and dash. Figures are 9 inches wide, so that 8 points can be read at 900 pixels. Nothing here touches
pyplot: no display is needed, and matplotlib's global state stays as it is.
"""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kronos.bars.plot_labels import drawable, heading_fonts

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, FAINT, GRID, PAPER = "#1f2933", "#616e7c", "#e4e7eb", "#ffffff"
GOOD_GROUND, DULL_GROUND = "#eef4ee", "#f3f4f6"
BETTER, WORSE = "#0072b2", "#d55e00"
HALO = {"boxstyle": "square,pad=0.1", "facecolor": PAPER, "edgecolor": "none", "alpha": 0.8}
WIDTH, DPI = 9.0, 120
SMALL, USUAL = 8.0, 9.0
MOST_INTERVALS = 7

_OWN = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
_OTHERS = ("#3e4c59", "#66727f", "#8a95a1")
_MARKS = ("s", "^", "D", "v", "P", "X", "<", ">")
_DASHES: tuple[Any, ...] = ((0, (4, 2)), (0, (1, 1.5)), (0, (5, 1.5, 1, 1.5)), (0, (2, 1)))


@dataclass(frozen=True)
class Style:
    """How one model is drawn."""

    colour: str
    marker: str
    dash: Any
    weight: str

    @property
    def line(self) -> dict[str, Any]:
        """For a line with its marks."""
        size = 5.0 if self.weight == "bold" else 4.0
        wide = 1.8 if self.weight == "bold" else 1.1
        return {"color": self.colour, "marker": self.marker, "linestyle": self.dash, "markersize": size, "lw": wide}

    @property
    def dot(self) -> dict[str, Any]:
        """For a dot with its interval."""
        return {**self.line, "linestyle": "none", "elinewidth": 1.4, "capsize": 0}


def styles(leaderboard: pd.DataFrame) -> dict[str, Style]:
    """A style for every model of the leaderboard: strong for what is judged, quiet for baselines."""
    found, own, others = {}, 0, 0
    for name, kind in zip(leaderboard["model"], leaderboard["kind"], strict=True):
        if kind == "model":
            dash = "-" if own < len(_OWN) else _DASHES[(own // len(_OWN) - 1) % len(_DASHES)]
            found[str(name)] = Style(_OWN[own % len(_OWN)], "o", dash, "bold")
            own += 1
        else:
            colour = _OTHERS[others // 2 % len(_OTHERS)]
            found[str(name)] = Style(colour, _MARKS[others % len(_MARKS)], _DASHES[others % len(_DASHES)], "normal")
            others += 1
    return found


def with_interval(style: Style, used: Mapping[str, Style]) -> bool:
    """Whether a line is drawn with its errors: of many lines only those of what is judged, or they hide each other."""
    return style.weight == "bold" or len(used) <= MOST_INTERVALS


def held_against(leaderboard: pd.DataFrame) -> tuple[str, str, str | None]:
    """The ratio's column, whose CRPS it divides by, and the best baseline's name; without one the Gaussian's."""
    baselines = leaderboard.loc[leaderboard["kind"] == "baseline", "model"]
    if not len(baselines):
        return "ratio_hv20", "a Gaussian's", None
    best = str(baselines.iloc[0])
    return "ratio_best", f"{shown(best)}'s", best


def new_figure(height: float) -> "Figure":
    """An empty sheet, so many inches high."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, height), dpi=DPI, facecolor=PAPER)
    FigureCanvasAgg(figure)
    return figure


def png_of(figure: "Figure") -> bytes:
    """The figure as a PNG; the same figure gives the same bytes."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", metadata={"Software": None})
    return stream.getvalue()


def add_panes(
    figure: "Figure",
    count: int,
    *,
    columns: int | None = None,
    left: float = 0.62,
    right: float = 0.18,
    top: float = 0.75,
    bottom: float = 0.45,
    gap: float = 0.62,
    row_gap: float = 0.55,
) -> "list[Axes]":
    """So many panes in a grid; margins and gaps in inches."""
    columns = count if columns is None else min(columns, count)
    rows = -(-count // columns)
    wide, high = figure.get_size_inches()
    width = (wide - left - right - gap * (columns - 1)) / columns
    height = (high - top - bottom - row_gap * (rows - 1)) / rows
    panes = []
    for number in range(count):
        row, column = divmod(number, columns)
        x = left + column * (width + gap)
        y = high - top - (row + 1) * height - row * row_gap
        panes.append(figure.add_axes((x / wide, y / high, width / wide, height / high)))
    return panes


def dress(pane: "Axes", title: str = "", *, below: str = "", grid: str = "both") -> None:
    """Grid, axes and words of our own, so that nothing is left to the user's style."""
    from matplotlib.ticker import NullLocator

    pane.set_facecolor(PAPER)
    pane.set_axisbelow(True)
    pane.grid(True, axis=grid, color=GRID, linewidth=0.7)  # type: ignore[arg-type]
    pane.tick_params(which="both", colors=INK, labelsize=SMALL, length=0)
    pane.xaxis.set_minor_locator(NullLocator())
    pane.yaxis.set_minor_locator(NullLocator())
    for side, spine in pane.spines.items():
        spine.set_visible(side == "bottom")
        spine.set(color=FAINT, linewidth=0.7)
    if title:
        letters = max(int(pane.get_position().width * WIDTH / 0.085), 12)
        text = shown(title, weight="bold", most=letters)
        words = pane.set_title(text, loc="left", fontsize=USUAL, fontweight="bold", color=INK)
        words.set(parse_math=False, family=heading_fonts())
    if below:
        pane.set_xlabel(below, fontsize=SMALL, color=FAINT, labelpad=4.0)


def head(figure: "Figure", text: str, note: str = "") -> None:
    """What the picture shows, and faintly how to read it."""
    high = figure.get_size_inches()[1]
    figure.text(0.14 / WIDTH, 1 - 0.10 / high, text, fontsize=11.0, fontweight="bold", color=INK, va="top")
    figure.text(0.14 / WIDTH, 1 - 0.33 / high, note, fontsize=SMALL, color=FAINT, va="top")


def legend(figure: "Figure", used: Mapping[str, Style], *, down: float = 0.55) -> None:
    """Names below the heading, so many inches from the top; all of them, in as many rows as it takes."""
    from matplotlib.lines import Line2D

    high = figure.get_size_inches()[1]
    made = figure.legend(
        handles=[Line2D([], [], label=shown(name), **style.line) for name, style in used.items()],
        loc="upper left",
        bbox_to_anchor=(0.06 / WIDTH, 1 - down / high),
        ncols=min(max(len(used), 1), legend_columns(used)),
        frameon=False,
        fontsize=SMALL,
        labelcolor=INK,
        handlelength=2.4,
        columnspacing=1.4,
        borderaxespad=0.0,
        prop={"family": heading_fonts(), "size": SMALL},
    )
    for text in made.get_texts():
        text.set_parse_math(False)


def legend_columns(names: Sequence[str] | Mapping[str, Any]) -> int:
    """How many names fit beside each other; they are written down one column and then the next."""
    lengths = [0.62 + 0.075 * min(len(name), 40) for name in names]
    for columns in range(len(lengths), 1, -1):
        rows = -(-len(lengths) // columns)
        if sum(max(lengths[first : first + rows]) for first in range(0, len(lengths), rows)) <= WIDTH - 0.3:
            return columns
    return 1


def legend_height(names: Sequence[str] | Mapping[str, Any]) -> float:
    """How many inches the legend of these names needs."""
    return 0.19 * -(-len(names) // legend_columns(names)) + 0.06


def shown(text: str, *, weight: str = "normal", most: int = 40) -> str:
    """The text as the fonts can draw it, its middle left out where it is longer than so many letters."""
    text = text if len(text) <= most else f"{text[: most - most // 3 - 1]}…{text[-(most // 3) :]}"
    return drawable(text, heading_fonts(), weight=weight)


def name_rows(pane: "Axes", names: Sequence[str], used: Mapping[str, Style]) -> None:
    """Names of models beside the rows of a pane, in their colours, the first at the top."""
    pane.set_yticks(range(len(names)), [shown(name, weight=used[name].weight) for name in names])
    pane.set_ylim(len(names) - 0.5, -0.5)
    for label, name in zip(pane.get_yticklabels(), names, strict=True):
        label.set(color=used[name].colour, fontweight=used[name].weight, fontsize=USUAL, parse_math=False)
        label.set_fontfamily(heading_fonts())


def reach(values: Sequence[Any], around: float, least: float) -> tuple[float, float]:
    """The ends of an axis that shows all these numbers and what they are held against, with some room."""
    numbers = np.concatenate([np.ravel(np.asarray(one, dtype=np.float64)) for one in values] or [np.empty(0)])
    numbers = np.append(numbers[np.isfinite(numbers)], around)
    low, high = min(float(numbers.min()), around - least), max(float(numbers.max()), around + least)
    room = 0.06 * (high - low)
    return low - room, high + room


def finite(values: Any) -> NDArray[np.float64]:
    """The same, with 0 in place of what is not a number: an interval that is not known is not drawn."""
    numbers = np.asarray(values, dtype=np.float64)
    return np.where(np.isfinite(numbers), numbers, 0.0)

"""The scoreboard as a picture: CRPS beside 20-bar volatility and coverage over time, and the reliability of P(up).

Forecasts are put into stretches of time with equally many in each; a band is one standard error to both sides. Nothing
here touches pyplot, and no display is needed.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kronos.bars.plot_labels import drawable, heading_fonts
from kronos.evaluate.ledger.sums import column, mean, ratio

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = NDArray[np.float64]
Points = tuple[NDArray[np.datetime64], Array, Array]
"""Times, values, their standard errors."""

_INK, _FAINT, _GRID, _PAPER = "#1f2933", "#7b8794", "#e4e7eb", "#ffffff"
_COLOURS = ("#2950a3", "#d9730d", "#0f8a70", "#8a4fb5", "#b8860b", "#b42318")
MOST_MODELS = len(_COLOURS)
_STRETCHES, _FEWEST = 12, 10  # stretches of time, at most; forecasts in one, at least
_LONG = 4.0  # times the usual distance of two stretches is a pause
_SIZE = (12.6, 4.5)


def draw(rows: pd.DataFrame, reliability: Mapping[str, pd.DataFrame]) -> "Figure":
    """A figure of the models with the most forecasts scored: a row for each forecast, a table for each model."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=_SIZE, dpi=120, facecolor=_PAPER)
    FigureCanvasAgg(figure)
    panes = [figure.add_axes((left, 0.15, 0.255, 0.60)) for left in (0.05, 0.385, 0.72)]
    labels = list(rows["label"].value_counts().index[:MOST_MODELS])
    _write_heading(figure, rows, len(set(rows["label"])))
    titles = (
        "CRPS ÷ that of 20-bar volatility",
        "truths inside the 90 % and (dashed) the 50 %",
        "P(up) said, and how often it rose",
    )
    for pane, title in zip(panes, titles, strict=True):
        _dress(pane, title)
    if not labels:
        for pane in panes:
            _say_nothing(pane)
        return figure
    coloured = list(zip(labels, _COLOURS, strict=False))
    for label, colour in coloured:
        own = rows[rows["label"] == label]
        _draw_line(panes[0], _over_time(own, "to_hv20"), colour)
        _draw_line(panes[1], _over_time(own, "cover90"), colour)
        _draw_line(panes[1], _over_time(own, "cover50"), colour, dashed=True)
        _draw_reliability(panes[2], reliability[label], colour)
    _finish(panes, rows["first"])
    _write_legend(figure, coloured)
    return figure


def _over_time(rows: pd.DataFrame, figure: str) -> Points:
    """A figure in stretches of time."""
    found: list[tuple[np.datetime64, float, float]] = []
    for some in _stretches(rows):
        where = some["asset"].to_numpy(), some["first"].to_numpy()
        if figure == "to_hv20":
            value, error = ratio(column(some, "crps"), column(some, "hv20_crps"), *where)
        else:
            value, error = mean(column(some, figure), *where)
        if np.isfinite(value):
            middle = some["first"].astype("int64").mean()
            found.append((np.datetime64(int(middle), "ns"), value, error if np.isfinite(error) else 0.0))
    times, values, errors = zip(*found, strict=True) if found else ((), (), ())
    return _broken(np.array(times, dtype="datetime64[ns]"), np.array(values), np.array(errors))


def _broken(times: NDArray[np.datetime64], values: Array, errors: Array) -> Points:
    """Lines end where nothing was forecast for long, and begin again after it."""
    gaps = np.diff(times).astype(np.float64)
    if len(gaps) < 2:
        return times, values, errors
    after = np.flatnonzero((gaps > _LONG * np.median(gaps)) & (gaps > 0.25 * gaps.sum())) + 1
    nothing = np.nan
    return np.insert(times, after, times[after]), np.insert(values, after, nothing), np.insert(errors, after, nothing)


def _stretches(rows: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """Forecasts in order of time, in parts of about equally many; those of one moment are in one."""
    moments = rows["first"].to_numpy().astype(np.int64)
    count = max(min(_STRETCHES, len(rows) // _FEWEST, len(np.unique(moments))), 1)
    ranks = np.searchsorted(np.sort(moments), moments)
    which = ranks * count // len(rows)
    for number in np.unique(which).tolist():
        yield rows[which == number]


def _draw_line(pane: "Axes", points: Points, colour: str, *, dashed: bool = False) -> None:
    times, values, errors = points
    style: Any = (0, (4, 2)) if dashed else "-"
    pane.plot(times, values, color=colour, linewidth=1.5, linestyle=style, marker="o", markersize=3)
    pane.fill_between(times, values - errors, values + errors, color=colour, alpha=0.13, linewidth=0)
    if len(times) == 1:  # a band has no width there
        pane.errorbar(times, values, errors, color=colour, linewidth=1.2)


def _draw_reliability(pane: "Axes", bins: pd.DataFrame, colour: str) -> None:
    said, rose = bins["said"].to_numpy(), bins["rose"].to_numpy()
    count = bins["count"].to_numpy(dtype=np.float64)
    pane.plot(said, rose, color=colour, linewidth=0.9, alpha=0.6)
    pane.errorbar(said, rose, bins["rose_se"].fillna(0.0), fmt="none", ecolor=colour, elinewidth=0.9, alpha=0.6)
    pane.scatter(said, rose, s=12 + 110 * np.sqrt(count / count.sum()), color=colour, alpha=0.75, linewidth=0, zorder=3)


def _finish(panes: Sequence["Axes"], times: "pd.Series[pd.Timestamp]") -> None:
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
    from matplotlib.ticker import FuncFormatter

    first, last = times.min(), times.max()
    room = max((last - first) * 0.03, pd.Timedelta(hours=12))
    limits: Any = (first - room, last + room)  # which matplotlib's own types do not know to be times
    for pane in panes[:2]:
        locator = AutoDateLocator(minticks=3, maxticks=6)  # type: ignore[no-untyped-call]
        pane.xaxis.set_major_locator(locator)
        pane.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
        pane.xaxis.get_offset_text().set(fontsize=8, color=_INK)
        pane.margins(y=0.12)
        pane.set_xlim(*limits)
    low, high = panes[0].get_ylim()
    panes[0].set_ylim(min(low, 0.95), max(high, 1.05))
    _level(panes[0], 1.0)
    for share in (0.5, 0.9):
        _level(panes[1], share)
    panes[1].set_ylim(min(panes[1].get_ylim()[0], 0.3), 1.02)
    for axis in (panes[1].yaxis, panes[2].yaxis, panes[2].xaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.0f} %"))
    panes[2].plot((0, 1), (0, 1), color=_INK, linewidth=0.9, linestyle=(0, (3, 2)), zorder=1)
    panes[2].set(xlim=(-0.02, 1.02), ylim=(-0.03, 1.03))


def _level(pane: "Axes", value: float) -> None:
    pane.axhline(value, color=_INK, linewidth=0.9, linestyle=(0, (3, 2)), zorder=1)


def _write_heading(figure: "Figure", rows: pd.DataFrame, models: int) -> None:
    figure.text(0.015, 0.965, "Ledger of forecasts", fontsize=13, fontweight="bold", va="top", color=_INK)
    facts = "no forecast has been scored yet"
    if len(rows):
        first, last = rows["first"].min(), rows["first"].max()
        facts = f"{len(rows):,} forecasts scored, {first:%Y-%m-%d} to {last:%Y-%m-%d}"
        if models > MOST_MODELS:
            facts += f"; the {MOST_MODELS} models of {models} with the most"
        facts += "; bands are one standard error"
    figure.text(0.985, 0.955, facts, fontsize=8.5, va="top", ha="right", color=_FAINT)


def _write_legend(figure: "Figure", coloured: Sequence[tuple[str, str]]) -> None:
    from matplotlib.lines import Line2D

    fonts = heading_fonts()
    handles = [Line2D([], [], color=colour, linewidth=2.0) for _, colour in coloured]
    texts = [drawable(label if len(label) <= 28 else f"{label[:27]}…", fonts) for label, _ in coloured]
    style: dict[str, Any] = {"frameon": False, "fontsize": 8.5, "labelcolor": _INK, "handlelength": 1.3}
    legend = figure.legend(handles, texts, loc="upper left", bbox_to_anchor=(0.008, 0.915), ncols=len(texts), **style)
    for text in legend.get_texts():
        text.set(family=fonts, parse_math=False)


def _dress(pane: "Axes", title: str) -> None:
    pane.set_facecolor(_PAPER)
    pane.set_axisbelow(True)
    pane.grid(True, color=_GRID, linewidth=0.6)
    pane.tick_params(which="both", colors=_INK, labelsize=8, length=0)
    for side, spine in pane.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(_FAINT)
        spine.set_linewidth(0.7)
    pane.text(0.0, 1.035, title, transform=pane.transAxes, fontsize=8.5, fontweight="bold", color=_INK)


def _say_nothing(pane: "Axes") -> None:
    text = "no forecast's bars have come yet"
    pane.text(0.5, 0.5, text, transform=pane.transAxes, ha="center", va="center", fontsize=8.5, color=_FAINT)
    pane.set(xticks=[], yticks=[])

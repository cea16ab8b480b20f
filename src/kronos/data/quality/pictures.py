"""Pictures of the quality of bars: one series with what was found in it, and the worst series of a report.

A series is drawn against time, because what is looked for are holes in time. Long series are drawn by as many columns
as the picture has dots, each from its lowest low to its highest high, so that no spike is lost; a price so far off that
it would flatten all others is marked at the edge of the pane.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from kronos.bars.candles import CLOSE, HIGH, LOW, Array
from kronos.bars.plot import picture_format
from kronos.bars.plot_labels import drawable, heading_fonts, short_number
from kronos.bars.quality.checks_prices import middle_and_spread
from kronos.bars.quality.checks_rows import Usable, raw_values, usable
from kronos.bars.quality.findings import Finding
from kronos.bars.quality.inspection import Inspection
from kronos.data.quality.report import Report
from kronos.errors import ConfigError
from kronos.writing import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_INK, _FAINT, _GRID, _PAPER = "#1f2933", "#7b8794", "#e4e7eb", "#ffffff"
_PRICE, _VOLUME = "#3d5a80", "#98b4d4"
# kind -> (colour, marker): what is marked on the price
_MARKS: dict[str, tuple[str, str]] = {
    "bad_tick": ("#cc4125", "x"),
    "jump": ("#b5651d", "d"),
    "split": ("#7d3c98", "P"),
    "bad_candle": ("#cc4125", "v"),
    "not_positive": ("#cc4125", "s"),
    "duplicate": ("#2950a3", "o"),
    "future": ("#7d3c98", ">"),
}
_STRIPS: tuple[tuple[str, str], ...] = (
    ("gap", "#cc4125"),
    ("likely_holiday", "#9aa5b1"),
    ("missing_value", "#7d3c98"),
    ("stagnant", "#b5651d"),
    ("zero_volume", "#2950a3"),
)
_HALO = {"boxstyle": "square,pad=0.15", "facecolor": _PAPER, "edgecolor": "none", "alpha": 0.75}
_COLUMNS = 1200  # dots across the price pane
_MOST = 40  # series in the picture of a report


def plot_inspection(frame: pd.DataFrame, inspection: Inspection, path: str | Path) -> None:
    """Draw a loose frame with its findings: price, volume, a strip of holes and runs, and the log returns."""
    target = Path(path)
    file_format = picture_format(target)
    times, values = raw_values(frame, inspection.name)
    bars = usable(times, values)
    if len(bars) < 2:
        raise ConfigError(f"{inspection.name}: fewer than two bars can be drawn")
    figure = _figure(10.0, 7.2)
    grid = figure.add_gridspec(3, 2, height_ratios=[3.2, 1.0, 1.1], width_ratios=[3.4, 1.0])
    price = figure.add_subplot(grid[0, 0])
    volume, strip = (figure.add_subplot(grid[row, 0], sharex=price) for row in (1, 2))
    for pane in (price, volume, strip):
        _dress(pane)
    _draw_price(price, bars, inspection)
    _draw_volume(volume, bars)
    _draw_strip(strip, bars, inspection, times[_incomplete(values)].dropna())
    _draw_returns(figure.add_subplot(grid[0, 1]), bars, inspection)
    _write_counts(figure.add_subplot(grid[1:, 1]), inspection)
    _label_time(strip, bars)
    for pane in (price, volume):
        pane.tick_params(labelbottom=False)
    _write_heading(figure, inspection)
    figure.subplots_adjust(left=0.085, right=0.985, top=0.87, bottom=0.075, hspace=0.1, wspace=0.12)
    _save(figure, target, file_format)


def plot_report(report: Report, path: str | Path) -> None:
    """Draw the worst series of a report, up to 40 of them: their scores, coverage and what was found."""
    target = Path(path)
    file_format = picture_format(target)
    shown = report.worst(_MOST)
    if not shown:
        raise ConfigError("the report has no series to draw")
    height = 1.3 + 0.2 * len(shown)
    figure = _figure(10.0, height)
    kinds = [kind for kind in report.counts() if any(kind in one.counts() for one in shown)]
    grid = figure.add_gridspec(1, 3, width_ratios=[1.0, 1.0, 0.42 * max(len(kinds), 1)])
    rows = np.arange(len(shown))
    names = [_short(drawable(one.name, heading_fonts())) for one in shown]
    scores, cover, table = (figure.add_subplot(grid[0, column]) for column in range(3))
    for pane in (scores, cover, table):
        _dress(pane)
        pane.set_ylim(len(shown) - 0.5, -0.5)
        pane.yaxis.tick_left()
    colours = [_PRICE if one.ok else _MARKS["bad_tick"][0] for one in shown]
    _bars(scores, rows, [one.score for one in shown], colours, "score", "{:.0f}", 100.0)
    _bars(cover, rows, [100 * one.coverage for one in shown], colours, "coverage, %", "{:.4g}", 100.0)
    scores.set_yticks(rows, labels=names, fontsize=7, parse_math=False, family=heading_fonts())
    cover.set_yticks(rows, labels=[""] * len(rows))
    _table(table, shown, kinds)
    left = 0.02 + 0.0062 * max(len(name) for name in names)
    figure.subplots_adjust(left=left, right=0.955, top=1 - 0.95 / height, bottom=0.12 / height, wspace=0.06)
    counts = "  ·  ".join(f"{count:,} {name}" for name, count in report.severities().items())
    extra = f"  ·  the worst {len(shown)}" if len(shown) < len(report.inspections) else ""
    figure.text(0.02, 1 - 0.1 / height, f"{len(report.inspections):,} series", fontsize=12, fontweight="bold",
                va="top", color=_INK)  # fmt: skip
    figure.text(0.02, 1 - 0.36 / height, f"{counts}{extra}", fontsize=8.5, va="top", color=_FAINT)
    _save(figure, target, file_format)


# What both share ------------------------------------------------------------------------------------------------------


def _figure(width: float, height: float) -> "Figure":
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=120, facecolor=_PAPER)
    FigureCanvasAgg(figure)
    return figure


def _save(figure: "Figure", path: Path, file_format: str) -> None:
    with replacing(path) as temporary:
        figure.savefig(temporary, format=file_format)


def _dress(pane: "Axes") -> None:
    pane.set_facecolor(_PAPER)
    pane.set_axisbelow(True)
    pane.grid(True, color=_GRID, linewidth=0.6)
    pane.tick_params(colors=_INK, labelsize=7.5, length=0)
    for side, spine in pane.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(_FAINT)
        spine.set_linewidth(0.7)


def _short(name: str, most: int = 44) -> str:
    return name if len(name) <= most else f"{name[:14]}...{name[-(most - 17) :]}"


# One series -----------------------------------------------------------------------------------------------------------


def _days(times: Any) -> Any:
    """Days since 1970 by the clock on the wall, which is what the axis counts."""
    index = pd.DatetimeIndex(times)
    return index.tz_localize(None).as_unit("ns").asi8 / 86_400e9


def _columns(bars: Usable) -> Any:
    """(n, 3) of time, lowest low and highest high, one a dot where there are more bars than dots."""
    at = _days(bars.times)
    if len(bars) <= _COLUMNS:
        return np.column_stack([at, bars.prices[:, LOW], bars.prices[:, HIGH]])
    column = ((at - at[0]) / (at[-1] - at[0]) * (_COLUMNS - 1)).astype(np.int64)
    first = np.flatnonzero(np.r_[True, np.diff(column) > 0])
    low, high = np.minimum.reduceat(bars.prices[:, LOW], first), np.maximum.reduceat(bars.prices[:, HIGH], first)
    return np.column_stack([at[first], low, high])


def _draw_price(pane: "Axes", bars: Usable, inspection: Inspection) -> None:
    columns = _columns(bars)
    pane.vlines(columns[:, 0], columns[:, 1], columns[:, 2], color=_PRICE, linewidth=0.8, zorder=2)
    pane.plot(_days(bars.times), bars.prices[:, CLOSE], color=_PRICE, linewidth=0.6, zorder=1.9)
    low, high = np.quantile(bars.prices[:, CLOSE], [0.001, 0.999])
    low = max(float(bars.prices[:, LOW].min()), low - 0.35 * (high - low), 0.7 * low)
    high = min(float(bars.prices[:, HIGH].max()), high + 0.35 * (high - low), 1.4 * high)
    if high / low > 5:
        _log_axis(pane)
    room = 1.03 * (high / low) ** 0.03
    pane.set_ylim(low / room, high * room)
    for kind, (colour, marker) in _MARKS.items():
        times = [finding.first for finding in inspection.findings if finding.kind == kind and finding.first is not None]
        if not times:
            continue
        index = pd.DatetimeIndex(times)
        place = np.clip(np.searchsorted(bars.times.asi8, index.as_unit(bars.times.unit).asi8), 0, len(bars) - 1)
        rows = bars.prices[place]
        # a bad tick is drawn where it is: at the price that lies farthest from the close before
        before = bars.prices[np.maximum(place - 1, 0), CLOSE]
        column = np.abs(np.log(rows / before[:, None])).argmax(axis=1) if kind == "bad_tick" else CLOSE
        count = inspection.counts()[kind]
        pane.scatter(
            _days(index), np.clip(rows[np.arange(len(rows)), column], low, high), s=26, marker=marker, color=colour,
            linewidths=1.1, zorder=4, label=f"{kind.replace('_', ' ')} ({count:,})",
        )  # fmt: skip
    if pane.get_legend_handles_labels()[1]:
        pane.legend(
            loc="lower left", bbox_to_anchor=(-0.01, 0.995), ncols=len(_MARKS), fontsize=7, frameon=False,
            labelcolor=_INK, handletextpad=0.1, columnspacing=1.0,
        )  # fmt: skip
    _name(pane, "price")


def _log_axis(pane: "Axes") -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    pane.set_yscale("log")
    pane.yaxis.set_major_locator(LogLocator(base=10, subs=(1.0, 2.0, 5.0)))
    pane.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    pane.yaxis.set_minor_formatter(NullFormatter())
    pane.minorticks_off()


def _name(pane: "Axes", text: str) -> None:
    pane.text(0.995, 0.97, text, transform=pane.transAxes, fontsize=7.5, ha="right", va="top", color=_FAINT, bbox=_HALO)


def _draw_volume(pane: "Axes", bars: Usable) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    known = np.isfinite(bars.volume)
    if not known.any() or not (bars.volume[known] > 0).any():
        pane.text(0.5, 0.5, "no volume", transform=pane.transAxes, ha="center", va="center", fontsize=8, color=_FAINT)
        pane.set_yticks([])
        return
    at = _days(bars.times)
    volume = np.where(known, bars.volume, 0.0)
    if len(bars) > _COLUMNS:
        column = ((at - at[0]) / (at[-1] - at[0]) * (_COLUMNS - 1)).astype(np.int64)
        first = np.flatnonzero(np.r_[True, np.diff(column) > 0])
        at, volume = at[first], np.maximum.reduceat(volume, first)
    pane.vlines(at, 0, volume, color=_VOLUME, linewidth=0.8, zorder=2)
    pane.set_ylim(0, 1.05 * float(np.quantile(volume, 0.998)) or 1.0)
    pane.yaxis.set_major_locator(MaxNLocator(nbins=3, steps=[1, 2, 5, 10]))
    pane.yaxis.set_major_formatter(FuncFormatter(lambda value, _: short_number(value)))
    _name(pane, "volume")


def _draw_strip(pane: "Axes", bars: Usable, inspection: Inspection, incomplete: pd.DatetimeIndex) -> None:
    """One row for each kind of hole or run, each drawn at least as wide as can be seen."""
    at = _days(bars.times)
    least = (at[-1] - at[0]) / _COLUMNS * 1.5
    for row, (kind, colour) in enumerate(_STRIPS):
        own = [finding for finding in inspection.findings if finding.kind == kind and finding.first is not None]
        spans = [_span(finding, least) for finding in own]
        if kind == "missing_value":  # one finding is about a whole column
            spans = [(moment, least) for moment in np.unique((_days(incomplete) - at[0]) // least) * least + at[0]]
        if spans:
            pane.broken_barh(spans, (row - 0.32, 0.64), facecolors=colour, linewidth=0, zorder=2)
    pane.set_ylim(len(_STRIPS) - 0.5, -0.5)
    pane.set_yticks(range(len(_STRIPS)), labels=[kind.replace("_", " ") for kind, _ in _STRIPS], fontsize=7)
    pane.grid(False, axis="y")


def _incomplete(values: Array) -> Any:
    """Rows that lack a value of a column that others have."""
    missing = ~np.isfinite(values)
    return (missing & ~missing.all(axis=0)).any(axis=1)


def _span(finding: Finding, least: float) -> tuple[float, float]:
    start, end = _days([finding.first, finding.last or finding.first])
    width = max(float(end - start), least)
    return float(start + end - width) / 2, width


def _draw_returns(pane: "Axes", bars: Usable, inspection: Inspection) -> None:
    """How many log returns lie where, on a logarithmic count, with the limits that the median and the MAD set."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    _dress(pane)
    returns = 100 * np.diff(np.log(bars.prices[:, CLOSE]))
    middle, spread = middle_and_spread(returns)
    limit = inspection.limits.outlier * spread
    reach = float(max(np.abs(returns - middle).max(), 1e-9))
    shown = min(reach, 3 * limit) if limit > 0 else reach
    edges = middle + np.linspace(-shown, shown, 61)
    counts, _ = np.histogram(np.clip(returns, edges[0], edges[-1]), bins=edges)
    pane.stairs(counts, edges, fill=True, color=_PRICE, zorder=2)
    for side in (-1, 1):
        if 0 < limit <= shown:
            pane.axvline(middle + side * limit, color=_MARKS["bad_tick"][0], linewidth=0.9, linestyle=(0, (4, 3)))
    pane.set_yscale("log")
    pane.set_ylim(0.7, 2.0 * max(counts.max(), 1))
    pane.yaxis.set_major_formatter(FuncFormatter(lambda value, _: short_number(value)))
    pane.xaxis.set_major_locator(MaxNLocator(nbins=4))
    pane.minorticks_off()
    beyond = int((np.abs(returns - middle) > limit).sum()) if limit > 0 else 0
    facts = (
        "log returns, %",
        f"median {middle:.2g}, MAD {spread / 1.4826:.2g}",
        f"{beyond:,} beyond {inspection.limits.outlier:g} MAD s.d.",
    )
    pane.set_title("\n".join(facts), fontsize=7.5, color=_INK, loc="left")


def _write_counts(pane: "Axes", inspection: Inspection) -> None:
    """What was found, in numbers."""
    pane.set_axis_off()
    seen: dict[str, str] = {}
    for finding in inspection.findings:
        seen.setdefault(finding.kind, finding.severity)
    colours = {"error": _MARKS["bad_tick"][0], "warning": _MARKS["jump"][0], "note": _FAINT}
    counts = inspection.counts()
    lines = [(f"{counts[kind]:>7,}  {kind.replace('_', ' ')}", colours[severity]) for kind, severity in seen.items()]
    for row, (text, colour) in enumerate(lines or [("nothing found", _FAINT)]):
        pane.text(0.02, 0.86 - 0.082 * row, text, transform=pane.transAxes, fontsize=7.5, va="top", color=colour,
                  family="monospace")  # fmt: skip


def _label_time(pane: "Axes", bars: Usable) -> None:
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    locator = AutoDateLocator(minticks=4, maxticks=9)  # type: ignore[no-untyped-call]
    pane.xaxis.set_major_locator(locator)
    pane.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
    pane.xaxis.get_offset_text().set(fontsize=7.5, color=_INK)
    at = _days(bars.times)
    room = 0.01 * (at[-1] - at[0]) or 1.0
    pane.set_xlim(at[0] - room, at[-1] + room)


def _write_heading(figure: "Figure", inspection: Inspection) -> None:
    fonts = heading_fonts()
    facts = [
        f"score {inspection.score:g}",
        f"{inspection.rows:,} bars of {inspection.timeframe}",
        f"coverage {inspection.coverage:.2%}",
        inspection.calendar,
    ]
    style: dict[str, Any] = {"fontweight": "bold", "family": fonts, "parse_math": False}
    name = drawable(_short(inspection.name, 80), fonts, weight="bold")
    figure.text(0.02, 0.985, name, fontsize=12, va="top", color=_INK, **style)
    figure.text(0.02, 0.943, "  ·  ".join(facts), fontsize=8.5, va="top", color=_FAINT)


# A report -------------------------------------------------------------------------------------------------------------


def _bars(
    pane: "Axes", rows: Any, values: Sequence[float], colours: Sequence[str], title: str, form: str, top: float
) -> None:
    pane.barh(rows, values, height=0.62, color=list(colours), zorder=2)
    pane.set_xlim(0, 1.22 * top)
    pane.set_xticks([])
    for row, value in zip(rows, values, strict=True):
        pane.text(value + 0.02 * top, row, form.format(value), fontsize=6.8, va="center", color=_INK)
    pane.set_title(title, fontsize=7.5, color=_INK, loc="left")
    pane.grid(False)


def _table(pane: "Axes", shown: Sequence[Inspection], kinds: Sequence[str]) -> None:
    """A column for each kind, a cell for each series: darker where there is more."""
    pane.grid(False)
    pane.spines["bottom"].set_visible(False)
    pane.set_xlim(-0.5, max(len(kinds), 1) - 0.5)
    pane.set_yticks([])
    for row, one in enumerate(shown):
        counts = one.counts()
        for column, kind in enumerate(kinds):
            if count := counts.get(kind, 0):
                shade = min(1.0, 0.15 + 0.17 * np.log10(count))
                pane.add_patch(_cell(column, row, shade))
                pane.text(column, row, short_number(float(f"{count:.2g}")), fontsize=6.3, ha="center", va="center",
                          color=_INK if shade < 0.6 else _PAPER)  # fmt: skip
    pane.xaxis.tick_top()
    pane.set_xticks(range(len(kinds)), labels=[kind.replace("_", " ") for kind in kinds], rotation=35, ha="left",
                    fontsize=6.8)  # fmt: skip


def _cell(column: int, row: int, shade: float) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((column - 0.47, row - 0.42), 0.94, 0.84, color="#b5651d", alpha=shade, linewidth=0)

"""Drawing a forecast: history candles, the fan of the close, median candles, volume, and what really happened.

Bars are drawn against their number, not against time, so nights and weekends leave no holes; the axis is labelled with
the time each bar has. Rising candles are hollow and falling ones filled, so the chart does not depend on telling green
from red. Nothing here touches pyplot: a figure belongs to whoever asked for it, and no display is needed.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kronos.bars.candles import CLOSE, HIGH, LOW, OPEN, VOLUME, Array
from kronos.bars.plot_labels import decimals_of, drawable, heading_fonts, short_number, time_labels, time_ticks
from kronos.errors import ConfigError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_INK, _FAINT, _GRID, _PAPER, _AHEAD = "#1f2933", "#7b8794", "#e4e7eb", "#ffffff", "#f7f8fb"
_RISE, _FALL = "#0f8a70", "#cc4125"
_FORECAST, _TRUTH = "#2950a3", "#111111"
_FAN = ((0.90, "#dfe6f5"), (0.80, "#c3d1ee"), (0.50, "#9db4e2"))  # share of the paths inside, colour: widest first

_HALO = {"boxstyle": "square,pad=0.15", "facecolor": _PAPER, "edgecolor": "none", "alpha": 0.75}

_SUFFIXES = ("png", "svg", "pdf")
_BODY = 0.66  # width of a candle's body; its neighbours are 1 away


def draw(
    paths: Array,
    timestamps: pd.DatetimeIndex,
    *,
    last_close: float,
    history: pd.DataFrame | None = None,
    name: str = "bars",
    truth: "pd.DataFrame | pd.Series[float] | None" = None,
    history_bars: int | None = None,
    note: str = "",
) -> "Figure":
    """A figure of the forecast `paths` (S, H, 6) after the last `history_bars` bars of its history.

    `name` heads it; `note` ends the line of numbers below the heading.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    past = _tail(history, history_bars, horizon=paths.shape[1])
    median = np.median(paths, axis=0)
    times = timestamps if history is None else pd.DatetimeIndex(history.index[-len(past) :]).append(timestamps)
    seen = None if truth is None else _aligned(truth, timestamps)
    figure = Figure(figsize=(10.0, 5.85), dpi=120, facecolor=_PAPER)
    FigureCanvasAgg(figure)
    traded = bool((paths[..., VOLUME] > 0).any() or (past[:, VOLUME] > 0).any())
    price, volume = _panes(figure, start=len(past), bars=len(times), with_volume=traded)
    _draw_prices(price, paths, np.concatenate([past, median]), last_close)
    if seen is not None:
        _draw_truth(price, seen["close"], len(past), last_close)
    if volume is not None:
        _draw_volume(volume, paths, np.concatenate([past, median]), seen)
    _label_time(price if volume is None else volume, pd.DatetimeIndex(times))
    decimals = _label_prices(figure, price, float(median[-1, CLOSE]), last_close)
    _write_heading(figure, paths, timestamps, last_close, decimals, name, note)
    handles, labels = price.get_legend_handles_labels()
    figure.legend(
        handles,
        labels,
        loc="upper right",
        bbox_to_anchor=(0.995, 0.995),
        ncols=7,
        frameon=False,
        fontsize=7.5,
        labelcolor=_INK,
        handlelength=1.4,
        columnspacing=1.2,
    )
    return figure


def picture_format(path: Path) -> str:
    """The format that a file name asks for: png, svg or pdf."""
    suffix = path.suffix.lower().lstrip(".")
    if suffix not in _SUFFIXES:
        raise ConfigError(f"a chart is written as .png, .svg or .pdf, not as '{path.name}'")
    return suffix


# What is drawn ------------------------------------------------------------------------------------------------------


def _tail(history: pd.DataFrame | None, bars: int | None, *, horizon: int) -> Array:
    """(N, 6): the last bars of the history, by default enough of them to give the forecast about a quarter."""
    if bars is not None and bars < 1:
        raise ConfigError(f"history_bars must be at least 1, got {bars}")
    if history is None:
        return np.empty((0, 6))
    wanted = min(max(60, 3 * horizon), 300) if bars is None else bars
    return history.iloc[-wanted:].to_numpy(dtype=np.float64)


def _aligned(truth: "pd.DataFrame | pd.Series[float]", timestamps: pd.DatetimeIndex) -> pd.DataFrame:
    """The truth's close (and volume) at every forecast step, not-a-number where it is not known."""
    frame = truth.to_frame("close") if isinstance(truth, pd.Series) else truth
    if "close" not in frame:
        raise ConfigError("truth needs a column 'close'")
    frame = frame[[column for column in ("close", "volume") if column in frame]]
    if isinstance(frame.index, pd.DatetimeIndex):
        frame = frame[~frame.index.duplicated(keep="last")].reindex(timestamps)
    else:  # no time stamps: the first row is the first step
        frame = frame.iloc[: len(timestamps)].reset_index(drop=True).reindex(range(len(timestamps)))
    if frame["close"].isna().all():
        raise ConfigError("truth has no close at any of the forecast's time stamps (is the time zone the same?)")
    return frame.astype(np.float64)


def _panes(figure: "Figure", *, start: int, bars: int, with_volume: bool) -> "tuple[Axes, Axes | None]":
    """The price pane and, if there is volume, a lower one for it."""
    figure.subplots_adjust(left=0.015, top=0.875, bottom=0.085, hspace=0.06)
    if not with_volume:
        price = figure.add_subplot()
        _dress(price, start, bars)
        return price, None
    grid = figure.add_gridspec(2, 1, height_ratios=[3.6, 1.0])
    price = figure.add_subplot(grid[0])
    volume = figure.add_subplot(grid[1], sharex=price)
    for pane in (price, volume):
        _dress(pane, start, bars)
    price.tick_params(labelbottom=False)
    return price, volume


def _dress(pane: "Axes", start: int, bars: int) -> None:
    """Grid, right-hand axis, and the ground of the forecast behind bar `start`; nothing is left to the user's style."""
    pane.set_facecolor(_PAPER)
    pane.set_axisbelow(True)
    pane.grid(True, color=_GRID, linewidth=0.6)
    pane.yaxis.tick_right()
    pane.tick_params(colors=_INK, labelsize=8, length=0)
    for side, spine in pane.spines.items():
        spine.set_visible(side in ("bottom", "right"))
        spine.set_color(_FAINT)
        spine.set_linewidth(0.7)
    pane.axvspan(start - 0.5, bars + 0.5, color=_AHEAD, zorder=0.1)
    pane.axvline(start - 0.5, color=_FAINT, linewidth=1.0, linestyle=(0, (4, 3)), zorder=1.5)
    pane.set_xlim(-0.8 if start else -1.2, bars - 0.2)


def _draw_prices(pane: "Axes", paths: Array, candles: Array, last_close: float) -> None:
    """History and median candles, and below the latter the fan of the close, opening from the last close."""
    horizon = paths.shape[1]
    start = len(candles) - horizon
    steps = np.arange(start - 1, len(candles))
    edges = [candles[:, LOW].min(), candles[:, HIGH].max(), last_close]
    if len(paths) > 1:
        for coverage, colour in _FAN:
            bounds = np.quantile(paths[..., CLOSE], [0.5 - coverage / 2, 0.5 + coverage / 2], axis=0)
            low, high = np.insert(bounds, 0, last_close, axis=1)
            pane.fill_between(steps, low, high, color=colour, linewidth=0, zorder=1.0, label=f"{coverage:.0%} of paths")
            edges += [low.min(), high.max()]
    line = np.insert(candles[start:, CLOSE], 0, last_close)
    label = "median close" if len(paths) > 1 else "sampled close"
    pane.plot(steps, line, color=_FORECAST, linewidth=1.5, zorder=2.0, label=label)
    pane.axhline(last_close, color=_FAINT, linewidth=0.8, linestyle=(0, (1, 2)), zorder=1.2)
    _add_candles(pane, candles)
    if horizon >= 0.08 * len(candles):  # else there is no room for the word
        words = pane.text(start - 0.5, 0.985, "  forecast", transform=pane.get_xaxis_transform(), va="top")
        words.set(fontsize=7.5, color=_FAINT)
    low, high = min(edges), max(edges)
    room = 0.05 * (high - low) or 0.01 * high
    pane.set_ylim(low - room, high + room)


def _add_candles(pane: "Axes", candles: Array) -> None:
    """All candles as four collections: thousands of separate patches would take seconds."""
    from matplotlib.collections import LineCollection, PolyCollection

    width = float(np.clip(150.0 / len(candles), 0.5, 1.1))
    rising = candles[:, CLOSE] >= candles[:, OPEN]
    for chosen, colour, inside, label in ((rising, _RISE, _PAPER, "rise"), (~rising, _FALL, _FALL, "fall")):
        x, bars = np.flatnonzero(chosen), candles[chosen]
        top, bottom = bars[:, [OPEN, CLOSE]].max(axis=1), bars[:, [OPEN, CLOSE]].min(axis=1)
        # Two wicks and not one line: a hollow body must not show its wick.
        upper = np.stack([np.column_stack([x, top]), np.column_stack([x, bars[:, HIGH]])], axis=1)
        lower = np.stack([np.column_stack([x, bars[:, LOW]]), np.column_stack([x, bottom])], axis=1)
        pane.add_collection(
            LineCollection(list(np.concatenate([upper, lower])), colors=colour, linewidths=width, zorder=3.0),
            autolim=False,
        )
        bodies = PolyCollection(
            list(_boxes(x, bottom, top)), facecolors=inside, edgecolors=colour, linewidths=width, zorder=3.1
        )
        bodies.set_label(label)
        pane.add_collection(bodies, autolim=False)


def _boxes(x: NDArray[np.intp], bottom: Array, top: Array) -> Array:
    """(N, 4, 2) corners of the boxes from `bottom` to `top` around every `x`."""
    left, right = x - _BODY / 2, x + _BODY / 2
    corners = ((left, bottom), (left, top), (right, top), (right, bottom))
    return np.stack([np.column_stack(corner) for corner in corners], axis=1)


def _draw_truth(pane: "Axes", closes: "pd.Series[float]", start: int, last_close: float) -> None:
    """The closes that came true, legible on every ground by a white halo; the axis is widened to hold them."""
    from matplotlib.patheffects import Normal, Stroke

    values = closes.to_numpy()
    pane.plot(
        np.arange(start - 1, start + len(values)),
        np.insert(values, 0, last_close),
        color=_TRUTH,
        linewidth=1.5,
        marker="o" if len(values) <= 30 else None,
        markersize=3.2,
        zorder=4.0,
        label="truth",
        path_effects=[Stroke(linewidth=3.2, foreground=_PAPER), Normal()],
    )
    low, high = pane.get_ylim()
    room = 0.04 * (high - low)
    pane.set_ylim(min(low, float(np.nanmin(values)) - room), max(high, float(np.nanmax(values)) + room))


def _draw_volume(pane: "Axes", paths: Array, candles: Array, truth: pd.DataFrame | None) -> None:
    """Past volume, the median forecast volume with its 80 % band, and the volume that came true as dashes."""
    from matplotlib.collections import PolyCollection
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    volume = candles[:, VOLUME]
    start = len(candles) - paths.shape[1]
    x = np.arange(len(candles))
    rising = candles[:, CLOSE] >= candles[:, OPEN]
    for chosen, colour in (
        (rising & (x < start), "#8cc4b6"),
        (~rising & (x < start), "#e0937f"),
        (x >= start, "#7f9cd6"),
    ):
        boxes = _boxes(x[chosen], np.zeros(int(chosen.sum())), volume[chosen])
        pane.add_collection(PolyCollection(list(boxes), facecolors=colour, linewidths=0, zorder=2.0), autolim=False)
    top = [volume.max()]
    if len(paths) > 1:
        low, high = np.quantile(paths[..., VOLUME], [0.1, 0.9], axis=0)
        edges = np.arange(start, len(candles) + 1) - 0.5
        pane.stairs(high, edges, baseline=low, fill=True, color=dict(_FAN)[0.80], zorder=1.8)
        top.append(high.max())
    if truth is not None and "volume" in truth and truth["volume"].notna().any():
        pane.hlines(truth["volume"], x[start:] - 0.4, x[start:] + 0.4, color=_TRUTH, linewidth=1.3, zorder=3.0)
        top.append(truth["volume"].max())
    pane.set_ylim(0.0, 1.08 * max(top))
    pane.yaxis.set_major_locator(MaxNLocator(nbins=3, steps=[1, 2, 5, 10]))
    pane.yaxis.set_major_formatter(FuncFormatter(lambda value, _: short_number(value)))
    pane.text(0.004, 0.93, "volume", transform=pane.transAxes, fontsize=7.5, va="top", color=_FAINT, bbox=_HALO)


# What is written ----------------------------------------------------------------------------------------------------


def _write_heading(
    figure: "Figure",
    paths: Array,
    timestamps: pd.DatetimeIndex,
    last_close: float,
    decimals: int,
    name: str,
    note: str,
) -> None:
    """The name, and below it the forecast in numbers."""
    fonts = heading_fonts()
    samples, horizon = paths.shape[:2]
    low, middle, high = np.quantile(paths[:, -1, CLOSE], [0.05, 0.5, 0.95])
    until = f"{timestamps[-1]:%Y-%m-%d %H:%M:%S}".removesuffix(":00").removesuffix(" 00:00")
    facts = [
        f"{samples:,} path{'s' * (samples > 1)} × {horizon} bar{'s' * (horizon > 1)} to {until}",
        f"last close {last_close:,.{decimals}f}",
        f"{'median' if samples > 1 else 'sample'} {middle:,.{decimals}f} ({middle / last_close - 1.0:+.2%})",
    ]
    if samples > 1:
        facts.append(f"90% of paths {low:,.{decimals}f} to {high:,.{decimals}f}")
    style: dict[str, Any] = {"fontweight": "bold", "family": fonts, "parse_math": False}  # a symbol may hold a dollar
    figure.text(0.015, 0.985, drawable(name, fonts, weight="bold"), fontsize=13, va="top", color=_INK, **style)
    figure.text(0.015, 0.925, "  ·  ".join([*facts, note] if note else facts), fontsize=8.5, va="top", color=_FAINT)


def _label_prices(figure: "Figure", pane: "Axes", end: float, last_close: float) -> int:
    """Write the price axis and two tags on it, the last close and where the forecast ends; returns the decimals."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    low, high = pane.get_ylim()
    locator = MaxNLocator(nbins=7, steps=[1, 2, 5, 10])
    ticks = locator.tick_values(low, high)
    decimals = max(0, -int(np.floor(np.log10(ticks[1] - ticks[0]) + 1e-9)))
    pane.yaxis.set_major_locator(locator)
    pane.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.{decimals}f}"))
    finer = decimals_of(last_close, high - low)
    tags = [(last_close, last_close, _FAINT), (end, end, _FORECAST)]
    longest = max(len(f"{value:,.{finer}f}") for value, _, _ in tags)  # a meme coin's price has a dozen characters
    figure.subplots_adjust(right=1.0 - 0.022 - 0.0068 * longest)
    nearest = 0.045 * (high - low)  # the height of a tag: two nearer than that would cover each other
    shift = nearest - abs(end - last_close)
    if shift > 0:
        away = 1.0 if end >= last_close else -1.0
        tags = [(last_close, last_close - away * shift / 2, _FAINT), (end, end + away * shift / 2, _FORECAST)]
    for value, place, colour in tags:
        pane.annotate(
            f"{value:,.{finer}f}",
            (1.0, place),
            xycoords=("axes fraction", "data"),
            xytext=(3, 0),
            textcoords="offset points",
            fontsize=7.5,
            color=_PAPER,
            va="center",
            bbox={"boxstyle": "square,pad=0.25", "facecolor": colour, "edgecolor": "none"},
            zorder=5,
        )
    return finer


def _label_time(pane: "Axes", times: pd.DatetimeIndex) -> None:
    """Label the bars at which an hour, a day, a month ... begins with the time that they have."""
    from matplotlib.ticker import FixedFormatter, FixedLocator

    wall = times.tz_localize(None).to_numpy("datetime64[s]")
    places, unit = time_ticks(wall)
    pane.xaxis.set_major_locator(FixedLocator([float(place) for place in places]))
    pane.xaxis.set_major_formatter(FixedFormatter(time_labels(times[places], unit)))

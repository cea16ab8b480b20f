"""The chart of one period: price and volume, where the forecast starts, what was said and what came; a pane a model.

All panes have the same scales, so that models can be compared by eye. As in every chart of this package, bars are drawn
against their number and no display is needed.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kronos.bars import Forecast
from kronos.bars.candles import CLOSE, HIGH, LOW, OPEN, VOLUME
from kronos.bars.plot import picture_format
from kronos.bars.plot_labels import drawable, heading_fonts, short_number, time_labels, time_ticks
from kronos.evaluate.protocols.periods_run import View
from kronos.writing import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = NDArray[np.float64]

INK, FAINT, GRID, PAPER, AHEAD = "#1f2933", "#7b8794", "#e4e7eb", "#ffffff", "#f7f8fb"
_FORECAST, _TRUTH = "#2950a3", "#111111"
_BANDS = ((0.90, "#dfe6f5"), (0.50, "#9db4e2"))
_RISE, _FALL = "#8cc4b6", "#e0937f"

_WIDTH, _HEIGHT, _COLUMNS = 5.6, 4.2, 2  # inches of a model's panes; models beside each other
_HEAD = 0.5


def draw_period(view: View, out: Path) -> Path:
    """Draw a period's last window for every model and write it (.png, .svg or .pdf)."""
    kind = picture_format(out)
    figure = _draw(view)
    with replacing(out) as temporary:
        figure.savefig(temporary, format=kind)
    return out


def new_figure(width: float, height: float) -> "Figure":
    """A figure of so many inches that no global registry knows."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=110, facecolor=PAPER)
    FigureCanvasAgg(figure)
    return figure


def dress(pane: "Axes") -> None:
    """Ground, grid, and frame of a pane; nothing is left to the user's style."""
    pane.set_facecolor(PAPER)
    pane.set_axisbelow(True)
    pane.grid(True, color=GRID, linewidth=0.6)
    pane.tick_params(colors=INK, labelsize=7.5, length=0)
    for side, spine in pane.spines.items():
        spine.set_visible(side in ("bottom", "left"))
        spine.set_color(FAINT)
        spine.set_linewidth(0.7)


def write_heading(figure: "Figure", title: str, facts: str) -> None:
    """The title, and below it the facts; inches from the top, so that tall figures have no larger gap."""
    fonts = heading_fonts()
    width, height = figure.get_size_inches()
    style: dict[str, Any] = {"family": fonts, "va": "top", "parse_math": False}
    left = 0.12 / width
    text = drawable(title, fonts, weight="bold")
    figure.text(left, 1 - 0.1 / height, text, fontsize=12, fontweight="bold", color=INK, **style)
    figure.text(left, 1 - 0.36 / height, drawable(facts, fonts), fontsize=8, color=FAINT, **style)


def _draw(view: View) -> "Figure":
    models = list(view.forecasts)
    columns = min(len(models), _COLUMNS)
    rows = -(-len(models) // columns)
    width, height = _WIDTH * columns + 0.3, _HEIGHT * rows + _HEAD
    figure = new_figure(width, height)
    first, stop = view.origin - view.lookback, view.origin + len(next(iter(view.forecasts.values())).timestamps)
    bars = view.series.bars[first:stop]
    traded = bool((bars[:, VOLUME] > 0).any())
    limits = _limits(bars, view.forecasts)
    for number, model in enumerate(models):
        left = (0.6 + _WIDTH * (number % columns)) / width
        bottom = 1 - (_HEAD + _HEIGHT * (number // columns + 1) - 0.45) / height
        inner, tall = (_WIDTH - 0.75) / width, (_HEIGHT - 0.75) / height
        cut = 0.24 * tall if traded else 0.0
        price = figure.add_axes((left, bottom + cut, inner, tall - cut))
        _draw_price(price, bars, view.lookback, view.forecasts[model], limits)
        price.set_title(_caption(model, view.figures[model]), fontsize=8.5, color=INK, loc="left", parse_math=False)
        lowest = price
        if traded:
            lowest = figure.add_axes((left, bottom, inner, cut * 0.88), sharex=price)
            _draw_volume(lowest, bars, view.lookback, view.forecasts[model])
            price.tick_params(labelbottom=False)
        _label_time(lowest, view.series.times[first:stop])
    handles, labels = figure.axes[0].get_legend_handles_labels()
    anchor = (1 - 0.1 / width, 1 - 0.08 / height)
    figure.legend(
        handles, labels, loc="upper right", bbox_to_anchor=anchor, ncols=5 if columns > 1 else 3, frameon=False,
        fontsize=7.5, labelcolor=INK, handlelength=1.4, columnspacing=1.2,
    )  # fmt: skip
    regime = view.regime
    facts = (
        f"{view.market}: {np.expm1(regime.log_return):+.1%}, {regime.volatility:.2%} a bar, trend {regime.trend:+.1f}"
    )
    shape = f"{view.lookback} bars known, {stop - view.origin} predicted"
    number = len(view.period.origins)
    window = f" (the last of {number} windows)" if number > 1 else ""
    title = f"{view.series.name} · {view.period.name}"
    write_heading(figure, title, f"{facts}  ·  {shape}{window}" if columns > 1 else facts)
    return figure


def _caption(model: str, figures: Mapping[str, Any]) -> str:
    correlation = figures["close_correlation"]
    shape = f"corr {correlation:+.2f}" if np.isfinite(correlation) else "no corr"
    return (
        f"{model}   {shape} · direction {figures['direction_steps']:.0%} of steps · MAPE {figures['mape']:.1f} % · "
        f"90 % band held {figures['cover90']:.0%}"
    )


def _limits(bars: Array, forecasts: Mapping[str, Forecast]) -> tuple[float, float]:
    """The lowest and highest price that any pane shows."""
    edges = [bars[:, LOW].min(), bars[:, HIGH].max()]
    for forecast in forecasts.values():
        edges += np.quantile(forecast.paths[..., CLOSE], (0.05, 0.95), axis=0).ravel().tolist()
    low, high = float(min(edges)), float(max(edges))
    room = 0.04 * (high - low) or 0.01 * high
    return low - room, high + room


def _draw_price(pane: "Axes", bars: Array, start: int, forecast: Forecast, limits: tuple[float, float]) -> None:
    """Closes within the range of their bars, and from the last known one on the bands, the median, and the truth."""
    dress(pane)
    _mark_start(pane, start, len(bars))
    x = np.arange(len(bars))
    pane.fill_between(x, bars[:, LOW], bars[:, HIGH], color="#cdd5dd", linewidth=0, zorder=1.2)
    pane.plot(x[:start], bars[:start, CLOSE], color=INK, linewidth=0.8, zorder=2.5)
    ahead = x[start - 1 :]
    closes = forecast.paths[..., CLOSE]
    for share, colour in _BANDS:
        band = np.quantile(closes, (0.5 - share / 2, 0.5 + share / 2), axis=0)
        low, high = np.insert(band, 0, forecast.last_close, axis=1)
        pane.fill_between(ahead, low, high, color=colour, linewidth=0, zorder=1.5, label=f"{share:.0%} of paths")
    median = np.insert(np.median(closes, axis=0), 0, forecast.last_close)
    pane.plot(ahead, median, color=_FORECAST, linewidth=1.6, zorder=3.0, label="median")
    pane.plot(ahead, bars[start - 1 :, CLOSE], color=_TRUTH, linewidth=1.2, zorder=3.5, label="truth")
    pane.set_ylim(*limits)
    pane.set_xlim(-1, len(bars))


def _draw_volume(pane: "Axes", bars: Array, start: int, forecast: Forecast) -> None:
    """Volume as it came, rising and falling bars apart, and the median of the one predicted."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    dress(pane)
    _mark_start(pane, start, len(bars))
    x, volume = np.arange(len(bars)), bars[:, VOLUME]
    rising = bars[:, CLOSE] >= bars[:, OPEN]
    for chosen, colour in ((rising, _RISE), (~rising, _FALL)):
        pane.vlines(x[chosen], 0, volume[chosen], color=colour, linewidth=0.7, zorder=2.0)
    said = np.median(forecast.paths[..., VOLUME], axis=0)
    pane.plot(x[start:], said, color=_FORECAST, linewidth=1.2, zorder=3.0)
    # one burst of trading would press everything else to the ground
    top = max(float(np.quantile(volume, 0.99)), float(said.max())) or 1.0
    pane.set_ylim(0.0, 1.1 * top)
    pane.yaxis.set_major_locator(MaxNLocator(nbins=2, steps=[1, 2, 5, 10]))
    pane.yaxis.set_major_formatter(FuncFormatter(lambda value, _: short_number(value)))
    pane.text(0.006, 0.92, "volume", transform=pane.transAxes, fontsize=7, va="top", color=FAINT)


def _mark_start(pane: "Axes", start: int, bars: int) -> None:
    pane.axvspan(start - 0.5, bars, color=AHEAD, zorder=0.1)
    pane.axvline(start - 0.5, color=INK, linewidth=1.0, linestyle=(0, (4, 3)), zorder=2.8, label="forecast starts")


def _label_time(pane: "Axes", times: NDArray[np.datetime64]) -> None:
    from matplotlib.ticker import FixedFormatter, FixedLocator

    places, unit = time_ticks(times.astype("datetime64[s]"))
    pane.xaxis.set_major_locator(FixedLocator([float(place) for place in places]))
    pane.xaxis.set_major_formatter(FixedFormatter(time_labels(pd.DatetimeIndex(times[places]), unit)))

"""Drawing a training run: a row for every stage, with its losses, its learning rate, and what it is trained for.

Like every chart of this package it needs no display and leaves nothing in matplotlib's global state. Whether a network
has begun to learn its training bars by heart is decided here too, because the chart and the run's own words must agree.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kronos.bars.plot import picture_format
from kronos.bars.plot_labels import drawable, heading_fonts, short_number
from kronos.errors import SourceError
from kronos.train.metrics import METRICS_FILE, Line, read_metrics
from kronos.writing import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PICTURE_FILE = "training.png"

Curve = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Steps, and a figure at each; only finite ones."""

_INK, _FAINT, _GRID, _PAPER = "#1f2933", "#7b8794", "#e4e7eb", "#ffffff"
_TRAIN, _TRAIN_RAW, _VALID, _ALARM, _ALARM_GROUND = "#2950a3", "#c3d1ee", "#d9730d", "#b42318", "#fdecea"
_PARTS = ("#2950a3", "#0f8a70", "#8a4fb5", "#b8860b")
_HALO = {"boxstyle": "square,pad=0.2", "facecolor": _PAPER, "edgecolor": "none", "alpha": 0.8}

_WIDTH, _HEAD, _ROW, _SENTENCE, _PANE = 12.6, 0.5, 3.12, 0.21, 2.1  # inches: figure, heading, row, warning, panes
_PANES = ((0.50, 4.55), (5.75, 2.75), (9.35, 3.05))  # inches from the left, and wide
_MOST_POINTS = 4000  # more than there are pixels; a curve of them all would only be slower

_GENERAL = ("step", "lr", "loss", "grad_norm", "tokens_per_second")


def draw_run(run: Path, out: Path | None = None) -> Path:
    """Draw the run in this folder, or all runs below it (stages, members of an ensemble); RUN/training.png by default.

    A run that is still going is drawn as far as it is. The suffix of `out` says whether it is a png, svg or pdf.
    """
    target = run / PICTURE_FILE if out is None else out
    kind = picture_format(target)
    stages = [(name, read_metrics(folder)) for name, folder in _stages(run)]
    if not stages:
        raise SourceError(f"{run}: there is no {METRICS_FILE} in this folder or below it; name the folder of a run")
    if not any(lines for _, lines in stages):
        raise SourceError(f"{run}: nothing has been logged yet")
    figure = _draw(run.resolve().name, stages)
    with replacing(target) as temporary:
        figure.savefig(temporary, format=kind)
    return target


def overfitting(lines: Sequence[Line]) -> str | None:
    """A sentence with the figures where validation got worse since its best while the training loss went on falling.

    Worse means by more than half a per cent, and by more than any setback from which validation recovered before, so
    that a curve that is merely flat, or rough, is not accused. The training loss is compared over as many steps as lie
    between the last two validations, up to the best one and up to the last.
    """
    held, train = _curve(lines, "val_loss"), _curve(lines, "loss")
    if len(held[0]) < 2:
        return None
    at = int(np.argmin(held[1]))
    best, last = float(held[1][at]), float(held[1][-1])
    setbacks = held[1] - np.minimum.accumulate(held[1])
    if last - best <= max(0.005 * abs(best), setbacks[: at + 1].max()):
        return None
    began, ended, before = held[0][at], held[0][-1], held[0][-2]
    done = train[0] <= ended
    until, after = train[1][train[0] <= began], train[1][done & (train[0] > began)]
    width = min(max(int((done & (train[0] > before)).sum()), 10), len(after))
    if not width:
        return None
    early = until[-width:] if len(until) else after[:width]
    if after[-width:].mean() >= early.mean():
        return None
    return (
        f"overfitting since step {began:,.0f}: validation loss rose from {best:.4f} to {last:.4f} (step {ended:,.0f}) "
        f"while training loss fell from {early.mean():.4f} to {after[-width:].mean():.4f}"
    )


# Figures --------------------------------------------------------------------------------------------------------------


def _stages(run: Path) -> list[tuple[str, Path]]:
    """Names and folders of the runs in and below a folder: members in order, the tokenizer before the predictor."""
    patterns = ("*/" * depth + METRICS_FILE for depth in range(4))
    found = (path.parent for pattern in patterns for path in run.glob(pattern))
    folders = [folder for folder in found if not any(part.startswith(".") for part in folder.relative_to(run).parts)]

    def place(folder: Path) -> tuple[Any, ...]:
        parts = folder.relative_to(run).parts
        numbers = [int(digits) for part in parts if (digits := "".join(filter(str.isdigit, part)))]
        return (numbers, "tokenizer" not in folder.name, parts)

    def name(folder: Path) -> str:
        return " · ".join(part for part in folder.relative_to(run).parts if part != "runs")

    return [(name(folder), folder) for folder in sorted(folders, key=place)]


def _curve(lines: Sequence[Line], name: str) -> Curve:
    points = [(line["step"], line[name]) for line in lines if math.isfinite(line.get(name, math.nan))]
    steps, values = np.array(points, dtype=np.float64).reshape(-1, 2).T
    return steps, values


def _smooth(curve: Curve) -> Curve:
    """Means around every point: over a thirtieth of the run, less near the beginning, where losses fall steeply."""
    steps, values = curve
    place = np.arange(len(values))
    reach = np.minimum(len(values) // 60, place)
    sums = np.concatenate([[0.0], np.cumsum(values)])
    first, last = place - reach, np.minimum(place + reach + 1, len(values))
    return steps, (sums[last] - sums[first]) / (last - first)


def _thin(curve: Curve) -> Curve:
    """The lowest and the highest point of every stretch, where there are more points than can be seen."""
    steps, values = curve
    if len(values) <= _MOST_POINTS:
        return curve
    stretches = np.array_split(np.arange(len(values)), _MOST_POINTS // 2)
    ends = ((part[np.argmin(values[part])], part[np.argmax(values[part])]) for part in stretches)
    chosen = np.unique(np.array([place for pair in ends for place in pair]))
    return steps[chosen], values[chosen]


def _facts(lines: Sequence[Line]) -> list[str]:
    """The row in numbers."""
    done = max(int(line["step"]) for line in lines)
    facts = [f"{done:,} step{'s' * (done != 1)}"]
    steps, values = _curve(lines, "val_loss")
    if len(steps):
        facts.append(f"best validation loss {values.min():.4f} at step {steps[values.argmin()]:,.0f}")
    steps, values = _curve(lines, "task_crps")
    baseline, covered = (_curve(lines, f"task_{name}")[1] for name in ("hv20_crps", "cover90"))
    if len(steps):
        best = f"best CRPS {values.min():.4g} at step {steps[values.argmin()]:,.0f}"
        facts.append(best + (f" (volatility baseline {baseline[-1]:.4g})" if len(baseline) else ""))
    if len(covered):
        facts.append(f"90% intervals hold {covered[-1]:.0%}")
    speed = _curve(lines, "tokens_per_second")[1]
    if len(speed):
        facts.append(f"{np.median(speed):,.0f} tokens/s")
    return facts


def _alarm(lines: Sequence[Line]) -> str | None:
    """What has gone wrong, if anything has."""
    losses = [(line["step"], line["loss"]) for line in lines if "loss" in line]
    good = max((step for step, loss in losses if math.isfinite(loss)), default=0)
    if losses and losses[-1][0] > good:
        return f"the loss has been no number since step {min(step for step, _ in losses if step > good):,}"
    return overfitting(lines)


# The figure -----------------------------------------------------------------------------------------------------------


def _draw(title: str, stages: Sequence[tuple[str, Sequence[Line]]]) -> "Figure":
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    alarms = [_alarm(lines) for _, lines in stages]
    height = _HEAD + sum(_ROW + _SENTENCE * (alarm is not None) for alarm in alarms)
    figure = Figure(figsize=(_WIDTH, height), dpi=min(120, int(60_000 / height)), facecolor=_PAPER)
    FigureCanvasAgg(figure)
    _write(figure, 0.18, height - 0.14, title, 13, _INK, bold=True)
    top = height - _HEAD
    for (name, lines), alarm in zip(stages, alarms, strict=True):
        end = _write(figure, 0.18, top - 0.03, name, 10.5, _INK, bold=True, room=5.0) + 0.14 if name else 0.18
        facts = "  ·  ".join(_facts(lines)) if lines else "nothing has been logged yet"
        _write(figure, end, top - 0.06, facts, 8.5, _FAINT)
        if alarm is not None:
            _write(figure, 0.18, top - 0.27, alarm, 8.5, _ALARM)
            top -= _SENTENCE
        bottom = (top - 0.53 - _PANE) / height
        losses, rate, task = (
            figure.add_axes((left / _WIDTH, bottom, wide / _WIDTH, _PANE / height)) for left, wide in _PANES
        )
        _draw_losses(losses, lines)
        _draw_rate(rate, lines)
        _draw_task(task, lines)
        for pane in (losses, rate, task):
            _label_steps(pane, lines)
        top -= _ROW
    return figure


def _write(
    figure: "Figure",
    left: float,
    top: float,
    text: str,
    size: float,
    colour: str,
    *,
    bold: bool = False,
    room: float = 0,
) -> float:
    """Write one line of text, its middle left out where it is too long for its room; where it ends. All in inches."""
    fonts, weight = heading_fonts(), "bold" if bold else "normal"
    text = drawable(text, fonts, weight=weight)
    width, height = figure.get_size_inches()
    room = room or width - left - 0.18
    words = figure.text(left / width, top / height, text, fontsize=size, va="top", color=colour)
    words.set(fontweight=weight, family=fonts, parse_math=False)  # a folder's name may hold a dollar

    def extent() -> float:
        return float(words.get_window_extent().width / figure.dpi)

    kept = len(text)
    while extent() > room and kept > 8:
        kept = min(int(kept * room / extent()), kept - 1)
        words.set_text(f"{text[: kept - kept // 2]}…{text[len(text) - kept // 2 :]}")
    return left + extent()


def _dress(pane: "Axes", title: str) -> None:
    """Grid and axes of our own, so that nothing is left to the user's style, and what the pane shows."""
    pane.set_facecolor(_PAPER)
    pane.set_axisbelow(True)
    pane.grid(True, color=_GRID, linewidth=0.6)
    pane.tick_params(which="both", colors=_INK, labelsize=8, length=0)
    for side, spine in pane.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(_FAINT)
        spine.set_linewidth(0.7)
    pane.text(0.0, 1.035, title, transform=pane.transAxes, fontsize=8.5, fontweight="bold", color=_INK)


def _legend(pane: "Axes", handles: Sequence[Any]) -> None:
    """Above the pane, at its right, because inside it the curves would be in the way; two rows where they are many."""
    if handles:
        pane.legend(
            handles=list(handles),
            loc="lower right",
            bbox_to_anchor=(1.0, 1.005),
            ncols=len(handles) if len(handles) <= 3 else 2,
            frameon=False,
            fontsize=7.5,
            labelcolor=_INK,
            handlelength=1.3,
            handletextpad=0.5,
            columnspacing=1.1,
            borderaxespad=0.0,
            borderpad=0.2,
        )


def _label_steps(pane: "Axes", lines: Sequence[Line]) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    last = max((line["step"] for line in lines), default=0) or 1
    pane.set_xlim(-0.02 * last, 1.02 * last)
    pane.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True, steps=[1, 2, 2.5, 5, 10]))
    pane.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short_number(value)))
    _below(pane, 1.0, "step", "right")


def _below(pane: "Axes", place: float, text: str, side: str) -> None:
    """A faint word under the numbers of the x axis."""
    below: dict[str, Any] = {"textcoords": "offset points", "va": "top", "fontsize": 7.5, "color": _FAINT}
    pane.annotate(text, (place, 0.0), (0, -15), "axes fraction", ha=side, **below)


def _say_nothing(pane: "Axes", text: str) -> None:
    pane.text(0.5, 0.5, text, transform=pane.transAxes, ha="center", va="center", fontsize=8.5, color=_FAINT)
    pane.set_yticks([])


# The panes ------------------------------------------------------------------------------------------------------------


def _draw_losses(pane: "Axes", lines: Sequence[Line]) -> None:
    """Training as it was and smoothed, validation, its best, and since when the two have gone apart."""
    _dress(pane, "loss")
    train, held = _curve(lines, "loss"), _curve(lines, "val_loss")
    handles = []
    if len(train[0]):
        smooth = _smooth(train)
        _line(pane, _thin(train), _TRAIN_RAW, 0.8)
        handles += _line(pane, _thin(smooth), _TRAIN, 1.6, "training")
        _scale(pane, [smooth, held], noise=train)
    elif len(held[0]):
        _scale(pane, [held])
    else:
        _say_nothing(pane, "no loss yet")
    if len(held[0]):
        handles += _line(pane, held, _VALID, 1.4, "validation", dots=True)
        spoilt = overfitting(lines) is not None
        _mark_best(pane, held, spoilt=spoilt)
    _legend(pane, handles)


def _draw_rate(pane: "Axes", lines: Sequence[Line]) -> None:
    """The learning rate, and faintly the gradient's norm on an axis of its own."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    rate, norm = _curve(lines, "lr"), _curve(lines, "grad_norm")
    _dress(pane, "learning rate")
    if not len(rate[0]):
        _say_nothing(pane, "no step yet")
        return
    _line(pane, _thin(rate), _INK, 1.6)
    pane.set_ylim(0.0, 1.12 * (rate[1].max() or 1.0))
    pane.yaxis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 5, 10]))
    pane.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))
    if len(norm[0]):
        other = pane.twinx()
        other.set_zorder(pane.get_zorder() - 1)
        pane.patch.set_visible(False)
        pane.grid(False, axis="y")  # there are two of them now
        for spine in other.spines.values():
            spine.set_visible(False)
        other.tick_params(colors=_FAINT, labelsize=8, length=0)
        smooth = _smooth(norm)
        _line(other, _thin(norm), "#e5e8ec", 0.7)
        handles = _line(other, _thin(smooth), "#a3adb8", 1.2, "gradient norm")
        other.set_ylim(0.0, 1.15 * max(float(np.quantile(norm[1], 0.99)), float(smooth[1].max())) or 1.0)
        other.yaxis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 5, 10]))
        other.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))
        _legend(pane, handles)


def _draw_task(pane: "Axes", lines: Sequence[Line]) -> None:
    """How good forecasts are, with what a simple baseline scores on the same ones; else what the loss is made of."""
    crps = _curve(lines, "task_crps")
    if not len(crps[0]):
        _draw_parts(pane, lines)
        return
    _dress(pane, "CRPS")
    handles = _line(pane, crps, _VALID, 1.4, "this network", dots=True)
    shown = [crps]
    for name in sorted(
        {name for line in lines for name in line if name.startswith("task_") and name.endswith("_crps")}
    ):
        if name != "task_crps":
            curve = _curve(lines, name)
            shown.append(curve)
            label = "baseline" if name == "task_hv20_crps" else name[len("task_") : -len("_crps")]
            handles += _line(pane, curve, _FAINT, 1.2, label, dots=len(curve[0]) == 1, style=(0, (4, 2)))
    _scale(pane, shown)
    _mark_best(pane, crps, brief=True)
    _legend(pane, handles)


def _draw_parts(pane: "Axes", lines: Sequence[Line]) -> None:
    names = list(dict.fromkeys(name for line in lines for name in line if name not in _GENERAL))
    names = list(dict.fromkeys(name.removeprefix("val_") for name in names if not name.startswith("task_")))
    curves = [(name, _curve(lines, name), _curve(lines, f"val_{name}")) for name in names if name != "loss"]
    curves = [one for one in curves if len(one[1][0]) or len(one[2][0])]
    _dress(pane, "forecasts" if not curves else "parts" if len(curves) <= len(_PARTS) else "first parts")
    curves = curves[: len(_PARTS)]
    if not curves:
        _say_nothing(pane, "no score of forecasts, no parts of the loss")
        return
    handles = []
    for (name, train, held), colour in zip(curves, _PARTS, strict=False):
        label = name.replace("_", " ")
        if len(held[0]):
            handles += _line(pane, held, colour, 1.3, label, dots=True)
        drawn = _line(pane, _thin(_smooth(train)), colour, 1.0, label, alpha=0.4 if len(held[0]) else 1.0)
        handles += [] if len(held[0]) else drawn
    if any(len(train[0]) and len(held[0]) for _, train, held in curves):
        _below(pane, 0.0, "faint: in training", "left")
    _scale(pane, [_smooth(train) for _, train, _ in curves] + [held for _, _, held in curves])
    _legend(pane, handles)


def _line(
    pane: "Axes",
    curve: Curve,
    colour: str,
    width: float,
    label: str = "",
    *,
    dots: bool = False,
    alpha: float = 1.0,
    style: Any = "-",
) -> list[Any]:
    """One curve; dots where asked for and few enough, and where a single point would else be nothing."""
    few = len(curve[0]) == 1 or (dots and len(curve[0]) <= 60)
    drawn = pane.plot(*curve, color=colour, linewidth=width, label=label, alpha=alpha, linestyle=style)
    if few:
        drawn[0].set(marker="o", markersize=3.2)
    return drawn


def _mark_best(pane: "Axes", curve: Curve, *, spoilt: bool = False, brief: bool = False) -> None:
    """A dot, a line and a label at the lowest point; what follows it is shaded where it spoilt the network."""
    steps, values = curve
    at, last = int(np.argmin(values)), steps[-1]
    share = steps[at] / last if last else 0.0
    pane.plot(steps[at], values[at], "o", color=_VALID, markersize=6.5, markeredgecolor=_PAPER, zorder=5)
    pane.axvline(steps[at], color=_VALID, linewidth=0.9, linestyle=(0, (3, 2)), zorder=7)
    left = share > (0.4 if spoilt else 0.58)  # of its line, where there is room
    across = pane.get_xaxis_transform()
    style: dict[str, Any] = {"fontsize": 7.5, "va": "top", "zorder": 6}
    text = f" best {values[at]:.4g} " if brief else f" best {values[at]:.4g} at step {steps[at]:,.0f} "
    side = "right" if left else "left"
    pane.text(steps[at], 0.985, text, transform=across, ha=side, color=_VALID, bbox=None if spoilt else _HALO, **style)
    if spoilt:
        pane.axvspan(steps[at], last, color=_ALARM_GROUND, zorder=0.1, linewidth=0)
        place, height, side = ((steps[at] + last) / 2, 0.985, "center") if left else (last, 0.985, "right")
        if share > 0.83:  # the word is wider than what it is about
            place, height, side = last, 0.9, "right"
        pane.text(place, height, "overfitting", transform=across, ha=side, color=_ALARM, **style)


def _scale(pane: "Axes", curves: Sequence[Curve], noise: Curve | None = None) -> None:
    """The y axis: what matters fills it, with room above for labels; where a curve begins far above, it is cut there.

    `noise` is the curve that others smooth: its rare outliers need not be seen.
    """
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

    steps, values = (np.concatenate([curve[part] for curve in curves]) for part in (0, 1))
    low, high = float(values.min()), float(values.max())
    start = high
    later = values[steps > 0.08 * steps.max()]
    if len(later) >= 12:
        high = min(high, later.max() + 0.5 * (later.max() - low))
    if noise is not None and len(noise[1]) > 1:
        low = min(low, float(np.quantile(noise[1], 0.005)))
        high = max(high, min(float(np.quantile(noise[1][len(noise[1]) // 12 :], 0.995)), 2 * high - low))
    if low > 0 and high / low > 8:
        pane.set_yscale("log")
        pane.set_ylim(low * (low / high) ** 0.06, high * (high / low) ** 0.2)
        pane.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if high / low < 1000 else (1.0,)))
        pane.yaxis.set_minor_formatter(NullFormatter())
    else:
        span = high - low or 0.02 * abs(high) or 1.0
        pane.set_ylim(low - 0.08 * span, high + 0.22 * span)
        pane.yaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10]))
    pane.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.5g}"))
    if start > pane.get_ylim()[1]:  # said in the column of the axis' numbers, where it is in nobody's way
        pane.text(-0.01, 1.035, f"↑{start:.3g}", transform=pane.transAxes, fontsize=7.5, ha="right", color=_FAINT)

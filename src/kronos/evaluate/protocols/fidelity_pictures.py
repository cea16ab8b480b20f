"""The picture of generated sequences beside real ones: what they look like, and their stylised facts."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from kronos.evaluate.benchmark import picture_frame as frame
from kronos.evaluate.protocols.fidelity import Sequences
from kronos.evaluate.protocols.stylised import LAGS, kurtosis, lagged, summed
from kronos.writing import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Array = NDArray[np.float64]

_REAL, _MADE = "#3e4c59", "#d55e00"
_SHOWN = 40  # sequences drawn as lines
_EDGES = np.linspace(-8.0, 8.0, 65)


def draw_fidelity(sequences: Sequences, title: str, path: Path) -> None:
    """Lines of both, the distribution of returns, memory of returns and of their sizes, leverage, and sums."""
    figure = frame.new_figure(5.6)
    note = f"{len(sequences):,} sequences of {sequences.real.shape[1]} bars each, in volatilities u of their look-back"
    frame.head(figure, f"Real and generated: {frame.shown(title)}", note)
    panes = frame.add_panes(figure, 6, columns=3, left=0.55, top=0.95, row_gap=0.85, gap=0.55)
    real, made = sequences.real[..., 0], sequences.made[..., 0]
    _draw_lines(panes[:2], real, made)
    _draw_density(panes[2], real, made)
    _draw_memory(panes[3], real, made)
    _draw_leverage(panes[4], real, made)
    _draw_sums(panes[5], real, made)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", metadata={"Software": None})


def _draw_lines(panes: "list[Axes]", real: Array, made: Array) -> None:
    rows = np.unique(np.linspace(0, len(real) - 1, min(_SHOWN, len(real))).round().astype(np.int64))
    walks = [np.cumsum(np.pad(one[rows], ((0, 0), (1, 0))), axis=1) for one in (real, made)]
    reach = 1.05 * max(float(np.abs(walk).max()) for walk in walks)
    for pane, walk, name, colour in zip(panes, walks, ("real", "generated"), (_REAL, _MADE), strict=True):
        frame.dress(pane, f"{name}: {len(rows)} of them", below="bars; log return since the origin, in u")
        pane.plot(walk.T, color=colour, linewidth=0.7, alpha=0.55)
        pane.set_ylim(-reach, reach)
        pane.set_xlim(0, real.shape[1])


def _draw_density(pane: "Axes", real: Array, made: Array) -> None:
    frame.dress(pane, "one-bar returns, log density", below="return in u (dotted: Gaussian)")
    middle = 0.5 * (_EDGES[1:] + _EDGES[:-1])
    for values, name, colour in ((real, "real", _REAL), (made, "generated", _MADE)):
        counts = np.histogram(np.clip(values, _EDGES[0], _EDGES[-1]), _EDGES)[0]
        density = counts / (values.size * (_EDGES[1] - _EDGES[0]))
        pane.step(middle, np.where(density > 0, density, np.nan), where="mid", color=colour, label=name, linewidth=1.3)
    spread = float(real.std())
    pane.plot(middle, np.exp(-0.5 * (middle / spread) ** 2) / spread / np.sqrt(2 * np.pi), ":", color=frame.FAINT)
    pane.set_xticks([-8, -4, 0, 4, 8], ["< -8", "-4", "0", "4", "> 8"])
    pane.set_yscale("log")
    pane.set_ylim(0.3 / (real.size * (_EDGES[1] - _EDGES[0])), 2.0)
    pane.tick_params(axis="y", which="both", left=False)
    pane.legend(fontsize=frame.SMALL, frameon=False, loc="upper left", handlelength=1.2, borderaxespad=0.1)


def _draw_memory(pane: "Axes", real: Array, made: Array) -> None:
    frame.dress(pane, "autocorrelation", below="lag; filled: of sizes |r|, hollow: of returns")
    _band(pane, real)
    for values, colour in ((real, _REAL), (made, _MADE)):
        lags, sizes, returns = _lags(values), lagged(np.abs(values), LAGS), lagged(values, LAGS)
        pane.plot(lags, sizes, "o-", color=colour, markersize=4, linewidth=1.2)
        pane.plot(lags, returns, "o--", color=colour, markersize=4, linewidth=0.8, markerfacecolor=frame.PAPER)


def _draw_leverage(pane: "Axes", real: Array, made: Array) -> None:
    frame.dress(pane, "leverage: r with later |r|", below="lag; below 0: unrest follows falls")
    _band(pane, real)
    for values, colour in ((real, _REAL), (made, _MADE)):
        pane.plot(_lags(values), lagged(values, LAGS, np.abs(values)), "o-", color=colour, markersize=4, linewidth=1.2)


def _draw_sums(pane: "Axes", real: Array, made: Array) -> None:
    frame.dress(pane, "excess kurtosis of sums", below="bars summed up; 0: a Gaussian")
    counts = [count for count in (1, 2, 3, 4, 6, 8, 12, 16, 24) if count <= real.shape[1]]
    for values, colour in ((real, _REAL), (made, _MADE)):
        tails = [kurtosis(summed(values, count)) for count in counts]
        pane.plot(range(len(counts)), tails, "o-", color=colour, markersize=4, linewidth=1.2)
    pane.axhline(0.0, color=frame.FAINT, linewidth=0.8)
    pane.set_xticks(range(len(counts)), [str(count) for count in counts])


def _band(pane: "Axes", values: Array) -> None:
    """What chance alone would give, at most, nineteen times of twenty."""
    reach = 1.96 / np.sqrt(values.size)
    pane.axhspan(-reach, reach, color=frame.GRID, linewidth=0)
    pane.axhline(0.0, color=frame.FAINT, linewidth=0.8)


def _lags(values: Array) -> NDArray[np.int64]:
    return np.arange(1, LAGS + 1)

"""The picture of a run of the protocol: a pane for each task, a row for each entrant, its leading measure."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from kronos.evaluate.benchmark import picture_frame as frame
from kronos.evaluate.protocols.paper_figures import ALL, LEADING
from kronos.evaluate.protocols.paper_tasks import Entrant
from kronos.evaluate.protocols.paper_words import NAMES
from kronos.writing import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_NOTHING = {"price": 0.0, "return": 0.0, "volatility": 0.0, "generation": 0.5, "signals": 0.0}
_MEANS = {
    "price": "0: the mean path says nothing",
    "return": "0: says nothing",
    "volatility": "0: as good as the mean that came",
    "generation": ".5: cannot be told from real ones",
    "signals": "0: does not rank the assets",
}
_ROW, _PANE, _HEAD = 0.24, 0.95, 0.62  # inches


def draw_paper(table: pd.DataFrame, entrants: Sequence[Entrant], path: Path) -> None:
    """Draw means with 95 % intervals, and faintly the cells they are made of."""
    tasks = [task for task in dict.fromkeys(table["task"]) if task in LEADING]
    names = [one.name for one in entrants]
    kinds = ["model" if one.sampled else "baseline" for one in entrants]
    used = frame.styles(pd.DataFrame({"model": names, "kind": kinds}))
    rows = max(-(-len(tasks) // 2), 1)
    figure = frame.new_figure(_HEAD + rows * (_PANE + _ROW * len(names)))
    note = "large: mean over classes, with 95 % interval; small: every class at one timeframe"
    frame.head(figure, "The paper's tasks", note)
    columns = min(len(tasks), 2)
    left = 0.35 + 0.075 * max(len(frame.shown(name)) for name in names)
    panes = frame.add_panes(figure, len(tasks), columns=columns, left=left, gap=left, top=_HEAD + 0.3, row_gap=0.85)
    for pane, task in zip(panes, tasks, strict=True):
        _draw_task(pane, task, table[(table["task"] == task) & (table["measure"] == LEADING[task])], names, used)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", metadata={"Software": None})


def _draw_task(
    pane: "Axes", task: str, table: pd.DataFrame, names: Sequence[str], used: "dict[str, frame.Style]"
) -> None:
    frame.dress(pane, f"{task}: {NAMES[task]}", below=_MEANS[task], grid="x")
    pane.axvline(_NOTHING[task], color=frame.FAINT, linewidth=1.0)
    frame.name_rows(pane, names, used)
    shown = [np.array([_NOTHING[task]])]
    for row, name in enumerate(names):
        own = table[table["model"] == name]
        cells, whole = own[own["timeframe"] != ALL], own[(own["market"] == ALL) & (own["timeframe"] == ALL)]
        pane.plot(cells["value"], np.full(len(cells), row), "|", color=used[name].colour, alpha=0.45, markersize=8)
        for value, error in whole[["value", "se"]].itertuples(index=False):
            reach = 1.96 * (error if np.isfinite(error) else 0.0)
            pane.errorbar([value], [row], xerr=[reach], **used[name].dot)
            shown.append(np.array([value - reach, value + reach]))
    inside = np.concatenate(shown)
    low, high = float(np.nanmin(inside)), float(np.nanmax(inside))
    room = max(0.12 * (high - low), 1e-3)
    pane.set_xlim(low - room, high + room)  # cells with few origins may lie outside

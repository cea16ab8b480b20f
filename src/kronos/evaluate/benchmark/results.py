"""What a benchmark found: a row of figures for every model and origin, and what there is to know beside them.

A folder of results holds

    task.yaml          the task, with all its settings
    origins.parquet    the origins: series, times, regime, and a digest of the bars
    scores/MODEL/...   the figures as they were made, a file for a batch of origins
    scores.parquet     all of them side by side
    summary.json       the summary, facts of the models, what was left out, the tripwires; written last
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from kronos.errors import SourceError
from kronos.evaluate.benchmark.task import Task
from kronos.evaluate.metrics.uncertainty import PLACES, Figures, summary
from kronos.writing import replacing

TASK_FILE, ORIGINS_FILE = "task.yaml", "origins.parquet"
SCORES_FILE, SUMMARY_FILE = "scores.parquet", "summary.json"
FORMAT = 1

PLACE_COLUMNS = (
    "model", "series", "market", "asset", "timeframe", "time", "origin", "number", "regime", "before_cutoff", "seconds",
)  # fmt: skip
"""The columns of scores that are no figures."""


@dataclass(frozen=True, eq=False)
class Results:
    """A finished benchmark."""

    task: Task
    scores: pd.DataFrame
    """`PLACE_COLUMNS` and the figures of `kronos.evaluate.scoring`; every model has the same origins."""
    facts: dict[str, dict[str, Any]]
    """Of every model: seconds a forecast, cut-off, samples, calibration, origins, how many failed, ..."""
    left_out: dict[str, Any]
    """Numbers or names of what could not be judged, by the reason."""
    tripwires: list[dict[str, Any]] = field(default_factory=list)
    """What the leak tests found: wire, model, passed, figure, sentence."""

    @property
    def models(self) -> list[str]:
        """Their names, in the order in which they were asked for."""
        return list(self.facts)

    @property
    def failed_tripwires(self) -> list[dict[str, Any]]:
        """Those that make the results worthless."""
        return [one for one in self.tripwires if not one["passed"]]

    def figures(self, model: str) -> Figures:
        """One model's figures in the form that `kronos.evaluate.summary` and `paired` read."""
        rows = self.scores[self.scores["model"] == model].sort_values("number")
        kept = [name for name in rows.columns if name not in PLACE_COLUMNS or name in PLACES]
        return {name: rows[name].to_numpy() for name in kept}

    def summary(self) -> dict[str, dict[str, float]]:
        """Of every model the mean CRPS with its standard error, the coverage, seconds a forecast, and the origins."""
        found = {}
        broken = {one["model"] for one in self.failed_tripwires}
        for model in self.models:
            told = summary({k: v for k, v in self.figures(model).items() if k in _SUMMED})
            found[model] = {
                "crps": told["crps"],
                "crps_se": told["crps_se"],
                "coverage50": told["cover50"],
                "coverage90": told["cover90"],
                "seconds": float(self.facts[model]["seconds"]),
                "origins": told["origins"],
            }
            if model in broken or "pipeline" in broken:
                found[model]["tripped"] = 1.0
        return found


_SUMMED = (*PLACES, "crps", "cover50", "cover90")


def write_results(results: Results, out: Path) -> None:
    """Write scores and summary below a folder, the summary last: what has one is whole."""
    with replacing(out / SCORES_FILE) as temporary:
        results.scores.to_parquet(temporary, index=False)
    tree = {
        "format": FORMAT,
        "models": results.summary(),
        "facts": results.facts,
        "left_out": results.left_out,
        "tripwires": results.tripwires,
    }
    write_json(out / SUMMARY_FILE, tree)


def read_results(folder: str | Path) -> Results:
    """The results in a folder; `SourceError` where there are none, or where a run is not finished."""
    folder = Path(folder)
    if not (folder / SUMMARY_FILE).exists():
        begun = (folder / TASK_FILE).exists()
        why = "this benchmark is not finished; the command that began it goes on" if begun else "no benchmark is here"
        raise SourceError(f"{folder}: {why}")
    task = Task.read(folder / TASK_FILE)
    try:
        tree = json.loads((folder / SUMMARY_FILE).read_text(encoding="utf-8"))
        scores = pd.read_parquet(folder / SCORES_FILE)
        wires = [one | {key: _number(one[key]) for key in ("figure", "error")} for one in tree["tripwires"]]
        found = Results(task, scores, tree["facts"], tree["left_out"], wires)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SourceError(f"{folder}: cannot be read ({error}); call the command again that made it") from error
    if tree.get("format") != FORMAT:
        raise SourceError(f"{folder}: results of format {tree.get('format')!r}; this version reads format {FORMAT}")
    return found


def _number(value: float | None) -> float:
    """JSON has no name for what is not a number."""
    return float("nan") if value is None else value


def write_json(path: Path, tree: Any) -> None:
    """One JSON file, whole; what is not a number becomes null."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(plain(tree), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def plain(value: Any) -> Any:
    """As JSON has it."""
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value

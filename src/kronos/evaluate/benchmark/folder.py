"""The folder of a benchmark: what it was begun with, and the scores that are there already.

Every file is written whole, so a run that is killed goes on with those that exist. What would not belong together is
refused with the difference named: another task, other bars, a contestant that forecasts something else.
"""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd
import yaml

from kronos.config import read_tree
from kronos.errors import ConfigError
from kronos.evaluate.benchmark.chunks import Row
from kronos.evaluate.benchmark.results import (
    ORIGINS_FILE,
    SCORES_FILE,
    SUMMARY_FILE,
    TASK_FILE,
    plain,
    write_json,
)
from kronos.evaluate.benchmark.task import Task
from kronos.writing import replacing

INSPECTED_FILE = "inspected.json"
WHO_FILE, WIRES_FILE = "contestant.json", "tripwires.json"
HARMLESS = ("name", "data", "tripwires", "samples", "baseline_samples", "seed")
"""Settings that no origin depends on; what the models are asked for is held with their scores."""

_SHOWN = 5  # differences
_REPORT = ("report.html", "pictures", "tables.json")
_OWN = (TASK_FILE, ORIGINS_FILE, SCORES_FILE, SUMMARY_FILE, INSPECTED_FILE, "scores", *_REPORT)
_AGAIN = "choose another folder, or --restart to begin anew"


class RunFolder:
    """One run's files."""

    def __init__(self, out: Path, *, restart: bool = False) -> None:
        """Open the folder, new or of a run to go on with; `restart` deletes what a run has left there."""
        self.out = out
        if out.exists() and not out.is_dir():
            raise ConfigError(f"{out}: this is a file; name a folder for the results")
        begun = (out / TASK_FILE).exists() or (out / INSPECTED_FILE).exists()
        if restart and begun:
            for name in _OWN:
                place = out / name
                shutil.rmtree(place) if place.is_dir() else place.unlink(missing_ok=True)
        elif not begun and out.is_dir() and any(not one.name.startswith(".") for one in out.iterdir()):
            raise ConfigError(f"{out}: this folder holds something else than a benchmark; name a new one")
        out.mkdir(parents=True, exist_ok=True)

    def inspected(self) -> dict[str, bool]:
        """Which series were found to be mixed, by a digest of their bars."""
        file = self.out / INSPECTED_FILE
        found: dict[str, bool] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
        return found

    def remember(self, inspected: Mapping[str, bool]) -> None:
        """Keep that."""
        if dict(inspected) != self.inspected():
            write_json(self.out / INSPECTED_FILE, dict(inspected))

    def begin(self, task: Task, origins: pd.DataFrame) -> None:
        """Write what the run is about, or see that it is what was begun here."""
        file = self.out / TASK_FILE
        then, now = (
            _without(tree, HARMLESS) for tree in (read_tree(file) if file.exists() else task.tree(), task.tree())
        )
        if changed := differences(then, now):
            raise ConfigError(f"{self.out}: this benchmark was begun with another task ({changed}); {_AGAIN}")
        if (self.out / ORIGINS_FILE).exists():
            self._same_origins(pd.read_parquet(self.out / ORIGINS_FILE), origins)
        else:
            with replacing(self.out / ORIGINS_FILE) as temporary:
                origins.to_parquet(temporary, index=False)
        (self.out / SUMMARY_FILE).unlink(missing_ok=True)  # until this run is finished too
        text = yaml.safe_dump(task.tree(), sort_keys=False, allow_unicode=True)
        if not file.exists() or file.read_text(encoding="utf-8") != text:
            with replacing(file) as temporary:
                temporary.write_text(text, encoding="utf-8")

    def enter(self, name: str, facts: Mapping[str, Any]) -> None:
        """Begin with a contestant, or see that it is the one whose scores are here."""
        place, now = self._place(name), plain(dict(facts))
        place.mkdir(parents=True, exist_ok=True)
        file = place / WHO_FILE
        if not file.exists():
            write_json(file, now)
            return
        then = json.loads(file.read_text(encoding="utf-8"))
        if changed := differences(then, now):
            raise ConfigError(
                f"{self.out}: the scores of {name} that are here were made in another way ({changed}). Another "
                "fingerprint means other forecasts: other weights, versions or machines. Give it a label of its own "
                f"(label={name}), {_AGAIN}"
            )

    def read_part(self, name: str, part: int) -> pd.DataFrame | None:
        """The scores of a batch; None where they are not there, or where a forecast failed and is tried again."""
        file = self._part(name, part)
        if not file.exists():
            return None
        rows = pd.read_parquet(file)
        return None if rows["failed"].ne("").any() else rows

    def write_part(self, name: str, part: int, rows: Sequence[Row]) -> pd.DataFrame:
        """Keep the scores of a batch."""
        table = pd.DataFrame(list(rows))
        with replacing(self._part(name, part)) as temporary:
            table.to_parquet(temporary, index=False)
        return table

    def read_wires(self, name: str, numbers: Sequence[int]) -> list[dict[str, Any]] | None:
        """What the tripwires found for a contestant at these origins."""
        file = self._place(name) / WIRES_FILE
        tree = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
        found: list[dict[str, Any]] | None = tree.get("wires") if tree.get("numbers") == list(numbers) else None
        return found

    def write_wires(self, name: str, numbers: Sequence[int], wires: Sequence[Mapping[str, Any]]) -> None:
        """Keep that."""
        write_json(self._place(name) / WIRES_FILE, {"numbers": list(numbers), "wires": list(wires)})

    def _place(self, name: str) -> Path:
        return self.out / "scores" / quote(name, safe=" +=@,")

    def _part(self, name: str, part: int) -> Path:
        return self._place(name) / f"part-{part:05d}.parquet"

    def _same_origins(self, then: pd.DataFrame, now: pd.DataFrame) -> None:
        if then.equals(now):
            return
        if len(then) != len(now) or not then[["series", "time"]].equals(now[["series", "time"]]):
            ours, theirs = (set(zip(one["series"], one["time"], strict=True)) for one in (now, then))
            what = f"{len(theirs - ours)} of its {len(then)} origins are not among the {len(now)} of now"
            what += f"; the first one was {then['time'].min()}, and is {now['time'].min()}"
        else:
            first = now.loc[(then["digest"] != now["digest"]).to_numpy().nonzero()[0][0]]
            what = f"the bars around {first['time']} in {first['series']} have changed"
        raise ConfigError(
            f"{self.out}: this benchmark was begun at other origins: {what}. The bars, or the cut-offs of the models, "
            f"are others; {_AGAIN}"
        )


def differences(then: Mapping[str, Any], now: Mapping[str, Any], prefix: str = "") -> str:
    """What differs between two trees, in words; empty where nothing does."""
    before, after = _flat(then), _flat(now)
    keys = [key for key in before | after if before.get(key) != after.get(key)]
    more = f", and {len(keys) - _SHOWN} more" if len(keys) > _SHOWN else ""
    return ", ".join(f"{key} {before.get(key)} -> {after.get(key)}" for key in keys[:_SHOWN]) + more


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat


def _without(tree: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    return {key: value for key, value in tree.items() if key not in names}

"""The folder of a run: its settings, so that the same command goes on, and its results, written last and whole."""

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import yaml

from kronos.config import Settings, read_tree
from kronos.errors import ConfigError
from kronos.model import Kronos, KronosTokenizer
from kronos.train.ranks import Ranks
from kronos.writing import replacing

SETTINGS_FILE = "settings.yaml"
SUMMARY_FILE = "training.json"
COMPARISON_FILE = "comparison.json"
DATA_FILE = "data.json"

# what no number depends on; that accumulation fits the number of processes, the loop sees to
_HARMLESS_OF_A_STAGE = ("save_every", "keep_last", "accumulate", "parallel")
_HARMLESS = ("trackers", *(f"{stage}.{key}" for stage in ("tokenizer", "predictor") for key in _HARMLESS_OF_A_STAGE))

_SHOWN = 5  # changes; more of them mean another run altogether


def open_run(out: Path, settings: Settings, ranks: Ranks) -> None:
    """Begin a run in a folder, or go on with the one that is there if its settings are the same."""
    if ranks.leads:
        _open(out, settings)
    ranks.wait()


def check_data(out: Path, facts: Mapping[str, Any], ranks: Ranks) -> None:
    """Note which bars a run is begun with; where it goes on, refuse others: what was best would mean nothing."""
    if ranks.leads:
        file, now = out / DATA_FILE, json.loads(json.dumps(facts))
        if not file.exists():
            write_json(file, now)
        elif changed := _changes(json.loads(file.read_text(encoding="utf-8")), now):
            raise ConfigError(
                f"{out}: this run was begun with other bars ({changed}); give it those, or choose another folder"
            )
    ranks.wait()


def write_json(path: Path, tree: Any) -> None:
    """One JSON file, whole."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(tree, indent=1) + "\n", encoding="utf-8")


def save_pair(out: Path, network: Kronos, tokenizer: KronosTokenizer) -> None:
    """Write both networks below a folder; `kronos.load(out)` reads them."""
    tokenizer.eval().save_pretrained(out / "tokenizer")
    network.eval().save_pretrained(out / "predictor")  # last: a folder with a predictor is a whole one


def _open(out: Path, settings: Settings) -> None:
    if out.exists() and not out.is_dir():
        raise ConfigError(f"{out}: this is a file; name a folder for the run")
    file = out / SETTINGS_FILE
    if not file.exists():
        if out.is_dir() and any(not one.name.startswith(".") for one in out.iterdir()):
            raise ConfigError(f"{out}: this folder holds something else than a training run; name a new one")
        out.mkdir(parents=True, exist_ok=True)
        with replacing(file) as temporary:
            temporary.write_text(yaml.safe_dump(settings.tree(), sort_keys=False), encoding="utf-8")
        return
    if changed := _changes(read_tree(file), settings.tree(), _HARMLESS):
        raise ConfigError(
            f"{out}: this run was begun with other settings ({changed}); keep them or choose another folder"
        )


def _changes(then: Any, now: Any, harmless: Collection[str] = ()) -> str:
    """What is different between two trees, in words; empty where nothing is."""
    then, now = _flat(then), _flat(now)
    keys = [key for key in then | now if then.get(key) != now.get(key) and key not in harmless]
    more = f", and {len(keys) - _SHOWN} more" if len(keys) > _SHOWN else ""
    return ", ".join(f"{key} {then.get(key)} -> {now.get(key)}" for key in keys[:_SHOWN]) + more


def _flat(tree: Any, prefix: str = "") -> dict[str, Any]:
    """Nested settings by dotted names."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict):
            flat |= _flat(value, f"{name}.")
        else:
            flat[name] = value
    return flat

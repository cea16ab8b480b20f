"""The folder of a run of the paper's protocol: what was asked, and finished parts that are read back.

    OUT/asked.json                    what was asked: a folder of other settings or bars is refused
    OUT/rollouts/SETTING/MODEL.parquet    a row for every origin; tasks with the same setting share it
    OUT/generation/MODEL/CELL.npz, .json, .png   sequences, their figures, their picture
    OUT/signals/MODEL.parquet         a row for every day and asset
    OUT/figures.parquet, summary.json, paper.png

Every file is written whole: killed at any moment, the same command goes on with the parts that are not there yet.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from kronos.data import Series
from kronos.errors import ConfigError, SourceError
from kronos.evaluate.protocols.fidelity import Sequences
from kronos.writing import replacing

ASKED, FIGURES, SUMMARY, PICTURE = "asked.json", "figures.parquet", "summary.json", "paper.png"

_LIMITS = 60  # characters of a model's name in a file's


def claim(out: Path, asked: Mapping[str, Any], models: Mapping[str, str]) -> None:
    """Make the folder one of this run, or refuse one of another with what is different.

    `models` are their fingerprints by name: more may come, but none may become another.
    """
    out.mkdir(parents=True, exist_ok=True)
    file = out / ASKED
    before = read_json(file) if file.exists() else {}
    known = dict(before.pop("models", {}))
    other = [name for name, mark in models.items() if known.get(name, mark) != mark]
    if other:
        raise ConfigError(
            f"{out} holds results of another {', '.join(other)}; call this one label=PLACE, or go elsewhere"
        )
    if before:
        _refuse_changed(out, before, asked)
    write_json(file, {**asked, "models": {**known, **models}})


def _refuse_changed(out: Path, before: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    changed = [key for key in {**before, **asked} if before.get(key) != asked.get(key)]
    if changed:
        told = "; ".join(f"{key} was {before.get(key)!r} and is {asked.get(key)!r}" for key in changed)
        raise ConfigError(f"{out} holds a run of other settings ({told}); take another folder, or delete this one")


def digest_of(series: Sequence[Series]) -> str:
    """What tells these bars from others."""
    digest = blake2b(digest_size=8)
    for one in series:
        digest.update(f"{one.name}|{one.market}|{one.timeframe}|{len(one)}".encode())
        digest.update(np.ascontiguousarray(one.times).tobytes())
        digest.update(one.bars.tobytes())
    return digest.hexdigest()


def kept_frame(file: Path, make: Callable[[], pd.DataFrame]) -> pd.DataFrame:
    """The frame of a file, made and written where it is not there yet."""
    if file.exists():
        try:
            return pd.read_parquet(file)
        except (OSError, ValueError) as error:
            raise SourceError(f"{file} cannot be read ({error}); delete it, and it is made again") from error
    frame = make()
    write_frame(file, frame)
    return frame


def write_frame(file: Path, frame: pd.DataFrame) -> None:
    """A parquet file, whole."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with replacing(file) as temporary:
        frame.to_parquet(temporary, index=False)


def kept_sequences(file: Path, make: Callable[[], Sequences]) -> Sequences:
    """The sequences of a file, made and written where it is not there yet."""
    if not file.exists():
        sequences = make()
        file.parent.mkdir(parents=True, exist_ok=True)
        with replacing(file) as temporary, temporary.open("wb") as stream:
            np.savez(
                stream,
                real=sequences.real.astype(np.float32),
                made=sequences.made.astype(np.float32),
                asset=sequences.places["asset"].to_numpy(dtype=np.str_),
                time=sequences.places["time"].to_numpy(),
                failed=np.array(sequences.failed),
            )
    try:  # read back in any case, so that a run that was interrupted has the same numbers
        with np.load(file, allow_pickle=False) as arrays:
            places = pd.DataFrame({"asset": arrays["asset"], "time": arrays["time"]})
            real, made = (arrays[name].astype(np.float64) for name in ("real", "made"))
            return Sequences(real, made, places, int(arrays["failed"]))
    except (OSError, ValueError, KeyError) as error:
        raise SourceError(f"{file} cannot be read ({error}); delete it, and it is made again") from error


def kept_figures(file: Path, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The figures of a JSON file, made and written where it is not there yet."""
    if not file.exists():
        write_json(file, make())
    return read_json(file)


def write_json(file: Path, tree: Mapping[str, Any]) -> None:
    """A JSON file, whole; what is no number becomes null."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with replacing(file) as temporary:
        temporary.write_text(json.dumps(plain(tree), indent=1, ensure_ascii=False), encoding="utf-8")


def read_json(file: Path) -> dict[str, Any]:
    """What `write_json` wrote."""
    try:
        tree = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SourceError(f"{file} cannot be read ({error}); delete it, and it is made again") from error
    if not isinstance(tree, dict):
        raise SourceError(f"{file} holds no figures; delete it, and it is made again")
    return tree


def plain(value: Any) -> Any:
    """As JSON has it: numbers, texts, lists and mappings; what is not finite is null."""
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if isinstance(value, float | np.floating):
        return float(value) if np.isfinite(value) else None
    return int(value) if isinstance(value, np.integer) else value


def file_name(model: str) -> str:
    """A model's name as that of a file; names that differ stay different."""
    safe = "".join(sign if sign.isalnum() or sign in "-_." else "_" for sign in model).lstrip(".")[:_LIMITS]
    return safe if safe == model else f"{safe}-{blake2b(model.encode(), digest_size=4).hexdigest()}"


def check_names(names: Sequence[str]) -> None:
    """Refuse entrants that cannot be told apart."""
    if not names:
        raise ConfigError("there is nobody to judge; name at least one model")
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise ConfigError(f"two models are called {', '.join(doubled)}; every one needs a name of its own")

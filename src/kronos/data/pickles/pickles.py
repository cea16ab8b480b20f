"""The pickle data sets of the reference's fine-tuning guides: three files of frames and a summary.

    train_data.pkl  val_data.pkl  test_data.pkl    dict "SYMBOL_TIMEFRAME" -> DataFrame: open high low close vol amt
                                                   over a DatetimeIndex called "datetime"
    dataset_summary.json                           symbols and records of each part, when it was made, the symbols

They are written in a form that every pandas from 1.5 on loads by plain `pickle.load`, and read without running
anything that is in them (`unpickling`). `pickle_check` judges a whole folder.
"""

import copyreg
import json
import pickle
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from kronos.bars import COLUMNS, Timeframe, canonical
from kronos.data.pickles.frames import ALLOWED, frames_of
from kronos.data.pickles.unpickling import RefusedError, read_records
from kronos.data.sets.series import Series
from kronos.data.sets.splits import RATIOS, cut_rows
from kronos.data.sets.staging import replacing_set
from kronos.errors import BarsError, ConfigError, SourceError

PARTS = ("train", "val", "test")
FILES = tuple(f"{part}_data.pkl" for part in PARTS)
SUMMARY = "dataset_summary.json"
PICKLE_COLUMNS = ("open", "high", "low", "close", "vol", "amt")
INDEX_NAME = "datetime"


def write_pickles(
    frames: Mapping[str, pd.DataFrame] | Iterable[Series],
    folder: str | Path,
    *,
    ratios: Sequence[float] = RATIOS,
    embargo: int = 0,
) -> dict[str, Any]:
    """Write the three files and the summary of frames by "SYMBOL_TIMEFRAME", or of series; the summary.

    Every frame is cut by its rows in the order of time, `embargo` rows being left out between two parts. The files
    replace those in `folder` together, when all are written. Frames whose times have a zone are written as their own
    clock shows, series as their times are: in UTC. Holes in volume and amount are filled.
    """
    folder, whole = Path(folder), _prepared(frames)
    if not whole:
        raise BarsError(f"{folder}: there is no frame to write")
    parts: dict[str, dict[str, pd.DataFrame]] = {part: {} for part in PARTS}
    for key, frame in whole.items():
        cuts = cut_rows(len(frame), ratios, embargo)
        if len(cuts) != len(PARTS) or any(first >= stop for first, stop in cuts):
            sizes = ", ".join(str(max(stop - first, 0)) for first, stop in cuts)
            raise BarsError(
                f"{key}: {len(frame)} rows make parts of {sizes} rows by ratios {tuple(ratios)} with an embargo of "
                f"{embargo}; every part needs some: give more rows, a smaller embargo or other ratios"
            )
        for part, (first, stop) in zip(PARTS, cuts, strict=True):
            parts[part][key] = frame.iloc[first:stop]
    summary = summarise(parts) | {"created_at": datetime.now(UTC).isoformat(timespec="seconds"), "symbols": [*whole]}
    with replacing_set(folder, (*FILES, SUMMARY)) as stage:
        for part, file in zip(PARTS, FILES, strict=True):
            with (stage / file).open("wb") as stream:
                _Pickler(stream, protocol=4).dump(parts[part])
        (stage / SUMMARY).write_text(json.dumps(summary, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    return summary


def read_pickle(path: str | Path) -> dict[str, pd.DataFrame]:
    """The frames in a pickle by name, or its one frame under the file's name; anything else in it is refused.

    Nothing that the pickle names is imported or called, so a file from a stranger can do no harm.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SourceError(f"{path}: cannot be read ({error.strerror or error})") from error
    try:
        return frames_of(read_records(content, ALLOWED), path.stem, len(content))
    except RefusedError as error:
        raise SourceError(f"{path}: refused: {error}; frames of numbers over naive or UTC times are read") from error


def as_bars(frame: pd.DataFrame, name: str) -> pd.DataFrame:
    """The canonical frame of one in a data set; `name` stands at the head of an error."""
    return canonical(frame.rename(columns=dict(zip(PICKLE_COLUMNS, COLUMNS, strict=True))), name=name)


def summarise(parts: Mapping[str, Mapping[str, pd.DataFrame]]) -> dict[str, int]:
    """Symbols and records of each part, as the summary names them."""
    counts = {f"{part}_symbols": len(frames) for part, frames in parts.items()}
    return counts | {f"{part}_records": sum(map(len, frames.values())) for part, frames in parts.items()}


def _prepared(frames: Mapping[str, pd.DataFrame] | Iterable[Series]) -> dict[str, pd.DataFrame]:
    """Checked frames with the guide's columns and index, by key."""
    if isinstance(frames, Mapping):
        pairs = list(frames.items())
    else:
        series = list(frames)
        pairs = [(f"{_plain(one.symbol or one.name)}_{one.timeframe}", one.frame()) for one in series]
    prepared: dict[str, pd.DataFrame] = {}
    for key, frame in pairs:
        symbol, _, timeframe = key.rpartition("_") if isinstance(key, str) else ("", "", "")
        if not symbol:
            raise ConfigError(f"{key!r}: a key is SYMBOL_TIMEFRAME, such as BTC-USD-SWAP_1H")
        Timeframe.parse(timeframe)
        if key in prepared:
            raise ConfigError(f"two series are called {key}; choose one of them")
        prepared[key] = _guide_frame(frame, key)
    return prepared


def _plain(symbol: str) -> str:
    return symbol.replace("/", "-").replace(":", "-")


def _guide_frame(frame: pd.DataFrame, key: str) -> pd.DataFrame:
    frame = canonical(frame, name=key, volume_rule="fill")
    index = pd.DatetimeIndex(frame.index).tz_localize(None).as_unit("ns")
    if not index.is_monotonic_increasing or not index.is_unique:
        raise BarsError(f"{key}: its clock is set back and shows a time twice; convert the times to UTC first")
    renamed = frame[list(COLUMNS)].set_axis(list(PICKLE_COLUMNS), axis=1)
    return renamed.set_axis(index.rename(INDEX_NAME), axis=0)


class _Pickler(pickle.Pickler):
    """Frames by public constructors, which all versions of pandas share; their insides differ."""

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, pd.DataFrame):
            columns = {str(label): _Array(value[label].to_numpy(dtype=np.float64)) for label in value.columns}
            return pd.DataFrame, (columns, _Index(value.index))
        if isinstance(value, _Array):
            plain = np.ascontiguousarray(value.values)
            return np.frombuffer, (plain.tobytes(), plain.dtype.newbyteorder("<").str)
        if isinstance(value, _Index):
            array = _Array(value.index.to_numpy(dtype="datetime64[ns]"))
            return copyreg.__newobj_ex__, (pd.DatetimeIndex, (array,), {"name": value.index.name, "copy": True})  # type: ignore[attr-defined]
        return NotImplemented


class _Array:
    def __init__(self, values: Any) -> None:
        self.values = values


class _Index:
    def __init__(self, index: pd.Index) -> None:
        self.index = index

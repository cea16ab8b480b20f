"""The files of a forecast, .npz and .parquet: its plain parts in, the same parts out, to the bit.

A file is a JSON header, which holds everything but the numbers, and the candles of the paths and of the history. What
a forecast is and whether the parts make one is not known here; nothing is ever pickled or unpickled.
"""

import json
import zipfile
import zlib
from collections.abc import Callable, Mapping
from datetime import UTC, timedelta, timezone, tzinfo
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import pandas as pd

from kronos.bars.candles import COLUMNS, Array
from kronos.errors import ConfigError

_FORMAT = "kronos-forecast"
_VERSION = 1
# What a damaged archive, a damaged parquet file (Arrow's errors derive from these) or a foreign header can raise.
UNREADABLE = (
    OSError,
    ValueError,
    KeyError,
    TypeError,
    EOFError,
    AttributeError,
    OverflowError,
    MemoryError,
    RuntimeError,  # an encrypted or unknown way of packing, and endless recursion
    zipfile.BadZipFile,
    zlib.error,
)


class Parts(TypedDict):
    """What a forecast is made of, by the names of its fields."""

    paths: Array  # (S, H, 6)
    timestamps: pd.DatetimeIndex
    last_close: float
    history: pd.DataFrame | None
    name: str
    timeframe: str
    repaired: int
    meta: Mapping[str, Any]


def writer(path: Path) -> Callable[[Parts, Path], None]:
    """What writes the format that the suffix of `path` names, under any name."""
    write = _WRITERS.get(path.suffix.lower())
    if write is None:
        raise ConfigError(f"a forecast is saved as .npz or .parquet, not as '{path.name}'")
    return write


def reader(path: Path) -> Callable[[Path], Parts]:
    """What reads the format that the suffix of `path` names; a damaged file raises one of `UNREADABLE`."""
    read = _READERS.get(path.suffix.lower())
    if read is None:
        raise ConfigError(f"a forecast is loaded from .npz or .parquet, not from '{path.name}'")
    return read


# --- the header -------------------------------------------------------------------------------------------------


def _header(parts: Parts) -> str:
    history = parts["history"]
    return json.dumps(
        {
            "format": _FORMAT,
            "version": _VERSION,
            "timestamps": _index_to_json(parts["timestamps"]),
            "history": None if history is None else _index_to_json(pd.DatetimeIndex(history.index)),
            "last_close": parts["last_close"],
            "name": parts["name"],
            "timeframe": parts["timeframe"],
            "repaired": parts["repaired"],
            "meta": parts["meta"],
        }
    )


def _history_values(parts: Parts) -> Array:
    if parts["history"] is None:
        return np.empty((0, len(COLUMNS)))
    return parts["history"].to_numpy(dtype=np.float64)


def _parts(header: str, paths: Array, history: Array) -> Parts:
    fields = json.loads(header)
    if fields["format"] != _FORMAT or fields["version"] != _VERSION:
        raise ValueError(f"its header says {fields['format']!r} version {fields['version']!r}")
    timestamps = _index_from_json(fields["timestamps"])
    frame = None
    if fields["history"] is not None:
        frame = pd.DataFrame(history, index=_index_from_json(fields["history"]), columns=list(COLUMNS))
    return Parts(
        paths=paths.reshape(-1, len(timestamps), len(COLUMNS)),
        timestamps=timestamps,
        last_close=fields["last_close"],
        history=frame,
        name=fields["name"],
        timeframe=fields["timeframe"],
        repaired=fields["repaired"],
        meta=fields["meta"],
    )


def _index_to_json(index: pd.DatetimeIndex) -> dict[str, Any]:
    name = index.name if isinstance(index.name, str) else None
    return {"name": name, "unit": index.unit, "tz": _zone(index.tz), "values": index.astype("int64").tolist()}


def _index_from_json(fields: dict[str, Any]) -> pd.DatetimeIndex:
    values = np.array(fields["values"], dtype=np.int64).view(f"datetime64[{fields['unit']}]")
    index = pd.DatetimeIndex(values, name=fields["name"])
    if fields["tz"] is None:
        return index
    zone = fields["tz"] if isinstance(fields["tz"], str) else timezone(timedelta(seconds=fields["tz"]))
    return index.tz_localize("UTC").tz_convert(zone)


def _zone(tz: tzinfo | None) -> str | float | None:
    """A zone by its name, a bare offset by its seconds."""
    if tz is None or tz == UTC:
        return None if tz is None else "UTC"
    name = getattr(tz, "key", None) or getattr(tz, "zone", None)  # zoneinfo, pytz
    if isinstance(name, str):
        return name
    offset = tz.utcoffset(None)
    if offset is None:
        raise ConfigError(f"the time zone {tz!r} cannot be stored; convert the bars to a named one")
    return offset.total_seconds()


# --- the two formats --------------------------------------------------------------------------------------------


def _write_npz(parts: Parts, path: Path) -> None:
    header = np.frombuffer(_header(parts).encode(), dtype=np.uint8)
    with path.open("wb") as file:  # given a name, numpy would append its own suffix
        np.savez(file, header=header, paths=parts["paths"], history=_history_values(parts))


def _read_npz(path: Path) -> Parts:
    # Opened here: given a name, numpy leaves a damaged file open.
    with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
        return _parts(archive["header"].tobytes().decode(), archive["paths"], archive["history"])


def _write_parquet(parts: Parts, path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    (samples, horizon, _), past = parts["paths"].shape, _history_values(parts)
    candles = np.concatenate([past, parts["paths"].reshape(-1, len(COLUMNS))])
    future = parts["timestamps"].as_unit("us").astype("int64").to_numpy()
    times = np.tile(future, samples)
    if parts["history"] is not None:
        times = np.concatenate([pd.DatetimeIndex(parts["history"].index).as_unit("us").astype("int64"), times])
    zone = None if parts["timestamps"].tz is None else "UTC"
    table = pa.table(
        {
            "path": np.concatenate([np.full(len(past), -1), np.repeat(np.arange(samples), horizon)]).astype(np.int32),
            "step": np.concatenate([np.arange(1 - len(past), 1), np.tile(np.arange(1, horizon + 1), samples)]),
            # For other readers; the exact time stamps, in their own unit and zone, are in the header.
            "timestamp": pa.array(times, pa.int64()).cast(pa.timestamp("us", tz=zone)),
            **{column: candles[:, number] for number, column in enumerate(COLUMNS)},
        },
        metadata={_FORMAT: _header(parts)},
    )
    pq.write_table(table, path, compression="zstd", write_page_checksum=True)


def _read_parquet(path: Path) -> Parts:
    import pyarrow.parquet as pq

    table = pq.read_table(path, page_checksum_verification=True)
    header = (table.schema.metadata or {})[_FORMAT.encode()].decode()
    candles = np.column_stack([table[column].to_numpy() for column in COLUMNS])
    past = table["path"].to_numpy() < 0
    return _parts(header, candles[~past], candles[past])


_WRITERS = {".npz": _write_npz, ".parquet": _write_parquet}
_READERS = {".npz": _read_npz, ".parquet": _read_parquet}

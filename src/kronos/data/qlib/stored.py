"""The features of one symbol in a Qlib folder, and later bars added to them: what is stored stays as it is."""

from pathlib import Path

import numpy as np
import pandas as pd

from kronos.data.qlib.encode import FIELDS, Bars, Ints, Tail, encode
from kronos.data.qlib.files import Floats, bin_content, read_bin
from kronos.writing import replacing


class StoredSymbol:
    """What is stored of one symbol at one frequency."""

    def __init__(self, place: Path, frequency: str, slots: int) -> None:
        """In a folder that need not exist yet; the calendar has that many `slots`."""
        self._place, self._size = place, slots
        self._files = {name: place / f"{name}.{frequency}.bin" for name in FIELDS}
        first, close = self._read("close")
        there = ~np.isnan(close)
        self._slots, self._closes = first + np.flatnonzero(there), close[there]

    def ends(self, slots: Ints) -> tuple[int, int]:
        """The first and the last slot with a bar, once `slots` are written."""
        both = np.r_[self._slots, slots]
        return int(both[0]), int(both.max())

    def put(self, bars: Bars, slots: Ints, symbol: str, *, adjusted: bool) -> int:
        """Write those bars that are later than what is stored; how many they were."""
        row = int(np.searchsorted(slots, self._slots[-1], side="right")) if len(self._slots) else 0
        if row == len(slots):
            return 0
        self._place.mkdir(exist_ok=True)
        encoded = encode(bars.after(row), self._tail(int(slots[row])), symbol, adjusted=adjusted)
        for name, values in encoded.items():
            whole = _joined(*self._read(name), slots[row:], values, steps=name == "factor")
            with replacing(self._files[name]) as temporary:
                temporary.write_bytes(bin_content(*whole))
        return len(slots) - row

    def _tail(self, slot: int) -> Tail:
        """How the series ends before a slot."""
        if not len(self._slots):
            return Tail()
        first, factor = self._read("factor")
        before = factor[: max(slot - first, 0)]
        known = before[~np.isnan(before)]
        return Tail(float(self._closes[-1]), float(known[-1]) if len(known) else float("nan"))

    def _read(self, name: str) -> tuple[int, Floats]:
        return read_bin(self._files[name], self._size)


def _joined(start: int, old: Floats, slots: Ints, values: Floats, *, steps: bool) -> tuple[int, Floats]:
    """Old values up to the first of `slots`, then the new ones; a value of `steps` holds until the next."""
    first = min(start, int(slots[0])) if len(old) else int(slots[0])
    kept = old[: max(int(slots[0]) - start, 0)]
    whole = np.full(int(slots[-1]) - first + 1, np.nan, dtype=np.float32)
    whole[: len(kept)] = kept
    whole[slots - first] = values
    if steps:
        whole[len(kept) :] = pd.Series(whole).ffill().to_numpy()[len(kept) :]
    return first, whole

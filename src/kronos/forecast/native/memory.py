"""Working memory that is used again.

Fresh memory is expensive: the system hands it out page by page, each at a fault and each wiped first. A forecast's
caches and buffers are of the same size as the last one's, so what is given back is kept for the next, within bounds.
"""

import threading
import weakref
from typing import Any

import torch
from torch import Tensor

_KEPT = 1 << 26  # floats: 256 MiB
_ALIGNED = 16  # floats: a cache line


class Arena:
    """One piece of memory, handed out in parts."""

    def __init__(self, whole: Tensor) -> None:
        """Nothing handed out yet."""
        self._whole, self._used = whole, 0

    def take(self, floats: int) -> Tensor:
        """The next part; what is in it is left from before."""
        first = self._used
        self._used += padded(floats)
        return self._whole[first : first + floats]


class Pool:
    """Pieces that were given back."""

    def __init__(self) -> None:
        """None yet."""
        self._free: list[Tensor] = []
        self._lock = threading.Lock()

    def lend(self, floats: int, user: Any) -> Arena:
        """Memory for as long as `user` lives."""
        with self._lock:
            fitting = [piece for piece in self._free if floats <= len(piece) <= 2 * floats + (1 << 18)]
            piece = min(fitting, key=len) if fitting else None
            if piece is not None:
                self._free = [other for other in self._free if other is not piece]
        if piece is None:
            piece = torch.empty(floats)
        weakref.finalize(user, self._take_back, piece).atexit = False
        return Arena(piece)

    def _take_back(self, piece: Tensor) -> None:
        with self._lock:
            self._free.append(piece)
            while sum(map(len, self._free)) > _KEPT:
                self._free.pop(0)


def padded(floats: int) -> int:
    """How much of an arena a part takes."""
    return -(-floats // _ALIGNED) * _ALIGNED

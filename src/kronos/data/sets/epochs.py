"""Every window exactly once, in an order that a seed decides and that is never written down.

The order is a permutation computed number by number: a Feistel network over the next power of four, applied again
while it leads outside. It takes no memory however many windows there are, and any batch of it can be had at once, so a
run goes on in the middle of an epoch and several processes take turns.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from kronos.data.sets.augment import Augmentation, altered, check_share
from kronos.data.sets.windows import Batch, Windows
from kronos.errors import ConfigError

_ROUNDS = 8  # four look random already; small numbers of windows have few bits to mix and need more


class Epoch:
    """All windows once, as batches by number; the last one may be smaller."""

    def __init__(
        self,
        windows: Windows,
        batch: int,
        seed: int = 0,
        epoch: int = 0,
        *,
        shuffle: bool = True,
        augment: Sequence[Augmentation] = (),
        without_volume: float = 0.0,
    ) -> None:
        """The order follows from (seed, epoch); without `shuffle` it is that of the windows."""
        if batch < 1:
            raise ConfigError(f"batch is {batch}; it is a number of windows from 1 up")
        check_share(without_volume, "without_volume")
        self.windows, self.batch_size, self.seed, self.epoch = windows, batch, seed, epoch
        self.shuffle, self.augment, self.without_volume = shuffle, tuple(augment), without_volume

    def __len__(self) -> int:
        """How many batches there are."""
        return -(-len(self.windows) // self.batch_size)

    def numbers(self, batch: int) -> NDArray[np.int64]:
        """The numbers of the windows in batch number `batch`."""
        if not 0 <= batch < len(self):
            raise IndexError(f"batch {batch} of {len(self)}")
        first = batch * self.batch_size
        places = np.arange(first, min(first + self.batch_size, len(self.windows)))
        return permuted(places, len(self.windows), [self.seed, self.epoch]) if self.shuffle else places

    def __getitem__(self, batch: int) -> Batch:
        """Batch number `batch`, always the same one."""
        drawn = self.windows.batch(self.numbers(batch))
        seed = [self.seed, self.epoch, batch, 1]
        return drawn._replace(bars=altered(drawn.bars, seed, self.augment, self.without_volume))

    def __iter__(self) -> Iterator[Batch]:
        """All batches."""
        return self.share(0, 1)

    def share(self, rank: int, ranks: int, *, start: int = 0, even: bool = False) -> Iterator[Batch]:
        """The batches of one of several processes: every `ranks`-th one, from its `start`-th on.

        Together they hold every window once. `even` leaves out the last few, so that all ranks have as many.
        """
        if not 0 <= rank < ranks:
            raise ConfigError(f"rank is {rank} of {ranks}; ranks are counted from 0")
        stop = len(self) // ranks * ranks if even else len(self)
        for batch in range(rank + start * ranks, stop, ranks):
            yield self[batch]


def permuted(places: NDArray[np.int64], count: int, seed: Sequence[int]) -> NDArray[np.int64]:
    """Where a permutation of range(`count`) keyed by `seed` takes these places."""
    half = max((count - 1).bit_length() + 1, 2) // 2
    keys = np.random.default_rng(list(seed)).integers(0, 2**63, _ROUNDS, dtype=np.uint64)
    values = np.array(places, dtype=np.uint64)
    outside = np.ones(len(values), dtype=bool)
    while outside.any():  # the network permutes all of 4**half, so a walk that starts inside comes back inside
        values[outside] = _mixed(values[outside], half, keys)
        outside = values >= count
    return values.astype(np.int64)


def _mixed(values: NDArray[np.uint64], half: int, keys: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """One pass of the network: each round adds a hash of one half to the other, and they change places."""
    bits, mask = np.uint64(half), np.uint64(2**half - 1)
    left, right = values >> bits, values & mask
    for key in keys:
        left, right = right, left ^ (_hashed(right ^ key) & mask)
    mixed: NDArray[np.uint64] = (left << bits) | right
    return mixed


def _hashed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """All bits of 64 into all bits (the finaliser of splitmix64)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))

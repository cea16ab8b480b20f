"""Where batches come from: functions of a batch's number alone, so that a run goes on in the middle of anything."""

from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

import numpy as np

from kronos.data import Augmentation, Batch, Epoch, Windows, WindowSampler


class Feed(Protocol):
    """Batches by number, from 0 on without end."""

    @property
    def epoch(self) -> int:
        """How many batches read every window once."""

    def __call__(self, number: int) -> Batch:
        """Batch number `number`, always the same one."""


class Epochs:
    """Every window once in an order of its own, then every window once in another."""

    def __init__(
        self,
        windows: Windows,
        batch: int,
        seed: int,
        *,
        augment: Sequence[Augmentation] = (),
        without_volume: float = 0.0,
    ) -> None:
        """Batches of `batch` windows; the last one of an epoch may be smaller."""
        self._make: Callable[[int], Epoch] = lambda epoch: Epoch(
            windows, batch, seed, epoch, augment=augment, without_volume=without_volume
        )
        self.epoch = len(self._make(0))

    def __call__(self, number: int) -> Batch:
        """A batch of the epoch that this number lies in."""
        return self._make(number // self.epoch)[number % self.epoch]


class Draws:
    """Windows drawn again and again, as a sampler weighs their series; an epoch is as many as there are windows."""

    def __init__(self, sampler: WindowSampler) -> None:
        """Batches of this sampler."""
        self.sampler = sampler
        self.epoch = -(-len(sampler.windows) // sampler.batch_size)

    def __call__(self, number: int) -> Batch:
        """The sampler's batch of this number."""
        return self.sampler(number)


class Turns:
    """Feeds of several window shapes in turn."""

    def __init__(self, feeds: Sequence[Feed]) -> None:
        """One batch of each, over and over."""
        self.feeds = list(feeds)
        self.epoch = sum(feed.epoch for feed in feeds)

    def __call__(self, number: int) -> Batch:
        """A batch of the feed whose turn it is; each feed is asked with the run's own number."""
        return self.feeds[number % len(self.feeds)](number)


class Replay:
    """A feed in whose batches some windows come from elsewhere, so that what was known is not forgotten."""

    def __init__(self, feed: Feed, old: Feed) -> None:
        """Both have windows of one shape; an epoch is that of the new ones."""
        self.feed, self.old = feed, old
        self.epoch = feed.epoch

    def __call__(self, number: int) -> Batch:
        """The new windows, then the old ones."""
        new, old = self.feed(number), self.old(number)
        bars, stamps = np.concatenate([new.bars, old.bars]), np.concatenate([new.stamps, old.stamps])
        return Batch(bars, stamps, new.lookback)


def ahead(feed: Callable[[int], Batch], numbers: Iterator[int]) -> Generator[Batch, None, None]:
    """The batches of these numbers, each made in another thread while the one before it is learned from."""
    with ThreadPoolExecutor(1, thread_name_prefix="batches") as pool:
        waiting: Future[Batch] | None = None
        for number in numbers:
            following = pool.submit(feed, number)
            if waiting is not None:
                yield waiting.result()
            waiting = following
        if waiting is not None:
            yield waiting.result()

"""Feeds: every window an epoch, batches by number alone, and the thread that makes them ahead and goes away again."""

import gc
import threading
from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest

from kronos.data import Augmentation, Batch, Series, Windows, WindowSampler
from kronos.train.feeds import Draws, Epochs, Feed, Replay, Turns, ahead
from reference import bars_frame

LOOKBACK, HORIZON = 6, 2


def windows(count: int = 2, rows: int = 20, seed: int = 0, lookback: int = LOOKBACK) -> Windows:
    return Windows([Series.of(bars_frame(rows, seed=seed + i), f"g/{i}") for i in range(count)], lookback, HORIZON)


def keys(batch: Batch) -> list[bytes]:
    """What tells one window from another."""
    return [window.tobytes() for window in batch.bars]


def same(a: Batch, b: Batch) -> bool:
    return keys(a) == keys(b) and a.stamps.tobytes() == b.stamps.tobytes() and a.lookback == b.lookback


# Epochs ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [1, 4, 7, 13, 26, 100])
def test_every_window_once_an_epoch(batch: int) -> None:
    known = windows()
    feed = Epochs(known, batch, seed=5)
    every = Counter(keys(known.batch(range(len(known)))))
    assert (len(known), len(every)) == (26, 26)
    orders = []
    for epoch in range(3):
        batches = [feed(number) for number in range(epoch * feed.epoch, (epoch + 1) * feed.epoch)]
        assert {len(one.bars) for one in batches[:-1]} <= {batch}
        orders.append([key for one in batches for key in keys(one)])
        assert Counter(orders[-1]) == every
    assert orders[0] != orders[1] != orders[2] != orders[0]


def test_a_batch_is_a_function_of_its_number_and_the_seed() -> None:
    augment = [Augmentation("noise"), Augmentation("invert")]
    feed, again = (Epochs(windows(), 4, seed=5, augment=augment, without_volume=0.5) for _ in range(2))
    first = [feed(number) for number in range(15)]
    for number in reversed(range(15)):
        assert same(again(number), first[number])
    other = Epochs(windows(), 4, seed=6, augment=augment, without_volume=0.5)
    assert not same(other(0), first[0])


def test_augmentation_leaves_the_order_of_the_windows() -> None:
    plain, bare = Epochs(windows(), 4, seed=5), Epochs(windows(), 4, seed=5, without_volume=1.0)
    for number in range(plain.epoch):
        np.testing.assert_array_equal(bare(number).bars[..., :4], plain(number).bars[..., :4])
        assert not bare(number).bars[..., 4:].any()


# Draws, turns, replay -------------------------------------------------------------------------------------------------


def test_draws_are_the_sampler_s() -> None:
    sampler = WindowSampler(windows(), 4, seed=2)
    feed = Draws(sampler)
    assert feed.epoch == 7  # 26 windows
    assert all(same(feed(number), sampler(number)) for number in (9, 0, 1000, 9))


class Lettered:
    """A feed whose batches say who made them, and of which number."""

    def __init__(self, letter: int, epoch: int = 3, size: int = 2) -> None:
        self.letter, self.epoch, self.size = letter, epoch, size

    def __call__(self, number: int) -> Batch:
        bars = np.full((self.size, 4, 6), float(number))
        return Batch(bars, np.full((self.size, 4, 5), self.letter, dtype=np.int8), 2)


def said_by(batch: Batch) -> list[tuple[int, int]]:
    return [(int(s[0, 0]), int(b[0, 0])) for s, b in zip(batch.stamps, batch.bars, strict=True)]


def test_turns() -> None:
    feed = Turns([Lettered(1, epoch=5), Lettered(2, epoch=1), Lettered(3, epoch=3)])
    assert [said_by(feed(number))[0] for number in (0, 1, 2, 3, 7, 8)] == [
        (1, 0),
        (2, 1),
        (3, 2),
        (1, 3),
        (2, 7),
        (3, 8),
    ]
    assert feed.epoch == 9


def test_replay_adds_old_windows_to_new_ones() -> None:
    feed = Replay(Lettered(1, epoch=5, size=6), Lettered(2, epoch=77, size=2))
    assert said_by(feed(4)) == [(1, 4)] * 6 + [(2, 4)] * 2
    assert (feed.epoch, feed(0).lookback) == (5, 2)


def test_replayed_windows_are_of_the_old_data_and_the_new_ones_are_all_read() -> None:
    new, old = windows(), windows(seed=50)
    feed = Replay(Epochs(new, 6, seed=1), Draws(WindowSampler(old, 2, seed=2)))
    ours, theirs = (set(keys(one.batch(range(len(one))))) for one in (new, old))
    read: list[bytes] = []
    for number in range(feed.epoch):
        found = keys(feed(number))
        read += found[:-2]
        assert set(found[-2:]) <= theirs
    assert set(read) == ours
    assert len(read) == len(ours)


# Ahead ----------------------------------------------------------------------------------------------------------------


def makers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("batches")]


@pytest.fixture(autouse=True)
def _alone() -> Iterator[None]:
    assert not makers()
    yield
    assert not makers()


def test_the_same_batches_in_the_same_order() -> None:
    feed: Feed = Epochs(windows(), 4, seed=5)
    numbers = [3, 3, 0, 11, 7]
    found = list(ahead(feed, iter(numbers)))
    assert len(found) == 5
    assert all(same(one, feed(number)) for one, number in zip(found, numbers, strict=True))
    assert list(ahead(feed, iter([]))) == []
    assert len(list(ahead(feed, iter([2])))) == 1


def test_batches_are_made_elsewhere_and_one_ahead() -> None:
    asked: list[int] = []
    threads: set[int] = set()

    def feed(number: int) -> Batch:
        asked.append(number)
        threads.add(threading.get_ident())
        return Lettered(1)(number)

    batches = ahead(feed, iter(range(100)))
    assert asked == []  # nothing is read before it is wanted
    for number in range(5):
        assert said_by(next(batches))[0] == (1, number)
        assert set(range(number + 1)) <= set(asked) <= set(range(number + 2))
    batches.close()
    assert len(threads) == 1
    assert threading.get_ident() not in threads


def test_an_error_comes_when_its_batch_is_due() -> None:
    def feed(number: int) -> Batch:
        if number == 3:
            raise OSError("the disk went away")
        return Lettered(1)(number)

    batches = ahead(feed, iter(range(10)))
    assert [said_by(next(batches))[0][1] for _ in range(3)] == [0, 1, 2]
    with pytest.raises(OSError, match="the disk went away"):
        next(batches)
    assert not makers()
    with pytest.raises(StopIteration):
        next(batches)


def test_no_thread_is_left_when_nobody_wants_more() -> None:
    batches = ahead(Lettered(1), iter(range(100)))
    next(batches)
    assert len(makers()) == 1
    batches.close()
    assert not makers()
    for _ in ahead(Lettered(1), iter(range(100))):
        break
    gc.collect()
    assert not makers()

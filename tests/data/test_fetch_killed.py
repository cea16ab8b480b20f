"""A hundred thousand bars arrive complete although the exchange refuses and the process is killed, again and again."""

import multiprocessing
import os
import random
import signal
import time
from pathlib import Path

from fake_exchange import StillClock, exchange, same
from kronos.data import Binance, Key, Lake, fetch

BARS = 100_000


def _fetch(place: str, url: str) -> None:
    source = Binance(url, patience=StillClock().patience())
    fetch(Lake.open(place, create=True), source, "BTC/USDT", "1m", flush=5_000)


def test_bursts_kills_and_restarts_lose_nothing(tmp_path: Path) -> None:
    moments, context = random.Random(3), multiprocessing.get_context("fork")
    key, killed, grown = Key("binance", "BTC/USDT", "1m"), 0, [0]
    with exchange(bars=BARS, timeframe="1m", gaps=[(30_000, 30_500), (70_000, 70_001)]) as server:
        server.storm("429", "500", "truncated", "drop", every=4)
        truth = server.truth("BTCUSDT", "1m")
        while True:
            worker = context.Process(target=_fetch, args=(str(tmp_path / "lake"), server.url))
            worker.start()
            assert worker.pid is not None
            if killed < 8:
                time.sleep(moments.uniform(0.1, 0.7))
                os.kill(worker.pid, signal.SIGKILL)
            worker.join()
            if Lake.is_lake(tmp_path / "lake") and (entries := Lake.open(tmp_path / "lake").entries()):
                grown.append(entries[0].rows)
                same(Lake.open(tmp_path / "lake").read(key), truth[: grown[-1]])
            if worker.exitcode == 0:
                break
            assert worker.exitcode == -signal.SIGKILL
            killed += 1
        asked = len(server.asked("klines"))
    assert killed >= 3
    assert grown == sorted(grown)
    same(Lake.open(tmp_path / "lake").read(key), truth)
    assert len(truth) == BARS - 501
    assert asked < 2.5 * BARS / 1000 + 20 * killed  # no run began from the beginning again

"""Several processes that train together, forked off the test: nothing is imported again, and nothing can hang."""

import multiprocessing
import os
import pickle
import sys
import time
import traceback
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

from torch.distributed import TCPStore

from kronos.train import ranks

PATIENCE = 300.0  # seconds, for what takes a few; then whatever still runs is killed


class End(NamedTuple):
    """How a process ended: what its work returned, what it exited with, what it printed, which files it changed.

    What it raised is its exit status, by name; one that was killed has the signal's number, negative.
    """

    value: Any
    exit: Any
    changed: list[str]
    out: str
    err: str


def together(count: int, work: Callable[..., Any], *args: Any, folder: Path) -> list[End]:
    """The ends of `count` processes that do this work, each in the environment that torchrun makes for its number."""
    context = multiprocessing.get_context("fork")
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)  # of the launcher, as torchrun's is
    places = [folder / f"process-{store.port}-{rank}" for rank in range(count)]
    processes = []
    for rank, place in enumerate(places):
        place.mkdir(parents=True)
        process = context.Process(target=_child, args=((rank, count, store.port), place, folder, work, args))
        process.start()
        processes.append(process)
    limit = time.monotonic() + PATIENCE
    for process in processes:
        process.join(max(limit - time.monotonic(), 0))
    late = [process for process in processes if process.is_alive()]
    for process in late:
        process.kill()
        process.join()
    assert not late, "\n".join(["processes hang", *((place / "err").read_text() for place in places)])
    return [_end(place, process.exitcode) for place, process in zip(places, processes, strict=True)]


def _end(place: Path, status: int | None) -> End:
    file = place / "end.pkl"
    value, exit_, changed = pickle.loads(file.read_bytes()) if file.exists() else (None, status, [])
    return End(value, exit_, changed, (place / "out").read_text(), (place / "err").read_text())


def _child(
    where: tuple[int, int, int], place: Path, folder: Path, work: Callable[..., Any], args: tuple[Any, ...]
) -> None:
    rank, count, port = where
    environment = {
        "RANK": rank,
        "LOCAL_RANK": rank,
        "WORLD_SIZE": count,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
        "TORCHELASTIC_USE_AGENT_STORE": True,
        "TORCHELASTIC_RESTART_COUNT": 0,
    }
    os.environ.update({name: str(value) for name, value in environment.items()})
    ranks._LINGER = timedelta(
        seconds=0.1
    )  # a fork does not come to what is done at an exit, so nobody need wait for it
    for name, descriptor in (("out", 1), ("err", 2)):
        os.dup2(os.open(place / name, os.O_WRONLY | os.O_CREAT), descriptor)
    sys.stdout, sys.stderr = os.fdopen(1, "w", buffering=1), os.fdopen(2, "w", buffering=1)
    changed: list[str] = []
    sys.addaudithook(lambda event, given: _note(event, given, folder, changed))
    value: Any = None
    exit_: Any = 0
    try:
        value = work(*args)
    except SystemExit as error:
        exit_ = error.code
    except BaseException as error:  # noqa: BLE001 - whatever it is, the parent is told
        traceback.print_exc()
        exit_ = f"{type(error).__name__}: {error}"
    content = pickle.dumps((value, exit_, changed))
    (place / "end.tmp").write_bytes(content)
    (place / "end.tmp").rename(place / "end.pkl")


def _note(event: str, given: tuple[Any, ...], folder: Path, changed: list[str]) -> None:
    """Keep what changes a file below the folder."""
    changes = event in ("os.mkdir", "os.rename", "os.remove", "os.truncate", "shutil.rmtree") or (
        event == "open" and isinstance(given[2], int) and bool(given[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
    )
    if changes and str(given[0]).startswith(str(folder)):
        changed.append(f"{event} {given[0]}")

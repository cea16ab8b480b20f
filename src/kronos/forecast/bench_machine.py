"""The machine that forecasts are timed on: a stopwatch, what its memory and arithmetic reach, and what it is called."""

import math
import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch

_Answer = TypeVar("_Answer")

_MEDIANS = 3
_CPU_FILE = Path("/proc/cpuinfo")


@dataclass(frozen=True)
class Rates:
    """What a machine reaches with the threads that it was measured with."""

    memory: float  # bytes/s of weights that are read from memory
    cache: float  # bytes/s of weights that are in the cache
    gemm: float  # float32 operations/s of a large matrix product


def timed(work: Callable[[], _Answer], repeats: int, enough: float = math.inf) -> tuple[list[float], _Answer]:
    """Seconds of every run, and the last one's answer; no run follows once they have taken `enough` together."""
    times: list[float] = []
    while True:
        began = time.perf_counter()
        answer = work()
        times.append(time.perf_counter() - began)
        if len(times) >= repeats or sum(times) >= enough:
            return times, answer


@torch.inference_mode()
def probe(repeats: int = 9, large: int = 8192, small: int = 1760, product: int = 2048) -> Rates:
    """Measure this machine, with the threads that torch uses now: the best of several medians.

    Weights are read by a matrix-vector product, of 268 MB and of 12 MB; arithmetic is a square matrix product.
    """
    memory, cache = (max(_reading(size, repeats) for _ in range(_MEDIANS)) for size in (large, small))
    square = torch.ones(product, product)
    out = torch.empty_like(square)
    seconds = min(_median(lambda: torch.mm(square, square, out=out), repeats) for _ in range(_MEDIANS))
    return Rates(memory, cache, 2 * product**3 / seconds)


def _reading(size: int, repeats: int) -> float:
    """Bytes/s, by whichever of the two ways to ask for the product is the faster."""
    matrix, vector = torch.ones(size, size), torch.ones(size)
    row, out = vector[None], torch.empty(size)
    ways: list[Callable[[], Any]] = [
        lambda: torch.mv(matrix, vector, out=out),
        lambda: torch.nn.functional.linear(row, matrix),
    ]
    times = min(repeats * max(8192 // size, 1) ** 2, 200)  # a short reading is taken more often
    return 4 * size**2 / min(_median(way, times) for way in ways)


def _median(work: Callable[[], Any], repeats: int) -> float:
    work()  # the first run also fetches fresh memory
    return statistics.median(timed(work, repeats)[0])


def describe_machine() -> dict[str, Any]:
    """What a time means nothing without: versions, threads, the processor, and how busy it is."""
    return {
        "torch": torch.__version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "processor": processor_name(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,  # the last minute's, so: before the work
    }


def processor_name(file: Path = _CPU_FILE) -> str:
    """As Linux lists it in `file`, else as Python knows it."""
    if file.exists():
        for line in file.read_text(encoding="utf-8").splitlines():
            key, _, value = line.partition(":")
            if key.strip().lower() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()

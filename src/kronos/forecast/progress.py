"""A meter for long forecasts: one line on the error stream, or the caller's own function."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Progress = bool | Callable[[int, int], None]

_REFRESH = 0.2  # seconds between two drawings of the line


@contextmanager
def meter(progress: Progress, total: int) -> Iterator[Callable[[int], None]]:
    """A function to be told how much more is done; draws or calls back as `progress` says."""
    if progress is False:
        yield lambda more: None
        return
    done, drawn = 0, 0.0

    def tick(more: int) -> None:
        nonlocal done, drawn
        done += more
        if callable(progress):
            progress(done, total)
        elif time.monotonic() - drawn > _REFRESH or done == total:
            drawn = time.monotonic()
            filled = "#" * (30 * done // total)
            sys.stderr.write(f"\rforecast [{filled:<30}] {done:,}/{total:,} path-bars")
            sys.stderr.flush()

    try:
        yield tick
    finally:
        if progress is True and drawn:
            sys.stderr.write("\n")

"""Ctrl-C and a polite kill end a run between two steps, after its state is on disk."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from kronos.errors import KronosError


class StoppedError(KronosError):
    """The run was asked to stop; it goes on where it was when the same command is given again."""


class Stop:
    """Whether somebody has asked to stop."""

    asked = False


@contextmanager
def listening() -> Iterator[Stop]:
    """Notes the first SIGINT or SIGTERM instead of dying of it; the second one kills as usual."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():  # only there can signals be heard
        yield stop
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)

    def note(number: int, frame: FrameType | None) -> None:
        stop.asked = True
        restore()

    for number in before:
        signal.signal(number, note)
    try:
        yield stop
    finally:
        restore()

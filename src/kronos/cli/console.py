"""What a long command shows while it runs: one line that moves on a terminal, a line now and then in a log."""

import shutil
import sys
import time
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from kronos.train import Progress

_DRAWN_EVERY, _SAID_EVERY = 0.2, 15.0  # seconds: on a terminal, in a log
_BAR, _LEAST_BAR = 24, 6  # characters


class Console:
    """Tells of a training run on the error stream, which leaves the other one to results."""

    def __init__(self) -> None:
        """Nothing has been shown."""
        self._live = sys.stderr.isatty()
        self._shown, self._width = time.monotonic(), 0

    def say(self, line: str) -> None:
        """A line of its own."""
        self._clear()
        click.echo(line, err=True)

    def tick(self, progress: "Progress") -> None:
        """How far it is, where it is time to say so."""
        now = time.monotonic()
        if now - self._shown < (_DRAWN_EVERY if self._live else _SAID_EVERY) and progress.step < progress.steps:
            return
        self._shown = now
        text = (
            f"step {progress.step:,}/{progress.steps:,}  loss {progress.loss:.4f}  lr {progress.lr:.2g}  "
            f"{progress.tokens_per_second:,.0f} tokens/s  {_duration(progress.seconds_left)} left"
        )
        if not self._live:
            click.echo(f"{progress.stage} {text}", err=True)
            return
        text = _drawn(progress, text, shutil.get_terminal_size().columns - 1)
        sys.stderr.write("\r" + text.ljust(self._width))
        sys.stderr.flush()
        self._width = len(text)
        if progress.step == progress.steps:
            self._clear()

    def _clear(self) -> None:
        if self._width:
            sys.stderr.write("\r" + " " * self._width + "\r")
            self._width = 0


def _drawn(progress: "Progress", text: str, width: int) -> str:
    """Words behind a bar, or what fits of them: a line that is wrapped cannot be drawn over."""
    bar = min(_BAR, width - len(f"{progress.stage} [] {text}"))
    if bar < _LEAST_BAR:
        return f"{progress.stage} {text}"[:width]
    filled = "#" * (bar * progress.step // progress.steps)
    return f"{progress.stage} [{filled:<{bar}}] {text}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h {minutes:02d}m" if hours else f"{minutes}m {rest:02d}s" if minutes else f"{rest}s"

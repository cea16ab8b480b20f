"""What a benchmark tells whoever started it: lines, and how far it is."""

from typing import NamedTuple, Protocol


class Progress(NamedTuple):
    """How far a stage is."""

    stage: str
    done: int
    total: int
    unit: str
    seconds_left: float


class Reporter(Protocol):
    """Hears of a run; the command line prints, a test collects."""

    def say(self, line: str) -> None:
        """Something happened."""

    def tick(self, progress: Progress) -> None:
        """Some of a stage is done."""


class Silent:
    """Nobody listens."""

    def say(self, line: str) -> None:
        """Nothing."""

    def tick(self, progress: Progress) -> None:
        """Nothing."""

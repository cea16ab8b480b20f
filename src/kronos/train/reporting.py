"""What a training run tells whoever started it: lines, and how far it is."""

from typing import NamedTuple, Protocol


class Progress(NamedTuple):
    """How far a stage is."""

    stage: str
    step: int
    steps: int
    loss: float
    lr: float
    tokens_per_second: float
    seconds_left: float


class Reporter(Protocol):
    """Hears of a run; the command line prints, a test collects."""

    def say(self, line: str) -> None:
        """Something happened."""

    def tick(self, progress: Progress) -> None:
        """A step is done."""


class Silent:
    """Nobody listens."""

    def say(self, line: str) -> None:
        """Nothing."""

    def tick(self, progress: Progress) -> None:
        """Nothing."""

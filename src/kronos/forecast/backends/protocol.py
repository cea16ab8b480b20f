"""What the engine asks of whatever runs the networks: to read look-backs, to write bars behind them, to decode them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from kronos.forecast.sampling import Sampler


@dataclass(frozen=True)
class Lookback:
    """One series as a writer meets it."""

    s1: Tensor  # (T,) tokens, T may be 0
    s2: Tensor  # (T,)
    stamps: Tensor  # (T + room, 5) what the network is told with each bar it reads


class Writer(Protocol):
    """Look-backs that were read and branched into paths; rows are ordered series first."""

    def next(self, s1: Tensor, s2: Tensor, uniforms: Tensor, sampler: Sampler) -> tuple[Tensor, Tensor]:
        """Read the newest bars (rows, Q) and choose the bars after them: two of (rows,), from uniforms (rows, 2).

        Q is 0 where nothing follows the look-backs yet. The first rows may go on without the others.
        """
        ...


class Backend(Protocol):
    """Runs a pair of networks as they were when it was made."""

    @property
    def name(self) -> str:
        """What `backend=` calls it."""
        ...

    @property
    def device(self) -> torch.device:
        """Where tokens and bars are."""
        ...

    @property
    def rows(self) -> int:
        """How many rows are worth writing together; more only take memory."""
        ...

    @property
    def budget(self) -> int:
        """Bytes that caches may take."""
        ...

    def encode(self, inputs: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
        """Tokens, two of (T,), of normalised look-backs (T, 6) of any lengths."""
        ...

    def writer(self, lookbacks: Sequence[Lookback], paths: int, room: int, limit: int) -> Writer:
        """Read look-backs and branch each into `paths` rows, which no more than `room` bars will join.

        A bar sees the newest `limit` bars, itself included.
        """
        ...

    def decode(self, before: Sequence[tuple[Tensor, Tensor]], s1: Tensor, s2: Tensor) -> Tensor:
        """Normalised bars (N, S, Q, 6) of tokens (N, S, Q), each series behind its own tokens (T,) before them."""
        ...

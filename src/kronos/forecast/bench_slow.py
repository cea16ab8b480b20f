"""The reference's forecasting algorithm, to be timed beside the engine.

Every look-back is encoded once for each of its paths, every bar reads its path's whole window again, and the last
window is decoded whole. That takes minutes where paths are many and windows long, so only some steps need be run: they
are timed at their true window lengths and the rest is interpolated.
"""

import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from kronos.forecast.bench_machine import timed as stopwatch
from kronos.forecast.sampling import Sampler
from kronos.model import Kronos, Pair

_Answer = TypeVar("_Answer")

_ENOUGH_SECONDS = 1.0  # what takes longer than this is not repeated


@dataclass(frozen=True)
class Pass:
    """One step: its number, how many bars its window has, and its median time."""

    step: int
    window: int
    seconds: float


@dataclass(frozen=True)
class Slow:
    """What the algorithm took, and what it wrote; bars of steps that were left out mean nothing."""

    encode: float
    decode: float
    passes: tuple[Pass, ...]
    s1: Tensor = field(repr=False)  # (rows, H) tokens
    s2: Tensor = field(repr=False)
    bars: Tensor = field(repr=False)  # (rows, H, 6)

    @property
    def steps(self) -> int:
        """How many bars there were to write."""
        return self.s1.shape[1]

    @property
    def complete(self) -> bool:
        """Whether every step was run."""
        return len(self.passes) == self.steps

    @property
    def seconds(self) -> float:
        """The time of all steps: measured ones as they are, linear between them."""
        steps, times = [one.step for one in self.passes], [one.seconds for one in self.passes]
        return self.encode + self.decode + float(np.interp(np.arange(self.steps), steps, times).sum())


@torch.inference_mode()
def slow_forecast(
    pair: Pair,
    bars: Tensor,
    stamps: Tensor,
    paths: int,
    max_context: int,
    sampler: Sampler,
    *,
    timed: int | None = None,
    repeats: int = 1,
) -> Slow:
    """Continue normalised look-backs (N, T, 6) with stamps (N, T + H, 5) of equally long series.

    Only `timed` steps, evenly spaced from the first to the last, are run (all by default), each `repeats` times unless
    it is long. The bars of the others repeat the tokens before them: no time depends on which they are.
    """
    net, random = pair.network, torch.Generator().manual_seed(0)
    bars, stamps = (x.repeat_interleave(paths, dim=0) for x in (bars, stamps))
    length, horizon = bars.shape[1], stamps.shape[1] - bars.shape[1]
    encoding, (s1, s2) = _timed(lambda: pair.tokenizer.encode(bars, half=True), repeats)
    steps = np.linspace(0, horizon - 1, min(timed or horizon, horizon)).round().astype(int).tolist()
    passes: list[Pass] = []
    newest = s1[:, -1:], s2[:, -1:]
    for step in range(horizon):
        if step in steps:
            window = slice(max(length + step - max_context, 0), length + step)
            work = partial(_step, net, s1, s2, stamps, window, sampler, random)
            if not passes:
                work()  # the first run also fetches fresh memory
            seconds, newest = _timed(work, repeats)
            passes.append(Pass(step, window.stop - window.start, seconds))
        s1, s2 = (torch.cat([tokens, new], dim=1) for tokens, new in zip((s1, s2), newest, strict=True))
    last = [s1[:, -max_context:], s2[:, -max_context:]]
    decoding, decoded = _timed(lambda: pair.tokenizer.decode(last, half=True), repeats)
    return Slow(encoding, decoding, tuple(passes), s1[:, length:], s2[:, length:], decoded[:, -horizon:])


def _step(
    net: Kronos, s1: Tensor, s2: Tensor, stamps: Tensor, window: slice, sampler: Sampler, random: torch.Generator
) -> tuple[Tensor, Tensor]:
    """The next bars' tokens, two of (rows, 1), from whole windows."""
    ahead = 1 if net.stamp_of == "next" else 0
    told = stamps[:, window.start + ahead : window.stop + ahead]
    uniforms = torch.rand(len(s1), 2, generator=random)
    logits, context = net.decode_s1(s1[:, window], s2[:, window], told)
    coarse = sampler.choose(logits[:, -1], uniforms[:, 0])[:, None]
    fine = sampler.choose(net.decode_s2(context, coarse)[:, -1], uniforms[:, 1])[:, None]
    return coarse, fine


def _timed(work: Callable[[], _Answer], repeats: int) -> tuple[float, _Answer]:
    """The median of few runs, of fewer where they are long."""
    times, answer = stopwatch(work, repeats, _ENOUGH_SECONDS)
    return statistics.median(times), answer

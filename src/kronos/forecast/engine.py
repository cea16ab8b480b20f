"""Generation: from the tokens of a look-back to the normalised bars of sampled futures.

The look-back of every series is read once (prefill), then branched into paths that share it (expand) and grow by a
bar a step, one network pass each. What happens when a window is full has a name:

    exact   the oldest bar is dropped and the window is read again from position 0, as the reference does
    slide   the cache is kept and its oldest bar goes out of sight: fast, and a slightly different function

Rows are ordered series first. Work is split by a memory budget, which cannot change a result: the random numbers
belong to their place.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from kronos.errors import ConfigError
from kronos.forecast.sampling import Sampler, uniform_numbers
from kronos.model import Cache, Kronos, KronosTokenizer

Overflow = Literal["exact", "slide"]
OVERFLOWS: tuple[str, ...] = get_args(Overflow)

MEMORY_BUDGET = 1 << 28
"""Bytes that the caches and windows of one split may take; beyond, a CPU spends its time on fresh pages of memory."""


@dataclass(frozen=True)
class Prompt:
    """Series of one length, ready to be continued."""

    s1: Tensor  # (N, T) the look-backs' tokens, T <= max_context
    s2: Tensor  # (N, T)
    stamps: Tensor  # (N, T + H, 5) time stamps of the look-backs and of the bars to come
    keys: Sequence[int]  # (N,) what each series' random numbers hang on

    @property
    def horizon(self) -> int:
        """How many bars are to come."""
        return self.stamps.shape[1] - self.s1.shape[1]

    def part(self, rows: slice) -> "Prompt":
        """Some of the series."""
        return Prompt(self.s1[rows], self.s2[rows], self.stamps[rows], self.keys[rows])


@dataclass(frozen=True)
class Engine:
    """A network, its tokenizer, and how they are to be run."""

    network: Kronos
    tokenizer: KronosTokenizer
    max_context: int
    sampler: Sampler
    overflow: str = "exact"
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse a policy without a name."""
        if self.overflow not in OVERFLOWS:
            raise ConfigError(f"unknown overflow policy '{self.overflow}'; known are {', '.join(OVERFLOWS)}")

    @torch.inference_mode()
    def run(self, prompt: Prompt, paths: int, tick: Callable[[int], None] = lambda bars: None) -> Tensor:
        """Normalised future bars (N, paths, H, 6); `tick` hears of every path-bar that was written."""
        rows = max(MEMORY_BUDGET // self._bytes_per_path(prompt), 1)
        together, each = (1, rows) if rows < paths else (rows // paths, paths)
        parts = []
        for first in range(0, len(prompt.keys), together):
            some = prompt.part(slice(first, first + together))
            split = [range(p, min(p + each, paths)) for p in range(0, paths, each)]
            parts.append(torch.cat([self._bars(some, numbers, tick) for numbers in split], dim=1))
        return torch.cat(parts)

    def _bytes_per_path(self, prompt: Prompt) -> int:
        config, horizon = self.network.config, prompt.horizon
        wide = 2 * (config["n_layers"] + 1) * config["d_model"]  # keys and values of one bar in every layer
        full = prompt.s1.shape[1] + horizon > self.max_context and self.overflow == "exact"
        # a window that is read again needs its own keys, values and activations for every bar
        window = (wide + 4 * config["ff_dim"]) * self.max_context if full else 0
        # attention weights of the decoder, which reads the whole horizon at once, and their intermediate copies
        scores = 5 * config["n_heads"] * (prompt.s1.shape[1] + horizon) * horizon
        return int(4 * (wide * horizon + window + scores))

    def _bars(self, prompt: Prompt, paths: range, tick: Callable[[int], None]) -> Tensor:
        s1, s2 = self.generate(prompt, paths, tick)
        return self.decode(prompt, s1, s2)

    @torch.inference_mode()
    def generate(
        self, prompt: Prompt, paths: range, tick: Callable[[int], None] = lambda bars: None
    ) -> tuple[Tensor, Tensor]:
        """Sampled tokens, two of (N, len(paths), H)."""
        device, (series, length) = prompt.s1.device, prompt.s1.shape
        numbers = torch.from_numpy(uniform_numbers(self.seed, prompt.keys, paths, prompt.horizon))
        uniforms = numbers.flatten(0, 1).to(device)  # (rows, H, 2)
        rows, cached = series * len(paths), self._cached_steps(length, prompt.horizon)
        s1 = torch.empty(rows, prompt.horizon, dtype=torch.long, device=device)
        s2 = torch.empty_like(s1)

        cache = self.network.new_cache()
        context = self.network.advance(prompt.s1, prompt.s2, self._stamps(prompt, 0, length), cache)
        cache.expand(len(paths), prompt.horizon)
        context = context.repeat_interleave(len(paths), dim=0)
        for step in range(cached):
            if step:
                stamp = self._stamps(prompt, length + step - 1, length + step).repeat_interleave(len(paths), dim=0)
                cache.start = max(length + step - self.max_context, 0)
                context = self.network.advance(s1[:, step - 1 : step], s2[:, step - 1 : step], stamp, cache)
            self._write(step, context, cache, uniforms, s1, s2)
            tick(rows)
        del cache
        for step in range(cached, prompt.horizon):
            context, cache = self._read_again(prompt, len(paths), s1, s2, step)
            self._write(step, context, cache, uniforms, s1, s2)
            tick(rows)
        return s1.view(series, len(paths), -1), s2.view(series, len(paths), -1)

    def _cached_steps(self, length: int, horizon: int) -> int:
        """How many steps the cache serves: all of them, or with exact overflow those before the window is full."""
        return horizon if self.overflow == "slide" else min(horizon, self.max_context - length + 1)

    def _stamps(self, prompt: Prompt, first: int, stop: int) -> Tensor:
        """Stamps for the inputs at positions first .. stop - 1, shifted for a network told the next bar's time."""
        ahead = 1 if self.network.stamp_of == "next" else 0
        return prompt.stamps[:, first + ahead : stop + ahead]

    def _write(self, step: int, context: Tensor, cache: Cache, uniforms: Tensor, s1: Tensor, s2: Tensor) -> None:
        """Choose this step's coarse token, then the fine one."""
        s1[:, step] = self.sampler.choose(self.network.s1_logits(context), uniforms[:, step, 0])
        s2[:, step] = self.sampler.choose(self.network.s2_logits(context, s1[:, step], cache), uniforms[:, step, 1])

    def _read_again(self, prompt: Prompt, paths: int, s1: Tensor, s2: Tensor, step: int) -> tuple[Tensor, Cache]:
        """The context after the newest max_context bars of every path, read from position 0."""
        first = prompt.s1.shape[1] + step - self.max_context
        windows = [
            torch.cat(
                [old[:, first:].repeat_interleave(paths, dim=0), new[:, max(step - self.max_context, 0) : step]], 1
            )
            for old, new in ((prompt.s1, s1), (prompt.s2, s2))
        ]
        stamps = self._stamps(prompt, first, first + self.max_context).repeat_interleave(paths, dim=0)
        cache = self.network.new_cache()
        return self.network.advance(windows[0], windows[1], stamps, cache), cache

    @torch.inference_mode()
    def decode(self, prompt: Prompt, s1: Tensor, s2: Tensor) -> Tensor:
        """Normalised bars (N, paths, H, 6) of sampled tokens, each decoded with up to max_context bars in view.

        A horizon within max_context is decoded in one window of that length, as in the reference. A longer one takes
        windows that overlap by half, so that every bar but the first few has at least half a window before it.
        """
        horizon = s1.shape[-1]
        if horizon <= self.max_context:
            return self._decode_window(prompt, s1, s2, 0, horizon)
        stride = max(self.max_context // 2, 1)
        windows = [(first, min(first + stride, horizon)) for first in range(0, horizon, stride)]
        return torch.cat([self._decode_window(prompt, s1, s2, *window) for window in windows], dim=2)

    def _decode_window(self, prompt: Prompt, s1: Tensor, s2: Tensor, first: int, stop: int) -> Tensor:
        """Bars first .. stop - 1 of the future, seen with the max_context - (stop - first) bars before them."""
        series, paths, _ = s1.shape
        before = self.max_context - (stop - first)
        cache = Cache(self.tokenizer.decode_layers)
        own = min(first, before)  # of the bars before, these differ from path to path
        length = prompt.s1.shape[1]
        shared = slice(max(length - (before - own), 0), length)
        if before > own:
            self.tokenizer.decode_next(prompt.s1[:, shared], prompt.s2[:, shared], cache)
            cache.expand(paths, own + stop - first)
        mine = slice(first - own, stop)
        bars = self.tokenizer.decode_next(s1[:, :, mine].flatten(0, 1), s2[:, :, mine].flatten(0, 1), cache)
        return bars[:, own:].reshape(series, paths, stop - first, -1)

"""Generation: from the tokens of look-backs to the normalised bars of sampled futures.

The look-back of every series is read once, then branched into paths that share it and grow by a bar a step. Look-backs
and horizons of different lengths are written together. What happens when a window is full has a name:

    exact   the oldest bar is dropped and the window is read again from position 0, as the reference does
    slide   what was read is kept and the oldest bar goes out of sight: fast, and a slightly different function

Work is split by a memory budget, which cannot change a result: the random numbers belong to their place.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from kronos.errors import ConfigError
from kronos.forecast.backends import Backend, Lookback
from kronos.forecast.sampling import Sampler, uniform_numbers
from kronos.model import Kronos

Overflow = Literal["exact", "slide"]
OVERFLOWS: tuple[str, ...] = get_args(Overflow)

_READ_TOGETHER = 4096
"""Bars of paths that are read again in one pass when windows are full; their common look-back is read once a pass."""

Tick = Callable[[int], None]


@dataclass(frozen=True)
class Prompt:
    """One series, ready to be continued."""

    s1: Tensor  # (T,) the look-back's tokens, 1 <= T <= max_context
    s2: Tensor  # (T,)
    stamps: Tensor  # (T + H, 5) time stamps of the look-back and of the bars to come
    key: int  # what its random numbers hang on

    @property
    def horizon(self) -> int:
        """How many bars are to come."""
        return len(self.stamps) - len(self.s1)


@dataclass(frozen=True)
class Engine:
    """Networks that a backend runs, and how they are to be run."""

    network: Kronos
    backend: Backend
    max_context: int
    sampler: Sampler
    overflow: str = "exact"
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse a policy without a name."""
        if self.overflow not in OVERFLOWS:
            raise ConfigError(f"unknown overflow policy '{self.overflow}'; known are {', '.join(OVERFLOWS)}")

    @torch.inference_mode()
    def run(self, prompts: Sequence[Prompt], paths: int, tick: Tick = lambda bars: None) -> list[Tensor]:
        """Normalised future bars (paths, H, 6) of every series; `tick` hears of every path-bar that was written."""
        done: list[list[Tensor]] = [[] for _ in prompts]
        for members, numbers in self._rounds(prompts, paths):
            some = [prompts[member] for member in members]
            tokens = self.generate(some, numbers, tick)
            for member, bars in zip(members, self.decode(some, tokens), strict=True):
                done[member].append(bars)
        return [torch.cat(parts) for parts in done]

    def _rounds(self, prompts: Sequence[Prompt], paths: int) -> Iterator[tuple[list[int], range]]:
        """Which series, and which of their paths, are written together: alike ones, as many as pay and fit."""
        together: list[int] = []
        longest = steps = 0
        for member in self._order(prompts):
            length = len(prompts[member].s1)
            if together and not self._fit(len(together) + 1, max(longest, length), steps, paths):
                yield together, range(paths)
                together = []
            if not together:  # the first one has the most bars to write
                longest, steps = 0, self._steps(prompts[member])
            together.append(member)
            longest = max(longest, length)
            if len(together) == 1 and not self._fit(1, length, steps, paths):
                each = self._paths_that_fit(length, steps)
                for first in range(0, paths, each):
                    yield together, range(first, min(first + each, paths))
                together = []
        if together:
            yield together, range(paths)

    def _order(self, prompts: Sequence[Prompt]) -> list[int]:
        """Series with more bars to write first, so that those who have enough are the last ones."""
        return sorted(range(len(prompts)), key=lambda n: (-self._steps(prompts[n]), -len(prompts[n].s1)))

    def _fit(self, series: int, longest: int, steps: int, paths: int) -> bool:
        return series * paths <= self.backend.rows and self._bytes(series, longest, steps, paths) <= self.backend.budget

    def _paths_that_fit(self, length: int, steps: int) -> int:
        left = self.backend.budget - self._bytes(1, length, steps, 0)
        return max(min(self.backend.rows, left // self._bytes(1, 0, steps, 1)), 1)

    def _bytes(self, series: int, longest: int, steps: int, paths: int) -> int:
        """What the caches of some series take."""
        config = self.network.config
        bar = 8 * (config["n_layers"] + 1) * config["d_model"]  # float32 keys and values of one bar in every layer
        return int(bar * series * (longest + paths * steps))

    @torch.inference_mode()
    def generate(
        self, prompts: Sequence[Prompt], paths: range, tick: Tick = lambda bars: None
    ) -> list[tuple[Tensor, Tensor]]:
        """Sampled tokens of every series, two of (len(paths), H)."""
        order = self._order(prompts)
        page = _Page([prompts[n] for n in order], paths, self.seed, self.backend.device)
        self._write(page, tick)
        for number in range(len(order)):
            self._write_on(page, number, tick)
        written: list[tuple[Tensor, Tensor]] = [(page.s1, page.s2)] * len(order)
        for number, n in enumerate(order):
            rows, horizon = page.rows(number), prompts[n].horizon
            written[n] = (page.s1[rows, :horizon], page.s2[rows, :horizon])
        return written

    def _steps(self, prompt: Prompt) -> int:
        """How many bars are written behind one reading: with exact overflow, those until the window is full."""
        if self.overflow == "slide":
            return prompt.horizon
        return min(prompt.horizon, self.max_context - len(prompt.s1) + 1)

    def _write(self, page: "_Page", tick: Tick) -> None:
        """Write all series bar by bar; those that have enough drop out, and they are the last ones."""
        steps = [self._steps(prompt) for prompt in page.prompts]
        lookbacks = [self._lookback(prompt, 0, steps[0] - 1) for prompt in page.prompts]
        writer = self.backend.writer(lookbacks, page.paths, steps[0] - 1, self.max_context)
        for step in range(steps[0]):
            rows = page.paths * sum(step < count for count in steps)
            newest = slice(max(step - 1, 0), step)
            page.s1[:rows, step], page.s2[:rows, step] = writer.next(
                page.s1[:rows, newest], page.s2[:rows, newest], page.uniforms[:rows, step], self.sampler
            )
            tick(rows)

    def _write_on(self, page: "_Page", number: int, tick: Tick) -> None:
        """Write one series' bars beyond a full window: each time what is left of its look-back is read again, once
        for all paths, and then what each path has added to it."""
        prompt = page.prompts[number]
        length, rows = len(prompt.s1), page.rows(number)
        for step in range(self._steps(prompt), prompt.horizon):
            dropped = length + step - self.max_context
            added = slice(max(dropped - length, 0), step)
            lookback = self._lookback(prompt, dropped, 0)
            each = max(_READ_TOGETHER // (added.stop - added.start), 1)
            for first in range(rows.start, rows.stop, each):
                some = slice(first, min(first + each, rows.stop))
                writer = self.backend.writer([lookback], some.stop - first, added.stop - added.start, self.max_context)
                page.s1[some, step], page.s2[some, step] = writer.next(
                    page.s1[some, added], page.s2[some, added], page.uniforms[some, step], self.sampler
                )
            tick(page.paths)

    def _lookback(self, prompt: Prompt, dropped: int, room: int) -> Lookback:
        """A prompt without its oldest bars; a network that is told the next bar's time hears of it with each bar.

        `room` is filled up with the last stamp where a series has fewer bars to come than its company.
        """
        ahead = 1 if self.network.stamp_of == "next" else 0
        length = len(prompt.s1)
        first = dropped
        stamps = prompt.stamps[first + ahead :]
        missing = max(length - first, 0) + room - len(stamps)
        if missing > 0:
            stamps = torch.cat([stamps, stamps[-1:].expand(missing, -1)])
        return Lookback(prompt.s1[first:], prompt.s2[first:], stamps)

    @torch.inference_mode()
    def decode(self, prompts: Sequence[Prompt], tokens: Sequence[tuple[Tensor, Tensor]]) -> list[Tensor]:
        """Normalised bars (paths, H, 6) of sampled tokens, each decoded with up to max_context bars in view.

        A horizon within max_context is decoded in one window of that length, as in the reference. A longer one takes
        windows that overlap by half, so that every bar but the first few has at least half a window before it.
        """
        done: list[Tensor] = [torch.empty(0)] * len(prompts)
        horizons = sorted({prompt.horizon for prompt in prompts})
        for horizon in horizons:
            members = [n for n, prompt in enumerate(prompts) if prompt.horizon == horizon]
            if horizon <= self.max_context:
                befores = [self._before(prompts[n], self.max_context - horizon) for n in members]
                s1, s2 = (torch.stack([tokens[n][level] for n in members]) for level in (0, 1))
                for n, bars in zip(members, self.backend.decode(befores, s1, s2), strict=True):
                    done[n] = bars
            else:
                for n in members:
                    done[n] = self._decode_long(prompts[n], *tokens[n])
        return done

    def _before(self, prompt: Prompt, count: int) -> tuple[Tensor, Tensor]:
        """The last `count` tokens of a look-back."""
        first = max(len(prompt.s1) - count, 0)
        return prompt.s1[first:], prompt.s2[first:]

    def _decode_long(self, prompt: Prompt, s1: Tensor, s2: Tensor) -> Tensor:
        stride, horizon, parts = max(self.max_context // 2, 1), s1.shape[1], []
        for first in range(0, horizon, stride):
            stop = min(first + stride, horizon)
            own = min(first, self.max_context - (stop - first))  # of the bars in view, these differ from path to path
            before = self._before(prompt, self.max_context - (stop - first) - own)
            mine = slice(first - own, stop)
            parts.append(self.backend.decode([before], s1[None, :, mine], s2[None, :, mine])[0, :, own:])
        return torch.cat(parts, dim=1)


class _Page:
    """What is written: the tokens of N series' paths, and the random numbers that choose them."""

    def __init__(self, prompts: Sequence[Prompt], paths: range, seed: int, device: torch.device) -> None:
        horizon = max(prompt.horizon for prompt in prompts)
        numbers = uniform_numbers(seed, [prompt.key for prompt in prompts], paths, horizon)
        self.prompts, self.paths = prompts, len(paths)
        self.uniforms = torch.from_numpy(numbers).flatten(0, 1).to(device)  # (rows, H, 2)
        self.s1 = torch.zeros(len(prompts) * len(paths), horizon, dtype=torch.long, device=device)
        self.s2 = torch.zeros_like(self.s1)

    def rows(self, number: int) -> slice:
        """The rows of a series."""
        return slice(number * self.paths, (number + 1) * self.paths)

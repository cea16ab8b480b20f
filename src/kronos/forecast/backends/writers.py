"""Writers in torch: one that looks at just what is there, and one whose step can be recorded once and replayed.

The second is what keeps an accelerator busy: launching the hundred small operations of a step takes the host longer
than they take the device. So its step is written without a single number that the host would have to know: the newest
bar's place is a tensor, attention looks at the whole room behind a mask, both samplers are part of it. On CUDA the step
is captured as a graph at its second run and replayed from then on; elsewhere it runs operation by operation, which is
how it is tested.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from kronos.forecast.sampling import Sampler
from kronos.model import Cache, FoldedKronos, Place


class EagerWriter:
    """Writes with the folded network over a cache."""

    def __init__(self, network: FoldedKronos, cache: Cache, times: Tensor, context: Tensor | None, limit: int) -> None:
        """Go on from the look-backs' last contexts (rows, 1, d); `times` (N, room, d) go with the bars to come."""
        self._network, self._cache, self._times, self._limit = network, cache, times, limit
        self._context = context
        cache.start = max(cache.length - limit, 0)

    def next(self, s1: Tensor, s2: Tensor, uniforms: Tensor, sampler: Sampler) -> tuple[Tensor, Tensor]:
        """Read the newest bars (rows, Q) and choose the bars after them."""
        rows, length = s1.shape
        if length:
            paths, filled = self._cache.shape.paths, self._cache.filled
            self._cache.start = max(self._cache.length + length - self._limit, 0)
            times = self._times[: rows // paths, filled : filled + length].repeat_interleave(paths, dim=0)
            self._context = self._network.follow(s1, s2, times, self._cache)
        assert self._context is not None, "nothing was read yet"
        context = self._context[:rows]
        coarse = sampler.choose(self._network.s1_logits(context), uniforms[:, 0])
        fine = sampler.choose(self._network.s2_logits(context, coarse, self._cache), uniforms[:, 1])
        return coarse, fine


class GraphWriter(EagerWriter):
    """Writes bar by bar with a step of fixed shapes; several bars at once are left to the eager way."""

    def __init__(self, network: FoldedKronos, cache: Cache, times: Tensor, context: Tensor | None, limit: int) -> None:
        """Go on from the look-backs' last contexts (rows, 1, d)."""
        super().__init__(network, cache, times, context, limit)
        rows, device = len(cache.shape.lengths) * cache.shape.paths, times.device
        self._rows, self._bars = rows, torch.arange(cache.shape.longest + cache.shape.room, device=device)
        self._turns = network.turns(0, len(self._bars) + 1)
        self._s1, self._s2 = torch.zeros(2, rows, 1, dtype=torch.long, device=device)
        self._uniforms = torch.zeros(rows, 2, device=device)
        self._at = torch.zeros(1, dtype=torch.long, device=device)
        self._sampler: Sampler | None = None
        self._run: Callable[[], tuple[Tensor, Tensor]] = self._step
        self._runs = 0

    def next(self, s1: Tensor, s2: Tensor, uniforms: Tensor, sampler: Sampler) -> tuple[Tensor, Tensor]:
        """Read the newest bars (rows, Q) and choose the bars after them."""
        rows, count = s1.shape
        if count != 1:
            return super().next(s1, s2, uniforms, sampler)
        if sampler is not self._sampler:
            self._sampler, self._run, self._runs = sampler, self._step, 0
        self._s1[:rows], self._s2[:rows], self._uniforms[:rows] = s1, s2, uniforms
        self._at.fill_(self._cache.filled)
        if self._runs == 1 and self._at.is_cuda:
            self._run = _captured(self._step)
        coarse, fine = self._run()
        self._runs += 1
        self._cache.filled += 1
        return coarse[:rows].clone(), fine[:rows].clone()

    def _step(self) -> tuple[Tensor, Tensor]:
        """One bar more for all rows, going or not; it may be run twice with the same result."""
        net, cache, sampler = self._network, self._cache, self._sampler
        assert sampler is not None, "a step without a sampler"
        position = self._at + cache.shape.longest
        blind = (self._bars > position) | (self._bars <= position - self._limit)
        place = Place(0, 0, self._at, blind)
        block_turns, dep_turns = (tuple(part.index_select(0, position) for part in pair) for pair in self._turns)
        turns = ((block_turns[0], block_turns[1]), (dep_turns[0], dep_turns[1]))
        times = self._times.index_select(1, self._at).repeat_interleave(cache.shape.paths, dim=0)
        context = net.follow_at(self._s1, self._s2, times, cache, place, turns)
        coarse = sampler.choose(net.s1_logits(context), self._uniforms[:, 0])
        fine = sampler.choose(net.s2_logits_at(context, coarse, cache, place, turns), self._uniforms[:, 1])
        return coarse, fine


def _captured(step: Callable[[], tuple[Tensor, Tensor]]) -> Callable[[], tuple[Tensor, Tensor]]:
    """A CUDA graph of a step that has run before; replaying it fills the tensors that it returned."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        results = step()

    def replay() -> tuple[Tensor, Tensor]:
        graph.replay()
        return results

    return replay

"""The backend "torch": the folded networks, operation by operation, on any device."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from kronos.forecast.backends.protocol import Lookback
from kronos.forecast.backends.writers import EagerWriter, GraphWriter
from kronos.model import Cache, CacheShape, FoldedKronos, FoldedTokenizer, Kronos, KronosTokenizer

_BARS_TOGETHER = {"cpu": 1024, "other": 1 << 16}
"""Bars read in one pass. On a CPU a few look-backs' activations stay in its caches; more only fetch fresh memory."""
_ROWS_TOGETHER = {"cpu": 512, "other": 1 << 15}
CPU_BUDGET = 1 << 30
"""Bytes of memory for caches; more rows than fit are written in several rounds."""
_DEVICE_SHARE = 0.5  # of an accelerator's free memory


class EagerBackend:
    """Folded networks in torch."""

    name = "torch"

    def __init__(
        self,
        network: Kronos,
        tokenizer: KronosTokenizer,
        precision: str = "float32",
        *,
        replays: bool | None = None,
    ) -> None:
        """Fold both networks as they are now, where they are now.

        `replays`: write with steps that can be recorded and replayed; by default where that pays, on CUDA.
        """
        self.device = next(network.parameters()).device
        self._replays = self.device.type == "cuda" if replays is None else replays
        self._kind = "cpu" if self.device.type == "cpu" else "other"
        # few processors compute in bfloat16 as fast as in float32; accelerators do
        low = precision == "bfloat16" and self.device.type == "cuda"
        dtype = torch.bfloat16 if low else torch.float32
        self.network = FoldedKronos(network, precision, dtype)
        self.tokenizer = FoldedTokenizer(tokenizer, precision, dtype)

    @property
    def rows(self) -> int:
        """How many rows are worth writing together."""
        return _ROWS_TOGETHER[self._kind]

    @property
    def budget(self) -> int:
        """Bytes that caches may take."""
        if self.device.type == "cuda":
            return int(torch.cuda.mem_get_info(self.device)[0] * _DEVICE_SHARE)
        return CPU_BUDGET

    def encode(self, inputs: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
        """Tokens of normalised look-backs of any lengths."""
        found: list[tuple[Tensor, Tensor]] = []
        for first, stop in self._alike([len(x) for x in inputs]):
            s1, s2 = self.tokenizer.encode(torch.stack(list(inputs[first:stop])).to(self.device))
            found += zip(s1, s2, strict=True)
        return found

    def writer(self, lookbacks: Sequence[Lookback], paths: int, room: int, limit: int) -> "EagerWriter":
        """Read look-backs and branch each into `paths` rows."""
        net, lengths = self.network, [len(one.s1) for one in lookbacks]
        cache = Cache(CacheShape(lengths, paths, room), net.cache_layers(), net.norm, wiped=self._replays)
        contexts = []
        for first, stop in self._alike(lengths):
            some, length = lookbacks[first:stop], lengths[first]
            if length:
                s1, s2 = torch.stack([one.s1 for one in some]), torch.stack([one.s2 for one in some])
                contexts.append(net.read(s1, s2, torch.stack([one.stamps[:length] for one in some]), cache, first))
        stamps = torch.stack(
            [one.stamps[length : length + room] for one, length in zip(lookbacks, lengths, strict=True)]
        )
        context = torch.cat(contexts).repeat_interleave(paths, dim=0) if contexts else None
        kind = GraphWriter if self._replays else EagerWriter
        return kind(net, cache, net.times(stamps), context, limit)

    def decode(self, before: Sequence[tuple[Tensor, Tensor]], s1: Tensor, s2: Tensor) -> Tensor:
        """Normalised bars (N, S, Q, 6) of tokens (N, S, Q)."""
        series, paths, length = s1.shape
        lengths = [len(one) for one, _ in before]
        bars = torch.empty(series, paths, length, self.tokenizer.head.weight.shape[0], device=s1.device)
        pieces = -(-paths * length // _BARS_TOGETHER[self._kind])
        together = -(-paths // min(pieces, paths))
        for first, stop in self._alike(lengths):
            shape = CacheShape(lengths[first:stop], together, length)
            cache = Cache(shape, self.tokenizer.cache_layers(), self.tokenizer.from_bits.weight)
            if lengths[first]:
                old1, old2 = (torch.stack([one[level] for one in before[first:stop]]) for level in (0, 1))
                self.tokenizer.read(old1, old2, cache, 0)
            for begin in range(0, paths, together):
                some = slice(min(begin, paths - together), min(begin, paths - together) + together)
                cache.filled = 0  # the look-back is read once, however many rounds its paths take
                new1, new2 = (tokens[first:stop, some].flatten(0, 1) for tokens in (s1, s2))
                decoded = self.tokenizer.follow(new1, new2, cache)
                bars[first:stop, some] = decoded.view(stop - first, together, *bars.shape[2:])
        return bars

    def _alike(self, lengths: Sequence[int]) -> Iterator[tuple[int, int]]:
        """Runs first .. stop - 1 of neighbours that are equally long and few enough to be read in one pass."""
        first = 0
        for stop in range(1, len(lengths) + 1):
            full = (stop - first + 1) * lengths[first] > _BARS_TOGETHER[self._kind]
            if stop == len(lengths) or lengths[stop] != lengths[first] or full:
                yield first, stop
                first = stop

"""What attention remembers while forecasts are written, one bar at a time.

Every sample path of a series begins with the same look-back. So a cache has two parts: `shared`, computed once for each
of N series by the prefill, and `own`, which grows with each of N * S paths. Both are attended together and the shared
part is never copied. Look-backs of different lengths end at the same place: shorter ones begin later, behind bars that
are out of sight. The cache is an argument; the networks keep no state. Rows are ordered series first:
row = series * S + path; the first rows of a cache can go on without the others.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class CacheShape:
    """The sizes of one attention layer's cache."""

    lengths: Sequence[int]  # of each series' look-back
    paths: int
    room: int  # for so many bars beyond the look-back

    @property
    def longest(self) -> int:
        """The look-back that begins first."""
        return max(self.lengths)

    def hidden(self, device: torch.device) -> Tensor | None:
        """(N, 1, 1, 1, T) true before a series begins, None where all begin together."""
        if min(self.lengths) == self.longest:
            return None
        begins = torch.tensor([self.longest - length for length in self.lengths], device=device)
        return (torch.arange(self.longest, device=device) < begins[:, None])[:, None, None, None]


@dataclass(frozen=True)
class Place:
    """Where the newest bars of all rows stand, told once for all layers.

    Host numbers let every layer look at just what is there. Where the host must not be asked, because a step is
    recorded once and replayed on an accelerator, `at` and `blind` tell the same on the device, and the whole room is
    looked at.
    """

    filled: int  # bars that the rows have beyond their look-backs, before the newest
    start: int = 0  # bars before this one, counted from the longest look-back's first, are out of sight
    at: Tensor | None = None  # (1,) the newest bar's place in the rows' own part
    blind: Tensor | None = None  # (T + room,) true where a bar is out of sight, or not there yet


class LayerCache:
    """Keys and values of one attention layer."""

    def __init__(
        self, shape: CacheShape, heads: int, width: int, like: Tensor, hidden: Tensor | None, wiped: bool
    ) -> None:
        """Room for look-backs and paths, with heads of `width`, of the type and on the device of `like`."""
        series, self._paths, self._hidden = len(shape.lengths), shape.paths, hidden
        # what is looked at but out of sight is multiplied by a weight of zero, so it must be a number
        old = like.new_empty if hidden is None else like.new_zeros
        own = like.new_zeros if wiped else like.new_empty
        self._shared = [old(series, heads, shape.longest, width) for _ in range(2)]
        self._own = [own(series * shape.paths, heads, shape.room, width) for _ in range(2)]

    def remember(self, first: int, keys: Tensor, values: Tensor) -> None:
        """Keep the look-backs of the series from number `first` on: (n, heads, T, width), ending together."""
        series, _, length, _ = keys.shape
        for part, new in zip(self._shared, (keys, values), strict=True):
            part[first : first + series, :, part.shape[2] - length :] = new

    def append(self, place: Place, keys: Tensor, values: Tensor) -> None:
        """Keep the newest bars of the first rows: (rows, heads, Q, width)."""
        for part, new in zip(self._own, (keys, values), strict=True):
            if place.at is not None:
                part.index_copy_(2, place.at, new)
            else:
                part[: len(new), :, place.filled : place.filled + new.shape[2]] = new

    def attend(self, queries: Tensor, place: Place) -> Tensor:
        """Attention of the newest Q bars (rows, heads, Q, width), which have been appended."""
        rows, heads, length, width = queries.shape
        series, paths = rows // self._paths, self._paths
        longest, room = self._shared[0].shape[2], self._own[0].shape[2]
        start, stop = (place.start, place.filled + length) if place.at is None else (0, room)
        old_keys, old_values = (part[:series, :, start:] for part in self._shared)  # empty once `start` is past it
        own_keys, own_values = (part[:rows, :, max(start - longest, 0) : stop] for part in self._own)

        seen, grown = old_keys.shape[2], own_keys.shape[2]
        scaled = queries * width**-0.5
        # (N, heads, S * Q, width): the paths of a series are more queries to the same keys
        grouped = scaled.view(series, paths, heads, length, width).transpose(1, 2).reshape(series, heads, -1, width)
        scores = queries.new_empty(rows, heads, length, seen + grown)
        to_old = (grouped @ old_keys.transpose(-1, -2)).view(series, heads, paths, length, seen).transpose(1, 2)
        if self._hidden is not None:
            to_old = to_old.masked_fill(self._hidden[:series, ..., start:], float("-inf"))
        scores[..., :seen] = to_old.reshape(rows, heads, length, seen)
        scores[..., seen:] = scaled @ own_keys.transpose(-1, -2)
        if length > 1:
            ahead = torch.ones(length, grown, dtype=torch.bool, device=queries.device).triu(grown - length + 1)
            scores[..., seen:].masked_fill_(ahead, float("-inf"))
        if place.blind is not None:
            scores.masked_fill_(place.blind, float("-inf"))

        weights = scores.softmax(dim=-1)
        on_old = weights[..., :seen].view(series, paths, heads, length, seen).transpose(1, 2)
        from_old = on_old.reshape(series, heads, paths * length, seen) @ old_values
        from_old = from_old.view(series, heads, paths, length, width).transpose(1, 2)
        merged: Tensor = from_old.reshape(rows, heads, length, width) + weights[..., seen:] @ own_values
        return merged


class Cache:
    """The caches of every attention layer of a network, and how many bars each row has beyond its look-back."""

    def __init__(
        self, shape: CacheShape, layers: Sequence[tuple[int, int]], like: Tensor, *, wiped: bool = False
    ) -> None:
        """A cache for layers of (heads, width of a head); `wiped` where all of it is looked at before it is full."""
        hidden = shape.hidden(like.device)
        self.shape, self.filled, self.start = shape, 0, 0  # `start`: see Place
        self.layers = [LayerCache(shape, heads, width, like, hidden, wiped) for heads, width in layers]

    @property
    def place(self) -> Place:
        """Where the next bars will stand."""
        return Place(self.filled, self.start)

    @property
    def length(self) -> int:
        """The position of the next bar; look-backs end together, whatever their length."""
        return self.shape.longest + self.filled

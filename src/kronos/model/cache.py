"""What attention remembers while a forecast is written, one bar at a time.

Every sample path of a series begins with the same look-back. So a cache has two parts: `shared`, computed once for each
of N series by the prefill, and `own`, which grows by a bar a step for each of N * S paths. Both are attended together
and the shared part is never copied. The cache is an argument; the networks keep no state. Rows are ordered series
first: row = series * S + path.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


class LayerCache:
    """Keys and values of one attention layer."""

    def __init__(self) -> None:
        """Begin empty: the first `append` is the shared look-back, what follows `expand` belongs to the paths."""
        self._shared: tuple[Tensor, Tensor] | None = None  # each (N, heads, T, head_dim)
        self._own: tuple[Tensor, Tensor] | None = None  # each (N * S, heads, capacity, head_dim)
        self._filled = 0
        self._paths = 0

    def expand(self, paths: int, capacity: int) -> None:
        """From here on every series has `paths` rows, each with room for `capacity` more bars."""
        assert self._shared is not None, "expand before prefill"
        keys = self._shared[0]
        shape = (keys.shape[0] * paths, keys.shape[1], capacity, keys.shape[3])
        self._own = (keys.new_empty(shape), keys.new_empty(shape))
        self._paths = paths

    def append(self, keys: Tensor, values: Tensor) -> None:
        """Remember new bars: (rows, heads, Q, head_dim)."""
        if self._own is None:
            assert self._shared is None, "a look-back is prefilled in one piece"
            self._shared = (keys, values)
            return
        stop = self._filled + keys.shape[2]
        self._own[0][:, :, self._filled : stop] = keys
        self._own[1][:, :, self._filled : stop] = values
        self._filled = stop

    def attend(self, queries: Tensor, start: int = 0) -> Tensor:
        """Attention of the newest Q bars' queries (rows, heads, Q, head_dim) over the bars from `start` on."""
        assert self._shared is not None, "attend before prefill"
        if self._own is None:
            return F.scaled_dot_product_attention(queries, *self._shared, is_causal=queries.shape[2] > 1)
        return self._attend_both(queries, start)

    def _attend_both(self, queries: Tensor, start: int) -> Tensor:
        assert self._shared is not None
        assert self._own is not None
        rows, heads, length, width = queries.shape
        series, paths = rows // self._paths, self._paths
        shared_keys, shared_values = (part[:, :, start:] for part in self._shared)  # empty once `start` is past it
        first = max(start - self._shared[0].shape[2], 0)
        own_keys, own_values = (part[:, :, first : self._filled] for part in self._own)

        seen, grown = shared_keys.shape[2], own_keys.shape[2]
        scaled = queries * width**-0.5
        # (N, heads, S * Q, head_dim): the paths of a series are more queries to the same keys
        grouped = scaled.view(series, paths, heads, length, width).transpose(1, 2).reshape(series, heads, -1, width)
        to_shared = (grouped @ shared_keys.transpose(-1, -2)).view(series, heads, paths, length, seen)
        to_shared = to_shared.transpose(1, 2).reshape(rows, heads, length, seen)
        to_own = scaled @ own_keys.transpose(-1, -2)  # (N * S, heads, Q, grown)
        if length > 1:
            ahead = torch.ones(length, grown, dtype=torch.bool, device=queries.device).triu(grown - length + 1)
            to_own = to_own.masked_fill(ahead, float("-inf"))

        weights = torch.cat([to_shared, to_own], dim=-1).softmax(dim=-1)
        on_shared, on_own = weights[..., :seen], weights[..., seen:]
        on_shared = on_shared.view(series, paths, heads, length, seen).transpose(1, 2)
        from_shared = on_shared.reshape(series, heads, paths * length, seen) @ shared_values
        from_shared = from_shared.view(series, heads, paths, length, width).transpose(1, 2)
        merged: Tensor = from_shared.reshape(rows, heads, length, width) + on_own @ own_values
        return merged


class Cache:
    """The caches of every attention layer of a network, and how many bars they hold."""

    def __init__(self, layers: int) -> None:
        """An empty cache for a network with this many attention layers."""
        self.layers = [LayerCache() for _ in range(layers)]
        self.length = 0
        self.start = 0  # the first bar still attended; moved on by the sliding overflow policy

    def expand(self, paths: int, capacity: int) -> None:
        """Branch every series into `paths` rows with room for `capacity` more bars each; copies nothing."""
        for layer in self.layers:
            layer.expand(paths, capacity)

    def advance(self, bars: int) -> None:
        """Count bars that every layer has appended."""
        self.length += bars

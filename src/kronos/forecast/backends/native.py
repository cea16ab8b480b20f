"""The backend "native": the folded networks in C, built on the machine that runs them, on a CPU.

What torch does operation by operation is one call here: all threads walk through a whole step together, weights are
packed once in the order in which they are read, and attention never copies what paths have in common.
"""

import ctypes
from collections.abc import Sequence

import torch
from torch import Tensor

from kronos.errors import ConfigError
from kronos.forecast.backends.eager import CPU_BUDGET
from kronos.forecast.backends.protocol import Lookback
from kronos.forecast.native import library as c
from kronos.forecast.native.memory import Pool, padded
from kronos.forecast.native.packed import Memory, Packed, PackedNetwork, PackedTokenizer
from kronos.forecast.sampling import Sampler
from kronos.model import FoldedKronos, FoldedTokenizer, Kronos, KronosTokenizer

_ROWS_TOGETHER = 512
_BARS_TOGETHER = 1024
_ENDLESS = 1 << 30  # more bars than any window has


class NativeBackend:
    """Folded networks in C."""

    name = "native"
    rows = _ROWS_TOGETHER
    budget = CPU_BUDGET

    def __init__(self, network: Kronos, tokenizer: KronosTokenizer, precision: str = "float32") -> None:
        """Pack both networks as they are now."""
        self.device = next(network.parameters()).device
        if self.device.type != "cpu":
            raise ConfigError(f'the backend "native" computes on a CPU, not on {self.device}; choose backend="torch"')
        pool = Pool()
        self._network = PackedNetwork(FoldedKronos(network, precision), precision, pool)
        self._tokenizer = PackedTokenizer(FoldedTokenizer(tokenizer, precision), precision, pool)

    def encode(self, inputs: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
        """Tokens of normalised look-backs of any lengths."""
        packed, threads = self._tokenizer, torch.get_num_threads()
        longest = max(len(x) for x in inputs)
        packed.reach(longest)
        one_layer = Layers(packed, packed.encoder_layers[:1], [0], 1, 0, longest)
        same = one_layer.repeated(len(packed.encoder_layers))
        memory = Memory(packed, packed.encoder_layers, longest, one_layer.rooms, threads)
        signs, found = torch.empty(longest * packed.bits), []
        for x in inputs:
            bars = x.to(torch.float32).contiguous()
            s1, s2 = torch.empty(2, len(bars), dtype=torch.long)
            packed.library.kronos_encode(
                ctypes.addressof(packed.struct),
                same.address,
                memory.address,
                threads,
                len(bars),
                bars.data_ptr(),
                signs.data_ptr(),
                s1.data_ptr(),
                s2.data_ptr(),
            )
            found.append((s1, s2))
        return found

    def writer(self, lookbacks: Sequence[Lookback], paths: int, room: int, limit: int) -> "NativeWriter":
        """Read look-backs and branch each into `paths` rows."""
        return NativeWriter(self._network, lookbacks, paths, room, limit)

    def decode(self, before: Sequence[tuple[Tensor, Tensor]], s1: Tensor, s2: Tensor) -> Tensor:
        """Normalised bars (N, S, Q, 6) of tokens (N, S, Q)."""
        packed, threads = self._tokenizer, torch.get_num_threads()
        series, paths, count = s1.shape
        together = max(min(_BARS_TOGETHER // count, paths), 1)
        longest = max(len(old) for old, _ in before)
        packed.reach(longest + count)
        bars = torch.empty(series, paths, count, packed.inputs)
        layers = Layers(packed, packed.decoder_layers, [longest], together, longest, count)
        most = max(together * count, longest)
        memory = Memory(packed, packed.decoder_layers, most, layers.rooms, threads)
        codes = torch.empty(most * packed.bits)

        def run(view: "Layers", rows: int, length: int, tokens: tuple[Tensor, Tensor], to: int | None) -> None:
            packed.library.kronos_decode(
                ctypes.addressof(packed.struct),
                view.address,
                memory.address,
                threads,
                rows,
                length,
                tokens[0].data_ptr(),
                tokens[1].data_ptr(),
                codes.data_ptr(),
                to,
            )

        for n, (old1, old2) in enumerate(before):
            layers.lengths[0] = len(old1)
            if len(old1):
                run(layers.of_series(0), 1, len(old1), (old1.contiguous(), old2.contiguous()), None)
            for first in range(0, paths, together):
                some = slice(first, min(first + together, paths))
                layers.struct.paths = some.stop - first  # of one series there may be fewer at the end
                new = s1[n, some].contiguous(), s2[n, some].contiguous()
                run(layers, some.stop - first, count, new, bars[n, some].data_ptr())
        return bars


class Layers:
    """The caches of a network's layers, and the struct that points at them."""

    def __init__(
        self,
        packed: Packed,
        layers: Sequence[tuple[int, int]],
        lengths: Sequence[int],
        paths: int,
        shared: int,
        own: int,
    ) -> None:
        """Room for `shared` bars of every series' look-back and `own` bars of every path."""
        self._panel = panel = packed.panel
        self.rooms = (-(-shared // panel) * panel, -(-own // panel) * panel)
        self.lengths = torch.tensor(lengths, dtype=torch.int32)
        counts = (len(lengths), len(lengths) * paths)
        sizes = [
            [
                count * heads * room * each
                for count, room in zip(counts, self.rooms, strict=True)
                for each in (width, -(-width // panel) * panel)
            ]
            for heads, width in layers
        ]
        arena = packed.pool.lend(sum(padded(size) for layer in sizes for size in layer), self)
        self._held = [[arena.take(size) for size in layer] for layer in sizes]
        self._structs = (c.LayerCache * max(len(layers), 1))()
        for struct, (heads, width), held in zip(self._structs, layers, self._held, strict=False):
            struct.heads, struct.width = heads, width
            struct.shared_keys, struct.shared_values, struct.own_keys, struct.own_values = (
                part.data_ptr() for part in held
            )
        self._point(paths, *self.rooms, self.lengths)

    def _point(self, paths: int, shared_room: int, own_room: int, lengths: Tensor) -> None:
        pointer = ctypes.cast(self._structs, ctypes.POINTER(c.LayerCache))
        self.struct = c.Cache(paths, 0, _ENDLESS, shared_room, own_room, lengths.data_ptr(), pointer)
        self.address = ctypes.addressof(self.struct)

    def repeated(self, times: int) -> "Layers":
        """One layer's memory in the place of `times` layers', for windows that nobody comes back to."""
        view = object.__new__(Layers)
        view.__dict__.update(self.__dict__)
        view._structs = (c.LayerCache * max(times, 1))(*([self._structs[0]] * times))
        view._point(1, *self.rooms, self.lengths)
        return view

    def of_series(self, number: int) -> "Layers":
        """One series' place among the look-backs, as the own part of a single row with nothing before it."""
        view = object.__new__(Layers)
        view.__dict__.update(self.__dict__)
        view._structs = type(self._structs)()
        view.lengths = torch.zeros(1, dtype=torch.int32)
        for struct, mine in zip(view._structs, self._structs, strict=True):
            struct.heads, struct.width = mine.heads, mine.width
            padded = -(-mine.width // self._panel) * self._panel
            place = 4 * number * mine.heads * self.rooms[0]
            struct.own_keys = mine.shared_keys + place * mine.width if mine.shared_keys else None
            struct.own_values = mine.shared_values + place * padded if mine.shared_values else None
        view._point(1, 0, self.rooms[0], view.lengths)
        return view


class NativeWriter:
    """Writes with the C library over caches of its own."""

    def __init__(self, packed: PackedNetwork, lookbacks: Sequence[Lookback], paths: int, room: int, limit: int) -> None:
        """Read the look-backs."""
        lengths = [len(one.s1) for one in lookbacks]
        longest, rows = max(lengths), len(lookbacks) * paths
        self._packed, self._paths, self._threads = packed, paths, torch.get_num_threads()
        packed.reach(longest + room + 1)
        self._layers = Layers(packed, packed.layers, lengths, paths, longest, room)
        self._vocabulary = max(packed.s1_size, packed.s2_size)
        self._memory = self._room_for(max(longest, rows))
        self._contexts = torch.empty(len(lookbacks), packed.width)
        for number, one in enumerate(lookbacks):
            if lengths[number]:
                self._read(number, one, packed.times(one.stamps[: lengths[number]]))
        self._contexts = self._contexts.repeat_interleave(paths, dim=0)
        self._times = packed.times(torch.stack([one.stamps[len(one.s1) :][:room] for one in lookbacks]))
        self._logits = torch.empty(rows * self._vocabulary)
        self._layers.struct.limit = limit
        self._how: tuple[Sampler | None, c.SamplerStruct] = (None, c.SamplerStruct())

    def _room_for(self, bars: int) -> Memory:
        return Memory(self._packed, self._packed.layers, bars, self._layers.rooms, self._threads, self._vocabulary)

    def _read(self, number: int, one: Lookback, times: Tensor) -> None:
        view, s1, s2 = self._layers.of_series(number), one.s1.contiguous(), one.s2.contiguous()
        self._packed.library.kronos_read(
            ctypes.addressof(self._packed.struct),
            view.address,
            self._memory.address,
            self._threads,
            len(s1),
            s1.data_ptr(),
            s2.data_ptr(),
            times.data_ptr(),
            self._contexts[number].data_ptr(),
        )

    def next(self, s1: Tensor, s2: Tensor, uniforms: Tensor, sampler: Sampler) -> tuple[Tensor, Tensor]:
        """Read the newest bars (rows, Q) and choose the bars after them."""
        rows, count = s1.shape
        s1, s2 = s1.contiguous(), s2.contiguous()
        if rows * count > self._memory.bars:
            self._memory = self._room_for(rows * count)
        struct, new = self._layers.struct, torch.empty(2, rows, dtype=torch.long)
        self._packed.library.kronos_next(
            ctypes.addressof(self._packed.struct),
            self._layers.address,
            self._memory.address,
            self._threads,
            rows,
            count,
            s1.data_ptr(),
            s2.data_ptr(),
            self._times[0, struct.filled :].data_ptr() if count else None,
            self._times.shape[1] * self._packed.width,
            self._contexts.data_ptr(),
            self._logits.data_ptr(),
            ctypes.addressof(self._sampler(sampler)),
            uniforms.data_ptr(),
            uniforms.stride(0),
            new[0].data_ptr(),
            new[1].data_ptr(),
        )
        struct.filled += count
        return new[0], new[1]

    def _sampler(self, sampler: Sampler) -> c.SamplerStruct:
        if self._how[0] is not sampler:
            nucleus = 1.0 if sampler.top_k and sampler.reference_rule else sampler.top_p
            struct = c.SamplerStruct(sampler.temperature, nucleus, sampler.top_k, sampler.top_k == 1)
            self._how = (sampler, struct)
        return self._how[1]

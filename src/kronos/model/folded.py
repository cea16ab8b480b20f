"""The networks once more, folded for writing bars: the same functions with less to do.

What does not depend on the bars is multiplied out once: queries, keys and values come from one matrix, and so do the
two halves of the gate; a norm's weights are part of the matrix behind it; the embeddings of both tokens have gone
through the layer that joins them, and every coarse token knows its query to the dependency layer. The weights can be
held in fewer bits; the arithmetic stays that of `dtype`.

A folded network is a picture of the weights at one moment: `version_of` tells when they have moved on.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kronos.errors import ConfigError
from kronos.model.cache import Cache, LayerCache, Place
from kronos.model.layers import Block, Blocks, Rotation, rotate, rotation_at
from kronos.model.network import DEPENDENCY_HEADS, Kronos
from kronos.model.tokenizer import KronosTokenizer, bits_to_tokens

Precision = Literal["float32", "bfloat16", "int8"]
PRECISIONS: tuple[str, ...] = get_args(Precision)


def rounded(weight: Tensor, precision: str) -> Tensor:
    """A matrix (out, in) as it is after being held in so many bits; int8 has one scale for each output."""
    if precision == "bfloat16":
        return weight.bfloat16().float()
    if precision == "int8":
        scale = int8_scale(weight)
        return (weight / scale).round() * scale
    return weight


def int8_scale(weight: Tensor) -> Tensor:
    """(out, 1): what one step of an 8-bit weight is worth."""
    return weight.abs().amax(1, keepdim=True).clamp_min(1e-30) / 127


def version_of(*networks: nn.Module) -> tuple[tuple[int, int], ...]:
    """Changes whenever a weight does: an optimiser's step, a loaded file, a move to another device."""
    return tuple((weight.data_ptr(), weight._version) for net in networks for weight in net.state_dict().values())


@dataclass(frozen=True)
class Linear:
    """A matrix (out, in) and its bias."""

    weight: Tensor
    bias: Tensor | None = None

    def __call__(self, x: Tensor) -> Tensor:
        """(..., in) -> (..., out)."""
        return F.linear(x, self.weight, self.bias)


@dataclass(frozen=True)
class _Fold:
    """How weights are taken over: in which precision, and computed in which type."""

    precision: str
    dtype: torch.dtype

    def linear(self, *layers: nn.Linear, norm: Tensor | None = None) -> Linear:
        """Several layers over one input as one, with the weights of the norm before them multiplied in."""
        weight = torch.cat([layer.weight.detach().float() for layer in layers])
        weight = rounded(weight if norm is None else weight * norm.detach().float(), self.precision)
        biases = [layer.bias for layer in layers if layer.bias is not None]
        bias = torch.cat([bias.detach() for bias in biases]).to(self.dtype) if biases else None
        return Linear(weight.to(self.dtype).contiguous(), bias)

    def table(self, weight: Tensor) -> Tensor:
        return weight.detach().to(self.dtype).contiguous()


class FoldedBlock:
    """One transformer layer."""

    def __init__(self, block: Block, fold: _Fold) -> None:
        """Fold a block's weights."""
        attn = block.self_attn
        self.heads, self.eps = attn.heads, block.norm1.eps
        self.qkv = fold.linear(attn.q_proj, attn.k_proj, attn.v_proj, norm=block.norm1.weight)
        self.out = fold.linear(attn.out_proj)
        self.gate = fold.linear(block.ffn.w1, block.ffn.w3, norm=block.norm2.weight)
        self.down = fold.linear(block.ffn.w2)

    def split(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values (B, heads, T, head_dim) of (B, T, width)."""
        batch, length, width = x.shape
        joint = self.qkv(F.rms_norm(x, (width,), eps=self.eps))
        queries, keys, values = joint.view(batch, length, 3 * self.heads, -1).transpose(1, 2).chunk(3, dim=1)
        return queries, keys, values

    def finish(self, x: Tensor, attended: Tensor) -> Tensor:
        """Add attention's answer (B, heads, T, head_dim) and the feed-forward layer's to x."""
        x = x + self.out(attended.transpose(1, 2).flatten(2))
        first, second = self.gate(F.rms_norm(x, x.shape[-1:], eps=self.eps)).chunk(2, dim=-1)
        return x.add_(self.down(F.silu(first).mul_(second)))

    def read(self, x: Tensor, rotation: Rotation, cache: LayerCache | None = None, first: int = 0) -> Tensor:
        """Whole windows (n, T, width) from their first bar; with a cache they become look-backs from series `first`."""
        queries, keys, values = self.split(x)
        keys = rotate(keys, rotation)
        if cache is not None:
            cache.remember(first, keys, values)
        attended = F.scaled_dot_product_attention(rotate(queries, rotation), keys, values, is_causal=True)
        return self.finish(x, attended)

    def remember(self, x: Tensor, rotation: Rotation, cache: LayerCache, first: int) -> None:
        """Only keep keys and values: what the last layer's look-back is for, where nothing is read off it."""
        _, keys, values = self.split(x)
        cache.remember(first, rotate(keys, rotation), values)

    def follow(self, x: Tensor, rotation: Rotation, cache: LayerCache, place: Place) -> Tensor:
        """The newest bars (rows, Q, width)."""
        queries, keys, values = self.split(x)
        cache.append(place, rotate(keys, rotation), values)
        return self.finish(x, cache.attend(rotate(queries, rotation), place))


class FoldedBlocks:
    """A stack of blocks."""

    def __init__(self, blocks: Blocks, fold: _Fold) -> None:
        """Fold every block; `inv_freq` is theirs in common."""
        known = [block for block in blocks if isinstance(block, Block)]
        self.blocks = [FoldedBlock(block, fold) for block in known]
        self.frequencies = known[0].self_attn.rotary.inv_freq if known else torch.empty(0)
        self._dtype = fold.dtype

    def cache_layers(self, width: int) -> list[tuple[int, int]]:
        """(heads, width of a head) of every layer."""
        return [(block.heads, width // block.heads) for block in self.blocks]

    def rotation(self, start: int, length: int) -> Rotation:
        """Rotary angles of positions start .. start + length - 1."""
        cos, sin = rotation_at(self.frequencies, start, length)
        return cos.to(self._dtype), sin.to(self._dtype)

    def read(self, x: Tensor, cache: Cache | None = None, first: int = 0, *, keep_only: bool = False) -> Tensor:
        """Windows (n, T, width); `keep_only` spares what the last layer does beyond remembering."""
        if not self.blocks:
            return x
        # look-backs end together, so a shorter one begins at a later position; only differences matter
        rotation = self.rotation(cache.shape.longest - x.shape[1] if cache else 0, x.shape[1])
        for number, block in enumerate(self.blocks):
            layer = cache.layers[number] if cache else None
            if keep_only and layer is not None and number == len(self.blocks) - 1:
                block.remember(x, rotation, layer, first)
            else:
                x = block.read(x, rotation, layer, first)
        return x

    def follow(self, x: Tensor, cache: Cache, place: Place, rotation: Rotation) -> Tensor:
        """The newest bars (rows, Q, width) of the first rows; the caller counts them."""
        for block, layer in zip(self.blocks, cache.layers, strict=False):
            x = block.follow(x, rotation, layer, place)
        return x


class FoldedKronos:
    """The predictor network, ready to write."""

    def __init__(self, network: Kronos, precision: str = "float32", dtype: torch.dtype = torch.float32) -> None:
        """Fold the weights as they are now."""
        _check(precision)
        fold, width = _Fold(precision, dtype), network.d_model
        embedding, dep = network.embedding, network.dep_layer
        with torch.no_grad():
            joining = embedding.fusion_proj
            halves = joining.weight.float().chunk(2, dim=1)
            coarse, fine = embedding.emb_s1.weight.float(), embedding.emb_s2.weight.float()
            self.s1_table = fold.table(coarse @ halves[0].T * embedding.scale)  # (2^s1_bits, d)
            self.s2_table = fold.table(fine @ halves[1].T * embedding.scale + joining.bias.float())
            asking = dep.cross_attn.q_proj
            self.query_table = fold.table(coarse @ asking.weight.float().T + asking.bias.float())
            self.time_tables = [fold.table(table) for table in network.time_emb.tables()]
        self.width, self.form = width, network.sibling_form
        self.transformer = FoldedBlocks(network.transformer, fold)
        self.norm, self.eps = fold.table(network.norm.weight), network.norm.eps
        self.dep_kv = fold.linear(dep.cross_attn.k_proj, dep.cross_attn.v_proj)
        self.dep_out = fold.linear(dep.cross_attn.out_proj)
        self.dep_norm = fold.table(dep.norm.weight)
        self.head_s1, self.head_s2 = fold.linear(network.head.proj_s1), fold.linear(network.head.proj_s2)
        self.dep_frequencies = dep.cross_attn.rotary.inv_freq
        self.device, self.dtype = self.norm.device, dtype

    def cache_layers(self) -> list[tuple[int, int]]:
        """(heads, width of a head) of every attention layer; the last is the dependency layer's."""
        return [*self.transformer.cache_layers(self.width), (DEPENDENCY_HEADS, self.width // DEPENDENCY_HEADS)]

    def times(self, stamps: Tensor) -> Tensor:
        """What stamps (..., 5) add to their bars' input: (..., d)."""
        columns = stamps.long().unbind(-1)
        first, *rest = (table[column] for table, column in zip(self.time_tables, columns, strict=True))
        for part in rest:
            first += part
        return first

    def read(self, s1: Tensor, s2: Tensor, stamps: Tensor, cache: Cache, first: int) -> Tensor:
        """Look-backs (n, T) of the series from number `first` on; the context (n, 1, d) of their last bars."""
        x = self.transformer.read(self._input(s1, s2, self.times(stamps)), cache, first)
        context = self._normed(x)
        keys, values = self._dep_keys(context, self.turns(cache.shape.longest - s1.shape[1], s1.shape[1])[1])
        cache.layers[-1].remember(first, keys, values)
        return context[:, -1:]

    def turns(self, start: int, length: int) -> tuple[Rotation, Rotation]:
        """Rotary angles of positions start .. start + length - 1, of the blocks and of the dependency layer."""
        cos, sin = rotation_at(self.dep_frequencies, start, length)
        return self.transformer.rotation(start, length), (cos.to(self.dtype), sin.to(self.dtype))

    def follow(self, s1: Tensor, s2: Tensor, times: Tensor, cache: Cache) -> Tensor:
        """The newest bars (rows, Q) with their `times` (rows, Q, d); the context (rows, 1, d) of the last of them."""
        context = self.follow_at(s1, s2, times, cache, cache.place, self.turns(cache.length, s1.shape[1]))
        cache.filled += s1.shape[1]
        return context

    def follow_at(
        self, s1: Tensor, s2: Tensor, times: Tensor, cache: Cache, place: Place, turns: tuple[Rotation, Rotation]
    ) -> Tensor:
        """`follow` at a place and with angles that the caller knows; it does not count the bars."""
        x = self._input(s1, s2, times)
        context = self._normed(self.transformer.follow(x, cache, place, turns[0]))
        keys, values = self._dep_keys(context, turns[1])
        cache.layers[-1].append(place, keys, values)
        return context[:, -1:]

    def s1_logits(self, context: Tensor) -> Tensor:
        """Coarse logits (rows, vocabulary) of the next bars, from the last context (rows, 1, d)."""
        return self.head_s1(context[:, 0]).float()

    def s2_logits(self, context: Tensor, s1: Tensor, cache: Cache) -> Tensor:
        """Fine logits (rows, vocabulary) given the chosen coarse tokens (rows,)."""
        newest = Place(cache.filled - 1, cache.start)
        return self.s2_logits_at(context, s1, cache, newest, self.turns(cache.length - 1, 1))

    def s2_logits_at(
        self, context: Tensor, s1: Tensor, cache: Cache, place: Place, turns: tuple[Rotation, Rotation]
    ) -> Tensor:
        """`s2_logits` at the newest bar's place."""
        queries = self.query_table[s1].view(len(s1), DEPENDENCY_HEADS, 1, -1)
        if self.form == "trained":
            queries = rotate(queries, turns[1])
        attended = cache.layers[-1].attend(queries, place).transpose(1, 2).flatten(2)
        merged = F.rms_norm(context + self.dep_out(attended), (self.width,), self.dep_norm, self.eps)
        return self.head_s2(merged[:, 0]).float()

    def _input(self, s1: Tensor, s2: Tensor, times: Tensor) -> Tensor:
        return (self.s1_table[s1] + self.s2_table[s2]).add_(times)

    def _normed(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, (self.width,), self.norm, self.eps)

    def _dep_keys(self, context: Tensor, rotation: Rotation) -> tuple[Tensor, Tensor]:
        rows, length, _ = context.shape
        keys, values = self.dep_kv(context).view(rows, length, 2 * DEPENDENCY_HEADS, -1).transpose(1, 2).chunk(2, dim=1)
        return rotate(keys, rotation) if self.form == "trained" else keys, values


class FoldedTokenizer:
    """The tokenizer, ready to read and to write."""

    def __init__(
        self, tokenizer: KronosTokenizer, precision: str = "float32", dtype: torch.dtype = torch.float32
    ) -> None:
        """Fold the weights as they are now. The encoder is never rounded: a bit must not flip for want of bits."""
        _check(precision)
        fold, exact = _Fold(precision, dtype), _Fold("float32", torch.float32)
        self.s1_bits, self.s2_bits = tokenizer.s1_bits, tokenizer.s2_bits
        self.width = tokenizer.embed.out_features
        self.embed, self.encoder = exact.linear(tokenizer.embed), FoldedBlocks(tokenizer.encoder, exact)
        self.to_bits = exact.linear(tokenizer.quant_embed)
        self.from_bits = fold.linear(tokenizer.post_quant_embed)
        self.decoder, self.head = FoldedBlocks(tokenizer.decoder, fold), fold.linear(tokenizer.head)
        self.device, self.dtype = self.to_bits.weight.device, dtype

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens, two of (B, T), of normalised bars (B, T, d_in)."""
        bits = self.to_bits(self.encoder.read(self.embed(x))) > 0  # the sphere's radius changes no sign
        return bits_to_tokens(bits[..., : self.s1_bits]), bits_to_tokens(bits[..., self.s1_bits :])

    def cache_layers(self) -> list[tuple[int, int]]:
        """(heads, width of a head) of every layer of the decoder."""
        return self.decoder.cache_layers(self.width)

    def read(self, s1: Tensor, s2: Tensor, cache: Cache, first: int) -> None:
        """Look-backs (n, T) for `follow` to continue; nothing of them is decoded."""
        self.decoder.read(self._codes(s1, s2), cache, first, keep_only=True)

    def follow(self, s1: Tensor, s2: Tensor, cache: Cache) -> Tensor:
        """Normalised bars (rows, Q, d_in) of tokens (rows, Q)."""
        rotation = self.decoder.rotation(cache.length, s1.shape[1])
        bars: Tensor = self.head(self.decoder.follow(self._codes(s1, s2), cache, cache.place, rotation)).float()
        cache.filled += s1.shape[1]
        return bars

    def _codes(self, s1: Tensor, s2: Tensor) -> Tensor:
        places = [torch.arange(bits, device=s1.device) for bits in (self.s1_bits, self.s2_bits)]
        bits = torch.cat([(s1[..., None] >> places[0]) & 1, (s2[..., None] >> places[1]) & 1], dim=-1)
        return self.from_bits((bits.to(self.dtype) * 2 - 1) * (self.s1_bits + self.s2_bits) ** -0.5)


def _check(precision: str) -> None:
    if precision not in PRECISIONS:
        raise ConfigError(f"unknown precision '{precision}'; known are {', '.join(PRECISIONS)}")

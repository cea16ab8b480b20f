"""The network: a decoder-only transformer that writes the next bar's coarse token, then its fine token.

It reads token pairs and the five time stamps of each bar. `forward` is training; `decode_s1` and `decode_s2` are the
reference's two inference calls over whole windows. What writes bars one by one is `folded`. It knows nothing of prices,
frames, sampling or files.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, NamedTuple, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kronos.errors import ConfigError
from kronos.model.checkpoint import Checkpoint
from kronos.model.layers import Attention, Block, Blocks, RMSNorm, causal_mask, rotate
from kronos.model.tokenizer import check_tokens

SiblingForm = Literal["published", "trained"]
StampOf = Literal["bar", "next"]
Clock = Literal["given", "utc"]

STAMP_SIZES = {"minute": 60, "hour": 24, "weekday": 7, "day": 32, "month": 13}  # in the order of a stamp's columns
DEPENDENCY_HEADS = 4


class HierarchicalEmbedding(nn.Module):
    """One input vector from a bar's two tokens."""

    def __init__(self, s1_bits: int, s2_bits: int, width: int) -> None:
        """Tables for both vocabularies and the layer that joins them."""
        super().__init__()
        self.emb_s1 = nn.Embedding(2**s1_bits, width)
        self.emb_s2 = nn.Embedding(2**s2_bits, width)
        self.fusion_proj = nn.Linear(2 * width, width)
        self.scale = width**0.5

    def forward(self, s1: Tensor, s2: Tensor) -> Tensor:
        """(B, T), (B, T) -> (B, T, width)."""
        joined: Tensor = self.fusion_proj(torch.cat([self.emb_s1(s1), self.emb_s2(s2)], dim=-1) * self.scale)
        return joined


class _FixedTable(nn.Module):
    """A sinusoidal table: never trained, yet saved and loaded like weights."""

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        self.emb = nn.Embedding(size, width)
        rates = 10000.0 ** -(torch.arange(0, width, 2).float() / width)
        angles = torch.outer(torch.arange(size).float(), rates)  # (size, width / 2)
        table = torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)[:, :width]
        self.emb.weight = nn.Parameter(table, requires_grad=False)

    def forward(self, index: Tensor) -> Tensor:
        found: Tensor = self.emb(index)
        return found


class TemporalEmbedding(nn.Module):
    """The sum of five tables, one for each field of a time stamp."""

    def __init__(self, width: int, learned: bool) -> None:
        """Learned tables, or fixed sinusoids."""
        super().__init__()
        for field, size in STAMP_SIZES.items():
            setattr(self, f"{field}_embed", nn.Embedding(size, width) if learned else _FixedTable(size, width))

    def forward(self, stamp: Tensor) -> Tensor:
        """(B, T, 5) whole numbers -> (B, T, width)."""
        columns = stamp.long().unbind(-1)
        parts = [getattr(self, f"{field}_embed")(column) for field, column in zip(STAMP_SIZES, columns, strict=True)]
        return torch.stack(parts).sum(0)

    def tables(self) -> list[Tensor]:
        """The tables' weights, in the order of a stamp's columns."""
        named = [getattr(self, f"{field}_embed") for field in STAMP_SIZES]
        return [table.emb.weight if isinstance(table, _FixedTable) else table.weight for table in named]


class DependencyLayer(nn.Module):
    """Gives s2's logits their condition: the context, attended from the coarse token that was just chosen.

    "trained" is the attention as it was trained: queries and keys rotated, causal. "published" is how published
    inference runs it: one query over all keys and nothing rotated. They are different functions.
    """

    def __init__(self, width: int) -> None:
        """Attention with always four heads, and a norm."""
        super().__init__()
        self.cross_attn = Attention(width, DEPENDENCY_HEADS)
        self.norm = RMSNorm(width)

    def forward(self, context: Tensor, sibling: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        """As trained: context (B, T, d), the next bars' coarse vectors (B, T, d) -> (B, T, d)."""
        attn = self.cross_attn
        rotation = attn.rotary.at(0, context.shape[1])
        queries = rotate(attn.split(attn.q_proj(sibling)), rotation)
        keys = rotate(attn.split(attn.k_proj(context)), rotation)
        attended = attn.over_window(queries, keys, attn.split(attn.v_proj(context)), padding_mask)
        return self._merge(context, attended)

    def last(self, context: Tensor, sibling: Tensor, form: SiblingForm, padding_mask: Tensor | None) -> Tensor:
        """The window's last bar without a cache: context (B, T, d), sibling (B, 1, d) -> (B, 1, d)."""
        attn = self.cross_attn
        queries, keys = attn.split(attn.q_proj(sibling)), attn.split(attn.k_proj(context))
        if form == "trained":
            length = context.shape[1]
            queries = rotate(queries, attn.rotary.at(length - 1, 1))
            keys = rotate(keys, attn.rotary.at(0, length))
        # itself always, as in `causal_mask`
        visible = None if padding_mask is None else causal_mask(padding_mask)[:, :, -1:]
        attended = F.scaled_dot_product_attention(queries, keys, attn.split(attn.v_proj(context)), attn_mask=visible)
        return self._merge(context[:, -1:], attended)

    def _merge(self, context: Tensor, attended: Tensor) -> Tensor:
        merged: Tensor = self.norm(context + self.cross_attn.join(attended))
        return merged


class LossParts(NamedTuple):
    """The training loss and the cross entropies it is the mean of."""

    loss: Tensor
    s1: Tensor
    s2: Tensor


class DualHead(nn.Module):
    """The two output layers and the training loss."""

    def __init__(self, s1_bits: int, s2_bits: int, width: int) -> None:
        """Logits for both vocabularies."""
        super().__init__()
        self.proj_s1 = nn.Linear(width, 2**s1_bits)
        self.proj_s2 = nn.Linear(width, 2**s2_bits)

    def compute_loss(
        self,
        s1_logits: Tensor,
        s2_logits: Tensor,
        s1_targets: Tensor,
        s2_targets: Tensor,
        padding_mask: Tensor | None = None,
    ) -> LossParts:
        """Mean cross entropy of both tokens over the bars (B, T) that are not padding, and its two halves."""
        keep = torch.ones_like(s1_targets, dtype=torch.bool) if padding_mask is None else ~padding_mask
        if not bool(keep.any()):
            raise ConfigError("every bar of the batch is padding: there is nothing to compute a loss over")
        s1 = F.cross_entropy(s1_logits[keep].float(), s1_targets[keep])
        s2 = F.cross_entropy(s2_logits[keep].float(), s2_targets[keep])
        return LossParts((s1 + s2) / 2, s1, s2)


class Kronos(Checkpoint):
    """The predictor network; the published architecture, state-dict keys and method names.

    Configuration keys of our own, whose defaults are the published behaviour: `sibling_form` (see `DependencyLayer`),
    `stamp_of` ("bar": each bar carries its own time; "next": the time of the bar it predicts), `clock` ("given": stamps
    are read as the index shows them; "utc": in UTC where the index knows its zone), `max_context` the longest window it
    was trained for, `pair` the fingerprint of the tokenizer it was trained with, `cutoff` the last time in its training
    data.
    """

    own_keys: ClassVar[Mapping[str, Any]] = {
        "sibling_form": "published",
        "stamp_of": "bar",
        "clock": "given",
        "max_context": None,
        "pair": None,
        "cutoff": None,
        "name": None,
    }

    def __init__(
        self,
        s1_bits: int,
        s2_bits: int,
        n_layers: int,
        d_model: int,
        n_heads: int,
        ff_dim: int,
        ffn_dropout_p: float,
        attn_dropout_p: float,
        resid_dropout_p: float,
        token_dropout_p: float,
        learn_te: bool,
        sibling_form: SiblingForm = "published",
        stamp_of: StampOf = "bar",
        clock: Clock = "given",
        max_context: int | None = None,
        pair: str | None = None,
        cutoff: str | None = None,
        name: str | None = None,
    ) -> None:
        """Build from the arguments that config.json holds."""
        super().__init__(locals())
        if d_model % n_heads or d_model % DEPENDENCY_HEADS:
            raise ConfigError(f"d_model {d_model} does not divide into {n_heads} and {DEPENDENCY_HEADS} heads")
        for value, known in ((sibling_form, SiblingForm), (stamp_of, StampOf), (clock, Clock)):
            if value not in get_args(known):
                raise ConfigError(f"'{value}' is not one of {', '.join(get_args(known))}")
        self.s1_bits, self.s2_bits, self.d_model = s1_bits, s2_bits, d_model
        self.sibling_form, self.stamp_of, self.clock = sibling_form, stamp_of, clock
        self.max_context, self.pair, self.cutoff, self.name = max_context, pair, cutoff, name
        self.embedding = HierarchicalEmbedding(s1_bits, s2_bits, d_model)
        self.time_emb = TemporalEmbedding(d_model, learn_te)
        self.token_drop = nn.Dropout(token_dropout_p)
        self.transformer = Blocks(
            Block(d_model, n_heads, ff_dim, ffn_dropout_p, attn_dropout_p, resid_dropout_p) for _ in range(n_layers)
        )
        self.norm = RMSNorm(d_model)
        self.dep_layer = DependencyLayer(d_model)
        self.head = DualHead(s1_bits, s2_bits, d_model)
        self.apply(self._initialise)

    def _initialise(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear):
            nn.init.xavier_normal_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding) and module.weight.requires_grad:
            nn.init.normal_(module.weight, std=self.d_model**-0.5)

    def forward(
        self,
        s1_ids: Tensor,
        s2_ids: Tensor,
        stamp: Tensor | None = None,
        padding_mask: Tensor | None = None,
        use_teacher_forcing: bool = False,
        s1_targets: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Logits of every bar's successor, each (B, T, vocabulary), with the dependency layer as trained.

        The fine token is conditioned on `s1_targets` when teacher forcing, else on coarse tokens that are sampled.
        """
        s1_logits, context = self.decode_s1(s1_ids, s2_ids, stamp, padding_mask)
        if use_teacher_forcing:
            if s1_targets is None:
                raise ConfigError("teacher forcing needs s1_targets, the coarse tokens of the next bars")
            self._check(s1_targets, "s1_targets")
            sibling = s1_targets
        else:
            odds = s1_logits.detach().float().softmax(-1)
            sibling = torch.multinomial(odds.flatten(0, 1), 1).view(s1_ids.shape)
        fine = self.dep_layer(context, self.embedding.emb_s1(sibling), padding_mask)
        return s1_logits, self.head.proj_s2(fine)

    def decode_s1(
        self, s1_ids: Tensor, s2_ids: Tensor, stamp: Tensor | None = None, padding_mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Coarse logits (B, T, vocabulary) and the context (B, T, d) of a whole window."""
        self._check(s1_ids, "s1_ids")
        self._check(s2_ids, "s2_ids")
        context = self._context(s1_ids, s2_ids, stamp, padding_mask)
        return self.head.proj_s1(context), context

    def decode_s2(self, context: Tensor, s1_ids: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        """Fine logits given the next bars' coarse tokens: of the last bar for one column, of all for T columns."""
        self._check(s1_ids, "s1_ids")
        sibling = self.embedding.emb_s1(s1_ids)
        if s1_ids.shape[1] == 1:
            fine = self.dep_layer.last(context, sibling, self.sibling_form, padding_mask)
        elif s1_ids.shape[1] == context.shape[1]:
            fine = self.dep_layer(context, sibling, padding_mask)
        else:
            raise ConfigError(f"decode_s2 takes 1 or {context.shape[1]} coarse tokens a series, not {s1_ids.shape[1]}")
        logits: Tensor = self.head.proj_s2(fine)
        return logits

    def _context(self, s1: Tensor, s2: Tensor, stamp: Tensor | None, padding_mask: Tensor | None) -> Tensor:
        hidden = self.embedding(s1, s2)
        if stamp is not None:
            hidden = hidden + self.time_emb(stamp)
        hidden = self.token_drop(hidden)
        normed: Tensor = self.norm(self.transformer.run(hidden, padding_mask))
        return normed

    def _check(self, tokens: Tensor, what: str) -> None:
        size = 2 ** (self.s2_bits if what == "s2_ids" else self.s1_bits)
        check_tokens(tokens, size, what)

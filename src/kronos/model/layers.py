"""The blocks that both networks are built of: norm, rotary positions, causal attention, gated feed-forward.

They read whole windows, for training and for the reference's calls; bars are written by the folded networks.

Module and parameter names are the published state-dict keys; renaming an attribute here breaks every checkpoint.
A `padding_mask` is true where a bar is padding, everywhere in this package.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ROTARY_BASE = 10000.0

Rotation = tuple[Tensor, Tensor]  # cosines and sines, each (T, head_dim)


class RMSNorm(nn.Module):
    """Root-mean-square norm, computed in float32 and cast back before its weight is applied."""

    def __init__(self, width: int, eps: float = 1e-5) -> None:
        """A norm over the last axis of this width."""
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (..., width)."""
        wide = x.float()
        return (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + self.eps)).type_as(x) * self.weight


class Rotary(nn.Module):
    """Rotary position frequencies; saved with the weights because the published files hold them."""

    inv_freq: Tensor

    def __init__(self, width: int) -> None:
        """Frequencies for heads of this width."""
        super().__init__()
        self.register_buffer("inv_freq", ROTARY_BASE ** -(torch.arange(0, width, 2).float() / width))

    def at(self, start: int, length: int) -> Rotation:
        """Cosines and sines of positions start .. start + length - 1."""
        return rotation_at(self.inv_freq, start, length)


def rotation_at(frequencies: Tensor, start: int, length: int) -> Rotation:
    """Cosines and sines (length, head_dim) of positions start .. start + length - 1."""
    positions = torch.arange(start, start + length, device=frequencies.device, dtype=torch.float32)
    angles = torch.outer(positions, frequencies.float())
    angles = torch.cat([angles, angles], dim=-1)  # first half rotates with second half
    return angles.cos(), angles.sin()


def rotate(x: Tensor, rotation: Rotation) -> Tensor:
    """Turn (rows, heads, T, head_dim) by its positions' angles."""
    cos, sin = rotation
    first, second = x.chunk(2, dim=-1)
    return (x * cos + torch.cat([-second, first], dim=-1) * sin).type_as(x)


def causal_mask(padding_mask: Tensor) -> Tensor:
    """(B, 1, T, T) true where a bar may look: at itself, and back at bars that are not padding (B, T)."""
    length = padding_mask.shape[-1]
    here = torch.eye(length, dtype=torch.bool, device=padding_mask.device)
    back = torch.ones(length, length, dtype=torch.bool, device=padding_mask.device).tril()
    # itself always, padding or not: a row with nothing to look at would turn into not-a-number
    return (back & ~padding_mask[:, None, None, :]) | here


class Attention(nn.Module):
    """Multi-head attention's four projections and its rotary frequencies; the two uses of it derive from this."""

    def __init__(self, width: int, heads: int, attn_dropout_p: float = 0.0, resid_dropout_p: float = 0.0) -> None:
        """Attention over `width` split into `heads`."""
        super().__init__()
        self.heads = heads
        self.q_proj = nn.Linear(width, width)
        self.k_proj = nn.Linear(width, width)
        self.v_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)
        self.rotary = Rotary(width // heads)
        self.attn_dropout_p = attn_dropout_p
        self.resid_dropout = nn.Dropout(resid_dropout_p)

    def split(self, x: Tensor) -> Tensor:
        """(B, T, width) -> (B, heads, T, head_dim)."""
        batch, length, width = x.shape
        return x.view(batch, length, self.heads, width // self.heads).transpose(1, 2)

    def join(self, x: Tensor) -> Tensor:
        """(B, heads, T, head_dim) -> (B, T, width), through the output projection."""
        joined: Tensor = self.resid_dropout(self.out_proj(x.transpose(1, 2).flatten(2)))
        return joined

    def over_window(self, queries: Tensor, keys: Tensor, values: Tensor, padding_mask: Tensor | None) -> Tensor:
        """Causal attention inside one window, all (B, heads, T, head_dim)."""
        dropout = self.attn_dropout_p if self.training else 0.0
        if padding_mask is None:
            return F.scaled_dot_product_attention(queries, keys, values, dropout_p=dropout, is_causal=True)
        mask = causal_mask(padding_mask)
        return F.scaled_dot_product_attention(queries, keys, values, attn_mask=mask, dropout_p=dropout)


class SelfAttention(Attention):
    """Causal self-attention over a window."""

    def forward(self, x: Tensor, rotation: Rotation, padding_mask: Tensor | None = None) -> Tensor:
        """Attend (B, T, width)."""
        queries = rotate(self.split(self.q_proj(x)), rotation)
        keys, values = rotate(self.split(self.k_proj(x)), rotation), self.split(self.v_proj(x))
        return self.join(self.over_window(queries, keys, values, padding_mask))


class FeedForward(nn.Module):
    """The gated feed-forward layer: w2(silu(w1 x) * w3 x), without biases."""

    def __init__(self, width: int, hidden: int, dropout_p: float = 0.0) -> None:
        """From `width` through `hidden` and back."""
        super().__init__()
        self.w1 = nn.Linear(width, hidden, bias=False)
        self.w3 = nn.Linear(width, hidden, bias=False)
        self.w2 = nn.Linear(hidden, width, bias=False)
        self.dropout = nn.Dropout(dropout_p)

    def forward(self, x: Tensor) -> Tensor:
        """Transform (..., width)."""
        out: Tensor = self.dropout(self.w2(F.silu(self.w1(x)) * self.w3(x)))
        return out


class Block(nn.Module):
    """One transformer layer, norms first."""

    def __init__(
        self,
        width: int,
        heads: int,
        hidden: int,
        ffn_dropout_p: float = 0.0,
        attn_dropout_p: float = 0.0,
        resid_dropout_p: float = 0.0,
    ) -> None:
        """A block of this width, number of heads and feed-forward width."""
        super().__init__()
        self.norm1 = RMSNorm(width)
        self.self_attn = SelfAttention(width, heads, attn_dropout_p, resid_dropout_p)
        self.norm2 = RMSNorm(width)
        self.ffn = FeedForward(width, hidden, ffn_dropout_p)

    def forward(self, x: Tensor, rotation: Rotation, padding_mask: Tensor | None = None) -> Tensor:
        """Transform (B, T, width)."""
        x = x + self.self_attn(self.norm1(x), rotation, padding_mask)
        out: Tensor = x + self.ffn(self.norm2(x))
        return out


class Blocks(nn.ModuleList):
    """A stack of blocks; they share one rotation, because their positions are the same."""

    checkpointing = False
    """Keep no activations while training and compute them again for the gradient: less memory, more work."""

    def run(self, x: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        """Transform (B, T, width)."""
        if not len(self):
            return x
        first = self[0]
        assert isinstance(first, Block)
        rotation = first.self_attn.rotary.at(0, x.shape[1])
        if self.checkpointing and self.training and torch.is_grad_enabled():
            from torch.utils.checkpoint import checkpoint

            for block in self:
                x = checkpoint(block, x, rotation, padding_mask, use_reentrant=False)
            return x
        for block in self:
            x = block(x, rotation, padding_mask)
        return x

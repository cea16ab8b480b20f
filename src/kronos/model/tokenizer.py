"""The tokenizer: a bar becomes two tokens, and two tokens become a bar again.

An encoder turns each normalised bar into a point on a sphere in k = s1_bits + s2_bits dimensions; the signs of the
coordinates are the bar's bits. The first s1_bits of them are the coarse token s1, the rest the fine token s2. It knows
nothing of prices: it sees normalised inputs and gives normalised outputs.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kronos.errors import ConfigError, TokenError
from kronos.model.checkpoint import Checkpoint
from kronos.model.layers import Block, Blocks

_ENTROPY_GUARD = 1e-8


class SphericalQuantizer(nn.Module):
    """Rounds points of the unit sphere to the corners of a cube inscribed in it, with gradients passed straight."""

    basis: Tensor
    group_basis: Tensor

    def __init__(self, bits: int, group_size: int, beta: float, gamma0: float, gamma: float, zeta: float) -> None:
        """A quantiser of `bits` signs; the weights of the loss terms are the published names."""
        super().__init__()
        self.bits = bits
        self.beta, self.gamma0, self.gamma, self.zeta = beta, gamma0, gamma, zeta
        # Both descend although bit i counts 2^i: published files hold them so, and nothing is ever numbered by them.
        self.register_buffer("basis", 2 ** torch.arange(bits - 1, -1, -1))
        self.register_buffer("group_basis", 2 ** torch.arange(group_size - 1, -1, -1))

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Codes (..., bits) with entries +-1/sqrt(bits) for points z on the unit sphere, and the loss."""
        signs = torch.where(z > 0, 1.0, -1.0).type_as(z)
        code = (z + (signs - z).detach()) * self.bits**-0.5
        commitment = (code.detach() - z).square().sum(-1).mean()
        return code, self.beta * commitment + self.zeta * self.entropy_loss(z)

    def entropy_loss(self, z: Tensor) -> Tensor:
        """Low for bars that choose surely while the codebook as a whole is used evenly."""
        p = torch.sigmoid(-4 * z * self.bits**-0.5).flatten(0, -2)  # (bars, bits)
        per_bar = _entropy(p).sum(-1).mean()
        codebook = _entropy(p.mean(0)).sum()
        return self.gamma0 * per_bar - self.gamma * codebook


class _Quantizer(nn.Module):
    """Holds the quantiser under the published key `tokenizer.bsq`."""

    def __init__(self, bsq: SphericalQuantizer) -> None:
        super().__init__()
        self.bsq = bsq


class KronosTokenizer(Checkpoint):
    """Bars to token pairs and back; the published architecture and state-dict keys.

    `normaliser` is our own configuration key: the kind of input the weights were trained on. The published ones have
    none and mean "zscore".
    """

    own_keys: ClassVar[Mapping[str, Any]] = {"normaliser": "zscore", "name": None}

    def __init__(
        self,
        d_in: int,
        d_model: int,
        n_heads: int,
        ff_dim: int,
        n_enc_layers: int,
        n_dec_layers: int,
        ffn_dropout_p: float,
        attn_dropout_p: float,
        resid_dropout_p: float,
        s1_bits: int,
        s2_bits: int,
        beta: float,
        gamma0: float,
        gamma: float,
        zeta: float,
        group_size: int,
        normaliser: str = "zscore",
        name: str | None = None,
    ) -> None:
        """Build from the arguments that config.json holds."""
        super().__init__(locals())
        if d_model % n_heads:
            raise ConfigError(f"d_model {d_model} does not divide into {n_heads} heads")
        self.s1_bits, self.s2_bits, self.codebook_dim = s1_bits, s2_bits, s1_bits + s2_bits
        self.normaliser = normaliser
        self.name = name
        block = (d_model, n_heads, ff_dim, ffn_dropout_p, attn_dropout_p, resid_dropout_p)
        self.embed = nn.Linear(d_in, d_model)
        self.encoder = Blocks(Block(*block) for _ in range(n_enc_layers - 1))
        self.quant_embed = nn.Linear(d_model, self.codebook_dim)
        self.post_quant_embed_pre = nn.Linear(s1_bits, d_model)
        self.post_quant_embed = nn.Linear(self.codebook_dim, d_model)
        self.decoder = Blocks(Block(*block) for _ in range(n_dec_layers - 1))
        self.head = nn.Linear(d_model, d_in)
        self.tokenizer = _Quantizer(SphericalQuantizer(self.codebook_dim, group_size, beta, gamma0, gamma, zeta))

    def forward(self, x: Tensor) -> tuple[tuple[Tensor, Tensor], Tensor, Tensor, Tensor]:
        """Inputs (B, T, d_in) -> ((coarse, full) reconstructions, quantiser loss, codes, single-number tokens)."""
        code, loss = self.tokenizer.bsq(self._sphere(x))
        coarse = self._decode_from(self.post_quant_embed_pre(code[..., : self.s1_bits]))
        full = self._decode_from(self.post_quant_embed(code))
        return (coarse, full), loss, code, bits_to_tokens(code > 0)

    def loss(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Training loss of inputs (B, T, d_in), then its parts: coarse error, full error, quantiser loss."""
        (coarse, full), quantiser, _, _ = self(x)
        coarse_error, full_error = F.mse_loss(coarse, x), F.mse_loss(full, x)
        return (coarse_error + full_error + quantiser) / 2, coarse_error, full_error, quantiser

    def encode(self, x: Tensor, half: bool = False) -> Any:
        """Tokens of inputs (B, T, d_in): one number each (B, T), or with `half` the list [s1, s2] of two such."""
        bits = self._sphere(x) > 0
        if half:
            return [bits_to_tokens(bits[..., : self.s1_bits]), bits_to_tokens(bits[..., self.s1_bits :])]
        return bits_to_tokens(bits)

    def decode(self, tokens: Any, half: bool = False) -> Tensor:
        """Normalised bars (B, T, d_in) of single-number tokens (B, T), or with `half` of a pair (s1, s2)."""
        return self._decode_from(self._embed_tokens(tokens, half))

    def _sphere(self, x: Tensor) -> Tensor:
        return F.normalize(self.quant_embed(self.encoder.run(self.embed(x))), dim=-1, eps=1e-12)

    def _embed_tokens(self, tokens: Any, half: bool) -> Tensor:
        if half:
            bits = torch.cat([tokens_to_bits(tokens[0], self.s1_bits), tokens_to_bits(tokens[1], self.s2_bits)], dim=-1)
        else:
            bits = tokens_to_bits(tokens, self.codebook_dim)
        code = (bits.to(self.head.weight.dtype) * 2 - 1) * self.codebook_dim**-0.5
        embedded: Tensor = self.post_quant_embed(code)
        return embedded

    def _decode_from(self, hidden: Tensor) -> Tensor:
        out: Tensor = self.head(self.decoder.run(hidden))
        return out


def bits_to_tokens(bits: Tensor) -> Tensor:
    """Number (...,) of boolean bits (..., n): bit i counts 2^i."""
    return (bits.long() << torch.arange(bits.shape[-1], device=bits.device)).sum(-1)


def tokens_to_bits(tokens: Tensor, bits: int) -> Tensor:
    """Boolean bits (..., n) of tokens (...,); a number that does not fit is an error, never wrapped round."""
    check_tokens(tokens, 2**bits, f"{bits}-bit token")
    return (tokens[..., None] >> torch.arange(bits, device=tokens.device)) & 1 > 0


def check_tokens(tokens: Tensor, size: int, what: str) -> None:
    """Raise unless every token lies in 0 .. size - 1."""
    if tokens.is_floating_point() or tokens.dtype == torch.bool:
        raise TokenError(f"{what}: token numbers must be integers, not {tokens.dtype}")
    if tokens.numel() and (int(tokens.min()) < 0 or int(tokens.max()) >= size):
        wrong = tokens[(tokens < 0) | (tokens >= size)]
        raise TokenError(
            f"{what}: {wrong.numel()} numbers lie outside 0..{size - 1}, the first is {int(wrong[0])}; "
            "encode with the tokenizer that belongs to this network"
        )


def _entropy(p: Tensor) -> Tensor:
    """Entropy of two outcomes with probabilities p and 1 - p."""
    return -(p * (p + _ENTROPY_GUARD).log() + (1 - p) * (1 - p + _ENTROPY_GUARD).log())

"""How well tokens hold bars: the error of what they decode to, its spread, and how many codes are used at all."""

from collections.abc import Sequence

import numpy as np
import torch

from kronos.data import Batch
from kronos.model import KronosTokenizer
from kronos.train.objectives import normalised

_WIDEST = 1.25


@torch.no_grad()
def reconstruction_error(tokenizer: KronosTokenizer, batches: Sequence[Batch]) -> dict[str, list[float]]:
    """Mean absolute error of the full reconstruction and variance of the input, by column."""
    device = next(tokenizer.parameters()).device
    inputs = [normalised(batch, tokenizer.normaliser).to(device) for batch in batches]
    errors = [(tokenizer(x)[0][1] - x).abs().flatten(0, 1) for x in inputs]
    rows = torch.cat([x.flatten(0, 1) for x in inputs])
    return {"error": torch.cat(errors).mean(0).tolist(), "variance": rows.var(0).tolist()}


@torch.no_grad()
def codes_used(tokenizer: KronosTokenizer, batches: Sequence[Batch]) -> dict[str, float]:
    """Share of each vocabulary that occurs at all."""
    device = next(tokenizer.parameters()).device
    pairs = [tokenizer.encode(normalised(batch, tokenizer.normaliser).to(device), half=True) for batch in batches]
    sizes = (2**tokenizer.s1_bits, 2**tokenizer.s2_bits)
    return {
        name: len(np.unique(torch.cat([pair[i].flatten() for pair in pairs]).cpu().numpy())) / sizes[i]
        for i, name in enumerate(("s1", "s2"))
    }


@torch.no_grad()
def match_spread(tokenizer: KronosTokenizer, batches: Sequence[Batch]) -> list[float]:
    """Widen decoded gaps and bodies to the means and deviations of true ones; the two factors.

    A decoder that was trained on squares answers with the middle of what a code stands for, so decoded moves are too
    small, and forecasts with them.
    """
    device = next(tokenizer.parameters()).device
    inputs = [normalised(batch, tokenizer.normaliser).to(device) for batch in batches]
    decoded = [tokenizer.decode(tokenizer.encode(x)).flatten(0, 1)[:, :2] for x in inputs]
    true, made = torch.cat([x.flatten(0, 1)[:, :2] for x in inputs]), torch.cat(decoded)
    factors = (true.std(0) / made.std(0).clamp(min=1e-9)).clamp(1.0, _WIDEST)
    head = tokenizer.head
    head.weight[:2] *= factors[:, None]
    head.bias[:2] = head.bias[:2] * factors + true.mean(0) - factors * made.mean(0)
    return factors.tolist()

"""Pretraining from raw bars: a tokenizer, then the network that predicts its tokens.

`pretrain(folder of bar files, output folder)` writes OUT/tokenizer and OUT/predictor, a pair that `kronos.load(OUT)`
reads. The defaults are the recipe of the embedded checkpoint.
"""

import json
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kronos.config import Settings
from kronos.data import Batch, Series, Windows, WindowSampler, load_series
from kronos.errors import BarsError
from kronos.model import Kronos, KronosTokenizer
from kronos.train.loop import LoopSettings, fit
from kronos.train.objectives import PredictorObjective, TokenizerObjective, normalised
from kronos.writing import replacing


class Shape(Settings):
    """Windows of one shape and how many of them make a batch."""

    lookback: int
    horizon: int
    batch: int


class TokenizerSettings(LoopSettings):
    """The tokenizer's size and training."""

    steps: int = 1000
    batch_share: float = 0.5
    """Of the shapes' batches: reconstruction runs three passes a window and needs fewer of them."""
    d_model: int = 96
    n_heads: int = 4
    ff_dim: int = 192
    n_layers: int = 3
    column_weights: tuple[float, float, float, float, float, float] | None = (2.0, 2.0, 2.0, 2.0, 1.0, 0.5)


class PredictorSettings(LoopSettings):
    """The predictor's size and training."""

    steps: int = 1700
    d_model: int = 128
    n_heads: int = 4
    ff_dim: int = 352
    n_layers: int = 4
    teacher: bool = True
    lookback_weight: float = 0.5


class PretrainSettings(Settings):
    """A whole pretraining run."""

    name: str = "kronos-nano"
    seed: int = 1
    normaliser: str = "returns"
    s1_bits: int = 8
    s2_bits: int = 8
    max_context: int = 512
    validate_since: date = date(2025, 4, 1)
    """Windows whose first predicted bar is not before this are validated on and never trained on."""
    validation_windows: int = 384
    shapes: tuple[Shape, ...] = (
        Shape(lookback=64, horizon=32, batch=128),
        Shape(lookback=128, horizon=64, batch=64),
        Shape(lookback=256, horizon=64, batch=38),
        Shape(lookback=448, horizon=64, batch=24),
    )
    tokenizer: TokenizerSettings = TokenizerSettings()
    predictor: PredictorSettings = PredictorSettings()


def pretrain(
    data: str | Path,
    out: str | Path,
    settings: PretrainSettings,
    *,
    report: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Train both networks on every series below `data`; the summary that is also written to OUT/training.json."""
    out = Path(out)
    series = load_series(data)
    report(f"{len(series)} series, {sum(len(one.bars) for one in series):,} bars")
    batches, validation = _batches(series, settings), _validation(series, settings)

    torch.manual_seed(settings.seed)
    tokenizer = _new_tokenizer(settings)
    report(f"tokenizer: {_size(tokenizer):,} parameters")
    objective = TokenizerObjective(tokenizer, settings.tokenizer.column_weights)
    few = _batches(series, settings, settings.tokenizer.batch_share)
    tokenizer_figures = fit(objective, few, validation, settings.tokenizer, out / "run-tokenizer", report=report)
    tokenizer.eval().save_pretrained(out / "tokenizer")

    torch.manual_seed(settings.seed + 1)
    network = _new_network(settings)
    trained_on = [one.times[one.times < np.datetime64(settings.validate_since, "ns")] for one in series]
    cutoff = str(max(times[-1] for times in trained_on if len(times)))[:10]
    network.record(pair=tokenizer.fingerprint(), cutoff=cutoff)
    report(f"predictor: {_size(network):,} parameters")
    options = {"teacher": settings.predictor.teacher, "lookback_weight": settings.predictor.lookback_weight}
    figures = fit(
        PredictorObjective(network, tokenizer, **options),  # type: ignore[arg-type]
        batches,
        validation,
        settings.predictor,
        out / "run-predictor",
        report=report,
    )
    network.eval().save_pretrained(out / "predictor")

    summary = {
        "settings": settings.tree(),
        "series": len(series),
        "bars": sum(len(one.bars) for one in series),
        "cutoff": cutoff,
        "parameters": {"tokenizer": _size(tokenizer), "predictor": _size(network)},
        "validation": {"tokenizer": tokenizer_figures, "predictor": figures},
        "reconstruction": reconstruction_error(tokenizer, validation),
        "codes_used": codes_used(tokenizer, validation),
    }
    with replacing(out / "training.json") as path:
        path.write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    return summary


@torch.no_grad()
def reconstruction_error(tokenizer: KronosTokenizer, batches: Sequence[Batch]) -> dict[str, list[float]]:
    """Mean absolute error of the full reconstruction and variance of the input, by column."""
    inputs = [normalised(batch, tokenizer.normaliser) for batch in batches]
    errors = [(tokenizer(x)[0][1] - x).abs().flatten(0, 1) for x in inputs]
    rows = torch.cat([x.flatten(0, 1) for x in inputs])
    return {"error": torch.cat(errors).mean(0).tolist(), "variance": rows.var(0).tolist()}


@torch.no_grad()
def codes_used(tokenizer: KronosTokenizer, batches: Sequence[Batch]) -> dict[str, float]:
    """Share of each vocabulary that occurs at all."""
    pairs = [tokenizer.encode(normalised(batch, tokenizer.normaliser), half=True) for batch in batches]
    sizes = (2**tokenizer.s1_bits, 2**tokenizer.s2_bits)
    return {
        name: len(np.unique(torch.cat([pair[i].flatten() for pair in pairs]).numpy())) / sizes[i]
        for i, name in enumerate(("s1", "s2"))
    }


def _batches(series: Sequence[Series], settings: PretrainSettings, share: float = 1.0) -> Callable[[int], Batch]:
    """Batches by step: a shape in turn, from windows that end before validation begins."""
    samplers = []
    for shape in settings.shapes:
        windows = Windows(series, shape.lookback, shape.horizon, before=str(settings.validate_since))
        samplers.append(WindowSampler(windows, max(int(shape.batch * share), 1), settings.seed))
    return lambda step: samplers[step % len(samplers)](step)


def _validation(series: Sequence[Series], settings: PretrainSettings) -> list[Batch]:
    """The same few windows at every validation, drawn from after the cut-off."""
    shape = max(settings.shapes, key=lambda shape: shape.batch * (shape.lookback <= 256) * shape.lookback)
    try:
        windows = Windows(series, shape.lookback, shape.horizon, since=str(settings.validate_since))
    except BarsError as error:
        raise BarsError(f"nothing to validate on since {settings.validate_since}: {error}") from error
    sampler = WindowSampler(windows, min(64, settings.validation_windows), settings.seed + 1)
    return [sampler(step) for step in range(max(settings.validation_windows // 64, 1))]


def _new_tokenizer(settings: PretrainSettings) -> KronosTokenizer:
    size = settings.tokenizer
    return KronosTokenizer(
        d_in=6,
        d_model=size.d_model,
        n_heads=size.n_heads,
        ff_dim=size.ff_dim,
        n_enc_layers=size.n_layers,
        n_dec_layers=size.n_layers,
        ffn_dropout_p=0.0,
        attn_dropout_p=0.0,
        resid_dropout_p=0.0,
        s1_bits=settings.s1_bits,
        s2_bits=settings.s2_bits,
        beta=0.05,
        gamma0=1.0,
        gamma=1.1,
        zeta=0.05,
        group_size=4,
        normaliser=settings.normaliser,
        name=f"{settings.name}-tokenizer",
    )


def _new_network(settings: PretrainSettings) -> Kronos:
    size = settings.predictor
    return Kronos(
        s1_bits=settings.s1_bits,
        s2_bits=settings.s2_bits,
        n_layers=size.n_layers,
        d_model=size.d_model,
        n_heads=size.n_heads,
        ff_dim=size.ff_dim,
        ffn_dropout_p=0.0,
        attn_dropout_p=0.0,
        resid_dropout_p=0.0,
        token_dropout_p=0.0,
        learn_te=True,
        sibling_form="trained",
        stamp_of="next",
        clock="utc",
        max_context=settings.max_context,
        name=settings.name,
    )


def _size(network: torch.nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())

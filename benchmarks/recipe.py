"""What was tried for the embedded model's recipe: short pretraining runs that differ in one choice each.

    python benchmarks/recipe.py FOLDER_OF_BARS --out DIR --steps 250 --tokenizer-steps 300

Every variant is the default recipe with a few settings changed and far fewer steps; variants that need no other
tokenizer share the first one's. They are judged on the last part of every series, which none has read: NLL a token of
the bars beyond the look-back (comparable only where the tokenizer is shared), and CRPS of rollouts over that of 20-bar
volatility, with the difference to the first variant at the same origins. Finished variants are not run again.
"""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kronos.data import Windows
from kronos.evaluate import Figures, choose_origins, paired, score_windows
from kronos.forecast import KronosForecaster
from kronos.model import load_pair
from kronos.train import PretrainSettings, pretrain
from kronos.train.places import load_all
from kronos.train.pretrain import split_for

VARIANTS: dict[str, list[str]] = {
    "recipe": [],
    "AdamW": ["predictor.optimiser=adamw"],
    "sampled s1": ["predictor.sibling=sampled"],
    "own bar's stamp": ["stamp_of=bar"],
    "look-back weight 1": ["predictor.lookback_weight=1"],
    "look-back weight 0": ["predictor.lookback_weight=0"],
    "EMA .99": ["predictor.ema=0.99"],
    "wide and shallow": ["predictor.config={d_model: 160, n_layers: 3, ff_dim: 384}"],
    "zscore": ["normaliser=zscore"],
    "7 + 7 bits": [
        "tokenizer.config={s1_bits: 7, s2_bits: 7}",
        "predictor.config={s1_bits: 7, s2_bits: 7}",
    ],
}


def main() -> None:
    """Train, judge, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=250)
    parser.add_argument("--tokenizer-steps", type=int, default=300)
    parser.add_argument("--origins", type=int, default=400)
    parser.add_argument("--samples", type=int, default=50)
    parser.add_argument("--variants", default=",".join(VARIANTS))
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    series = load_all([str(options.folder)])
    windows, numbers = None, None
    results: dict[str, tuple[float, Figures]] = {}
    for name in options.variants.split(","):
        folder = options.out / name.replace(" ", "-").replace("'", "")
        own = [change for change in VARIANTS[name] if change.startswith(("tokenizer.", "normaliser"))]
        shared = [] if own or not results else [f"tokenizer_from={options.out / next(iter(results)) / 'tokenizer'}"]
        settings = _settings(VARIANTS[name] + shared, options)
        summary = pretrain(settings, folder, reporter=_Quiet(name))
        if windows is None:
            split = split_for(settings, series)
            windows = Windows(series, 400, 24, rows=split.rows("test"))
            numbers = choose_origins(windows, options.origins)
        assert numbers is not None
        results[name] = summary["validation"]["predictor"]["val_loss"], _scored(folder, windows, numbers, options)
        _show(results)


def _settings(changes: list[str], options: argparse.Namespace) -> PretrainSettings:
    short = [f"tokenizer.steps={options.tokenizer_steps}", f"predictor.steps={options.steps}"]
    rare = ["predictor.validate_every=1000", "tokenizer.validate_every=1000"]
    data = f"data={json.dumps([str(options.folder)])}"
    return PretrainSettings.read(None, [data, *short, *rare, *changes])


def _scored(folder: Path, windows: Windows, numbers: Any, options: argparse.Namespace) -> Figures:
    kept = folder / "scores.npz"
    if kept.exists():
        with np.load(kept) as found:
            return dict(found)
    pair = load_pair(folder)
    made = score_windows(
        KronosForecaster(pair.network, pair.tokenizer, "cpu"), windows, numbers, samples=options.samples
    )
    np.savez(kept, **made)
    return made


def _show(results: Mapping[str, tuple[float, Figures]]) -> None:
    first = next(iter(results))
    print(f"\n{'variant':<20} {'NLL':>7} {'CRPS/hv20':>10} {'difference':>22} {'cover 50':>9} {'cover 90':>9}")
    for name, (nll, figures) in results.items():
        ratio = np.nanmean(figures["crps"]) / np.nanmean(figures["hv20_crps"])
        off, error = paired(figures, results[first][1]) if name != first else (0.0, 0.0)
        covers = (f"{np.nanmean(figures[key]):>9.3f}" for key in ("cover50", "cover90"))
        print(f"{name:<20} {nll:>7.4f} {ratio:>10.4f} {off:>+12.4f} +- {error:.4f} {' '.join(covers)}", flush=True)


class _Quiet:
    """Says which variant it is about, and nothing of every step."""

    def __init__(self, name: str) -> None:
        self.name = name

    def say(self, line: str) -> None:
        print(f"[{self.name}] {line}", flush=True)

    def tick(self, progress: Any) -> None:
        """Nothing."""


if __name__ == "__main__":
    main()

"""How fast is training, and how much of the machine's arithmetic does it use?

    python benchmarks/training.py --sizes nano,mini --threads 1,2 --json training.json

Simulated bars, a fresh pair of each size, whole steps of `kronos.train.fit` as a run takes them: windows cut and
normalised, tokens encoded, forward, backward, clipping, optimiser. Operations are counted by hand (`operations`): 6
for each weight of a matrix and each bar that passes it with a gradient, 2 without, and the attention's products. The
rate of a large matrix product is measured in the same run, before and after.
"""

import argparse
import json
import tempfile
from pathlib import Path

import torch
from torch import nn

from kronos.bars import canonical
from kronos.data import Series, Windows, WindowSampler
from kronos.forecast.bench_machine import describe_machine, probe
from kronos.model import Kronos, KronosTokenizer
from kronos.synth import sample_bars
from kronos.train import LoopSettings, PredictorObjective, PretrainSettings, Stage, TokenizerObjective, fit
from kronos.train.feeds import Draws


def operations(network: nn.Module, window: int, *, backward: bool = True) -> float:
    """Floating-point operations a bar of windows of this length."""
    matrices = sum(module.weight.numel() for module in network.modules() if isinstance(module, nn.Linear))
    if isinstance(network, Kronos):
        attention = 4 * network.d_model * window / 2 * (len(network.transformer) + 1)  # causal: half of the square
    else:
        width, blocks = network.head.in_features, len(network.encoder) + 2 * len(network.decoder)
        matrices += sum(m.weight.numel() for m in network.decoder.modules() if isinstance(m, nn.Linear))  # read twice
        attention = 4 * width * window / 2 * blocks
    return (6 if backward else 2) * matrices + (3 if backward else 1) * attention


def main() -> None:
    """Time and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="nano,mini")
    parser.add_argument("--threads", default=str(torch.get_num_threads()))
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--lookback", type=int, default=256)
    parser.add_argument("--horizon", type=int, default=64)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--precision", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    window = options.lookback + options.horizon
    series = [Series.of(canonical(sample_bars("crypto", 4 * window, seed, "1h")), f"a/{seed}") for seed in range(8)]
    feed = Draws(WindowSampler(Windows(series, options.lookback, options.horizon), options.batch, 1))
    settings = LoopSettings(steps=options.steps, validate_every=10**6, save_every=10**6, precision=options.precision)
    rows = []
    for threads in map(int, options.threads.split(",")):
        torch.set_num_threads(threads)
        before = probe().gemm
        for size in options.sizes.split(","):
            recipe = PretrainSettings(size=size, normaliser="returns")
            tokenizer = KronosTokenizer(**recipe.tokenizer_config()).to(options.device)
            network = Kronos(**recipe.network_config()).to(options.device)
            encoder = operations(tokenizer, window, backward=False)  # more than encoding: the decoder is not run
            for name, work in (
                ("tokenizer", operations(tokenizer, window)),
                ("predictor", operations(network, window) + encoder / 3),
            ):
                first = name == "tokenizer"
                objective = TokenizerObjective(tokenizer) if first else PredictorObjective(network, tokenizer)
                with tempfile.TemporaryDirectory() as folder:
                    stage = Stage(name, Path(folder), tokens_per_bar=1)
                    fitted = fit(objective, feed, [feed(10**6)], settings, stage)
                reached = fitted.tokens_per_second * work
                rows.append([size, name, threads, fitted.tokens_per_second, reached])
        gemm = max(before, probe().gemm)
        for row in rows:
            if row[2] == threads:
                row.append(gemm)
    print(f"{'size':<6} {'stage':<10} {'threads':>7} {'bars/s':>9} {'tokens/s':>9} {'GFLOP/s':>8} {'of a GEMM':>9}")
    for size, name, threads, bars, reached, gemm in rows:
        rates = f"{bars:>9,.0f} {2 * bars:>9,.0f} {reached / 1e9:>8.1f} {reached / gemm:>9.0%}"
        print(f"{size:<6} {name:<10} {threads:>7} {rates}")
    if options.json:
        keys = ("size", "stage", "threads", "bars_per_second", "operations_per_second", "gemm")
        tree = {"machine": describe_machine(), "rows": [dict(zip(keys, row, strict=True)) for row in rows]}
        options.json.write_text(json.dumps(tree, indent=1) + "\n")


if __name__ == "__main__":
    main()

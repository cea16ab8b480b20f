"""Pretraining from raw bars: a tokenizer, then the network that predicts its tokens.

`pretrain(settings, out)` writes OUT/tokenizer and OUT/predictor, a pair that `kronos.load(OUT)` reads, of any size in
the zoo. The default settings are the recipe of the embedded checkpoint.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from kronos.data import Batch, Series, Split, Windows, WindowSampler, split_by_ratio
from kronos.errors import ConfigError
from kronos.model import Kronos, KronosTokenizer
from kronos.train.compare import spread_batches
from kronos.train.feeds import Draws, Feed, Turns
from kronos.train.loop import Fitted, Stage, fit
from kronos.train.objectives import PredictorObjective, TokenizerObjective
from kronos.train.places import load_all
from kronos.train.pretrain_settings import PretrainSettings, Shape
from kronos.train.ranks import Ranks
from kronos.train.reconstruction import codes_used, match_spread, reconstruction_error
from kronos.train.reporting import Reporter, Silent
from kronos.train.run_folder import SUMMARY_FILE, check_data, open_run, save_pair, write_json

_MATCHED_ON = 48  # batches


def pretrain(
    settings: PretrainSettings, out: str | Path, *, ranks: Ranks | None = None, reporter: Reporter | None = None
) -> Mapping[str, Any]:
    """Train both networks from scratch; the summary that is also written to OUT/training.json."""
    out, ranks, reporter = Path(out), ranks or Ranks(), reporter or Silent()
    check_networks(settings)
    series = load_all(settings.data, settings.symbols, settings.timeframes)
    split = split_for(settings, series)
    few, many = (feed_of(settings, series, split, share) for share in (settings.tokenizer.batch_share, 1.0))
    validation = validation_batches(settings, series, split)
    open_run(out, settings, ranks)  # only now: what was refused has left no folder behind
    if (out / SUMMARY_FILE).exists():
        summary: dict[str, Any] = json.loads((out / SUMMARY_FILE).read_text(encoding="utf-8"))
        return summary
    check_data(out, split.summary(), ranks)
    say = reporter.say if ranks.leads else Silent().say
    say(f"{len(series)} series, {sum(len(one) for one in series):,} bars")

    stages = _stages(settings, out, ranks, reporter)
    tokenizer, first = _tokenizer(settings, few, validation, stages[0])
    network = _built(Kronos, settings.network_config(), settings.seed + 1).to(ranks.device)
    network.record(pair=tokenizer.fingerprint(), cutoff=cutoff_of(settings, series, split))
    say(f"predictor: {_size(network):,} parameters")
    chosen = settings.predictor
    second = fit(
        PredictorObjective(network, tokenizer, sibling=chosen.sibling, lookback_weight=chosen.lookback_weight),
        many,
        validation,
        chosen,
        stages[1],
    )
    summary = {
        "settings": settings.tree(),
        "series": len(series),
        "bars": sum(len(one) for one in series),
        "cutoff": network.cutoff,
        "parameters": {"tokenizer": _size(tokenizer), "predictor": _size(network)},
        "validation": {"tokenizer": first.figures if first else {}, "predictor": second.figures},
        "stages": {"tokenizer": asdict(first) if first else None, "predictor": asdict(second)},
        "reconstruction": reconstruction_error(tokenizer, validation),
        "codes_used": codes_used(tokenizer, validation),
    }
    if ranks.leads:
        save_pair(out, network, tokenizer)
        write_json(out / SUMMARY_FILE, summary)
    ranks.wait()
    return summary


def _stages(settings: PretrainSettings, out: Path, ranks: Ranks, reporter: Reporter) -> list[Stage]:
    """The tokenizer's and the predictor's."""
    return [
        Stage(
            name,
            out / "runs" / name,
            settings.seed + number,
            ranks=ranks,
            reporter=reporter,
            trackers=settings.trackers,
            run=out.name,
            tree=settings.tree(),
            tokens_per_bar=1 + number,
        )
        for number, name in enumerate(("tokenizer", "predictor"))
    ]


def _tokenizer(
    settings: PretrainSettings, few: Feed, validation: Sequence[Batch], stage: Stage
) -> tuple[KronosTokenizer, Fitted | None]:
    """The tokenizer, trained or brought along."""
    say = stage.reporter.say if stage.ranks.leads else Silent().say
    if settings.tokenizer_from is not None:
        found = KronosTokenizer.from_pretrained(settings.tokenizer_from).to(stage.ranks.device)
        say(f"tokenizer: {settings.tokenizer_from}, {_size(found):,} parameters")
        return found, None
    chosen = settings.tokenizer
    tokenizer = _built(KronosTokenizer, settings.tokenizer_config(), settings.seed).to(stage.ranks.device)
    say(f"tokenizer: {_size(tokenizer):,} parameters")
    alike = settings.normaliser == "returns"
    objective = TokenizerObjective(tokenizer, chosen.column_weights, chosen.return_weight if alike else 0.0)
    fitted = fit(objective, few, validation, chosen, stage)
    if alike and chosen.match_spread:
        widened = match_spread(tokenizer, [few(number) for number in range(_MATCHED_ON)])
        say(f"decoded gaps widened by {widened[0]:.3f}, bodies by {widened[1]:.3f}")
    return tokenizer, fitted


def check_networks(settings: PretrainSettings) -> None:
    """Refuse sizes that make no pair of networks before hours are spent on the first; nothing is allocated."""
    with torch.device("meta"):
        tokenizer = _built(KronosTokenizer, settings.tokenizer_config(), settings.seed)
        network = _built(Kronos, settings.network_config(), settings.seed)
    if settings.tokenizer_from is not None:
        tokenizer = KronosTokenizer.from_pretrained(settings.tokenizer_from)
    written, read = ((one.s1_bits, one.s2_bits) for one in (tokenizer, network))
    if written != read:
        raise ConfigError(
            f"config: the tokenizer writes {written[0]} + {written[1]} bits a bar and the predictor reads {read[0]} + "
            f"{read[1]}; give both the same s1_bits and s2_bits"
        )


def split_for(settings: PretrainSettings, series: Sequence[Series]) -> Split:
    """The first part of every asset to train on ("train") and its last part in time to validate on ("test")."""
    longest = max(settings.shapes, key=lambda shape: shape.lookback + shape.horizon)
    share = settings.validation_share
    return split_by_ratio(
        series, longest.lookback, longest.horizon, ratios=(1 - share, 0.0, share), embargo=longest.horizon
    )


def feed_of(settings: PretrainSettings, series: Sequence[Series], split: Split, share: float = 1.0) -> Feed:
    """Batches of every shape in turn, from the training part."""
    augment = [one.made() for one in settings.augment]
    feeds = []
    for shape in settings.shapes:
        sampler = WindowSampler(
            _windows(series, split, "train", shape),
            max(int(shape.batch * share), 1),
            settings.seed,
            weights=settings.market_weights,
            augment=augment,
            without_volume=settings.without_volume,
        )
        feeds.append(Draws(sampler))
    return Turns(feeds)


def validation_batches(settings: PretrainSettings, series: Sequence[Series], split: Split) -> list[Batch]:
    """The same windows at every validation: of the shape with most bars in a batch, spread over the last part."""
    shape = max(settings.shapes, key=lambda shape: shape.batch * (shape.lookback + shape.horizon))
    return spread_batches(_windows(series, split, "test", shape), settings.validation_windows, 64)


def cutoff_of(settings: PretrainSettings, series: Sequence[Series], split: Split) -> str:
    """The last day that the weights know of: of what is trained on, or chosen by where the best weights are kept."""
    chosen = "best" in (settings.tokenizer.keep, settings.predictor.keep)
    last = [
        one.times[stop - 1]
        for part in ("train", *(["test"] if chosen else []))
        for one, (first, stop) in zip(series, split.rows(part).tolist(), strict=True)
        if stop > first
    ]
    return str(max(last))[:10]


def _windows(series: Sequence[Series], split: Split, part: str, shape: Shape) -> Windows:
    return Windows(series, shape.lookback, shape.horizon, rows=split.rows(part))


def _built(kind: Any, config: Mapping[str, Any], seed: int) -> Any:
    """A fresh network, its initial weights a function of the seed."""
    torch.manual_seed(seed)
    try:
        return kind(**config)
    except (TypeError, ValueError, ArithmeticError, RuntimeError) as error:  # sizes that are no sizes
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ConfigError(f"config: {reason}; its keys are the constructor's arguments") from error


def _size(network: torch.nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())

"""Fine-tuning on one's own bars: the tokenizer, then the predictor, then base and tuned side by side.

`finetune(settings, out)` writes OUT/tokenizer and OUT/predictor, a pair that `kronos.load(OUT)` reads, and all that is
needed to go on after a kill below OUT/runs. Of an ensemble, each member has a folder of its own and OUT/ensemble.json
names them.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kronos.data import Series, Split, Windows, WindowSampler, split_by_dates, split_by_ratio
from kronos.data.sets.partition import asset_of
from kronos.errors import BarsError, ConfigError
from kronos.model import Kronos, KronosTokenizer, check_pair, context_of, load_pair
from kronos.model.zoo import published_entry
from kronos.train.compare import Comparison, Judge, Pair, compare, means, spread_batches
from kronos.train.feeds import Draws, Epochs, Feed, Replay
from kronos.train.finetune_settings import FinetuneSettings
from kronos.train.loop import Fitted, Stage, fit
from kronos.train.objectives import PredictorObjective, TokenizerObjective
from kronos.train.places import load_all
from kronos.train.ranks import Ranks
from kronos.train.reconstruction import match_spread
from kronos.train.reporting import Reporter, Silent
from kronos.train.run_folder import COMPARISON_FILE, SUMMARY_FILE, check_data, open_run, save_pair, write_json
from kronos.train.tuning import describe, merged, parameter_groups, prepare

LOOKBACKS = (400, 256, 192, 128, 96, 64, 48, 32, 16)
"""What is tried where no look-back is asked for."""

_MATCHED_ON = 48  # batches
_PUBLISHED_UNTIL = "2024-06-30"  # the published weights say nothing of it; their authors test them on what came after
_FEW = 8  # futures that every part should hold one after the other: windows that share bars to predict are one
_SHORT = 64  # a look-back that is not cut further for the sake of more futures than two


@dataclass(frozen=True)
class Outcome:
    """What a run came to."""

    out: Path
    comparison: Comparison
    summary: Mapping[str, Any]


def finetune(
    settings: FinetuneSettings,
    out: str | Path,
    *,
    judge: Judge | None = None,
    ranks: Ranks | None = None,
    reporter: Reporter | None = None,
) -> Outcome:
    """Tune a base on the settings' data; killed at any moment, the same call goes on where it was."""
    return _Tuning(settings, Path(out), judge, ranks or Ranks(), reporter or Silent()).go()


def plan(settings: FinetuneSettings, series: Sequence[Series]) -> tuple[FinetuneSettings, Split]:
    """The settings with a look-back, and the parts: the longest look-back that leaves each part a few futures."""
    if settings.lookback is not None:
        return settings, _split(settings, series, settings.lookback)
    least, trouble = None, None
    for lookback in LOOKBACKS:
        try:
            split = _split(settings, series, lookback)
        except BarsError as error:
            trouble = error
            continue
        few = min(_futures(split.windows(part)) for part in split.parts)
        least = (lookback, split)
        if few >= (_FEW if lookback > _SHORT else 2):
            break
    if least is None:
        assert trouble is not None
        raise trouble
    return settings.model_copy(update={"lookback": least[0]}), least[1]


class _Tuning:
    """One run of `finetune`."""

    def __init__(
        self, settings: FinetuneSettings, out: Path, judge: Judge | None, ranks: Ranks, reporter: Reporter
    ) -> None:
        self.out, self.judge, self.ranks, self.reporter = out, judge, ranks, reporter
        self.done = (out / SUMMARY_FILE).exists()
        self.augment = [one.made() for one in settings.augment]  # refused before anything is read
        if not self.done and settings.predictor.metric == "crps" and not (judge and settings.predictor.score_every):
            raise ConfigError("predictor.metric is crps, which is of rollouts: set predictor.score_every to 1 or more")
        self.series = load_all(settings.data, settings.symbols, settings.timeframes)
        self.settings, self.split = plan(settings, self.series)
        self.known = None if self.done else self._replayed()
        seen = None if self.done else self._check_base()
        open_run(out, self.settings, ranks)  # only now: what was refused has left no folder behind
        if not self.done:
            check_data(out, self.split.summary(), ranks)
        self._say(self._data_line())
        if seen is not None:
            self._say(seen)
        self.validation = spread_batches(
            self.split.windows("validation"), self.settings.validation_windows, self.settings.batch
        )

    def go(self) -> Outcome:
        summary_file = self.out / SUMMARY_FILE
        if self.done:
            self._say(f"{self.out}: this run is done; these are its results")
            summary = json.loads(summary_file.read_text(encoding="utf-8"))
            return Outcome(self.out, Comparison.of(summary["comparison"]), summary)
        members = [self._member(number) for number in range(self.settings.ensemble)]
        tuned = [pair for pair, _ in members]
        comparison = self.ranks.told(self._compared(tuned) if self.ranks.leads else None)
        assert comparison is not None
        summary = self._summary([stages for _, stages in members], tuned, comparison)
        if self.ranks.leads:
            if len(members) > 1:
                write_json(self.out / "ensemble.json", {"members": [f"member-{n + 1}" for n in range(len(members))]})
            write_json(self.out / COMPARISON_FILE, comparison.tree())
            write_json(summary_file, summary)
        self.ranks.wait()
        return Outcome(self.out, comparison, summary)

    # --- one member ----------------------------------------------------------------------------------------------

    def _member(self, number: int) -> tuple[Pair, dict[str, Fitted]]:
        settings = self.settings
        folder = self.out if settings.ensemble == 1 else self.out / f"member-{number + 1}"
        if settings.ensemble > 1:
            self._say(f"member {number + 1} of {settings.ensemble}")
        network, tokenizer = self._base()
        stages: dict[str, Fitted] = {}
        seed = settings.seed + number
        feed = self._feed(seed)  # where nothing drops out, members differ by the order of their batches alone
        if settings.tokenizer.trains:
            tokenizer = self._tokenizer_stage(tokenizer, feed, folder, seed, stages)
        name = settings.name or f"{network.name or Path(settings.base).name}-tuned"
        tokenizer.record(name=f"{name}-tokenizer")
        window = self.split.lookback + self.split.horizon
        network.record(name=name, cutoff=self._cutoff(network), max_context=max(context_of(network), window))
        if settings.sibling_form == "trained" and settings.predictor.trains:
            network.record(sibling_form="trained")
        network.record(pair=tokenizer.fingerprint())
        if settings.predictor.trains:
            network = self._predictor_stage(network, tokenizer, feed, folder, seed, stages)
        if self.ranks.leads:
            save_pair(folder, network, tokenizer)
        self.ranks.wait()
        return (network, tokenizer), stages

    def _tokenizer_stage(
        self, tokenizer: KronosTokenizer, feed: Feed, folder: Path, seed: int, stages: dict[str, Fitted]
    ) -> KronosTokenizer:
        chosen = self.settings.tokenizer
        prepare(tokenizer, chosen.tuning, seed)
        self._say(f"tokenizer: {describe(tokenizer)}")
        stage = self._stage("tokenizer", folder, seed, tokens_per_bar=1)
        stages["tokenizer"] = fit(TokenizerObjective(tokenizer), feed, self.validation, chosen, stage)
        self._tell(stages["tokenizer"])
        tuned = merged(tokenizer)
        moved = chosen.keep == "last" or stages["tokenizer"].best.step > 0
        if chosen.match_spread and tuned.normaliser == "returns" and moved:
            match_spread(tuned, [feed(number) for number in range(min(_MATCHED_ON, feed.epoch))])
        return tuned

    def _predictor_stage(
        self,
        network: Kronos,
        tokenizer: KronosTokenizer,
        feed: Feed,
        folder: Path,
        seed: int,
        stages: dict[str, Fitted],
    ) -> Kronos:
        chosen = self.settings.predictor
        prepare(network, chosen.tuning, seed)
        self._say(f"predictor: {describe(network)}")
        stage = self._stage("predictor", folder, seed)
        if self.judge is not None:
            stage.rollouts = lambda now: self._rollouts(now, tokenizer)
        objective = PredictorObjective(
            network, tokenizer, sibling=chosen.sibling, lookback_weight=chosen.lookback_weight
        )
        stages["predictor"] = fit(objective, feed, self.validation, chosen, stage)
        self._tell(stages["predictor"])
        return merged(network)

    def _stage(self, name: str, folder: Path, seed: int, tokens_per_bar: int = 2) -> Stage:
        tuning = self.settings.tokenizer.tuning if name == "tokenizer" else self.settings.predictor.tuning
        return Stage(
            name,
            folder / "runs" / name,
            seed,
            tuning,
            ranks=self.ranks,
            reporter=self.reporter,
            trackers=self.settings.trackers,
            run=folder.name,
            tree=self.settings.tree(),
            tokens_per_bar=tokens_per_bar,
        )

    def _base(self) -> Pair:
        pair = load_pair(self.settings.base, tokenizer=self.settings.base_tokenizer)
        check_pair(pair.network, pair.tokenizer)
        return pair.network.to(self.ranks.device), pair.tokenizer.to(self.ranks.device)

    def _check_base(self) -> str | None:
        """Load the base and choose its weights, for what is refused there; a warning where it may know the answers."""
        network, tokenizer = self._base()
        for part, stage in ((tokenizer, self.settings.tokenizer), (network, self.settings.predictor)):
            if stage.trains:
                prepare(part, stage.tuning, self.settings.seed)
                parameter_groups(part, stage.tuning, stage.weight_decay)
        begins, known = str(self.split.summary()["parts"]["test"]["first"])[:10], _known_until(network)
        if known < begins:
            return None
        return (
            f"the base was trained on bars up to {known} and the test part begins on {begins}: where it has seen these "
            "markets, the comparison flatters base and tuned"
        )

    # --- data ----------------------------------------------------------------------------------------------------

    def _feed(self, seed: int) -> Feed:
        settings = self.settings
        windows = self.split.windows("train")
        old = 0 if settings.replay is None else max(round(settings.batch * settings.replay.share), 1)
        new = max(settings.batch - old, 1)
        augment, bare = self.augment, settings.without_volume
        feed: Feed
        if settings.draw == "epochs":
            feed = Epochs(windows, new, seed, augment=augment, without_volume=bare)
        else:
            feed = Draws(WindowSampler(windows, new, seed, augment=augment, without_volume=bare))
        if self.known is not None:
            feed = Replay(feed, Draws(WindowSampler(self.known, old, seed + 1)))
        return feed

    def _replayed(self) -> Windows | None:
        """The windows to mix in: none that ends after what is trained on here, none of what is tested here."""
        replay = self.settings.replay
        if replay is None:
            return None
        tested: dict[str, np.datetime64] = {}
        for one, (first, stop) in zip(self.series, self.split.rows("test").tolist(), strict=True):
            if stop > first:
                tested[asset_of(one)] = min(one.times[first], tested.get(asset_of(one), one.times[first]))
        last = self._last() + np.timedelta64(1, "ns")
        series = load_all([replay.data])
        ends = [min(last, tested.get(asset_of(one), last)) for one in series]
        rows = [(0, int(np.searchsorted(one.times, end))) for one, end in zip(series, ends, strict=True)]
        try:
            return Windows(series, self.split.lookback, self.split.horizon, rows=rows)
        except BarsError as error:
            raise ConfigError(
                f"replay.data: {replay.data} has no window that ends by {str(last)[:10]}, the last day that is trained "
                "on here; what came later would give the test away"
            ) from error

    def _last(self) -> np.datetime64:
        """The last bar that anything is fitted on or chosen by."""
        return max(
            one.times[stop - 1]
            for part in ("train", "validation")
            for one, (first, stop) in zip(self.series, self.split.rows(part).tolist(), strict=True)
            if stop > first
        )

    def _cutoff(self, network: Kronos) -> str:
        """The last day that these weights know of, the base's training included."""
        return max(str(self._last())[:10], _known_until(network))

    def _data_line(self) -> str:
        parts = self.split.summary()["parts"]
        shown = "; ".join(
            f"{name} {part['windows']:,} windows to {str(part['last'])[:10]}" for name, part in parts.items()
        )
        bars = sum(len(one) for one in self.series)
        window = f"{self.split.lookback} + {self.split.horizon} bars a window"
        return f"{len(self.series)} series, {bars:,} bars; {window}: {shown}"

    # --- results -------------------------------------------------------------------------------------------------

    def _rollouts(self, network: Any, tokenizer: KronosTokenizer) -> dict[str, float]:
        assert self.judge is not None
        score = self.settings.score
        figures = self.judge.score(
            [(network, tokenizer)], self.split.windows("validation"), score.origins, score.samples
        )
        return means(figures)

    def _compared(self, tuned: Sequence[Pair]) -> Comparison:
        score = self.settings.score
        models: dict[str, Sequence[Pair]] = {"base": [self._base()], "tuned": tuned}
        return compare(
            models,
            self.split.windows("test"),
            self.judge,
            origins=score.test_origins,
            samples=score.test_samples,
            batch=self.settings.batch,
        )

    def _summary(
        self, stages: Sequence[Mapping[str, Fitted]], tuned: Sequence[Pair], comparison: Comparison
    ) -> dict[str, Any]:
        network, tokenizer = tuned[0]
        return {
            "settings": self.settings.tree(),
            "base": self.settings.base,
            "series": len(self.series),
            "bars": sum(len(one) for one in self.series),
            "cutoff": network.cutoff,
            "split": self.split.summary(),
            "parameters": {
                "tokenizer": sum(p.numel() for p in tokenizer.parameters()),
                "predictor": sum(p.numel() for p in network.parameters()),
            },
            "stages": [{name: asdict(fitted) for name, fitted in one.items()} for one in stages],
            "comparison": comparison.tree(),
        }

    def _tell(self, fitted: Fitted) -> None:
        self._say(
            f"ended after step {fitted.step} ({fitted.reason}); best validation {fitted.best.value:.4f} "
            f"at step {fitted.best.step}"
        )
        if fitted.overfitting:
            self._say(fitted.overfitting)

    def _say(self, text: str) -> None:
        if self.ranks.leads:
            self.reporter.say(text)


def _split(settings: FinetuneSettings, series: Sequence[Series], lookback: int) -> Split:
    chosen = settings.split
    embargo = settings.horizon if chosen.embargo is None else chosen.embargo
    if chosen.dates is not None:
        dates = {name: tuple(bounds) for name, bounds in chosen.dates.tree().items()}
        return split_by_dates(
            series, lookback, settings.horizon, dates, embargo=embargo, hold_out=chosen.hold_out, seed=settings.seed
        )
    if not all(chosen.ratios):
        raise ConfigError(f"split.ratios {chosen.ratios}: training, validation and test each need a share")
    return split_by_ratio(
        series,
        lookback,
        settings.horizon,
        ratios=chosen.ratios,
        common=chosen.common,
        embargo=embargo,
        hold_out=chosen.hold_out,
        seed=settings.seed,
    )


def _futures(windows: Windows) -> int:
    """How many windows predict bars that no other one of them does, at most."""
    horizon = windows.length - windows.lookback
    return int((-(-windows.counts // horizon)).sum())


def _known_until(network: Kronos) -> str:
    """The last day that a base was trained on, as far as that is known; empty where nothing is."""
    return network.cutoff or (_PUBLISHED_UNTIL if published_entry(network) else "")

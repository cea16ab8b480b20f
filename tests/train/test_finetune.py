"""Fine-tuning from bars to a pair that forecasts: what is trained, what is not, and what survives a kill."""

import json
import multiprocessing
import os
import signal
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

import kronos
from kronos.cli.judging import RolloutJudge
from kronos.data import Lake, Series, import_bars
from kronos.errors import BarsError, CheckpointError, ConfigError, SourceError
from kronos.forecast import Ensemble
from kronos.model import ZOO, Kronos, KronosTokenizer, check_pair, load_pair
from kronos.train import FinetuneSettings, Outcome, Progress, finetune
from kronos.train.finetune import LOOKBACKS, plan
from reference import TRAINED, bars_frame, tiny_network, tiny_tokenizer

LOOKBACK, HORIZON = 12, 4
ROWS = 220
STAGE = {"steps": 4, "validate_every": 2, "save_every": 2, "lr": 1e-3}

Tree = dict[str, Any]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    tokenizer, network = tiny_tokenizer(normaliser="returns"), tiny_network(**TRAINED)
    network.record(pair=tokenizer.fingerprint(), name="tiny", max_context=14)
    tokenizer.save_pretrained(folder / "tokenizer")
    network.save_pretrained(folder / "predictor")
    return folder


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pair that says nothing of itself, as published ones do."""
    folder = tmp_path_factory.mktemp("published")
    tiny_tokenizer().save_pretrained(folder / "tokenizer")
    tiny_network().save_pretrained(folder / "predictor")
    return folder


@pytest.fixture(scope="module")
def bars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("bars") / "crypto_BTC_1h.csv"
    kronos.sample_bars("crypto", rows=ROWS).to_csv(file)
    return file


def merged(tree: Tree, changes: Tree) -> Tree:
    out = dict(tree)
    for key, value in changes.items():
        out[key] = merged(out[key], value) if isinstance(value, dict) and isinstance(out.get(key), dict) else value
    return out


def tree_of(base: Path, *data: Path, **changes: Any) -> Tree:
    tree = {
        "data": [str(one) for one in data],
        "base": str(base),
        "lookback": LOOKBACK,
        "horizon": HORIZON,
        "batch": 4,
        "validation_windows": 6,
        "tokenizer": STAGE,
        "predictor": STAGE,
        "score": {"origins": 2, "samples": 2, "test_origins": 3, "test_samples": 3},
    }
    return merged(tree, changes)


def tuned(out: Path, base: Path, *data: Path, **changes: Any) -> Outcome:
    """A run without a judge of forecasts, which takes most of the time."""
    return finetune(FinetuneSettings.of(tree_of(base, *data, **changes)), out)


class Listener:
    """Keeps what it hears; stops the run, as an exception would, at a step."""

    def __init__(self, stage: str = "", step: int = -1) -> None:
        self.lines: list[str] = []
        self.steps: list[tuple[str, int]] = []
        self.at = (stage, step)

    def say(self, line: str) -> None:
        self.lines.append(line)

    def tick(self, progress: Progress) -> None:
        self.steps.append((progress.stage, progress.step))
        if self.steps[-1] == self.at:
            raise InterruptedError


def prints(folder: Path) -> dict[str, str]:
    """The networks' files below a folder, by what is in them."""
    files = [file for part in ("tokenizer", "predictor") for file in sorted((folder / part).iterdir())]
    return {str(file.relative_to(folder)): sha256(file.read_bytes()).hexdigest() for file in files}


def weights(folder: Path, part: str) -> dict[str, torch.Tensor]:
    kind = Kronos if part == "predictor" else KronosTokenizer
    return kind.from_pretrained(folder / part).state_dict()


def changed(folder: Path, base: Path, part: str) -> set[str]:
    """Names of the weights that are not the base's, to the last bit."""
    before, after = weights(base, part), weights(folder, part)
    assert before.keys() == after.keys()
    return {name for name in before if not torch.equal(before[name], after[name])}


def config(folder: Path, part: str = "predictor") -> Tree:
    read: Tree = json.loads((folder / part / "config.json").read_text())
    return read


# --- one whole run ---------------------------------------------------------------------------------------------------

WHOLE: Tree = {"predictor": {"score_every": 1, "metric": "crps"}}


@pytest.fixture(scope="module")
def whole(base: Path, bars: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Outcome, Listener]:
    out, heard = tmp_path_factory.mktemp("runs") / "whole", Listener()
    settings = FinetuneSettings.of(tree_of(base, bars, **WHOLE))
    return finetune(settings, out, judge=RolloutJudge("cpu", 1), reporter=heard), heard


def test_a_run_leaves_a_pair_that_forecasts(whole: tuple[Outcome, Listener], base: Path, bars: Path) -> None:
    outcome, heard = whole
    pair = load_pair(outcome.out)
    check_pair(pair.network, pair.tokenizer)
    network = pair.network
    assert network.pair == pair.tokenizer.fingerprint() != load_pair(base).tokenizer.fingerprint()
    assert network.sibling_form == "trained"
    assert network.max_context == LOOKBACK + HORIZON, "the base's 14 would not hold a window"
    assert (network.name, pair.tokenizer.name) == ("tiny-tuned", "tiny-tuned-tokenizer")
    assert pair.tokenizer.normaliser == "returns"
    assert network.stamp_of == "next"
    ends = outcome.summary["split"]["parts"]["validation"]["last"]
    assert network.cutoff == ends[:10] == outcome.summary["cutoff"]
    frame = pd.read_csv(bars, index_col=0, parse_dates=True)
    made = kronos.load(outcome.out).forecast(frame.tail(20), horizon=HORIZON, samples=3)
    assert made.paths.shape == (3, HORIZON, 6)
    assert made.meta["cutoff"] == network.cutoff
    assert heard.steps == [(stage, step) for stage in ("tokenizer", "predictor") for step in (1, 2, 3, 4)]


def test_a_run_writes_down_what_it_did(whole: tuple[Outcome, Listener], bars: Path) -> None:
    outcome, heard = whole
    out, table = outcome.out, str(outcome.comparison)
    for word in ("hv20", "base", "tuned", "crps", "cover90", "nll"):
        assert word in table
    assert json.loads((out / "comparison.json").read_text()) == outcome.comparison.tree()
    summary = json.loads((out / "training.json").read_text())
    assert summary == json.loads(json.dumps(outcome.summary))
    assert summary["comparison"] == outcome.comparison.tree()
    network = load_pair(out).network
    assert summary["parameters"]["predictor"] == sum(weight.numel() for weight in network.parameters())
    (stages,) = summary["stages"]
    assert [stages[name]["step"] for name in ("tokenizer", "predictor")] == [4, 4]
    assert set(stages["predictor"]["figures"]) >= {"val_loss", "val_s1", "val_s2", "task_crps", "task_hv20_crps"}
    settings = yaml.safe_load((out / "settings.yaml").read_text())
    assert FinetuneSettings.of(settings) == FinetuneSettings.of(summary["settings"])
    assert settings["predictor"]["betas"] == [0.9, 0.95], "defaults are written out"
    assert f"1 series, {ROWS} bars; {LOOKBACK} + {HORIZON} bars a window: train 133 windows" in heard.lines[0]
    assert any(line.startswith("predictor step 0/4  val_loss") for line in heard.lines)
    assert sorted(path.name for path in (out / "runs" / "predictor").iterdir()) == [
        "best.pt", "checkpoints", "metrics.csv", "metrics.jsonl",
    ]  # fmt: skip


def test_a_finished_run_tells_its_results_again(whole: tuple[Outcome, Listener], base: Path, bars: Path) -> None:
    outcome, _ = whole
    before = {file: file.stat().st_mtime_ns for file in outcome.out.rglob("*") if file.is_file()}
    heard = Listener()
    again = finetune(FinetuneSettings.of(tree_of(base, bars, **WHOLE)), outcome.out, reporter=heard)
    assert str(again.comparison) == str(outcome.comparison)
    assert again.comparison == outcome.comparison
    assert heard.steps == []
    assert heard.lines[-1] == f"{outcome.out}: this run is done; these are its results"
    assert before == {file: file.stat().st_mtime_ns for file in outcome.out.rglob("*") if file.is_file()}


# --- killed, and gone on with ----------------------------------------------------------------------------------------


class Killer(RolloutJudge):
    """Reporter and judge of a run that is killed at a step of a stage, or when forecasts are scored once more."""

    def __init__(self, where: str, count: int) -> None:
        super().__init__("cpu", 1)
        self.at, self.scores = (where, count), 0

    def say(self, line: str) -> None:
        pass

    def tick(self, progress: Progress) -> None:
        self._reach(progress.stage, progress.step)

    def score(self, *given: Any) -> Any:
        self.scores += 1
        self._reach("score", self.scores)
        return super().score(*given)

    def _reach(self, *place: Any) -> None:
        if place == self.at:
            os.kill(os.getpid(), signal.SIGKILL)


def run_until_killed(tree: Tree, out: Path, where: str, count: int) -> None:
    killer = Killer(where, count)
    finetune(FinetuneSettings.of(tree), out, judge=killer, reporter=killer)


@pytest.mark.parametrize(
    ("where", "count", "left"),
    [
        ("tokenizer", 3, "runs/tokenizer/checkpoints/step-00000002.pt"),
        ("predictor", 3, "runs/predictor/checkpoints/step-00000002.pt"),
        ("score", 2, "runs/predictor/metrics.jsonl"),  # in the middle of a validation, one step before its checkpoint
        ("score", 5, "predictor/config.json"),  # in the comparison, when the base is scored already
    ],
)
def test_a_run_that_was_killed_ends_as_if_nothing_had_been(
    where: str, count: int, left: str, whole: tuple[Outcome, Listener], base: Path, bars: Path, tmp_path: Path
) -> None:
    outcome, out, tree = whole[0], tmp_path / "run", tree_of(base, bars, **WHOLE)
    worker = multiprocessing.get_context("fork").Process(target=run_until_killed, args=(tree, out, where, count))
    worker.start()
    worker.join(60)
    assert worker.exitcode == -signal.SIGKILL
    assert (out / left).exists()
    assert not (out / "training.json").exists()
    heard = Listener()
    finetune(FinetuneSettings.of(tree), out, judge=RolloutJudge("cpu", 1), reporter=heard)
    assert any(f"{where}: going on after step 2" in line for line in heard.lines) == (where != "score")
    assert len(heard.steps) < 8, "not all of it was done again"
    assert prints(out) == prints(outcome.out)
    assert (out / "comparison.json").read_bytes() == (outcome.out / "comparison.json").read_bytes()
    for stage in ("tokenizer", "predictor"):
        one, other = (
            pd.read_json(folder / "runs" / stage / "metrics.jsonl", lines=True).drop(columns="tokens_per_second")
            for folder in (out, outcome.out)
        )
        pd.testing.assert_frame_equal(one, other)


def test_a_run_does_not_go_on_with_other_settings_or_bars(base: Path, bars: Path, tmp_path: Path) -> None:
    out, file = tmp_path / "run", tmp_path / "crypto_BTC_1h.csv"
    file.write_bytes(bars.read_bytes())
    with pytest.raises(InterruptedError):
        finetune(FinetuneSettings.of(tree_of(base, file)), out, reporter=Listener("tokenizer", 3))
    with pytest.raises(ConfigError, match=r"begun with other settings \(predictor.lr 0.001 -> 0.1\)"):
        tuned(out, base, file, predictor={"lr": 0.1})
    kronos.sample_bars("crypto", rows=ROWS + 10).to_csv(file)
    with pytest.raises(ConfigError, match=r"run was begun with other bars \(parts.train.rows 148 -> 155"):
        tuned(out, base, file)
    file.write_bytes(bars.read_bytes())
    heard = Listener()
    finetune(FinetuneSettings.of(tree_of(base, file, tokenizer={"keep_last": 5})), out, reporter=heard)
    assert "tokenizer: going on after step 2" in heard.lines
    assert (out / "training.json").exists()


# --- what is trained -------------------------------------------------------------------------------------------------

ALONE: Tree = {"tokenizer": {"tuning": {"what": "none"}}}
QUICK: Tree = {**ALONE, "predictor": {"steps": 2, "keep": "last"}}


def test_a_frozen_tokenizer_keeps_every_bit(base: Path, bars: Path, tmp_path: Path) -> None:
    outcome = tuned(tmp_path / "run", base, bars, **ALONE)
    assert changed(outcome.out, base, "tokenizer") == set()
    assert config(outcome.out)["pair"] == config(base)["pair"]
    assert changed(outcome.out, base, "predictor")
    assert not (outcome.out / "runs" / "tokenizer").exists()
    assert set(outcome.summary["stages"][0]) == {"predictor"}


def test_a_predictor_that_is_left_alone(published: Path, bars: Path, tmp_path: Path) -> None:
    outcome = tuned(tmp_path / "run", published, bars, predictor={"tuning": {"what": "none"}})
    assert changed(outcome.out, published, "predictor") == set()
    assert changed(outcome.out, published, "tokenizer")
    pair = load_pair(outcome.out)
    assert pair.network.pair == pair.tokenizer.fingerprint()
    assert pair.network.sibling_form == "published", "nothing was trained that would want another form"


def test_low_rank_changes_touch_the_blocks_matrices_alone(base: Path, bars: Path, tmp_path: Path) -> None:
    lora = {"what": "lora", "rank": 2, "alpha": 4, "targets": "attention"}
    outcome = tuned(tmp_path / "run", base, bars, **ALONE, predictor={"tuning": lora})
    found = changed(outcome.out, base, "predictor")
    wanted = {f"transformer.{n}.self_attn.{p}_proj.weight" for n in (0, 1) for p in ("q", "k", "v", "out")}
    wanted |= {f"dep_layer.cross_attn.{p}_proj.weight" for p in ("q", "k", "v", "out")}
    assert found == wanted
    before, after = weights(base, "predictor"), weights(outcome.out, "predictor")
    for name in wanted:
        assert np.linalg.matrix_rank((after[name] - before[name]).double().numpy(), tol=1e-6) <= 2, name


def test_the_last_layers(base: Path, bars: Path, tmp_path: Path) -> None:
    chosen = {"what": "last", "layers": 1}
    outcome = tuned(tmp_path / "run", base, bars, tokenizer={"tuning": chosen}, predictor={"tuning": chosen})
    assert {name.split(".")[0] for name in changed(outcome.out, base, "predictor")} <= {
        "transformer", "norm", "dep_layer", "head",
    }  # fmt: skip
    assert not [n for n in changed(outcome.out, base, "predictor") if n.startswith("transformer.0.")]
    assert {name.split(".")[0] for name in changed(outcome.out, base, "tokenizer")} == {"decoder", "head"}


def test_a_published_base_is_trained_in_its_own_units(published: Path, bars: Path, tmp_path: Path) -> None:
    outcome = tuned(tmp_path / "run", published, bars)
    pair = load_pair(outcome.out)
    assert pair.tokenizer.normaliser == "zscore"
    assert pair.network.stamp_of == "bar"
    assert pair.network.sibling_form == "trained"
    assert pair.network.max_context == 512
    kept = tuned(tmp_path / "kept", published, bars, sibling_form="keep")
    assert load_pair(kept.out).network.sibling_form == "published"
    assert changed(kept.out, outcome.out, "predictor") == set(), "the form is one of forecasts, not of training"


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"draw": "balanced"}, id="balanced"),
        pytest.param({"seed": 2}, id="seed"),
        pytest.param({"without_volume": 1.0}, id="without volume"),
        pytest.param({"augment": [{"kind": "noise", "share": 1.0}]}, id="augment"),
        pytest.param({"predictor": {"base_volatility": "auto"}}, id="volatility"),
        pytest.param({"predictor": {"ema": 0.5}}, id="average"),
        pytest.param({"predictor": {"optimiser": "muon"}}, id="muon"),
        pytest.param({"predictor": {"tuning": {"layer_decay": 0.5}}}, id="layer decay"),
        pytest.param({"predictor": {"accumulate": 2}}, id="accumulate"),
        pytest.param({"predictor": {"sibling": "sampled"}}, id="sampled"),
    ],
)
def test_a_choice_makes_a_difference(changes: Tree, base: Path, bars: Path, tmp_path: Path, plain: Path) -> None:
    assert prints(tuned(tmp_path / "run", base, bars, **merged(QUICK, changes)).out) != prints(plain)


def test_the_same_choices_give_the_same_weights(base: Path, bars: Path, tmp_path: Path, plain: Path) -> None:
    assert prints(tuned(tmp_path / "run", base, bars, **QUICK).out) == prints(plain)


@pytest.fixture(scope="module")
def plain(base: Path, bars: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tuned(tmp_path_factory.mktemp("plain") / "run", base, bars, **QUICK).out


def test_members_of_an_ensemble_differ_and_forecast_as_one(base: Path, bars: Path, tmp_path: Path) -> None:
    outcome = finetune(
        FinetuneSettings.of(tree_of(base, bars, ensemble=2)), tmp_path / "run", judge=RolloutJudge("cpu", 1)
    )
    assert json.loads((outcome.out / "ensemble.json").read_text())["members"] == ["member-1", "member-2"]
    first, second = prints(outcome.out / "member-1"), prints(outcome.out / "member-2")
    assert first["predictor/model.safetensors"] != second["predictor/model.safetensors"]
    assert first["tokenizer/model.safetensors"] != second["tokenizer/model.safetensors"]
    assert len(outcome.summary["stages"]) == 2
    model = kronos.load(outcome.out)
    assert isinstance(model, Ensemble)
    made = model.forecast(bars_frame(20), horizon=HORIZON, samples=5)
    assert made.paths.shape == (5, HORIZON, 6)
    assert [one["samples"] for one in made.meta["members"]] == [3, 2]


# --- data ------------------------------------------------------------------------------------------------------------


def test_without_a_look_back_the_longest_that_leaves_enough_to_judge_by(base: Path, bars: Path, tmp_path: Path) -> None:
    outcome = tuned(tmp_path / "run", base, bars, lookback=None, **ALONE, predictor={"steps": 1})
    lookback = yaml.safe_load((outcome.out / "settings.yaml").read_text())["lookback"]
    assert lookback == 16
    assert outcome.summary["split"]["lookback"] == 16
    assert tuned(tmp_path / "run", base, bars, lookback=None, **ALONE, predictor={"steps": 1}) is not None  # goes on


@pytest.mark.parametrize(("rows", "wanted"), [(20_000, 400), (3_000, 192), (1_500, 64), (700, 48), (400, 16)])
def test_the_look_back_by_the_length_of_the_data(rows: int, wanted: int) -> None:
    series = [Series.of(bars_frame(rows), "BTC_1h", symbol="BTC")]
    settings, split = plan(FinetuneSettings(), series)
    assert settings.lookback == split.lookback == wanted
    futures = min(split.windows(part).counts.sum() for part in split.parts) / settings.horizon
    assert futures > 7 or (futures > 1 and wanted <= 64) or wanted == LOOKBACKS[-1]


def test_data_too_short_says_which_part_is_empty_and_what_to_change(base: Path, tmp_path: Path) -> None:
    file = tmp_path / "BTC_1h.csv"
    bars_frame(60).to_csv(file)
    with pytest.raises(BarsError) as failed:
        tuned(tmp_path / "run", base, file, lookback=None, horizon=24)
    for word in ("the part 'validation' is empty", "16 + 24", "BTC_1h has 60 rows", "lower lookback, horizon"):
        assert word in str(failed.value)
    assert not (tmp_path / "run").exists(), "what is refused leaves nothing behind"


def test_several_places_and_names_that_are_there_twice(base: Path, tmp_path: Path) -> None:
    for folder, seed in (("binance", 1), ("okx", 2)):
        (tmp_path / folder).mkdir()
        bars_frame(ROWS, seed=seed).to_csv(tmp_path / folder / "BTC_1h.csv")
        bars_frame(ROWS, seed=seed + 2).to_csv(tmp_path / folder / f"only-{folder}_1h.csv")
    quick = merged(ALONE, {"predictor": {"steps": 1}})
    outcome = tuned(tmp_path / "run", base, tmp_path / "binance", tmp_path / "okx", **quick)
    assert (outcome.summary["series"], outcome.summary["bars"]) == (4, 4 * ROWS)
    one = tuned(tmp_path / "one", base, tmp_path / "binance", symbols=["btc"], timeframes=["1h"], **quick)
    assert one.summary["series"] == 1
    with pytest.raises(ConfigError, match="is there twice; name every place once"):
        tuned(tmp_path / "no", base, tmp_path / "okx", tmp_path / "okx", tmp_path / "okx")
    with pytest.raises(SourceError, match="holds no series of symbol DOGE"):
        tuned(tmp_path / "no", base, tmp_path / "okx", symbols=["DOGE"])


def test_a_lake_held_out_symbols_and_dates(base: Path, tmp_path: Path) -> None:
    files = tmp_path / "files"
    files.mkdir()
    for seed, symbol in enumerate(("BTC", "ETH", "DOGE")):
        bars_frame(ROWS, seed=seed).to_csv(files / f"crypto_{symbol}_1h.csv")
    lake = Lake.open(tmp_path / "lake", create=True)
    assert len(list(import_bars(lake, files))) == 3
    dates = {"train": [None, "2024-03-09"], "validation": ["2024-03-09", "2024-03-11"], "test": ["2024-03-11", None]}
    split = {"dates": dates, "hold_out": ["doge"]}
    quick = merged(ALONE, {"predictor": {"steps": 1}, "split": split})
    outcome = tuned(tmp_path / "run", base, tmp_path / "lake", **quick)
    facts = outcome.summary["split"]
    assert facts["held_out"] == ["DOGE"]
    parts = facts["parts"]
    assert [parts[name]["series"] for name in parts] == [2, 2, 3]
    assert parts["train"]["last"] < "2024-03-09" <= parts["validation"]["first"]
    assert parts["validation"]["last"] < "2024-03-11" <= parts["test"]["first"]
    assert config(outcome.out)["cutoff"] == parts["validation"]["last"][:10]


EVERYTHING: Tree = {
    "draw": "balanced",
    "augment": [{"kind": "noise"}, {"kind": "warp"}],
    "validation_windows": 40,
    "split": {"hold_out": ["ETH"]},
    "tokenizer": {"base_volatility": "auto"},
    "predictor": {"base_volatility": "auto", "metric": "crps", "score_every": 1, "patience": 3},
}


def test_nothing_of_what_is_tested_reaches_the_weights(base: Path, tmp_path: Path) -> None:
    """The bars of the test part become others, in the data and in what is replayed; no bit of the weights does."""
    runs = {}
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        for seed, symbol in enumerate(("BTC", "ETH")):
            frame = bars_frame(ROWS, seed=seed)
            if name == "two":
                tested = slice(184 if symbol == "BTC" else 0, None)  # the whole of what is held out
                frame.iloc[tested, :4] *= np.exp(np.linspace(0.5, 1.0, len(frame.iloc[tested])))[:, None]
                frame.iloc[tested, 4:] *= 3.0
            frame.to_csv(folder / f"{symbol}_1h.csv")
        changes = merged(EVERYTHING, {"replay": {"data": str(folder), "share": 0.5}})
        settings = FinetuneSettings.of(tree_of(base, folder, **changes))
        runs[name] = finetune(settings, tmp_path / f"run-{name}", judge=RolloutJudge("cpu", 1))
    one, two = runs["one"], runs["two"]
    test = one.summary["split"]["parts"]["test"]
    assert test["series"] == 2
    assert one.comparison != two.comparison, "the bars that are tested on are others"
    assert prints(one.out) == prints(two.out)


def test_what_is_replayed_ends_where_training_does(base: Path, bars: Path, tmp_path: Path, plain: Path) -> None:
    later = tmp_path / "later_1h.csv"
    bars_frame(100, start="2025-01-01").to_csv(later)
    with pytest.raises(ConfigError, match=r"replay\.data: .*later_1h.csv has no window that ends by 2024-01-08"):
        tuned(tmp_path / "no", base, bars, **QUICK, replay={"data": str(later)})
    earlier = tmp_path / "earlier_1h.csv"
    bars_frame(100, start="2023-01-01").to_csv(earlier)
    with_old = tuned(tmp_path / "old", base, bars, **QUICK, replay={"data": str(earlier), "share": 0.5})
    assert prints(with_old.out) != prints(plain)


def test_a_base_that_may_know_the_answers_is_spoken_of(base: Path, bars: Path, tmp_path: Path) -> None:
    quick = merged(ALONE, {"predictor": {"steps": 1}})
    for cutoff, warned in (("2024-02-01", True), ("2024-01-01", False)):
        network = Kronos.from_pretrained(base / "predictor")
        network.record(cutoff=cutoff)
        network.save_pretrained(tmp_path / cutoff / "predictor")
        KronosTokenizer.from_pretrained(base / "tokenizer").save_pretrained(tmp_path / cutoff / "tokenizer")
        heard = Listener()
        settings = FinetuneSettings.of(tree_of(tmp_path / cutoff, bars, **quick))
        outcome = finetune(settings, tmp_path / f"run-{cutoff}", reporter=heard)
        assert any(f"trained on bars up to {cutoff} and the test part" in line for line in heard.lines) == warned
        assert config(outcome.out)["cutoff"] == max(
            cutoff, outcome.summary["split"]["parts"]["validation"]["last"][:10]
        )


def test_published_weights_are_known_to_know_of_june_2024(bars: Path, tmp_path: Path) -> None:
    tiny_tokenizer(bits=(10, 10)).save_pretrained(tmp_path / "base" / "tokenizer")
    Kronos(**ZOO["mini"].network_config).save_pretrained(tmp_path / "base" / "predictor")
    heard, quick = Listener(), {"tokenizer": {"steps": 1}, "predictor": {"tuning": {"what": "none"}}}
    settings = FinetuneSettings.of(tree_of(tmp_path / "base", bars, **quick))
    outcome = finetune(settings, tmp_path / "run", reporter=heard)
    assert any("trained on bars up to 2024-06-30 and the test part begins on 2024-01-08" in one for one in heard.lines)
    assert config(outcome.out)["cutoff"] == "2024-06-30"


# --- whether it learns -----------------------------------------------------------------------------------------------


def test_it_learns_what_can_be_learned(base: Path, tmp_path: Path) -> None:
    """Prices that go round in a circle of six: the tokens that follow are certain, and the tuned network knows them."""
    turn = np.tile([0.02, 0.01, -0.01, -0.02, 0.015, -0.015], 60)
    close = 50 * np.exp(np.cumsum(turn) + np.random.default_rng(0).normal(0, 1e-4, len(turn)))
    open_ = np.r_[50.0, close[:-1]]
    high, low = np.maximum(open_, close) * 1.002, np.minimum(open_, close) * 0.998
    times = pd.date_range("2024-03-04", periods=len(close), freq="1h", name="timestamp")
    frame = pd.DataFrame({"open": open_, "high": high, "low": low, "close": close}, index=times)
    frame.to_csv(tmp_path / "round_1h.csv")
    longer = {"steps": 60, "lr": 2e-2, "warmup": 5, "validate_every": 20, "save_every": 60}
    outcome = tuned(tmp_path / "run", base, tmp_path / "round_1h.csv", **ALONE, predictor=longer, batch=16)
    before, after = (row.figures["nll"] for row in outcome.comparison.rows)
    assert [row.model for row in outcome.comparison.rows] == ["base", "tuned"]
    assert before > 3
    assert after < 0.3 * before
    recorded = json.loads((outcome.out / "training.json").read_text())["comparison"]["rows"]
    assert [row["nll"] for row in recorded] == [before, after]
    (stages,) = outcome.summary["stages"]
    assert stages["predictor"]["best"]["value"] == pytest.approx(after, rel=0.5)


# --- what is refused -------------------------------------------------------------------------------------------------


def a_file(place: Path) -> None:
    place.write_text("x")


def somebodys(place: Path) -> None:
    place.mkdir()
    (place / "thesis.docx").write_text("x")


@pytest.mark.parametrize(
    ("make", "words"),
    [(a_file, "this is a file; name a folder"), (somebodys, "holds something else than a training run")],
)
def test_a_place_that_is_taken(
    make: Callable[[Path], None], words: str, base: Path, bars: Path, tmp_path: Path
) -> None:
    make(tmp_path / "out")
    with pytest.raises(ConfigError, match=words):
        tuned(tmp_path / "out", base, bars)


@pytest.mark.parametrize(
    ("changes", "kind", "words"),
    [
        ({"base": "nanoo"}, CheckpointError, "'nanoo' is neither a folder nor one of nano"),
        ({"base": "./no/such/base"}, CheckpointError, "no such folder"),
        ({"data": ["missing.csv"]}, SourceError, "missing.csv"),
        ({"data": []}, ConfigError, "no data: name files, folders or a lake with --data"),
        ({"augment": [{"kind": "nois"}]}, ConfigError, "unknown augmentation 'nois'; known are noise, scale, warp"),
        ({"augment": [{"kind": "noise", "strength": 5}]}, ConfigError, "strength of 'noise' is 5"),
        ({"split": {"ratios": [0.8, 0.2, 0.0]}}, ConfigError, "training, validation and test each need a share"),
        ({"split": {"ratios": [0.8, 0.1, 0.2]}}, ConfigError, "add up to 1"),
        ({"split": {"hold_out": ["DOGE"]}}, ConfigError, "no series of 'DOGE'"),
        ({"predictor": {"metric": "crps"}}, ConfigError, "set predictor.score_every"),
        ({"predictor": {"tuning": {"freeze": ["transfromer"]}}}, ConfigError, "did you mean 'transformer'"),
        ({"predictor": {"tuning": {"what": "lora", "rank": 99}}}, ConfigError, "tuning.rank 99 is larger than"),
        ({"tokenizer": {"tuning": {"freeze": ["*"]}}}, ConfigError, "no weight of this KronosTokenizer would be"),
        ({"replay": {"data": "nowhere"}}, SourceError, "nowhere"),
    ],
)  # fmt: skip
def test_what_is_refused_is_refused_before_anything_is_written(
    changes: Tree, kind: type[Exception], words: str, base: Path, bars: Path, tmp_path: Path
) -> None:
    heard, settings = Listener(), FinetuneSettings.of(merged(tree_of(base, bars), changes))
    with pytest.raises(kind) as failed:
        finetune(settings, tmp_path / "run", judge=RolloutJudge("cpu", 1), reporter=heard)
    assert words in str(failed.value)
    assert "\n" not in str(failed.value)
    assert heard.steps == []
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"horizont": 3}, "horizont: unknown key, did you mean 'horizon'?"),
        ({"predictor": {"stepz": 3}}, "predictor.stepz: unknown key, did you mean 'steps'?"),
        ({"predictor": {"tuning": {"layer": 3}}}, "predictor.tuning.layer: unknown key, did you mean 'layers'?"),
        ({"score": {"sample": 3}}, "score.sample: unknown key, did you mean 'samples'?"),
        ({"tokenizer": {"metric": "crps"}}, "tokenizer.metric: a tokenizer alone forecasts nothing"),
        ({"batch": 0}, "batch: Input should be greater than or equal to 1 (got 0)"),
        (
            {"tokenizer": {"tuning": {"what": "none"}}, "predictor": {"tuning": {"what": "none"}}},
            "both 'none': nothing is trained",
        ),
    ],
)
def test_settings_that_make_no_sense(changes: Tree, words: str) -> None:
    with pytest.raises(ConfigError) as failed:
        FinetuneSettings.of(changes)
    assert words in str(failed.value)

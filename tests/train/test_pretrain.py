"""Pretraining end to end, tiny: files in, a pair that loads and forecasts out; and every size that there is."""

import json
import os
import signal
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

import kronos
from kronos.bars import invalid
from kronos.data import Series, load_series
from kronos.errors import BarsError, CheckpointError, ConfigError
from kronos.model import ZOO, Kronos, KronosTokenizer, check_pair
from kronos.train import PretrainSettings, Progress, pretrain
from kronos.train.objectives import normalised
from kronos.train.pretrain import cutoff_of, feed_of, split_for, validation_batches
from kronos.train.reconstruction import match_spread
from kronos.train.stopping import StoppedError
from reference import tiny_tokenizer
from toys import Listener, log_of

STAGE: dict[str, Any] = {"warmup": 2, "save_every": 3, "validate_every": 3, "optimiser": "adamw", "lr": 3e-3}
TINY: dict[str, Any] = {
    "tokenizer": {"d_model": 16, "n_heads": 2, "ff_dim": 24, "n_enc_layers": 2, "n_dec_layers": 2, "group_size": 4},
    "predictor": {"d_model": 16, "n_heads": 2, "ff_dim": 24, "n_layers": 1},
}
SMALL: dict[str, Any] = {
    "name": "twig",
    "max_context": 40,
    "validation_share": 0.2,
    "validation_windows": 8,
    "without_volume": 0.1,
    "shapes": [{"lookback": 16, "horizon": 4, "batch": 8}, {"lookback": 24, "horizon": 8, "batch": 6}],
    "tokenizer": STAGE | {"steps": 6, "config": TINY["tokenizer"] | {"s1_bits": 4, "s2_bits": 4}},
    "predictor": STAGE | {"steps": 7, "config": TINY["predictor"] | {"s1_bits": 4, "s2_bits": 4}},
}


def merged(tree: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    out = dict(tree)
    for key, value in changes.items():
        out[key] = merged(out[key], value) if isinstance(value, dict) and isinstance(out.get(key), dict) else value
    return out


def settings(data: Path | None = None, **changes: Any) -> PretrainSettings:
    return PretrainSettings.of(merged(SMALL | ({"data": [str(data)]} if data else {}), changes))


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("market")
    for kind, name in (("crypto", "coins/a"), ("crypto", "coins/b"), ("stock", "shares/c")):
        (folder / name).parent.mkdir(exist_ok=True)
        seed = ord(name[-1])
        kronos.sample_bars(kind, 800 if kind == "crypto" else 300, seed, "1h").to_csv(folder / f"{name}.csv")
    return folder


@pytest.fixture(scope="module")
def series(market: Path) -> list[Series]:
    return load_series(market)


Trained = tuple[Path, dict[str, Any], Listener]


@pytest.fixture(scope="module")
def trained(market: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    out, heard = tmp_path_factory.mktemp("out"), Listener()
    return out, dict(pretrain(settings(market), out, reporter=heard)), heard


# What comes out -------------------------------------------------------------------------------------------------------


def test_what_comes_out_loads_and_forecasts(trained: Trained) -> None:
    out, summary, _ = trained
    model = kronos.load(out, device="cpu")
    assert (model.name, model.max_context) == ("twig", 40)
    check_pair(model.model, model.tokenizer)
    assert model.model.pair == model.tokenizer.fingerprint()
    assert (model.model.sibling_form, model.model.stamp_of, model.model.clock) == ("trained", "next", "utc")
    assert (model.tokenizer.normaliser, model.tokenizer.name) == ("returns", "twig-tokenizer")
    forecast = model.forecast(kronos.sample_bars("crypto", 60), 12, samples=20)
    assert not invalid(forecast.paths).any()
    assert forecast.repaired == 0
    assert forecast.meta["model"] == "twig"
    assert forecast.meta["cutoff"] == summary["cutoff"]


def test_the_summary(trained: Trained, market: Path) -> None:
    out, summary, heard = trained
    assert json.loads((out / "training.json").read_text()) == summary
    assert (summary["series"], summary["bars"]) == (3, 1900)
    assert PretrainSettings.of(summary["settings"]) == settings(market)
    assert PretrainSettings.read(out / "settings.yaml") == settings(market)
    assert set(summary["reconstruction"]) == {"error", "variance"}
    assert len(summary["reconstruction"]["error"]) == 6
    assert all(0 < share <= 1 for share in summary["codes_used"].values())
    for stage, steps in (("tokenizer", 6), ("predictor", 7)):
        log = log_of(out / "runs" / stage)
        assert [line["step"] for line in log] == list(range(steps + 1))
        assert summary["validation"][stage]["val_loss"] == log[-1]["val_loss"] < log[0]["val_loss"]
        assert summary["stages"][stage]["reason"] == "all steps"
        assert len([tick for tick in heard.ticks if tick.stage == stage]) == steps
    tokenizer = KronosTokenizer.from_pretrained(out / "tokenizer")
    assert summary["parameters"]["tokenizer"] == sum(p.numel() for p in tokenizer.parameters())
    assert "3 series, 1,900 bars" in heard.text
    assert f"tokenizer: {summary['parameters']['tokenizer']:,} parameters" in heard.text


def test_a_finished_run_is_only_told_again(trained: Trained, market: Path) -> None:
    out, summary, _ = trained
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    heard = Listener()
    assert pretrain(settings(market), out, reporter=heard) == summary
    assert heard.ticks == []
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    assert pretrain(settings(market, predictor={"save_every": 3}), out) == summary
    with pytest.raises(ConfigError, match=r"other settings \(seed 1 -> 2\)"):
        pretrain(settings(market, seed=2), out)
    with pytest.raises(ConfigError, match=r"predictor\.config\.n_layers 1 -> 2"):
        pretrain(settings(market, predictor={"config": {"n_layers": 2}}), out)


# Stopped --------------------------------------------------------------------------------------------------------------


class Stopping(Listener):
    """Somebody asks to stop after a step of a stage, or pulls the plug."""

    def __init__(self, stage: str, step: int, politely: bool) -> None:
        super().__init__()
        self.stage, self.step, self.politely = stage, step, politely

    def tick(self, progress: Progress) -> None:
        super().tick(progress)
        if (progress.stage, progress.step) == (self.stage, self.step):
            if not self.politely:
                raise PulledError
            os.kill(os.getpid(), signal.SIGINT)


class PulledError(Exception):
    """The plug was pulled."""


@pytest.mark.parametrize(
    ("stage", "step", "politely", "after"),
    [
        ("tokenizer", 4, True, 5),
        ("predictor", 5, False, 3),
        ("predictor", 7, False, 7),
    ],
)
def test_a_stopped_run_ends_with_the_same_weights(
    trained: Trained, market: Path, tmp_path: Path, stage: str, step: int, politely: bool, after: int
) -> None:
    out, summary, _ = trained
    with pytest.raises(StoppedError if politely else PulledError):
        pretrain(settings(market), tmp_path, reporter=Stopping(stage, step, politely))
    assert not (tmp_path / "training.json").exists()
    assert not (tmp_path / "predictor").exists()
    heard = Listener()
    again = pretrain(settings(market), tmp_path, reporter=heard)
    steps = {"tokenizer": 6, "predictor": 7}[stage]
    said = f"{stage}: done before, all steps" if after == steps else f"{stage}: going on after step {after}"
    assert (said in heard.lines) == bool(after)
    assert sum(tick.stage == stage for tick in heard.ticks) == steps - after
    for part in ("tokenizer", "predictor"):
        for name in ("model.safetensors", "config.json"):
            assert (out / part / name).read_bytes() == (tmp_path / part / name).read_bytes()
        assert log_of(out / "runs" / part) == log_of(tmp_path / "runs" / part)
    assert {key: again[key] for key in again if key != "stages"} == {
        key: summary[key] for key in summary if key != "stages"
    }


# What is read ---------------------------------------------------------------------------------------------------------


def places(series: list[Series]) -> dict[bytes, tuple[int, int]]:
    """Where a bar stands: its series and its row, by its bytes."""
    return {one.bars[row].tobytes(): (number, row) for number, one in enumerate(series) for row in range(len(one))}


def read_by(batches: Any, where: dict[bytes, tuple[int, int]]) -> dict[int, set[int]]:
    """The rows of every series that batches hold."""
    rows: dict[int, set[int]] = {}
    for batch in batches:
        for bar in batch.bars.reshape(-1, 6):
            number, row = where[bar.tobytes()]
            rows.setdefault(number, set()).add(row)
    return rows


def test_no_training_window_reaches_into_what_is_validated_on(series: list[Series]) -> None:
    """Told by the bytes of the bars; the longest horizon lies between the parts."""
    wanted = settings(without_volume=0.0)
    split = split_for(wanted, series)
    feed, where = feed_of(wanted, series, split), places(series)
    train = read_by((feed(number) for number in range(150)), where)
    held = read_by(validation_batches(wanted, series, split), where)
    assert set(train) == set(held) == {0, 1, 2}
    for number, rows in held.items():
        assert max(train[number]) < 0.8 * len(series[number]) + 1
        assert min(rows) - max(train[number]) > 8
        assert len(train[number]) > 0.6 * len(series[number])  # and nearly all that may be read is read


def test_validation_is_always_of_the_same_windows_spread_over_the_last_part(series: list[Series]) -> None:
    wanted = settings()
    split = split_for(wanted, series)
    first, again = (validation_batches(wanted, series, split) for _ in range(2))
    assert [batch.bars.tobytes() for batch in first] == [batch.bars.tobytes() for batch in again]
    assert sum(len(batch.bars) for batch in first) == 8
    assert {batch.bars.shape[1:] for batch in first} == {(32, 6)}  # the shape with most bars
    where = places(series)
    begins = [where[window[0].tobytes()] for batch in first for window in batch.bars]
    assert all(a < b for a, b in pairwise(begins))
    assert {number for number, _ in begins} == {0, 1, 2}


def test_shapes_take_turns_and_the_tokenizer_reads_fewer(series: list[Series]) -> None:
    split = split_for(settings(), series)
    whole, half = (feed_of(settings(), series, split, share) for share in (1.0, 0.5))
    assert [whole(step).bars.shape for step in range(3)] == [(8, 20, 6), (6, 32, 6), (8, 20, 6)]
    assert [half(step).bars.shape[0] for step in range(2)] == [4, 3]
    assert whole(5).lookback == 24
    assert feed_of(settings(), series, split, 0.01)(0).bars.shape[0] == 1


def test_the_cutoff_is_the_last_day_that_weights_know_of(series: list[Series], trained: Trained) -> None:
    split = split_for(settings(), series)
    where = places(series)
    feed = feed_of(settings(without_volume=0.0), series, split)
    read = read_by((feed(number) for number in range(150)), where)
    last = max(series[number].times[max(rows)] for number, rows in read.items())
    cutoff = cutoff_of(settings(), series, split)
    assert cutoff == trained[1]["cutoff"]
    assert np.datetime64(cutoff) <= last.astype("datetime64[D]") + 1
    assert last < np.datetime64(cutoff) + 1
    for part in ("tokenizer", "predictor"):  # weights that validation chose know of it
        chosen = cutoff_of(settings(**{part: {"keep": "best"}}), series, split)
        assert chosen == str(max(one.times[-1] for one in series))[:10] > cutoff


def test_a_new_listing_is_trained_on_whole(series: list[Series]) -> None:
    """It is too short to be split; what it is not used for is validation."""
    bars = kronos.sample_bars("crypto", 40, 9)
    late = Series.of(bars.set_axis(bars.index + (np.datetime64("2030-01-01") - bars.index[0])), "coins/new")
    everything = [*series, late]
    wanted = settings(without_volume=0.0)
    split = split_for(wanted, everything)
    where = places(everything)
    assert 3 not in read_by(validation_batches(wanted, everything, split), where)
    feed = feed_of(wanted, everything, split)
    assert 3 in read_by((feed(number) for number in range(150)), where)
    assert cutoff_of(wanted, everything, split) == "2030-01-02"


# Refusals -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def out(tmp_path: Path) -> Iterator[Path]:
    """A folder that must not be there when all has been refused."""
    yield tmp_path / "run"
    assert not (tmp_path / "run").exists()


def test_nothing_to_train_or_to_validate_on(market: Path, tmp_path: Path, out: Path) -> None:
    with pytest.raises(ConfigError, match="no data"):
        pretrain(settings(), out)
    short = tmp_path / "short"
    short.mkdir()
    kronos.sample_bars("crypto", 20, 3).to_csv(short / "a.csv")
    with pytest.raises(BarsError):
        pretrain(settings(short), out)
    kronos.sample_bars("crypto", 50, 3).to_csv(short / "a.csv")  # enough to train on, and for nothing else
    with pytest.raises(BarsError):
        pretrain(settings(short), out)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"tokenizer": {"config": {"depth": 3}}}, "config: .*'depth'.*keys are the constructor's arguments"),
        ({"predictor": {"config": {"layers": 3}}}, "config: .*'layers'.*keys are the constructor's arguments"),
        ({"predictor": {"config": {"d_model": 10}}}, "d_model 10 does not divide"),
        ({"predictor": {"config": {"d_model": "wide"}}}, "config: "),
        ({"predictor": {"config": {"n_heads": 0}}}, "config: "),
        ({"predictor": {"config": {"ffn_dropout_p": 2.0}}}, "config: .*dropout"),
        ({"tokenizer": {"config": {"s1_bits": 5}}}, r"writes 5 \+ 4 bits a bar and the predictor reads 4 \+ 4"),
        ({"market_weights": {"coins": 1.0}}, "no weight for shares"),
        ({"augment": [{"kind": "mirror"}]}, "unknown augmentation 'mirror'"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_trained(
    market: Path, out: Path, changes: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(ConfigError, match=complaint):
        pretrain(settings(market, **changes), out)


def test_a_folder_with_something_else_in_it(market: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="holds something else than a training run"):
        pretrain(settings(market), tmp_path)
    with pytest.raises(ConfigError, match="this is a file"):
        pretrain(settings(market), tmp_path / "notes.txt")
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"predictor": {"stepps": 3}}, r"predictor.stepps: unknown key, did you mean 'steps'"),
        ({"tokenizer": {"colum_weights": None}}, "did you mean 'column_weights'"),
        ({"sizes": "nano"}, "did you mean 'size'"),
        ({"size": "tiny"}, "size"),
        ({"shapes": [{"lookback": 3}]}, "shapes"),
        ({"shapes": []}, "shapes"),
        ({"max_context": 31}, "a window of 24 \\+ 8 bars is longer than the context of 31"),
        ({"validation_share": 0.0}, "validation_share"),
        ({"tokenizer": {"column_weights": [1, 1, 1]}}, "column_weights"),
        ({"predictor": {"metric": "crps", "score_every": 1}}, "pretraining keeps the last weights"),
        ({"seed": -1}, "seed"),
        ({"trackers": ["carrier pigeon"]}, "trackers"),
    ],
)
def test_settings_are_checked(changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        settings(**changes)


def test_settings_come_from_a_file_and_from_the_command_line(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("size: small\npredictor:\n  lr: 1e-3\n")
    read = PretrainSettings.read(file, ["predictor.steps=7", "shapes=[{lookback: 30, horizon: 2, batch: 5}]"])
    assert (read.size, read.predictor.lr, read.predictor.steps, read.shapes[0].lookback) == ("small", 1e-3, 7, 30)
    usual = PretrainSettings()
    assert PretrainSettings.of(yaml.safe_load(yaml.safe_dump(usual.tree()))) == usual


# Sizes ----------------------------------------------------------------------------------------------------------------


def of_size(size: str, **changes: Any) -> PretrainSettings:
    return PretrainSettings.of({"size": size} | changes)


@pytest.mark.parametrize("size", sorted(ZOO))
def test_every_size_of_the_zoo_can_be_trained(size: str) -> None:
    """The published sizes, and parameters as many as the zoo says; nothing is allocated."""
    entry, chosen = ZOO[size], of_size(size)
    own = {"sibling_form", "stamp_of", "clock", "max_context", "name", "normaliser", "pair", "cutoff"}
    network, tokenizer = chosen.network_config(), chosen.tokenizer_config()
    if size == "nano":
        told = [json.loads((entry.folder / part / "config.json").read_text()) for part in ("predictor", "tokenizer")]
    else:
        told = [dict(entry.network_config), dict(entry.tokenizer_config)]
    for ours, theirs in zip((network, tokenizer), told, strict=True):
        assert {key: ours[key] for key in ours if key not in own} == {k: theirs[k] for k in theirs if k not in own}
    assert network["max_context"] == entry.max_context
    assert (network["name"], tokenizer["name"]) == (f"kronos-{size}", f"kronos-{size}-tokenizer")
    with torch.device("meta"):
        sizes = [sum(p.numel() for p in one.parameters()) for one in (Kronos(**network), KronosTokenizer(**tokenizer))]
    assert sizes == [entry.parameters, entry.tokenizer_parameters]


def test_single_sizes_can_be_chosen() -> None:
    chosen = of_size(
        "small",
        name="mine",
        normaliser="zscore",
        stamp_of="bar",
        max_context=700,
        predictor={"config": {"n_layers": 3}},
    )
    plain = of_size("small")
    network = chosen.network_config()
    assert {key for key in network if network[key] != plain.network_config()[key]} == {
        "n_layers",
        "stamp_of",
        "max_context",
        "name",
    }
    assert (network["n_layers"], network["stamp_of"], network["max_context"]) == (3, "bar", 700)
    tokenizer = chosen.tokenizer_config()
    assert (tokenizer["normaliser"], tokenizer["name"]) == ("zscore", "mine-tokenizer")
    deeper = of_size("small", tokenizer={"config": {"n_enc_layers": 9}}).tokenizer_config()
    assert deeper == plain.tokenizer_config() | {"n_enc_layers": 9}


# The tokenizer --------------------------------------------------------------------------------------------------------


def test_a_tokenizer_that_is_there_already(trained: Trained, market: Path, tmp_path: Path) -> None:
    out, _, _ = trained
    heard = Listener()
    changed = settings(market, tokenizer_from=str(out / "tokenizer"), predictor={"steps": 3})
    summary = pretrain(changed, tmp_path / "run", reporter=heard)
    assert {tick.stage for tick in heard.ticks} == {"predictor"}
    assert summary["stages"]["tokenizer"] is None
    parts = [path / "tokenizer" / "model.safetensors" for path in (out, tmp_path / "run")]
    assert parts[0].read_bytes() == parts[1].read_bytes()
    check_pair(kronos.load(tmp_path / "run", device="cpu").model, KronosTokenizer.from_pretrained(out / "tokenizer"))
    with pytest.raises(ConfigError, match=r"writes 4 \+ 4 bits a bar and the predictor reads 5 \+ 4"):
        pretrain(
            settings(market, tokenizer_from=str(out / "tokenizer"), predictor={"config": {"s1_bits": 5}}),
            tmp_path / "other",
        )
    with pytest.raises(CheckpointError, match="nowhere"):
        pretrain(settings(market, tokenizer_from=str(tmp_path / "nowhere")), tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_decoded_moves_are_as_wide_as_true_ones(series: list[Series]) -> None:
    """Means become those of the true gaps and bodies; deviations too, as far as a quarter more goes."""
    tokenizer = tiny_tokenizer(4, normaliser="returns")
    split = split_for(settings(), series)
    feed = feed_of(settings(), series, split)
    batches = [feed(number) for number in range(6)]
    inputs = [normalised(batch, "returns") for batch in batches]
    true = torch.cat([x.flatten(0, 1)[:, :2] for x in inputs])

    def decoded() -> torch.Tensor:
        return torch.cat([tokenizer.decode(tokenizer.encode(x)).flatten(0, 1) for x in inputs])

    before = decoded()
    tokenizer.head.weight[0] *= 0.9 * true[:, 0].std() / before[:, 0].std()  # a little too narrow
    tokenizer.head.weight[1] *= 0.5 * true[:, 1].std() / before[:, 1].std()  # far too narrow
    before = decoded()
    gap, body = match_spread(tokenizer, batches)
    after = decoded()
    assert gap == pytest.approx(1 / 0.9, rel=1e-3)
    assert body == 1.25
    torch.testing.assert_close(after[:, :2].mean(0), true.mean(0), rtol=1e-3, atol=1e-4)
    assert after[:, 0].std().item() == pytest.approx(true[:, 0].std().item(), rel=1e-3)
    assert after[:, 1].std().item() == pytest.approx(1.25 * before[:, 1].std().item(), rel=1e-3)
    torch.testing.assert_close(after[:, 2:], before[:, 2:])
    tokenizer.head.weight[:2] *= 3
    assert match_spread(tokenizer, batches) == [1.0, 1.0]  # never narrower


def test_the_embedded_model_was_trained_by_the_defaults() -> None:
    from kronos.model import ZOO

    told = json.loads((ZOO["nano"].folder / "training.json").read_text(encoding="utf-8"))["settings"]
    assert PretrainSettings.of(told) == PretrainSettings.of({"data": told["data"]})

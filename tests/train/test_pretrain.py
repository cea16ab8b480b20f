"""Pretraining end to end, tiny: files in, a pair that loads and forecasts out."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kronos
from kronos.bars import invalid
from kronos.errors import BarsError, ConfigError
from kronos.model import KronosTokenizer, check_pair
from kronos.train import PretrainSettings, pretrain
from kronos.train.pretrain import _batches, _validation

CUT = "2024-02-01"
SMALL: dict[str, Any] = {
    "name": "twig",
    "s1_bits": 4,
    "s2_bits": 4,
    "max_context": 40,
    "validate_since": CUT,
    "validation_windows": 8,
    "shapes": [{"lookback": 16, "horizon": 4, "batch": 8}, {"lookback": 24, "horizon": 8, "batch": 6}],
    "tokenizer": {"steps": 12, "d_model": 16, "n_heads": 2, "ff_dim": 24, "n_layers": 2, "warmup": 2, "save_every": 5},
    "predictor": {"steps": 14, "d_model": 16, "n_heads": 2, "ff_dim": 24, "n_layers": 1, "warmup": 2, "save_every": 5},
}


def settings(**changes: Any) -> PretrainSettings:
    return PretrainSettings.of(SMALL | changes)


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("market")
    for kind, name in (("crypto", "coins/a"), ("crypto", "coins/b"), ("stock", "shares/c")):
        (folder / name).parent.mkdir(exist_ok=True)
        seed = ord(name[-1])
        kronos.sample_bars(kind, 1200 if kind == "crypto" else 300, seed, "1h").to_csv(folder / f"{name}.csv")
    return folder


@pytest.fixture(scope="module")
def trained(market: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], list[str]]:
    out, lines = tmp_path_factory.mktemp("out"), []
    return out, pretrain(market, out, settings(), report=lines.append), lines


Trained = tuple[Path, dict[str, Any], list[str]]


def test_what_comes_out_loads_and_forecasts(trained: Trained) -> None:
    out, _, _ = trained
    model = kronos.load(out, device="cpu")
    assert (model.name, model.max_context) == ("twig", 40)
    check_pair(model.model, model.tokenizer)
    assert model.model.pair == model.tokenizer.fingerprint()
    assert (model.model.sibling_form, model.model.stamp_of, model.model.clock) == ("trained", "next", "utc")
    assert model.tokenizer.normaliser == "returns"
    forecast = model.forecast(kronos.sample_bars("crypto", 60), 12, samples=20)
    assert not invalid(forecast.paths).any()
    assert forecast.repaired == 0
    assert forecast.meta["model"] == "twig"
    assert forecast.meta["cutoff"] == "2024-01-31"


def test_the_summary(trained: Trained, market: Path) -> None:
    out, summary, lines = trained
    assert json.loads((out / "training.json").read_text()) == summary
    assert summary["series"] == 3
    assert summary["bars"] == 2700
    assert summary["cutoff"] == "2024-01-31"  # the last training bar, never one of validation's
    assert PretrainSettings.of(summary["settings"]) == settings()
    assert set(summary["reconstruction"]) == {"error", "variance"}
    assert len(summary["reconstruction"]["error"]) == 6
    assert 0 < summary["codes_used"]["s1"] <= 1
    assert summary["validation"]["predictor"]["loss"] > 0
    assert any("3 series, 2,700 bars" in line for line in lines)
    tokenizer = KronosTokenizer.from_pretrained(out / "tokenizer")
    assert summary["parameters"]["tokenizer"] == sum(p.numel() for p in tokenizer.parameters())


def test_a_stopped_run_ends_with_the_same_weights(trained: Trained, market: Path, tmp_path: Path) -> None:
    out, _, _ = trained

    class StoppedError(Exception):
        pass

    def stop(line: str) -> None:
        if line.startswith("predictor"):
            raise StoppedError

    with pytest.raises(StoppedError):
        pretrain(market, tmp_path, settings(), report=stop)
    assert not (tmp_path / "training.json").exists()
    said: list[str] = []
    pretrain(market, tmp_path, settings(), report=said.append)
    assert any("resuming after step 12" in line for line in said)
    for part in ("tokenizer", "predictor"):
        name = Path(part) / "model.safetensors"
        assert (out / name).read_bytes() == (tmp_path / name).read_bytes()


def test_training_reads_nothing_from_after_the_cut(market: Path) -> None:
    from kronos.data import load_series

    series = load_series(market)
    batches = _batches(series, settings())
    held = _validation(series, settings())
    late = {one.bars[i].tobytes() for one in series for i in np.flatnonzero(one.times >= np.datetime64(CUT))}
    for step in range(6):
        assert not late & {row.tobytes() for row in batches(step).bars.reshape(-1, 6)}
    for batch in held:
        assert {row.tobytes() for row in batch.bars[:, batch.lookback :].reshape(-1, 6)} <= late


def test_shapes_take_turns_and_the_tokenizer_reads_fewer(market: Path) -> None:
    from kronos.data import load_series

    series = load_series(market)
    whole, half = _batches(series, settings()), _batches(series, settings(), 0.5)
    assert [whole(step).bars.shape for step in range(3)] == [(8, 20, 6), (6, 32, 6), (8, 20, 6)]
    assert [half(step).bars.shape[0] for step in range(2)] == [4, 3]


def test_nothing_to_validate_on(market: Path, tmp_path: Path) -> None:
    with pytest.raises(BarsError, match="nothing to validate on since 2030-01-01"):
        pretrain(market, tmp_path, settings(validate_since="2030-01-01"))
    with pytest.raises(BarsError, match="no window"):
        pretrain(market, tmp_path, settings(validate_since="2020-01-01"))


def test_a_series_that_begins_after_the_cut(tmp_path: Path) -> None:
    """A new listing is validated on; it has no last training bar to ask for."""
    bars = kronos.sample_bars("crypto", 1200, 3)
    (tmp_path / "data").mkdir()
    bars.to_csv(tmp_path / "data" / "old.csv")
    bars.set_axis(bars.index + (np.datetime64("2024-03-01") - bars.index[0])).to_csv(tmp_path / "data" / "new.csv")
    short = {part: SMALL[part] | {"steps": 2} for part in ("tokenizer", "predictor")}
    summary = pretrain(tmp_path / "data", tmp_path / "out", settings(**short))
    assert summary["cutoff"] == "2024-01-31"


def test_settings_are_checked() -> None:
    with pytest.raises(ConfigError, match=r"predictor.stepps: unknown key, did you mean 'steps'"):
        settings(predictor={"stepps": 3})
    with pytest.raises(ConfigError, match="shapes"):
        settings(shapes=[{"lookback": 3}])


def test_dates_are_read_from_a_file_and_from_the_command_line(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("validate_since: 2024-03-01\n")
    assert str(PretrainSettings.read(file).validate_since) == "2024-03-01"
    assert str(PretrainSettings.read(None, ["validate_since=2024-05-01"]).validate_since) == "2024-05-01"
    with pytest.raises(ConfigError, match="validate_since"):
        PretrainSettings.read(None, ["validate_since=soon"])
    tree = PretrainSettings().tree()
    assert PretrainSettings.of(tree) == PretrainSettings()

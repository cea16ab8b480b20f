"""Models with calibrations: beside weights, named, none; sampler settings; ensembles; and the embedded model's own."""

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import kronos
from kronos.bars.candles import invalid
from kronos.errors import CheckpointError, ConfigError, KronosWarning
from kronos.forecast import Ensemble, KronosForecaster, KronosPredictor
from kronos.forecast.calibration import CALIBRATION_FILE, Calibration, Sampling
from kronos.forecast.calibration.tables import Table
from kronos.model import ZOO
from reference import TRAINED, bars_frame, tiny_network, tiny_tokenizer

WIDE = Table(steps=(1,), factors=(((1.5,) * 4,) * 2,))


def calibration(**changes: Any) -> Calibration:
    return Calibration(**{"groups": {"all": WIDE}, "model": "tiny"} | changes)


def save_pair(folder: Path, seed: int = 0) -> Path:
    tokenizer = tiny_tokenizer(normaliser="returns")
    network = tiny_network(seed, **TRAINED)
    network.record(pair=tokenizer.fingerprint())
    network.save_pretrained(folder / "predictor")
    tokenizer.save_pretrained(folder / "tokenizer")
    return folder


def load(place: Path, **options: Any) -> Any:
    return kronos.load(place, device="cpu", backend="torch", **options)


@pytest.fixture
def frame() -> pd.DataFrame:
    return bars_frame(60)


def test_a_model_is_calibrated_by_what_lies_beside_its_weights(tmp_path: Path, frame: pd.DataFrame) -> None:
    place = save_pair(tmp_path)
    plain = load(place).forecast(frame, 3, samples=30)
    assert "calibration" not in plain.meta
    made = calibration()
    made.save(place / CALIBRATION_FILE)
    own = load(place).forecast(frame, 3, samples=30)
    assert own.meta["calibration"] == made.id
    np.testing.assert_array_equal(own.paths, made.apply(plain).paths)
    inside = load(place / "predictor").forecast([frame], 3, samples=30)
    assert inside[0].meta["calibration"] == made.id
    np.testing.assert_array_equal(load(place, calibration=None).forecast(frame, 3, samples=30).paths, plain.paths)
    other = calibration(groups={"all": Table(steps=(1,), factors=(((0.5,) * 4,) * 2,))})
    named = load(place, calibration=other).forecast({"a": frame}, 3, samples=30)
    assert named["a"].meta["calibration"] == other.id
    read = load(place, calibration=other.save(tmp_path / "other.json"))
    assert read.calibration.id == other.id
    assert load(place, calibration=place).calibration.id == made.id
    with pytest.raises(ConfigError, match="no such file"):
        load(place, calibration="nowhere.json")
    (place / CALIBRATION_FILE).write_text("{}")
    with pytest.raises(CheckpointError, match="format 1"):
        load(place)


def test_weights_that_were_trained_again_are_not_calibrated_by_the_old_file(tmp_path: Path) -> None:
    place = save_pair(tmp_path)
    model = load(place)
    calibration(weights=model.model.fingerprint()).save(place / CALIBRATION_FILE)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load(place).calibration is not None
    save_pair(tmp_path, seed=5)
    with pytest.warns(KronosWarning, match="other weights.*not calibrated"):
        assert load(place).calibration is None
    with pytest.warns(KronosWarning, match="other weights"):
        assert load(place, calibration=place).calibration is not None


def test_a_calibration_brings_its_sampler_settings_and_holds_for_them_alone(frame: pd.DataFrame) -> None:
    pair = tiny_network(**TRAINED), tiny_tokenizer(normaliser="returns")
    made = calibration(sampler={"T": 0.8, "top_k": 0, "top_p": 0.9})
    how: dict[str, Any] = {"device": "cpu", "max_context": 48, "backend": "torch"}
    plain, own = KronosForecaster(*pair, **how), KronosForecaster(*pair, **how, calibration=made)
    raw = plain.forecast(frame, 3, samples=25, T=0.8, top_p=0.9)
    for asked in ({}, {"T": 0.8}, {"top_p": 0.9, "top_k": 0}):
        found = own.forecast(frame, 3, samples=25, **asked)
        np.testing.assert_array_equal(found.paths, made.apply(raw).paths)
        assert (found.meta["T"], found.meta["top_p"], found.meta["calibration"]) == (0.8, 0.9, made.id)
    other = own.forecast(frame, 3, samples=25, T=1.0)
    np.testing.assert_array_equal(other.paths, plain.forecast(frame, 3, samples=25, top_p=0.9).paths)
    assert other.meta["calibration"] is None
    assert other.meta["calibration_skipped"] == (
        f"calibration {made.id} was fitted with T=0.8, top_k=0, top_p=0.9; this forecast has T=1"
    )
    few = own.forecast(frame, 3, samples=5)
    assert few.meta["calibration"] is None
    with pytest.raises(ConfigError, match="top_k must be a whole number"):
        own.forecast(frame, 3, top_k=1.5)  # type: ignore[arg-type]


def test_predict_gives_the_references_numbers_with_a_calibration_too() -> None:
    import torch

    pair, frame = (tiny_network(), tiny_tokenizer()), bars_frame(40)
    times = pd.Series(pd.date_range(frame.index[-1], periods=4, freq="1h")[1:])
    made = []
    for one in (None, calibration()):
        predictor = KronosPredictor(*pair, "cpu", max_context=48, backend="torch", calibration=one)
        torch.manual_seed(3)
        made.append(predictor.predict(frame, pd.Series(frame.index), times, 3, sample_count=25, verbose=False))
    pd.testing.assert_frame_equal(made[0], made[1])


def test_ensembles_are_calibrated_as_a_pool(tmp_path: Path, frame: pd.DataFrame) -> None:
    for name in ("a", "b"):
        save_pair(tmp_path / name, seed=ord(name))
        calibration().save(tmp_path / name / CALIBRATION_FILE)  # a member's own is not used
    (tmp_path / "ensemble.json").write_text(json.dumps({"members": ["a", "b"]}))
    plain = load(tmp_path).forecast(frame, 3, samples=30)
    assert "calibration" not in plain.meta
    assert all("calibration" not in one for one in plain.meta["members"])
    made = calibration(sampler={"T": 1.0, "top_k": 0, "top_p": 1.0})
    made.save(tmp_path / CALIBRATION_FILE)
    pooled = load(tmp_path)
    found = pooled.forecast(frame, 3, samples=30)
    assert found.meta["calibration"] == made.id
    np.testing.assert_array_equal(found.paths, made.apply(plain).paths)
    assert "T=0.9" in pooled.forecast([frame], 3, samples=30, T=0.9)[0].meta["calibration_skipped"]
    assert pooled.forecast({"x": frame}, 3, samples=30)["x"].meta["calibration"] == made.id
    assert "calibration" not in load(tmp_path, calibration=None).forecast(frame, 3, samples=30).meta
    twice = Ensemble([load(tmp_path / "a"), load(tmp_path / "b")], calibration=made)
    with pytest.raises(ConfigError, match="so has a member"):
        twice.forecast(frame, 3, samples=60)
    alone = Ensemble([load(tmp_path / "a")]).forecast(frame, 3, samples=30)
    assert alone.meta["calibration"] == calibration().id


def test_a_hub_repository_may_hold_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from kronos.forecast.calibration import finding
    from kronos.model.checkpoint import AbsentError

    made, asked = calibration(), []

    def fetcher(repo: str, **options: Any) -> Any:
        def fetch(file: str) -> Path:
            asked.append((repo, options, file))
            if repo == "owner/plain":
                raise AbsentError("holds no calibration.json")
            return made.save(tmp_path / file)

        return fetch

    monkeypatch.setattr(finding, "hub_fetcher", fetcher)
    found = finding.find_calibration("own", "owner/tuned", revision="v1", local_files_only=True, subfolder="x")
    assert found is not None
    assert found.id == made.id
    assert asked == [("owner/tuned", {"revision": "v1", "local_files_only": True}, CALIBRATION_FILE)]
    assert finding.find_calibration("own", "owner/plain") is None
    assert finding.find_calibration("own", "small") is None  # published weights have none, and nobody is asked
    assert len(asked) == 2


def test_settings_in_force() -> None:
    none = Sampling.of(None, None, None, None)
    assert (none.T, none.top_k, none.top_p, none.why_not) == (1.0, 0, 1.0, "")
    assert Sampling.of(None, 0.5, 3, 0.9).why_not == ""
    unknown = Sampling.of(calibration(), None, None, None)  # of a model that knew of no sampling
    assert (unknown.T, unknown.why_not) == (1.0, "")


def test_the_embedded_models_own_calibration_is_sane(frame: pd.DataFrame) -> None:
    file = ZOO["nano"].folder / CALIBRATION_FILE
    if not file.exists():
        pytest.skip("the embedded model has no calibration yet")
    made, model = Calibration.load(file), kronos.load("nano")
    assert isinstance(model, KronosPredictor)
    assert made.weights == model.model.fingerprint()
    assert model.calibration is not None
    assert model.calibration.id == made.id
    assert (made.by, "all" in made.groups, "1h" in made.groups) == ("timeframe", True, True)
    assert made.facts["origins"] >= 1000
    assert str(made.facts["span"][1]) <= str(model.model.cutoff)  # training-period data only
    for table in made.groups.values():
        factors = np.array(table.factors)
        assert 0.6 < factors.min() < factors.max() < 1.7
    forecast, raw = (kronos.load("nano", calibration=one).forecast(frame, 6, samples=40) for one in ("own", None))
    assert forecast.meta["calibration"] == made.id
    assert not invalid(forecast.paths).any()
    assert 0.6 < forecast.volatility() / raw.volatility() < 1.7

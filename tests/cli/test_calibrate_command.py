"""`kronos evaluate calibrate`: a file that makes forecasts better, or none; and the option that uses it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

import kronos
from kronos.cli.demo import demo
from kronos.cli.evaluate_calibrate import calibrate
from kronos.cli.forecast import forecast
from kronos.forecast import KronosForecaster
from kronos.forecast.calibration import CALIBRATION_FILE, Calibration
from kronos.forecast.calibration.tables import Table
from reference import TRAINED, bars_frame, tiny_network, tiny_tokenizer

SMALL = ("--lookback", "24", "--horizon", "3", "--steps", "1,3", "--samples", "20", "--origins", "30", "--threads", "1")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "bars" / "toys"
    folder.mkdir(parents=True)
    for seed in range(3):
        bars_frame(260, seed=seed).to_csv(folder / f"T{seed}_1h.csv")
    return folder.parent


@pytest.fixture
def model(tmp_path: Path) -> Path:
    tokenizer = tiny_tokenizer(normaliser="returns")
    network = tiny_network(**TRAINED)
    network.record(pair=tokenizer.fingerprint(), cutoff="2024-03-08")
    network.save_pretrained(tmp_path / "model" / "predictor")
    tokenizer.save_pretrained(tmp_path / "model" / "tokenizer")
    return tmp_path / "model"


def run(command: Any, *arguments: Any) -> Result:
    return CliRunner().invoke(command, [str(one) for one in arguments])


def test_a_model_is_calibrated_from_data_to_forecast(data: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = model / CALIBRATION_FILE
    how = ("--model", model, "--data", data, "--out", out, "--backend", "torch", "--device", "cpu", *SMALL)
    more = ("--temperatures", "0.9,1", "--sampler-origins", "60", "--keep", "--json")
    result = run(calibrate, *how, *more)
    assert result.exit_code == 0, result.output
    rows = json.loads(result.stdout)
    assert set(rows) == {"all", "1h", "toys/1h"}
    assert rows["all"]["origins"] == pytest.approx(27, abs=4)
    assert rows["all"]["change"] == pytest.approx(rows["all"]["crps"][1] / rows["all"]["crps"][0] - 1)
    assert rows["all"]["change"] < -0.05  # random weights are far from calibrated
    said, got = rows["all"]["coverage90"]
    assert abs(got - 0.9) < abs(said - 0.9)
    assert "begin before the model's cut-off 2024-03-08" in result.stderr
    made = Calibration.load(out)
    loaded = kronos.load(model, device="cpu", backend="torch")
    assert isinstance(loaded, KronosForecaster)
    assert made.weights == loaded.model.fingerprint()
    assert set(made.groups) == {"all", "1h"}
    assert made.facts["origins"] == 90
    assert made.facts["cells"] == {"toys/1h": 90}
    assert made.sampler["T"] == next(one["T"] for one in made.facts["sampling"] if one["taken"])
    assert loaded.forecast(bars_frame(60), 3, samples=20).meta["calibration"] == made.id

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("the forecasts are there already")

    monkeypatch.setattr(KronosForecaster, "forecast", refuse)
    out.unlink()
    again = run(calibrate, *how, "--temperatures", "0.9,1", "--sampler-origins", "60")
    assert again.exit_code == 0, again.output
    assert "coverage" not in again.stdout
    assert "90 % band" in again.stdout
    assert Calibration.load(out).id == made.id
    assert not out.with_name(out.name + ".partial").exists()


def test_baselines_can_be_calibrated_too(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "hv20.json"
    result = run(calibrate, "--model", "hv20", "--data", data, "--out", out, "--by", "all", "--most", 75, *SMALL)
    assert result.exit_code == 0, result.output
    made = Calibration.load(out)
    assert (made.by, set(made.groups), made.sampler, made.weights) == ("all", {"all"}, {}, None)
    assert made.facts["origins"] == 75


def test_what_makes_it_worse_is_not_written(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def spoilt(outcomes: Any, **_: Any) -> Calibration:
        return Calibration({"all": Table(steps=outcomes.steps, factors=(((0.3,) * 4,) * 2,) * len(outcomes.steps))})

    import kronos.forecast.calibration as room

    monkeypatch.setattr(room, "fit", spoilt)
    out = tmp_path / "bad.json"
    how = ("--model", "hv20", "--data", data, "--out", out, *SMALL)
    result = run(calibrate, *how)
    assert result.exit_code == 1
    assert "worse than without a calibration" in result.output
    assert not out.exists()
    forced = run(calibrate, *how, "--force")
    assert forced.exit_code == 0, forced.output
    assert out.exists()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--temperatures", "0.9,x"), "--temperatures 0.9,x"),
        (("--top-p", "0"), "--top-p 0"),
        (("--steps", ""), "--steps"),
        (("--since", "2031-01-01"), "no window"),
        (("--origins", "20"), "too few"),
    ],
)
def test_what_cannot_be_is_said(data: Path, tmp_path: Path, arguments: tuple[str, ...], complaint: str) -> None:
    result = run(calibrate, "--model", "hv20", "--data", data, "--out", tmp_path / "c.json", *SMALL, *arguments)
    assert result.exit_code != 0
    assert complaint in str(result.exception) + result.output
    folder = run(calibrate, "--model", "hv20", "--data", data, "--out", tmp_path, *SMALL)
    assert "this is a folder" in str(folder.exception)


def test_forecasts_use_the_calibration_that_is_named(
    data: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kronos.Forecast, "plot", lambda self, path, **_: Path(path).touch())  # no picture is looked at
    table = Table(steps=(1,), factors=(((3.0,) * 4,) * 2,))
    Calibration({"all": table}).save(model / CALIBRATION_FILE)
    other = Calibration({"all": Table(steps=(1,), factors=(((0.3,) * 4,) * 2,))}).save(tmp_path / "other.json")
    spans = {}
    for name, more in {
        "own": (),
        "other": ("--calibration", other),
        "hot": ("--temperature", "1.5"),
    }.items():
        how = ("--model", model, "--horizon", 2, "--samples", 30, "--out", tmp_path / name, "--paths", *more)
        result = run(forecast, data / "toys" / "T0_1h.csv", *how, "--backend", "torch", "--device", "cpu")
        assert result.exit_code == 0, result.output
        assert ("not calibrated" in result.stderr) == (name == "hot")
        spans[name] = np.ptp(kronos.Forecast.load(tmp_path / name / "forecast.npz").returns()[:, 0])
    assert spans["own"] > 5 * spans["other"]
    shown = run(demo, "--model", model, "--samples", 20, "--out", tmp_path / "demo", "--calibration", "none")
    assert shown.exit_code == 0, shown.output

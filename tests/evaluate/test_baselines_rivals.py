"""Baselines of other people's making: statsforecast's models as paths, and Chronos behind its interface.

Chronos is tried with tiny random checkpoints of all three kinds where chronos-forecasting is installed; a stand-in that
speaks its interface is tried everywhere.
"""

import logging
import pickle
import sys
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from kronos.errors import BarsError, CheckpointError, MissingExtra
from kronos.evaluate.baselines.choosing import make_baseline
from kronos.evaluate.baselines.chronos import Chronos
from kronos.evaluate.baselines.classical import AutoArima, Ets, Linear
from kronos.extras import without_its_deprecations
from reference import bars_frame

statsforecast = pytest.mark.skipif(find_spec("statsforecast") is None, reason="statsforecast is not installed")
chronos = pytest.mark.skipif(find_spec("chronos") is None, reason="chronos-forecasting is not installed")


# statsforecast --------------------------------------------------------------------------------------------------------


def shapes() -> dict[str, np.ndarray]:
    """Log closes of several kinds."""
    random = np.random.default_rng(1)
    shocks = random.normal(0, 0.01, 200)
    back = np.zeros(200)
    for t in range(1, 200):
        back[t] = 0.7 * back[t - 1] + shocks[t]
    return {
        "walk": 4 + shocks.cumsum(),
        "reverting": 4 + back,
        "moving average": 4 + (shocks + 0.6 * np.r_[0, shocks[:-1]]).cumsum(),
        "trend": 4 + 0.005 * np.arange(200) + shocks,
        "changing trend": 4 + (0.1 * shocks).cumsum().cumsum(),
        "fading trend": 4 + 0.5 * (1 - 0.96 ** np.arange(200)) + 0.1 * shocks,
    }


@statsforecast
@pytest.mark.parametrize(
    ("baseline", "shape", "chosen"),
    [
        (AutoArima(), "reverting", "ARIMA(1,0,"),
        (AutoArima(), "moving average", "ARIMA(2,1,1) with drift"),
        (AutoArima(), "changing trend", "ARIMA(0,2,"),
        (Ets(), "walk", "ETS(A,N,N)"),
        (Ets(), "trend", "ETS(A,A,N)"),
        (Ets(), "fading trend", "ETS(A,Ad,N)"),
    ],
)
def test_paths_have_the_packages_own_mean_and_deviation(
    baseline: AutoArima | Ets, shape: str, chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    closes = shapes()[shape]
    fitted = []
    with without_its_deprecations():
        import statsforecast.models

        name = "AutoARIMA" if isinstance(baseline, AutoArima) else "AutoETS"
        kind = getattr(statsforecast.models, name)

        class Kept(kind):  # type: ignore[misc, valid-type]
            def fit(self, *given: Any) -> Any:
                fitted.append(self)
                return super().fit(*given)

        monkeypatch.setattr(statsforecast.models, name, Kept)
        fit = baseline.model(closes, 24)
        said = fitted[0].predict(24, level=[90])
    assert fit.model.startswith(chosen)
    mean = np.asarray(said["mean"])
    deviation = (np.asarray(said["hi-90"]) - mean) / 1.6448536
    np.testing.assert_allclose(fit.mean, mean - closes[-1], atol=1e-9)
    np.testing.assert_allclose(np.sqrt(np.square(fit.weights).cumsum()) * fit.shocks.std(), deviation, rtol=0.005)


def test_paths_hang_together_as_the_weights_say() -> None:
    random = np.random.default_rng(2)
    fit = Linear("", {}, np.array([0.1, 0.2, 0.3]), np.array([1.0, 0.5, -2.0]), random.normal(size=1000))
    past = SimpleNamespace(horizon=3)
    paths = Ets().draw(past, fit, 60_000, random)  # type: ignore[arg-type]
    echoes = np.array([[1.0, 0.5, -2.0], [0.0, 1.0, 0.5], [0.0, 0.0, 1.0]])
    np.testing.assert_allclose(paths.mean(axis=0), fit.mean + fit.shocks.mean() * echoes.sum(axis=0), atol=0.03)
    np.testing.assert_allclose(np.cov(paths.T), fit.shocks.var() * echoes.T @ echoes, atol=0.12)


@statsforecast
def test_arima_and_ets_are_baselines() -> None:
    bars = bars_frame(90)
    for name in ("arima", "ets"):
        baseline = pickle.loads(pickle.dumps(make_baseline(name)))
        assert baseline.name == name
        made = baseline.forecast([bars], 6, samples=20, seed=1)[0]
        assert made.paths.shape == (20, 6, 6)
        assert name.upper() in made.meta["fitted"]["model"]
        assert made.meta["fitted"]["deviation"] == pytest.approx(0.01, rel=0.3)
        np.testing.assert_array_equal(made.paths, baseline.forecast(bars, 6, samples=20, seed=1).paths)


def test_where_no_model_is_found_a_random_walk_stands_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Ets, closes: np.ndarray, horizon: int) -> Linear:
        raise ValueError("tiny datasets")

    monkeypatch.setattr(Ets, "model", refuse)
    made = Ets().forecast(bars_frame(200), 4, samples=4000)
    assert made.meta["fitted"]["fallback"] == "no model: tiny datasets"
    np.testing.assert_allclose(made.returns().std(axis=0), 0.01 * np.sqrt([1, 2, 3, 4]), rtol=0.15)


@pytest.mark.parametrize("name", ["arima", "ets"])
def test_what_no_model_can_be_fitted_to_never_reaches_the_package(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "statsforecast.models", None)  # would be a MissingExtra
    baseline = make_baseline(name)
    for growth in (0.0, 0.25):  # without errors there is no finite likelihood to choose by
        frame = bars_frame(60)
        closes = 50 * np.exp(growth * np.arange(60))
        for column in ("open", "high", "low", "close"):
            frame[column] = closes
        assert baseline.forecast(frame, 3, samples=2).meta["fitted"] == {"still": True}
    with pytest.raises(BarsError, match="29 bars are too few"):
        baseline.forecast(bars_frame(29), 3)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "statsforecast", None)
    monkeypatch.setitem(sys.modules, "statsforecast.models", None)
    monkeypatch.setitem(sys.modules, "chronos", None)
    with pytest.raises(MissingExtra, match=r"kronos-candles\[classical\]"):
        make_baseline("arima").forecast(bars_frame(60), 2)
    with pytest.raises(MissingExtra, match=r"kronos-candles\[chronos\]"):
        make_baseline("chronos:x").forecast(bars_frame(60), 2)


# Chronos' interface ---------------------------------------------------------------------------------------------------


class Sampling:
    """A stand-in for ChronosPipeline: a random walk in steps of .1, from torch's own random numbers."""

    def predict(self, inputs: torch.Tensor, prediction_length: int, num_samples: int) -> torch.Tensor:
        steps = 0.1 * torch.randn(1, num_samples, prediction_length)
        return inputs[-1] + steps.cumsum(-1)


class Quantiles:
    """A stand-in for ChronosBoltPipeline and Chronos2Pipeline: quantiles of a normal walk of deviation .1."""

    quantiles = (0.1, 0.5, 0.9)

    def predict_quantiles(
        self, inputs: list[torch.Tensor], prediction_length: int, quantile_levels: list[float]
    ) -> tuple[list[torch.Tensor], None]:
        assert quantile_levels == [0.1, 0.5, 0.9]
        reach = 0.1 * torch.arange(1, prediction_length + 1).sqrt()[:, None] * torch.tensor([-1.2816, 0.0, 1.2816])
        return [one[-1] + reach[None] for one in inputs], None


@pytest.fixture(params=[Sampling, Quantiles])
def stand_in(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Puts a package in the place of chronos that hands out one kind of pipeline, and notes what was loaded."""
    loaded: list[str] = []

    class BaseChronosPipeline:
        @classmethod
        def from_pretrained(cls, place: str, device_map: str) -> Any:
            if place == "missing":
                raise OSError("no config.json")
            loaded.append(place)
            return request.param()

    module = ModuleType("chronos")
    module.BaseChronosPipeline = BaseChronosPipeline  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "chronos", module)
    return loaded


def test_what_chronos_says_is_given_back_in_log_returns(stand_in: list[str]) -> None:
    baseline = make_baseline("chronos:somebody/chronos-tiny")
    assert baseline.name == "chronos:chronos-tiny"
    assert stand_in == []  # nothing is loaded before it is needed
    frames = [bars_frame(100, seed=1), bars_frame(80, seed=2)]
    state = torch.random.get_rng_state()
    made = baseline.forecast(frames, 8, samples=3000, seed=5)
    assert torch.equal(state, torch.random.get_rng_state())
    for frame, forecast in zip(frames, made, strict=True):
        unit = np.log(frame["close"].to_numpy()).std()
        expected = 0.1 * unit * np.sqrt(np.arange(1, 9))
        np.testing.assert_allclose(forecast.returns().std(axis=0), expected, rtol=0.06)
        np.testing.assert_allclose(forecast.returns().mean(axis=0) / expected, 0.0, atol=0.08)
    alone = baseline.forecast(frames[1], 8, samples=3000, seed=5)
    np.testing.assert_array_equal(alone.paths, made[1].paths)
    again = pickle.loads(pickle.dumps(baseline))
    np.testing.assert_array_equal(again.forecast(frames[1], 8, samples=3000, seed=5).paths, made[1].paths)
    assert stand_in == ["somebody/chronos-tiny"] * 2


def test_weights_that_cannot_be_read_are_named(stand_in: list[str]) -> None:
    with pytest.raises(CheckpointError, match=r"missing holds no Chronos model that can be read: no config\.json"):
        make_baseline("chronos:missing").forecast(bars_frame(60), 2)


# Chronos itself -------------------------------------------------------------------------------------------------------

TINY: dict[str, Any] = {
    "d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 2, "vocab_size": 64, "pad_token_id": 0,
}  # fmt: skip
PATCHES: dict[str, Any] = {
    "context_length": 512, "input_patch_size": 16, "input_patch_stride": 16, "use_reg_token": True,
    "quantiles": [i / 10 for i in range(1, 10)],
}  # fmt: skip


def tiny_t5(folder: Path) -> str:
    from transformers import T5Config, T5ForConditionalGeneration

    settings = {
        "tokenizer_class": "MeanScaleUniformBins", "tokenizer_kwargs": {"low_limit": -15.0, "high_limit": 15.0},
        "context_length": 512, "prediction_length": 24, "n_tokens": 64, "n_special_tokens": 2, "pad_token_id": 0,
        "eos_token_id": 1, "use_eos_token": True, "model_type": "seq2seq", "num_samples": 20, "temperature": 1.0,
        "top_k": 50, "top_p": 1.0,
    }  # fmt: skip
    config = T5Config(**TINY, decoder_start_token_id=0, eos_token_id=1, chronos_config=settings)
    T5ForConditionalGeneration(config).save_pretrained(folder)
    return "ChronosPipeline"


def tiny_bolt(folder: Path) -> str:
    from chronos.chronos_bolt import ChronosBoltModelForForecasting
    from transformers import T5Config

    config = T5Config(
        **TINY,
        decoder_start_token_id=0,
        architectures=["ChronosBoltModelForForecasting"],
        chronos_pipeline_class="ChronosBoltPipeline",
        chronos_config={**PATCHES, "prediction_length": 16},
    )
    config.reg_token_id = 1
    ChronosBoltModelForForecasting(config).save_pretrained(folder)
    return "ChronosBoltPipeline"


def tiny_two(folder: Path) -> str:
    from chronos import Chronos2Model
    from chronos.chronos2.config import Chronos2CoreConfig

    more = {"output_patch_size": 16, "max_output_patches": 8, "use_arcsinh": True, "time_encoding_scale": 512}
    config = Chronos2CoreConfig(
        **TINY,
        architectures=["Chronos2Model"],
        chronos_pipeline_class="Chronos2Pipeline",
        chronos_config={**PATCHES, **more, "quantiles": [0.01, *PATCHES["quantiles"], 0.99]},
    )
    config.reg_token_id = 1
    Chronos2Model(config).save_pretrained(folder)
    return "Chronos2Pipeline"


@chronos
@pytest.mark.parametrize("build", [tiny_t5, tiny_bolt, tiny_two])
def test_all_kinds_of_chronos_forecast(build: Any, tmp_path: Path) -> None:
    logging.getLogger("transformers").setLevel(logging.ERROR)
    with without_its_deprecations():
        torch.manual_seed(0)
        kind = build(tmp_path / "tiny")
    baseline = Chronos(str(tmp_path / "tiny"))
    first, second = bars_frame(150, seed=1), bars_frame(100, seed=2)
    made = baseline.forecast([first, second], 16, samples=25, seed=3)
    assert made[0].paths.shape == (25, 16, 6)
    assert made[0].meta["fitted"]["pipeline"] == kind
    alone = pickle.loads(pickle.dumps(baseline)).forecast(second, 16, samples=25, seed=3)
    np.testing.assert_allclose(alone.paths, made[1].paths, rtol=1e-4)
    assert len(np.unique(made[0].returns()[:, -1])) > 10

"""Ensembles: the members' own paths, pooled; shares, seeds, times; and folders that hold them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from scipy import stats

import kronos
from kronos import Forecast, Forecaster, KronosPredictor
from kronos.bars import next_times
from kronos.bars.candles import CLOSE
from kronos.cli import main
from kronos.errors import BarsError, CheckpointError, ConfigError
from kronos.forecast import Ensemble, KronosForecaster
from kronos.forecast.ensemble import member_seed, read_ensemble
from reference import TRAINED, bars_frame, tiny_network, tiny_tokenizer


def member(seed: int, name: str | None = None, **changes: Any) -> KronosForecaster:
    """A tiny forecaster of our own kind."""
    network = tiny_network(seed, **TRAINED | changes)
    tokenizer = tiny_tokenizer(normaliser="returns")
    return KronosForecaster(network, tokenizer, device="cpu", max_context=48, name=name or f"m{seed}", backend="torch")


class Gaussian:
    """A random walk that keeps what it was asked."""

    def __init__(self, name: str = "walk", sigma: float = 0.01, **changes: Any) -> None:
        self.name, self.sigma, self.changes = name, sigma, changes
        self.asked: list[dict[str, Any]] = []

    def forecast(self, data: Any, horizon: int, *, samples: int = 100, seed: int = 0, **options: Any) -> Any:
        self.asked.append({"samples": samples, "seed": seed, **options})
        if isinstance(data, dict):
            return {key: self._one(frame, horizon, samples, seed) for key, frame in data.items()}
        if isinstance(data, list):
            return [self._one(frame, horizon, samples, seed) for frame in data]
        return self._one(data, horizon, samples, seed)

    def _one(self, frame: pd.DataFrame, horizon: int, samples: int, seed: int) -> Forecast:
        last = float(frame["close"].iloc[-1])
        closes = last * np.exp(np.random.default_rng(seed).normal(0, self.sigma, (samples, horizon)).cumsum(axis=1))
        paths = np.stack([closes] * 4 + [np.ones_like(closes)] * 2, axis=-1)
        times = next_times(pd.DatetimeIndex(frame.index), horizon)
        return Forecast(**{"paths": paths, "timestamps": times, "last_close": last, "history": frame} | self.changes)


# Pooling --------------------------------------------------------------------------------------------------------------


def test_the_pool_is_the_members_own_paths() -> None:
    members = [member(1), member(2), member(3)]
    several, frame = Ensemble(members), bars_frame(40)
    pooled = several.forecast(frame, 5, samples=11, seed=9)
    parts = [
        one.forecast(frame, 5, samples=share, seed=member_seed(9, k))
        for k, (one, share) in enumerate(zip(members, (4, 4, 3), strict=True))
    ]
    assert isinstance(several, Forecaster)
    np.testing.assert_array_equal(pooled.paths, np.concatenate([part.paths for part in parts]))
    assert not np.array_equal(parts[0].paths[:3], parts[1].paths[:3])
    assert (pooled.samples, pooled.horizon, pooled.last_close) == (11, 5, parts[0].last_close)
    assert pooled.timestamps.equals(parts[0].timestamps)
    assert pooled.repaired == sum(part.repaired for part in parts)
    again = several.forecast(frame, 5, samples=11, seed=9)
    np.testing.assert_array_equal(again.paths, pooled.paths)
    assert not np.array_equal(several.forecast(frame, 5, samples=11, seed=10).paths, pooled.paths)


def test_one_member_forecasts_as_it_does_alone() -> None:
    alone, frame = member(1), bars_frame(40)
    pooled, single = (one.forecast(frame, 4, samples=7, seed=3) for one in (Ensemble([alone]), alone))
    np.testing.assert_array_equal(pooled.paths, single.paths)
    assert {key: pooled.meta[key] for key in single.meta} == dict(single.meta)
    assert (pooled.name, pooled.timeframe) == (single.name, single.timeframe)


def test_members_of_one_kind_pool_to_their_own_distribution() -> None:
    frame, alone = bars_frame(60), member(1)
    pooled = Ensemble([alone] * 4).forecast(frame, 6, samples=400, seed=1)
    single = alone.forecast(frame, 6, samples=400, seed=2)
    assert len(np.unique(pooled.paths[:, -1, CLOSE])) > 390  # four seeds, not one forecast four times
    for step in (0, 5):
        test = stats.ks_2samp(pooled.returns()[:, step], single.returns()[:, step])
        assert test.pvalue > 0.01


def test_members_that_differ_pool_to_their_mixture() -> None:
    frame = bars_frame(60)
    pooled = Ensemble([Gaussian("calm", 0.01), Gaussian("wild", 0.03)]).forecast(frame, 1, samples=4000, seed=5)
    returns = pooled.returns()[:, 0]

    def mixture(x: Any) -> Any:
        return (stats.norm.cdf(x, scale=0.01) + stats.norm.cdf(x, scale=0.03)) / 2

    assert stats.kstest(returns, mixture).pvalue > 0.01
    assert stats.kstest(returns, stats.norm(scale=returns.std()).cdf).pvalue < 0.001


@pytest.mark.parametrize(
    ("samples", "shares"), [(1, [1]), (2, [1, 1]), (3, [1, 1, 1]), (7, [3, 2, 2]), (8, [3, 3, 2]), (99, [33] * 3)]
)
def test_how_paths_are_shared_out(samples: int, shares: list[int]) -> None:
    members = [Gaussian(name) for name in "abc"]
    pooled = Ensemble(members).forecast(bars_frame(30), 2, samples=samples, seed=4)
    asked = [one.asked[0]["samples"] for one in members if one.asked]
    assert asked == shares
    assert pooled.samples == samples
    assert [part["samples"] for part in pooled.meta["members"]] == shares


def test_seeds_of_members_and_of_ensembles_have_nothing_in_common() -> None:
    seeds = [member_seed(seed, number) for seed in (-3, 0, 1, 2, 2**70) for number in range(5)]
    assert len(set(seeds)) == 25
    assert [member_seed(seed, 0) for seed in (-3, 0, 7)] == [-3, 0, 7]
    assert all(0 <= member_seed(seed, 1) < 2**56 for seed in (-3, 0, 2**70))
    assert member_seed(1, 2) == member_seed(1, 2)
    assert member_seed(np.int64(1), 2) == member_seed(1, 2)


# Shapes and arguments -------------------------------------------------------------------------------------------------


def test_a_list_gives_a_list_and_a_dict_a_dict() -> None:
    several = Ensemble([member(1), member(2)])
    frames = {"A": bars_frame(30, seed=1), "B": bars_frame(45, seed=2)}
    alone = [several.forecast(frame, 4, samples=5, seed=2) for frame in frames.values()]
    many = several.forecast(list(frames.values()), 4, samples=5, seed=2)
    named = several.forecast(frames, 4, samples=5, seed=2)
    assert isinstance(many, list)
    assert isinstance(named, dict)
    assert [one.name for one in many] == ["bars[0]", "bars[1]"]
    assert [(key, one.name) for key, one in named.items()] == [("A", "A"), ("B", "B")]
    for first, second, third in zip(alone, many, named.values(), strict=True):
        np.testing.assert_allclose(first.paths, second.paths, rtol=1e-4)
        np.testing.assert_allclose(first.paths, third.paths, rtol=1e-4)


def test_options_reach_every_member() -> None:
    several, frame = Ensemble([member(1), member(2)]), bars_frame(60)
    times = pd.date_range(frame.index[-1], periods=4, freq="2h")[1:]
    how = {"T": 0.5, "top_k": 3, "top_p": 0.9, "lookback": 20, "y_timestamp": times, "overflow": "slide"}
    pooled = several.forecast(frame, 3, samples=4, seed=1, **how)
    parts = [one.forecast(frame, 3, samples=2, seed=member_seed(1, k), **how) for k, one in enumerate(several.members)]
    np.testing.assert_array_equal(pooled.paths, np.concatenate([part.paths for part in parts]))
    assert (pooled.timestamps == times).all()
    said = {key: pooled.meta[key] for key in ("T", "top_k", "top_p", "lookback", "overflow", "calendar", "seed")}
    assert said == {
        "T": 0.5, "top_k": 3, "top_p": 0.9, "lookback": 20, "overflow": "slide", "calendar": "as given", "seed": 1
    }  # fmt: skip
    friday = bars_frame(110)  # round the clock, so that only the calendar can know of a weekend
    weekend = several.forecast(friday, 40, samples=2, calendar="24/5").timestamps
    assert weekend.equals(next_times(pd.DatetimeIndex(friday.index), 40, calendar="24/5"))
    assert not weekend.equals(next_times(pd.DatetimeIndex(friday.index), 40))


def test_members_that_know_no_options_are_not_bothered_with_any() -> None:
    members = [Gaussian("a"), Gaussian("b")]
    Ensemble(members).forecast(bars_frame(30), 2, samples=4, seed=6)
    assert members[0].asked == [{"samples": 2, "seed": 6, "y_timestamp": None}]
    assert members[1].asked == [{"samples": 2, "seed": member_seed(6, 1), "y_timestamp": None}]


def test_one_meter_for_all_members() -> None:
    told: list[tuple[int, int]] = []
    several = Ensemble([member(1), member(2)])
    several.forecast([bars_frame(30), bars_frame(40)], 4, samples=5, progress=lambda *now: told.append(now))
    done, totals = [now for now, _ in told], {total for _, total in told}
    assert totals == {2 * 4 * 5}
    assert done == sorted(done)
    assert done[-1] == 40
    assert len(done) > 4


def test_what_is_refused() -> None:
    several, frame = Ensemble([member(1), member(2)]), bars_frame(40)
    refusals: list[tuple[type[Exception], str, Callable[[], object]]] = [
        (ConfigError, "at least one member", lambda: Ensemble([])),
        (ConfigError, "samples must be", lambda: several.forecast(frame, 2, samples=0)),
        (ConfigError, "samples must be", lambda: several.forecast(frame, 2, samples=True)),
        (ConfigError, "horizon must be", lambda: several.forecast(frame, 0)),
        (ConfigError, "seed must be", lambda: several.forecast(frame, 2, seed=1.5)),  # type: ignore[arg-type]
        (ConfigError, "temperature", lambda: several.forecast(frame, 2, T=0)),
        (BarsError, "empty", lambda: several.forecast([], 2)),
        (BarsError, "expected a DataFrame", lambda: several.forecast(7, 2)),  # type: ignore[call-overload]
        (BarsError, "at least 8", lambda: several.forecast(bars_frame(3), 2)),
    ]
    for error, message, call in refusals:
        with pytest.raises(error, match=message):
            call()


def test_members_that_speak_of_other_bars_are_not_pooled() -> None:
    frame = bars_frame(30)
    later = pd.DatetimeIndex(frame.index[-1] + pd.to_timedelta([2, 3], unit="h"))
    for changes in ({"timestamps": later}, {"last_close": 1.0}):
        several = Ensemble([Gaussian("a"), Gaussian("b", **changes)])
        with pytest.raises(ConfigError, match=r"members of a \+ b speak of different bars"):
            several.forecast(frame, 2, samples=4)


# What it says of itself -----------------------------------------------------------------------------------------------


def test_names() -> None:
    assert Ensemble([Gaussian("a"), Gaussian("b"), Gaussian("c")]).name == "a + b + c"
    assert Ensemble([Gaussian("a"), Gaussian("b"), Gaussian("a")]).name == "a x 2 + b"
    assert Ensemble([Gaussian("a")], "mine").name == "mine"


def test_meta_holds_what_all_agree_on_and_what_each_says() -> None:
    members = [member(1, "one", cutoff="2024-01-31"), member(2, "two", cutoff="2024-06-30")]
    members[1].max_context = 30
    pooled = Ensemble(members, "both").forecast(bars_frame(60), 4, samples=5, seed=8)
    assert pooled.meta["model"] == "both"
    assert pooled.meta["cutoff"] == "2024-06-30"  # nothing before it is news to all of them
    assert (pooled.meta["T"], pooled.meta["backend"], pooled.meta["seed"]) == (1.0, "torch", 8)
    kept = [
        [part[key] for key in ("model", "samples", "seed", "lookback", "cutoff")] for part in pooled.meta["members"]
    ]
    assert kept == [["one", 3, 8, 44, "2024-01-31"], ["two", 2, member_seed(8, 1), 26, "2024-06-30"]]
    assert pooled.history is not None
    assert pooled.meta["lookback"] == len(pooled.history) == 44  # the longest
    unknown = Ensemble([members[0], member(3)]).forecast(bars_frame(60), 4, samples=5)
    assert unknown.meta["cutoff"] is None


def test_a_pool_is_stored_like_any_forecast(tmp_path: Path) -> None:
    pooled = Ensemble([member(1), member(2)]).forecast(bars_frame(40), 3, samples=5)
    back = Forecast.load(pooled.save(tmp_path / "pool.npz"))
    np.testing.assert_array_equal(back.paths, pooled.paths)
    assert back.meta == pooled.meta


# Folders --------------------------------------------------------------------------------------------------------------


def write_pair(folder: Path, seed: int) -> None:
    tokenizer, network = tiny_tokenizer(seed, normaliser="returns"), tiny_network(seed, **TRAINED)
    network.record(pair=tokenizer.fingerprint(), name=f"twig-{seed}", max_context=48)
    network.save_pretrained(folder / "predictor")
    tokenizer.save_pretrained(folder / "tokenizer")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "ensemble"
    for seed in (1, 2):
        write_pair(place / f"member-{seed}", seed)
    (place / "ensemble.json").write_text('{"members": ["member-1", "member-2"], "made_by": "a test"}')
    return place


def test_an_ensemble_is_loaded_from_its_folder(folder: Path) -> None:
    several = kronos.load(folder, device="cpu", backend="torch", max_context=40)
    assert isinstance(several, Ensemble)
    assert several.name == "twig-1 + twig-2"
    apart = [kronos.load(folder / f"member-{k}", device="cpu", backend="torch", max_context=40) for k in (1, 2)]
    assert all(isinstance(one, KronosPredictor) for one in (*apart, *several.members))
    frame = bars_frame(60)
    pooled, wanted = (one.forecast(frame, 4, samples=6, seed=2) for one in (several, Ensemble(apart)))
    np.testing.assert_array_equal(pooled.paths, wanted.paths)
    assert pooled.meta == wanted.meta
    assert (pooled.meta["backend"], pooled.meta["lookback"]) == ("torch", 36)
    as_text = kronos.load(str(folder), device="cpu", precision="int8")
    assert as_text.forecast(frame, 2, samples=2).meta["precision"] == "int8"


def test_a_name_a_shared_tokenizer_and_ensembles_of_ensembles(folder: Path) -> None:
    tokenizer = tiny_tokenizer(normaliser="returns")
    inner = folder / "inner"
    for seed in (5, 6):
        network = tiny_network(seed, **TRAINED)
        network.record(pair=tokenizer.fingerprint(), name=f"leaf-{seed}", max_context=48)
        network.save_pretrained(inner / f"p{seed}")
    tokenizer.save_pretrained(inner / "tokenizer")
    (inner / "ensemble.json").write_text('{"members": ["p5", "p6"], "name": "leaves"}')
    (folder / "ensemble.json").write_text('{"members": ["member-1", "inner"]}')
    several = kronos.load(folder, device="cpu")
    assert isinstance(several, Ensemble)
    assert several.name == "twig-1 + leaves"
    pooled = several.forecast(bars_frame(40), 2, samples=8)
    assert [part["model"] for part in pooled.meta["members"]] == ["twig-1", "leaves"]
    assert [part["samples"] for part in pooled.meta["members"][1]["members"]] == [2, 2]
    assert kronos.load(inner, device="cpu").name == "leaves"


def test_what_is_no_ensemble(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_ensemble(folder / "member-1") is None
    assert read_ensemble("nano") is None
    assert read_ensemble("owner/model") is None
    (tmp_path / "nano").mkdir()
    (tmp_path / "nano" / "ensemble.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    assert read_ensemble("nano") is None  # the zoo's names come first
    assert isinstance(kronos.load("nano", device="cpu"), KronosPredictor)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not a readable configuration"),
        ("[]", "expected keys and values"),
        ("\xff\xfe", "not a readable configuration"),
        ("{}", "at least one member"),
        ('{"members": []}', "at least one member"),
        ('{"members": "member-1"}', "at least one member"),
        ('{"members": ["member-1", 2]}', "at least one member"),
        ('{"members": [""]}', "at least one member"),
        ('{"members": ["member-1"], "name": 3}', '"name" must be a text'),
        ('{"members": ["member-1", "member-9"]}', "'member-9' is missing"),
        ('{"members": ["member-1", "./member-1"]}', "named twice"),
        ('{"members": ["."]}', "does not lie below"),
        ('{"members": [".."]}', "does not lie below"),
        ('{"members": ["../outside"]}', "does not lie below"),
        ('{"members": ["member-1/../../outside"]}', "does not lie below"),
        ('{"members": ["link"]}', "does not lie below"),
        ('{"members": ["round"]}', "does not lie below|no folder's name|missing"),
        ('{"members": ["a\\u0000b"]}', "no folder's name|missing"),
    ],
)
def test_damaged_files_are_refused(folder: Path, content: str, message: str) -> None:
    write_pair(folder.parent / "outside", 3)
    (folder / "link").symlink_to(folder.parent / "outside")
    (folder / "round").symlink_to(folder / "round")
    (folder / "ensemble.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(CheckpointError, match=message) as caught:
        kronos.load(folder, device="cpu")
    assert "ensemble.json" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_absolute_path_is_no_member(folder: Path) -> None:
    write_pair(folder.parent / "outside", 3)
    (folder / "ensemble.json").write_text(json.dumps({"members": [str(folder.parent / "outside")]}))
    with pytest.raises(CheckpointError, match="does not lie below"):
        kronos.load(folder, device="cpu")


def test_a_member_that_is_no_model_is_named(folder: Path) -> None:
    (folder / "member-2" / "predictor" / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match="member-2"):
        kronos.load(folder, device="cpu")


def test_the_command_line_takes_the_folder(folder: Path, tmp_path: Path) -> None:
    bars_frame(60).to_csv(tmp_path / "bars.csv")
    words = ["forecast", str(tmp_path / "bars.csv"), "--model", str(folder), "--device", "cpu", "--samples", "6"]
    words += ["--horizon", "3", "--paths", "--lookback", "30", "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 0, result.output
    assert "6 paths by twig-1 + twig-2 from 30 bars" in result.output
    stored = Forecast.load(tmp_path / "out" / "forecast.npz")
    assert [part["model"] for part in stored.meta["members"]] == ["twig-1", "twig-2"]

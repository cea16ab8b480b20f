"""The last table: what is said of base and tuned, from figures that are made up, and from networks."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from kronos.data import Series, Windows
from kronos.train.compare import Comparison, Figures, Pair, compare, means, spread_batches
from kronos.train.objectives import normalised
from reference import TRAINED, bars_frame, tiny_network, tiny_tokenizer

LOOKBACK, HORIZON = 12, 4


def windows_of(rows: int = 120, series: int = 1) -> Windows:
    made = [Series.of(bars_frame(rows, seed=seed), f"s{seed}", symbol=f"S{seed}") for seed in range(series)]
    return Windows(made, LOOKBACK, HORIZON)


def pair(seed: int = 0) -> Pair:
    return tiny_network(seed, **TRAINED), tiny_tokenizer(seed, normaliser="returns")


class Oracle:
    """A judge whose figures are given, in the order in which models are asked for."""

    def __init__(self, *crps: Sequence[float], error: float = 0.01, hv20: float = 0.5) -> None:
        self.crps, self.error, self.hv20 = [np.asarray(one, dtype=np.float64) for one in crps], error, hv20
        self.asked: list[tuple[int, int, int]] = []

    def score(self, pairs: Sequence[Pair], windows: Windows, origins: int, samples: int) -> Figures:
        crps = self.crps[len(self.asked)]
        self.asked.append((len(pairs), origins, samples))
        return {
            "series": np.array(["s0"] * len(crps)),
            "time": np.arange(len(crps)).astype("datetime64[h]"),
            "crps": crps,
            "cover90": np.full(len(crps), 0.75),
            "hv20_crps": np.full(len(crps), self.hv20),
        }

    def difference(self, ours: Figures, theirs: Figures) -> tuple[float, float]:
        return float((ours["crps"] - theirs["crps"]).mean()), self.error


def said(judge: Oracle, windows: Windows | None = None) -> Comparison:
    models = {"base": [pair()], "tuned": [pair(1)]}
    return compare(models, windows or windows_of(), judge, origins=16, samples=5, batch=4)


def test_tuning_that_helped() -> None:
    judge = Oracle([0.6] * 16, [0.45] * 16)
    found = said(judge)
    assert found.verdict == (
        "tuning helped: CRPS 0.6000 -> 0.4500 (-25.0%), 15.0 standard errors over 16 windows; "
        "the tuned model is better than 20-bar volatility (0.5000)"
    )
    assert found.difference == pytest.approx(-0.15)
    assert judge.asked == [(1, 16, 5), (1, 16, 5)]


def test_tuning_that_hurt_is_said_as_loudly() -> None:
    found = said(Oracle([0.4] * 16, [0.52] * 16))
    assert found.verdict.startswith("tuning hurt: keep the base: CRPS 0.4000 -> 0.5200 (+30.0%), 12.0 standard errors")
    assert found.verdict.endswith("the tuned model is no better than 20-bar volatility (0.5000)")


@pytest.mark.parametrize("tuned", [0.41, 0.39])
def test_a_difference_within_the_noise_is_no_evidence(tuned: float) -> None:
    found = said(Oracle([0.4] * 16, [tuned] * 16, error=0.006))
    assert found.verdict.startswith("no evidence that tuning helped or hurt: CRPS 0.4000 ->")
    assert "1.7 standard errors" in found.verdict


def test_where_the_base_was_kept_nothing_changed() -> None:
    found = said(Oracle([0.4] * 16, [0.4] * 16, error=0.0))
    assert found.verdict.startswith("tuning changed nothing (the best weights are the base's)")
    assert found.difference == 0.0


@pytest.mark.parametrize(
    ("rows", "apart"),
    [(LOOKBACK + HORIZON + 15, 4), (LOOKBACK + HORIZON, 1), (LOOKBACK + 7 * HORIZON, 7)],
)
def test_windows_that_share_their_future_are_not_counted_as_many(rows: int, apart: int) -> None:
    """Sixteen windows in a part with room for four futures know four things, however small the error looks."""
    found = said(Oracle([0.4] * 16, [0.9] * 16, error=1e-6), windows_of(rows))
    assert found.verdict.startswith("too few windows to say whether tuning helped: CRPS 0.4000 -> 0.9000 (+125.0%)")
    assert f"16 windows, of which no more than {apart} share no bar" in found.verdict
    assert "hurt" not in found.verdict


def test_series_of_the_same_days_are_not_counted_as_many_either() -> None:
    few = windows_of(LOOKBACK + 3 * HORIZON, series=5)
    assert "of which no more than 3 share no bar" in said(Oracle([0.4] * 16, [0.9] * 16), few).verdict


def test_one_window_has_no_error() -> None:
    found = said(Oracle([0.4], [0.9], error=float("nan")))
    assert found.verdict.startswith("too few windows")
    assert found.error is None
    assert found.origins == 1


def test_closes_that_do_not_move_have_no_score() -> None:
    found = said(Oracle([np.nan] * 16, [np.nan] * 16, error=float("nan"), hv20=np.nan))
    assert found.verdict == "the forecasts have no score: in the test part the closes do not move"
    assert [set(row.figures) for row in found.rows] == [{"cover90", "nll"}] * 2
    json.loads(json.dumps(found.tree(), allow_nan=False))


def test_the_table() -> None:
    lines = str(said(Oracle([0.6] * 16, [0.45] * 16))).splitlines()
    assert lines[0].split() == ["crps", "cover90", "nll"]
    assert [line.split()[0] for line in lines[1:4]] == ["hv20", "base", "tuned"]
    assert lines[1].split() == ["hv20", "0.5000"]
    assert lines[2].split()[1:3] == ["0.6000", "0.7500"]
    assert len({len(line) for line in lines[:4]}) == 1, "columns stand below each other"
    assert lines[4].startswith("tuning helped")


@pytest.mark.parametrize("judge", [Oracle([0.6] * 16, [0.45] * 16), Oracle([0.4], [0.9], error=np.nan), None])
def test_what_is_written_is_read_back(judge: Any) -> None:
    found = said(judge)
    text = json.dumps(found.tree(), allow_nan=False)
    again = Comparison.of(json.loads(text))
    assert again == found
    assert str(again) == str(found)


def test_an_ensemble_is_judged_as_one() -> None:
    judge = Oracle([0.6] * 16, [0.45] * 16)
    tuned = [pair(1), pair(2)]
    found = compare({"base": [pair()], "tuned": tuned}, windows_of(), judge, origins=8, samples=6, batch=4)
    assert judge.asked == [(1, 8, 6), (2, 8, 6)]
    alone = [
        compare({"base": [pair()], "tuned": [one]}, windows_of(), None, origins=8, samples=6, batch=4) for one in tuned
    ]
    assert found.rows[2].figures["nll"] == pytest.approx(np.mean([one.rows[1].figures["nll"] for one in alone]))


def test_the_likelihood_is_that_of_the_tokens_that_came() -> None:
    """Against a loop over windows, bars and both tokens, probabilities and all in double precision."""
    windows, (network, tokenizer) = windows_of(40), pair(3)
    found = compare({"base": [(network, tokenizer)]}, windows, None, origins=5, samples=2, batch=2)
    assert found.verdict.startswith("compared by the likelihood")
    nats = []
    for number in (0, 6, 12, 18, 24):
        batch = windows.batch([number])
        s1, s2 = tokenizer.encode(normalised(batch, "returns"), half=True)
        stamps = torch.from_numpy(batch.stamps)[:, 1:]
        with torch.no_grad():
            coarse, fine = network(s1[:, :-1], s2[:, :-1], stamps, use_teacher_forcing=True, s1_targets=s1[:, 1:])
        for at in range(LOOKBACK, LOOKBACK + HORIZON):
            for logits, tokens in ((coarse, s1), (fine, s2)):
                odds = np.exp(logits[0, at - 1].double().numpy())
                nats.append(-np.log(odds[tokens[0, at]] / odds.sum()))
    assert len(windows) == 25
    assert found.origins == 5
    assert found.rows[0].figures["nll"] == pytest.approx(np.mean(nats), rel=1e-5)


def test_means_leave_out_what_is_no_number() -> None:
    figures = {"a": np.array([1.0, np.nan, 3.0]), "b": np.array([np.nan] * 3), "name": np.array(["x"] * 3)}
    assert means(figures) == {"a": 2.0}


def test_windows_to_look_at_are_spread_and_always_the_same() -> None:
    windows = windows_of(60)
    batches = spread_batches(windows, 7, 3)
    assert [len(batch.bars) for batch in batches] == [3, 3, 1]
    bars = np.concatenate([batch.bars for batch in batches])
    np.testing.assert_array_equal(bars[0], windows.batch([0]).bars[0])
    np.testing.assert_array_equal(bars[-1], windows.batch([len(windows) - 1]).bars[0])
    np.testing.assert_array_equal(bars, np.concatenate([batch.bars for batch in spread_batches(windows, 7, 3)]))
    assert sum(len(batch.bars) for batch in spread_batches(windows, 1000, 8)) == len(windows)

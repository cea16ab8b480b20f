"""Real and generated: networks that cannot tell twins apart and see through fakes, sequences without a common bar."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from paper_walkers import SIGMA, Listener, Walker, paths_of, series

from kronos.bars import Forecast
from kronos.data import Series
from kronos.errors import BarsError, ConfigError
from kronos.evaluate.protocols.discriminate import discriminator_errors, next_bar_predictions
from kronos.evaluate.protocols.fidelity import (
    FEATURES,
    Sequences,
    draw_sequences,
    facts_table,
    features,
    judge_sequences,
)
from kronos.evaluate.protocols.paper import Paper
from kronos.evaluate.protocols.paper_tasks import Entrant, PaperSettings, gather
from kronos.evaluate.protocols.paper_words import facts_told
from kronos.evaluate.protocols.stylised import FACTS


class Twin(Walker):
    """Draws from the process that the series of the tests come from, wicks and volume included."""

    name = "twin"

    def _one(self, frame: pd.DataFrame, times: pd.DatetimeIndex, samples: int, seed: int) -> Forecast:
        made = super()._one(frame, times, samples, seed)
        rng = np.random.default_rng([seed, int(frame.index[-1].value) % 2**32, int(1e6 * made.last_close)])
        paths = made.paths.copy()
        paths[..., 4] = rng.lognormal(5, 0.4, paths.shape[:2])
        return Forecast(paths, times, made.last_close)


class Loud(Twin):
    """Twice as volatile."""

    def moves(self, *given: Any) -> np.ndarray:
        return 2.0 * super().moves(*given)


@pytest.fixture(scope="module")
def hours() -> list[Series]:
    return [series(f"crypto/C{i}_1h", rows=2000, seed=i) for i in range(4)]


def sequences(maker: Walker, hours: list[Series], **changes: Any) -> Sequences:
    asked = PaperSettings(**changes)
    return draw_sequences(Entrant("m", maker), gather(hours, asked, []).cells[0], asked)


# The networks ---------------------------------------------------------------------------------------------------------


def test_twins_cannot_be_told_apart_and_other_laws_can() -> None:
    rng = np.random.default_rng(0)
    real, twin = rng.standard_normal((2, 400, 6, 2))
    held = np.arange(400) % 5 == 2
    errors = np.concatenate(discriminator_errors(real, twin, held, epochs=3))
    assert len(errors) == 2 * 80
    assert errors.mean() == pytest.approx(0.5, abs=4 * 0.5 / np.sqrt(160))
    shifted = np.concatenate(discriminator_errors(real, twin + 1.5, held, epochs=6))
    assert shifted.mean() < 0.02


def test_equal_seeds_give_equal_numbers_and_leave_the_callers_alone() -> None:
    rng = np.random.default_rng(1)
    real, made, held = rng.standard_normal((60, 6, 2)), rng.standard_normal((60, 6, 2)), np.arange(60) % 5 == 2
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    with torch.no_grad():  # whatever mode the caller is in
        first = discriminator_errors(real, made, held, epochs=2, seed=4)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(99)
    second = discriminator_errors(real, made, held, epochs=2, seed=4)
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


def test_a_constant_feature_and_an_outlier_harm_nobody() -> None:
    rng = np.random.default_rng(2)
    real, made = rng.standard_normal((2, 50, 5, 3))
    real[..., 1], made[..., 1] = 0.0, 0.0
    made[3, 2, 0] = 1e30
    for errors in discriminator_errors(real, made, np.arange(50) % 5 == 2, epochs=1):
        assert np.isin(errors, (0.0, 0.5, 1.0)).all()


def test_what_can_be_predicted_is_learned_and_what_cannot_is_not() -> None:
    rng = np.random.default_rng(3)

    def autoregression(rows: int, slope: float) -> np.ndarray:
        found = np.zeros((rows, 12, 1))
        for step in range(1, 12):
            found[:, step] = slope * found[:, step - 1] + rng.standard_normal((rows, 1))
        return found

    tested = autoregression(300, 0.8)
    said, came = next_bar_predictions(autoregression(400, 0.8), tested, epochs=8)
    assert said.shape == came.shape == (300, 11)
    np.testing.assert_array_equal(came, tested[:, 1:, 0])
    assert np.corrcoef(said[:, 2:].ravel(), 0.8 * tested[:, 2:-1, 0].ravel())[0, 1] > 0.9
    assert 0.6 < np.polyfit(tested[:, 2:-1, 0].ravel(), said[:, 2:].ravel(), 1)[0] < 1.0, "in the units of the feature"
    said, came = next_bar_predictions(autoregression(300, 0.0), autoregression(200, 0.0), epochs=1)
    assert abs(np.corrcoef(said.ravel(), came.ravel())[0, 1]) < 0.1


@pytest.mark.parametrize(
    ("real", "made", "held", "complaint"),
    [
        (np.ones((4, 3, 2)), np.ones((5, 3, 2)), [True, False, False, False], "equally many"),
        (np.ones((4, 3, 2)), np.ones((4, 3, 2)), [True] * 4, "neither none nor all"),
        (np.ones((4, 3, 2)), np.ones((4, 3, 2)), [True], "marks some"),
        (np.ones((4, 3)), np.ones((4, 3, 2)), [True] * 4, "must be sequences"),
        (np.full((4, 3, 2), np.inf), np.ones((4, 3, 2)), [True] * 4, "not a number"),
    ],
)
def test_what_cannot_be_judged_is_refused(real: Any, made: Any, held: Any, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        discriminator_errors(real, made, held)
    with pytest.raises(ConfigError, match="cannot be tested"):
        next_bar_predictions(np.ones((4, 3, 2)), np.ones((4, 4, 2)))


# Sequences ------------------------------------------------------------------------------------------------------------


def test_features_are_those_of_the_definition_and_have_no_scale() -> None:
    frame = series("crypto/C_1h", rows=120).frame().to_numpy()
    past, future = frame[:100], frame[100:]
    found = features(past, future)
    assert found.shape == (20, len(FEATURES))
    closes = np.log(frame[:, 3])
    unit = np.diff(closes[:100]).std()
    np.testing.assert_allclose(found[:, 0], np.diff(closes)[99:] / unit)
    np.testing.assert_allclose(found[:, 1], 0.0, atol=1e-9)  # every bar opens where the last one closed
    np.testing.assert_allclose(found[:, 2:4], np.log(1.002) / unit)
    volume = np.log1p(past[:, 4])
    np.testing.assert_allclose(found[:, 4], (np.log1p(future[:, 4]) - volume.mean()) / volume.std())
    dearer = frame * np.array([7, 7, 7, 7, 1, 7.0])
    np.testing.assert_allclose(features(dearer[:100], dearer[100:]), found)
    silent = frame * np.array([1, 1, 1, 1, 0, 0.0])
    assert not features(silent[:100], silent[100:])[:, 4].any()


def test_both_kinds_come_from_the_same_origins_and_share_no_bar(hours: list[Series]) -> None:
    drawn = sequences(Twin(), hours, sequences=100)
    assert len(drawn) == 100
    assert drawn.real.shape == drawn.made.shape == (100, 12, 5)
    assert drawn.has_volume
    assert 0.1 < drawn.held.mean() < 0.3
    gaps = drawn.places.groupby("asset")["time"].apply(lambda times: times.sort_values().diff().min())
    assert (gaps >= pd.Timedelta(hours=12)).all()
    # a block of time belongs to one side, with all series
    blocks = pd.Series(drawn.held).groupby(drawn.places["time"]).nunique()
    assert (blocks == 1).all()
    many = sequences(Twin(), hours[:2], sequences=6000)
    assert len(many) == sum(-(-int(c) // 12) for c in gather(hours[:2], PaperSettings(), []).cells[0].windows.counts)
    whole = next(one for one in hours if one.symbol.casefold() == drawn.places["asset"][0])
    row = int(np.searchsorted(whole.times, np.datetime64(drawn.places["time"][0])))
    np.testing.assert_allclose(drawn.real[0], features(whole.bars[row - 80 : row], whole.bars[row : row + 12]))


def test_one_path_is_asked_for_with_the_papers_sampler(hours: list[Series]) -> None:
    asked, network = PaperSettings(sequences=20), Twin()
    draw_sequences(Entrant("m", network, sampled=True), gather(hours, asked, []).cells[0], asked)
    assert network.asked[0] == {
        "lookback": 80, "horizon": 12, "samples": 1, "T": 1.0, "top_p": 0.95, "overflow": "exact",
    }  # fmt: skip


def test_failures_are_counted_and_nothing_at_all_is_an_error(hours: list[Series]) -> None:
    moments = [pd.Timestamp(moment) for one in hours for moment in one.times]
    with pytest.raises(BarsError, match="no sequence could be generated"):
        sequences(Twin(fails=moments), hours, sequences=10)
    half = sequences(Twin(fails=moments[::2]), hours, sequences=60)
    assert 0 < half.failed < 60
    assert len(half) == 60 - half.failed


def test_a_twin_of_the_market_is_not_found_out_and_a_loud_one_is(hours: list[Series]) -> None:
    asked = PaperSettings(sequences=300, epochs=2)
    twin = judge_sequences(sequences(Twin(), hours, sequences=300), asked)
    value, error = twin["discriminative"]
    assert abs(value - 0.5) < 4 * error < 0.4
    loud_drawn = sequences(Loud(), hours, sequences=300)
    errors = discriminator_errors(loud_drawn.real, loud_drawn.made, loud_drawn.held, epochs=6)
    assert np.concatenate(errors).mean() < 0.25
    # of noise nothing is learned: neither beats saying nothing
    assert twin["tstr_mae"][0] == pytest.approx(twin["zero_mae"][0], rel=0.05)
    assert twin["zero_mae"][0] == pytest.approx(np.sqrt(2 / np.pi), rel=0.05)
    assert abs(twin["tstr_rank_ic"][0]) < 4 * twin["tstr_rank_ic"][1] + 0.02
    table = facts_table(twin).set_index("fact")
    assert list(table.index) == list(FACTS)
    assert table["apart"].abs().max() < 5
    assert table.loc["kurtosis", "real"] == pytest.approx(0.0, abs=0.4)
    np.testing.assert_allclose(table["gap"], table["made"] - table["real"])


def test_the_generation_task_writes_what_it_judged_and_reads_it_back(hours: list[Series], tmp_path: Path) -> None:
    asked = PaperSettings(tasks=("generation",), sequences=150, epochs=1)
    few = series("us/FEW_1h", rows=300)
    listener = Listener()
    run = Paper(asked, [Entrant("twin", Twin())], tmp_path, listener)
    summary = run.run([*hours, few])
    facts = facts_told(run.table, ["twin", "nobody"])
    assert facts.splitlines()[0].split() == ["stylised", "fact", "real", "twin"]
    assert len(facts.splitlines()) == len(FACTS) + 2
    assert facts_told(run.table, ["nobody"]) == ""
    found = summary["tasks"]["generation"]["twin"]
    assert {"discriminative", "discriminative_close", "tstr_mae", "trtr_mae", "real_kurtosis", "made_kurtosis"} <= set(
        found
    )
    assert found["discriminative"]["cells"] == 1
    assert any("us 1h has room for" in line for line in listener.lines)
    folder = tmp_path / "generation" / "twin"
    assert sorted(file.suffix for file in folder.iterdir()) == [".json", ".npz", ".png"]
    assert (folder / "crypto-1h.png").read_bytes().startswith(b"\x89PNG")
    idle = Twin(breaks_after=0)
    (folder / "crypto-1h.json").unlink()  # killed after drawing and before judging: the same numbers again
    assert Paper(asked, [Entrant("twin", idle)], tmp_path).run([*hours, few]) == summary


def test_helpers_of_this_file_make_valid_candles() -> None:
    frame = series("crypto/C_1h", rows=100).frame()
    paths = paths_of(np.random.default_rng(0).normal(0, SIGMA, (3, 5)).cumsum(axis=1), frame)
    assert (paths[..., 1] >= paths[..., [0, 3]].max(axis=-1)).all()

"""GARCH by maximum likelihood: as likely as arch's fit, the same volatility, the right law on its own process."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from kronos.bars import Timeframe
from kronos.data import Windows, load_series
from kronos.evaluate import Trials, choose_origins, coverage, crps
from kronos.evaluate.baselines.asking import Past
from kronos.evaluate.baselines.filters import Decaying, ewma_variances
from kronos.evaluate.baselines.garch import FilteredHistorical, GarchT
from kronos.evaluate.baselines.garch_fit import Garch, ewma_instead, fit_garch, standardised
from kronos.evaluate.baselines.minimising import minimise
from kronos.evaluate.baselines.student import Parameters, loss, variance_before

OMEGA, ALPHA, BETA, NU = 0.04, 0.12, 0.84, 5.0


def simulated(count: int, length: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns (count, length) of a GARCH-t process in percent, and the variance of each."""
    random = np.random.default_rng(seed)
    variance = np.full(count, OMEGA / (1 - ALPHA - BETA))
    returns, variances = np.empty((count, length)), np.empty((count, length))
    for t in range(-200, length):
        move = np.sqrt(variance) * random.standard_t(NU, count) * np.sqrt(1 - 2 / NU)
        if t >= 0:
            returns[:, t], variances[:, t] = move, variance
        variance = OMEGA + ALPHA * move**2 + BETA * variance
    return returns / 100, variances / 1e4


def frame_of(changes: np.ndarray) -> pd.DataFrame:
    closes = 50 * np.exp(np.r_[0.0, changes.cumsum()])
    opens = np.r_[50.0, closes[:-1]]
    index = pd.date_range("2024-01-01", periods=len(closes), freq="1h", name="timestamp")
    prices = {"open": opens, "high": np.maximum(opens, closes), "low": np.minimum(opens, closes), "close": closes}
    return pd.DataFrame({**prices, "volume": 0.0, "amount": 0.0}, index=index)


# The parts ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [1, 23, 24, 100])
def test_the_recursion_is_the_loop(length: int) -> None:
    terms, decays = np.random.default_rng(0).normal(size=(3, length)), np.array([0.0, 0.9, 1.0])
    expected, now = np.empty_like(terms), np.zeros(3)
    for t in range(length):
        now = expected[:, t] = decays * now + terms[:, t]
    np.testing.assert_allclose(Decaying(decays).forwards(terms), expected, atol=1e-12)
    ones = np.eye(length)  # what term s does to the sum of all y is what running backwards over ones gives
    done = Decaying(np.full(length, 0.9)).forwards(ones).sum(axis=1)
    np.testing.assert_allclose(Decaying(np.array([0.9])).backwards(np.ones((1, length)))[0], done)


def test_the_ewma_is_the_loop() -> None:
    changes = np.random.default_rng(1).normal(size=70)
    expected = [np.square(changes).mean()]
    for change in changes:
        expected.append(0.94 * expected[-1] + 0.06 * change**2)
    np.testing.assert_allclose(ewma_variances(changes), expected)


def test_the_gradient_is_that_of_the_loss() -> None:
    returns = np.random.default_rng(2).standard_t(4, (3, 90))
    before = variance_before(returns)
    at = [np.array(values) for values in ([0.0, 0.1, -0.2], [0.05, 0.5, 1e-3], [0.1, 0.4, 0.0], [0.85, 0.2, 0.99])]
    at.append(np.array([2.3, 6.0, 80.0]))
    slopes = loss(returns, Parameters(*at), before)[1]
    for place, slope in enumerate(slopes):
        step = 1e-6 * np.maximum(at[place], 1.0)
        ends = []
        for sign in (1, -1):
            moved = [part + sign * step * (i == place) for i, part in enumerate(at)]
            ends.append(loss(returns, Parameters(*moved), before)[0])
        np.testing.assert_allclose((ends[0] - ends[1]) / (2 * step), slope, rtol=2e-5, atol=2e-7)


def test_many_minima_are_found_at_once() -> None:
    centres = np.array([[1.0, 1.0], [-2.0, 4.0], [0.5, 0.25]])

    def valley(points: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rosenbrock's banana, moved."""
        a, b = (points - centres[rows]).T + 1.0
        value = (1 - a) ** 2 + 100 * (b - a**2) ** 2
        return value, np.stack([-2 * (1 - a) - 400 * a * (b - a**2), 200 * (b - a**2)], axis=1)

    found = minimise(valley, centres + np.array([-2.2, 0.0]), 10.0)
    assert found.converged.all()
    np.testing.assert_allclose(found.points, centres, atol=1e-3)


# Beside arch ----------------------------------------------------------------------------------------------------------


def beside_arch(series: list[np.ndarray]) -> tuple[list[Garch], np.ndarray, np.ndarray, np.ndarray]:
    """Our fits; and arch's log-likelihoods, parameters and variances of the next return, in the same units."""
    arch = pytest.importorskip("arch")
    likelihoods, parameters, ahead = [], [], []
    for returns in series:
        model = arch.arch_model(
            returns / returns.std(), mean="Constant", vol="GARCH", p=1, q=1, dist="t", rescale=False
        )
        found = model.fit(disp="off", show_warning=False)
        likelihoods.append(found.loglikelihood)
        parameters.append(found.params.to_numpy())
        ahead.append(found.forecast(horizon=1, reindex=False).variance.to_numpy()[0, 0])
    return fit_garch(series), np.array(likelihoods), np.array(parameters), np.array(ahead)


def check_fits(series: list[np.ndarray], worse: int) -> tuple[list[Garch], np.ndarray, np.ndarray]:
    """No fit falls back; all but so many are as likely as arch's, and say the same volatility.

    Our fits, arch's parameters, and where both came to the same end.
    """
    fits, likelihoods, theirs, ahead = beside_arch(series)
    assert [fit.fallback for fit in fits] == [""] * len(series)
    gain = np.array([fit.likelihood for fit in fits]) - likelihoods
    assert (gain < -0.02).sum() <= worse, gain
    same = np.abs(gain) < 0.02  # where ours is the likelier by more, arch stopped elsewhere
    apart = np.abs(np.log([fit.variance for fit in fits]) - np.log(ahead))[same]
    assert np.quantile(apart, 0.9) < 0.03
    return fits, theirs, same


def test_simulated_series_are_fitted_as_arch_fits_them() -> None:
    returns, _ = simulated(6, 600, seed=3)
    fits, theirs, same = check_fits(list(returns), worse=0)
    assert same.mean() > 0.8
    ours = np.array([[fit.mean, fit.omega, fit.alpha, fit.beta, fit.nu] for fit in fits])
    np.testing.assert_allclose(ours[same, :4], theirs[same, :4], atol=0.02)
    np.testing.assert_allclose(ours[same, 4], theirs[same, 4], rtol=0.02)
    np.testing.assert_allclose(np.median(ours[:, 2:], axis=0), [ALPHA, BETA, NU], rtol=0.25)


def test_market_windows_are_fitted_as_arch_fits_them(shared: Path) -> None:
    folder = shared / "market" / "eval" / "us"
    if not folder.is_dir():
        pytest.skip("the market data is not beside this checkout (../shared/market)")
    windows = Windows(load_series(folder), 400, 24)
    trials = Trials(windows, choose_origins(windows, 5))
    series = [np.diff(np.log(trials.past_closes(i))) for i in range(len(trials))]
    assert check_fits(series, worse=1)[2].mean() > 0.7


def test_a_fit_depends_on_its_own_returns_alone() -> None:
    returns, _ = simulated(4, 300, seed=5)
    together = fit_garch([returns[0], returns[1][:200], returns[2], returns[3][:200]])
    alone = fit_garch([returns[1][:200]])[0]
    assert together[1].likelihood == pytest.approx(alone.likelihood, abs=1e-3)
    scaled = fit_garch([returns[0] * 1000])[0]
    assert scaled.unit == pytest.approx(1000 * together[0].unit)
    assert scaled.likelihood == pytest.approx(together[0].likelihood, abs=1e-3)


# As forecasters -------------------------------------------------------------------------------------------------------


def test_the_true_process_is_covered_as_often_as_said() -> None:
    returns, variances = simulated(64, 410, seed=7)
    truth = returns[:, 400:].cumsum(axis=1)
    frames = [frame_of(one) for one in returns[:, :400]]
    hours = pd.date_range(frames[0].index[-1], periods=11, freq="1h")[1:]
    pasts = [Past("x", frame, hours, Timeframe.parse("1h"), "24/7") for frame in frames]
    fits = GarchT().fit(pasts)
    # nobody can do better than who knows the parameters
    best = [Garch(0.0, OMEGA, ALPHA, BETA, NU, 0.01, now * 1e4, 0.0) for now in variances[:, 400]]

    def drawn(baseline: GarchT | FilteredHistorical, fits: list[Garch]) -> np.ndarray:
        parts = [baseline.draw(past, fit, 80, past.random(0)) for past, fit in zip(pasts, fits, strict=True)]
        return np.stack(parts, axis=1)

    ideal = crps(drawn(GarchT(), best), truth).mean()
    for baseline in (GarchT(), FilteredHistorical()):
        moves = drawn(baseline, fits)
        assert coverage(moves, truth, 0.9).mean() == pytest.approx(0.9, abs=0.05)
        assert coverage(moves, truth, 0.5).mean() == pytest.approx(0.5, abs=0.08)
        assert crps(moves, truth).mean() < 1.03 * ideal


def test_the_variance_of_paths_is_the_recursions() -> None:
    returns, _ = simulated(1, 800, seed=11)
    made = GarchT().forecast(frame_of(returns[0]), 5, samples=60_000)
    fit = made.meta["fitted"]
    expected, variance = [], fit["variance"]
    for _ in range(5):
        expected.append(variance)
        variance = fit["omega"] + (fit["alpha"] + fit["beta"]) * variance
    found = np.diff(made.returns(), axis=1, prepend=0.0).var(axis=0) / fit["unit"] ** 2
    np.testing.assert_allclose(found, expected, rtol=0.08)
    assert abs(made.returns()[:, -1].mean()) < 5 * fit["unit"] * np.sqrt(5 / 60_000) * 2


def test_filtered_historical_simulation_draws_the_look_backs_own_shocks() -> None:
    returns, _ = simulated(1, 300, seed=12)
    changes = returns[0] + 0.001
    made = FilteredHistorical().forecast(frame_of(changes), 1, samples=500)
    fit = Garch(**made.meta["fitted"])
    shocks = standardised(changes, fit)
    assert shocks.std() == pytest.approx(1.0, abs=0.1)
    drawn = made.returns()[:, 0] / fit.unit / np.sqrt(fit.variance)
    assert np.abs(drawn[:, None] - (shocks - shocks.mean())).min(axis=1).max() < 1e-6


def test_drift_is_left_in_where_it_is_asked_for() -> None:
    returns, _ = simulated(1, 400, seed=13)
    frame = frame_of(returns[0] + 0.01)
    for kind in (GarchT, FilteredHistorical):
        without, drifting = kind(), kind(drift=True)
        assert drifting.name == f"{without.name}-drift"
        ends = [one.forecast(frame, 10, samples=2000).returns()[:, -1].mean() for one in (without, drifting)]
        assert ends[0] == pytest.approx(0.0, abs=0.005)
        assert ends[1] == pytest.approx(0.1, abs=0.02)


def test_returns_that_are_mostly_nought_are_left_to_the_ewma_and_it_says_so() -> None:
    random = np.random.default_rng(0)
    changes = np.where(random.random(200) < 0.8, 0.0, random.normal(0, 0.01, 200))
    made = GarchT().forecast(frame_of(changes), 24, samples=100)
    assert made.meta["fitted"]["fallback"] == "most returns are nought"
    assert made.meta["fitted"]["beta"] == 0.94
    assert 0 < made.returns()[:, -1].std() < 0.1


def test_a_volatility_that_explodes_is_left_to_the_ewma(monkeypatch: pytest.MonkeyPatch) -> None:
    wild = Garch(0.0, 1.0, 0.5, 0.9, 3.0, 0.01, 4.0, 0.0)
    monkeypatch.setattr("kronos.evaluate.baselines.garch.fit_garch", lambda series: [wild for _ in series])
    returns, _ = simulated(1, 100, seed=14)
    assert FilteredHistorical().forecast(frame_of(returns[0]), 2, samples=5).meta["fitted"]["fallback"] == ""
    made = FilteredHistorical().forecast(frame_of(returns[0]), 24, samples=5)
    assert made.meta["fitted"]["fallback"] == "the fitted volatility explodes"
    again = ewma_instead(np.diff(np.log(frame_of(returns[0])["close"].to_numpy())), "")
    assert made.meta["fitted"]["variance"] == pytest.approx(again.variance)

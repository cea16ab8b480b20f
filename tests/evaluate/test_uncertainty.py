"""Standard errors of means over origins that depend on each other, by simulation."""

from collections.abc import Callable

import numpy as np
import pytest

from kronos.errors import ConfigError
from kronos.evaluate import paired, standard_error, summary

Draw = Callable[[np.random.Generator], np.ndarray]


def autoregressive(rng: np.random.Generator, steps: int, columns: int, phi: float) -> np.ndarray:
    """(steps, columns) of stationary AR(1) noise of variance 1."""
    shocks = rng.standard_normal((steps, columns)) * np.sqrt(1 - phi**2)
    noise = shocks.copy()
    noise[0] /= np.sqrt(1 - phi**2)
    for step in range(1, steps):
        noise[step] = phi * noise[step - 1] + shocks[step]
    return noise


def simulate(draw: Draw, assets: np.ndarray, times: np.ndarray, rounds: int = 300) -> tuple[float, float, float]:
    """Over many worlds whose true mean is 0: the mean error over the true one, how often 2 errors reach it, and the
    error of independent origins over the true one."""
    rng = np.random.default_rng(11)
    worlds = [draw(rng) for _ in range(rounds)]
    means = np.array([world.mean() for world in worlds])
    errors = np.array([standard_error(world, assets, times) for world in worlds])
    naive = np.mean([world.std(ddof=1) for world in worlds]) / np.sqrt(len(times))
    return errors.mean() / means.std(), float((np.abs(means) <= 2 * errors).mean()), naive / means.std()


@pytest.mark.parametrize("count", [40, 400])
def test_independent_origins(count: int) -> None:
    times = np.arange(count)
    ratio, reached, naive = simulate(lambda rng: rng.standard_normal(count), np.zeros(count), times)
    assert 0.9 < naive < 1.1
    assert 0.95 < ratio < 1.3  # what is believed is the worst of several guesses, so a little too large
    assert reached > 0.92


@pytest.mark.parametrize("phi", [0.5, 0.8])
def test_one_series_that_remembers(phi: float) -> None:
    times = np.arange(400)
    ratio, reached, naive = simulate(lambda rng: autoregressive(rng, 400, 1, phi)[:, 0], np.zeros(400), times)
    assert naive < 0.65  # pretending that they are independent would be badly wrong
    assert 0.9 < ratio < 1.25
    assert reached > 0.9


GRID = 40, 25  # moments, assets
TIMES, ASSETS = np.repeat(np.arange(GRID[0]), GRID[1]), np.tile(np.arange(GRID[1]), GRID[0])


def noisy(rng: np.random.Generator) -> np.ndarray:
    return rng.standard_normal(GRID)


def common_shocks(rng: np.random.Generator) -> np.ndarray:
    return (noisy(rng) + autoregressive(rng, GRID[0], 1, 0.3)).ravel()


def ways_of_assets(rng: np.random.Generator) -> np.ndarray:
    return (noisy(rng) + rng.standard_normal(GRID[1])).ravel()


def both(rng: np.random.Generator) -> np.ndarray:
    return (noisy(rng) + rng.standard_normal(GRID[1]) + autoregressive(rng, GRID[0], 1, 0.3)).ravel()


@pytest.mark.parametrize("draw", [common_shocks, ways_of_assets, both])
def test_what_origins_have_in_common(draw: Draw) -> None:
    ratio, reached, naive = simulate(draw, ASSETS, TIMES)
    assert naive < 0.4
    assert 0.85 < ratio < 1.25
    assert reached > 0.88


def figures(values: np.ndarray, **more: np.ndarray) -> dict[str, np.ndarray]:
    names = np.array([f"a{asset}" for asset in ASSETS])
    return {"series": names, "asset": names, "time": TIMES.astype("datetime64[ns]"), "crps": values, **more}


def test_pairs_see_what_means_cannot() -> None:
    rng = np.random.default_rng(4)
    hard = 1 + noisy(rng).ravel() ** 2
    ours, theirs = figures(hard + 0.01 * noisy(rng).ravel()), figures(hard + 0.02 + 0.01 * noisy(rng).ravel())
    difference, error = paired(ours, theirs)
    assert difference == pytest.approx(ours["crps"].mean() - theirs["crps"].mean())
    assert difference == pytest.approx(-0.02, abs=4 * error)
    assert error < 0.001 < summary(ours)["crps_se"]
    assert paired(theirs, ours) == (pytest.approx(-difference), pytest.approx(error))
    assert paired(ours, ours) == (0.0, 0.0)


def test_two_figures_of_one_forecaster_are_paired() -> None:
    rng = np.random.default_rng(5)
    hard = noisy(rng).ravel()
    found = figures(hard, hv20_crps=hard + 0.5)
    assert paired(found, found, "crps", "hv20_crps") == (pytest.approx(-0.5), pytest.approx(0.0, abs=1e-12))


def test_the_summary_holds_means_with_their_errors() -> None:
    values = noisy(np.random.default_rng(6)).ravel()
    told = summary(figures(values, mae=2 * values))
    assert list(told) == ["origins", "crps", "crps_se", "mae", "mae_se"]
    assert (told["origins"], told["crps"]) == (1000.0, pytest.approx(values.mean()))
    assert told["crps_se"] == pytest.approx(standard_error(values, ASSETS, TIMES))
    assert told["mae_se"] == pytest.approx(2 * told["crps_se"])


def test_what_is_no_number_is_left_out() -> None:
    values = noisy(np.random.default_rng(7)).ravel()
    values[::3] = np.nan
    there = np.isfinite(values)
    told = summary(figures(values))
    assert told["crps"] == pytest.approx(values[there].mean())
    assert told["crps_se"] == pytest.approx(standard_error(values[there], ASSETS[there], TIMES[there]))
    assert paired(figures(values), figures(np.ones(1000)))[0] == pytest.approx(values[there].mean() - 1)
    nothing = summary(figures(np.full(1000, np.nan)))
    assert np.isnan([nothing["crps"], nothing["crps_se"]]).all()


def test_one_moment_has_no_error() -> None:
    assert np.isnan(standard_error(np.arange(50.0), np.arange(50), np.zeros(50, dtype="datetime64[ns]")))
    assert np.isnan(standard_error([1.0], ["a"], [3]))
    assert standard_error([1.0, 3.0], ["a", "a"], [3, 4]) == pytest.approx(1.0)  # as of two independent numbers


def test_the_order_of_origins_does_not_matter() -> None:
    rng = np.random.default_rng(8)
    values, shuffled = both(rng), rng.permutation(1000)
    first = standard_error(values, ASSETS, TIMES)
    assert standard_error(values[shuffled], ASSETS[shuffled], TIMES[shuffled]) == pytest.approx(first)


def test_what_cannot_be_compared_is_refused() -> None:
    found = figures(np.zeros(1000))
    later = found | {"time": found["time"] + np.timedelta64(1, "h")}
    with pytest.raises(ConfigError, match="other origins"):
        paired(found, later)
    with pytest.raises(ConfigError, match="no figure 'mae'; there are crps"):
        paired(found, found, "mae")
    with pytest.raises(ConfigError, match="no figure 'time'"):
        paired(found, found, "time")
    with pytest.raises(ConfigError, match="lack series, asset"):
        summary({"time": found["time"], "crps": found["crps"]})

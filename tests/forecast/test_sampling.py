"""From logits to tokens: the filters, the choice, and numbers that belong to their place."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from conftest import Golden
from kronos.errors import ConfigError
from kronos.forecast import Sampler
from kronos.forecast.sampling import series_key, uniform_numbers
from reference import slow_choice, slow_probabilities


def row(*logits: float) -> torch.Tensor:
    return torch.tensor([logits])


# Filters --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "sampler"),
    [
        ("filter_k5", Sampler.of(0.7, 5, 1.0)),
        ("filter_k5", Sampler.of(0.7, 5, None)),
        ("filter_p9", Sampler.of(0.7, 0, 0.9)),
        ("filter_p9", Sampler.of(0.7, None, 0.9, reference_rule=True)),
        ("filter_p5", Sampler.of(0.7, 0, 0.5)),
        ("filter_k5p5", Sampler.of(0.7, 5, 0.5, reference_rule=True)),
    ],
)
def test_golden_filters(golden: Golden, name: str, sampler: Sampler) -> None:
    golden.compare(name, sampler.probabilities(golden.tensor("filter_in")))


def test_k_and_p_compose() -> None:
    logits = torch.log(row(0.4, 0.3, 0.2, 0.1))
    composed = Sampler(top_k=3, top_p=0.5).probabilities(logits)
    # of the three largest, renormalised: .444 .333 .222; .444 < .5, so the second crosses and is kept
    torch.testing.assert_close(composed, row(4 / 7, 3 / 7, 0.0, 0.0))
    told = Sampler(top_k=3, top_p=0.5, reference_rule=True).probabilities(logits)
    torch.testing.assert_close(told, row(4 / 9, 3 / 9, 2 / 9, 0.0))
    alone = Sampler(top_p=0.5, reference_rule=True).probabilities(logits)
    torch.testing.assert_close(alone, row(4 / 7, 3 / 7, 0.0, 0.0))


def test_ties_with_the_k_th_stay() -> None:
    odds = Sampler(top_k=2).probabilities(row(3.0, 1.0, 2.0, 2.0, 2.0))
    assert (odds > 0).tolist() == [[True, False, True, True, True]]


def test_top_k_is_capped_at_the_vocabulary() -> None:
    logits = row(0.0, 1.0, 2.0)
    torch.testing.assert_close(Sampler(top_k=50).probabilities(logits), logits.softmax(-1))


def test_the_token_that_crosses_p_is_kept() -> None:
    logits = torch.log(row(0.5, 0.3, 0.2))
    assert (Sampler(top_p=0.45).probabilities(logits) > 0).sum() == 1
    assert (Sampler(top_p=0.6).probabilities(logits) > 0).sum() == 2
    assert (Sampler(top_p=0.9).probabilities(logits) > 0).sum() == 3
    assert (Sampler(top_p=1e-6).probabilities(logits) > 0).sum() == 1  # never none


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 40), st.floats(0.1, 5), st.integers(0, 50), st.floats(0.05, 1))
def test_probabilities_equal_the_slow_ones(seed: int, size: int, temperature: float, top_k: int, top_p: float) -> None:
    logits = torch.from_numpy(np.random.default_rng(seed).normal(0, 2, (3, size)))
    given_ = Sampler(temperature, top_k, top_p).probabilities(logits).numpy()
    for fast, raw in zip(given_, logits.numpy(), strict=True):
        slow = slow_probabilities(raw, temperature, top_k, top_p)
        mass = np.sort(slow_probabilities(raw, temperature, top_k))[::-1].cumsum()
        if np.abs(mass - top_p).min() > 1e-5:  # else the last bit of a sum decides whether a token is kept
            np.testing.assert_allclose(fast, slow, atol=1e-5)


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan"), float("inf")])
def test_temperatures_that_mean_nothing(temperature: float) -> None:
    with pytest.raises(ConfigError, match="temperature"):
        Sampler.of(temperature, 0, 1.0)


@pytest.mark.parametrize("top_k", [-1, 2.5])
def test_top_k_that_means_nothing(top_k: int) -> None:
    with pytest.raises(ConfigError, match="top_k"):
        Sampler.of(1.0, top_k, 1.0)


@pytest.mark.parametrize("top_p", [0.0, -0.1, 1.1, float("nan")])
def test_top_p_that_means_nothing(top_p: float) -> None:
    with pytest.raises(ConfigError, match="top_p"):
        Sampler.of(1.0, 0, top_p)


def test_none_is_off() -> None:
    assert Sampler.of(1.0, None, None) == Sampler(1.0, 0, 1.0)


# The choice --------------------------------------------------------------------


def test_greedy_choice_is_the_largest_logit() -> None:
    logits = torch.randn(50, 32, generator=torch.Generator().manual_seed(0))
    for uniform in (0.0, 0.5, 1 - 2**-24):
        assert torch.equal(Sampler(top_k=1).choose(logits, torch.full((50,), uniform)), logits.argmax(-1))


def test_a_token_without_probability_is_never_chosen() -> None:
    logits = row(*[float("-inf")] * 3, 1.0, float("-inf"), 0.0, *[float("-inf")] * 3)
    edges = [0.0, 1e-7, 0.25, 0.5, 0.73, 0.74, 1 - 2**-24]
    chosen = Sampler().choose(logits.expand(len(edges), -1), torch.tensor(edges))
    assert set(chosen.tolist()) == {3, 5}
    narrow = Sampler(top_k=3).choose(torch.randn(2000, 64), torch.rand(2000))
    assert narrow.max() < 64


def test_fast_choice_is_slow_choice() -> None:
    rng = np.random.default_rng(0)
    logits, uniforms = rng.normal(0, 2, (400, 40)).astype(np.float32), rng.random(400).astype(np.float32)
    for top_k, top_p in ((0, 1.0), (7, 1.0), (0, 0.8)):
        sampler = Sampler(1.3, top_k, top_p)
        fast = sampler.choose(torch.from_numpy(logits), torch.from_numpy(uniforms)).tolist()
        slow = [slow_choice(one, u, 1.3, top_k, top_p) for one, u in zip(logits, uniforms, strict=True)]
        assert fast == slow


@pytest.mark.parametrize("sampler", [Sampler(), Sampler(0.6), Sampler(top_k=6), Sampler(top_p=0.7)], ids=repr)
def test_frequencies_agree_with_probabilities(sampler: Sampler) -> None:
    logits = torch.randn(1, 24, generator=torch.Generator().manual_seed(3))
    draws = torch.from_numpy(uniform_numbers(5, [17, 18], range(2000), 10)).flatten()
    chosen = sampler.choose(logits.expand(len(draws), -1), draws)
    odds = slow_probabilities(logits[0].numpy(), sampler.temperature, sampler.top_k, sampler.top_p)
    counts = np.bincount(chosen.numpy(), minlength=24)
    assert counts[odds == 0].sum() == 0
    possible = odds > 0
    assert stats.chisquare(counts[possible], odds[possible] * len(draws)).pvalue > 1e-3


# Numbers that belong to a place --------------------------------------------------------------------


def test_numbers_are_uniform() -> None:
    numbers = uniform_numbers(0, [series_key(b"a"), series_key(b"b"), 0, 1], range(100), 50)
    assert numbers.shape == (4, 100, 50, 2)
    assert numbers.dtype == np.float32
    assert numbers.min() >= 0
    assert numbers.max() < 1
    assert stats.kstest(numbers.ravel(), "uniform").pvalue > 1e-3
    for part in (numbers[0], numbers[2], numbers[..., 0], numbers[..., 1], numbers[:, 0], numbers[:, :, 0]):
        assert stats.kstest(part.ravel(), "uniform").pvalue > 1e-3


def test_neighbours_are_not_alike() -> None:
    """Counters and keys that differ by one are the hard case for a hash."""
    numbers = np.stack([uniform_numbers(seed, range(20), range(40), 30) for seed in range(-2, 4)]).astype(np.float64)
    for axis in range(numbers.ndim):
        first, second = (np.delete(numbers, edge, axis=axis).ravel() for edge in (-1, 0))
        correlation = np.corrcoef(first, second)[0, 1]
        assert abs(correlation) < 4.5 / len(first) ** 0.5, ("seed", "series", "path", "step", "level")[axis]
    assert len(np.unique(numbers)) > 0.98 * numbers.size  # 24 bits: a few chance repetitions and no copied stretch


def test_numbers_do_not_depend_on_the_split() -> None:
    whole = uniform_numbers(9, [3, 4, 5], range(10), 6)
    for first, stop in ((0, 4), (4, 10), (9, 10)):
        np.testing.assert_array_equal(uniform_numbers(9, [3, 4, 5], range(first, stop), 6), whole[:, first:stop])
    np.testing.assert_array_equal(uniform_numbers(9, [5, 3], range(10), 6), whole[[2, 0]])
    np.testing.assert_array_equal(uniform_numbers(9, [3, 4, 5], range(10), 3), whole[:, :, :3])


def test_any_whole_seed_will_do() -> None:
    seeds = (0, 1, -1, 2**63, 2**64 - 2, 10**9)
    drawn = [uniform_numbers(seed, [1], range(3), 4) for seed in seeds]
    assert len({one.tobytes() for one in drawn}) == len(seeds)
    np.testing.assert_array_equal(uniform_numbers(np.int64(7), [1], range(3), 4), uniform_numbers(7, [1], range(3), 4))


def test_keys_follow_content() -> None:
    assert series_key(b"ab", b"c") == series_key(b"ab", b"c") != series_key(b"abd", b"c")
    assert 0 <= series_key(b"") < 2**64

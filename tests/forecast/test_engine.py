"""The cache changes nothing: fast generation equals slow generation, token by token, whatever runs the networks."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from kronos.errors import ConfigError
from kronos.forecast import Engine, Prompt, Sampler
from kronos.forecast.backends import make_backend
from kronos.forecast.backends.eager import EagerBackend
from kronos.model import Cache, CacheShape, FoldedKronos, FoldedTokenizer, Kronos, KronosTokenizer
from reference import (
    BACKENDS,
    TRAINED,
    backend_of,
    banded_context,
    banded_fine,
    random_stamps,
    slow_bars,
    slow_probabilities,
    slow_tokens,
    tiny_network,
    tiny_tokenizer,
)

GREEDY = Sampler(top_k=1)


def ragged(
    rng: np.random.Generator, lengths: Sequence[int], horizons: Sequence[int], bits: tuple[int, int] = (5, 5)
) -> list[Prompt]:
    """Series with random tokens, stamps and keys."""
    return [
        Prompt(
            *(torch.from_numpy(rng.integers(0, 2**b, length)) for b in bits),
            random_stamps(rng, 1, length + horizon)[0],
            int(rng.integers(0, 2**60)),
        )
        for length, horizon in zip(lengths, horizons, strict=True)
    ]


def alike(rng: np.random.Generator, series: int, length: int, horizon: int) -> list[Prompt]:
    return ragged(rng, [length] * series, [horizon] * series)


def engine(network: Kronos, max_context: int, sampler: Sampler, *rest: Any, backend: str = "torch") -> Engine:
    return Engine(network, backend_of(backend, network, tiny_tokenizer()), max_context, sampler, *rest)


def compare(
    backend: str,
    network: Kronos,
    tokenizer: KronosTokenizer,
    prompts: Sequence[Prompt],
    paths: int,
    max_context: int,
    overflow: str,
    **sampling: Any,
) -> None:
    """Tokens equal, bars within 1e-4, all series written together against one at a time."""
    runner = Engine(
        network, backend_of(backend, network, tokenizer), max_context, Sampler(**sampling), overflow, seed=3
    )
    tokens, bars = runner.generate(prompts, range(paths)), runner.run(prompts, paths)
    slide = overflow == "slide"
    for prompt, (s1, s2), decoded in zip(prompts, tokens, bars, strict=True):
        alone = (prompt.s1[None], prompt.s2[None])
        slow = slow_tokens(
            network, *alone, prompt.stamps[None], [prompt.key], paths, max_context, 3, slide=slide, **sampling
        )
        assert torch.equal(s1, slow[0][0])
        assert torch.equal(s2, slow[1][0])
        expected = slow_bars(tokenizer, *alone, *slow, max_context)[0]
        torch.testing.assert_close(decoded, expected, rtol=1e-4, atol=1e-4)


SHAPES = {  # series, look-back, horizon, max_context
    "far from full": (3, 12, 6, 64),
    "just full at the end": (2, 12, 6, 18),
    "overflows": (2, 12, 9, 15),
    "look-back fills the window": (2, 16, 5, 16),
    "horizon beyond the context": (1, 6, 21, 8),
    "horizon is the context": (2, 5, 8, 8),
    "odd context, long horizon": (1, 7, 17, 7),
    "context of one": (2, 1, 4, 1),
    "context of two": (1, 2, 5, 2),
    "context of three, one bar known": (2, 1, 8, 3),
    "one bar ahead": (3, 9, 1, 9),
}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("overflow", ["exact", "slide"])
@pytest.mark.parametrize("own", [{}, TRAINED], ids=["published", "trained"])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_greedy_generation(shape: tuple[int, int, int, int], own: dict[str, Any], overflow: str, backend: str) -> None:
    series, length, horizon, max_context = shape
    given = alike(np.random.default_rng(0), series, length, horizon)
    compare(backend, tiny_network(**own), tiny_tokenizer(), given, 1, max_context, overflow, top_k=1)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("seed", range(24))
def test_sampled_generation_of_random_ragged_batches(seed: int, backend: str) -> None:
    rng = np.random.default_rng(seed)
    bits = (int(rng.integers(3, 6)), int(rng.integers(3, 6)))
    network = tiny_network(
        seed,
        bits=bits,
        n_layers=int(rng.integers(1, 4)),
        n_heads=int(rng.choice([1, 2, 4])),
        learn_te=bool(rng.integers(2)),
        sibling_form=str(rng.choice(["published", "trained"])),
        stamp_of=str(rng.choice(["bar", "next"])),
    )
    tokenizer = tiny_tokenizer(seed, layers=int(rng.integers(1, 4)), bits=bits)
    series = int(rng.integers(1, 6))
    lengths, horizons = rng.integers(1, 12, series).tolist(), rng.integers(1, 12, series).tolist()
    max_context = max(lengths) + int(rng.integers(0, 6))
    given = ragged(rng, lengths, horizons, bits)
    sampling = [{}, {"temperature": 0.7, "top_p": 0.9}, {"top_k": 5}, {"top_k": 6, "top_p": 0.6}][seed % 4]
    for overflow in ("exact", "slide"):
        compare(backend, network, tokenizer, given, int(rng.integers(1, 4)), max_context, overflow, **sampling)


@torch.no_grad()
@pytest.mark.parametrize("form", ["published", "trained"])
@pytest.mark.parametrize("chunks", [[1] * 9, [3, 2, 4], [9]])
def test_logits_over_the_cache(form: str, chunks: list[int]) -> None:
    """Two paths of three series with look-backs of 7, 7 and 4 bars, several bars at once."""
    network = tiny_network(sibling_form=form)
    folded, lengths, paths = FoldedKronos(network), [7, 7, 4], 2
    given = ragged(np.random.default_rng(1), [16] * 6, [0] * 6)
    for row in range(6):  # the paths of a series begin alike
        for column in (given[row].s1, given[row].s2, given[row].stamps):
            source = getattr(given[row - row % 2], {1: "s1", 2: "stamps"}[column.ndim])
            if column is given[row].s2:
                source = given[row - row % 2].s2
            column[: lengths[row // 2]] = source[: lengths[row // 2]]
    cache = Cache(CacheShape(lengths, paths, 9), folded.cache_layers(), folded.norm)
    for series, length in enumerate(lengths):
        one = given[series * paths]
        folded.read(one.s1[None, :length], one.s2[None, :length], one.stamps[None, :length], cache, series)
    rows = [(prompt, lengths[row // 2]) for row, prompt in enumerate(given)]
    done = 0
    for count in chunks:
        new = [slice(length + done, length + done + count) for _, length in rows]
        s1, s2, stamps = (
            torch.stack([getattr(prompt, name)[part] for (prompt, _), part in zip(rows, new, strict=True)])
            for name in ("s1", "s2", "stamps")
        )
        context = folded.follow(s1, s2, folded.times(stamps), cache)
        done += count
        chosen = torch.arange(6) * 3
        fast1, fast2 = folded.s1_logits(context), folded.s2_logits(context, chosen, cache)
        for row, (prompt, length) in enumerate(rows):
            window = (column[None, : length + done] for column in (prompt.s1, prompt.s2, prompt.stamps))
            logits, slow = network.decode_s1(*window)
            torch.testing.assert_close(fast1[row], logits[0, -1], rtol=1e-4, atol=1e-4)
            fine = network.decode_s2(slow, chosen[row : row + 1, None])[0, -1]
            torch.testing.assert_close(fast2[row], fine, rtol=1e-4, atol=1e-4)
    assert cache.length == 16


@torch.no_grad()
@pytest.mark.parametrize("form", ["published", "trained"])
def test_the_sliding_window_s_own_definition(form: str) -> None:
    """Logits, not only tokens: no bar sees more than max_context bars, and positions go on counting."""
    network, width = tiny_network(sibling_form=form), 8
    folded = FoldedKronos(network)
    s1, s2 = torch.randint(0, 32, (2, 1, 20), generator=torch.Generator().manual_seed(0))
    stamps = random_stamps(np.random.default_rng(5), 1, 20)
    cache = Cache(CacheShape([6], 1, 14), folded.cache_layers(), folded.norm)
    folded.read(s1[:, :6], s2[:, :6], stamps[:, :6], cache, 0)
    for count in range(7, 21):
        new = slice(count - 1, count)
        cache.start = max(count - width, 0)
        context = folded.follow(s1[:, new], s2[:, new], folded.times(stamps[:, new]), cache)
        slow = banded_context(network, s1[:, :count], s2[:, :count], stamps[:, :count], width)
        torch.testing.assert_close(context, slow[:, -1:], rtol=1e-4, atol=1e-4)
        fine = folded.s2_logits(context, torch.tensor([9]), cache)[0]
        torch.testing.assert_close(fine, banded_fine(network, slow, 9, width), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("backend", BACKENDS)
def test_sliding_is_exact_until_the_window_is_full_and_another_function_after(backend: str) -> None:
    given, network = alike(np.random.default_rng(7), 4, 10, 24), tiny_network()
    exact, slide = (
        engine(network, 16, Sampler(), overflow, 1, backend=backend).generate(given, range(4))
        for overflow in ("exact", "slide")
    )
    for kept, slid in zip(exact, slide, strict=True):
        for level in (0, 1):
            assert torch.equal(kept[level][:, :7], slid[level][:, :7])  # the step that fills the window included
    assert not all(torch.equal(kept[0], slid[0]) for kept, slid in zip(exact, slide, strict=True))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("overflow", ["exact", "slide"])
@pytest.mark.parametrize(("rows", "budget"), [(1 << 20, 1), (1 << 20, 20_000), (1 << 20, 60_000), (3, 1 << 30)])
def test_splitting_the_work_changes_nothing(
    overflow: str, rows: int, budget: int, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = ragged(np.random.default_rng(3), [10, 4, 10, 12, 7], [9, 9, 3, 9, 12])
    runner = engine(tiny_network(), 14, Sampler(), overflow, 11, backend=backend)
    whole, told = runner.run(given, 7), []
    sizes: list[tuple[int, int]] = []
    generate = Engine.generate

    def spy(self: Engine, some: Sequence[Prompt], paths: range, tick: Any) -> Any:
        sizes.append((len(some), len(paths)))
        return generate(self, some, paths, tick)

    monkeypatch.setattr(Engine, "generate", spy)
    monkeypatch.setattr(type(runner.backend), "rows", property(lambda self: rows))
    monkeypatch.setattr(type(runner.backend), "budget", property(lambda self: budget))
    split = runner.run(given, 7, told.append)
    for one, other in zip(split, whole, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
    assert sum(told) == 7 * (9 + 9 + 3 + 9 + 12)
    assert sum(series * paths for series, paths in sizes) == 5 * 7
    assert len(sizes) > 1
    if budget == 1:
        assert sizes == [(1, 1)] * 35
    if rows == 3:
        assert max(series * paths for series, paths in sizes) == 3


@pytest.mark.parametrize("backend", BACKENDS)
def test_numbers_hang_on_the_key_and_not_on_the_company(backend: str) -> None:
    given, network = ragged(np.random.default_rng(3), [10, 6, 10, 3], [6, 6, 2, 5]), tiny_network()
    runner = engine(network, 32, Sampler(), "exact", 2, backend=backend)
    whole = runner.run(given, 5)
    for one, together in zip(given, whole, strict=True):
        torch.testing.assert_close(runner.run([one], 5)[0], together, rtol=1e-4, atol=1e-5)
    for fewer, together in zip(runner.run(given[::-1], 3), whole[::-1], strict=True):
        torch.testing.assert_close(fewer, together[:3], rtol=1e-4, atol=1e-5)
    other = replace(runner, seed=3).run(given, 5)
    assert (other[0] - whole[0]).abs().max() > 0.01


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("stamp_of", ["bar", "next"])
def test_which_stamp_the_first_forecast_bar_hears_of(stamp_of: str, backend: str) -> None:
    """Told its own time, a bar's logits know the last known bar's; told the next, they know the forecast bar's."""
    given = alike(np.random.default_rng(9), 1, 8, 1)[0]
    stamps = given.stamps.clone()
    stamps[8] = torch.tensor([1, 2, 3, 4, 5])
    runner = engine(tiny_network(stamp_of=stamp_of, seed=4), 16, Sampler(), backend=backend)
    first, second = (runner.generate([one], range(64))[0] for one in (given, replace(given, stamps=stamps)))
    assert all(map(torch.equal, first, second)) == (stamp_of == "bar")


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_happened_before_the_window_does_not_matter(backend: str) -> None:
    """With exact overflow and one bar of context, every bar depends on the bar before it alone."""
    given, network = alike(np.random.default_rng(1), 1, 1, 3), tiny_network()
    s1, s2 = engine(network, 1, GREEDY, backend=backend).generate(given, range(1))[0]
    assert s1.shape == (1, 3)
    logits, context = network.decode_s1(s1[:, 1:2], s2[:, 1:2], given[0].stamps[None, 2:3])
    assert int(logits[0, -1].argmax()) == int(s1[0, 2])
    assert int(network.decode_s2(context, s1[:, 2:3])[0, -1].argmax()) == int(s2[0, 2])


@torch.no_grad()
def test_the_tokenizer_s_decoding_cache() -> None:
    tokenizer = tiny_tokenizer(layers=3)
    folded = FoldedTokenizer(tokenizer)
    s1, s2 = torch.randint(0, 32, (2, 6, 12), generator=torch.Generator().manual_seed(0))
    s1[:, :5], s2[:, :5] = s1[::2, :5].repeat_interleave(2, 0), s2[::2, :5].repeat_interleave(2, 0)
    cache = Cache(CacheShape([5] * 3, 2, 7), folded.cache_layers(), s1.new_empty(0, dtype=torch.float32))
    folded.read(s1[::2, :5], s2[::2, :5], cache, 0)
    parts = [folded.follow(s1[:, a:b], s2[:, a:b], cache) for a, b in ((5, 6), (6, 10), (10, 12))]
    whole = tokenizer.decode([s1, s2], half=True)
    torch.testing.assert_close(torch.cat(parts, 1), whole[:, 5:], rtol=1e-4, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("bars_together", [1, 8, 64])
def test_encoding_and_decoding_look_backs_of_all_lengths(
    backend: str, bars_together: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kronos.forecast.backends.eager._BARS_TOGETHER", {"cpu": bars_together})
    tokenizer, rng = tiny_tokenizer(layers=3), np.random.default_rng(0)
    runner = backend_of(backend, tiny_network(), tokenizer)
    inputs = [torch.from_numpy(rng.normal(size=(n, 6))).float() for n in (7, 7, 7, 3, 9, 9, 1)]
    tokens = runner.encode(inputs)
    for x, (s1, s2) in zip(inputs, tokens, strict=True):
        slow = tokenizer.encode(x[None], half=True)
        assert torch.equal(s1, slow[0][0])
        assert torch.equal(s2, slow[1][0])
    new1, new2 = torch.from_numpy(rng.integers(0, 32, (2, len(inputs), 5, 4)))
    bars = runner.decode(tokens, new1, new2)
    for n, old in enumerate(tokens):
        for path in range(5):
            whole = [torch.cat([old[0], new1[n, path]])[None], torch.cat([old[1], new2[n, path]])[None]]
            expected = tokenizer.decode(whole, half=True)[0, -4:]
            torch.testing.assert_close(bars[n, path], expected, rtol=1e-4, atol=1e-5)


SETTINGS = {
    "as it is": {},
    "temperature": {"temperature": 1.7},
    "top k": {"top_k": 6},
    "top p": {"top_p": 0.7},
    "all": {"temperature": 0.8, "top_k": 12, "top_p": 0.85},
}


@torch.no_grad()
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("sampling", SETTINGS.values(), ids=SETTINGS)
def test_frequencies_of_sampled_tokens(sampling: dict[str, Any], backend: str) -> None:
    """Chi-square over many draws: the next bar's coarse token, then its fine token given the commonest coarse one."""
    network, draws = tiny_network(6), 4000
    for weight in (network.head.proj_s1.weight, network.head.proj_s2.weight):
        weight /= 3  # many tokens are likely
    given = alike(np.random.default_rng(2), 1, 9, 1)
    s1, s2 = engine(network, 32, Sampler(**sampling), "exact", 5, backend=backend).generate(given, range(draws))[0]
    logits, context = network.decode_s1(given[0].s1[None], given[0].s2[None], given[0].stamps[None, :9])
    agree(s1[:, 0], slow_probabilities(logits[0, -1].numpy(), **sampling))
    commonest = s1[:, 0].mode().values
    fine = network.decode_s2(context, commonest[None, None])[0, -1]
    agree(s2[s1[:, 0] == commonest, 0], slow_probabilities(fine.numpy(), **sampling))


def agree(tokens: torch.Tensor, odds: Any) -> None:
    """Tokens that cannot be drawn were not; the others as often as they should, the rare ones taken together."""
    counts = np.bincount(tokens.numpy(), minlength=len(odds))
    assert counts[odds == 0].sum() == 0
    expected = odds * counts.sum()
    rare = expected < 5
    seen, wanted = (np.append(part[~rare], part[rare].sum()) for part in (counts, expected))
    some = wanted > 0
    assert some.sum() > 2
    assert stats.chisquare(seen[some], wanted[some]).pvalue > 1e-3


def test_an_unnamed_policy_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"'rolling'.*exact, slide"):
        engine(tiny_network(), 8, GREEDY, "rolling")


def test_unnamed_backends_and_precisions_are_refused() -> None:
    for how, words in (({"backend": "jax"}, "'jax'.*torch"), ({"precision": "float8"}, "'float8'.*int8")):
        with pytest.raises(ConfigError, match=words):
            make_backend(
                name=how.get("backend", "torch"),
                precision=how.get("precision", "float32"),
                network=tiny_network(),
                tokenizer=tiny_tokenizer(),
            )
    assert isinstance(make_backend("torch", tiny_network(), tiny_tokenizer()), EagerBackend)

"""The cache changes nothing: fast generation equals slow generation, token by token."""

from typing import Any

import numpy as np
import pytest
import torch

from kronos.errors import ConfigError
from kronos.forecast import Engine, Prompt, Sampler, engine
from kronos.model import Cache, Kronos
from reference import (
    TRAINED,
    banded_context,
    banded_fine,
    random_stamps,
    slow_bars,
    slow_tokens,
    tiny_network,
    tiny_tokenizer,
)

GREEDY = Sampler(top_k=1)


def prompt(rng: np.random.Generator, series: int, length: int, horizon: int, bits: tuple[int, int] = (5, 5)) -> Prompt:
    s1, s2 = (torch.from_numpy(rng.integers(0, 2**b, (series, length))) for b in bits)
    return Prompt(
        s1, s2, random_stamps(rng, series, length + horizon), [int(k) for k in rng.integers(0, 2**60, series)]
    )


def compare(
    network: Kronos, tokenizer: Any, given: Prompt, paths: int, max_context: int, overflow: str, **sampling: Any
) -> None:
    """Tokens equal, bars within 1e-4."""
    fast = Engine(network, tokenizer, max_context, Sampler(**sampling), overflow, seed=3)
    slow1, slow2 = slow_tokens(
        network,
        given.s1,
        given.s2,
        given.stamps,
        given.keys,
        paths,
        max_context,
        3,
        slide=overflow == "slide",
        **sampling,
    )
    s1, s2 = fast.generate(given, range(paths))
    assert torch.equal(s1, slow1)
    assert torch.equal(s2, slow2)
    bars = slow_bars(tokenizer, given.s1, given.s2, slow1, slow2, max_context)
    torch.testing.assert_close(fast.run(given, paths), bars, rtol=1e-4, atol=1e-4)


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


@pytest.mark.parametrize("overflow", ["exact", "slide"])
@pytest.mark.parametrize("own", [{}, TRAINED], ids=["published", "trained"])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_greedy_generation(shape: tuple[int, int, int, int], own: dict[str, Any], overflow: str) -> None:
    series, length, horizon, max_context = shape
    given = prompt(np.random.default_rng(0), series, length, horizon)
    compare(tiny_network(**own), tiny_tokenizer(), given, 1, max_context, overflow, top_k=1)


@pytest.mark.parametrize("seed", range(16))
def test_sampled_generation_of_random_shapes(seed: int) -> None:
    rng = np.random.default_rng(seed)
    bits = (int(rng.integers(3, 6)), int(rng.integers(3, 6)))
    heads = int(rng.choice([1, 2, 4]))
    network = tiny_network(
        seed,
        bits=bits,
        n_layers=int(rng.integers(1, 4)),
        n_heads=heads,
        learn_te=bool(rng.integers(2)),
        sibling_form=str(rng.choice(["published", "trained"])),
        stamp_of=str(rng.choice(["bar", "next"])),
    )
    tokenizer = tiny_tokenizer(seed, layers=int(rng.integers(1, 4)), bits=bits)
    length = int(rng.integers(1, 12))
    max_context = length + int(rng.integers(0, 6))
    given = prompt(rng, int(rng.integers(1, 4)), length, int(rng.integers(1, 12)), bits)
    sampling = [{}, {"temperature": 0.7, "top_p": 0.9}, {"top_k": 5}, {"top_k": 6, "top_p": 0.6}][seed % 4]
    for overflow in ("exact", "slide"):
        compare(network, tokenizer, given, int(rng.integers(1, 4)), max_context, overflow, **sampling)


@torch.no_grad()
@pytest.mark.parametrize("form", ["published", "trained"])
def test_logits_over_the_cache(form: str) -> None:
    network = tiny_network(sibling_form=form)
    given = prompt(np.random.default_rng(1), 3, 7, 9)
    whole = prompt(np.random.default_rng(2), 6, 16, 0)
    paths, cache = 2, network.new_cache()
    s1 = torch.cat([given.s1.repeat_interleave(paths, 0), whole.s1[:, 7:]], 1)  # (6, 16): two paths a series
    s2 = torch.cat([given.s2.repeat_interleave(paths, 0), whole.s2[:, 7:]], 1)
    stamp = given.stamps.repeat_interleave(paths, 0)
    context = network.advance(given.s1, given.s2, given.stamps[:, :7], cache)
    cache.expand(paths, 9)
    context = context.repeat_interleave(paths, 0)
    for count in range(7, 16):
        logits, window = network.decode_s1(s1[:, :count], s2[:, :count], stamp[:, :count])
        torch.testing.assert_close(network.s1_logits(context), logits[:, -1], rtol=1e-4, atol=1e-4)
        wanted = network.decode_s2(window, s1[:, count : count + 1])[:, -1]
        torch.testing.assert_close(network.s2_logits(context, s1[:, count], cache), wanted, rtol=1e-4, atol=1e-4)
        new = slice(count, count + 1)
        context = network.advance(s1[:, new], s2[:, new], stamp[:, new], cache)


@torch.no_grad()
@pytest.mark.parametrize("form", ["published", "trained"])
@pytest.mark.parametrize("chunks", [[7, 3, 2, 4], [1, 15], [16]])
def test_several_bars_at_once_over_the_cache(form: str, chunks: list[int]) -> None:
    network = tiny_network(sibling_form=form)
    given = prompt(np.random.default_rng(1), 2, 16, 0)
    cache, first = network.new_cache(), 0
    for count in chunks:
        new = slice(first, first + count)
        context = network.advance(given.s1[:, new], given.s2[:, new], given.stamps[:, new], cache)
        if not first:
            cache.expand(1, 16)
        first += count
        _, wanted = network.decode_s1(given.s1[:, :first], given.s2[:, :first], given.stamps[:, :first])
        torch.testing.assert_close(context, wanted[:, -1:], rtol=1e-4, atol=1e-5)
    assert cache.length == 16


@torch.no_grad()
@pytest.mark.parametrize("form", ["published", "trained"])
def test_the_sliding_window_s_own_definition(form: str) -> None:
    """Logits, not only tokens: no bar sees more than max_context bars, and positions go on counting."""
    network, width = tiny_network(sibling_form=form), 8
    given = prompt(np.random.default_rng(5), 1, 20, 0)
    cache = network.new_cache()
    context = network.advance(given.s1[:, :6], given.s2[:, :6], given.stamps[:, :6], cache)
    cache.expand(1, 20)
    for count in range(7, 21):
        new = slice(count - 1, count)
        cache.start = max(count - width, 0)
        context = network.advance(given.s1[:, new], given.s2[:, new], given.stamps[:, new], cache)
        slow = banded_context(network, given.s1[:, :count], given.s2[:, :count], given.stamps[:, :count], width)
        torch.testing.assert_close(context, slow[:, -1:], rtol=1e-4, atol=1e-4)
        fine = network.s2_logits(context, torch.tensor([9]), cache)[0]
        torch.testing.assert_close(fine, banded_fine(network, slow, 9, width), rtol=1e-4, atol=1e-4)


def test_sliding_is_exact_until_the_window_is_full_and_another_function_after() -> None:
    given = prompt(np.random.default_rng(7), 4, 10, 24)
    network, tokenizer = tiny_network(), tiny_tokenizer()
    exact, slide = (
        Engine(network, tokenizer, 16, Sampler(), overflow, 1).generate(given, range(4))
        for overflow in ("exact", "slide")
    )
    for fast, slow in zip(exact, slide, strict=True):
        assert torch.equal(fast[..., :7], slow[..., :7])  # the step that fills the window included
    assert not torch.equal(exact[0], slide[0])


@pytest.mark.parametrize("overflow", ["exact", "slide"])
@pytest.mark.parametrize("budget", [1, 20_000, 60_000])
def test_the_memory_budget_changes_nothing(overflow: str, budget: int, monkeypatch: pytest.MonkeyPatch) -> None:
    given = prompt(np.random.default_rng(3), 5, 10, 9)
    runner = Engine(tiny_network(), tiny_tokenizer(), 14, Sampler(), overflow, seed=11)
    whole, told = runner.run(given, 7), []
    sizes: list[tuple[int, int]] = []
    generate = Engine.generate

    def spy(self: Engine, some: Prompt, paths: range, tick: Any) -> Any:
        sizes.append((len(some.keys), len(paths)))
        return generate(self, some, paths, tick)

    monkeypatch.setattr(Engine, "generate", spy)
    monkeypatch.setattr(engine, "MEMORY_BUDGET", budget)
    split = runner.run(given, 7, told.append)
    torch.testing.assert_close(split, whole, rtol=1e-4, atol=1e-5)
    assert sum(told) == 5 * 7 * 9
    assert sum(series * paths for series, paths in sizes) == 5 * 7
    assert len(sizes) > 1
    if budget == 1:
        assert sizes == [(1, 1)] * 35


def test_numbers_hang_on_the_key_and_not_on_the_company() -> None:
    given = prompt(np.random.default_rng(3), 4, 10, 6)
    runner = Engine(tiny_network(), tiny_tokenizer(), 32, Sampler(), seed=2)
    whole = runner.run(given, 5)
    for row in range(4):
        torch.testing.assert_close(runner.run(given.part(slice(row, row + 1)), 5)[0], whole[row], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(runner.run(given, 3), whole[:, :3], rtol=1e-4, atol=1e-5)
    other = Engine(tiny_network(), tiny_tokenizer(), 32, Sampler(), seed=3).run(given, 5)
    assert (other - whole).abs().max() > 0.01


@pytest.mark.parametrize("stamp_of", ["bar", "next"])
def test_which_stamp_the_first_forecast_bar_hears_of(stamp_of: str) -> None:
    """Told its own time, a bar's logits know the last known bar's; told the next, they know the forecast bar's."""
    network, tokenizer = tiny_network(stamp_of=stamp_of, seed=4), tiny_tokenizer()
    given = prompt(np.random.default_rng(9), 1, 8, 1)
    stamps = given.stamps.clone()
    stamps[:, 8] = torch.tensor([1, 2, 3, 4, 5])
    moved = Prompt(given.s1, given.s2, stamps, given.keys)
    runner = Engine(network, tokenizer, 16, Sampler(), seed=0)
    first, second = (torch.stack(runner.generate(some, range(64))) for some in (given, moved))
    assert torch.equal(first, second) == (stamp_of == "bar")


def test_what_happened_before_the_window_does_not_matter() -> None:
    """With exact overflow and one bar of context, every bar depends on the bar before it alone."""
    given = prompt(np.random.default_rng(1), 1, 1, 3)
    network, tokenizer = tiny_network(), tiny_tokenizer()
    s1, s2 = Engine(network, tokenizer, 1, GREEDY).generate(given, range(1))
    assert s1.shape == (1, 1, 3)
    logits, context = network.decode_s1(s1[0, :, 1:2], s2[0, :, 1:2], given.stamps[:, 2:3])
    assert int(logits[0, -1].argmax()) == int(s1[0, 0, 2])
    assert int(network.decode_s2(context, s1[0, :, 2:3])[0, -1].argmax()) == int(s2[0, 0, 2])


@torch.no_grad()
def test_the_tokenizer_s_decoding_cache() -> None:
    tokenizer = tiny_tokenizer(layers=3)
    s1, s2 = torch.randint(0, 32, (2, 6, 12), generator=torch.Generator().manual_seed(0))
    s1[:, :5], s2[:, :5] = s1[::2, :5].repeat_interleave(2, 0), s2[::2, :5].repeat_interleave(2, 0)
    cache = Cache(tokenizer.decode_layers)
    parts = [tokenizer.decode_next(s1[::2, :5], s2[::2, :5], cache).repeat_interleave(2, 0)]
    cache.expand(2, 7)
    parts += [tokenizer.decode_next(s1[:, a:b], s2[:, a:b], cache) for a, b in ((5, 6), (6, 10), (10, 12))]
    whole = tokenizer.decode([s1, s2], half=True)
    torch.testing.assert_close(torch.cat(parts, 1), whole, rtol=1e-4, atol=1e-5)


def test_an_unnamed_policy_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"'rolling'.*exact, slide"):
        Engine(tiny_network(), tiny_tokenizer(), 8, GREEDY, "rolling")

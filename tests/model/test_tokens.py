"""Tokens and bits, what is no token, and what a padding mask hides."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from kronos.errors import ConfigError, TokenError
from kronos.model import Kronos, KronosTokenizer
from kronos.model.tokenizer import bits_to_tokens, tokens_to_bits
from reference import TRAINED, tiny_network, tiny_tokenizer

WRONG = {
    "too large": torch.tensor([[3, 32, 1]]),
    "negative": torch.tensor([[3, -1, 1]]),
    "float": torch.tensor([[3.0, 1.0, 1.0]]),
    "bool": torch.tensor([[True, False, True]]),
}
GOOD = torch.tensor([[3, 31, 0]])


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 40), st.data())
def test_bits_and_tokens_are_one_thing(bits: int, data: st.DataObject) -> None:
    numbers = data.draw(st.lists(st.integers(0, 2**bits - 1), min_size=1, max_size=20))
    spread = tokens_to_bits(torch.tensor(numbers), bits)
    assert spread.dtype == torch.bool
    assert spread.shape == (len(numbers), bits)
    assert bits_to_tokens(spread).tolist() == numbers
    for number, row in zip(numbers, spread.tolist(), strict=True):
        assert sum(2**i for i, bit in enumerate(row) if bit) == number


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 31), st.integers(0, 15)), min_size=1, max_size=12))
def test_the_single_number_is_both_tokens(pairs: list[tuple[int, int]]) -> None:
    tokenizer = tiny_tokenizer(bits=(5, 4))
    s1, s2 = torch.tensor(pairs)[None].unbind(-1)
    assert torch.equal(tokenizer.decode(s1 + 32 * s2), tokenizer.decode([s1, s2], half=True))


def test_encoding_in_halves_is_encoding() -> None:
    tokenizer = tiny_tokenizer(bits=(5, 4))
    x = torch.randn(3, 20, 6, generator=torch.Generator().manual_seed(1))
    s1, s2 = tokenizer.encode(x, half=True)
    assert torch.equal(tokenizer.encode(x), s1 + 32 * s2)
    assert len(s1.unique()) > 4
    assert int(s1.max()) < 32
    assert int(s2.max()) < 16
    assert torch.equal(tokenizer(x)[3], tokenizer.encode(x))
    torch.testing.assert_close(tokenizer(x)[0][1], tokenizer.decode([s1, s2], half=True))


def test_encoding_reads_no_later_bar() -> None:
    tokenizer = tiny_tokenizer(layers=3)
    x = torch.randn(2, 20, 6, generator=torch.Generator().manual_seed(1))
    changed = x.clone()
    changed[:, 12:] += 3
    assert torch.equal(tokenizer.encode(x)[:, :12], tokenizer.encode(changed)[:, :12])
    assert not torch.equal(tokenizer.encode(x), tokenizer.encode(changed))


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
@pytest.mark.parametrize(
    "call",
    [
        lambda net, tok, ids: tok.decode([ids, GOOD], half=True),
        lambda net, tok, ids: tok.decode([GOOD, ids], half=True),
        lambda net, tok, ids: net(ids, GOOD),
        lambda net, tok, ids: net(GOOD, ids),
        lambda net, tok, ids: net(GOOD, GOOD, use_teacher_forcing=True, s1_targets=ids),
        lambda net, tok, ids: net.decode_s1(ids, GOOD),
        lambda net, tok, ids: net.decode_s1(GOOD, ids),
        lambda net, tok, ids: net.decode_s2(net.decode_s1(GOOD, GOOD)[1], ids),
    ],
    ids=["decode s1", "decode s2", "forward s1", "forward s2", "targets", "decode_s1 s1", "decode_s1 s2", "decode_s2"],
)
def test_what_is_no_token(call: Callable[[Kronos, KronosTokenizer, Tensor], Any], wrong: Tensor) -> None:
    with pytest.raises(TokenError) as caught:
        call(tiny_network(), tiny_tokenizer(), wrong)
    assert "\n" not in str(caught.value)


def test_what_is_no_single_number_and_what_the_message_says() -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.decode(torch.tensor([[1023]]))
    with pytest.raises(TokenError, match=r"2 numbers lie outside 0\.\.1023, the first is 1024"):
        tokenizer.decode(torch.tensor([[5, 1024, -3]]))
    with pytest.raises(ValueError, match=r"integers, not torch\.float32"):
        tokenizer.decode(torch.tensor([[5.0]]))


def test_no_tokens_are_no_error() -> None:
    assert tokens_to_bits(torch.empty(2, 0, dtype=torch.long), 5).shape == (2, 0, 5)


def test_calls_that_make_no_sense() -> None:
    network = tiny_network()
    with pytest.raises(ConfigError, match="s1_targets"):
        network(GOOD, GOOD, use_teacher_forcing=True)
    _, context = network.decode_s1(GOOD, GOOD)
    with pytest.raises(ConfigError, match="1 or 3 coarse tokens a series, not 2"):
        network.decode_s2(context, GOOD[:, :2])
    logits = network(GOOD, GOOD)
    with pytest.raises(ConfigError, match="padding"):
        network.head.compute_loss(*logits, GOOD, GOOD, torch.ones_like(GOOD, dtype=torch.bool))


# Padding: true is padding, everywhere -------------------------------------------------------------------------------


def window(seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    source = torch.Generator().manual_seed(seed)
    s1, s2 = torch.randint(0, 32, (2, 3, 12), generator=source)
    return s1, s2, torch.randint(1, 7, (3, 12, 5), generator=source)


def changed_at(hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The same window with other tokens and stamps where it is hidden."""
    s1, s2, stamp = window()
    return (
        torch.where(hidden, (s1 + 7) % 32, s1),
        torch.where(hidden, (s2 + 5) % 32, s2),
        torch.where(hidden[..., None], 7 - stamp, stamp),
    )


@pytest.mark.parametrize("own", [{}, TRAINED], ids=["published", "trained"])
def test_padded_bars_influence_nobody(own: dict[str, Any]) -> None:
    network = tiny_network(**own)
    padding = torch.zeros(3, 12, dtype=torch.bool)
    padding[0, :5] = True  # before the series begins, as for short histories in a batch
    padding[1, 6:8] = True  # a hole
    (s1, s2, stamp), other = window(), changed_at(padding)
    seen = ~padding
    logits, context = network.decode_s1(s1, s2, stamp, padding)
    logits_too, context_too = network.decode_s1(*other, padding)
    torch.testing.assert_close(logits[seen], logits_too[seen])
    torch.testing.assert_close(context[seen], context_too[seen])
    for queries in (s1[:, -1:], s1):
        fine, fine_too = (network.decode_s2(c, queries, padding) for c in (context, context_too))
        keep = seen if queries.shape[1] > 1 else torch.ones(3, 1, dtype=torch.bool)
        torch.testing.assert_close(fine[keep], fine_too[keep])
    pair = [network(*some, padding, use_teacher_forcing=True, s1_targets=s1) for some in ((s1, s2, stamp), other)]
    for before, after in zip(*pair, strict=True):
        torch.testing.assert_close(before[seen], after[seen])
    # and it is the mask that does it
    unmasked, _ = network.decode_s1(s1, s2, stamp)
    changed, _ = network.decode_s1(*other)
    assert (unmasked[1, 8:] - changed[1, 8:]).abs().max() > 1e-3
    assert (unmasked[1, 8:] - logits[1, 8:]).abs().max() > 1e-3


def test_a_mask_without_padding_is_no_mask() -> None:
    network = tiny_network()
    s1, s2, stamp = window()
    nothing = torch.zeros_like(s1, dtype=torch.bool)
    plain, masked = network.decode_s1(s1, s2, stamp), network.decode_s1(s1, s2, stamp, nothing)
    torch.testing.assert_close(plain, masked)
    for queries in (s1, s1[:, -1:]):
        torch.testing.assert_close(network.decode_s2(plain[1], queries), network.decode_s2(plain[1], queries, nothing))


@pytest.mark.parametrize("own", [{}, TRAINED], ids=["published", "trained"])
def test_fully_padded_rows_are_finite(own: dict[str, Any]) -> None:
    network = tiny_network(**own)
    s1, s2, stamp = window()
    padding = torch.zeros_like(s1, dtype=torch.bool)
    padding[1] = True
    logits, context = network.decode_s1(s1, s2, stamp, padding)
    for numbers in (
        logits,
        context,
        network.decode_s2(context, s1, padding),
        network.decode_s2(context, s1[:, -1:], padding),
    ):
        assert numbers.isfinite().all()


def test_a_padded_bar_sees_itself_so_that_its_row_is_not_empty() -> None:
    network = tiny_network()
    s1, s2, stamp = window()
    padding = torch.ones_like(s1, dtype=torch.bool)
    hidden, plain = network.decode_s1(s1, s2, stamp, padding)[1], network.decode_s1(s1, s2, stamp)[1]
    torch.testing.assert_close(hidden[:, 0], plain[:, 0])  # the first bar has nothing else to look at in either


def test_padding_in_the_loss_leaves_the_mean_of_the_rest() -> None:
    network = tiny_network()
    s1, s2, stamp = window()
    padding = torch.rand(3, 12, generator=torch.Generator().manual_seed(2)) < 0.4
    logits = network(s1, s2, stamp, use_teacher_forcing=True, s1_targets=s1)
    parts = network.head.compute_loss(*logits, s1, s2, padding)
    for value, table, target in ((parts.s1, logits[0], s1), (parts.s2, logits[1], s2)):
        chosen = table.log_softmax(-1).gather(-1, target[..., None])[..., 0]
        torch.testing.assert_close(value, -chosen[~padding].mean())
    torch.testing.assert_close(parts.loss, (parts.s1 + parts.s2) / 2)


def test_sampled_siblings_follow_the_coarse_logits() -> None:
    """Without teacher forcing the fine logits are those of a coarse token that was drawn, not of the true one."""
    network = tiny_network()
    s1, s2, stamp = window()
    _, context = network.decode_s1(s1, s2, stamp)
    by_token = torch.stack([network.decode_s2(context, torch.full_like(s1, token)) for token in range(32)])
    torch.manual_seed(0)
    drawn = []
    for _ in range(3):
        fine = network(s1, s2, stamp)[1]
        distance = (by_token - fine).abs().amax(-1)  # (32, B, T)
        assert distance.min(0).values.max() < 1e-4  # every position's logits belong to some token
        drawn.append(distance.argmin(0))
    assert not torch.equal(drawn[0], drawn[1])
    torch.manual_seed(0)
    torch.testing.assert_close(
        network(s1, s2, stamp)[1],
        torch.stack([by_token[t, b, i] for b, row in enumerate(drawn[0].tolist()) for i, t in enumerate(row)]).view(
            3, 12, 32
        ),
    )

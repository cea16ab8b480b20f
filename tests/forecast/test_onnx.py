"""The backend "onnx": what is particular to it. The engine's own tests run over it, too."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kronos.errors import ConfigError, MissingExtra
from kronos.forecast import Engine, Prompt, Sampler
from kronos.forecast.backends import Lookback, make_backend
from kronos.forecast.backends.choosing import choose
from kronos.forecast.backends.onnx import OnnxBackend
from kronos.model import Kronos
from reference import TRAINED, random_stamps, tiny_network, tiny_tokenizer

runtime = pytest.importorskip("onnxruntime")
WIDE = {"d_model": 80, "n_heads": 4, "n_layers": 3, "ff_dim": 48}  # heads of 20: a pair of halves that must be padded


def prompts(lengths: Sequence[int], horizons: Sequence[int], seed: int = 0) -> list[Prompt]:
    rng = np.random.default_rng(seed)
    return [
        Prompt(
            *torch.from_numpy(rng.integers(0, 32, (2, length))),
            random_stamps(rng, 1, length + horizon)[0],
            int(rng.integers(0, 2**60)),
        )
        for length, horizon in zip(lengths, horizons, strict=True)
    ]


def tokens(name: str, network: Kronos, given: Sequence[Prompt], paths: int, overflow: str, precision: str) -> Any:
    runner = make_backend(name, network, tiny_tokenizer(), precision)
    return Engine(network, runner, 40, Sampler(top_p=0.95), overflow, seed=5).generate(given, range(paths))


@pytest.mark.parametrize("own", [{}, TRAINED], ids=["published", "trained"])
@pytest.mark.parametrize(
    ("lengths", "horizons", "paths", "overflow", "precision"),
    [
        ([33], [7], 1, "exact", "float32"),
        ([20, 31, 9, 31, 26], [6, 9, 3, 4, 9], 1, "exact", "int8"),
        ([20, 31, 9], [6, 9, 3], 4, "exact", "bfloat16"),
        ([40, 38, 12, 1], [6, 14, 20, 9], 2, "slide", "float32"),
    ],
)
def test_it_writes_what_torch_writes(
    lengths: list[int], horizons: list[int], paths: int, overflow: str, precision: str, own: dict[str, Any]
) -> None:
    network, series = tiny_network(**(WIDE | own)), prompts(lengths, horizons)
    one, other = (tokens(name, network, series, paths, overflow, precision) for name in ("torch", "onnx"))
    for mine, theirs in zip(other, one, strict=True):
        assert all(map(torch.equal, mine, theirs))


@torch.inference_mode()
@pytest.mark.parametrize("together", [1, 3])
def test_several_bars_at_once_are_read_like_one_by_one(together: int) -> None:
    """Whatever a writer has begun with, bars may come in any number."""
    backend, series = OnnxBackend(tiny_network(**WIDE), tiny_tokenizer()), prompts([9, 9, 5], [8, 8, 8])
    lookbacks = [Lookback(one.s1, one.s2, one.stamps) for one in series]
    new, uniforms = torch.arange(18).view(2, 3, 3) % 32, torch.full((3, 2), 0.4)
    writer = backend.writer(lookbacks, 1, 8, 40)
    writer.next(new[0, :, :0], new[1, :, :0], uniforms, Sampler())
    for first in range(0, 3, together):
        some = slice(first, first + together)
        found = writer.next(new[0, :, some], new[1, :, some], uniforms, Sampler())
    expected = backend.writer(lookbacks, 1, 8, 40).next(*new, uniforms, Sampler())  # bars at once: torch's turn
    assert all(map(torch.equal, found, expected))


def test_paths_share_their_look_back_where_copies_would_cost_more(monkeypatch: pytest.MonkeyPatch) -> None:
    network, series = tiny_network(**WIDE), prompts([30, 17], [5, 5])
    whole = tokens("onnx", network, series, 3, "exact", "float32")
    monkeypatch.setattr("kronos.forecast.backends.onnx._COPIES", 0)
    monkeypatch.setattr(OnnxBackend, "steps", lambda *_: pytest.fail("look-backs were copied"))
    for mine, theirs in zip(tokens("onnx", network, series, 3, "exact", "float32"), whole, strict=True):
        assert all(map(torch.equal, mine, theirs))


def test_sessions_are_made_once_and_only_when_bars_follow() -> None:
    network = tiny_network()
    backend = OnnxBackend(network, tiny_tokenizer())
    runner = Engine(network, backend, 16, Sampler())
    runner.generate(prompts([9], [1]), range(2))
    assert not backend._sessions
    runner.generate(prompts([9], [4]), range(2))
    made = backend.sessions(None)
    runner.generate(prompts([7, 7], [3, 3]), range(1))
    assert backend._sessions == {None: made}


@pytest.mark.parametrize("module", ["onnx", "onnxruntime"])
def test_a_missing_package_is_one_line_with_the_command(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> Any:
        if name == module:
            raise ModuleNotFoundError(f"No module named '{name}'", name=name)
        return runtime

    monkeypatch.setattr("kronos.extras.import_module", absent)
    with pytest.raises(MissingExtra, match=rf"'{module}'.*pip install 'kronos-candles\[onnx\]'"):
        make_backend("onnx", tiny_network(), tiny_tokenizer())


def test_it_runs_on_a_cpu_only() -> None:
    with pytest.raises(ConfigError, match=r"'onnx' runs on a CPU.*'meta'"):
        make_backend("onnx", tiny_network().to("meta"), tiny_tokenizer().to("meta"))


SAMPLERS = st.builds(
    Sampler,
    st.sampled_from([1.0, 0.5, 2.0]),
    st.sampled_from([0, 1, 2, 3, 100]),
    st.sampled_from([1.0, 0.9, 0.55, 0.01]),
    st.booleans(),
)


@given(SAMPLERS, st.integers(0, 2**32 - 1), st.booleans())
def test_choosing_in_numpy_is_choosing_in_torch(sampler: Sampler, seed: int, ties: bool) -> None:
    rng = np.random.default_rng(seed)
    rows, size = rng.integers(1, 9, 2)
    logits = (rng.integers(-2, 3, (rows, size)) if ties else rng.normal(0, 3, (rows, size))).astype(np.float32)
    uniforms = rng.random(rows, dtype=np.float32)
    uniforms[0] = rng.choice(np.array([0, 1 - 2**-24, uniforms[0]], dtype=np.float32))
    expected = sampler.choose(torch.from_numpy(logits), torch.from_numpy(uniforms))
    np.testing.assert_array_equal(choose(sampler, logits, uniforms), expected)

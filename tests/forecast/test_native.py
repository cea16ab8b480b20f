"""The C library: the same functions as torch's, in every shape, and clear words where it cannot be built."""

import os
import signal
import subprocess
import sys
import threading
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kronos import compiling
from kronos.errors import ConfigError, KronosWarning
from kronos.forecast import Engine, Prompt, Sampler
from kronos.forecast.backends import Backend, Lookback, make_backend
from kronos.forecast.backends.eager import EagerBackend
from kronos.forecast.native import SOURCES, library
from kronos.model import Kronos, KronosTokenizer
from reference import NO_DROPOUT, random_stamps, slow_choice, tiny_network, tiny_tokenizer

pytestmark = pytest.mark.skipif(not compiling.can_build(), reason="no C compiler on this machine")


def prompts(lengths: list[int], horizon: int, bits: int = 5) -> list[Prompt]:
    rng = np.random.default_rng(0)
    return [
        Prompt(
            *(torch.from_numpy(rng.integers(0, 2**bits, length)) for _ in range(2)),
            random_stamps(rng, 1, length + horizon)[0],
            number,
        )
        for number, length in enumerate(lengths)
    ]


def tokenizer_of(width: int, heads: int, hidden: int) -> KronosTokenizer:
    torch.manual_seed(1)
    return KronosTokenizer(
        d_in=6,
        d_model=width,
        n_heads=heads,
        ff_dim=hidden,
        n_enc_layers=3,
        n_dec_layers=3,
        **NO_DROPOUT,
        s1_bits=5,
        s2_bits=5,
        beta=0.05,
        gamma0=1.0,
        gamma=1.1,
        zeta=0.05,
        group_size=5,
    ).eval()


SIZES = {  # width, heads, hidden: head widths below, above and beside a panel; hidden layers that end within one
    "one head": (32, 1, 20),
    "heads of four": (24, 6, 17),
    "heads of twenty": (40, 2, 50),
    "heads of fifty-two, as in base": (104, 2, 130),
    "many heads": (64, 16, 64),
}


@pytest.mark.parametrize("own", [{}, {"sibling_form": "trained", "stamp_of": "next"}], ids=["published", "trained"])
@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_all_widths(size: tuple[int, int, int], own: dict[str, Any]) -> None:
    width, heads, hidden = size
    network = tiny_network(2, d_model=width, n_heads=heads, ff_dim=hidden, **own)
    same(network, tokenizer_of(*size), prompts([70, 33, 9, 70], 21), paths=7, max_context=80)


@pytest.mark.parametrize("paths", [1, 2, 5, 6, 8, 13])
@pytest.mark.parametrize("series", [1, 2, 3, 8, 9])
def test_all_counts_of_rows(series: int, paths: int) -> None:
    """Tiles take up to six rows, few rows are normed by every thread, one and two rows have tiles of their own."""
    same(tiny_network(4), tiny_tokenizer(4), prompts([20] * series, 3), paths=paths, max_context=40)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_all_counts_of_threads(threads: int) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        same(tiny_network(5), tiny_tokenizer(5), prompts([40, 17], 9), paths=9, max_context=44)
    finally:
        torch.set_num_threads(before)


def same(network: Kronos, tokenizer: KronosTokenizer, some: list[Prompt], paths: int, max_context: int) -> None:
    fast, slow = (make_backend(name, network, tokenizer) for name in ("native", "torch"))
    for sampler in (Sampler(), Sampler(0.8, top_p=0.9)):
        runs = [Engine(network, backend, max_context, sampler, "exact", 1) for backend in (fast, slow)]
        tokens = [run.generate(some, range(paths)) for run in runs]
        for ours, theirs in zip(*tokens, strict=True):
            assert torch.equal(ours[0], theirs[0])
            assert torch.equal(ours[1], theirs[1])
        for ours, theirs in zip(*(run.decode(some, tokens[0]) for run in runs), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    inputs = [torch.randn(length, 6, generator=torch.Generator().manual_seed(length)) for length in (3, 50)]
    for ours, theirs in zip(fast.encode(inputs), slow.encode(inputs), strict=True):
        assert torch.equal(torch.stack(ours), torch.stack(theirs))


@pytest.mark.parametrize("precision", ["bfloat16", "int8"])
def test_fewer_bits_mean_the_same_everywhere(precision: str) -> None:
    network, tokenizer, some = tiny_network(7), tiny_tokenizer(7), prompts([30, 12], 8)
    tokens = {}
    for name in ("native", "torch"):
        for held in (precision, "float32"):
            backend = make_backend(name, network, tokenizer, held)
            engine = Engine(network, backend, 64, Sampler(), seed=4)
            tokens[name, held] = engine.generate(some, range(40)), engine.decode(some, engine.generate(some, range(40)))
    for ours, theirs in zip(tokens["native", precision][0], tokens["torch", precision][0], strict=True):
        assert torch.equal(torch.stack(ours), torch.stack(theirs))
    for ours, theirs in zip(tokens["native", precision][1], tokens["torch", precision][1], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    exact = torch.stack(tokens["native", "float32"][0][0])
    assert not torch.equal(exact, torch.stack(tokens["native", precision][0][0]))


@settings(max_examples=150, deadline=None)
@given(
    st.integers(0, 10**6),
    st.integers(2, 70),
    st.floats(0.1, 5),
    st.integers(0, 80),
    st.one_of(st.just(1.0), st.floats(0.05, 1)),
    st.booleans(),
)
def test_the_choice(seed: int, size: int, temperature: float, top_k: int, top_p: float, tied: bool) -> None:
    """Against the slow choice; with ties, where it is a matter of order which of the equals stay."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (8, size)).astype(np.float32)
    if tied:
        logits = logits.round()
    uniforms = rng.random(8).astype(np.float32)
    chosen = choose(Sampler(temperature, top_k, top_p), logits, uniforms)
    if top_k == 1:  # greedy: the first of the equals, as torch's argmax
        assert chosen.tolist() == logits.argmax(1).tolist()
        return
    for row in range(8):
        near = {slow_choice(logits[row], u, temperature, top_k, top_p) for u in uniforms[row] + np.r_[-1e-5, 0, 1e-5]}
        if chosen[row] not in near and top_p < 1:  # where the mass comes within rounding of top_p, one more may stay
            near |= {slow_choice(logits[row], uniforms[row], temperature, top_k, top_p + e) for e in (-1e-5, 1e-5)}
        assert chosen[row] in near


def test_the_choice_among_equals_and_at_the_ends() -> None:
    flat = np.zeros((5, 9), np.float32)
    ends = np.array([0, 0.2, 0.5, 0.999, 1 - 2**-24], np.float32)
    assert choose(Sampler(), flat, ends).tolist() == [0, 1, 4, 8, 8]
    assert choose(Sampler(top_p=0.5), flat, ends).tolist() == [0, 1, 2, 4, 4]  # five of nine: the fifth crosses
    assert choose(Sampler(top_k=1), flat, ends).tolist() == [0] * 5
    assert choose(Sampler(top_k=3), np.arange(9, dtype=np.float32)[None].repeat(5, 0), ends)[0] == 6
    assert choose(Sampler(top_p=1e-6), np.arange(9, dtype=np.float32)[None].repeat(5, 0), ends).tolist() == [8] * 5
    peaked = np.full((5, 9), -200, np.float32)
    peaked[:, 4] = 50
    assert choose(Sampler(temperature=0.01), peaked, ends).tolist() == [4] * 5


def choose(sampler: Sampler, logits: Any, uniforms: Any) -> Any:
    how = library.SamplerStruct(sampler.temperature, sampler.top_p, sampler.top_k, sampler.top_k == 1)
    rows, size = logits.shape
    tokens, odds = np.empty(rows, np.int64), np.empty(size + 64, np.float32)
    arrays = [np.ascontiguousarray(part) for part in (logits, uniforms)]
    addresses = [part.ctypes.data for part in (*arrays, odds, tokens)]
    library.load_library().kronos_choose(library.ctypes.addressof(how), rows, size, *addresses)
    return tokens


def test_several_callers_at_once() -> None:
    network, some = tiny_network(3), prompts([30, 20], 12)
    backend = make_backend("native", network, tiny_tokenizer())
    torch.set_num_threads(2)
    engines = [Engine(network, backend, 64, Sampler(), seed=seed) for seed in range(4)]
    alone = [engine.run(some, 6) for engine in engines]
    together: dict[int, Any] = {}
    threads = [
        threading.Thread(target=lambda n=n: together.update({n: [engines[n].run(some, 6) for _ in range(5)]}))
        for n in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    torch.set_num_threads(1)
    for n, expected in enumerate(alone):
        for run in together[n]:
            assert all(map(torch.equal, run, expected))


def test_memory_is_used_again_and_what_is_left_in_it_does_not_matter() -> None:
    network, tokenizer = tiny_network(3), tiny_tokenizer()
    backend, some = make_backend("native", network, tokenizer), prompts([50, 20], 12)
    first = Engine(network, backend, 64, Sampler()).run(some, 6)
    pool = backend._network.pool  # type: ignore[attr-defined]
    with torch.inference_mode():
        for piece in pool._free:
            piece.fill_(float("nan"))
    held = sum(len(piece) for piece in pool._free)
    for _ in range(3):
        again = Engine(network, backend, 64, Sampler()).run(some, 6)
        assert all(map(torch.equal, first, again))
    assert sum(len(piece) for piece in pool._free) == held > 0


def test_only_a_cpu() -> None:
    with pytest.raises(ConfigError, match=r"native.*CPU, not on meta"):
        make_backend("native", tiny_network().to("meta"), tiny_tokenizer())


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_has_threads_of_its_own() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        network, some = tiny_network(3), prompts([50], 5)
        engine = Engine(network, make_backend("native", network, tiny_tokenizer()), 64, Sampler())
        expected = engine.run(some, 6)[0]
        child = os.fork()
        if child == 0:  # no assertion in here: it must leave by _exit whatever happens
            same = torch.equal(engine.run(some, 6)[0], expected)
            os._exit(0 if same else 1)
        deadline = time.monotonic() + 60
        while (done := os.waitpid(child, os.WNOHANG)) == (0, 0) and time.monotonic() < deadline:
            time.sleep(0.01)
        if done == (0, 0):
            os.kill(child, signal.SIGKILL)
        assert done == (child, 0)
    finally:
        torch.set_num_threads(before)


def test_three_hundred_forecasts_leave_nothing_behind() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        network, some = tiny_network(3), prompts([50, 20], 6)
        engine = Engine(network, make_backend("native", network, tiny_tokenizer()), 64, Sampler())
        expected = engine.run(some, 3)
        for _ in range(20):
            engine.run(some, 3)
        threads, memory = len(os.listdir("/proc/self/task")), resident()
        for _ in range(300):
            assert all(map(torch.equal, engine.run(some, 3), expected))
        assert len(os.listdir("/proc/self/task")) == threads
        assert resident() - memory < 8 << 20
    finally:
        torch.set_num_threads(before)


def resident() -> int:
    """Bytes of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


# Building -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KRONOS_CACHE", str(tmp_path / "built"))
    return tmp_path / "built"


def test_it_is_built_once(folder: Path) -> None:
    path = compiling.Build(SOURCES).finished()
    assert path.parent == folder
    assert [entry.name for entry in folder.iterdir()] == [path.name]
    stamp = path.stat().st_mtime_ns
    assert compiling.Build(SOURCES).finished().stat().st_mtime_ns == stamp


def test_what_auto_is(monkeypatch: pytest.MonkeyPatch) -> None:
    networks = tiny_network(), tiny_tokenizer()
    assert make_backend("auto", *networks).name == "native"
    monkeypatch.setattr(compiling, "compiler", lambda: None)
    assert make_backend("auto", *networks).name == ("onnx" if find_spec("onnxruntime") else "torch")
    monkeypatch.setattr("kronos.forecast.backends.choice.find_spec", lambda name: None)
    assert type(make_backend("auto", *networks)) is EagerBackend
    with pytest.raises(ConfigError, match=r"needs a C compiler.*CC.*backend=\"torch\""):
        compiling.Build(SOURCES)


def test_a_compiler_that_fails(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "cc"
    broken.write_text("#!/bin/sh\necho 'fatal error: out of luck' >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setattr(compiling, "compiler", lambda: str(broken))
    with pytest.raises(ConfigError, match=r"could not be built with .*/cc: fatal error: out of luck"):
        compiling.Build(SOURCES).finished()
    assert list(folder.iterdir()) == []
    library.load_library.cache_clear()
    compiling.Build.of.cache_clear()
    with pytest.warns(KronosWarning, match="slower: the C library.*out of luck"):
        assert make_backend("auto", tiny_network(), tiny_tokenizer()).name != "native"
    compiling.Build.of.cache_clear()


def test_a_cache_folder_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("KRONOS_CACHE", str(tmp_path / "file" / "below"))
    monkeypatch.setattr(compiling.tempfile, "tempdir", str(tmp_path))
    assert compiling.Build(SOURCES).finished().parent.parent == tmp_path


def test_two_processes_build_at_once(folder: Path) -> None:
    code = f"from pathlib import Path; from kronos.compiling import Build; Build(Path({str(SOURCES)!r})).finished()"
    both = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(2)]
    assert [process.wait() for process in both] == [0, 0]
    assert len(list(folder.iterdir())) == 1


def test_building_needs_no_torch(folder: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from kronos.compiling import Build; "
        f"Build(Path({str(SOURCES)!r})); assert not {{'torch', 'numpy'}} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert len(list(folder.iterdir())) == 1


def test_a_writer_that_reads_several_bars_and_then_one() -> None:
    network, tokenizer = tiny_network(3), tiny_tokenizer()
    one = prompts([20], 9)[0]
    lookback = Lookback(one.s1[:12], one.s2[:12], one.stamps)
    made: list[Backend] = [make_backend(name, network, tokenizer) for name in ("native", "torch")]
    uniforms = torch.rand(3, 2, generator=torch.Generator().manual_seed(0))
    results = []
    for backend in made:
        writer = backend.writer([lookback], 3, 8, 64)
        rows1, rows2 = one.s1[12:].expand(3, -1), one.s2[12:].expand(3, -1)
        first = writer.next(rows1[:, :5], rows2[:, :5], uniforms, Sampler())
        second = writer.next(rows1[:, 5:6], rows2[:, 5:6], uniforms, Sampler())
        results.append(torch.stack([*first, *second]))
    assert torch.equal(*results)

"""Benchmarks measure what they say: the slow algorithm is the same function, and the floor is counted right.

Nothing here asserts how long anything took.
"""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from kronos.errors import ConfigError, MissingExtra
from kronos.forecast import Engine, Prompt, Sampler, bench
from kronos.forecast.backends import make_backend
from kronos.forecast.bench import CASES, Case, check_choices, fast_forecast, find_cases, run_case, time_slow
from kronos.forecast.bench_floor import Load, floor
from kronos.forecast.bench_machine import Rates, describe_machine, probe, processor_name, timed
from kronos.forecast.bench_slow import Pass, Slow, slow_forecast
from kronos.model import Kronos, KronosTokenizer, Pair
from reference import TRAINED, tiny_network, tiny_tokenizer

GREEDY = Sampler(top_k=1)
RATES = Rates(memory=1e9, cache=1e10, gemm=1e11)


def tiny_pair_of(**own: Any) -> Pair:
    return Pair("tiny", tiny_network(**own), tiny_tokenizer())


def tiny_case(
    lookbacks: tuple[int, ...] = (9, 9), horizons: tuple[int, ...] = (5, 5), paths: int = 2, **own: Any
) -> Case:
    return Case("tiny", "tiny", partial(tiny_pair_of, **own), lookbacks, horizons, paths)


# The slow algorithm ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("max_context", [64, 14, 11], ids=["roomy", "full at the end", "overflows"])
def test_slow_and_fast_are_the_same_function(tiny_pair: tuple[Kronos, KronosTokenizer], max_context: int) -> None:
    pair, case = Pair("tiny", *tiny_pair), tiny_case()
    inputs = case.inputs(pair)
    bars, stamps = (torch.stack(parts) for parts in zip(*inputs, strict=True))
    slow = slow_forecast(pair, bars, stamps, case.paths, max_context, GREEDY)
    engine = Engine(pair.network, make_backend("torch", pair.network, pair.tokenizer), max_context, GREEDY)
    tokens = engine.backend.encode(list(bars))
    prompts = [Prompt(s1, s2, told, 0) for (s1, s2), told in zip(tokens, stamps, strict=True)]
    fast = engine.generate(prompts, range(case.paths))
    assert slow.complete
    assert torch.equal(slow.s1, torch.cat([s1 for s1, _ in fast]))
    assert torch.equal(slow.s2, torch.cat([s2 for _, s2 in fast]))
    written = torch.cat(fast_forecast(engine, inputs, case.paths))
    torch.testing.assert_close(written, slow.bars, rtol=1e-4, atol=1e-4)


def test_look_backs_longer_than_the_context_are_cut_alike() -> None:
    case = tiny_case((20,), (3,), paths=1)
    pair = tiny_pair_of(**TRAINED)
    engine = Engine(pair.network, make_backend("torch", pair.network, pair.tokenizer), 12, GREEDY)
    ((bars, stamps),) = case.inputs(pair)
    slow = slow_forecast(pair, bars[None], stamps[None], 1, 12, GREEDY)
    torch.testing.assert_close(fast_forecast(engine, [(bars, stamps)], 1)[0], slow.bars, rtol=1e-4, atol=1e-4)


def test_few_steps_are_run_at_their_true_windows() -> None:
    pair, case = tiny_pair_of(max_context=12), tiny_case((9,), (9,), paths=3)
    (slow,) = time_slow(case, pair, repeats=1, timed=3)
    assert [(one.step, one.window) for one in slow.passes] == [(0, 9), (4, 12), (8, 12)]
    assert not slow.complete
    assert slow.bars.shape == (3, 9, 6)


def test_what_was_not_run_is_interpolated() -> None:
    tokens = torch.zeros(1, 5, dtype=torch.long)
    slow = Slow(10.0, 20.0, (Pass(0, 4, 1.0), Pass(2, 6, 3.0), Pass(4, 8, 7.0)), tokens, tokens, torch.zeros(1, 5, 6))
    assert slow.seconds == 10 + 20 + 1 + 2 + 3 + 5 + 7


def test_only_equally_long_series_are_taken_together() -> None:
    slow = time_slow(tiny_case((9, 7, 9), (4, 4, 4), paths=2), tiny_pair_of(), repeats=1, timed=None)
    assert [len(one.s1) for one in slow] == [4, 2]


# The floor --------------------------------------------------------------------------------------------------------

BY_HAND = Load(
    network={"n_layers": 1, "d_model": 4, "ff_dim": 8, "s1_bits": 1, "s2_bits": 1},
    tokenizer={
        "d_in": 6, "d_model": 2, "ff_dim": 4, "n_enc_layers": 2, "n_dec_layers": 3, "s1_bits": 1, "s2_bits": 1,
    },
    lookbacks=(3,),
    horizons=(3,),
    paths=2,
    max_context=8,
)  # fmt: skip


def test_the_floor_by_hand() -> None:
    # a block of the network has 4 * 16 + 3 * 32 = 160 weights, all that a step reads are
    # 160 + 2 * 16 (dependency keys and values) + 16 (its output) + 2 * 8 (heads) = 224
    prefill = 2 * 3 * 160 + 16 * (1 + 2 + 3) + 2 * 3 * 32 + 2 * 8 + 2 * (16 * 3 + 2 * 16 + 2 * 8)
    first = 2 * (2 * 160 + 16 * 4 + 2 * 32 + 2 * 8 + 16 * 4 + 2 * 16 + 2 * 8)
    second = 2 * (2 * 160 + 16 * 5 + 2 * 32 + 2 * 8 + 16 * 5 + 2 * 16 + 2 * 8)
    # a bar's keys and values are 2 layers * 2 * 4 numbers of 4 bytes; three bars are shared, each path has its own
    read = [224 * 4 + 64 * (3 + 2 * 1), 224 * 4 + 64 * (3 + 2 * 2)]
    encode = 2 * 3 * 2 * (6 + 2) + 2 * 3 * 40 + 8 * (1 + 2 + 3)
    # two blocks of 40 weights: one over the look-back and the second's keys and values, then both over 3 bars a path
    decode = 2 * 3 * 40 + 8 * (1 + 2 + 3) + 2 * 3 * 8 + 2 * (2 * 3 * 80 + 2 * 8 * (4 + 5 + 6) + 2 * 3 * 12)

    counted = floor(BY_HAND, Rates(memory=1, cache=10, gemm=100))
    assert {one.name: (one.flops, one.bytes) for one in counted.phases} == {
        "encode": (encode, 4 * (16 + 40)),
        "prefill": (prefill, 4 * 224),
        "steps": (first + second, sum(read)),
        "decode": (decode, 4 * (80 + 12)),
    }
    # so few bars: the weights' way through the cache is what takes time
    assert counted.seconds == pytest.approx((4 * (16 + 40) + 4 * 224 + sum(read) + 4 * (80 + 12)) / 10)
    slow_arithmetic = floor(BY_HAND, Rates(memory=1e9, cache=1e9, gemm=1))
    assert slow_arithmetic.seconds == encode + prefill + first + second + decode


def test_the_floor_of_a_full_window_by_hand() -> None:
    counted = {one.name: one for one in floor(replace(BY_HAND, max_context=4), RATES).phases}
    first = 1152  # as with a larger context: four bars are in view
    again = 2 * 2 * 160 + 16 * (1 + 2) + 2 * 2 * 32  # two bars are left of the look-back, read once
    own = 2 * (2 * 2 * 160 + 16 * (3 + 4) + 2 * 2 * 32 + 2 * 8 + 16 * 4 + 2 * 16 + 2 * 8)
    assert counted["steps"].flops == first + again + own
    assert counted["steps"].bytes == (224 * 4 + 64 * (3 + 2)) + 224 * 4


def test_the_floor_of_series_that_end_at_different_steps() -> None:
    alone = [replace(BY_HAND, lookbacks=(t,), horizons=(h,)) for t, h in ((3, 3), (5, 2))]
    both = floor(replace(BY_HAND, lookbacks=(3, 5), horizons=(3, 2)), RATES)
    for phase, *parts in zip(both.phases, *(floor(load, RATES).phases for load in alone), strict=True):
        assert phase.flops == sum(part.flops for part in parts)
        assert phase.bytes < sum(part.bytes for part in parts), "weights are read once for all series"


def test_rounded_weights_are_fewer_bytes_except_the_encoders() -> None:
    exact, half, least = (floor(replace(BY_HAND, precision=p), RATES).phases for p in ("float32", "bfloat16", "int8"))
    assert [one.bytes for one in exact][:2] == [224, 896]
    assert [one.bytes for one in half][:2] == [224, 448]
    assert [one.bytes for one in least][:2] == [224, 224]


def test_large_weights_come_from_memory() -> None:
    large = {"n_layers": 8, "d_model": 512, "ff_dim": 1024, "s1_bits": 10, "s2_bits": 10}
    phases = floor(replace(BY_HAND, network=large), Rates(memory=1e9, cache=1e15, gemm=1e15)).phases
    assert phases[1].seconds == pytest.approx(phases[1].bytes / 1e9)
    assert phases[0].seconds < 1e-9


def test_a_horizon_beyond_the_context_has_no_floor() -> None:
    with pytest.raises(ConfigError, match="within the context"):
        floor(replace(BY_HAND, max_context=2), RATES)


# The machine ------------------------------------------------------------------------------------------------------


def test_the_machine_is_measured_and_described(tmp_path: Path) -> None:
    rates = probe(repeats=1, large=64, small=4096, product=16)
    assert min(rates.memory, rates.cache, rates.gemm) > 0
    known = describe_machine()
    assert known["threads"] == torch.get_num_threads()
    assert known["processor"]
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nmodel name\t: A 64-Core: fast\nmodel name\t: another\n")
    assert processor_name(tmp_path / "cpuinfo") == "A 64-Core: fast"
    assert isinstance(processor_name(tmp_path / "none"), str)


def test_runs_stop_when_they_are_enough() -> None:
    assert len(timed(lambda: None, 3)[0]) == 3
    times, answer = timed(lambda: "done", 3, enough=0.0)
    assert (len(times), answer) == (1, "done")


# Cases ------------------------------------------------------------------------------------------------------------


def test_a_case_is_measured_whole() -> None:
    said: list[str] = []
    case = tiny_case((9, 7), (5, 3))
    result = run_case(case, RATES, backends=["torch", "torch"], precisions=["float32"], repeats=3, say=said.append)
    assert said == ["tiny: the reference's algorithm", "tiny: backend torch, float32"]
    (run,) = result.runs
    assert (run.backend, run.ran, run.precision, run.repeats) == ("torch", "torch", "float32", 3)
    assert run.fastest <= run.seconds <= run.slowest
    assert result.slow_seconds is not None
    assert run.ratio == result.slow_seconds / run.seconds
    assert run.path_bars_per_second == 2 * (5 + 3) / run.seconds
    assert run.fraction == run.floor.seconds / run.seconds
    record = json.loads(json.dumps(result.record()))
    assert set(record) == {
        "name", "title", "model", "lookbacks", "horizons", "paths", "path_bars", "max_context", "slow", "fast",
        "skipped",
    }  # fmt: skip
    assert record["title"] == "tiny, 2 series 7..9->3..5, 2 paths"
    assert set(record["slow"]) == {"seconds", "estimated", "path_bars_per_second", "groups"}
    assert record["slow"]["estimated"] is True, "four of the first series' five steps"
    assert [group["steps"] for group in record["slow"]["groups"]] == [5, 3]
    assert set(record["slow"]["groups"][0]) == {"encode", "decode", "steps", "passes"}
    assert set(record["fast"][0]) == {
        "backend", "ran", "precision", "seconds", "fastest", "slowest", "repeats", "path_bars_per_second", "ratio",
        "floor", "fraction",
    }  # fmt: skip
    assert [phase["name"] for phase in record["fast"][0]["floor"]["phases"]] == ["encode", "prefill", "steps", "decode"]


def test_the_slow_algorithm_can_be_left_out() -> None:
    result = run_case(tiny_case(), RATES, backends=["torch"], repeats=1, slow=False)
    assert result.runs[0].ratio is None
    assert result.slow_seconds is None
    assert result.record()["slow"] is None


def test_a_backend_that_is_not_here_is_skipped_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def without_auto(name: str, *rest: Any) -> Any:
        if name == "auto":
            raise MissingExtra("this needs the package 'x'")
        return make_backend(name, *rest)

    monkeypatch.setattr(bench, "make_backend", without_auto)
    result = run_case(tiny_case(), RATES, backends=["auto", "torch"], repeats=1, slow=False)
    assert [run.ran for run in result.runs] == ["torch"]
    assert result.record()["skipped"] == [
        {"backend": "auto", "precision": "float32", "reason": "this needs the package 'x'"}
    ]


def test_names_that_mean_nothing_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"unknown case 'x'; known are mini, small, demo"):
        find_cases(["mini", "x"])
    with pytest.raises(ConfigError, match=r"unknown backend 'x'; known are auto"):
        check_choices(["x"], ["float32"], 1)
    with pytest.raises(ConfigError, match=r"unknown precision 'x'; known are float32"):
        check_choices(["auto"], ["x"], 1)
    with pytest.raises(ConfigError, match="at least once"):
        check_choices(["auto"], ["float32"], 0)


def test_the_cases_are_what_they_are_called() -> None:
    assert [case.name for case in find_cases([])] == list(CASES)
    assert find_cases(["nano", "mini", "nano"]) == [CASES["nano"], CASES["mini"]]
    assert [case.title for case in CASES.values()] == [
        "mini, 1 series 400->112, 1 path",
        "small, 1 series 400->112, 1 path",
        "small, 1 series 360->24, 30 paths",
        "small, 32 series 400->24, 1 path",
        "nano, 1 series 400->24, 100 paths",
        "small, 1 series 512->24, 4 paths",
        "small, 8 series 120..400->6..24, 1 path",
    ]
    for name in ("mini", "nano"):
        pair = CASES[name].make()
        assert CASES[name].make() is pair
        assert not pair.network.training
        assert len(CASES[name].inputs(pair)) == 1

"""A run that is stopped, killed, short of room or tampered with ends where an undisturbed one does, or says why not."""

import errno
import os
import pickle
import random
import signal
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from kronos.data import Batch, Series, Windows, WindowSampler
from kronos.errors import CheckpointError, ConfigError
from kronos.train import Fitted, LoopSettings, PredictorObjective, TokenizerObjective, Tuning
from kronos.train.checkpoints import FOLDER, Keeper, State, read_state
from kronos.train.feeds import Draws
from kronos.train.stopping import StoppedError
from kronos.train.tuning import prepare
from reference import TRAINED, bars_frame, tiny_network, tiny_tokenizer
from toys import QUICK, Adding, Listener, Numbers, log_of, train, weights


def quick(steps: int | None = 12, **changes: Any) -> LoopSettings:
    return LoopSettings(**QUICK | {"steps": steps, "validate_every": 2, "save_every": 3} | changes)


def saved(folder: Path) -> list[int]:
    """The steps that there are checkpoints of."""
    return [int(path.stem[5:]) for path in sorted((folder / FOLDER).iterdir())]


def told(fitted: Fitted) -> tuple[Any, ...]:
    """Everything but how long it took."""
    return fitted.step, fitted.steps, fitted.reason, fitted.best, fitted.figures, fitted.overfitting


# Files ----------------------------------------------------------------------------------------------------------------


def state(number: int) -> State:
    return {"step": number, "weights": torch.full((40,), float(number)), "settings": {"lr": 0.1}}


def test_the_last_few_are_kept_and_the_newest_is_found(tmp_path: Path) -> None:
    keeper = Keeper(tmp_path / "run", keep_last=2)
    assert keeper.latest() is None
    assert keeper.best() is None
    assert keeper.last_step() is None
    assert not (tmp_path / "run").exists()
    for step in (1, 9, 10, 200):
        assert keeper.save(state(step), step).name == f"step-{step:08d}.pt"
    assert saved(tmp_path / "run") == [10, 200]
    path, found, troubles = Keeper(tmp_path / "run", 2).latest() or (None, {}, None)
    assert path == tmp_path / "run" / FOLDER / "step-00000200.pt"
    assert found["step"] == 200
    assert torch.equal(found["weights"], state(200)["weights"])
    assert troubles == []
    assert keeper.last_step() == 200
    for number in (3, 4):
        keeper.save_best(state(number))
    best = keeper.best()
    assert best is not None
    assert best["step"] == 4


def test_what_a_kill_left_half_written_is_swept_up(tmp_path: Path) -> None:
    keeper = Keeper(tmp_path, keep_last=2)
    keeper.save(state(1), 1)
    keeper.save_best(state(1))
    left = [tmp_path / FOLDER / ".step-00000002.pt.1234abcd.tmp", tmp_path / ".best.pt.1234abcd.tmp"]
    other = tmp_path / ".metrics.csv.1234abcd.tmp"
    for path in (*left, other):
        path.write_bytes(b"half")
    found = keeper.latest()
    assert found is not None
    assert found[0].name == "step-00000001.pt"
    keeper.save(state(2), 2)
    keeper.save_best(state(2))
    assert not any(path.exists() for path in left)
    assert other.exists()  # somebody else's


Spoil = Callable[[Path], object]


def flip_one_bit(path: Path) -> None:
    """Of a weight: no reader stumbles over it."""
    with zipfile.ZipFile(path) as archive:
        record = archive.read(next(name for name in archive.namelist() if name.endswith("/data/0")))
    content = bytearray(path.read_bytes())
    content[content.index(record) + 3] ^= 8
    path.write_bytes(content)


SPOILT: dict[str, Spoil] = {
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_bytes(b"no archive at all"),
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-200]),
    "half": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "one bit": flip_one_bit,
    "a list": lambda path: torch.save([1, 2], path),
    "a module": lambda path: torch.save(nn.Linear(2, 2), path),  # a pickled object: never executed
}


@pytest.mark.parametrize("spoil", SPOILT.values(), ids=SPOILT)
def test_a_damaged_file_is_passed_over_and_never_lost_to(tmp_path: Path, spoil: Spoil) -> None:
    keeper = Keeper(tmp_path, keep_last=3)
    for step in (5, 10):
        keeper.save(state(step), step)
    spoil(tmp_path / FOLDER / "step-00000010.pt")
    keeper = Keeper(tmp_path, keep_last=1)
    path, found, troubles = keeper.latest() or (None, {}, [])
    assert path is not None
    assert (path.name, found["step"]) == ("step-00000005.pt", 5)
    assert len(troubles) == 1
    assert "step-00000010.pt: not a" in troubles[0]
    assert keeper.last_step() == 5  # what a later error calls good is good
    keeper.save(state(6), 6)
    assert saved(tmp_path) == [6]  # not the damaged one, although its number is higher
    assert (Keeper(tmp_path, 1).latest() or ({}, {}))[1]["step"] == 6


def test_all_are_damaged(tmp_path: Path) -> None:
    keeper = Keeper(tmp_path, keep_last=2)
    for step in (5, 10):
        keeper.save(state(step), step)
        (tmp_path / FOLDER / f"step-{step:08d}.pt").write_bytes(b"gone")
    with pytest.raises(CheckpointError, match=r"step-00000010\.pt.*step-00000005\.pt.*begin in a new folder"):
        keeper.latest()


def bare(content: Any) -> Any:
    """What is in a state, with tensors as their bytes."""
    if isinstance(content, Tensor):
        return content.dtype, content.numpy().tobytes()
    if isinstance(content, Mapping):
        return {key: bare(value) for key, value in content.items()}
    return [bare(value) for value in content] if isinstance(content, list | tuple) else content


def test_no_damage_is_anything_but_an_error_of_ours_or_harmless(tmp_path: Path) -> None:
    path, rng = tmp_path / "state.pt", random.Random(0)
    torch.save(state(3), path)
    whole = path.read_bytes()
    refused = 0
    for _ in range(200):
        broken = bytearray(whole)
        for _ in range(rng.choice([1, 1, 8])):
            broken[rng.randrange(rng.choice([400, len(broken)]))] = rng.randrange(256)
        path.write_bytes(bytes(broken))
        try:
            found = read_state(path)
        except CheckpointError:
            refused += 1
        else:
            assert bare(found) == bare(state(3))  # what was hit says nothing
    assert refused > 30


def test_nothing_that_is_read_is_executed(tmp_path: Path) -> None:
    trap, file = tmp_path / "trap", tmp_path / "state.pt"

    class Trap:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(trap),)

    file.write_bytes(pickle.dumps({"step": Trap()}, protocol=2))
    with pytest.raises(CheckpointError):
        read_state(file)
    torch.save({"step": Trap()}, file)
    with pytest.raises(CheckpointError):
        read_state(file)
    assert not trap.exists()


# Going on -------------------------------------------------------------------------------------------------------------

EVERYTHING: dict[str, Any] = {
    "ema": 0.7,
    "accumulate": 2,
    "precision": "bfloat16",
    "optimiser": "muon",
    "base_volatility": "auto",
    "schedule": "onecycle",
    "warmup": 0.3,
    "keep": "best",
}
PATIENT: dict[str, Any] = {"patience": 5, "validate_every": 1, "lr": 5.0, "warmup": 0}  # too fast to get better ever


class Interrupting(Adding):
    """Somebody asks to stop, always in the middle of the step."""

    def __init__(self, number: int = signal.SIGINT, seed: int = 0, times: int = 1) -> None:
        super().__init__(seed)
        self.number, self.times = number, times

    def loss(self, network: nn.Module, batch: Batch) -> tuple[Tensor, Mapping[str, float]]:
        while network.training and self.times:
            self.times -= 1
            signal.raise_signal(self.number)
        return super().loss(network, batch)


class PulledError(Exception):
    """Somebody pulled the plug."""


class Pulled(Numbers):
    """A feed that fails at a batch."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.at = at

    def __call__(self, number: int) -> Batch:
        if number == self.at:
            raise PulledError
        return super().__call__(number)


class Pulling(Listener):
    """Somebody who fails when a step is told."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.at = at

    def tick(self, progress: Any) -> None:
        if progress.step == self.at:
            raise PulledError


@pytest.mark.parametrize(
    "chosen",
    [{}, {"keep": "best", "optimiser": "muon"}, PATIENT | {"ema": 0.5}, EVERYTHING],
    ids=["usual", "best", "patient", "everything"],
)
def test_a_run_that_is_stopped_after_every_single_step(tmp_path: Path, chosen: dict[str, Any]) -> None:
    settings, whole = quick(6, **chosen), Adding()
    wanted = train(whole, tmp_path / "whole", settings)
    assert (wanted.step, wanted.best.since) == (5, 5) if settings.patience else wanted.step == 6
    for step in range(1, wanted.step):
        torch.rand(step)  # what happens in between must not matter
        with pytest.raises(StoppedError, match=f"stopped after step {step} of 6"):
            train(Interrupting(seed=0 if step == 1 else 50 + step), tmp_path / "broken", settings)
        assert saved(tmp_path / "broken")[-1] == step
    again = Adding(seed=77)  # nor what the network held before
    given = train(again, tmp_path / "broken", settings)
    assert told(given) == told(wanted)
    assert weights(again.network) == weights(whole.network)
    assert log_of(tmp_path / "broken") == log_of(tmp_path / "whole")
    ours, theirs = ((Keeper(tmp_path / kind, 1).latest() or ({}, {}))[1] for kind in ("broken", "whole"))
    assert ours.keys() == theirs.keys() >= {"network", "optimisers", "best", "reason"}
    assert ("average" in ours) == bool(settings.ema)
    assert bare(ours) == bare(theirs)


@pytest.mark.parametrize("where", ["batch", "tick"])
def test_a_run_whose_plug_is_pulled_at_any_step(tmp_path: Path, where: str) -> None:
    """Without a word: it goes on from the last checkpoint, and what was logged since is forgotten."""
    settings, whole = quick(5, **EVERYTHING, save_every=2), Adding()
    wanted = train(whole, tmp_path / "whole", settings)
    for step in range(1, wanted.step):
        folder = tmp_path / str(step)
        feed = Pulled(step * settings.accumulate if where == "batch" else -1)
        with pytest.raises(PulledError):
            train(Adding(), folder, settings, feed, reporter=Pulling(step if where == "tick" else -1))
        resumed, heard = step >= 2, Listener()
        again = Adding(seed=77) if resumed else Adding()  # where nothing was saved: the same beginning
        given = train(again, folder, settings, reporter=heard)
        assert told(given) == told(wanted)
        assert weights(again.network) == weights(whole.network)
        assert log_of(folder) == log_of(tmp_path / "whole")
        assert (f"toy: going on after step {step - step % 2}" in heard.lines) == resumed


@pytest.mark.parametrize("kind", ["tokenizer", "predictor"])
def test_the_networks_go_on_to_the_bit(tmp_path: Path, kind: str) -> None:
    """With dropout and coarse tokens that are sampled: everything that moves is seeded by the batch."""
    drop = {"ffn_dropout_p": 0.1, "attn_dropout_p": 0.1, "resid_dropout_p": 0.1, "token_dropout_p": 0.1}

    def objective(seed: int) -> Any:
        if kind == "tokenizer":
            return TokenizerObjective(tiny_tokenizer(seed, normaliser="returns").requires_grad_(True), (2,) * 5 + (1,))
        network = tiny_network(seed, **TRAINED | drop).requires_grad_(True)
        return PredictorObjective(network, tiny_tokenizer(normaliser="returns"), sibling="sampled")

    series = [Series.of(bars_frame(60, seed=i), f"g/{i}") for i in range(2)]
    feed = Draws(WindowSampler(Windows(series, 12, 4), 4, seed=3))
    settings = quick(5, ema=0.5, optimiser="muon", precision="bfloat16", checkpointing=True, accumulate=2)
    whole, again = objective(0), objective(1)
    wanted = train(whole, tmp_path / "whole", settings, feed, validation=[feed(100)])
    with pytest.raises(PulledError):
        train(objective(0), tmp_path / "broken", settings, feed, validation=[feed(100)], reporter=Pulling(4))
    given = train(again, tmp_path / "broken", settings, feed, validation=[feed(100)])
    assert told(given) == told(wanted)
    assert weights(again.network) == weights(whole.network)
    assert log_of(tmp_path / "broken") == log_of(tmp_path / "whole")


def test_adapters_go_on_to_the_bit(tmp_path: Path) -> None:
    tuning = Tuning(what="lora", rank=2, lora_dropout=0.2)

    def adapted() -> Adding:
        toy = Adding()
        prepare(toy.network, tuning, seed=4)
        return toy

    whole, again = adapted(), adapted()
    train(whole, tmp_path / "whole", quick(8), tuning=tuning)
    with pytest.raises(PulledError):
        train(adapted(), tmp_path / "broken", quick(8), tuning=tuning, reporter=Pulling(5))
    train(again, tmp_path / "broken", quick(8), tuning=tuning)
    assert weights(again.network) == weights(whole.network)


# Signals --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_polite_request_is_granted_after_the_step(tmp_path: Path, number: int) -> None:
    heard: list[int] = []

    def handler(found: int, frame: FrameType | None) -> None:
        heard.append(found)

    before = signal.signal(number, handler)
    try:
        with pytest.raises(StoppedError, match=r"stopped after step 1 of 12 \(toy\); the same command goes on"):
            train(Interrupting(number), tmp_path, quick())
        assert saved(tmp_path) == [1]
        assert [line["step"] for line in log_of(tmp_path)] == [0, 1]
        assert heard == []
        signal.raise_signal(number)
        assert heard == [number]  # whoever listened before does so again
    finally:
        signal.signal(number, before)
    assert train(Adding(), tmp_path, quick()).step == 12
    assert signal.getsignal(number) == before


def test_a_second_request_is_not_waited_for(tmp_path: Path) -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs begin without it
    try:
        with pytest.raises(KeyboardInterrupt):
            train(Interrupting(signal.SIGINT, times=2), tmp_path, quick())
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert not (tmp_path / FOLDER).exists()


# Processes that die ---------------------------------------------------------------------------------------------------

forks = pytest.mark.skipif(
    not hasattr(os, "fork") or torch.cuda.is_available() or torch.backends.mps.is_available(),
    reason="torch does not fork where it has threads for an accelerator",
)


def forked(work: Callable[[], object]) -> int:
    """The number of a process that does this and leaves with 0, or with 1 where it raised."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        work()
        code = 0
    finally:
        os._exit(code)


def ended(child: int) -> int:
    """How it ended: its exit code, or minus the signal that killed it."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


class Telling(Listener):
    """Writes a byte for every step."""

    def __init__(self, pipe: int) -> None:
        super().__init__()
        self.pipe = pipe

    def tick(self, progress: Any) -> None:
        os.write(self.pipe, b".")


@forks
@pytest.mark.parametrize("chosen", [{}, EVERYTHING], ids=["usual", "everything"])
def test_killed_at_random_moments_it_ends_with_the_same_bytes(tmp_path: Path, chosen: dict[str, Any]) -> None:
    settings, moments = quick(16, **chosen | {"save_every": 2}), random.Random(5)
    whole = Adding()
    train(whole, tmp_path / "whole", settings)

    def work(write: int) -> None:
        toy = Adding()
        train(toy, tmp_path / "killed", settings, reporter=Telling(write))
        (tmp_path / "end").write_bytes(weights(toy.network))

    kills = 0
    while not (tmp_path / "end").exists():
        read, write = os.pipe()
        child = forked(lambda write=write: work(write))  # type: ignore[misc]
        os.close(write)
        with os.fdopen(read, "rb", buffering=0) as ticks:
            for _ in range(moments.randrange(1, 8)):  # or until there is nobody left to tell
                ticks.read(1)
            if kills < 6:
                os.kill(child, signal.SIGKILL)
            ticks.read()
        code = ended(child)
        assert code in (0, -signal.SIGKILL)
        kills += code != 0
    assert kills >= 2
    assert (tmp_path / "end").read_bytes() == weights(whole.network)
    assert log_of(tmp_path / "killed") == log_of(tmp_path / "whole")
    assert (tmp_path / "killed" / "metrics.csv").read_text().count("\n") == 18


@forks
def test_killed_in_the_middle_of_every_write(tmp_path: Path) -> None:
    """Each process gets one file farther and dies with the next one half written."""
    settings, whole = quick(6, save_every=2), Adding()
    train(whole, tmp_path / "whole", settings)

    def work(allowed: int) -> None:
        save, done = torch.save, 0

        def dying(content: Any, path: Path) -> None:
            nonlocal done
            save(content, path)
            done += 1
            if done > allowed:
                path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
                os.kill(os.getpid(), signal.SIGKILL)

        torch.save = dying  # in a process of its own
        toy = Adding()
        train(toy, tmp_path / "killed", settings)
        (tmp_path / "end").write_bytes(weights(toy.network))

    codes = [ended(forked(lambda: work(0)))]
    while codes[-1]:
        codes.append(ended(forked(lambda: work(len(codes)))))
        assert len(codes) < 10
    assert {*codes[:-1]} == {-signal.SIGKILL}
    assert len(codes) > 3
    assert (tmp_path / "end").read_bytes() == weights(whole.network)
    assert log_of(tmp_path / "killed") == log_of(tmp_path / "whole")
    assert not [path for path in (tmp_path / "killed" / FOLDER).iterdir() if path.suffix == ".tmp"]


@forks
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_kills(tmp_path: Path, number: int) -> None:
    def work() -> None:
        signal.signal(number, signal.SIG_DFL)
        train(Interrupting(number, times=2), tmp_path / "run", quick())

    assert ended(forked(work)) == -number


# No room --------------------------------------------------------------------------------------------------------------

FULL = OSError(errno.ENOSPC, "No space left on device")
FULL_FOR_TORCH = RuntimeError("PytorchStreamWriter failed writing file data/3: file write failed")


def failing(monkeypatch: pytest.MonkeyPatch, wrong: Exception, when: Callable[[Path], bool]) -> None:
    save = torch.save

    def full(content: Any, path: Path) -> None:
        save(content, path)
        if when(path):
            path.write_bytes(path.read_bytes()[:100])
            raise wrong

    monkeypatch.setattr(torch, "save", full)


@pytest.mark.parametrize(
    ("wrong", "reason"), [(FULL, "the disk is full"), (FULL_FOR_TORCH, "file write failed")], ids=["python", "torch"]
)
def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: Exception, reason: str) -> None:
    whole, again = Adding(), Adding(seed=3)
    train(whole, tmp_path / "whole", quick())
    with monkeypatch.context() as patch:
        failing(patch, wrong, lambda path: "step-00000009" in path.name)
        complaint = (
            rf"step-00000009\.pt: cannot be written \({reason}|step-00000009\.pt: cannot be written \(.*{reason}"
        )
        with pytest.raises(CheckpointError, match=complaint) as told_:
            train(Adding(), tmp_path / "full", quick())
    assert "the checkpoint of step 6 is whole. Make room and run the same command: it goes on" in str(told_.value)
    assert saved(tmp_path / "full") == [3, 6]
    assert not list(tmp_path.rglob("*.tmp"))
    train(again, tmp_path / "full", quick())
    assert weights(again.network) == weights(whole.network)
    assert log_of(tmp_path / "full") == log_of(tmp_path / "whole")


def test_a_disk_that_is_full_from_the_beginning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, FULL, lambda path: "step-" in path.name)
    with pytest.raises(CheckpointError, match=r"\(the disk is full\); there is no earlier checkpoint"):
        train(Adding(), tmp_path / "a", quick())
    failing(monkeypatch, FULL, lambda path: "best" in path.name)
    with pytest.raises(CheckpointError, match=r"best\.pt: cannot be written \(the disk is full\); there is no"):
        train(Adding(), tmp_path / "b", quick())


def test_a_file_system_that_really_refuses(tmp_path: Path) -> None:
    """A limit on the size of files, which the checkpoints' writer meets in the middle of one."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    class Squeezing(Listener):
        def tick(self, progress: Any) -> None:
            if progress.step == 6:
                size = (tmp_path / "run" / FOLDER / "step-00000006.pt").stat().st_size
                resource.setrlimit(resource.RLIMIT_FSIZE, (size * 2 // 3, hard))

    try:
        with pytest.raises(CheckpointError, match=r"cannot be written .*the checkpoint of step 6 is whole"):
            train(Adding(), tmp_path / "run", quick(validate_every=100), reporter=Squeezing())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert saved(tmp_path / "run") == [3, 6]
    whole, again = Adding(), Adding(seed=3)
    train(whole, tmp_path / "whole", quick(validate_every=100))
    train(again, tmp_path / "run", quick(validate_every=100))
    assert weights(again.network) == weights(whole.network)


# What is found --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spoil", [SPOILT["truncated"], SPOILT["one bit"]], ids=["truncated", "one bit"])
def test_a_damaged_checkpoint_is_said_and_the_one_before_it_serves(tmp_path: Path, spoil: Spoil) -> None:
    whole, again, heard = Adding(), Adding(seed=3), Listener()
    train(whole, tmp_path / "whole", quick())
    with pytest.raises(PulledError):
        train(Adding(), tmp_path / "broken", quick(), reporter=Pulling(7))
    spoil(tmp_path / "broken" / FOLDER / "step-00000006.pt")
    train(again, tmp_path / "broken", quick(), reporter=heard)
    assert "step-00000006.pt: not a readable checkpoint" in heard.lines[0]
    assert heard.lines[0].endswith("going back to the one before it")
    assert heard.lines[1] == "toy: going on after step 3"
    assert weights(again.network) == weights(whole.network)
    assert log_of(tmp_path / "broken") == log_of(tmp_path / "whole")


@pytest.mark.parametrize(
    "spoil",
    [*SPOILT.values(), lambda path: torch.save({"step": 1}, path)],
    ids=[*SPOILT, "no settings"],
)
def test_no_checkpoint_that_can_be_used(tmp_path: Path, spoil: Spoil) -> None:
    train(Adding(), tmp_path, quick(2))
    spoil(tmp_path / FOLDER / "step-00000002.pt")
    with pytest.raises(CheckpointError, match=r"step-00000002\.pt.*(new|another) folder"):
        train(Adding(), tmp_path, quick(2))


def test_a_checkpoint_of_another_network(tmp_path: Path) -> None:
    train(Adding(), tmp_path, quick(2))
    before = (tmp_path / FOLDER / "step-00000002.pt").read_bytes()
    other = Adding()
    other.network.head = nn.Linear(8, 2)
    with pytest.raises(CheckpointError, match="does not belong to this run"):
        train(other, tmp_path, quick(2))
    assert (tmp_path / FOLDER / "step-00000002.pt").read_bytes() == before


def test_best_weights_that_are_gone(tmp_path: Path) -> None:
    train(Adding(), tmp_path, quick(4, keep="best"))
    (tmp_path / "best.pt").unlink()
    with pytest.raises(CheckpointError, match=r"the best weights, of step \d, are gone"):
        train(Adding(), tmp_path, quick(4, keep="best"))


@pytest.mark.parametrize(
    ("now", "what"),
    [
        ({"steps": 20}, "steps 12 -> 20"),
        ({"lr": 0.5, "clip": 2.0}, "lr 0.02 -> 0.5, clip 1.0 -> 2.0"),
        ({"accumulate": 2}, "accumulate x processes 1 -> 2"),
        ({"optimiser": "muon"}, "optimiser adamw -> muon"),
        ({"ema": 0.9}, "ema 0.0 -> 0.9"),
        ({"betas": (0.5, 0.9)}, r"betas \[0.9, 0.95\] -> \[0.5, 0.9\]"),
        ({"keep": "best"}, "keep last -> best"),
        ({"validate_every": 3}, "validate_every 2 -> 3"),
    ],
)
def test_changed_settings_are_refused(tmp_path: Path, now: dict[str, Any], what: str) -> None:
    with pytest.raises(PulledError):
        train(Adding(), tmp_path, quick(), reporter=Pulling(4))
    toy = Adding(seed=1)
    before = weights(toy.network), (tmp_path / "metrics.jsonl").read_bytes()
    with pytest.raises(ConfigError, match=rf"begun with other settings \({what}\); keep them or choose another"):
        train(toy, tmp_path, quick(**now))
    assert (weights(toy.network), (tmp_path / "metrics.jsonl").read_bytes()) == before
    assert saved(tmp_path) == [3]


def test_changes_beside_the_settings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PulledError):
        train(Adding(), tmp_path, quick(None, epochs=2), Numbers(epoch=6), reporter=Pulling(4))
    with pytest.raises(ConfigError, match="steps in all 12 -> 14"):  # the data have grown
        train(Adding(), tmp_path, quick(None, epochs=2), Numbers(epoch=7))
    with pytest.raises(ConfigError, match=r"tuning \{.*'layer_decay': 1.0.*\} -> \{.*'layer_decay': 0.5"):
        train(Adding(), tmp_path, quick(None, epochs=2), Numbers(epoch=6), tuning=Tuning(layer_decay=0.5))


def test_a_finished_run_keeps_its_settings(tmp_path: Path) -> None:
    train(Adding(), tmp_path, quick())
    with pytest.raises(ConfigError, match=r"other settings \(steps 12 -> 10"):
        train(Adding(), tmp_path, quick(10))


def test_how_often_is_saved_may_change(tmp_path: Path) -> None:
    whole, again = Adding(), Adding(seed=1)
    train(whole, tmp_path / "whole", quick())
    with pytest.raises(PulledError):
        train(Adding(), tmp_path / "broken", quick(save_every=2), reporter=Pulling(5))
    train(again, tmp_path / "broken", quick(save_every=5, keep_last=9))
    assert weights(again.network) == weights(whole.network)
    assert saved(tmp_path / "broken") == [2, 4, 5, 10, 12]
    assert log_of(tmp_path / "broken") == log_of(tmp_path / "whole")


def test_checkpoints_do_not_pile_up(tmp_path: Path) -> None:
    train(Adding(), tmp_path / "one", quick(6, save_every=1, keep_last=1))
    train(Adding(), tmp_path / "few", quick(6, save_every=1, keep_last=4))
    assert saved(tmp_path / "one") == [6]
    assert saved(tmp_path / "few") == [3, 4, 5, 6]

"""Trackers: what each package is told, that a run which goes on goes on in the same charts, and how refusals read.

The packages are not installed here. Stand-ins speak their shapes: those of tensorboard, wandb and comet_ml. TensorBoard
itself is asked where it is installed.
"""

import json
import math
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from kronos.errors import CheckpointError, ConfigError, KronosError, MissingExtra
from kronos.train.metrics import MetricsLog
from kronos.train.trackers import TRACKER_FILE, open_trackers

SETTINGS = {"steps": 10, "since": date(2025, 4, 1), "predictor": {"lr": 1e-3, "betas": (0.9, 0.95)}}
PLAIN = {"steps": 10, "since": "2025-04-01", "predictor": {"lr": 1e-3, "betas": [0.9, 0.95]}}
FIGURES = {"lr": 1e-3, "loss": 2.5, "grad_norm": 0.5, "val_loss": 2.25, "val_s1": 2.0, "task_crps": 0.125, "value": 1.0}
GROUPED = {
    "train/lr": 1e-3,
    "train/loss": 2.5,
    "train/grad_norm": 0.5,
    "val/loss": 2.25,
    "val/s1": 2.0,
    "task/crps": 0.125,
    "train/value": 1.0,
}


@pytest.fixture(autouse=True)
def _no_settings_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WANDB_PROJECT", "COMET_PROJECT_NAME", "COMET_OFFLINE_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)


# --- the packages' stand-ins ------------------------------------------------------------------------------------------


class FakeWandb(ModuleType):
    """A server that remembers the history of every run."""

    def __init__(self) -> None:
        super().__init__("wandb")
        self.Error = type("Error", (Exception,), {})
        self.asked: list[dict[str, Any]] = []
        self.history: dict[str, dict[int, dict[str, float]]] = {}
        self.ended: list[str] = []
        self.refusal: Exception | None = None

    def init(self, **asked: Any) -> SimpleNamespace:
        if self.refusal is not None:
            raise self.refusal
        self.asked.append(asked)
        rows = self.history.setdefault(asked["id"], {})

        def log(figures: dict[str, float], step: int) -> None:
            assert step > max(rows, default=-1), "wandb drops a step that is not after the last, with a warning"
            rows[step] = figures

        starting = max(rows, default=-1) + 1
        return SimpleNamespace(starting_step=starting, log=log, finish=lambda: self.ended.append(asked["id"]))


class FakeComet(ModuleType):
    """Experiments by their keys."""

    def __init__(self) -> None:
        super().__init__("comet_ml")
        self.exceptions = SimpleNamespace(CometException=type("CometException", (Exception,), {}))
        self.ExperimentConfig = lambda **options: options
        self.asked: list[dict[str, Any]] = []
        self.said: list[tuple[str, Any]] = []
        self.refusal: Exception | None = None

    def start(self, **asked: Any) -> SimpleNamespace:
        if self.refusal is not None:
            raise self.refusal
        self.asked.append(asked)
        return SimpleNamespace(
            log_metrics=lambda figures, step: self.said.append(("metrics", (step, figures))),
            log_parameters=lambda settings: self.said.append(("parameters", settings)),
            end=lambda: self.said.append(("end", None)),
        )


class FakeBoard(ModuleType):
    """torch.utils.tensorboard: writers that make a file, as event writers do."""

    def __init__(self) -> None:
        super().__init__("torch.utils.tensorboard")
        self.opened: list[tuple[str, int | None]] = []
        self.scalars: list[tuple[str, float, int]] = []
        self.texts: list[tuple[str, str, int]] = []
        self.closed = 0
        self.failure: OSError | None = None

    def SummaryWriter(self, log_dir: str, purge_step: int | None = None) -> SimpleNamespace:  # noqa: N802
        if self.failure is not None:
            raise self.failure
        self.opened.append((log_dir, purge_step))
        Path(log_dir).mkdir(exist_ok=True)
        (Path(log_dir) / f"events.{len(self.opened)}").touch()

        def close() -> None:
            self.closed += 1

        return SimpleNamespace(
            add_scalar=lambda *said: self.scalars.append(said),
            add_text=lambda *said: self.texts.append(said),
            close=close,
        )


@pytest.fixture
def wandb(monkeypatch: pytest.MonkeyPatch) -> FakeWandb:
    module = FakeWandb()
    monkeypatch.setitem(sys.modules, "wandb", module)
    return module


@pytest.fixture
def comet(monkeypatch: pytest.MonkeyPatch) -> FakeComet:
    module = FakeComet()
    monkeypatch.setitem(sys.modules, "comet_ml", module)
    return module


@pytest.fixture
def board(monkeypatch: pytest.MonkeyPatch) -> FakeBoard:
    module = FakeBoard()
    monkeypatch.setitem(sys.modules, "tensorboard", ModuleType("tensorboard"))
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    return module


def refused(ask: Callable[[], object], kind: type[KronosError], *words: str) -> None:
    with pytest.raises(kind) as caught:
        ask()
    text = str(caught.value)
    assert "\n" not in text
    for word in words:
        assert word in text, text


# --- all of them ------------------------------------------------------------------------------------------------------


def test_names(tmp_path: Path, board: FakeBoard, wandb: FakeWandb) -> None:
    assert open_trackers([], "run", tmp_path, SETTINGS) == []
    assert open_trackers(["wandb", "tensorboard"], "run", tmp_path, SETTINGS, leads=False) == []
    assert wandb.asked == []
    assert len(open_trackers(["tensorboard", "wandb", "tensorboard"], "run", tmp_path, SETTINGS)) == 2
    refused(lambda: open_trackers(["tensorbord"], "run", tmp_path, {}), ConfigError, "did you mean 'tensorboard'?")
    refused(
        lambda: open_trackers(["wandb", "x"], "run", tmp_path, {}, leads=False), ConfigError, "'x'", "wandb", "comet"
    )
    assert len(wandb.asked) == 1  # names are read before anything is opened


@pytest.mark.parametrize(
    ("name", "package"), [("tensorboard", "tensorboard"), ("wandb", "wandb"), ("comet", "comet_ml")]
)
def test_a_missing_package_is_named_with_its_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    refused(
        lambda: open_trackers([name], "run", tmp_path, {}),
        MissingExtra,
        package,
        "pip install 'kronos-candles[tracking]'",
    )
    assert list(tmp_path.iterdir()) == []


def test_one_that_cannot_be_opened_closes_those_that_are(tmp_path: Path, wandb: FakeWandb, comet: FakeComet) -> None:
    comet.refusal = ValueError("Comet.ml requires an API key")
    refused(lambda: open_trackers(["wandb", "comet"], "run", tmp_path, {}), ConfigError, "COMET_START_ONLINE=0")
    assert len(wandb.ended) == 1


def test_closed_once_by_whoever_is_first(tmp_path: Path, wandb: FakeWandb, comet: FakeComet, board: FakeBoard) -> None:
    with open_trackers(["tensorboard", "wandb", "comet"], "run", tmp_path, SETTINGS) as trackers:
        with MetricsLog(tmp_path, trackers) as log:
            log.write({"step": 1, **FIGURES})
        assert (board.closed, len(wandb.ended), comet.said[-1]) == (1, 1, ("end", None))
    assert (board.closed, len(wandb.ended), comet.said.count(("end", None))) == (1, 1, 1)


def test_a_damaged_key(tmp_path: Path, wandb: FakeWandb) -> None:
    for damage in ("", "{}", "[]", '"id"'):
        (tmp_path / TRACKER_FILE).write_text(damage)
        refused(lambda: open_trackers(["wandb"], "run", tmp_path, {}), CheckpointError, TRACKER_FILE, "delete it")
    assert wandb.asked == []


# --- each of them -----------------------------------------------------------------------------------------------------


def test_wandb(tmp_path: Path, wandb: FakeWandb) -> None:
    folder = tmp_path / "runs" / "predictor"
    [tracker] = open_trackers(["wandb"], "mine/predictor", folder, SETTINGS)
    [asked] = wandb.asked
    key = json.loads((folder / TRACKER_FILE).read_text())["id"]
    assert asked == {
        "project": "kronos",
        "name": "mine/predictor",
        "dir": str(folder),
        "config": PLAIN,
        "id": key,
        "resume": "allow",
        "reinit": "create_new",  # else wandb would hand out, and we would end, a run of the program around us
    }
    assert len(key) == 32
    assert key.isalnum()
    tracker.log(3, FIGURES)
    assert wandb.history[key] == {3: GROUPED}
    tracker.close()
    assert wandb.ended == [key]


def test_a_wandb_run_goes_on_and_steps_done_again_are_not_sent_twice(tmp_path: Path, wandb: FakeWandb) -> None:
    for first, last in ((0, 7), (4, 12)):  # killed after 7 steps, the last checkpoint after 3
        with open_trackers(["wandb"], "run", tmp_path, SETTINGS) as trackers:
            for step in range(first, last + 1):
                trackers[0].log(step, {"loss": float(step)})
    assert wandb.asked[0]["id"] == wandb.asked[1]["id"]
    assert wandb.history == {wandb.asked[0]["id"]: {step: {"train/loss": float(step)} for step in range(13)}}
    open_trackers(["wandb"], "run", tmp_path / "other", SETTINGS)
    assert wandb.asked[2]["id"] != wandb.asked[0]["id"]


def test_a_wandb_that_will_not(tmp_path: Path, wandb: FakeWandb, monkeypatch: pytest.MonkeyPatch) -> None:
    wandb.refusal = wandb.Error("api_key not configured\n(no-tty)")
    words = ("api_key not configured (no-tty)", "wandb login", "WANDB_MODE=offline", TRACKER_FILE)
    refused(lambda: open_trackers(["wandb"], "run", tmp_path, {}), ConfigError, *words)
    wandb.refusal = None
    monkeypatch.setenv("WANDB_PROJECT", "theirs")
    open_trackers(["wandb"], "run", tmp_path, {})
    assert wandb.asked[0]["project"] == "theirs"


def test_comet(tmp_path: Path, comet: FakeComet, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(2):
        [tracker] = open_trackers(["comet"], "mine/predictor", tmp_path, SETTINGS)
        tracker.log(3, FIGURES)
        tracker.close()
    assert comet.said == [("parameters", PLAIN), ("metrics", (3, GROUPED)), ("end", None)] * 2
    first, second = comet.asked
    assert first == second  # the same experiment
    assert first["experiment_key"] == json.loads((tmp_path / TRACKER_FILE).read_text())["id"]
    assert (first["project_name"], first["mode"]) == ("kronos", "get_or_create")
    assert "online" not in first  # that is for COMET_START_ONLINE to say
    config = first["experiment_config"]
    assert config["name"] == "mine/predictor"
    assert config["offline_directory"] == str(tmp_path / "comet")
    assert not any(config[name] for name in ("log_code", "log_git_patch", "parse_args"))
    monkeypatch.setenv("COMET_PROJECT_NAME", "theirs")
    monkeypatch.setenv("COMET_OFFLINE_DIRECTORY", "elsewhere")
    open_trackers(["comet"], "run", tmp_path, {})
    assert comet.asked[2]["project_name"] == "theirs"
    assert comet.asked[2]["experiment_config"]["offline_directory"] == "elsewhere"


@pytest.mark.parametrize("kind", ["CometException", "ValueError", "OSError"])
def test_a_comet_that_will_not(tmp_path: Path, comet: FakeComet, kind: str) -> None:
    known = {"ValueError": ValueError, "OSError": ConnectionError}
    comet.refusal = known.get(kind, comet.exceptions.CometException)("no such key")
    refused(lambda: open_trackers(["comet"], "run", tmp_path, {}), ConfigError, "no such key", "COMET_API_KEY")


def test_tensorboard(tmp_path: Path, board: FakeBoard) -> None:
    [tracker] = open_trackers(["tensorboard"], "mine", tmp_path, SETTINGS)
    tracker.close()
    assert board.opened == []  # a run that has nothing left to do leaves no empty file
    tracker.log(1, FIGURES)
    tracker.log(2, {"loss": math.nan})
    tracker.close()
    assert board.opened == [(str(tmp_path / "tensorboard"), None)]
    assert board.scalars[:-1] == [(name, value, 1) for name, value in GROUPED.items()]
    assert board.scalars[-1][::2] == ("train/loss", 2)
    [(name, text, _)] = board.texts
    assert name == "settings"
    assert json.loads(text) == {"run": "mine", **PLAIN}
    assert all(line.startswith("    ") for line in text.splitlines())  # as code, where markdown is shown
    [again] = open_trackers(["tensorboard"], "mine", tmp_path, SETTINGS)
    again.log(2, FIGURES)
    again.close()
    assert board.opened[1:] == [(str(tmp_path / "tensorboard"), 2)]  # what was logged from step 2 on is hidden
    assert len(board.texts) == 1
    assert board.closed == 2


def test_a_tensorboard_that_cannot_write(tmp_path: Path, board: FakeBoard) -> None:
    [tracker] = open_trackers(["tensorboard"], "mine", tmp_path, SETTINGS)
    board.failure = OSError(28, "No space left on device")
    refused(lambda: tracker.log(1, FIGURES), KronosError, "tensorboard: cannot be written", "No space left")


def test_the_real_tensorboard_hides_what_a_killed_run_logged_too_much(tmp_path: Path) -> None:
    reading = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    for first, last, shift in ((1, 6, 100.0), (4, 9, 0.0)):
        with open_trackers(["tensorboard"], "mine", tmp_path, SETTINGS) as trackers:
            for step in range(first, last + 1):
                trackers[0].log(step, {"loss": step + shift} | ({"val_loss": math.nan} if step == 8 else {}))
    board = reading.EventAccumulator(str(tmp_path / "tensorboard"))
    board.Reload()
    assert board.Tags()["scalars"] == ["train/loss", "val/loss"]
    kept = [(event.step, event.value) for event in board.Scalars("train/loss")]
    assert kept == [(1, 101.0), (2, 102.0), (3, 103.0), *((step, float(step)) for step in range(4, 10))]
    assert math.isnan(board.Scalars("val/loss")[0].value)
    assert board.Tags()["tensors"] == ["settings/text_summary"]

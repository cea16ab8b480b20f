"""Other people's programs that follow a run: TensorBoard, Weights & Biases, Comet.

Each is told what `metrics.jsonl` is told, under the same names but for their first part, by which these programs group
their charts: `train/loss`, `val/loss`, `task/crps`. They are never the record: a run goes on from its own files.

What an account, a project or a server is, and whether there is any, the packages' own environment variables say
(WANDB_MODE=offline, COMET_START_ONLINE=0, ...). A run that goes on goes on in the same charts: the id that it was given
is kept in `tracker.json`, in its folder.
"""

import difflib
import json
import os
import secrets
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from kronos.errors import CheckpointError, ConfigError, KronosError
from kronos.extras import require, without_its_deprecations
from kronos.writing import replacing

TRACKER_FILE = "tracker.json"
PROJECT = "kronos"
"""The project that runs belong to, unless WANDB_PROJECT or COMET_PROJECT_NAME names another."""

_EXTRA = "tracking"


class Tracker(Protocol):
    """Who hears of every step's figures."""

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        """Take the figures of a step; steps come in order, and come again after a run was killed."""
        ...

    def close(self) -> None:
        """Hand over what is still waiting, and let go."""
        ...


class Trackers(list[Tracker]):
    """Open trackers; as a context manager, closed at its end. Closing twice does no harm."""

    def __enter__(self) -> Self:
        """The trackers themselves."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close all."""
        self.close()

    def close(self) -> None:
        """Close each, whatever the others say."""
        with ExitStack() as stack:
            for tracker in self:
                stack.callback(tracker.close)


def open_trackers(
    names: Sequence[str], run: str, folder: Path, settings: Mapping[str, Any], leads: bool = True
) -> Trackers:
    """The trackers called "tensorboard", "wandb" or "comet", opened for the run called `run` in this folder.

    `settings` is the run's whole configuration, nested as it is, and is shown beside its charts. Of several processes
    that train together one leads; the others track nothing.
    """
    for name in names:
        if name not in _OPENERS:
            near = difflib.get_close_matches(name, _OPENERS, n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"known are {', '.join(_OPENERS)}"
            raise ConfigError(f"there is no tracker '{name}'; {hint}")
    opened = Trackers()
    with ExitStack() as stack:
        stack.callback(opened.close)  # where one of them cannot be opened
        for name in dict.fromkeys(names if leads else ()):
            opened.append(_OPENERS[name](run, folder, settings))
        stack.pop_all()
    return opened


class TensorBoard:
    """Event files in FOLDER/tensorboard, for `tensorboard --logdir` on any folder above."""

    def __init__(self, run: str, folder: Path, settings: Mapping[str, Any]) -> None:
        """Nothing is written before the first step, because only that says where the run goes on."""
        with without_its_deprecations():
            require("tensorboard", extra=_EXTRA)  # torch's own complaint would not say what to install
            self._module = require("torch.utils.tensorboard", extra=_EXTRA)
        self._folder, self._run, self._settings = folder / "tensorboard", run, settings
        self._writer: Any = None

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        """Scalars at this step; at the first one, those of later steps that a killed run left are hidden."""
        try:
            if self._writer is None:
                self._open(step)
            for name, value in _grouped(figures).items():
                self._writer.add_scalar(name, value, step)
        except OSError as error:
            raise KronosError(f"{self._folder}: cannot be written ({error.strerror or error})") from error

    def close(self) -> None:
        """Write what is waiting."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _open(self, step: int) -> None:
        before = self._folder.is_dir() and any(self._folder.iterdir())
        with without_its_deprecations():
            self._writer = self._module.SummaryWriter(str(self._folder), purge_step=step if before else None)
        if not before:
            text = json.dumps(_plain({"run": self._run, **self._settings}), indent=1, ensure_ascii=False)
            self._writer.add_text("settings", "".join(f"    {line}\n" for line in text.splitlines()), 0)


class WeightsAndBiases:
    """A run of wandb's; its files are in FOLDER/wandb."""

    def __init__(self, run: str, folder: Path, settings: Mapping[str, Any]) -> None:
        """Begin the run, or go on with it; another run that the program has open is left alone."""
        wandb = require("wandb", extra=_EXTRA)
        key = _key_of(folder)
        try:
            self._run: Any = wandb.init(
                project=os.environ.get("WANDB_PROJECT") or PROJECT,
                name=run,
                dir=str(folder),
                config=_plain(settings),
                id=key,
                resume="allow",
                reinit="create_new",
            )
        except wandb.Error as error:
            raise _refused("wandb", "run `wandb login`, or set WANDB_MODE=offline", folder, error) from error

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        """One row of the run's history; steps that it already has are the same ones, done again."""
        if step >= self._run.starting_step:
            self._run.log(_grouped(figures), step=step)

    def close(self) -> None:
        """Upload what is waiting and end the run; the same run can go on later."""
        if self._run is not None:
            self._run.finish()
            self._run = None


class Comet:
    """An experiment of Comet's; archives of an offline one are in FOLDER/comet.

    Source code and uncommitted changes, which Comet would collect as well, are not sent.
    """

    def __init__(self, run: str, folder: Path, settings: Mapping[str, Any]) -> None:
        """Begin the experiment, or go on with it; Comet ends another one that the program has open."""
        comet = require("comet_ml", extra=_EXTRA)
        key = _key_of(folder)
        config = comet.ExperimentConfig(
            name=run,
            offline_directory=os.environ.get("COMET_OFFLINE_DIRECTORY") or str(folder / "comet"),
            log_code=False,
            log_git_patch=False,
            parse_args=False,
            auto_metric_logging=False,
            auto_param_logging=False,
        )
        try:
            self._experiment: Any = comet.start(
                project_name=os.environ.get("COMET_PROJECT_NAME") or PROJECT,
                experiment_key=key,
                mode="get_or_create",
                experiment_config=config,
            )
        except (comet.exceptions.CometException, ValueError, OSError) as error:  # an OSError where no server answers
            raise _refused("comet", "set COMET_API_KEY, or COMET_START_ONLINE=0", folder, error) from error
        self._experiment.log_parameters(_plain(settings))

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        """Metrics at this step."""
        self._experiment.log_metrics(_grouped(figures), step=step)

    def close(self) -> None:
        """Upload what is waiting, or write the archive."""
        if self._experiment is not None:
            self._experiment.end()
            self._experiment = None


_OPENERS: dict[str, Callable[[str, Path, Mapping[str, Any]], Tracker]] = {
    "tensorboard": TensorBoard,
    "wandb": WeightsAndBiases,
    "comet": Comet,
}


def _grouped(figures: Mapping[str, float]) -> dict[str, float]:
    """Names with the group first: val_loss is val/loss, and what names no group is train's."""
    named = {}
    for name, value in figures.items():
        group, _, rest = name.partition("_")
        named[f"{group}/{rest}" if group in ("val", "task") and rest else f"train/{name}"] = value
    return named


def _key_of(folder: Path) -> str:
    """What the trackers know the run in this folder by: 32 letters and digits, made up once."""
    path = folder / TRACKER_FILE
    try:
        if path.exists():
            return str(json.loads(path.read_text(encoding="utf-8"))["id"])
        folder.mkdir(parents=True, exist_ok=True)
        key = secrets.token_hex(16)
        with replacing(path) as temporary:
            temporary.write_text(json.dumps({"id": key}) + "\n", encoding="utf-8")
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path}: damaged; delete it, and the trackers begin a new run") from error
    except OSError as error:
        raise KronosError(f"{path}: cannot be read or written ({error.strerror or error})") from error
    return key


def _plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as JSON knows them, so that every tracker shows the same: dates and paths as text, tuples as lists."""
    plain: dict[str, Any] = json.loads(json.dumps(dict(settings), default=str))
    return plain


def _refused(name: str, remedy: str, folder: Path, error: Exception) -> ConfigError:
    reason = " ".join(str(error).split())[:300] or type(error).__name__
    new = f"where that run was deleted, delete {folder / TRACKER_FILE}"
    return ConfigError(f"{name} would not begin the run ({reason}); {remedy}; {new}")

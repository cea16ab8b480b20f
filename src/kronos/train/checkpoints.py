"""The state of a run on disk: the last few steps to go on from, and the best weights so far.

    STAGE/checkpoints/step-00000400.pt   everything that moves: weights, averages, optimisers, where the run is
    STAGE/best.pt                        the best weights and what they scored

Every file is written under another name first, so a kill at any moment leaves the ones before it whole.
"""

import errno
import struct
import zipfile
import zlib
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from kronos.errors import CheckpointError
from kronos.writing import replacing

FOLDER = "checkpoints"
BEST_FILE = "best.pt"

State = dict[str, Any]

# whatever torch's reader says of bytes that are no state
_UNREADABLE = (
    RuntimeError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    EOFError,
    OSError,
    UnpicklingError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)


class Keeper:
    """Writes and finds the checkpoints of one stage."""

    def __init__(self, folder: Path, keep_last: int) -> None:
        """In this folder, which need not be there yet."""
        self.folder, self.keep_last = folder, keep_last
        self._damaged: set[Path] = set()

    def save(self, state: State, step: int) -> Path:
        """Write the state after a step, and drop the oldest beyond `keep_last`."""
        path = self.folder / FOLDER / f"step-{step:08d}.pt"
        self._write(state, path)
        self._damaged.discard(path)
        for old in [*self._damaged, *self._paths()[: -self.keep_last]]:
            old.unlink(missing_ok=True)
        self._damaged.clear()
        return path

    def save_best(self, state: State) -> None:
        """Put these weights in the best ones' place."""
        self._write(state, self.folder / BEST_FILE)

    def latest(self) -> tuple[Path, State, list[str]] | None:
        """The newest state that can be read, and what is wrong with newer ones; None where there is no checkpoint."""
        troubles: list[str] = []
        for path in self._paths()[::-1]:
            try:
                return path, read_state(path), troubles
            except CheckpointError as error:
                troubles.append(str(error))
                self._damaged.add(path)
        if troubles:
            raise CheckpointError(
                f"no checkpoint of this run can be read ({'; '.join(troubles)}); begin in a new folder"
            )
        return None

    def best(self) -> State | None:
        """The best weights so far; None where nothing was better than anything."""
        path = self.folder / BEST_FILE
        return read_state(path) if path.exists() else None

    def last_step(self) -> int | None:
        """The step of the newest checkpoint, by its name; what was found damaged is none."""
        paths = self._paths()
        return int(paths[-1].stem.partition("-")[2]) if paths else None

    def _paths(self) -> list[Path]:
        return sorted(set((self.folder / FOLDER).glob("step-????????.pt")) - self._damaged)

    def _write(self, state: State, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        for left in path.parent.glob(f".{path.name.partition('-')[0]}*.tmp"):  # what a kill left half written
            left.unlink(missing_ok=True)
        try:
            with replacing(path) as temporary:
                torch.save(state, temporary)
        except (OSError, RuntimeError) as error:  # torch's writer turns a full disk into a RuntimeError
            raise CheckpointError(self._trouble(error, path)) from error

    def _trouble(self, error: Exception, path: Path) -> str:
        full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
        reason = "the disk is full" if full else " ".join(str(error).split())[:200]
        last = self.last_step()
        good = "there is no earlier checkpoint" if last is None else f"the checkpoint of step {last} is whole"
        return (
            f"{path}: cannot be written ({reason}); {good}. Make room and run the same command: it goes on from there"
        )


def read_state(path: Path) -> State:
    """A state from its file; nothing but tensors and plain values is read."""
    try:
        with zipfile.ZipFile(path) as archive:  # torch writes checksums and does not look at them
            spoilt = archive.testzip()
        if spoilt is not None:
            raise zipfile.BadZipFile(f"{spoilt} does not have its checksum")
        state = torch.load(path, map_location="cpu", weights_only=True)
    except _UNREADABLE as error:
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(f"{path}: not a readable checkpoint ({reason})") from error
    if not isinstance(state, dict):
        raise CheckpointError(f"{path}: not a checkpoint, it holds a {type(state).__name__}")
    return state

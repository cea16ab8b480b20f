"""A trained pair on the Hub: a folder as it will be there, with its card, and the upload of that folder.

What goes is the two networks, the card, their calibration, the training's figures without the places that they name,
and its picture.
Optimisers, checkpoints, logs and settings files stay where they are. A pair that does not load is not sent.
"""

import json
import re
import shutil
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kronos.errors import CheckpointError, ConfigError
from kronos.model.card import CARD_FILE, PICTURE, Facts, model_card, shareable
from kronos.model.checkpoint import CONFIG_FILE, WEIGHTS_FILE, transfer_errors
from kronos.model.zoo import load_pair
from kronos.writing import replacing_folder

if TYPE_CHECKING:
    from huggingface_hub import HfApi

PARTS = ("predictor", "tokenizer")
CALIBRATION = "calibration.json"
_FIGURES = ("training.json", "comparison.json")
_SENT = {
    CARD_FILE,
    PICTURE,
    CALIBRATION,
    *_FIGURES,
    *(f"{part}/{name}" for part in PARTS for name in (CONFIG_FILE, WEIGHTS_FILE)),
}


def check_repository(name: str) -> None:
    """Raise unless a name is one that a Hub repository can have: OWNER/NAME."""
    word = r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?"
    if re.fullmatch(f"{word}/{word}", name) is None or "--" in name or ".." in name or name.endswith(".git"):
        raise ConfigError(
            f"'{name}' is no Hub name: OWNER/NAME, of letters, digits, '-', '_' and '.', which do not follow each other"
        )
    if any(len(part) > 96 for part in name.split("/")):
        raise ConfigError(f"'{name}' is too long for a Hub name, whose parts have at most 96 letters")


def prepare(source: str | Path, out: str | Path, *, repo: str | None = None, license: str | None = None) -> Path:
    """Write the folder that goes to the Hub: both networks and the card, whole or not at all.

    `source` is what training wrote: `predictor/` and `tokenizer/`, and beside them, where there are any, training.json,
    comparison.json, calibration.json, settings.yaml, training.png, and a README.md, whose text is kept.
    """
    source, out = Path(source), Path(out)
    if not source.is_dir():
        raise CheckpointError(f"{source}: no such folder")
    if (source / "ensemble.json").exists():
        raise CheckpointError(f"{source}: an ensemble, and a repository holds one pair; name a member's folder")
    _refuse_place(source, out)
    pair, facts = load_pair(source, tokenizer=source), Facts.read(source)
    pair.network.record(pair=pair.tokenizer.fingerprint())  # what is published together is asked for together
    card = model_card(pair, facts, repo=repo, license=license)
    out.absolute().parent.mkdir(parents=True, exist_ok=True)
    with replacing_folder(out.absolute()) as folder:
        pair.network.save_pretrained(folder / "predictor")
        pair.tokenizer.save_pretrained(folder / "tokenizer")
        (folder / CARD_FILE).write_text(card, encoding="utf-8")
        for name, tree in zip(_FIGURES, (facts.training, facts.comparison), strict=True):
            if tree:
                (folder / name).write_text(json.dumps(shareable(tree), indent=1) + "\n", encoding="utf-8")
        if (source / CALIBRATION).is_file():
            shutil.copyfile(source / CALIBRATION, folder / CALIBRATION)
        if facts.picture:
            shutil.copyfile(source / PICTURE, folder / PICTURE)
        back = load_pair(folder)
        if (back.network.fingerprint(), back.tokenizer.fingerprint()) != (
            pair.network.fingerprint(),
            pair.tokenizer.fingerprint(),
        ):
            raise CheckpointError(f"{out}: the weights on disk are not those that were written; is the disk sound?")
    return out


def contents(folder: str | Path) -> list[tuple[str, int]]:
    """What of a prepared folder is sent: names and sizes in bytes."""
    folder = Path(folder)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    named = [(path.relative_to(folder).as_posix(), path.stat().st_size) for path in files]
    return [(name, size) for name, size in named if name in _SENT]


def upload(
    folder: str | Path,
    repo: str,
    *,
    private: bool = False,
    token: str | None = None,
    endpoint: str | None = None,
    report: Callable[[str], None] = lambda line: None,
) -> str:
    """Send a prepared folder to a Hub repository, which is made if it is not there; the address of the commit.

    The token is the given one, `HF_TOKEN`, or that of `hf auth login`.
    """
    check_repository(repo)
    if not Path(folder).is_dir():
        raise CheckpointError(f"{folder}: no such folder")
    load_pair(folder, tokenizer=folder)  # whoever calls this with a folder of their own is held to it as well
    from huggingface_hub import HfApi, get_token

    if token is None and get_token() is None:
        raise CheckpointError(f"{repo}: no token for the Hub; run `hf auth login`, or set HF_TOKEN")
    api = HfApi(endpoint=endpoint, token=token)
    # the client wraps what went wrong with a large file into a RuntimeError
    failures: tuple[type[Exception], ...] = (*transfer_errors(), RuntimeError)
    try:
        with warnings.catch_warnings(record=True) as remarks:
            warnings.simplefilter("always")
            _make_repository(api, repo, private)
            names = [name for name, _ in contents(folder)]
            done = api.upload_folder(
                repo_id=repo, folder_path=folder, allow_patterns=names, commit_message="Kronos: predictor and tokenizer"
            )
    except failures as error:
        raise CheckpointError(f"{repo}: {_trouble(error, repo)}") from error
    for line in _remarks(remarks):
        report(line)
    return str(done.commit_url)


def _make_repository(api: "HfApi", repo: str, private: bool) -> None:
    if not private:  # an owner's own rule decides
        api.create_repo(repo, exist_ok=True)
        return
    api.create_repo(repo, exist_ok=True, private=True)
    if not api.model_info(repo).private:  # one that is there already keeps what it is
        raise CheckpointError(f"{repo}: this repository is public already; make it private on its page first")


def _refuse_place(source: Path, out: Path) -> None:
    """Raise before a folder that holds anything else would be replaced."""
    if out.resolve() == source.resolve():
        raise ConfigError(f"{out}: this is the folder of the training itself; name another one")
    if out.exists() and not out.is_dir():
        raise ConfigError(f"{out}: this is a file; name a folder")
    if not out.is_dir():
        return
    others = [name for name in _files(out) if name not in _SENT]
    if others:
        raise ConfigError(f"{out}: holds {others[0]}, which was not prepared for the Hub; name a new folder")


def _files(folder: Path) -> Iterator[str]:
    for path in sorted(folder.rglob("*")):
        if not path.is_dir() or path.is_symlink():
            yield path.relative_to(folder).as_posix()


def _remarks(caught: list[warnings.WarningMessage]) -> Iterator[str]:
    """What the Hub had to say about the card, without our packages' own deprecations."""
    for one in caught:
        if not issubclass(one.category, DeprecationWarning | FutureWarning | ResourceWarning):
            yield " ".join(str(one.message).split())


def _trouble(error: BaseException, repo: str) -> str:
    """What went wrong with an upload, in words."""
    chain: list[Any] = [error]
    while chain[-1].__cause__ is not None:
        chain.append(chain[-1].__cause__)
    status = next((one.response.status_code for one in chain if getattr(one, "response", None) is not None), None)
    said = next((one.server_message for one in chain if getattr(one, "server_message", None)), None)
    lines = (said or str(error)).strip().splitlines()
    reason = lines[-1] if lines else type(error).__name__
    if status == 401:
        return f"the Hub does not know this token ({reason}); run `hf auth login`, or set HF_TOKEN"
    if status == 403:
        return f"this token may not write there ({reason}); it needs the right to write to {repo.partition('/')[0]}"
    if status is not None:
        return f"the Hub refused it, status {status} ({reason})"
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    if isinstance(error, ValueError):
        return f"the Hub refused it ({reason})"
    return f"the Hub cannot be reached, or the connection broke ({reason}); the same command tries again"

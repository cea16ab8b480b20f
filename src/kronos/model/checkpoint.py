"""Weights on disk and on the Hub: `config.json` with the constructor's arguments, `model.safetensors` beside it.

Loading is strict: every key present, none left over, every shape right, always in evaluation mode. Bare weights files,
with a config.json beside them or none, are read by `legacy`. Saving writes to a temporary name first, so a file with
the right name is a whole file.
"""

import hashlib
import inspect
import json
import sys
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from safetensors.torch import save_file
from torch import nn
from torch.overrides import TorchFunctionMode

from kronos.errors import CheckpointError, ConfigError, KronosWarning
from kronos.model import legacy
from kronos.writing import replacing

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
_OLD_WEIGHTS_FILE = "pytorch_model.bin"


class AbsentError(CheckpointError):
    """A Hub repository, or what is here of it while the Hub cannot be reached, does not hold a file."""


class Checkpoint(nn.Module):
    """A network that can be saved and loaded; `config` holds the arguments it was built from."""

    own_keys: ClassVar[Mapping[str, Any]] = {}
    """Configuration keys of our own and the published behaviour's values, which are not written to a file."""

    def __init__(self, scope: Mapping[str, Any]) -> None:
        """Keep the constructor's arguments, found in its `locals()`."""
        super().__init__()
        names = [name for name in inspect.signature(type(self).__init__).parameters if name != "self"]
        self.config: dict[str, Any] = {name: scope[name] for name in names}

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | Path,
        *,
        revision: str | None = None,
        cache_dir: str | Path | None = None,
        token: str | bool | None = None,
        local_files_only: bool = False,
        force_download: bool = False,
        subfolder: str | None = None,
    ) -> Self:
        """Load from a folder, a weights file, or the Hub by repository name; the result is in evaluation mode.

        In a folder the weights may have any name and be a safetensors file or `torch.save`'s; without a config.json
        beside them, sizes are read off the tensors and the rest is as published.
        """
        place = Path(pretrained_model_name_or_path)
        if place.is_file():
            return cls._from_weights(place)
        if place.is_dir():
            return cls._from_folder(place / (subfolder or ""))
        refuse_missing_folder(str(pretrained_model_name_or_path))
        fetch = hub_fetcher(
            str(pretrained_model_name_or_path),
            revision=revision,
            cache_dir=cache_dir,
            token=token,
            local_files_only=local_files_only,
            force_download=force_download,
            subfolder=subfolder,
        )
        config_file = fetch(CONFIG_FILE)
        try:
            return cls._from_files(config_file, fetch(WEIGHTS_FILE))
        except AbsentError as error:
            try:
                return cls._from_files(config_file, fetch(_OLD_WEIGHTS_FILE))
            except AbsentError:
                raise error from None

    @classmethod
    def part(cls) -> legacy.Part:
        """Which network this is, by its constructor's arguments."""
        found = legacy.part_of(inspect.signature(cls.__init__).parameters)
        assert found is not None, "neither of the published networks"
        return found

    @classmethod
    def _from_folder(cls, folder: Path) -> Self:
        config_file, weights_file = folder / CONFIG_FILE, folder / WEIGHTS_FILE
        if config_file.exists() and weights_file.exists():
            return cls._from_files(config_file, weights_file)
        found = legacy.search(folder, cls.part())
        if found.path is not None:
            return cls._from_weights(found.path)
        if found.troubles:
            raise CheckpointError("; ".join(found.troubles))
        return cls._from_files(config_file, weights_file)  # which says what is missing

    @classmethod
    def _from_weights(cls, weights_file: Path) -> Self:
        """Load a weights file with the configuration beside it, or with one read off its tensors."""
        config_file, part = weights_file.parent / CONFIG_FILE, cls.part()
        # two networks may lie in one folder, and the configuration is one's alone
        if config_file.exists() and legacy.part_of_config(config_file) in (part, None):
            return cls._from_files(config_file, weights_file)
        state = legacy.read_network(weights_file, part)
        config = legacy.inferred(state, part, weights_file)
        if not legacy.is_published(config, part):
            warnings.warn(
                f"{weights_file}: no {CONFIG_FILE} beside it, so sizes are read off the tensors and all else is taken "
                f"as published; a {part} that was trained otherwise forecasts wrongly without its {CONFIG_FILE}",
                KronosWarning,
                stacklevel=3,
            )
        model = cls._unfilled(config, weights_file)
        model._take(state, f"{weights_file}: not a whole {part}")
        return model.eval()

    @classmethod
    def _from_files(cls, config_file: Path, weights_file: Path) -> Self:
        model = cls._unfilled(cls._arguments(read_config(config_file), config_file), config_file)
        state = legacy.read_network(weights_file, cls.part())
        model._take(state, f"{weights_file}: does not fit its {CONFIG_FILE}")
        return model.eval()

    @classmethod
    def _unfilled(cls, arguments: Mapping[str, Any], where: Path) -> Self:
        """A network of these arguments whose numbers are yet to come."""
        try:
            with _Unfilled():  # the file replaces the initial values
                return cls(**arguments)
        except (TypeError, ValueError, ArithmeticError, RuntimeError) as error:  # sizes that are no sizes
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise CheckpointError(f"{where}: {reason}") from error

    @classmethod
    def _arguments(cls, config: Mapping[str, Any], where: Path) -> dict[str, Any]:
        """The constructor's arguments among the keys of a config.json; other keys are somebody else's."""
        parameters = dict(inspect.signature(cls).parameters)
        missing = [k for k, p in parameters.items() if p.default is p.empty and k not in config]
        if missing:
            raise CheckpointError(f"{where}: not a {cls.__name__} configuration, it lacks {', '.join(missing)}")
        return {k: config[k] for k in parameters if k in config}

    def _take(self, weights: dict[str, torch.Tensor], complaint: str) -> None:
        """Fill this network from a file's tensors, or say exactly what does not fit."""
        wanted = self.state_dict()
        problems = [f"lacks {k}" for k in wanted.keys() - weights.keys()]
        problems += [f"has the unknown {k}" for k in weights.keys() - wanted.keys()]
        problems += [
            f"{k} has shape {tuple(weights[k].shape)}, the configuration says {tuple(tensor.shape)}"
            for k, tensor in wanted.items()
            if k in weights and weights[k].shape != tensor.shape
        ]
        problems += [
            f"{k} holds {str(weights[k].dtype).removeprefix('torch.')}"
            for k, tensor in wanted.items()
            if k in weights and weights[k].is_floating_point() != tensor.is_floating_point()
        ]
        if problems:
            shown = "; ".join(sorted(problems)[:4]) + ("; ..." if len(problems) > 4 else "")
            raise CheckpointError(f"{complaint} ({len(problems)} problems: {shown})")
        # a half-precision file is computed in float32, like the reference; whole-number buffers stay what they are
        cast = {k: v.float() if v.is_floating_point() else v for k, v in weights.items()}
        self.load_state_dict(cast, strict=True, assign=True)

    def save_pretrained(self, save_directory: str | Path) -> None:
        """Write config.json and model.safetensors into a folder, in the published format."""
        folder = Path(save_directory)
        folder.mkdir(parents=True, exist_ok=True)
        config = {k: v for k, v in self.config.items() if k not in self.own_keys or v != self.own_keys[k]}
        text = json.dumps(dict(sorted(config.items())), indent=2)
        weights = {k: v.detach().cpu().contiguous() for k, v in self.state_dict().items()}
        # weights first: a folder with a configuration is a folder with weights
        with replacing(folder / WEIGHTS_FILE) as path:
            save_file(weights, path)
        with replacing(folder / CONFIG_FILE) as path:
            path.write_text(text, encoding="utf-8")

    def record(self, **keys: Any) -> None:
        """Set configuration keys of our own (`own_keys`) on this network, to be saved with it."""
        for key, value in keys.items():
            if key not in self.own_keys:
                raise ConfigError(
                    f"{type(self).__name__} has no recordable key '{key}', only {', '.join(self.own_keys)}"
                )
            self.config[key] = value
            setattr(self, key, value)

    def fingerprint(self) -> str:
        """A short hash of the weights, the same for the same numbers wherever they are loaded."""
        digest = hashlib.sha256()
        for key, tensor in sorted(self.state_dict().items()):
            digest.update(key.encode())
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()[:16]


class _Unfilled(TorchFunctionMode):
    """Leaves memory unfilled where initial values would be drawn, which takes longer than reading a file.

    (The meta device would do the same, and import torch's compiler for it: most of a second.)
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__name__", "") in ("normal_", "uniform_", "kaiming_uniform_"):
            return kwargs["tensor"] if "tensor" in kwargs else args[0]
        return func(*args, **kwargs)


def read_config(path: Path) -> dict[str, Any]:
    """The mapping in a config.json."""
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CheckpointError(f"{path.parent}: no {path.name} in this folder, so it holds no checkpoint") from error
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: not a readable configuration ({error})") from error
    if not isinstance(config, dict):
        raise CheckpointError(f"{path}: expected keys and values, found {type(config).__name__}")
    return config


def refuse_missing_folder(name: str) -> None:
    """Raise for a name that can only be a place on disk and is not there, instead of asking the Hub for nonsense."""
    if name.lower().endswith(legacy.SUFFIXES):
        raise CheckpointError(f"{name}: no such file")
    if name.count("/") != 1 or name.startswith((".", "/", "~")) or "\\" in name:
        raise CheckpointError(f"{name}: no such folder, and not a Hub name of the form OWNER/MODEL")


def hub_fetcher(repo: str, *, subfolder: str | None = None, **options: Any) -> Callable[[str], Path]:
    """A function that brings one file of a Hub repository and returns where it lies."""

    def fetch(filename: str) -> Path:
        # imported here: loading a folder or the embedded weights must not pay for it
        from huggingface_hub import hf_hub_download

        try:
            return Path(hf_hub_download(repo, filename, subfolder=subfolder, **options))
        except transfer_errors() as error:
            from huggingface_hub.errors import EntryNotFoundError

            trouble = _hub_trouble(error, filename, options.get("revision"))
            kind = AbsentError if isinstance(error, EntryNotFoundError) else CheckpointError
            raise kind(f"{repo}: {trouble}") from error

    return fetch


def transfer_errors() -> tuple[type[Exception], ...]:
    """What a transfer raises: huggingface_hub lets a dropped connection's error through as its HTTP library's own."""
    loaded = [sys.modules[name] for name in ("httpx2", "httpx") if name in sys.modules]
    return (ValueError, OSError, *(module.HTTPError for module in loaded))  # those of requests are OSErrors


def _hub_trouble(error: Exception, filename: str, revision: str | None) -> str:
    """What went wrong on the Hub, in words."""
    from huggingface_hub import errors

    if isinstance(error, errors.LocalEntryNotFoundError):
        return f"the Hub cannot be reached and {filename} is not in the local cache"
    if isinstance(error, errors.EntryNotFoundError):
        return f"this Hub repository holds no {filename}"
    if isinstance(error, errors.RevisionNotFoundError):
        return f"this Hub repository has no revision '{revision}'"
    if isinstance(error, errors.RepositoryNotFoundError):
        return "the Hub has no such repository, or it is private or gated and needs token="
    if isinstance(error, errors.HFValidationError):
        return f"not a folder and not a Hub name ({error})"
    reason = str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
    return f"{filename} cannot be had from the Hub ({reason}); the same command goes on with the download"

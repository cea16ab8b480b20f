"""The models by name: sizes, contexts, and which tokenizer belongs to which network.

A network with the wrong tokenizer still runs and its forecasts are several times worse, so pairs are checked: by the
fingerprint that our own checkpoints record, and by size and group for the published ones, which record nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from kronos.errors import CheckpointError
from kronos.model import legacy
from kronos.model.checkpoint import CONFIG_FILE, AbsentError, Checkpoint
from kronos.model.network import Kronos
from kronos.model.tokenizer import KronosTokenizer

WEIGHTS_FOLDER = Path(__file__).parent / "weights"
DEFAULT_CONTEXT = 512

_BITS = {"s1_bits": 10, "s2_bits": 10}
_TOKENIZER = {
    "d_in": 6,
    "d_model": 256,
    "n_heads": 4,
    "ff_dim": 512,
    "n_enc_layers": 4,
    "n_dec_layers": 4,
    **_BITS,
    **legacy.TOKENIZER_CONSTANTS,
}
_FOLDERS: Mapping[legacy.Part, tuple[str, ...]] = {"predictor": ("predictor", "basemodel"), "tokenizer": ("tokenizer",)}
_BEST = ("best_model", "checkpoints/best_model")  # where published training scripts put the weights to be used


@dataclass(frozen=True)
class ZooEntry:
    """A named pair of network and tokenizer."""

    name: str
    network: str | None
    """Where the network's weights are: a Hub name, None where none were released."""
    tokenizer: str
    parameters: int
    tokenizer_parameters: int
    max_context: int
    network_config: Mapping[str, Any] = field(default_factory=dict)
    """The network's constructor arguments; for the embedded one they are in its own config.json."""
    tokenizer_config: Mapping[str, Any] = field(default_factory=dict)

    @property
    def embedded(self) -> bool:
        """Whether the weights come with the package."""
        return self.folder.is_dir()

    @property
    def folder(self) -> Path:
        """Where embedded weights lie."""
        return WEIGHTS_FOLDER / self.name


def _published(name: str, parameters: int, context: int, group_size: int, size: tuple[int, int, int, int]) -> ZooEntry:
    layers, width, heads, hidden = size
    (ffn, attention), released = legacy.PUBLISHED_DROPOUTS[size], name != "large"
    config = {
        **_BITS,
        "n_layers": layers,
        "d_model": width,
        "n_heads": heads,
        "ff_dim": hidden,
        "ffn_dropout_p": ffn,
        "resid_dropout_p": ffn,
        "attn_dropout_p": attention,
        "token_dropout_p": attention,
        "learn_te": True,
    }
    return ZooEntry(
        name=name,
        network=f"NeoQuasar/Kronos-{name}" if released else None,
        tokenizer=f"NeoQuasar/Kronos-Tokenizer-{'2k' if group_size == 5 else 'base'}",
        parameters=parameters,
        tokenizer_parameters=3_958_042,
        max_context=context,
        network_config=config,
        tokenizer_config={**_TOKENIZER, "group_size": group_size},
    )


ZOO: Mapping[str, ZooEntry] = {
    entry.name: entry
    for entry in (
        ZooEntry("nano", "embedded", "embedded", 1_054_080, 376_246, 512),
        _published("mini", 4_108_032, 2048, 5, (4, 256, 4, 512)),
        _published("small", 24_741_376, 512, 4, (8, 512, 8, 1024)),
        _published("base", 102_310_592, 512, 4, (12, 832, 16, 2048)),
        _published("large", 499_246_976, 512, 4, (18, 1664, 32, 3072)),
    )
}


@dataclass(frozen=True)
class Pair:
    """A network and the tokenizer it was trained with."""

    name: str
    network: Kronos
    tokenizer: KronosTokenizer


def load_pair(
    name: str | Path,
    *,
    tokenizer: str | Path | None = None,
    revision: str | None = None,
    tokenizer_revision: str | None = None,
    **options: Any,
) -> Pair:
    """Load by zoo name, from a folder, a weights file, or the Hub; the tokenizer is found by itself unless named.

    A folder or a Hub repository holds `predictor/` and `tokenizer/`, or is the predictor's own; a folder may have the
    tokenizer beside it. Weights without a configuration are recognised by their keys. The revisions pin either part on
    the Hub; `options` go to `from_pretrained` (cache_dir, token, local_files_only, force_download).
    """
    place = _resolve(name)
    network, whole = _load_part(Kronos, place, revision, options)
    if tokenizer is not None:
        found, _ = _load_part(KronosTokenizer, _resolve(tokenizer, "tokenizer"), tokenizer_revision, options)
    elif whole:  # a repository of both: they are of one revision
        found, _ = _load_part(KronosTokenizer, place, tokenizer_revision or revision, options)
    else:
        found, _ = _load_part(KronosTokenizer, _tokenizer_of(name, place, network), tokenizer_revision, options)
    check_pair(network, found)
    path = Path(name)
    return Pair(network.name or (path.stem if path.is_file() else path.name), network, found)


def check_pair(network: Kronos, tokenizer: KronosTokenizer) -> None:
    """Raise unless this tokenizer is the one that the network was trained with, as far as can be known."""
    if (network.s1_bits, network.s2_bits) != (tokenizer.s1_bits, tokenizer.s2_bits):
        raise CheckpointError(
            f"the network reads {network.s1_bits} + {network.s2_bits} bits a bar and the tokenizer writes "
            f"{tokenizer.s1_bits} + {tokenizer.s2_bits}: they do not belong together"
        )
    if network.pair is not None:
        if network.pair != tokenizer.fingerprint():
            raise CheckpointError(
                f"the network was trained with the tokenizer of fingerprint {network.pair} and this one has "
                f"{tokenizer.fingerprint()}; load the tokenizer that was saved beside the network"
            )
        return
    entry = published_entry(network)
    group = tokenizer.config["group_size"]
    if entry is not None and group != entry.tokenizer_config["group_size"]:
        raise CheckpointError(
            f"a Kronos-{entry.name} network belongs to {entry.tokenizer}; this tokenizer has group_size {group} "
            f"instead of {entry.tokenizer_config['group_size']}. If it was really trained with this one, "
            "network.record(pair=tokenizer.fingerprint()) says so"
        )


def published_entry(network: Kronos) -> ZooEntry | None:
    """The zoo's entry of the published size that this network has."""
    shape = ("s1_bits", "s2_bits", "n_layers", "d_model", "n_heads", "ff_dim")
    same = (
        e for e in ZOO.values() if e.network_config and all(network.config[k] == e.network_config[k] for k in shape)
    )
    return next(same, None)


def context_of(network: Kronos) -> int:
    """The longest window this network was trained for."""
    if network.max_context is not None:
        return network.max_context
    entry = published_entry(network)
    return entry.max_context if entry else DEFAULT_CONTEXT


def _resolve(name: str | Path, part: legacy.Part = "predictor") -> str | Path:
    """What a name means: a path that is there (of the embedded weights, too), or a Hub name as text."""
    entry = ZOO.get(str(name))
    if entry is not None:
        if part == "tokenizer" and entry.network_config:
            return entry.tokenizer
        if entry.network is None:
            raise CheckpointError(f"'{name}' was never released; its configuration is in the zoo for pretraining")
        if not entry.network_config and not entry.embedded:
            raise CheckpointError(f"the embedded weights of '{name}' are missing from {entry.folder}; reinstall")
        return entry.network if entry.network_config else entry.folder
    if Path(name).exists():
        return Path(name)
    if str(name).lower().endswith(legacy.SUFFIXES):
        raise CheckpointError(f"{name}: no such file")
    if "/" not in str(name):
        raise CheckpointError(f"'{name}' is neither a folder nor one of {', '.join(ZOO)}; a Hub name is OWNER/MODEL")
    return str(name)


_Network = TypeVar("_Network", bound=Checkpoint)


def _load_part(
    kind: type[_Network], place: str | Path, revision: str | None, options: dict[str, Any]
) -> tuple[_Network, bool]:
    """One network of a pair, and whether it came out of a Hub repository that is meant to hold both."""
    part = kind.part()
    if isinstance(place, Path):
        return kind.from_pretrained(_inside(place, part) or place), False
    try:
        return kind.from_pretrained(place, revision=revision, **options), False
    except AbsentError as error:
        if "subfolder" in options:
            raise
        try:
            return kind.from_pretrained(place, revision=revision, subfolder=part, **options), True
        except AbsentError:
            raise CheckpointError(f"{error}, nor {part}/{CONFIG_FILE}") from error


def _inside(start: Path, part: legacy.Part) -> Path | None:
    """The folder or file, at a place or in the folders that training makes there, that holds this network."""
    if start.is_file():
        return start
    own = _holding(start, part)
    if own is not None:
        return own
    named = next((start / name for name in _FOLDERS[part] if (start / name).is_dir()), None)
    if named is not None:
        return _holding(named, part) or named  # what is wrong with it is said where it is loaded
    return None


def _holding(folder: Path, part: legacy.Part) -> Path | None:
    for place in (folder, *(folder / name for name in _BEST)):
        if legacy.part_of_config(place / CONFIG_FILE) == part:
            return place
        found = legacy.search(place, part).path
        if found is not None:
            return found
    return None


def _tokenizer_of(name: str | Path, place: str | Path, network: Kronos) -> str | Path:
    """Where the tokenizer of a network loaded by this name is: beside it, or the published one for its size."""
    if isinstance(place, Path):
        beside = _tokenizer_beside(place)
        if beside is not None:
            return beside
    entry = published_entry(network)
    if entry is None or network.pair is not None:
        raise CheckpointError(f"{name}: no tokenizer lies beside this network; name it with tokenizer=")
    return entry.tokenizer


def _tokenizer_beside(place: Path) -> Path | None:
    """The tokenizer in the same file, in the same folder, or in a folder named for it here or one up."""
    if place.is_file():
        if "tokenizer" in legacy.parts_in(place):
            return place
        place = place.parent
    here = _inside(place, "tokenizer")
    if here is not None:
        return here
    while place.name in ("best_model", "checkpoints"):
        place = place.parent
    beside = place.absolute().parent / "tokenizer"
    return _inside(beside, "tokenizer") or beside if beside.is_dir() else None

"""A model card: what a Hub page says of a pair, put together from the networks and from the files that training wrote.

Every line is a fact that was read somewhere; what is not known is left out. Places on the machine that trained are left
out as well.
"""

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from kronos.errors import CheckpointError
from kronos.model.zoo import ZOO, Pair, context_of

CARD_FILE = "README.md"
PICTURE = "training.png"
TAGS = ("time-series-forecasting", "candlesticks", "finance", "kronos")

_PRIVATE = {"data", "trackers"}  # settings that name places and accounts, not choices
_LOCAL = re.compile(r"([/~\\]|[A-Za-z]:[\\/]|file:)")
_FRONT = re.compile(r"\A---\s*\n(.*?)^---\s*$\n?", flags=re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Facts:
    """What lies beside a trained pair: figures, settings, a text of its own."""

    training: Mapping[str, Any] = field(default_factory=dict)
    comparison: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    text: str | None = None
    picture: bool = False

    @classmethod
    def read(cls, folder: Path) -> "Facts":
        """From a folder that training wrote; every file of it may be missing."""
        training = _tree(folder / "training.json")
        settings = training.get("settings") or _tree(folder / "settings.yaml")
        card = folder / CARD_FILE
        try:
            text = card.read_text(encoding="utf-8") if card.is_file() else None
        except ValueError as error:
            raise CheckpointError(f"{card}: not UTF-8 text ({error})") from error
        known = settings if isinstance(settings, Mapping) else {}
        return cls(training, _tree(folder / "comparison.json"), known, text, (folder / PICTURE).is_file())


def model_card(pair: Pair, facts: Facts, *, repo: str | None = None, license: str | None = None) -> str:
    """The whole card: front matter, then the text that was there, or one made of the facts."""
    own, text = _split(facts.text or "")
    stated, tags = license or own.pop("license", None), own.pop("tags", None)
    own.pop("license", None)
    meta = {
        **({"license": stated} if stated else {}),
        "library_name": "kronos",
        "tags": list(dict.fromkeys([*(tags if isinstance(tags, list) else []), *TAGS])),
        **_based_on(facts),
        **own,
    }
    front = yaml.safe_dump(meta, sort_keys=False, allow_unicode=True)
    body = text.strip() or "\n\n".join(_sections(pair, facts, repo))
    return f"---\n{front}---\n\n{body}\n"


def _sections(pair: Pair, facts: Facts, repo: str | None) -> Iterator[str]:
    yield f"# {repo.partition('/')[2] if repo else pair.name}"
    yield _what_it_is(pair, facts)
    yield _how_to_load(pair, repo)
    yield from _section("Data", _data(pair, facts))
    settings = shareable(facts.settings)
    if settings:
        text = yaml.safe_dump(settings, sort_keys=False, allow_unicode=True, default_flow_style=None, width=100)
        yield f"## Settings\n\n```yaml\n{text}```"
    yield from _section("Figures of the training", _figures(facts))
    if facts.picture:
        yield f"![The training's curves]({PICTURE})"
    yield from _section("Base versus tuned", _comparison(facts.comparison))
    yield "## Limits\n\n" + "\n".join(f"- {line}" for line in _limits(pair, facts))


def _section(title: str, text: str) -> Iterator[str]:
    if text:
        yield f"## {title}\n\n{text}"


# What is said -------------------------------------------------------------------------------------------------------


def _what_it_is(pair: Pair, facts: Facts) -> str:
    network, tokenizer = pair.network, pair.tokenizer
    sizes = [f"{sum(p.numel() for p in one.parameters()):,}" for one in (tokenizer, network)]
    shape = ", ".join(f"{name} {network.config[key]}" for name, key in _SHAPE.items())
    base = facts.training.get("base")
    tuned = f" It was tuned from {_link(base)}." if isinstance(base, str) and _is_name(base) else ""
    return (
        "Candlesticks (open, high, low, close, volume, amount) read as a language: a tokenizer of "
        f"{sizes[0]} parameters writes each bar as {network.s1_bits} + {network.s2_bits} bits, and a predictor of "
        f"{sizes[1]} parameters ({shape}) writes the next ones. A forecast is a set of sampled futures.{tuned}"
    )


_SHAPE = {"layers": "n_layers", "width": "d_model", "heads": "n_heads", "feed-forward": "ff_dim"}


def _how_to_load(pair: Pair, repo: str | None) -> str:
    name = repo or "OWNER/NAME"
    told = {k: v for k, v in pair.network.config.items() if k in ("sibling_form", "stamp_of", "clock")}
    told = {k: v for k, v in told.items() if v != pair.network.own_keys[k]}
    if pair.tokenizer.normaliser != pair.tokenizer.own_keys["normaliser"]:
        told["normaliser"] = pair.tokenizer.normaliser
    listed = ", ".join(f"`{key}: {value}`" for key, value in told.items())
    # said because the published code ignores these keys and would run, as another function
    alone = f"\n\nIt needs this package: published code does not know {listed} and would compute something else."
    return (
        "## Use\n\n```\npip install kronos-candles\n```\n\n```python\nimport kronos\n\n"
        f'model = kronos.load("{name}")\nforecast = model.forecast(bars, horizon=24, samples=100)\n```'
        + (alone if told else "")
    )


def _data(pair: Pair, facts: Facts) -> str:
    counts = [(name, facts.training.get(name)) for name in ("series", "bars")]
    lines = [f"- {name}: {value:,}" for name, value in counts if _is_number(value)]
    for name in ("symbols", "timeframes"):
        value = facts.settings.get(name)
        if isinstance(value, list) and value:
            lines.append(f"- {name}: {_cell(value)}")
    cutoff = pair.network.cutoff or facts.training.get("cutoff")
    if isinstance(cutoff, str):
        lines.append(f"- last day that the weights know of: {_cell(cutoff)}")
    return "\n".join(lines)


def _figures(facts: Facts) -> str:
    tree = {name: facts.training.get(name) for name in ("validation", "reconstruction", "codes_used")}
    rows = [[key.replace("_", " "), _cell(value)] for key, value in _leaves(tree)]
    return _table(["", "value"], rows) if rows else ""


def _comparison(tree: Mapping[str, Any]) -> str:
    """Base and tuned side by side, and what the trainer concluded."""
    listed = tree.get("rows")
    rows = [row for row in listed if isinstance(row, Mapping)] if isinstance(listed, list) else []
    columns = list(dict.fromkeys(key for row in rows for key in row if key != "model"))
    parts = []
    if columns:
        cells = [[_cell(row.get("model", "")), *(_cell(row.get(column, "")) for column in columns)] for row in rows]
        parts.append(_table(["model", *(_cell(column).replace("_", " ") for column in columns)], cells))
    if _is_number(tree.get("origins")):
        parts.append(f"Means over {tree['origins']:,} forecast origins.")
    if isinstance(tree.get("verdict"), str):
        parts.append(f"Verdict: {' '.join(tree['verdict'].split())}")
    return "\n\n".join(parts)


def _limits(pair: Pair, facts: Facts) -> Iterator[str]:
    yield f"It reads at most {context_of(pair.network):,} bars at once, look-back and forecast together."
    cutoff = pair.network.cutoff or facts.training.get("cutoff")
    if isinstance(cutoff, str):
        yield f"Tests on bars up to {_cell(cutoff)} flatter it: its weights have seen them."
    if not facts.comparison:
        yield "No scores of its forecasts on unseen bars came with it."
    yield "The predictor belongs to the tokenizer beside it; with another one it is refused."
    yield "Nothing here is evidence of an edge that pays for its costs, and none of it is advice."


# Reading and writing ------------------------------------------------------------------------------------------------


def _tree(path: Path) -> dict[str, Any]:
    """The mapping in a JSON or YAML file; empty where there is none."""
    if not path.is_file():
        return {}
    try:
        text = path.read_text(encoding="utf-8")
        tree = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (ValueError, yaml.YAMLError) as error:
        reason = str(error).splitlines()[0]
        raise CheckpointError(f"{path}: not readable ({reason}); mend it or take it away") from error
    return tree if isinstance(tree, dict) else {}


def _split(text: str) -> tuple[dict[str, Any], str]:
    """A card's own front matter and its body."""
    found = _FRONT.match(text)
    if found is None:
        return {}, text
    try:
        meta = yaml.safe_load(found[1])
    except yaml.YAMLError as error:
        reason = str(error).splitlines()[0]
        raise CheckpointError(f"{CARD_FILE}: the lines between the first two '---' are no YAML ({reason})") from error
    return (meta if isinstance(meta, dict) else {}), text[found.end() :]


def _based_on(facts: Facts) -> dict[str, str]:
    base = facts.training.get("base")
    if not isinstance(base, str) or not _is_name(base):
        return {}
    entry = ZOO.get(base)
    if entry is None:
        return {"base_model": base}
    return {"base_model": entry.network} if entry.network and entry.network_config else {}


def _is_name(base: str) -> bool:
    """Whether a base is one by name: of the zoo, or on the Hub, and not a folder of the machine that trained."""
    return base in ZOO or (re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", base) is not None and not Path(base).exists())


def _link(base: str) -> str:
    entry = ZOO.get(base)
    if entry is not None and not entry.network_config:
        return f"`{base}`, which comes with the package"
    place = entry.network if entry is not None else base
    return f"[{place}](https://huggingface.co/{place})"


def shareable(tree: Mapping[Any, Any]) -> dict[Any, Any]:
    """Settings and figures without places and accounts of the machine that trained, and without what is empty."""
    kept = {}
    for key, value in tree.items():
        private = key in _PRIVATE or (key == "base" and isinstance(value, str) and not _is_name(value))
        inside = _without_places(value)
        if not private and inside is not None and inside not in ("", {}, []):
            kept[key] = inside
    return kept


def _without_places(value: Any) -> Any:
    """A value, what of it may be told; None where nothing may."""
    if isinstance(value, Mapping):
        return shareable(value)
    if isinstance(value, list):
        return [inside for one in value if (inside := _without_places(one)) is not None]
    return None if isinstance(value, str) and _LOCAL.match(value) else value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _leaves(tree: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Numbers, texts and lists of them by dotted names."""
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        elif _is_number(value) or isinstance(value, str) or (isinstance(value, list) and value):
            yield f"{prefix}{key}", value


def _cell(value: Any) -> str:
    """One cell of a table, or a word of a line: nothing in it can end either."""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    if isinstance(value, list):
        return ", ".join(_cell(one) for one in value)
    return " ".join(str(value).split()).replace("|", "\\|")


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)

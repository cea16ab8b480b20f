"""Settings: a YAML or TOML file plus `a.b=c` overrides become one typed, validated object.

A settings class derives from `Settings`. An unknown key is an error that names the nearest known one, because a
misspelt key that is silently ignored costs somebody a night of training.
"""

import difflib
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self, get_args

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from kronos.errors import ConfigError


class Settings(BaseModel):
    """Base of every settings object: frozen, and unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @classmethod
    def read(cls, path: str | Path | None = None, overrides: Iterable[str] = ()) -> Self:
        """Settings from an optional YAML/TOML file, then the overrides ("predictor.steps=200"), then the defaults."""
        tree = read_tree(Path(path)) if path is not None else {}
        for override in overrides:
            apply_override(tree, override)
        return cls.of(tree, where=str(path) if path is not None else "settings")

    @classmethod
    def of(cls, tree: Mapping[str, Any], where: str = "settings") -> Self:
        """Settings from a nested mapping; every problem is listed in one `ConfigError`."""
        try:
            return cls.model_validate(tree)
        except ValidationError as error:
            problems = "; ".join(_explain(cls, dict(item)) for item in error.errors())
            raise ConfigError(f"{where}: {problems}") from None

    def tree(self) -> dict[str, Any]:
        """The settings as plain nested values, ready to be written to a file."""
        return self.model_dump(mode="json")


def read_tree(path: Path) -> dict[str, Any]:
    """The nested mapping in a .yaml, .yml or .toml file."""
    try:
        text = path.read_text(encoding="utf-8")
        tree = tomllib.loads(text) if path.suffix == ".toml" else yaml.safe_load(text)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (tomllib.TOMLDecodeError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{path}: not valid {path.suffix.lstrip('.') or 'YAML'} ({' '.join(str(error).split())})"
        ) from error
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise ConfigError(f"{path}: expected keys and values at the top, found {type(tree).__name__}")
    return tree


def apply_override(tree: dict[str, Any], override: str) -> None:
    """Set one "a.b=c" in a nested mapping; the value is read as YAML, so 3, true and [1, 2] mean what they say."""
    key, equals, text = override.partition("=")
    names = key.strip().split(".")
    if not equals or not all(names):
        raise ConfigError(f"override {override!r}: expected KEY=VALUE, with dots between nested keys")
    for name in names[:-1]:
        below = tree.setdefault(name, {})
        if not isinstance(below, dict):
            raise ConfigError(f"override {override!r}: '{name}' already holds a value, not a group of settings")
        tree = below
    try:
        tree[names[-1]] = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(
            f"override {override!r}: the value cannot be read ({' '.join(str(error).split())})"
        ) from error


def _explain(settings: type[BaseModel], item: dict[str, Any]) -> str:
    """One line for one problem of pydantic's, with the nearest known key where a key is unknown."""
    place = ".".join(str(part) for part in item["loc"])
    if item["type"] != "extra_forbidden":
        return f"{place}: {item['msg']} (got {item['input']!r})"
    known = _fields_at(settings, item["loc"][:-1])
    near = difflib.get_close_matches(str(item["loc"][-1]), known, n=1)
    return f"{place}: unknown key" + (f", did you mean '{near[0]}'?" if near else f"; known are {', '.join(known)}")


def _fields_at(settings: type[BaseModel], place: Iterable[Any]) -> list[str]:
    for name in place:
        if isinstance(name, int):  # an entry of a list, whose class came with the list's name
            continue
        field = settings.model_fields.get(str(name))
        below = None if field is None else _group(field.annotation)
        if below is None:
            return []
        settings = below
    return sorted(settings.model_fields)


def _group(annotation: Any) -> type[BaseModel] | None:
    """The settings class in an annotation, in a list or beside None as well."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for one in get_args(annotation) if (found := _group(one))), None)

"""The public names: sorted, listed, typed, documented, and nothing leaks or is forgotten."""

import importlib
import inspect
import pkgutil
import re
from pathlib import Path
from typing import Any

import pytest

import kronos

ROOT = Path(__file__).resolve().parents[1]
ROOMS = sorted(m.name for m in pkgutil.iter_modules(kronos.__path__) if m.ispkg)


def test_the_face_is_sorted_and_complete() -> None:
    assert kronos.__all__ == sorted(kronos.__all__)
    assert set(kronos.__all__) == set(kronos._ROOMS)
    for name in kronos.__all__:
        assert getattr(kronos, name).__name__ == name
    assert set(kronos.__all__) <= set(dir(kronos))
    with pytest.raises(AttributeError, match="no_such_name"):
        kronos.no_such_name  # noqa: B018


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_shows_its_public_names_and_nothing_else(room: str) -> None:
    module = importlib.import_module(f"kronos.{room}")
    assert sorted(module.__all__) == sorted(set(module.__all__))
    below = {m.name for m in pkgutil.iter_modules(module.__path__)}
    shown = {name for name in vars(module) if not name.startswith("_")} - below - {"TYPE_CHECKING"}
    # a name and a file below may be called the same (kronos.cli.demo)
    assert shown - set(module.__all__) == set(), "imported in __init__ but not in __all__"
    assert set(module.__all__) <= set(dir(module))
    places = getattr(module, "_PLACES", None)  # a room that fetches its names when they are used
    assert places is None or sorted(places) == sorted(module.__all__)
    assert all(hasattr(module, name) for name in module.__all__)


def public_objects() -> list[Any]:
    found = [("kronos", name) for name in kronos.__all__]
    for room in ROOMS:
        module = importlib.import_module(f"kronos.{room}")
        found += [(f"kronos.{room}", name) for name in module.__all__]
    return [pytest.param(getattr(importlib.import_module(m), n), id=f"{m}.{n}") for m, n in found]


@pytest.mark.parametrize("thing", public_objects())
def test_public_names_are_typed_and_documented(thing: Any) -> None:
    if not (inspect.isclass(thing) or inspect.isfunction(thing)):
        return
    assert inspect.getdoc(thing), f"{thing} has no docstring"
    members = [thing] if inspect.isfunction(thing) else [f for n, f in vars(thing).items() if not n.startswith("_")]
    for member in members:
        function = member.fget if isinstance(member, property) else getattr(member, "__func__", member)
        # the methods of a protocol are overloads without a body, which mypy has checked
        if inspect.isfunction(function) and function.__name__ != "_overload_dummy":
            assert inspect.getdoc(function), f"{thing}: {function.__name__} has no docstring"
            signature = inspect.signature(function)
            assert signature.return_annotation is not inspect.Signature.empty, f"{function} returns what?"
            for name, parameter in signature.parameters.items():
                assert name in ("self", "cls") or parameter.annotation is not inspect.Parameter.empty, (function, name)


def test_every_module_has_a_docstring() -> None:
    for path in sorted((ROOT / "src").rglob("*.py")):
        assert re.match(r'\s*"""\S', path.read_text(encoding="utf-8")), f"{path} has no docstring"


def test_the_reference_names_keep_their_signatures() -> None:
    def names(function: Any) -> list[str]:
        return [name for name in inspect.signature(function).parameters if name != "self"]

    predictor = kronos.KronosPredictor
    assert names(predictor)[:5] == ["model", "tokenizer", "device", "max_context", "clip"]
    tail = ["pred_len", "T", "top_k", "top_p", "sample_count", "verbose"]
    assert names(predictor.predict) == ["df", "x_timestamp", "y_timestamp", *tail]
    assert names(predictor.predict_batch) == ["df_list", "x_timestamp_list", "y_timestamp_list", *tail]
    assert inspect.signature(predictor.predict).parameters["top_p"].default == 0.9
    network = kronos.Kronos
    assert names(network.forward)[:6] == [
        "s1_ids", "s2_ids", "stamp", "padding_mask", "use_teacher_forcing", "s1_targets",
    ]  # fmt: skip
    assert names(network.decode_s1) == ["s1_ids", "s2_ids", "stamp", "padding_mask"]
    assert names(network.decode_s2) == ["context", "s1_ids", "padding_mask"]
    assert names(kronos.KronosTokenizer.encode) == ["x", "half"]
    assert names(kronos.KronosTokenizer.decode) == ["tokens", "half"]

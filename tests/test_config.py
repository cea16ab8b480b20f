"""Settings: files and overrides become one checked object, and a misspelt key costs nobody a night."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from kronos.config import Settings, apply_override, read_tree
from kronos.errors import ConfigError


class Size(Settings):
    steps: int = 10
    rate: float = 0.1
    shape: tuple[int, ...] = (1, 2)


class Run(Settings):
    name: str = "run"
    quiet: bool = False
    note: str | None = None
    predictor: Size = Size()
    tokenizer: Size = Size(steps=5)


def refused(make: Any, *words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make()
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message, message


def test_defaults_then_file_then_overrides(tmp_path: Path) -> None:
    assert Run.read() == Run()
    (tmp_path / "run.yaml").write_text("name: mine\npredictor:\n  steps: 30\n  rate: 0.5\n", encoding="utf-8")
    given = Run.read(tmp_path / "run.yaml", ["predictor.steps=40", "quiet=true"])
    assert given == Run(name="mine", quiet=True, predictor=Size(steps=40, rate=0.5))
    assert given.tokenizer.steps == 5


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("run.yaml", "name: 名\npredictor: {steps: 3, shape: [4, 5]}\n"),
        ("run.yml", "name: 名\npredictor:\n  steps: 3\n  shape: [4, 5]\n"),
        ("run.toml", 'name = "名"\n[predictor]\nsteps = 3\nshape = [4, 5]\n'),
    ],
)
def test_kinds_of_files(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert Run.read(tmp_path / name) == Run(name="名", predictor=Size(steps=3, shape=(4, 5)))
    assert Run.read(str(tmp_path / name)).predictor.shape == (4, 5)


def test_what_is_written_can_be_read(tmp_path: Path) -> None:
    settings = Run(name="x", predictor=Size(steps=7, shape=(9,)))
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(settings.tree()), encoding="utf-8")
    assert Run.read(tmp_path / "run.yaml") == settings


def test_an_empty_file_is_the_defaults(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text("# nothing yet\n")
    assert Run.read(tmp_path / "run.yaml") == Run()


@pytest.mark.parametrize(
    ("override", "wanted"),
    [
        ("predictor.steps=3", {"predictor": {"steps": 3}}),
        ("predictor.shape=[7, 8]", {"predictor": {"shape": [7, 8]}}),
        ("quiet=yes", {"quiet": True}),
        ("note=", {"note": None}),
        ("note=a=b", {"note": "a=b"}),
        (" name =x", {"name": "x"}),
        ("predictor={steps: 4}", {"predictor": {"steps": 4}}),
    ],
)
def test_overrides(override: str, wanted: dict[str, Any]) -> None:
    tree: dict[str, Any] = {}
    apply_override(tree, override)
    assert tree == wanted
    Run.of(tree)


def test_a_later_override_wins() -> None:
    assert Run.read(overrides=["predictor.steps=3", "predictor.steps=4"]).predictor.steps == 4
    assert Run.read(overrides=["predictor={steps: 4}", "predictor.rate=2"]).predictor == Size(steps=4, rate=2.0)


@pytest.mark.parametrize("override", ["steps", "=3", "a..b=3", ".a=3", "a.=3", ""])
def test_overrides_that_say_nothing(override: str) -> None:
    refused(lambda: Run.read(overrides=[override]), repr(override), "KEY=VALUE")


def test_overrides_below_a_value(tmp_path: Path) -> None:
    refused(lambda: Run.read(overrides=["name=x", "name.first=y"]), "'name' already holds a value")
    refused(lambda: Run.read(overrides=["name=[1, 2"]), "cannot be read")


def test_unknown_keys_name_the_nearest_known_one(tmp_path: Path) -> None:
    refused(lambda: Run.of({"predictr": {}}), "settings: predictr: unknown key", "did you mean 'predictor'?")
    refused(lambda: Run.of({"predictor": {"stesp": 3}}), "predictor.stesp", "did you mean 'steps'?")
    refused(lambda: Run.of({"predictor": {"zzz": 3}}), "predictor.zzz", "known are rate, shape, steps")
    (tmp_path / "run.yaml").write_text("naem: x\n")
    refused(lambda: Run.read(tmp_path / "run.yaml"), str(tmp_path / "run.yaml"), "naem", "'name'")
    refused(lambda: Run.read(overrides=["tokenizer.rat=3"]), "tokenizer.rat", "'rate'")


def test_every_problem_is_listed_at_once() -> None:
    refused(
        lambda: Run.of({"quiet": "perhaps", "predictor": {"steps": "many", "rates": 1}, "name": None}),
        "quiet",
        "'perhaps'",
        "predictor.steps",
        "'many'",
        "predictor.rates",
        "name",
    )


def test_values_of_the_wrong_type() -> None:
    refused(lambda: Run.of({"predictor": {"steps": 2.5}}), "predictor.steps", "2.5")
    refused(lambda: Run.of({"predictor": 3}), "predictor", "3")
    refused(lambda: Run.of({"predictor": {"shape": "wide"}}), "predictor.shape")


def test_settings_cannot_be_changed() -> None:
    settings = Run()
    with pytest.raises(ValueError, match="frozen"):
        settings.name = "other"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.yaml", b"a: [1"),
        ("a.yaml", b"a: b: c"),
        ("a.yaml", b"\xff\xfe\x00"),
        ("a.yaml", b"!!python/object/apply:os.getcwd []"),
        ("a.toml", b"a = "),
        ("a.toml", b"\xff\xfe\x00"),
    ],
)
def test_damaged_files(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    refused(lambda: Run.read(tmp_path / name), str(tmp_path / name), "not valid")


def test_files_that_hold_something_else(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("- 1\n- 2\n")
    refused(lambda: read_tree(tmp_path / "a.yaml"), "a.yaml", "found list")
    refused(lambda: read_tree(tmp_path / "absent.yaml"), "absent.yaml", "cannot be read")
    refused(lambda: read_tree(tmp_path), str(tmp_path), "cannot be read")

"""Keys come from the environment or a .env file, and are shown nowhere."""

from pathlib import Path

import pytest

from kronos.data.sources.credentials import VARIABLES, Credentials, read_env
from kronos.errors import ConfigError


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


def write(text: str, path: str = ".env", encoding: str = "utf-8") -> Path:
    Path(path).write_text(text, encoding=encoding)
    return Path(path)


def test_the_environment_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in zip(VARIABLES, ("k", "s", "p q"), strict=True):
        monkeypatch.setenv(name, value)
    assert Credentials.find() == Credentials("k", "s", "p q")


def test_a_file_fills_in_and_never_overrides_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OKX_API_KEY", "from the environment")
    monkeypatch.setenv("OKX_API_SECRET", "")
    write("OKX_API_KEY=from the file\nOKX_API_SECRET=s\nOKX_API_PASSPHRASE=p\nOTHER=x\n")
    assert Credentials.find() == Credentials("from the environment", "s", "p")


def test_another_file_may_be_named() -> None:
    path = write("OKX_API_KEY=k\nOKX_API_SECRET=s\nOKX_API_PASSPHRASE=p\n", "keys.txt")
    assert Credentials.find(path) == Credentials("k", "s", "p")
    with pytest.raises(ConfigError, match=r"nowhere\.env: no such file"):
        Credentials.find("nowhere.env")


def test_exactly_the_missing_ones_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="OKX_API_KEY, OKX_API_SECRET, OKX_API_PASSPHRASE are missing") as caught:
        Credentials.find()
    assert f"there is no {tmp_path / '.env'}" in str(caught.value)
    assert "public bars do not" in str(caught.value)
    monkeypatch.setenv("OKX_API_KEY", "hush")
    write("OKX_API_PASSPHRASE=hush\n")
    with pytest.raises(ConfigError, match=r"^OKX_API_SECRET is missing: not in the environment, and not in ") as caught:
        Credentials.find()
    assert str(tmp_path / ".env") in str(caught.value)
    assert "hush" not in str(caught.value)


def test_a_repr_shows_nothing() -> None:
    secret = Credentials("hush-1", "hush-2", "hush-3")
    assert "hush" not in f"{secret} {secret!r} {[secret]} {secret.__dict__.keys()}"


@pytest.mark.parametrize("value", ["", " hush", "hush\n", "hu\nsh", "hüsh"])
def test_what_no_header_can_carry_is_refused_without_showing_it(value: str) -> None:
    with pytest.raises(ConfigError, match=r"^OKX_API_SECRET is empty or holds") as caught:
        Credentials("k", value, "p")
    assert not value or value not in str(caught.value)


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("A=plain", "plain"),
        ("  export   A = spaced  ", "spaced"),
        ("A=with # a comment", "with"),
        ("A=#nothing", ""),
        ("A=in#side", "in#side"),
        ("A=", ""),
        ("A='single # \\n $HOME'", "single # \\n $HOME"),
        ('A="double # \\" \\\\ \\t$"  # why', 'double # " \\ \t$'),
        ("A=a=b=c", "a=b=c"),
        ("A='one'\nA='two'", "two"),
        ("\n# comment\n\t\nA=x\r\n", "x"),
    ],
)
def test_the_ways_to_write_a_value(line: str, value: str) -> None:
    assert read_env(write(line)) == {"A": value}


def test_a_mark_at_the_beginning_of_the_file_is_no_part_of_a_name() -> None:
    assert read_env(write("A=x", encoding="utf-8-sig")) == {"A": "x"}


@pytest.mark.parametrize("line", ["hush", "1A=hush", "A='hush", 'A="hush\\"', "A='hush' more", "A-B=hush"])
def test_a_line_that_is_none_is_named_by_its_number_alone(line: str) -> None:
    with pytest.raises(ConfigError, match=r"\.env, line 3: expected NAME=VALUE") as caught:
        read_env(write(f"B=1\n\n{line}\n"))
    assert "hush" not in str(caught.value)


def test_a_file_that_is_no_text() -> None:
    Path(".env").write_bytes(b"\xff\xfeA\x00")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_env(Path(".env"))

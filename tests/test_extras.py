"""The door to optional packages: a missing one is one line with the command that brings it."""

import json
from pathlib import Path

import pytest

from kronos.errors import KronosError, MissingExtra
from kronos.extras import require


def test_what_is_there_is_returned() -> None:
    assert require("json", extra="any") is json
    assert require("json.decoder", extra="any") is json.decoder


@pytest.mark.parametrize("module", ["no_such_package_here", "no_such_package_here.part"])
def test_what_is_missing_names_the_command(module: str) -> None:
    with pytest.raises(MissingExtra) as caught:
        require(module, extra="exchange")
    assert f"'{module}'" in str(caught.value)
    assert "pip install 'kronos-candles[exchange]'" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, KronosError)
    assert isinstance(caught.value, ImportError)


def test_a_package_that_lacks_something_itself_is_not_called_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "half_installed_package.py").write_text("import what_it_needs_itself\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="what_it_needs_itself") as caught:
        require("half_installed_package", extra="exchange")
    assert not isinstance(caught.value, MissingExtra)

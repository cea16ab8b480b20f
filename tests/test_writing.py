"""Files appear whole or not at all."""

import os
from pathlib import Path

import pytest

from kronos.writing import replacing, replacing_folder


def test_a_file_appears_when_the_block_has_succeeded(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    with replacing(target) as temporary:
        assert temporary.parent == tmp_path  # the same disk, so that replacing is one step
        assert temporary != target
        temporary.write_text("new")
        assert not target.exists()
    assert target.read_text() == "new"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_an_old_file_stays_until_then_and_is_replaced(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")
    with replacing(target) as temporary:
        temporary.write_text("new")
        assert target.read_text() == "old"
    assert target.read_text() == "new"


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt, SystemExit])
def test_a_failure_leaves_nothing_but_the_old_file(tmp_path: Path, error: type[BaseException]) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")

    def fail() -> None:
        with replacing(target) as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(error):
        fail()
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_failure_before_anything_was_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="too early"), replacing(tmp_path / "a.txt"):
        raise ValueError("too early")
    assert os.listdir(tmp_path) == []


def test_a_block_that_writes_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "a.txt"):
        pass
    assert os.listdir(tmp_path) == []


def test_two_writers_do_not_meet(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    with replacing(target) as first, replacing(target) as second:
        assert first != second
        first.write_text("first")
        second.write_text("second")
    assert target.read_text() == "first"  # the outer block ended last
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_missing_folder_is_named_and_not_the_temporary_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught, replacing(tmp_path / "absent" / "x.csv"):
        pass
    assert str(tmp_path / "absent") in str(caught.value)
    assert "tmp'" not in str(caught.value)


def test_a_folder_takes_the_place_of_another_or_leaves_it_alone(tmp_path: Path) -> None:
    target = tmp_path / "out"
    for text in ("old", "new"):
        with replacing_folder(target) as stage:
            (stage / "a.txt").write_text(text)
        assert (target / "a.txt").read_text() == text

    def fail() -> None:
        with replacing_folder(target) as stage:
            (stage / "a.txt").write_text("half")
            raise ValueError("half way")

    with pytest.raises(ValueError, match="half way"):
        fail()
    assert (target / "a.txt").read_text() == "new"
    assert os.listdir(tmp_path) == ["out"]

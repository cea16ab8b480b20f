"""Packs: what goes in comes out as views, and a damaged one is refused by name."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from kronos.data import Series, Windows, WindowSampler, load_series
from kronos.data.sets.pack import is_pack, open_pack, pack
from kronos.errors import BarsError, ConfigError, SourceError
from reference import bars_frame


def series() -> list[Series]:
    return [
        Series.of(bars_frame(40, freq="1D"), "crypto/BTC_1d"),
        Series.of(bars_frame(25, seed=1, tz="Asia/Shanghai"), "cn/平安_1h", market="cn", symbol="000001.SZ"),
        Series.of(bars_frame(1, seed=2), "one", timeframe="5m"),
    ]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return pack(series(), tmp_path / "deep" / "pack")


def same(found: list[Series], wanted: list[Series]) -> None:
    assert [one.name for one in found] == [one.name for one in wanted]
    for a, b in zip(found, wanted, strict=True):
        assert (a.market, a.symbol, a.timeframe) == (b.market, b.symbol, b.timeframe)
        for field in ("times", "bars", "stamps"):
            left, right = getattr(a, field), getattr(b, field)
            assert left.dtype == right.dtype
            np.testing.assert_array_equal(left, right)


def test_what_goes_in_comes_out(folder: Path) -> None:
    same(open_pack(folder, verify=True), series())
    same(load_series(folder), series())
    same(load_series(str(folder)), series())
    assert is_pack(folder)
    assert not is_pack(folder.parent)
    assert not is_pack(folder / "bars.npy")
    assert not is_pack("s3://bucket/pack")


def test_series_are_read_only_views_of_one_mapped_file(folder: Path) -> None:
    first, second, _ = open_pack(folder)
    for one in (first, second):
        for array in (one.times, one.bars, one.stamps):
            base = array
            while isinstance(base, np.ndarray) and not isinstance(base, np.memmap):
                base = base.base
            assert isinstance(base, np.memmap)
            assert type(array) is np.ndarray
            with pytest.raises(ValueError, match="read-only"):
                array[0] = array[1]


def test_other_programs_read_the_arrays(folder: Path) -> None:
    bars = np.load(folder / "bars.npy")
    assert (bars.shape, bars.dtype) == ((66, 6), np.float64)
    np.testing.assert_array_equal(bars[40:65], series()[1].bars)
    index = json.loads((folder / "pack.json").read_text(encoding="utf-8"))
    assert [(one["name"], one["first"], one["rows"]) for one in index["series"]] == [
        ("crypto/BTC_1d", 0, 40),
        ("cn/平安_1h", 40, 25),
        ("one", 65, 1),
    ]


def test_batches_of_a_pack_are_those_of_its_series(folder: Path) -> None:
    plain, packed = (WindowSampler(Windows(each, 5, 3), 16, 1)(0) for each in (series(), open_pack(folder)))
    np.testing.assert_array_equal(plain.bars, packed.bars)
    packed.bars[:] = 0  # a copy


def test_series_are_taken_one_at_a_time(tmp_path: Path) -> None:
    alive = 0

    def lazily() -> Iterator[Series]:
        nonlocal alive
        for one in series():
            alive += 1
            assert alive == 1
            yield one
            alive -= 1

    same(open_pack(pack(lazily(), tmp_path / "p")), series())


def test_indexing_a_thousand_series_reads_no_bars(tmp_path: Path) -> None:
    one = series()[0]
    many = (Series(f"m/{i}", "1d", one.times, one.bars, one.stamps) for i in range(1000))
    opened = open_pack(pack(many, tmp_path / "p"))
    os.truncate(tmp_path / "p" / "bars.npy", 128)  # touching a bar now would end the process
    windows = Windows(opened, 5, 3)
    assert len(windows) == 1000 * 33
    assert windows.place(33 * 500 + 2) == (500, 2)


def test_a_pack_replaces_a_pack_and_nothing_else(folder: Path, tmp_path: Path) -> None:
    old = open_pack(folder)
    pack(series()[:1], folder)
    same(open_pack(folder), series()[:1])
    same(old, series())  # whoever has it open keeps it
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "x.txt").write_text("mine")
    for place in (tmp_path / "notes", tmp_path / "notes" / "x.txt"):
        with pytest.raises(SourceError, match="is there already and is no pack"):
            pack(series(), place)
    (tmp_path / "empty").mkdir()
    same(open_pack(pack(series(), tmp_path / "empty")), series())


def test_a_pack_that_fails_leaves_the_old_one(folder: Path, tmp_path: Path) -> None:
    def breaks() -> Iterator[Series]:
        yield series()[0]
        raise BarsError("the second series is bad")

    for place in (folder, tmp_path / "new"):
        with pytest.raises(BarsError, match="second series"):
            pack(breaks(), place)
    same(open_pack(folder, verify=True), series())
    assert sorted(path.name for path in folder.iterdir()) == ["bars.npy", "pack.json", "stamps.npy", "times.npy"]
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("fails_at", range(4))
def test_a_pack_that_is_killed_while_it_moves_in_is_never_a_mixture(
    folder: Path, fails_at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = os.replace, 0

    def replace(source: Path, target: Path) -> None:
        nonlocal calls
        calls += 1
        if calls > fails_at:
            raise KeyboardInterrupt
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(KeyboardInterrupt):
        pack(series()[:1], folder)
    monkeypatch.undo()
    with pytest.raises(SourceError, match="no pack here"):
        open_pack(folder)
    same(open_pack(pack(series(), folder)), series())


def test_what_cannot_be_packed(tmp_path: Path) -> None:
    with pytest.raises(BarsError, match="no series to pack"):
        pack([], tmp_path / "p")
    with pytest.raises(ConfigError, match="two series are called one"):
        pack([series()[2], series()[2]], tmp_path / "p")
    one = series()[0]
    with pytest.raises(BarsError, match="differ in length"):
        pack([Series("x", "1d", one.times, one.bars[:5], one.stamps)], tmp_path / "p")
    assert not (tmp_path / "p").exists()


def damage_index(folder: Path, **changes: object) -> None:
    path = folder / "pack.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | changes))


def test_damage_is_told(folder: Path, tmp_path: Path) -> None:
    def refused(words: str, verify: bool = False) -> None:
        with pytest.raises(SourceError, match=words) as caught:
            open_pack(folder, verify=verify)
        assert str(folder) in str(caught.value)
        assert "\n" not in str(caught.value)
        pack(series(), folder)

    damage_index(folder, version=2)
    refused("version 2; this one reads version 1")
    damage_index(folder, rows=67)
    refused("do not follow each other")
    damage_index(folder, series=[])
    refused("checksum")
    damage_index(folder, series=None)
    refused("damaged")
    with (folder / "bars.npy").open("r+b") as file:
        file.seek(1000)
        file.write(b"\xff")
    refused("bars of crypto/BTC_1d are damaged", verify=True)
    os.truncate(folder / "bars.npy", 1000)
    refused(r"bars\.npy: cannot be opened")
    np.save(folder / "stamps.npy", np.zeros((66, 5)))
    refused(r"stamps\.npy: does not hold what pack\.json says")
    np.save(folder / "stamps.npy", np.array([{}], dtype=object), allow_pickle=True)
    refused(r"stamps\.npy: cannot be opened")
    (folder / "times.npy").unlink()
    refused(r"times\.npy: cannot be opened")
    (folder / "times.npy").write_bytes(b"")
    refused(r"times\.npy: cannot be opened")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "cannot be read"),
        ("{", "cannot be read"),
        ("[" * 100_000, "cannot be read"),
        ("[]", "is not the index of a pack"),
        ('{"format": "other"}', "is not the index of a pack"),
        ('{"format": "kronos-pack", "version": 1}', "is damaged"),
        ('{"format": "kronos-pack", "version": 1, "checksum": 0, "series": [{"name": 3}]}', "is damaged"),
    ],
)
def test_foreign_indexes_are_told(tmp_path: Path, content: str, words: str) -> None:
    (tmp_path / "pack.json").write_text(content)
    with pytest.raises(SourceError, match=words):
        open_pack(tmp_path)


def test_no_pack(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no pack here"):
        open_pack(tmp_path)
    with pytest.raises(SourceError, match="no pack here"):
        open_pack(tmp_path / "absent")

"""Bars from files of every kind; whatever is wrong is said with the file's name."""

from pathlib import Path

import pandas as pd
import pytest

from kronos.data import bar_files, read_bars
from kronos.errors import BarsError, KronosError, SourceError
from reference import bars_frame

CHINESE = ["时间", "开盘", "最高", "最低", "收盘", "成交量", "成交额"]
FRAME = bars_frame(12)


def same(path: Path) -> None:
    pd.testing.assert_frame_equal(read_bars(path), FRAME, check_freq=False, check_index_type=False)


def refused(path: Path, kind: type[KronosError], *words: str) -> None:
    with pytest.raises(kind) as caught:
        read_bars(path)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    for word in words:
        assert word in message, message


@pytest.mark.parametrize(("name", "separator"), [("x.csv", ","), ("x.tsv", "\t"), ("x.txt", ";"), ("X.CSV", ";")])
def test_text(tmp_path: Path, name: str, separator: str) -> None:
    FRAME.to_csv(tmp_path / name, sep=separator)
    same(tmp_path / name)


def test_a_tab_in_a_csv(tmp_path: Path) -> None:
    FRAME.to_csv(tmp_path / "x.csv", sep="\t")
    same(tmp_path / "x.csv")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gbk", "gb18030"])
def test_chinese_headers(tmp_path: Path, encoding: str) -> None:
    FRAME.reset_index().set_axis(CHINESE, axis=1).to_csv(tmp_path / "x.csv", index=False, encoding=encoding)
    same(tmp_path / "x.csv")


def test_a_byte_order_mark_and_blanks(tmp_path: Path) -> None:
    text = FRAME.to_csv().replace(",", ", ")
    (tmp_path / "x.csv").write_bytes(b"\xef\xbb\xbf" + text.encode())
    same(tmp_path / "x.csv")


def test_windows_line_ends_and_an_empty_line_at_the_end(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes((FRAME.to_csv() + "\n").replace("\n", "\r\n").encode())
    same(tmp_path / "x.csv")


@pytest.mark.parametrize("index", [True, False])
def test_parquet_and_feather(tmp_path: Path, index: bool) -> None:
    FRAME.reset_index().to_feather(tmp_path / "x.feather")
    same(tmp_path / "x.feather")
    (FRAME if index else FRAME.reset_index()).to_parquet(tmp_path / "x.parquet")
    same(tmp_path / "x.parquet")


def test_a_text_path(tmp_path: Path) -> None:
    FRAME.to_csv(tmp_path / "x.csv")
    assert len(read_bars(str(tmp_path / "x.csv"))) == 12


def test_a_zone_in_the_text_is_kept(tmp_path: Path) -> None:
    bars_frame(12, tz="Asia/Shanghai").to_csv(tmp_path / "x.csv")
    index = read_bars(tmp_path / "x.csv").index
    assert isinstance(index, pd.DatetimeIndex)
    assert index.tz is not None
    assert (index == bars_frame(12, tz="Asia/Shanghai").index).all()


# What is refused ------------------------------------------------------------------------------------------------------


def test_places_and_kinds(tmp_path: Path) -> None:
    refused(tmp_path / "absent.csv", SourceError, "no such file")
    (tmp_path / "folder.csv").mkdir()
    refused(tmp_path / "folder.csv", SourceError, "no such file")
    (tmp_path / "x.xls").write_bytes(b"PK")
    refused(tmp_path / "x.xls", SourceError, "'.xls'", ".parquet")


@pytest.mark.parametrize("suffix", [".parquet", ".feather"])
@pytest.mark.parametrize("content", [b"", b"PAR1 and nothing", b"\x00" * 100])
def test_broken_binaries(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"x{suffix}"
    path.write_bytes(content)
    refused(path, SourceError, "cannot be read")


def test_a_truncated_parquet(tmp_path: Path) -> None:
    FRAME.to_parquet(tmp_path / "x.parquet")
    whole = (tmp_path / "x.parquet").read_bytes()
    (tmp_path / "x.parquet").write_bytes(whole[: len(whole) // 2])
    refused(tmp_path / "x.parquet", SourceError)


@pytest.mark.parametrize("content", ["", "\n\n", "timestamp,open,high,low,close\n"])
def test_texts_without_rows(tmp_path: Path, content: str) -> None:
    (tmp_path / "x.csv").write_text(content)
    refused(tmp_path / "x.csv", BarsError, "no rows")


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"\xff\xfe\x00\xd8\x00", KronosError),
        (FRAME.to_csv().encode("utf-16")[2:], KronosError),
        (FRAME.to_csv(header=False).encode(), SourceError),
        (b"timestamp,open\n1,2,3,4\n5,6\n7,8,9,10,11,12\n", KronosError),
        (b'a,"b\n', KronosError),
        (FRAME.drop(columns="low").to_csv().encode(), BarsError),
        (FRAME.to_csv().replace(":00:00", ":xx:00").encode(), BarsError),
        (FRAME.iloc[::-1].to_csv().encode(), BarsError),
        (FRAME.assign(close=-1.0).to_csv().encode(), BarsError),
    ],
    ids=["bytes", "unmarked utf-16", "no header", "ragged", "quote", "no low", "times", "backwards", "negative"],
)
def test_broken_texts(tmp_path: Path, content: bytes, kind: type[KronosError]) -> None:
    (tmp_path / "x.csv").write_bytes(content)
    refused(tmp_path / "x.csv", kind)


def test_few_rows(tmp_path: Path) -> None:
    FRAME.iloc[:5].to_csv(tmp_path / "x.csv")
    assert len(read_bars(tmp_path / "x.csv", min_rows=5)) == 5
    with pytest.raises(BarsError, match="5 rows are too few; at least 6"):
        read_bars(tmp_path / "x.csv", min_rows=6)


# Folders --------------------------------------------------------------------------------------------------------------


def test_files_below_a_folder_in_a_fixed_order(tmp_path: Path) -> None:
    for name in ("b/2.csv", "a.parquet", "b/1.TSV", "c.md", "b/deep/x.feather", "d.csv/e.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    found = [path.relative_to(tmp_path).as_posix() for path in bar_files(tmp_path)]
    assert found == sorted(found)
    assert set(found) == {"b/2.csv", "a.parquet", "b/1.TSV", "b/deep/x.feather", "d.csv/e.txt"}
    assert bar_files(tmp_path / "a.parquet") == [tmp_path / "a.parquet"]


def test_places_without_files(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="holds no bar files"):
        bar_files(tmp_path)
    with pytest.raises(SourceError, match="no such file or folder"):
        bar_files(tmp_path / "absent")

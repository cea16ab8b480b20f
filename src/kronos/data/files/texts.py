"""Delimited text as a table: which sign separates, where header and footer are, and on which line each row stood.

The text is cut with numpy and read by pandas' own parser; only its first and last lines are looked at one by one.
Values are not judged here.
"""

import csv
import io
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kronos.data.files.layout import FOOT, HEAD, Layout, find_layout
from kronos.data.files.numerals import MISSING
from kronos.data.files.opening import read_text_bytes
from kronos.errors import SourceError

Ints = NDArray[np.int64]

SEPARATORS = (",", ";", "\t", "|")


class NoTableError(SourceError):
    """Nothing in the text looks like the head of a table of bars."""


_COMMENTS = (b"#", b"//")
_NO_VALUE = sorted({form for word in MISSING for form in (word, word.upper(), word.capitalize())} | {"NaN"})
# until 3.1 pandas rounded the last bit unless it was told not to, and now it warns when it is told
_PANDAS = tuple(map(int, pd.__version__.split(".")[:2]))
_EXACT: dict[str, Any] = {} if _PANDAS >= (3, 1) else {"float_precision": "round_trip"}

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class TextTable:
    """A text cut into columns; `read` parses them, as often as it is asked to."""

    layout: Layout
    labels: tuple[str, ...]
    lines: Ints  # of each row, from 1
    separator: str
    footer: int  # lines at the end that are no bars
    _content: bytes = field(repr=False)
    _where: str
    _width: int  # fields in the widest row

    def read(self, texts: Sequence[int] = ()) -> pd.DataFrame:
        """The rows, columns numbered from 0; those in `texts` stay text where pandas would read numbers."""
        names = [str(place) for place in range(self._width)]
        missing = {name: [""] if int(name) in texts else _NO_VALUE for name in names}
        frame: pd.DataFrame = pd.read_csv(
            io.BytesIO(self._content),
            sep=self.separator,
            header=None,
            names=names,
            index_col=False,
            dtype=dict.fromkeys(map(str, texts), str),
            na_values=missing,
            keep_default_na=False,
            skipinitialspace=True,
            skip_blank_lines=False,
            low_memory=False,
            **_EXACT,
            encoding="utf-8",
        )
        if len(frame) != len(self.lines):
            raise SourceError(
                f"{self._where}: cannot be read ({len(self.lines)} lines gave {len(frame)} rows; look for stray quotes)"
            )
        for place in range(len(self.labels), self._width):
            surplus = frame.iloc[:, place].notna().to_numpy()
            if surplus.any():
                line = self.lines[int(surplus.argmax())]
                raise SourceError(
                    f"{self._where}: line {line}: goes on after the last column {self.labels[-1]!r}: more than the "
                    f"{len(self.labels)} fields that the header names; correct or remove the line, or quote its fields"
                )
        return frame.iloc[:, : len(self.labels)].set_axis(range(len(self.labels)), axis=1)


def read_text(path: Path) -> TextTable | None:
    """The table in a text file; None where it holds no rows."""
    data = read_text_bytes(path)
    records = _Records.of(data, str(path))
    if not len(records):
        return None
    separator, layout = _sniff(records, str(path))
    _refuse_bars_above(records, separator, layout, str(path))
    body = records.without_repeats(range(layout.first), layout.first)
    last = [_cells(text, separator) for text in body.texts(range(max(len(body) - FOOT, 0), len(body)))]
    footer = layout.footer(last)
    if footer:
        first = body.texts([len(body) - footer])[0]
        _log.info("%s: %d line(s) at the end are no bars and were left out, such as %r", path, footer, first)
    body = body.take(np.arange(len(body) - footer))
    if not len(body):
        return None
    if b'"' in body.data:
        body.refuse_stray_quotes(separator, str(path))
    fields = body.fields(separator)
    labels = layout.labels
    content = body.content()
    if (fields == len(labels) + 1).all() and layout.is_shifted(_cells(body.texts([0])[0], separator)):
        labels = ("", *labels)  # R writes the names of the rows without a name
    if fields.min() < len(labels):
        row = int((fields < len(labels)).argmax())
        raise SourceError(
            f"{path}: line {body.lines[row]}: ends before column {labels[int(fields[row])]!r}: {fields[row]} of the "
            f"{len(labels)} fields that the header names; correct or remove the line"
        )
    return TextTable(layout, labels, body.lines, separator, footer, content, str(path), int(fields.max()))


# --- the header -------------------------------------------------------------------------------------------------------


def _sniff(records: "_Records", where: str) -> tuple[str, Layout]:
    """The separator and the layout: of those with all prices the one whose header comes first."""
    head = records.texts(range(min(len(records), HEAD)))
    found = [(layout, separator) for separator in SEPARATORS if (layout := _layout(head, separator))]
    whole = [
        (layout.header or 0, -len(layout.labels), separator, layout) for layout, separator in found if layout.known
    ]
    if whole:
        _, _, separator, layout = min(whole, key=lambda one: one[:2])
        return separator, layout
    for line, text in records.comments:  # # timestamp,open,high,low,close
        for separator in SEPARATORS:
            layout = _layout([text], separator)
            if layout is not None and layout.known:
                return separator, Layout(layout.labels, records.after(line))
    if found:
        layout, separator = max(found, key=lambda one: len(one[0].labels))
        return separator, layout
    raise NoTableError(
        f"{where}: cannot be read (no line near the top names the columns, the first is {head[0][:80]!r}; expected a "
        "header such as timestamp,open,high,low,close)"
    )


def _layout(head: Sequence[str], separator: str) -> Layout | None:
    return find_layout([_cells(text, separator) for text in head])


def _cells(text: str, separator: str) -> list[str]:
    """The fields of one record."""
    try:
        return next(csv.reader([text], delimiter=separator, skipinitialspace=True), [])
    except csv.Error:  # a field of more than 128 KiB is no bar
        return [text]


def _refuse_bars_above(records: "_Records", separator: str, layout: Layout, where: str) -> None:
    for row, text in enumerate(records.texts(range(layout.header or 0))):
        if layout.is_bar(_cells(text, separator)):
            raise SourceError(f"{where}: line {records.lines[row]}: a bar stands above the header; correct the file")


# --- the lines --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Records:
    """Where each record of a text begins and ends; lines inside quotes belong to the record before them."""

    data: bytes
    starts: Ints
    stops: Ints
    lines: Ints
    comments: tuple[tuple[int, str], ...] = ()

    @classmethod
    def of(cls, data: bytes, where: str) -> "_Records":
        """All records but the blank ones and the comments."""
        signs = np.frombuffer(data, dtype=np.uint8)
        ends = np.flatnonzero(signs == ord("\n"))
        if not len(ends) or ends[-1] != len(data) - 1:
            ends = np.r_[ends, len(data)]
        starts = np.r_[0, ends[:-1] + 1]
        lines = np.arange(1, len(starts) + 1)
        if b'"' in data:
            quotes = np.flatnonzero(signs == ord('"'))
            whole = np.searchsorted(quotes, starts) % 2 == 0  # an even number of quotes before it
            if len(quotes) % 2:
                line = lines[whole][-1]
                raise SourceError(f"{where}: line {line}: a quote is opened and never closed; correct the line")
            ends = ends[np.r_[np.flatnonzero(whole)[1:] - 1, len(ends) - 1]]
            starts, lines = starts[whole], lines[whole]
        return cls(data, starts, ends, lines)._without_comments(signs)

    def _without_comments(self, signs: "NDArray[np.uint8]") -> "_Records":
        first = np.zeros(len(self), dtype=np.uint8)
        filled = self.stops > self.starts
        first[filled] = signs[self.starts[filled]]
        # only what begins like this can be blank or a comment
        doubtful = np.flatnonzero(~filled | np.isin(first, list(b' \t#/,;|"')))
        keep, comments = np.ones(len(self), dtype=bool), []
        for row in doubtful.tolist():
            text = self.data[self.starts[row] : self.stops[row]].strip()
            if text.startswith(_COMMENTS):
                comments.append((int(self.lines[row]), text.decode().lstrip("#/ ")))
            if text.startswith(_COMMENTS) or not text.strip(b" \t,;|"):
                keep[row] = False
        return _Records(self.data, self.starts[keep], self.stops[keep], self.lines[keep], tuple(comments[:HEAD]))

    def __len__(self) -> int:
        return len(self.starts)

    def take(self, rows: "NDArray[Any]") -> "_Records":
        """Some of the records."""
        return _Records(self.data, self.starts[rows], self.stops[rows], self.lines[rows])

    def texts(self, rows: Sequence[int]) -> list[str]:
        """The text of some records."""
        return [self.data[self.starts[row] : self.stops[row]].decode() for row in rows]

    def after(self, line: int) -> int:
        """The first record below a line."""
        return int(np.searchsorted(self.lines, line, side="right"))

    def without_repeats(self, heads: Sequence[int], first: int) -> "_Records":
        """The records from `first` on, without those that repeat one of `heads`: joined files bring their headers."""
        known = {self.data[self.starts[row] : self.stops[row]] for row in heads}
        lengths, letters = [len(text) for text in known], [text[0] for text in known]
        rows = np.arange(first, len(self))
        sizes = self.stops[rows] - self.starts[rows]
        signs = np.frombuffer(self.data, dtype=np.uint8)
        alike = np.isin(sizes, lengths) & np.isin(signs[self.starts[rows]], letters)
        again = [row for row in rows[alike].tolist() if self.data[self.starts[row] : self.stops[row]] in known]
        return self.take(np.setdiff1d(rows, again, assume_unique=True) if again else rows)

    def fields(self, separator: str) -> Ints:
        """How many fields each record has."""
        signs = np.frombuffer(self.data, dtype=np.uint8)
        places = np.flatnonzero(signs == ord(separator))
        if b'"' in self.data:
            quotes = np.flatnonzero(signs == ord('"'))
            places = places[np.searchsorted(quotes, places) % 2 == 0]
        return np.searchsorted(places, self.stops) - np.searchsorted(places, self.starts) + 1

    def refuse_stray_quotes(self, separator: str, where: str) -> None:
        """Quotes must stand around a field: about others readers differ, and so would the columns."""
        signs = np.frombuffer(b"\n\n" + self.data + b"\n\n", dtype=np.uint8)
        quotes = np.flatnonzero(signs == ord('"'))
        outside = list(f'{separator}\n"'.encode())
        stray = []
        for places, step in ((quotes[0::2], -1), (quotes[1::2], 1)):
            beside, behind = signs[places + step], signs[places + 2 * step]
            alone = np.isin(beside, outside) | ((beside == ord(" ")) & np.isin(behind, outside))
            stray.append(places[~alone] - 2)
        places = np.sort(np.concatenate(stray))
        rows = np.searchsorted(self.starts, places, side="right") - 1
        inside = (rows >= 0) & (places < self.stops[np.maximum(rows, 0)])  # not in a title or a footer
        if inside.any():
            line = self.lines[rows[inside][0]]
            raise SourceError(f"{where}: line {line}: a quote stands inside a field; correct the line")

    def content(self) -> bytes:
        """The records as one text."""
        if len(self) and (self.starts[1:] == self.stops[:-1] + 1).all():
            return self.data[self.starts[0] : self.stops[-1]]
        return b"\n".join([self.data[a:b] for a, b in zip(self.starts.tolist(), self.stops.tolist(), strict=True)])

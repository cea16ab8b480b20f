"""The words on a chart: which bars the time axis names and how, numbers in few characters, names that can be drawn.

Text and numbers in, text and numbers out: where the words stand and what they look like is decided in `plot`.
"""

import unicodedata
from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

_LABELS = 9  # the most labels the time axis bears
_SECONDS = (1, 2, 5, 10, 15, 30, *(60 * minutes for minutes in (1, 2, 5, 10, 15, 30, 60, 120, 180, 240, 360, 720)))
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")  # in no locale's tongue
_FONTS = ("DejaVu Sans", "Noto Sans CJK SC", "Noto Sans CJK JP", "Microsoft YaHei", "PingFang SC", "WenQuanYi Zen Hei")


# --- times ------------------------------------------------------------------------------------------------------


def time_ticks(wall: NDArray[np.datetime64]) -> tuple[list[int], str]:
    """The numbers of the bars to label, and whether by the "second", the "minute", the "day" or the "month"."""
    seconds = wall.astype(np.int64)
    days, months = seconds // 86_400, wall.astype("datetime64[M]").astype(np.int64)
    clock = seconds % 86_400
    # Daily bars may well be stamped 08:00 or 15:00; where every bar has the same time, the time says nothing.
    timed = bool((clock != clock[0]).any() or (len(wall) == 1 and clock[0]))
    brief = len(wall) > 1 and bool(np.median(np.abs(np.diff(seconds))) < 60)  # hours and minutes would repeat
    finest = "day" if not timed else "second" if brief else "minute"
    if len(wall) <= _LABELS:
        return list(range(len(wall))), finest
    periods = [(seconds // length, finest) for length in _SECONDS if timed]
    periods += [(days, "day"), (days // 2, "day"), ((days + 3) // 7, "day"), ((days + 3) // 14, "day")]
    periods += [(months // length, "month") for length in (1, 3, 6, 12, 24, 60, 120, 240, 600, 1200)]
    for period, unit in periods:
        starts = np.flatnonzero(np.diff(period)) + 1
        if 0 < len(starts) <= _LABELS:
            return _spread(starts, np.diff(days, prepend=days[0]) != 0, len(wall)), unit
    # Time stamps in no order at all.
    return list(range(0, len(wall), -(-len(wall) // _LABELS))), finest


def _spread(starts: NDArray[np.intp], new_day: NDArray[np.bool_], bars: int) -> list[int]:
    """The `starts` that leave each other room; where two crowd (around a night, say), the first of a day stays."""
    room = bars / (2 * _LABELS)
    kept: list[int] = []
    for place in sorted(starts.tolist(), key=lambda place: (not new_day[place], place)):
        if all(abs(place - other) >= room for other in kept):
            kept.append(place)
    return sorted(kept)


def time_labels(times: pd.DatetimeIndex, unit: str) -> list[str]:
    """One label a tick; what the ticks have in common (the date, the year) is written only where it changes."""
    labels, before = [], ""
    for time in times:
        day = f"{time.day} {_MONTHS[time.month - 1]}"
        head, context = {
            "second": (f"{time:%H:%M:%S}", f"{day} {time.year}"),
            "minute": (f"{time:%H:%M}", f"{day} {time.year}"),
            "day": (day, str(time.year)),
            "month": (_MONTHS[time.month - 1], str(time.year)),
        }[unit]
        labels.append(head if context == before else f"{head}\n{context}")
        before = context
    return labels


# --- numbers ----------------------------------------------------------------------------------------------------


def short_number(value: float) -> str:
    """A large number in few characters: 1.5M."""
    for size, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"


def decimals_of(price: float, span: float) -> int:
    """Enough decimals to tell prices apart on an axis of this span, and a few more if `price` itself then ends."""
    enough = max(0, -int(np.floor(np.log10(span / 200.0))))
    return next((more for more in range(enough, enough + 3) if round(price, more) == price), enough)


# --- names ------------------------------------------------------------------------------------------------------


def heading_fonts() -> list[str]:
    """The installed ones of the fonts that a heading is written in, by preference; between them, most scripts."""
    from matplotlib.font_manager import fontManager

    installed = set(fontManager.get_font_names())
    return [font for font in _FONTS if font in installed]


def drawable(text: str, fonts: Sequence[str], weight: str = "normal") -> str:
    """`text` as `fonts` can draw it: a question mark for each character that none has, nothing for invisible ones.

    Matplotlib would draw an empty box instead, and warn once a character.
    """
    from matplotlib.font_manager import FontProperties, findfont, get_font

    faces = [get_font(findfont(FontProperties(family=font, weight=weight))) for font in fonts]

    def shown(character: str) -> str:
        if character == "\n" or any(face.get_char_index(ord(character)) for face in faces):
            return character
        if character.isspace():
            return " "
        return "" if unicodedata.category(character) in ("Cc", "Cf", "Mn") else "?"  # joiners, marks on the last one

    return "".join(map(shown, text))

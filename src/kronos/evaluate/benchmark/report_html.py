"""The page that a report is written on: no script, nothing from elsewhere, light or dark, wide or narrow.

Knows nothing of benchmarks. Every text that comes in is escaped here, once.
"""

import base64
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

Row = Mapping[str, Any]

STYLE = """
:root { color-scheme: light dark; --ink: #1f2933; --faint: #5f6b78; --line: #dde2e7; --paper: #ffffff;
  --ground: #f5f7f9; --own: #0b5cad; --bad: #b42318; --badground: #fdecea; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e8ec; --faint: #9aa6b2; --line: #39424c; --paper: #171b20;
  --ground: #20262d; --own: #7cb8f5; --bad: #ff9c90; --badground: #46211d; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.2rem 1rem 4rem; max-width: 64rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "DejaVu Sans", sans-serif; }
h1 { font-size: 1.6rem; margin: 0.4rem 0 0.2rem; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 2.6rem 0 0.6rem; padding-top: 0.7rem; border-top: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 1.5rem 0 0.4rem; }
p, ul, dl { margin: 0.5rem 0; }
li { margin: 0.3rem 0; overflow-wrap: anywhere; }
.faint, figcaption, caption { color: var(--faint); font-size: 0.88rem; }
.alarm { background: var(--badground); color: var(--bad); padding: 0.6rem 0.8rem; border-radius: 6px;
  font-weight: 600; }
.lead { font-size: 1.08rem; font-weight: 600; }
.said { background: var(--ground); border-left: 4px solid var(--line); border-radius: 4px; padding: 0.55rem 0.8rem;
  margin: 0.6rem 0; overflow-wrap: anywhere; }
.said.model { border-left-color: var(--own); }
.model { --mark: var(--own); }
.said b, td b { color: var(--mark, var(--ink)); }
.wide { overflow-x: auto; margin: 0.6rem 0; -webkit-overflow-scrolling: touch; }
table { border-collapse: collapse; font-size: 0.88rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; padding-bottom: 0.3rem; }
th, td { padding: 0.28rem 0.7rem 0.28rem 0; text-align: right; white-space: nowrap;
  border-bottom: 1px solid var(--line); }
th { font-weight: 600; color: var(--faint); vertical-align: bottom; white-space: normal; min-width: 3rem; }
th.text, td.text { text-align: left; }
th:first-child, td:first-child { position: sticky; left: 0; background: var(--paper); }
td small { color: var(--faint); font-size: 0.82em; }
figure { margin: 1rem 0; }
figure div { overflow-x: auto; background: #ffffff; border: 1px solid var(--line); border-radius: 6px; }
img { display: block; width: 100%; min-width: 36rem; max-width: 56.25rem; height: auto; margin: 0 auto; }
figcaption { margin-top: 0.3rem; }
details { margin: 0.7rem 0; }
summary { cursor: pointer; color: var(--own); }
dt { font-weight: 600; margin-top: 0.5rem; }
dd { margin: 0; overflow-wrap: anywhere; }
pre { background: var(--ground); padding: 0.7rem; border-radius: 6px; overflow-x: auto; font-size: 0.85rem; }
nav { display: flex; flex-wrap: wrap; gap: 0.1rem 0.9rem; font-size: 0.9rem; margin: 0.8rem 0; }
nav a { white-space: nowrap; color: var(--own); }
@media print { .wide, figure div { overflow: visible; } img { min-width: 0; } details { display: block; } }
"""


class Html(str):
    """Text that is HTML already; any other is escaped."""

    __slots__ = ()


@dataclass(frozen=True)
class Column:
    """A column of a table: its heading, what a row says there, and a hint for the heading."""

    heading: str
    cell: Callable[[Row], str]
    hint: str = ""
    text: bool = False


def page(title: str, body: Iterable[str]) -> str:
    """A whole document."""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{safe(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(body)
        + "\n</body>\n</html>\n"
    )


def safe(text: str) -> str:
    """Escaped, if it is not HTML by its type."""
    return str(text) if isinstance(text, Html) else escape(str(text), quote=True)


def tag(name: str, *parts: str, kind: str = "", anchor: str = "") -> Html:
    """An element around its parts."""
    attributes = (f' class="{safe(kind)}"' if kind else "") + (f' id="{safe(anchor)}"' if anchor else "")
    return Html(f"<{name}{attributes}>{''.join(safe(part) for part in parts)}</{name}>")


def unbroken(text: str) -> str:
    """The text, whose numbers stay on one line with their signs."""
    for apart in (" %", " ±", "± "):
        text = text.replace(apart, apart.replace(" ", "\N{NO-BREAK SPACE}"))
    return text


def joined(parts: Iterable[str]) -> Html:
    """Parts behind each other."""
    return Html("\n".join(safe(part) for part in parts))


def bullets(items: Iterable[str]) -> Html:
    """A list."""
    return tag("ul", *(tag("li", item) for item in items))


def pairs(items: Iterable[tuple[str, str]]) -> Html:
    """Words and what is to be said of them."""
    return tag("dl", *(joined((tag("dt", word), tag("dd", said))) for word, said in items))


def table(rows: Sequence[Row], columns: Sequence[Column], caption: str = "") -> Html:
    """A table that scrolls by itself where the page is narrow; nothing where there are no rows."""
    if not rows:
        return Html("")
    heads = [
        Html(f'<th scope="col"{_kind(column)}{_hint(column.hint)}>{safe(column.heading)}</th>') for column in columns
    ]
    lines = [
        tag("tr", *(Html(f"<td{_kind(column)}>{safe(column.cell(row))}</td>") for column in columns)) for row in rows
    ]
    inside = (tag("caption", caption) if caption else "", tag("thead", tag("tr", *heads)), tag("tbody", *lines))
    return tag("div", tag("table", *inside), kind="wide")


def picture(png: bytes, words: str, caption: str = "") -> Html:
    """A picture inside the page; `words` are for who cannot see it."""
    data = base64.b64encode(png).decode("ascii")
    image = Html(f'<div><img alt="{safe(words)}" src="data:image/png;base64,{data}"></div>')
    return tag("figure", image, tag("figcaption", caption) if caption else "")


def folded(summary: str, *parts: str) -> Html:
    """Parts that are seen when asked for."""
    return tag("details", tag("summary", summary), *parts)


def _kind(column: Column) -> str:
    return ' class="text"' if column.text else ""


def _hint(text: str) -> str:
    return f' title="{safe(text)}"' if text else ""

"""The report of a benchmark: one page that needs nothing else, in which every name is only a name."""

import base64
import json
import re
import struct
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest

from judged import FORECASTERS, part_of, simulated, tables_of
from kronos.evaluate.benchmark import report
from kronos.evaluate.benchmark.picture_frame import legend_columns, styles
from kronos.evaluate.benchmark.pictures import draw_horizon, draw_leaderboard, draw_pictures, draw_places, draw_speed
from kronos.evaluate.benchmark.report import write_report
from kronos.evaluate.benchmark.report_html import Column, Html, folded, joined, table, tag, unbroken
from kronos.evaluate.benchmark.report_words import command, left_out
from kronos.evaluate.benchmark.results import Results

NAMES = ("<b>ours</b> & $x^2$", 'narrow"><script>alert(1)</script>', "fhs", "ewma", "hv20")
PICTURES = {
    "leaderboard", "horizon", "places", "regimes", "calibration", "coverage", "pit", "reliability", "width_error",
    "speed",
}  # fmt: skip
VOID = {"meta", "img", "br"}


class Page(HTMLParser):
    """A page read back: its words, its pictures, and whether every element is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.headings: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)
        if self.open and self.open[-1] == "h2":
            self.headings.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).replace("\N{NO-BREAK SPACE}", " ").split())


@pytest.fixture(scope="module")
def results() -> Results:
    found = simulated(cutoff="2024-07-15")
    called = dict(zip(FORECASTERS, NAMES, strict=True))
    wires = [
        {"wire": "future", "model": called["perfect"], "passed": True, "figure": 0.0, "sentence": "all the same"},
        {"wire": "mirrored", "model": called["narrow"], "passed": False, "figure": 0.1, "sentence": "it has seen <it>"},
    ]
    facts = {called[name]: {**known, "options": {"place": name}} for name, known in found.facts.items()}
    scores = found.scores.assign(model=found.scores["model"].map(called))
    return replace(found, scores=scores, facts=facts, tripwires=wires)


@pytest.fixture(scope="module")
def written(results: Results, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(results, tmp_path_factory.mktemp("made") / "new" / "out", price=0.25)


@pytest.fixture(scope="module")
def page(written: Path) -> Page:
    return Page(written.read_text(encoding="utf-8"))


# The page -------------------------------------------------------------------------------------------------------------


def test_it_is_all_there(written: Path, page: Page) -> None:
    folder = written.parent
    assert sorted(path.name for path in folder.iterdir()) == ["pictures", "report.html", "tables.json"]
    assert {path.stem for path in (folder / "pictures").iterdir()} == PICTURES
    headings = [
        "Verdict", "What was judged", "Leaderboard", "Where it is better and worse", "Calibration",
        "Which asset does better", "Beside every baseline", "Speed and cost", "Tripwires", "What the words mean",
        "Do it again",
    ]  # fmt: skip
    assert page.headings == headings
    anchors = [attributes["id"] for name, attributes in page.tags if name == "h2"]
    links = [attributes["href"] for name, attributes in page.tags if name == "a"]
    assert links == [f"#{anchor}" for anchor in anchors]


def test_it_needs_nothing_from_elsewhere(written: Path, page: Page) -> None:
    text = written.read_text(encoding="utf-8")
    assert {name for name, _ in page.tags} & {"script", "link", "iframe", "object", "base"} == set()
    assert "http" not in text
    assert "url(" not in text
    assert "@import" not in text
    for name, attributes in page.tags:
        for key, value in attributes.items():
            assert key not in ("href", "src") or str(value).startswith(("#", "data:image/png;base64,")), (name, key)
            assert not key.startswith("on")
    assert "prefers-color-scheme: dark" in text
    assert "width=device-width" in text


def test_names_are_only_names(written: Path, page: Page) -> None:
    text = written.read_text(encoding="utf-8")
    assert "<script" not in text
    assert "<b>ours" not in text
    for name in NAMES:
        assert name in page.text
    assert "it has seen <it>" in page.text


def test_pictures_in_the_page_are_those_beside_it(written: Path, page: Page) -> None:
    inside = [attributes for name, attributes in page.tags if name == "img"]
    pictures = [base64.b64decode(str(one["src"]).partition(",")[2]) for one in inside]
    assert {*pictures} == {path.read_bytes() for path in (written.parent / "pictures").iterdir()}
    assert all(one["alt"] for one in inside)
    for png in pictures:
        assert png.startswith(b"\x89PNG")
        width, height = struct.unpack(">II", png[16:24])
        assert width == 1080
        assert 200 < height < 1600


def test_an_alarm_comes_before_the_verdict(page: Page) -> None:
    text = page.text
    alarm = text.index("Do not believe these figures: a tripwire did not hold.")
    assert alarm < text.index("2 models and 3 baselines") < text.index("An edge in direction")
    assert "NO it has seen <it>" in text


def test_what_was_judged_and_what_was_not(page: Page, results: Results) -> None:
    for words in (
        "120 origins in 24 series of 18 assets; the first bars to be forecast lie on 20 days, 2024-07-01 to 2024-08-08",
        "12 bars after 120, scored at steps 1, 6, 12",
        "crypto (60), us (30) and fx (30)",
        "1: too short for the window and the dates (us/1d/B)",
        "3: origins at which the market stood still",
        "48 of 120 origins lie before its cut-off (2024-07-15)",
        "At 0.25 dollars for an hour of one core",
    ):
        assert words in page.text, words


def test_the_figures_are_those_of_the_tables(written: Path, page: Page) -> None:
    tree = json.loads((written.parent / "tables.json").read_text(encoding="utf-8"), parse_constant=pytest.fail)
    assert tree["price_per_core_hour"] == 0.25
    assert tree["verdicts"][NAMES[1]]["band"] == "far too narrow"
    for sentence in tree["headline"] + tree["verdicts"]["fhs"]["sentences"]:
        assert sentence in page.text
    for row in tree["tables"]["leaderboard"]:
        assert f"{row['ratio_best']:.3f} ± {row['ratio_best_se']:.3f}" in page.text
        assert f"{100 * row['cover90']:.1f} % ± {100 * row['cover90_se']:.1f}" in page.text
        assert row["cost_per_1000"] == pytest.approx(row["seconds"] * 1000 * 0.25 / 3600)


# Whole or not at all --------------------------------------------------------------------------------------------------


def test_nothing_is_written_where_something_fails(
    results: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(tables: object) -> dict[str, bytes]:
        raise MemoryError

    monkeypatch.setattr(report, "draw_pictures", fail)
    (tmp_path / "report.html").write_text("old")
    with pytest.raises(MemoryError):
        write_report(results, tmp_path)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("report.html", "old")]


def test_another_report_takes_the_place_of_the_first(
    results: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "draw_pictures", lambda tables: {"leaderboard": b"png"})
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "old.png").write_bytes(b"old")
    (tmp_path / "scores.parquet").write_bytes(b"kept")
    some = part_of(results, ("fhs", "hv20"), 30)
    path = write_report(some, tmp_path, command="do $(this) <again>")
    assert [one.name for one in (tmp_path / "pictures").iterdir()] == ["leaderboard.png"]
    assert (tmp_path / "scores.parquet").read_bytes() == b"kept"
    text = Page(path.read_text(encoding="utf-8")).text
    assert "do $(this) <again>" in text
    assert "There is no model to judge" in text
    first = path.read_bytes()
    assert write_report(some, tmp_path, command="do $(this) <again>").read_bytes() == first


# Words ----------------------------------------------------------------------------------------------------------------


def test_the_command_does_it_again(results: Results) -> None:
    facts = {
        "tuned": {"options": {"place": "runs/my model", "device": "cpu", "calibration": None, "baseline": False}},
        "nano": {"options": {"place": "nano"}},
        "fhs": {"baseline": True, "options": {"place": "fhs"}},
    }
    said = command(replace(results, facts=facts), Path("out here"))
    assert said == (
        "kronos evaluate run 'out here/task.yaml' --models 'tuned=runs/my model,nano,fhs' --device cpu "
        "--calibration none --out 'out here-again'"
    )


def test_what_was_left_out_is_named_as_far_as_that_can_be_read() -> None:
    said = left_out({"mixed": [f"s{i}" for i in range(40)], "still": 1200, "new_reason": ["x"]})
    assert said[0].startswith("40: prices of two contracts take turns in them")
    assert said[0].endswith("(s0, s1, s2, s3, s4, s5, s6, s7, s8, s9, s10, s11 and 28 more)")
    assert said[1].startswith("1,200: origins at which the market stood still")
    assert said[2] == "1: new reason (x)"
    assert left_out({}) == []


def test_what_is_not_html_is_escaped_once() -> None:
    assert tag("p", "a < b", tag("b", "c & d"), kind='x"y') == '<p class="x&quot;y">a &lt; b<b>c &amp; d</b></p>'
    assert joined(["<", Html("<br>")]) == "&lt;\n<br>"
    column = Column("<h>", lambda row: str(row["x"]), hint="'", text=True)
    assert table([{"x": "<i>"}], [column], "<c>").count("&lt;") == 3
    assert table([], [column]) == ""
    assert folded("s", "<") == "<details><summary>s</summary>&lt;</details>"
    assert unbroken("9 % ± 1") == "9\u00a0%\u00a0±\u00a01"


# Pictures -------------------------------------------------------------------------------------------------------------


def words(figure: object) -> str:
    found = [text.get_text() for text in figure.findobj(lambda artist: hasattr(artist, "get_text"))]  # type: ignore[attr-defined]
    return "\n".join(found)


def test_many_models_with_long_names_can_be_drawn(results: Results) -> None:
    board = tables_of(results)["leaderboard"]
    more = [
        board.iloc[[i % 5]].assign(model=f"{'模型 ' * (i % 2)}a name that is far too long for any axis, number {i}")
        for i in range(14)
    ]
    many = pd.concat([board, *more], ignore_index=True)
    used = styles(many)
    assert len(used) == 19
    own = [style for name, style in used.items() if style.weight == "bold"]
    assert len({(style.colour, str(style.dash)) for style in own}) == len(own)
    others = [style for style in used.values() if style.weight == "normal"]
    assert len({(style.colour, style.marker, str(style.dash)) for style in others}) == len(others)
    assert legend_columns(list(used)) == 2
    assert legend_columns(["a", "b", "c"]) == 3
    assert legend_columns([]) == 1
    for draw in (draw_leaderboard, draw_speed):
        figure = draw({"leaderboard": many})
        assert figure is not None
        figure.canvas.draw()  # what cannot be drawn would warn, and warnings are errors here
        assert "a name that is far too l" in words(figure)


def test_a_cell_of_few_origins_has_no_colour(results: Results) -> None:
    tables = tables_of(results)
    part = tables["slices"].copy()
    cell = (part["slice"] == "market x timeframe") & (part["group"] == "us 1d") & (part["model"] == NAMES[0])
    part.loc[cell, ["origins", "ratio_best"]] = [19, 1.5]
    figure = draw_places({**tables, "slices": part})
    assert figure is not None
    patches = [patch for patch in figure.axes[0].patches if patch.get_width() < 1]
    colours = {tuple(round(float(one), 2) for one in patch.get_facecolor()) for patch in patches}
    assert len(patches) == 4
    assert (0.95, 0.96, 0.96, 1.0) in colours
    assert "1.500" in words(figure)
    assert "19" in words(figure).split("\n")


def test_what_there_is_nothing_to_draw_of_is_left_out(results: Results) -> None:
    kept = ["model", "series", "market", "asset", "timeframe", "time", "origin", "number", "regime", "before_cutoff"]
    some = part_of(results, ("fhs", "hv20"), 12)
    few = replace(some, scores=some.scores[[*kept, "seconds", "crps", "hv20_crps", "cover90"]].assign(regime="calm"))
    assert set(draw_pictures(tables_of(few))) == {"leaderboard", "places", "speed"}


def test_the_best_baseline_is_the_line(results: Results) -> None:
    tables = tables_of(results)
    figure = draw_horizon(tables)
    assert figure is not None
    best = tables["leaderboard"].query("kind == 'baseline'")["model"].iloc[0]
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert best not in legend
    assert len(legend) == 4
    assert f"as a share of {best}'s" in words(figure)


def test_drawing_leaves_no_trace_in_matplotlib(results: Results) -> None:
    import matplotlib

    before = dict(matplotlib.rcParams)
    draw_leaderboard(tables_of(results))
    assert dict(matplotlib.rcParams) == before
    import sys

    pyplot = sys.modules.get("matplotlib.pyplot")
    assert pyplot is None or pyplot.get_fignums() == []


def test_numbers_in_the_page_are_plain(page: Page) -> None:
    assert not re.search(r"\b(nan|None|inf|NaN)\b", page.text)
    assert "-0.00 " not in page.text

"""The documents say what is true: examples run, links lead somewhere, both languages agree."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "benchmarks").glob("*.md")])


def code_blocks(path: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", path.read_text(encoding="utf-8"), flags=re.DOTALL)


@pytest.mark.parametrize("name", ["README.md", "README.zh-CN.md"])
def test_the_readme_example_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    scope: dict[str, object] = {}
    exec(code_blocks(ROOT / name)[0].replace("samples=100", "samples=10"), scope)
    assert Path("forecast.png").exists()
    assert Path("forecast.npz").exists()


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_between_documents_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", path.read_text(encoding="utf-8")):
        assert "://" in target or (path.parent / target).exists(), f"{path.name}: {target}"


def test_both_readmes_hold_the_same_commands_and_figures() -> None:
    english, chinese = ((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "README.zh-CN.md"))

    def commands(text: str) -> list[str]:
        lines = [line.split(" #")[0].strip() for line in text.splitlines() if line.startswith("    ")]
        return [line for line in lines if line]

    assert commands(english) == commands(chinese)
    assert set(re.findall(r"\d{1,3}(?:,\d{3})+", english)) == set(re.findall(r"\d{1,3}(?:,\d{3})+", chinese))


def test_the_readme_names_the_two_commands_and_the_makefile_runs_the_same_checks() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in ("demo", "test"):
        assert f"make {target}" in readme
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE)
    for check in ("ruff check src tests benchmarks", "ruff format --check src tests benchmarks", "mypy", "pytest"):
        assert f".venv/bin/{check}" in readme
        assert f"$(BIN)/{check}" in makefile


def test_the_table_of_rooms_is_the_one_that_is_tested() -> None:
    from test_architecture import MAY_IMPORT, MUST_RUN_WITHOUT

    rows = re.findall(r"^\| (\w+) \| ([^|]+) \|([^|]*)\|$", (ROOT / "CONTRIBUTING.md").read_text(), flags=re.MULTILINE)
    written = {room: (allowed.strip(), without.strip()) for room, allowed, without in rows if room != "room"}
    assert set(written) == set(MAY_IMPORT)
    for room, (allowed, without) in written.items():
        assert without == MUST_RUN_WITHOUT.get(room, "")
        expected = MAY_IMPORT[room]
        if allowed == "all":
            assert expected == set(MAY_IMPORT) - {room}
        else:
            assert ({name.strip() for name in allowed.split(",")} - {"-"}) == expected

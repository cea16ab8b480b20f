"""The rooms may know each other only as the table says; see CONTRIBUTING.md.

Imports are read from the source, lazy ones inside functions and those under TYPE_CHECKING included.
"""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[1] / "src" / "kronos"

MAY_IMPORT: dict[str, set[str]] = {
    "bars": set(),
    "model": set(),
    "data": {"bars"},
    "trade": {"bars"},
    "forecast": {"bars", "model"},
    "evaluate": {"bars", "data"},
    "train": {"bars", "data", "model"},
    "synth": {"bars", "train"},
    "classify": {"bars", "data", "evaluate", "model", "train"},
    "serve": {"bars", "classify", "data", "evaluate", "forecast", "synth", "trade"},
    "cli": {
        "bars", "classify", "data", "evaluate", "forecast", "model", "serve", "synth", "trade", "train",
    },
}  # fmt: skip
MUST_RUN_WITHOUT = {"bars": "torch", "model": "pandas", "data": "torch", "trade": "torch", "evaluate": "torch"}
FLOOR = {"errors", "config", "extras", "writing", "compiling"}


def modules(root: Path) -> dict[str, Path]:
    """Dotted names below the package, "" for the package itself, and their files."""
    found = {}
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(path: Path, known: set[str]) -> set[str]:
    """The package's own modules that a file imports, as dotted names below the package."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide which room is meant"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            head, _, rest = name.partition(".")
            if head == "kronos":
                while rest and rest not in known:  # the last part may be a name inside a module
                    rest = rest.rpartition(".")[0]
                found.add(rest)
    return found


def violations(root: Path) -> list[str]:
    """Every import that the table forbids."""
    files = modules(root)
    rooms = {name for name in files if "." not in name and name and (root / name).is_dir()}
    wrong = [f"the room '{room}' is not in the table" for room in sorted(rooms - MAY_IMPORT.keys())]
    for name, path in files.items():
        room = name.partition(".")[0]
        if name in ("", "__main__"):
            continue  # the public face names every room, lazily; `python -m kronos` is the command line
        for target in sorted(imports(path, set(files))):
            other = target.partition(".")[0]
            if other == room or other in FLOOR or (other == "" and room == "cli"):
                continue
            if room in FLOOR or other not in MAY_IMPORT.get(room, set()):
                wrong.append(f"{name} imports {target or 'the public face'}")
    return wrong


def cycles(root: Path) -> list[str]:
    """Import cycles among the modules of the package."""
    files = modules(root)
    graph = {name: imports(path, set(files)) - {name} for name, path in files.items() if name}
    found: list[str] = []
    state: dict[str, int] = {}

    def visit(name: str, trail: list[str]) -> None:
        state[name] = 1
        for target in sorted(graph.get(name, set())):
            if state.get(target) == 1:
                found.append(" -> ".join([*trail[trail.index(target) :], target]))
            elif target not in state and target in graph:
                visit(target, [*trail, target])
        state[name] = 2

    for name in sorted(graph):
        if name not in state:
            visit(name, [name])
    return found


def test_rooms_import_only_what_the_table_allows() -> None:
    assert violations(SOURCE) == []


def test_no_import_cycles() -> None:
    assert cycles(SOURCE) == []


@pytest.mark.parametrize(
    ("file", "line", "complaint"),
    [
        ("bars/frame.py", "import kronos.model.network", "bars.frame imports model.network"),
        ("bars/frame.py", "from kronos.data import read_bars", "bars.frame imports data"),
        ("model/cache.py", "def f():\n    from kronos.bars import canonical", "model.cache imports bars"),
        ("errors.py", "from kronos.bars.candles import COLUMNS", "errors imports bars.candles"),
        ("forecast/engine.py", "from kronos import load", "forecast.engine imports the public face"),
        ("newroom/__init__.py", "x = 1", "the room 'newroom' is not in the table"),
    ],
)
def test_a_planted_import_is_caught(tmp_path: Path, file: str, line: str, complaint: str) -> None:
    for name, path in modules(SOURCE).items():
        copy = tmp_path / path.relative_to(SOURCE)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(path.read_text(encoding="utf-8"), encoding="utf-8")
        assert name is not None
    planted = tmp_path / file
    planted.parent.mkdir(exist_ok=True)
    planted.write_text((planted.read_text(encoding="utf-8") if planted.exists() else "") + "\n" + line + "\n")
    assert complaint in violations(tmp_path)


def test_a_planted_cycle_is_caught(tmp_path: Path) -> None:
    (tmp_path / "bars").mkdir()
    (tmp_path / "bars" / "__init__.py").write_text("")
    (tmp_path / "bars" / "a.py").write_text("from kronos.bars.b import y\n")
    (tmp_path / "bars" / "b.py").write_text("def f():\n    from kronos.bars import a\n")
    assert cycles(tmp_path) == ["bars.a -> bars.b -> bars.a"]


def loaded_by(statement: str) -> set[str]:
    """Top-level packages that a fresh interpreter has loaded after a statement."""
    code = f"{statement}\nimport sys\nsys.stdout.write(' '.join({{name.partition('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize(("room", "package"), [(r, p) for r, p in MUST_RUN_WITHOUT.items() if (SOURCE / r).is_dir()])
def test_room_runs_without(room: str, package: str) -> None:
    block = f"import sys; sys.modules[{package!r}] = None"
    every = "; ".join(f"import kronos.{name}" for name in modules(SOURCE) if name.partition(".")[0] == room)
    subprocess.run([sys.executable, "-c", f"{block}; {every}"], check=True, capture_output=True, text=True)


def test_the_face_and_the_help_load_nothing_heavy() -> None:
    heavy = {"torch", "pandas", "numpy", "matplotlib", "pyarrow", "pydantic"}
    assert not loaded_by("import kronos") & heavy
    assert not loaded_by("import kronos.cli") & heavy


def test_optional_packages_are_imported_through_the_one_door() -> None:
    core = {"torch", "numpy", "pandas", "pyarrow", "safetensors", "huggingface_hub", "pydantic", "click"}
    core |= {"matplotlib", "yaml", "kronos"} | set(sys.stdlib_module_names)
    for path in modules(SOURCE).values():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                assert name.partition(".")[0] in core, f"{path}: {name} is optional; use kronos.extras.require"

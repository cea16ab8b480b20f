"""A task says what it says: settings from files and options, with YAML's own ideas of dates; wrong ones are named."""

from pathlib import Path

import pytest

from kronos.errors import ConfigError
from kronos.evaluate.benchmark.task import Task, read_task, ready_tasks
from kronos.evaluate.scoring import GROUPS


def test_defaults_are_the_issue_s() -> None:
    task = Task()
    assert (task.lookback, task.horizon, task.steps, task.origins) == (400, 24, (1, 6, 12, 24), 4)
    assert (task.samples, task.baseline_samples, task.seed) == (100, 1000, 0)
    assert task.include_before_cutoff is False
    assert task.wanted is None


def test_a_file_with_dates_and_lists_as_people_write_them(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "since: 2025-07-01\nuntil: 2025-08-01 12:00:00\ntimeframes: 60m, 1d\nsymbols: BTC/USDT\nsteps: [1, 3]\n"
    )
    task = read_task(path, ["lookback=90", "steps=2,5", "exclude=[ES1]"])
    assert (task.since, task.until) == ("2025-07-01", "2025-08-01T12:00:00")
    assert (task.timeframes, task.symbols, task.exclude) == (("1h", "1d"), ("BTC/USDT",), ("ES1",))
    assert (task.lookback, task.steps) == (90, (2, 5))
    assert Task.of(task.tree()) == task, "what is written is read again"


def test_toml_does_as_well(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('name = "x"\nsince = 2025-07-01\nsteps = [4]\n')
    assert read_task(path).since == "2025-07-01"


def test_figures_by_group_always_hold_those_of_the_summary() -> None:
    assert Task(metrics=("pit",)).wanted == ("crps", "coverage", "pit")
    assert set(Task(metrics=tuple(GROUPS)).wanted or ()) == set(GROUPS)


@pytest.mark.parametrize(
    ("override", "complaint"),
    [
        ("lookbak=3", "lookbak: unknown key, did you mean 'lookback'?"),
        ("lookback=20", "lookback: Input should be greater than or equal to 21"),
        ("horizon=0", "horizon"),
        ("steps=[]", "steps"),
        ("steps=[0]", "steps.0"),
        ("since=soon", "'soon' is no date"),
        ("timeframes=[1parsec]", "timeframes.0"),
        ("metrics=[beauty]", "no group of figures is called 'beauty'"),
        ("samples=1", "samples"),
    ],
)
def test_what_is_wrong_is_named(override: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint.replace("?", r"\?")):
        read_task(None, [override])


def test_the_package_s_tasks_are_tasks() -> None:
    ready = ready_tasks()
    assert {"quick", "standard"} <= set(ready)
    for name in ready:
        task = read_task(name)
        assert task.name == name
        assert task.data == (), "whoever runs it says on which bars"
    assert read_task("standard") == Task(name="standard")
    with pytest.raises(ConfigError, match=r"no-such: no such file, and no task of the package \(.*quick, standard"):
        read_task("no-such")


def test_the_examples_are_tasks() -> None:
    folder = Path(__file__).resolve().parents[2] / "examples" / "tasks"
    found = sorted(folder.glob("*.yaml"))
    assert found
    for path in found:
        assert read_task(path).data, "an example names its data"

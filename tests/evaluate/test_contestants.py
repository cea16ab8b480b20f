"""What is said of a contestant before it is judged."""

import kronos
from kronos.evaluate import Contestant, Task
from kronos.evaluate.benchmark.contestants import introduce


def test_a_network_says_which_calibration_it_was_judged_with() -> None:
    task = Task(data=["nowhere"], lookback=60, horizon=3)
    own, raw = (
        introduce(Contestant("nano", lambda wanted=wanted: kronos.load("nano", calibration=wanted)), task)
        for wanted in ("own", None)
    )
    calibration = own.forecaster.calibration  # type: ignore[attr-defined]
    assert own.facts(task)["calibration"] == calibration.id
    assert raw.facts(task)["calibration"] is None
    assert own.fingerprint != raw.fingerprint
    assert own.cutoff == raw.cutoff == "2025-06-30"

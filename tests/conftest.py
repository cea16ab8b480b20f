"""Fixtures that several rooms' tests share: the golden cases of the published implementation, and tiny networks."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import HealthCheck, settings

from kronos.model import Kronos, KronosTokenizer
from reference import TRAINED, tiny_network, tiny_tokenizer

# Tiny networks: threads only wait for each other, a hundred times longer than the work takes on a busy machine.
torch.set_num_threads(1)

# A busy machine is slow, and that is no fault of the code; what CI tries must be the same every time.
settings.register_profile(
    "kronos",
    deadline=None,
    derandomize=bool(os.environ.get("CI")),
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("kronos")


@dataclass(frozen=True)
class Golden:
    """One set of golden numbers with the networks that made them; nobody may change what is in it."""

    folder: Path
    cases: dict[str, Any]
    arrays: dict[str, np.ndarray]
    network: Kronos
    tokenizer: KronosTokenizer
    bars: pd.DataFrame

    def tensor(self, name: str) -> torch.Tensor:
        return torch.from_numpy(self.arrays[name])

    def compare(self, name: str, value: Any) -> None:
        """Equal to the golden array within 1e-4 of its largest entry; whole numbers exactly."""
        wanted = self.arrays[name]
        value = np.asarray(value.detach() if isinstance(value, torch.Tensor) else value)
        assert value.shape == wanted.shape, name
        if wanted.dtype.kind in "iu":
            np.testing.assert_array_equal(value, wanted, err_msg=name)
        else:
            assert np.abs(value - wanted).max() <= 1e-4 * np.abs(wanted).max(), name


@pytest.fixture(scope="session")
def shared() -> Path:
    folder = Path(__file__).resolve().parents[1].parent / "shared"
    if not (folder / "golden").is_dir():
        pytest.skip("the golden cases are not beside this checkout (../shared/golden)")
    return folder


@pytest.fixture(scope="session", params=["tiny", "tiny-fixed-time"])
def golden(request: pytest.FixtureRequest, shared: Path) -> Golden:
    folder = shared / "golden" / request.param
    with np.load(folder / "expected.npz") as arrays:
        return Golden(
            folder,
            json.loads((folder / "cases.json").read_text()),
            dict(arrays),
            Kronos.from_pretrained(folder / "predictor"),
            KronosTokenizer.from_pretrained(folder / "tokenizer"),
            pd.read_csv(shared / "golden" / "bars.csv", parse_dates=["timestamps"]),
        )


@pytest.fixture(params=["published", "trained"])
def tiny_pair(request: pytest.FixtureRequest) -> tuple[Kronos, KronosTokenizer]:
    """A tiny network and its tokenizer, as published ones are and as our own are."""
    own = request.param == "trained"
    tokenizer = tiny_tokenizer(normaliser="returns" if own else "zscore")
    network = tiny_network(**(TRAINED if own else {}))
    return network, tokenizer

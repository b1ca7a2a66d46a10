"""Simulated GPUs, whose misuse fails the test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.runtime.simulated_gpu import SimulatedGpu
from tests.runtime.trt_cases import Case, SimulatedPlatform, image_case


@pytest.fixture
def platform() -> Iterator[SimulatedPlatform]:
    platform = SimulatedPlatform()
    yield platform
    assert platform.gpu.misuses == []


@pytest.fixture
def threaded() -> Iterator[SimulatedPlatform]:
    platform = SimulatedPlatform(SimulatedGpu(threaded=True))
    yield platform
    platform.gpu.may_compute.set()
    assert platform.gpu.misuses == []


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return image_case(tmp_path)

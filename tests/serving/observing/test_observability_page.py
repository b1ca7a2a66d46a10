"""docs/operations/observability.md says what the code does."""

import re

import pytest

from serving.batching.call import PHASES
from serving.observing.drift import BLOCK, MAX_WAITING, NUM_BLOCKS, SAMPLES_A_SECOND
from serving.observing.gpu_metrics import GPU_FAMILIES
from serving.observing.input_statistics import KINDS
from serving.observing.metrics import Metrics
from serving.observing.nv_metrics import NV_FAMILIES
from serving.observing.process_metrics import PROCESS_FAMILIES
from serving.observing.psi import MAX_BINS, MIN_SAMPLES, NOTABLE, SERIOUS
from tests.serving.running import ROOT

ROW = re.compile(r"^\| `(modelyard_\w+)` \| (\w+) \| ([\w, ]*) \| (.+) \|$", re.MULTILINE)


@pytest.fixture(scope="module")
def page() -> str:
    return (ROOT / "docs/operations/observability.md").read_text(encoding="utf-8")


def test_the_table_of_figures_is_the_one_of_the_code(page: str) -> None:
    told = {name: (kind, labels, text) for name, kind, labels, text in ROW.findall(page)}
    there_are = Metrics().families.table | GPU_FAMILIES | PROCESS_FAMILIES
    assert told == {name: (family.kind, ", ".join(family.labels), family.text) for name, family in there_are.items()}


def test_every_name_that_the_page_uses_is_there(page: str) -> None:
    known = Metrics().families.table.keys() | GPU_FAMILIES.keys() | PROCESS_FAMILIES.keys()
    used = {re.sub(r"_(bucket|sum|count)$", "", name) for name in re.findall(r"modelyard_[a-z_]+", page)}
    assert used - known == set()


def test_tritons_names_are_all_told(page: str) -> None:
    assert set(re.findall(r"nv_inference_\w+", page)) == NV_FAMILIES.keys()


def test_phases_and_inputs_are_all_told(page: str) -> None:
    assert re.findall(r"\*\*(\w+)\*\* \(", page)[: len(PHASES)] == list(PHASES)
    statistics = {"brightness", "tokens", "mean", "spread"}
    assert len(KINDS) == 3
    assert all(f"`{name}`" in page for name in statistics)


def test_numbers_of_drift_are_the_codes(page: str) -> None:
    assert f"below {NOTABLE}" in page
    assert f"above {SERIOUS}" in page
    assert f"before {MIN_SAMPLES} samples" in page
    assert f"more than {MAX_BINS} labels" in page
    assert f"the last {BLOCK * NUM_BLOCKS:,}" in page
    assert (SAMPLES_A_SECOND, MAX_WAITING) == (2.0, 16)

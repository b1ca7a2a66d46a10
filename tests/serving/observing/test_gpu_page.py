"""docs/operations/gpu.md says what the code does."""

import re

import pytest

from serving.batching.shortage import TELL_EVERY_S
from serving.errors import STATUS
from serving.observing.metrics import Metrics
from serving.repository.model_settings import ModelSettings
from serving.repository.shelf import RETRY_S
from serving.settings import Settings
from tests.serving.running import ROOT

FOR_GPUS = ("device", "runtime", "precision", "require_engine", "engines", "gpus", "gpu_instances", "gpu_memory_mib")


@pytest.fixture(scope="module")
def page() -> str:
    return (ROOT / "docs/operations/gpu.md").read_text(encoding="utf-8")


def test_every_flag_of_the_page_is_one(page: str) -> None:
    named = {flag.replace("-", "_") for flag in re.findall(r"--([a-z][a-z-]+)", page)}
    assert named <= Settings.model_fields.keys()
    assert {*FOR_GPUS, "cuda_graphs"} <= named


def test_every_key_of_a_model_is_told_beside_its_flag(page: str) -> None:
    rows = re.findall(r"^\| (?:`--[^`]*`)? ?\| (?:`(\w+)[^`]*`)? ?\|", page, re.MULTILINE)
    keys = {key for key in rows if key}
    assert keys == {"runtime", "precision", "artefact", "require_engine", "gpus", "gpu_instances"}
    assert keys <= ModelSettings.model_fields.keys()


def test_every_figure_of_the_page_is_there(page: str) -> None:
    used = set(re.findall(r"modelyard_[a-z_]+", page))
    assert used <= Metrics().families.table.keys()
    assert {"modelyard_engine_fallback", "modelyard_out_of_memory_total"} <= used


def test_codes_and_times_are_the_codes(page: str) -> None:
    codes = {code for _, code in STATUS.values()}
    assert set(re.findall(r"code `(\w+)`", page)) == {"device_lost"} <= codes
    assert (RETRY_S, TELL_EVERY_S) == (300.0, 10.0)
    assert "tried again every five minutes" in page
    assert "at most every ten seconds" in page

"""Figures of GPUs: those that are told, of the GPUs that this process may use, through the real /metrics."""

import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from bundle.errors import RuntimeFailed
from runtime.devices import num_gpus
from serving.observing import gpu_metrics
from serving.observing.gpu_metrics import GPU_FAMILIES, LABELS, REASONS, Gpus, gpu_figures
from serving.settings import Settings
from tests.serving.imitated_nvml import FIRST, SECOND, Card, ImitatedNvml, NVMLError, two_cards
from tests.serving.running import ROOT, started

H200 = ("0", f"GPU-{FIRST}", "NVIDIA H200")
L4 = ("1", f"GPU-{SECOND}", "NVIDIA L4")


@pytest.fixture(autouse=True)
def _looked_for_anew() -> Iterator[None]:
    gpu_metrics._found.cache_clear()
    yield
    gpu_metrics._found.cache_clear()


def figures(families: list[Metric]) -> dict[str, dict[tuple[str, ...], float]]:
    """Family -> labels -> figure."""
    return {
        sample.name: {tuple(one.labels.values()): one.value for one in family.samples}
        for family in families
        for sample in family.samples[:1]
    }


def test_every_figure_of_a_gpu_that_tells_all_and_what_the_other_tells() -> None:
    assert figures(Gpus(two_cards(), [FIRST, SECOND]).families()) == {
        "modelyard_gpu_memory_used_bytes": {H200: 3 << 30, L4: 1 << 30},
        "modelyard_gpu_memory_total_bytes": {H200: 80 << 30, L4: 24 << 30},
        "modelyard_gpu_utilisation_ratio": {H200: 0.75, L4: 0},
        "modelyard_gpu_memory_utilisation_ratio": {H200: 0.2, L4: 0},
        "modelyard_gpu_power_watts": {H200: 412.5},
        "modelyard_gpu_power_limit_watts": {H200: 700},
        "modelyard_gpu_temperature_celsius": {H200: 61, L4: 35},
        "modelyard_gpu_ecc_errors_total": {H200: 2},
        "modelyard_gpu_throttled": {(*H200, "power"): 1, (*H200, "heat"): 0, (*H200, "hardware"): 0},
    }


def test_all_of_them_are_in_the_table_with_their_labels() -> None:
    families = Gpus(two_cards(), [FIRST]).families()
    shown = {one.samples[0].name: (one.type, tuple(one.samples[0].labels), one.documentation) for one in families}
    assert shown == {name: (family.kind, family.labels, family.text) for name, family in GPU_FAMILIES.items()}


@pytest.mark.parametrize(
    ("bit", "reason"),
    [(4, "power"), (128, "power"), (32, "heat"), (64, "heat"), (8, "hardware"), (1, None), (2, None), (16, None)],
)
def test_a_gpu_is_slowed_down_for_a_reason(bit: int, reason: str | None) -> None:
    nvml = two_cards()
    nvml.cards[0].figures["CurrentClocksEventReasons"] = bit
    told = figures(Gpus(nvml, [FIRST]).families())["modelyard_gpu_throttled"]
    assert told == {(*H200, one): float(one == reason) for one in REASONS}


def test_gpus_have_cudas_numbers_and_those_that_are_hidden_have_no_figures() -> None:
    told = figures(Gpus(two_cards(), [SECOND]).families())
    assert told["modelyard_gpu_temperature_celsius"] == {("0", *L4[1:]): 35}
    told = figures(Gpus(two_cards(), [SECOND, FIRST]).families())
    assert told["modelyard_gpu_temperature_celsius"] == {("0", *L4[1:]): 35, ("1", *H200[1:]): 61}


def test_a_slice_of_a_gpu_is_found_by_its_own_identity() -> None:
    card = Card(f"MIG-{FIRST}", "NVIDIA H200 MIG 1g.18gb", {"MemoryInfo": two_cards().cards[0].figures["MemoryInfo"]})
    told = figures(Gpus(ImitatedNvml(card), [FIRST]).families())
    assert told["modelyard_gpu_memory_used_bytes"] == {("0", f"MIG-{FIRST}", card.name): 3 << 30}
    assert "modelyard_gpu_utilisation_ratio" not in told


def test_a_gpu_that_falls_off_the_bus_is_left_out_and_named_once(caplog: pytest.LogCaptureFixture) -> None:
    nvml = two_cards()
    gpus = Gpus(nvml, [FIRST, SECOND])
    gpus.families()
    nvml.cards[0].lost = True
    for _ in range(3):
        told = figures(gpus.families())
        assert {labels[:3] for figure in told.values() for labels in figure} == {L4}
    assert caplog.messages == [f"GPU-{FIRST} is lost: GPU is lost; it has no figures until the machine is started anew"]


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> ImitatedNvml:
    """As if this machine had them."""
    nvml = two_cards()
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    monkeypatch.setattr(gpu_metrics, "gpu_uuids", lambda: (FIRST, SECOND))
    return nvml


async def scraped(repository: Path) -> dict[str, Metric]:
    async with started(Settings(repository=repository)) as client:
        response = await client.get("/metrics")
        assert response.status_code == 200
        return {family.name: family for family in text_string_to_metric_families(response.text)}


@pytest.mark.anyio
async def test_a_scrape_has_them_beside_the_services_own(two_gpus: ImitatedNvml, repository: Path) -> None:
    families = await scraped(repository)
    assert "modelyard_model_ready" in families
    samples = families["modelyard_gpu_memory_used_bytes"].samples
    used = {tuple(sample.labels[label] for label in LABELS): sample.value for sample in samples}
    assert used == {H200: 3 << 30, L4: 1 << 30}
    assert [sample.value for sample in families["modelyard_gpu_ecc_errors"].samples] == [2]


@pytest.mark.anyio
async def test_a_scrape_survives_whatever_the_driver_says(two_gpus: ImitatedNvml, repository: Path) -> None:
    for card in two_gpus.cards:
        card.lost = True
    families = await scraped(repository)
    assert "modelyard_model_ready" in families
    assert not [name for name in families if name.startswith("modelyard_gpu")]


def test_the_driver_is_asked_for_its_gpus_once(two_gpus: ImitatedNvml) -> None:
    for _ in range(3):
        assert list(gpu_figures())
    assert two_gpus.initialised == 1


def nothing(caplog: pytest.LogCaptureFixture) -> str:
    """What is said, once, where there are no figures."""
    with caplog.at_level(logging.INFO, "modelyard.serving"):
        for _ in range(3):
            assert list(gpu_figures()) == []
    (line,) = caplog.messages
    return line


def test_without_the_library_there_are_none_and_one_line_says_why(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert nothing(caplog).startswith("no GPU figures: import of pynvml halted")
    assert "pip install 'modelyard[gpu]'" in caplog.text


def test_without_a_driver_there_are_none_and_one_line_says_why(
    two_gpus: ImitatedNvml, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails() -> None:
        raise NVMLError("NVML Shared Library Not Found")

    monkeypatch.setattr(two_gpus, "nvmlInit", fails, raising=False)
    assert nothing(caplog) == "no GPU figures: NVML Shared Library Not Found"


def test_where_no_gpu_may_be_used_there_are_none(
    two_gpus: ImitatedNvml, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(gpu_metrics, "gpu_uuids", lambda: ())
    assert nothing(caplog) == "no GPU figures: this process may use no GPU"


def test_without_cudas_bindings_there_are_none(
    two_gpus: ImitatedNvml, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails() -> None:
        raise RuntimeFailed("device 'cuda' needs CUDA's bindings")

    monkeypatch.setattr(gpu_metrics, "gpu_uuids", fails)
    assert nothing(caplog) == "no GPU figures: device 'cuda' needs CUDA's bindings"


def test_what_is_asked_for_exists_in_the_library() -> None:
    pynvml = pytest.importorskip("pynvml", reason="compared with nvidia-ml-py")
    bits = [name for names in REASONS.values() for name in names]
    imitated = [name for name in vars(ImitatedNvml) if name.startswith("nvml")]
    asked = [*imitated, *(f"nvmlDeviceGet{name}" for name in two_cards().cards[0].figures)]
    errors = ["NVMLError", "NVMLError_GpuIsLost", "NVMLError_NotSupported", "NVMLError_NotFound"]
    constants = ["NVML_TEMPERATURE_GPU", "NVML_MEMORY_ERROR_TYPE_UNCORRECTED", "NVML_VOLATILE_ECC"]
    assert [name for name in (*bits, *asked, *errors, *constants) if not hasattr(pynvml, name)] == []
    for name in (*bits, *constants):
        assert getattr(pynvml, name) == getattr(two_cards(), name)
    assert all(issubclass(getattr(pynvml, name), pynvml.NVMLError) for name in errors)


@pytest.mark.gpu
@pytest.mark.skipif(num_gpus() == 0, reason="no CUDA device, or no driver for it")
def test_a_real_gpu_tells_its_memory_and_heat() -> None:
    pytest.importorskip("pynvml", reason="needs nvidia-ml-py")
    told = figures(list(gpu_figures()))
    used, total = told["modelyard_gpu_memory_used_bytes"], told["modelyard_gpu_memory_total_bytes"]
    assert len(total) == num_gpus()
    assert all(0 < used[labels] <= total[labels] for labels in total)
    assert told.keys() <= GPU_FAMILIES.keys()


@pytest.mark.gpu
@pytest.mark.skipif(num_gpus() == 0, reason="no CUDA device, or no driver for it")
def test_a_real_gpu_that_is_hidden_has_no_figures() -> None:
    code = "from serving.observing.gpu_metrics import gpu_figures; print(len(list(gpu_figures())))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={"CUDA_VISIBLE_DEVICES": "-1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "0"

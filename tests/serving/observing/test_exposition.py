import asyncio
import shutil
import subprocess
import time

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families

from serving.batching.call import PHASES
from serving.observing.metrics import Metrics
from serving.observing.nv_metrics import NV_FAMILIES
from serving.observing.process_metrics import PROCESS_FAMILIES
from tests.serving.figures import Queue, samples_of, shown

OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
TRACE_ID = "0af7651916cd43dd8448eb211c80319c"


QUEUE = Queue(queue_depth=3, in_flight=5)


def filled(nv_metrics: bool = False) -> Metrics:
    """Figures with a sample in every family that requests can fill."""
    metrics = Metrics(nv_metrics=nv_metrics)
    metrics.model_ready("m", 1, ready=True)
    metrics.load_failure("broken")
    model = metrics.model("m", 1)
    model.answered(dict.fromkeys(PHASES, 0.002), 4, 0.012)
    model.failed("overloaded", {"parse": 0.001}, 0.001)
    model.batch(4, 0.002)
    model.join(QUEUE)
    metrics.count_request("/v1/classify", 200, 0.012, TRACE_ID)
    metrics.count_request("/v1/classify", 503, 0.001)
    return metrics


def promtool(exposition: bytes) -> subprocess.CompletedProcess[str]:
    """`promtool check metrics`: 0 where all is well, 3 for style, 1 where it cannot be parsed."""
    if shutil.which("promtool") is None:
        pytest.skip("promtool (Debian package prometheus) is not installed")
    return subprocess.run(
        ["promtool", "check", "metrics"], input=exposition.decode(), capture_output=True, text=True, check=False
    )


def test_promtool_finds_nothing_to_say_of_our_figures() -> None:
    checked = promtool(filled().exposition()[0])
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")


def test_promtool_reads_tritons_names_too() -> None:
    checked = promtool(filled(nv_metrics=True).exposition()[0])
    assert checked.returncode != 1, checked.stderr
    assert "error" not in checked.stderr


def test_plain_text_is_the_default_and_openmetrics_comes_on_request() -> None:
    metrics = filled()
    assert metrics.exposition()[1].startswith("text/plain; version=0.0.4")
    content, content_type = metrics.exposition(OPENMETRICS)
    assert content_type.startswith("application/openmetrics-text; version=1.0.0")
    assert content.endswith(b"# EOF\n")


def test_a_traced_request_is_the_exemplar_of_its_bucket() -> None:
    content = filled().exposition(OPENMETRICS)[0].decode()
    family = next(one for one in openmetrics_families(content) if one.name == "modelyard_request_seconds")
    exemplars = {one.labels["le"]: one.exemplar for one in family.samples if one.exemplar}
    assert exemplars.keys() == {"0.025"}
    assert (exemplars["0.025"].labels, exemplars["0.025"].value) == ({"trace_id": TRACE_ID}, 0.012)


def test_exemplars_are_not_in_plain_text_which_has_no_place_for_them() -> None:
    assert TRACE_ID not in filled().exposition()[0].decode()


def test_tritons_names_are_there_only_where_they_are_asked_for() -> None:
    assert not any(name.startswith("nv_") for name in shown(filled()))
    assert NV_FAMILIES.keys() <= shown(filled(nv_metrics=True)).keys()


def test_tritons_names_tell_what_ours_do() -> None:
    figures = {name: values for name, values in shown(filled(nv_metrics=True)).items() if name.startswith("nv_")}
    version = ("m", "1")
    assert figures == {
        "nv_inference_request_success": {version: 1},
        "nv_inference_request_failure": {version: 1},
        "nv_inference_count": {version: 4},
        "nv_inference_exec_count": {version: 1},
        "nv_inference_request_duration_us": {version: 12_000},
        "nv_inference_queue_duration_us": {version: 2000},
        "nv_inference_compute_input_duration_us": {version: 2000},
        "nv_inference_compute_infer_duration_us": {version: 2000},
        "nv_inference_compute_output_duration_us": {version: 4000},
        "nv_inference_pending_request_count": {("m",): 3},
    }


def test_every_family_is_shown_before_anything_was_counted() -> None:
    metrics = Metrics()
    content = metrics.exposition()[0].decode()
    for name, family in metrics.families.table.items():
        assert f"# TYPE {name} {family.kind}\n" in content
        assert f"# HELP {name} {family.text}\n" in content
    counted = samples_of(content).keys() - PROCESS_FAMILIES.keys()
    assert not [name for name in counted if metrics.families.table[name].labels]


@pytest.mark.anyio
async def test_scrapes_at_once_share_one_writing_and_the_next_is_new(monkeypatch: pytest.MonkeyPatch) -> None:
    metrics, written = Metrics(), []
    write = metrics._written

    def slowly(accept: str) -> tuple[bytes, str]:
        written.append(accept)
        time.sleep(0.05)
        return write(accept)

    monkeypatch.setattr(metrics, "_written", slowly)
    answers = await asyncio.gather(*(metrics.scrape() for _ in range(50)))
    assert written == [""]
    assert len(set(answers)) == 1
    metrics.count_request("/", 200, 0.1)
    again, openmetrics = await asyncio.gather(metrics.scrape(), metrics.scrape("application/openmetrics-text"))
    assert sorted(written) == ["", "", "application/openmetrics-text"]
    assert b'modelyard_requests_total{code="200",route="/"} 1.0' in again[0]
    assert openmetrics[0].endswith(b"# EOF\n")

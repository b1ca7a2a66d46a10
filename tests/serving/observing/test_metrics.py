from pathlib import Path

import httpx
import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families
from starlette.types import Receive, Scope, Send

from serving.batching.call import PHASES
from serving.http.front import Front
from serving.observing.endings import Endings
from serving.observing.metrics import Metrics
from serving.settings import Settings
from tests.builders import png, write_fake_bundle
from tests.serving.running import started
from tests.serving.tampering import TAMPERINGS
from tests.serving.wire import files

CLASSIFY = "/v1/classify"

pytestmark = pytest.mark.anyio


def families_of(exposition: str) -> dict[str, Metric]:
    return {family.name: family for family in text_string_to_metric_families(exposition)}


async def figures(client: httpx.AsyncClient, family: str, *labels: str) -> dict[tuple[str, ...], float]:
    """Label values -> figure, of a family's counters, gauges and histogram counts."""
    response = await client.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain; version=")
    samples = families_of(response.text)[family].samples
    plain = [sample for sample in samples if not sample.name.endswith(("_bucket", "_sum", "_created"))]
    assert all(sample.labels.keys() == set(labels) for sample in plain)
    return {tuple(sample.labels[label] for label in labels): sample.value for sample in plain}


async def test_requests_are_counted_by_route_and_code(repository: Path) -> None:
    async with started(Settings(repository=repository)) as client:
        for content in (png(), png(), b"junk"):
            await client.post(CLASSIFY, content=content)
        await client.post(CLASSIFY, params={"model": "nobody"}, content=png())
        await client.get(CLASSIFY)
        assert await figures(client, "modelyard_requests", "route", "code") == {
            (CLASSIFY, "200"): 2,
            (CLASSIFY, "400"): 1,
            (CLASSIFY, "404"): 1,
            (CLASSIFY, "405"): 1,
        }


async def test_every_request_has_a_duration(repository: Path) -> None:
    async with started(Settings(repository=repository)) as client:
        for content in (png(), b"junk"):
            await client.post(CLASSIFY, content=content)
        assert await figures(client, "modelyard_request_seconds", "route") == {(CLASSIFY,): 2}


async def test_every_phase_of_an_answered_request_is_timed_once(repository: Path) -> None:
    async with started(Settings(repository=repository)) as client:
        await client.post(CLASSIFY, files=files([png(), png()]))
        assert await figures(client, "modelyard_phase_seconds", "model", "phase") == {
            ("fake", phase): 1 for phase in PHASES
        }


async def test_a_refused_request_is_timed_up_to_the_phase_that_refused_it(repository: Path) -> None:
    async with started(Settings(repository=repository)) as client:
        await client.post(CLASSIFY, content=b"junk")
        assert await figures(client, "modelyard_phase_seconds", "model", "phase") == {
            ("fake", phase): 1 for phase in PHASES[:2]
        }


async def test_inputs_that_were_answered_are_counted_by_model(repository: Path) -> None:
    async with started(Settings(repository=repository)) as client:
        await client.post(CLASSIFY, files=files([png()] * 3))
        await client.post(CLASSIFY, files=files([png(), b"junk"]))
        assert await figures(client, "modelyard_instances", "model") == {("fake",): 3}


async def test_paths_that_are_not_there_share_one_label(repository: Path) -> None:
    async with started(Settings(repository=repository)) as client:
        for i in range(30):
            await client.get(f"/nothing/{i}")
            await client.post(f"{CLASSIFY}/{i}")
        routes = {route for route, _ in await figures(client, "modelyard_requests", "route", "code")}
        assert routes == {"other"}


async def test_nothing_that_a_client_chooses_becomes_a_label(repository: Path) -> None:
    async with started(Settings(repository=repository)) as client:
        for i in range(30):
            await client.post(CLASSIFY, params={"model": f"nobody{i}"}, content=png())
            await client.request(f"METHOD{i}", CLASSIFY)
        assert set(await figures(client, "modelyard_requests", "route", "code")) == {
            (CLASSIFY, "404"),
            (CLASSIFY, "405"),
        }
        assert await figures(client, "modelyard_phase_seconds", "model", "phase") == {}


async def test_a_gauge_tells_which_models_answer(tmp_path: Path) -> None:
    write_fake_bundle(tmp_path, "sound")
    TAMPERINGS["byte"].damage(write_fake_bundle(tmp_path, "broken"))
    async with started(Settings(repository=tmp_path)) as client:
        assert await figures(client, "modelyard_model_ready", "model", "version") == {
            ("broken", "1"): 0,
            ("sound", "1"): 1,
        }


async def test_two_applications_count_for_themselves(repository: Path) -> None:
    async with started(Settings(repository=repository)) as one, started(Settings(repository=repository)) as other:
        await one.post(CLASSIFY, content=png())
        assert await figures(one, "modelyard_requests", "route", "code") == {
            (CLASSIFY, "200"): 1,
        }
        assert await figures(other, "modelyard_requests", "route", "code") == {}


async def test_an_application_that_breaks_is_counted_as_500() -> None:
    async def breaks(scope: Scope, receive: Receive, send: Send) -> None:
        raise ZeroDivisionError

    metrics = Metrics()
    transport = httpx.ASGITransport(Front(breaks, Endings(metrics)), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        assert (await client.get("/")).status_code == 500
    requests = families_of(metrics.exposition()[0].decode())["modelyard_requests"]
    assert [(sample.labels, sample.value) for sample in requests.samples] == [({"route": "other", "code": "500"}, 1)]


def test_a_running_server_shows_figures_that_prometheus_reads(client: httpx.Client) -> None:
    client.post(CLASSIFY, content=png())
    families = families_of(client.get("/metrics").text)
    assert {f"modelyard_{name}" for name in ("requests", "request_seconds", "phase_seconds", "instances")} <= set(
        families
    )
    ready = families["modelyard_model_ready"].samples
    assert [(sample.labels, sample.value) for sample in ready] == [({"model": "fake", "version": "1"}, 1)]
    assert all(family.documentation for family in families.values())

import os
from pathlib import Path

import pytest

from bundle.store import open_bundle
from runtime.devices import device_info
from runtime.runtime import ON_CPU
from serving.settings import Settings
from tests.builders import LABELS, write_fake_bundle
from tests.serving.loading import loading
from tests.serving.running import Server, free_port, running, started
from tests.serving.tampering import TAMPERINGS

MODELS = "/v1/models"


@pytest.mark.anyio
async def test_a_model_is_listed_with_what_a_caller_and_an_auditor_need(repository: Path) -> None:
    manifest = open_bundle(repository / "fake" / "1").manifest
    async with started(Settings(repository=repository)) as client:
        answer = (await client.get(MODELS)).json()
    assert answer == {
        "models": [
            {
                "name": "fake",
                "version": 1,
                "state": "ready",
                "task": "image-classification",
                "labels": list(LABELS),
                "decode": {"kind": "classification", "labels": list(LABELS), "default_top_k": 5},
                "input": {"kind": "image-resize", "height_px": 8, "width_px": 8, "color": "rgb"},
                "max_batch_size": 4,
                "largest_batch": 4,
                "artefact": "fp32",
                "runtime": "fake",
                "precision": "fp32",
                "device": str(device_info(ON_CPU)),
                "why": "the only one that may run here, proven by the export",
                "artefacts": {
                    "fp32": {
                        "runtime": "fake",
                        "precision": "fp32",
                        "device": "any",
                        "proven_against": "the checkpoint it was exported from",
                        "metric": {"accuracy": {"artefact": 1.0, "checkpoint": 1.0}},
                        "num_test_samples": 3,
                        "checks": 6,
                        "median_ms": {"1": 0.1},
                    }
                },
                "left_out": {},
                "digest": manifest.digest,
            }
        ],
        "object": "list",
        "data": [],
    }


@pytest.mark.anyio
async def test_models_are_listed_by_name(tmp_path: Path) -> None:
    for name in ("b", "C", "a"):
        write_fake_bundle(tmp_path, name)
    async with started(Settings(repository=tmp_path)) as client:
        assert [model["name"] for model in (await client.get(MODELS)).json()["models"]] == ["C", "a", "b"]


@pytest.mark.anyio
async def test_a_model_that_is_loading_is_listed_as_such(tmp_path: Path) -> None:
    async with loading(tmp_path) as (client, _):
        listed = (await client.get(MODELS)).json()["models"]
    assert listed == [{"name": "slow", "version": 1, "state": "loading", "reason": "it is being loaded and proven"}]


@pytest.mark.anyio
async def test_without_models_the_list_is_empty(tmp_path: Path) -> None:
    async with started(Settings(repository=tmp_path)) as client:
        assert (await client.get(MODELS)).json() == {"models": [], "object": "list", "data": []}


@pytest.mark.parametrize("name", TAMPERINGS)
def test_a_refused_model_is_listed_with_file_and_cause(tampered_server: Server, name: str) -> None:
    listed = {model["name"]: model for model in tampered_server.client.get(MODELS).json()["models"]}
    assert listed[name].keys() == {"name", "version", "state", "reason"}
    assert listed[name]["state"] == "refused"
    assert all(word in listed[name]["reason"] for word in TAMPERINGS[name].told)


def test_refused_models_leave_the_others_ready(tampered_server: Server) -> None:
    listed = {model["name"]: model["state"] for model in tampered_server.client.get(MODELS).json()["models"]}
    assert listed == {"alpha": "ready", "beta": "ready"} | dict.fromkeys(TAMPERINGS, "refused")


def test_a_folder_whose_name_is_no_text_breaks_nothing(tmp_path: Path) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/models/\xff/1")).mkdir(parents=True)
    write_fake_bundle(tmp_path / "models", "sound")
    with running(tmp_path / "models", tmp_path, port=free_port()) as server:
        server.wait_for_status("/v2/health/ready", 200)
        listed = server.client.get(MODELS)
        assert listed.status_code == 200, listed.text
        assert sorted(model["state"] for model in listed.json()["models"]) == ["ready", "refused"]
        assert server.client.get("/metrics").status_code == 200

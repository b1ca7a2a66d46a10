"""A server process whose repository changes under load: no request lost, every answer of a version that was proven."""

import shutil
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from serving.security.keys import make_key
from tests.builders import png
from tests.serving.repositories import copied, damage, publish, write_settings
from tests.serving.running import Server, running

CLASSIFY = "/v1/classify"
NUM_CLIENTS = 4


class Clients:
    """Ask without a pause, from threads of their own, and keep every answer."""

    def __init__(self, server: Server) -> None:
        self.versions: Counter[int] = Counter()
        self.wrong: list[str] = []
        self._stop = threading.Event()
        self._labels = {1: {"cat", "dog", "owl"}}
        self._threads = [threading.Thread(target=self._ask, args=(server.url,)) for _ in range(NUM_CLIENTS)]
        for thread in self._threads:
            thread.start()

    def expect(self, version: int, labels: tuple[str, ...]) -> None:
        """Say what a version that is about to come answers."""
        self._labels[version] = set(labels)

    def stop(self) -> None:
        """Ask no more, and wait for the last answers."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, url: str) -> None:
        with httpx.Client(base_url=url, timeout=30, trust_env=False) as client:
            while not self._stop.is_set():
                response = client.post(CLASSIFY, content=png())
                if response.status_code != 200:
                    self.wrong.append(f"{response.status_code}: {response.text}")
                    continue
                version, label = response.json()["version"], response.json()["predictions"][0]["label"]
                if label not in self._labels.get(version, set()):
                    self.wrong.append(f"version {version} answered {label}")
                self.versions[version] += 1


@contextmanager
def asked(server: Server) -> Iterator[Clients]:
    """Clients all along; in the end not one of their answers may have been wrong or missing."""
    clients = Clients(server)
    try:
        yield clients
    finally:
        clients.stop()
    assert clients.wrong == []


def states(server: Server) -> dict[int, str]:
    return {model["version"]: model["state"] for model in server.client.get("/v1/models").json()["models"]}


def wait_for(server: Server, wanted: dict[int, str]) -> None:
    server.wait_until(lambda: states(server) == wanted, f"{wanted}")
    assert server.client.get("/v2/health/ready").status_code == 200


def test_a_repository_changes_under_load_and_no_request_is_lost(tmp_path: Path) -> None:
    folder = tmp_path / "models"
    publish(folder)
    with running(folder, tmp_path, "--poll-s=0.05", "--golden-every-s=0.1") as server:
        server.wait_for_status("/v2/health/ready", 200)
        with asked(server) as clients:
            clients.expect(2, ("red", "green", "blue"))
            good = publish(folder, ("red", "green", "blue"))
            wait_for(server, {1: "unloaded", 2: "ready"})

            clients.expect(3, ("one", "two", "three"))
            repair = damage(publish(folder, ("one", "two", "three")))
            wait_for(server, {1: "unloaded", 2: "ready", 3: "refused"})
            refused = next(one for one in server.client.get("/v1/models").json()["models"] if one["version"] == 3)
            assert "sha256" in refused["reason"]

            repair()
            wait_for(server, {1: "unloaded", 2: "unloaded", 3: "ready"})

            kept_aside = copied(folder / "fake" / "3", tmp_path / "aside")
            shutil.rmtree(folder / "fake" / "3")
            wait_for(server, {1: "unloaded", 2: "ready"})
            shutil.move(kept_aside, folder / "fake" / "3")
            wait_for(server, {1: "unloaded", 2: "unloaded", 3: "ready"})
            assert good.is_dir()
        assert set(clients.versions) == {1, 2, 3}
        assert 'modelyard_model_ready{model="fake",version="3"} 1.0' in server.client.get("/metrics").text


def test_an_admin_rolls_back_and_promotes(tmp_path: Path) -> None:
    folder, key = tmp_path / "models", make_key("root")
    write_settings(folder, 'canary = {version = "next", share = 1.0}')
    publish(folder)
    publish(folder, ("red", "green", "blue"))
    with running(folder, tmp_path, "--poll-s=0.05", environment={"MODELYARD_ADMIN_KEYS": key.line}) as server:
        server.wait_for_status("/v2/health/ready", 200)
        server.client.headers["Authorization"] = f"Bearer {key.key}"

        def answering() -> int:
            return int(server.client.post(CLASSIFY, content=png()).json()["version"])

        assert answering() == 2
        assert server.client.post("/v1/models/fake/rollback").json() == {"model": "fake", "version": 1}
        assert answering() == 1
        again = server.client.post("/v1/models/fake/rollback")
        assert (again.status_code, again.json()["code"]) == (404, "model_not_found")

        publish(folder, ("one", "two", "three"))
        server.wait_until(lambda: canary(server).get("canary") == 3, "the canary to be compared")
        assert answering() == 1
        server.wait_until(lambda: canary(server)["disagreed"] >= 1, "a disagreement")
        assert "'one'" in str(canary(server)["samples"]) or "not among the labels" in str(canary(server)["samples"])
        assert server.client.post("/v1/models/fake/promote").json() == {"model": "fake", "version": 3}
        assert answering() == 3
        told = server.client.get("/metrics").text
        assert 'modelyard_canary_disagreements_total{model="fake",version="3"}' in told
        assert server.client.post("/v1/models/..%2Ffake/rollback").status_code == 404


def canary(server: Server) -> dict[str, Any]:
    told: dict[str, Any] = server.client.get("/v1/models/fake/canary").json()
    return told


@pytest.mark.parametrize("path", ["/v1/models/fake/rollback", "/v1/models/fake/promote"])
def test_what_is_served_is_changed_by_admins_alone(server: Server, path: str) -> None:
    response = server.client.post(path)
    assert response.status_code == 403
    assert response.json()["code"] == "forbidden"


def test_how_a_canary_does_is_told_to_admins_alone(server: Server) -> None:
    assert server.client.get("/v1/models/fake/canary").status_code == 403

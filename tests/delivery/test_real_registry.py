"""`modelyard fetch oci://...` from a real registry, the reference implementation, as a process on loopback.

`make test-registry` installs it where it is missing.
"""

import hashlib
import json
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

httpx = pytest.importorskip("httpx", reason="httpx belongs to the fetch extra")

from bundle.store import open_bundle  # noqa: E402
from tests.delivery.imitated_registry import EMPTY, IMAGE, MANIFEST, TAR, TITLE, files_of  # noqa: E402
from tests.delivery.test_fetch import ARTEFACT, left_in_room  # noqa: E402
from tests.delivery.test_oci import below, packed  # noqa: E402
from tests.serving.running import PATIENCE_S, free_port  # noqa: E402

Fetch = Callable[..., tuple[int, list[str], str]]
PROGRAM = shutil.which("docker-registry")
pytestmark = pytest.mark.skipif(PROGRAM is None, reason="no docker-registry here; `make test-registry` installs it")
USER, PASSWORD = "yard", "word-for-tests"
HASH = "$2b$04$LieQeRFxtcvW8EFzYFx7yuN1wc8GUgHosgHKaV1J7rPbaoDgay8eS"
"""bcrypt of the password, as htpasswd writes it."""


@dataclass
class Registry:
    """A running one, and what pushes to it."""

    port: int
    client: Any
    storage: Path

    def address(self, reference: str) -> str:
        return f"oci://127.0.0.1:{self.port}/{reference}"

    def push(self, name: str, layers: list[dict[str, Any]], config: str = EMPTY) -> str:
        """A manifest, by PUT as `oras push` does it; its digest."""
        repository, _, tag = name.partition(":")
        descriptor = self.blob(repository, b"{}") | {"mediaType": config}
        content = {"schemaVersion": 2, "mediaType": MANIFEST, "config": descriptor, "layers": layers}
        answer = self.client.put(
            f"/v2/{repository}/manifests/{tag}", content=json.dumps(content), headers={"Content-Type": MANIFEST}
        )
        answer.raise_for_status()
        return str(answer.headers["docker-content-digest"])

    def blob(self, repository: str, content: bytes, **annotations: str) -> dict[str, Any]:
        """A blob, pushed in one piece."""
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        begun = self.client.post(f"/v2/{repository}/blobs/uploads/")
        begun.raise_for_status()
        to = httpx.URL(begun.headers["location"]).copy_merge_params({"digest": digest})
        done = self.client.put(to, content=content, headers={"Content-Type": "application/octet-stream"})
        done.raise_for_status()
        return {"mediaType": TAR, "digest": digest, "size": len(content), "annotations": annotations}


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    """Only its user may push and pull."""
    port, storage = free_port(), tmp_path / "storage"
    (tmp_path / "htpasswd").write_text(f"{USER}:{HASH}\n")
    config = {
        "version": "0.1",
        "log": {"level": "error", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(storage)}},
        "http": {"addr": f"127.0.0.1:{port}", "secret": "for tests"},
        "auth": {"htpasswd": {"realm": "yard", "path": str(tmp_path / "htpasswd")}},
    }
    (tmp_path / "config.yml").write_text(json.dumps(config))  # JSON is YAML
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    monkeypatch.delenv("REGISTRY_AUTH_FILE", raising=False)
    (tmp_path / "docker").mkdir()
    auths = {"auths": {f"127.0.0.1:{port}": {"username": USER, "password": PASSWORD}}}
    (tmp_path / "docker/config.json").write_text(json.dumps(auths))
    command = [str(PROGRAM), "serve", str(tmp_path / "config.yml")]
    with (
        (tmp_path / "log").open("wb") as log,
        subprocess.Popen(command, stdout=log, stderr=log) as process,
        closing(httpx.Client(base_url=f"http://127.0.0.1:{port}", auth=(USER, PASSWORD), trust_env=False)) as client,
    ):
        try:
            _wait(client, process, tmp_path / "log")
            yield Registry(port, client, storage)
        finally:
            process.kill()


def _wait(client: Any, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            client.get("/v2/").raise_for_status()
            return
        except httpx.TransportError:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)


def test_what_was_pushed_as_files_comes_by_tag_and_by_digest(
    fetch: Fetch, registry: Registry, source: Path, models: Path
) -> None:
    files = files_of(source / "digits/2")
    layers = [registry.blob("yard/digits", content, **{TITLE: path}) for path, content in files.items()]
    digest = registry.push("yard/digits:2", layers)
    code, printed, told = fetch(registry.address("yard/digits:2"))
    assert (code, printed) == (0, [f"{models}/digits/2"]), told
    open_bundle(models / "digits/2")
    assert "is there" in fetch(registry.address(f"yard/digits@{digest}"))[2]
    assert "not found in the registry (404)" in fetch(registry.address("yard/digits:3"))[2]


def test_an_image_with_models_in_it_comes_unpacked(
    fetch: Fetch, registry: Registry, source: Path, models: Path
) -> None:
    layer = registry.blob("yard/models", packed(below("models", files_of(source))))
    registry.push("yard/models:1", [layer], IMAGE)
    assert fetch(registry.address("yard/models:1"))[:2] == (0, [f"{models}/digits/2", f"{models}/shapes/1"])
    assert left_in_room(models) == []


def test_a_stranger_is_told_that_access_is_denied(
    fetch: Fetch, registry: Registry, source: Path, tmp_path: Path
) -> None:
    (tmp_path / "docker/config.json").write_text("{}")
    code, _, told = fetch(registry.address("yard/digits:2"))
    assert code == 1
    assert "access is denied: it asks for a user and a password, and there are no credentials for it" in told


def test_a_blob_that_rots_in_the_registry_is_found(
    fetch: Fetch, registry: Registry, source: Path, models: Path
) -> None:
    files = files_of(source / "digits/2")
    layers = [registry.blob("yard/digits", content, **{TITLE: path}) for path, content in files.items()]
    registry.push("yard/digits:2", layers)
    rotten = hashlib.sha256(files[ARTEFACT]).hexdigest()
    (data,) = registry.storage.rglob(f"{rotten}/data")
    content = bytearray(data.read_bytes())
    content[3] ^= 1
    data.write_bytes(content)
    code, _, told = fetch(registry.address("yard/digits:2"))
    assert (code, f"{ARTEFACT}: its sha256 is" in told) == (1, True)
    assert not (models / "digits").exists()

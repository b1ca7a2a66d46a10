"""The manifests, run: command lines and variables of containers as processes here, asked and ended as a cluster does.

Only ports, folders and the length of a sleep are others than in the manifest.
"""

import os
import signal
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
import trustme

from serving.security.keys import make_key
from tests.architecture.manifests import ROOT, Document, Pod, Tree, built, needs_kubectl, of_kind
from tests.architecture.service_rules import budget_s
from tests.builders import png, write_fake_bundle
from tests.serving.running import environment_with, free_port

PRESTOP_S = 0.5  # in place of ten, of which the nine and a half others would be the same
PORTS = ("MODELYARD_PORT", "MODELYARD_GRPC_PORT", "MODELYARD_METRICS_PORT")
KEY = make_key("alice")
pytestmark = [needs_kubectl, pytest.mark.whole]


@dataclass
class Running:
    """A server as its container would run it."""

    process: subprocess.Popen[bytes]
    container: Document
    ports: dict[int, int]
    """The manifest's port -> the one here."""
    log: Path
    verify: ssl.SSLContext | bool
    answers: list[int] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def port(self, name: str | int) -> int:
        """A port of the container, by its name or number."""
        named = {one["name"]: one["containerPort"] for one in self.container["ports"]}
        return self.ports[named.get(str(name), name)]  # type: ignore[arg-type]

    def holds(self, name: str) -> bool:
        """Whether a probe holds now: any answer from 200 to 399 within its time, as the kubelet has it."""
        probe = self.container[name]
        asked = probe["httpGet"]
        url = f"http://127.0.0.1:{self.port(asked['port'])}{asked['path']}"
        try:
            return 200 <= httpx.get(url, timeout=probe["timeoutSeconds"], trust_env=False).status_code < 400
        except httpx.TransportError:
            return False

    def wait_for(self, name: str, within_s: float) -> None:
        """Until a probe holds."""
        end = time.monotonic() + within_s
        while not self.holds(name):
            assert self.process.poll() is None, self.log.read_text(encoding="utf-8")
            assert time.monotonic() < end, f"{name} does not hold after {within_s} s"
            time.sleep(0.05)

    def ask_until(self, closed: threading.Event, path: str) -> None:
        """A client: one question after the other on a connection that it keeps, until it hears that the pod goes."""
        scheme = "http" if self.verify is True else "https"
        url = f"{scheme}://127.0.0.1:{self.port(self.container['ports'][0]['name'])}"
        headers = {"Authorization": f"Bearer {KEY.key}", "Content-Type": "image/png"}
        with httpx.Client(base_url=url, headers=headers, verify=self.verify, trust_env=False, timeout=30) as client:
            while not closed.is_set():
                try:
                    response = client.post(path, content=png())
                except httpx.HTTPError as cause:
                    self.faults.append(repr(cause))
                    return
                self.answers.append(response.status_code)
                if response.headers.get("connection") == "close":
                    return  # it goes to another pod


@contextmanager
def run(pod: Pod, name: str, folder: Path, models: str, verify: ssl.SSLContext | bool = True) -> Iterator[Running]:
    """The server of a pod, its models those of `folder`/models; it may not outlive the test."""
    container = pod.container(name)
    assert container is not None
    variables = pod.variables(container)
    ports = {int(variables[port]): free_port() for port in PORTS}
    variables |= {port: str(ports[int(variables[port])]) for port in PORTS}
    moved = {word: word.replace(models, str(folder / "models")) for word in (*container["args"], models)}
    variables = {key: _moved(value, folder, models) for key, value in variables.items()}
    arguments = [moved.get(word, word) for word in container["args"]]
    log = folder / "log.txt"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, str(ROOT / "modelyard.py"), *arguments],
            env=environment_with(variables),
            stdout=output,
            stderr=output,
            cwd=ROOT,
        )
    try:
        yield Running(process, container, ports, log, verify)
    finally:
        process.kill()
        process.wait()


def _moved(value: str, folder: Path, models: str) -> str:
    for there, here in ((models, "models"), ("/etc/modelyard", "etc")):
        if Path(value).is_relative_to(there):
            return str(folder / here / Path(value).relative_to(there))
    return value


def secrets_into(folder: Path) -> ssl.SSLContext:
    """What the Secrets of keys and of TLS would bring; who trusts the certificate."""
    keys, tls = folder / "etc/keys", folder / "etc/tls"
    for one in (keys, tls):
        one.mkdir(parents=True)
    (keys / "api-keys.txt").write_text(f"{KEY.line}\n", encoding="utf-8")
    (keys / "admin-keys.txt").write_text(f"{make_key('root').line}\n", encoding="utf-8")
    ca = trustme.CA()
    certificate = ca.issue_cert("127.0.0.1")
    certificate.cert_chain_pems[0].write_to_path(tls / "tls.crt")
    certificate.private_key_pem.write_to_path(tls / "tls.key")
    context = ssl.create_default_context()
    ca.configure_trust(context)
    return context


def ended_under_load(server: Running, path: str, grace_s: float) -> None:
    """A pod's end: the order, preStop, SIGTERM; clients keep asking until the pod is out of their lists."""
    closed = threading.Event()
    clients = [threading.Thread(target=server.ask_until, args=(closed, path)) for _ in range(6)]
    for client in clients:
        client.start()
    while len(server.answers) < 30 and not server.faults:
        time.sleep(0.02)
    begun = time.monotonic()
    time.sleep(PRESTOP_S)
    assert server.holds("livenessProbe"), "it works on while everybody hears that it goes"
    server.process.send_signal(signal.SIGTERM)
    code = server.process.wait(grace_s)
    assert time.monotonic() - begun < grace_s
    closed.set()
    for client in clients:
        client.join()
    assert server.faults == []
    assert set(server.answers) == {200}
    assert code == 0, server.log.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["overlays/cpu", "cpu-full"])
def test_the_server_of_an_overlay_starts_is_probed_and_ends_without_a_lost_answer(name: str, tmp_path: Path) -> None:
    write_fake_bundle(tmp_path / "models")
    tree = Tree(built(name))
    trusted = secrets_into(tmp_path)
    verify = trusted if tree.settings.tls_cert else True
    with run(tree.pod, "serve", tmp_path, str(tree.settings.repository), verify) as server:
        server.wait_for("startupProbe", budget_s(tree.served["startupProbe"]))
        server.wait_for("readinessProbe", 30)
        assert server.holds("livenessProbe")
        scheme = "https" if verify is not True else "http"
        anonymous = httpx.post(
            f"{scheme}://127.0.0.1:{server.port('http')}/v1/classify", content=png(), verify=verify, trust_env=False
        )
        assert anonymous.status_code == (401 if tree.settings.api_keys_file else 200)
        figures = httpx.get(f"http://127.0.0.1:{server.port('metrics')}/metrics", trust_env=False)
        assert "modelyard_queue_depth" in figures.text
        ended_under_load(server, "/v1/classify", tree.pod.spec["terminationGracePeriodSeconds"])


def test_a_pod_without_models_lives_and_is_not_ready(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    tree = Tree(built("overlays/dev"))
    with run(tree.pod, "serve", tmp_path, str(tree.settings.repository)) as server:
        server.wait_for("startupProbe", budget_s(tree.served["startupProbe"]))
        assert server.holds("livenessProbe")
        assert not server.holds("readinessProbe")


def test_the_runtime_of_kserve_answers_for_its_inference_service(tmp_path: Path) -> None:
    documents = built("kserve")
    (runtime,), (service,) = of_kind(documents, "ClusterServingRuntime"), of_kind(documents, "InferenceService")
    name = service["metadata"]["name"]
    write_fake_bundle(tmp_path / "models", name)
    predictor = service["spec"]["predictor"]
    with run(Pod(runtime, documents), "kserve-container", tmp_path, "/mnt/models") as server:
        server.wait_for("startupProbe", budget_s(server.container["startupProbe"]))
        server.wait_for("readinessProbe", 30)
        asked = httpx.get(f"http://127.0.0.1:{server.port('http1')}/v2/models/{name}/ready", trust_env=False)
        assert asked.status_code == 200
        ended_under_load(server, "/v1/classify", predictor["terminationGracePeriodSeconds"])


def shell(pod: Pod, name: str, folder: Path, variables: Mapping[str, str]) -> tuple[list[str], dict[str, str]]:
    """The line that a container gives to a shell, with a program `modelyard` that writes down what it was given."""
    container = pod.container(name)
    assert container is not None
    program(folder, f'printf "%s\\n" "$@" >> {folder}/given\nexit ${{EXIT:-0}}')
    environment = {**pod.variables(container), **variables, "PATH": f"{folder}/bin:{os.environ['PATH']}"}
    return list(container["command"]), environment


def program(folder: Path, script: str) -> None:
    """What `modelyard` is on the PATH."""
    file = folder / "bin/modelyard"
    file.parent.mkdir(exist_ok=True)
    file.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    file.chmod(0o755)


def given(folder: Path) -> list[str]:
    return (folder / "given").read_text(encoding="utf-8").splitlines()


def test_several_sources_are_several_words_and_their_letters_are_no_patterns(tmp_path: Path) -> None:
    (tmp_path / "s3:").mkdir()
    sources = "s3://bucket/a* oci://registry/models@sha256:0"
    command, environment = shell(Tree(built("overlays/cpu")).pod, "fetch", tmp_path, {"MODELYARD_SOURCES": sources})
    subprocess.run(command, env=environment, cwd=tmp_path, check=True, timeout=30)
    assert given(tmp_path) == ["fetch", *sources.split(), "--repository", "/models"]


def test_what_is_fetched_is_what_is_served(tmp_path: Path) -> None:
    pytest.importorskip("obstore", reason="obstore, of the extra fetch, is what the image fetches with")
    tree = Tree(built("overlays/cpu"))
    stores = [tmp_path / "one", tmp_path / "two"]
    write_fake_bundle(stores[0], "alpha")
    write_fake_bundle(stores[1], "beta")
    variables = {"MODELYARD_SOURCES": " ".join(map(str, stores))}
    command, environment = shell(tree.pod, "fetch", tmp_path, variables)
    line = command[-1].replace("/models", str(tmp_path / "models"))
    program(tmp_path, f'exec {sys.executable} {ROOT / "modelyard.py"} "$@"')
    done = subprocess.run(
        [*command[:-1], line], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert sorted(one.relative_to(tmp_path).as_posix() for one in tmp_path.glob("models/*/1/manifest.json")) == [
        "models/alpha/1/manifest.json",
        "models/beta/1/manifest.json",
    ]
    secrets_into(tmp_path)
    with run(tree.pod, "serve", tmp_path, str(tree.settings.repository)) as server:
        server.wait_for("startupProbe", budget_s(tree.served["startupProbe"]))
        server.wait_for("readinessProbe", 30)


def test_a_pod_whose_models_cannot_be_fetched_does_not_start(tmp_path: Path) -> None:
    command, environment = shell(Tree(built("overlays/cpu")).pod, "fetch", tmp_path, {"EXIT": "1"})
    assert subprocess.run(command, env=environment, check=False, timeout=30).returncode == 1


def test_sources_are_looked_at_again_and_again_whatever_comes_of_it_until_the_pod_ends(tmp_path: Path) -> None:
    pod = Tree(built("cpu-full")).pod
    command, environment = shell(pod, "follow", tmp_path, {"FOLLOW_EVERY_S": "0.1", "EXIT": "1"})
    process = subprocess.Popen(command, env=environment)
    try:
        end = time.monotonic() + 20
        while not (tmp_path / "given").exists() or given(tmp_path).count("fetch") < 3:
            assert time.monotonic() < end
            time.sleep(0.05)
        process.terminate()
        assert process.wait(5) == 0
    finally:
        process.kill()
        process.wait()

import json
import re
import shutil
import socket
import subprocess
from pathlib import Path

import httpx
import pytest

from bundle.store import open_bundle
from runtime.predictor import Predictor
from tests.builders import png, write_fake_bundle
from tests.serving.running import ROOT, Server, environment_with, free_port, run_to_the_end, running
from tests.serving.tampering import TAMPERINGS
from tests.serving.wire import error_of, predicted, predictions_of

CLASSIFY = "/v1/classify"
needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")


class Upload:
    """A request sent by hand in two halves, so that it is in flight for as long as a test wants."""

    def __init__(self, server: Server, raw: bytes) -> None:
        self._second_half = raw[len(raw) // 2 :]
        self._connection = socket.create_connection(server.address, timeout=30)
        head = f"POST {CLASSIFY} HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: {len(raw)}\r\n\r\n"
        self._connection.sendall(head.encode())
        answer = self._connection.recv(1000)
        if not answer.startswith(b"HTTP/1.1 100 "):  # which says that the service reads the body now
            self._connection.close()
            raise AssertionError(answer)
        self._connection.sendall(raw[: len(raw) // 2])

    def finish(self) -> tuple[int, object]:
        """Send the second half; status and body of the answer."""
        with self._connection as connection:
            connection.sendall(self._second_half)
            answer = b"".join(iter(lambda: connection.recv(65536), b""))
        head, _, body = answer.partition(b"\r\n\r\n")
        return int(head.split()[1]), json.loads(body)


def curl_lines(server: Server) -> list[str]:
    """The commands that the server told its user to try."""
    server.wait_until(lambda: "curl" in server.stdout(), "a curl line")
    return [line.strip() for line in server.stdout().splitlines() if line.strip().startswith("curl ")]


def answer_of_curl(line: str) -> dict[str, object]:
    """What a shell prints for a pasted line."""
    done = subprocess.run(
        ["sh", "-c", line], capture_output=True, text=True, check=True, timeout=30, cwd=ROOT, env=environment_with({})
    )
    return dict(json.loads(done.stdout))


def golden_predictions(bundle: Path) -> list[object]:
    """The golden answer of a bundle's first sample, as JSON values."""
    checked = open_bundle(bundle)
    return list(json.loads((checked.folder / "golden" / "answers.json").read_bytes()))[:1]


@needs_curl
def test_the_announced_curl_line_gives_the_golden_answer(server: Server, repository: Path) -> None:
    lines = curl_lines(server)
    assert len(lines) == 1
    answer = answer_of_curl(lines[0])
    assert answer["predictions"] == golden_predictions(repository / "fake" / "1")


@needs_curl
def test_the_announced_curl_line_survives_a_folder_with_blanks_and_quotes(tmp_path: Path) -> None:
    bundle = write_fake_bundle(tmp_path / "Anna's new models")
    with running(tmp_path / "Anna's new models", tmp_path) as server:
        assert answer_of_curl(curl_lines(server)[0])["predictions"] == golden_predictions(bundle)


def test_every_ready_model_is_announced_with_its_own_line(tampered_server: Server) -> None:
    lines = curl_lines(tampered_server)
    assert [re.findall(r"model=(\w+)", line) for line in lines] == [["alpha"], ["beta"]]


@pytest.mark.parametrize("name", TAMPERINGS)
def test_every_refused_model_is_told_with_file_and_cause(tampered_server: Server, name: str) -> None:
    told = [line for line in tampered_server.stderr().splitlines() if f"model '{name}' is refused: " in line]
    assert len(told) == 1
    assert all(word in told[0] for word in TAMPERINGS[name].told)


@pytest.mark.parametrize("name", TAMPERINGS)
def test_a_request_for_a_refused_model_is_told_file_and_cause(tampered_server: Server, name: str) -> None:
    response = tampered_server.client.post(CLASSIFY, params={"model": name}, content=png())
    message = error_of(response, 503, "model_not_ready")
    assert name in message
    assert all(word in message for word in TAMPERINGS[name].told)


def test_refused_models_leave_the_others_answering(tampered_server: Server, predictor: Predictor) -> None:
    response = tampered_server.client.post(CLASSIFY, params={"model": "alpha"}, content=png())
    assert predictions_of(response) == predicted(predictor, [png()])


def test_on_sigterm_requests_in_flight_are_answered_and_the_process_exits_with_0(
    repository: Path, predictor: Predictor, tmp_path: Path
) -> None:
    raws = [png(seed=seed) for seed in range(4)]
    with running(repository, tmp_path) as server:
        server.wait_for_status("/v2/health/ready", 200)
        uploads = [Upload(server, raw) for raw in raws]
        server.terminate()
        server.wait_until(lambda: "no longer listening" in server.stderr(), "the end to begin")
        answers = [upload.finish() for upload in uploads]
        assert server.stop() == 0
    for raw, answer in zip(raws, answers, strict=True):
        assert answer == (200, {"model": "fake", "version": 1, "predictions": predicted(predictor, [raw])})


def test_after_sigterm_no_new_connection_is_taken(repository: Path, tmp_path: Path) -> None:
    with running(repository, tmp_path) as server:
        server.wait_for_status("/v2/health/ready", 200)
        upload = Upload(server, png())
        server.terminate()
        server.wait_until(lambda: "no longer listening" in server.stderr(), "the end to begin")
        with pytest.raises(httpx.ConnectError), httpx.Client(trust_env=False) as client:
            client.get(f"{server.url}/v2/health/live")
        upload.finish()


def test_a_port_that_is_taken_is_told_without_a_traceback(repository: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run_to_the_end(str(repository), f"--port={port}")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert str(port) in done.stderr
    assert "in use" in done.stderr


@pytest.mark.parametrize("host", ["nowhere.invalid", "300.1.1.1", "203.0.113.1"])
def test_a_host_that_cannot_be_listened_on_is_told_without_a_traceback(repository: Path, host: str) -> None:
    done = run_to_the_end(str(repository), "--port=0", f"--host={host}")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert host in done.stderr


def test_without_a_repository_the_process_lives_and_says_what_to_do(tmp_path: Path) -> None:
    with running(tmp_path / "nowhere", tmp_path, port=free_port()) as server:
        server.wait_until(lambda: "nowhere" in server.stderr(), "the missing folder to be told")
        assert server.client.get("/v2/health/ready").status_code == 503
        refused = server.client.post(CLASSIFY, content=png())
        assert "modelyard export" in error_of(refused, 503, "model_not_ready")


def test_an_empty_repository_is_told_with_what_to_do(tmp_path: Path) -> None:
    with running(tmp_path, tmp_path, port=free_port()) as server:
        server.wait_until(lambda: "modelyard export" in server.stderr(), "the empty folder to be told")


def test_the_address_is_told_even_where_no_model_is_there_to_be_announced(tmp_path: Path) -> None:
    port = free_port()
    with running(tmp_path, tmp_path, port=port) as server:
        assert f"127.0.0.1:{port}" in server.stdout() + server.stderr()


def test_the_log_level_is_kept(repository: Path, tmp_path: Path) -> None:
    with running(repository, tmp_path, "--log-level=error", port=free_port()) as server:
        server.wait_for_status("/v2/health/ready", 200)
        error_of(server.client.post(CLASSIFY, content=b"junk"), 400, "bad_input")
        assert server.stderr() == ""

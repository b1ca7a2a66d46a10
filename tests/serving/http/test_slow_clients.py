"""A client that sends its body too slowly is answered and let go; others do not notice."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.builders import png
from tests.serving.running import Server, running

LIMIT_S = 0.3


@pytest.fixture
def impatient(repository: Path, tmp_path: Path) -> Iterator[Server]:
    with running(repository, tmp_path, "--max-body-s", str(LIMIT_S)) as server:
        server.wait_for_status("/v2/health/ready", 200)
        yield server


def test_a_body_that_never_ends_is_answered_408_and_the_connection_closed(impatient: Server) -> None:
    head = "POST /v1/classify HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: 100000\r\n\r\n"
    with socket.create_connection(impatient.address) as stalled:
        stalled.sendall(head.encode() + png()[:10])
        stalled.settimeout(10)
        answer = b""
        while chunk := stalled.recv(65536):
            answer += chunk
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b'"code":"input_too_slow"' in answer
    assert b"did not arrive within 0.3 s" in answer
    assert impatient.client.post("/v1/classify", content=png()).status_code == 200

"""JSON that is small on the wire and large in memory is refused before it is read, on every route that reads JSON."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.builders import png
from tests.serving.running import Server, running
from tests.serving.wire import JSON, error_of

MAX_ELEMENTS = 10_000
NUM_BYTES = 32 * 2**20
DENSE = {
    "/v1/classify": (b'{"instances": [', b'{"b64":""},'),
    "/v1/embeddings": (b'{"model": "fake", "input": [', b"[],"),
    "/v2/models/fake/infer": (b'{"inputs": [{"name": "input", "datatype": "FP32", "shape": [', b"1,"),
}


@pytest.fixture(scope="module")
def strict(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    flags = (f"--max-json-elements={MAX_ELEMENTS}", f"--max-body-bytes={2 * NUM_BYTES}")
    with running(repository, tmp_path_factory.mktemp("strict"), *flags) as server:
        server.wait_for_status("/v2/health/ready", 200)
        yield server


@pytest.mark.parametrize("path", DENSE)
def test_dense_json_costs_its_own_size_and_no_more(strict: Server, path: str) -> None:
    start, value = DENSE[path]
    body = start + value * (NUM_BYTES // len(value))
    before = strict.peak_memory_bytes()
    response = strict.client.post(path, content=body, headers=JSON)
    assert response.status_code in (400, 404, 413), response.text[:500]
    # The body as it came in, joined once, and copied once for whoever decodes it.
    assert strict.peak_memory_bytes() - before < 4 * NUM_BYTES


def test_both_numbers_are_told(strict: Server) -> None:
    body = b'{"instances": [' + b'{"b64":""},' * MAX_ELEMENTS
    message = error_of(strict.client.post("/v1/classify", content=body, headers=JSON), 413, "input_too_large")
    assert f"at most {MAX_ELEMENTS}" in message
    assert f"up to {2 * MAX_ELEMENTS + 2} values" in message


def test_a_large_picture_in_json_holds_few_values(strict: Server) -> None:
    body = b'{"instances": [{"b64": "' + b"A" * 4 * MAX_ELEMENTS + b'"}]}'
    error_of(strict.client.post("/v1/classify", content=body, headers=JSON), 400, "bad_input")
    assert strict.client.post("/v1/classify", content=png()).status_code == 200

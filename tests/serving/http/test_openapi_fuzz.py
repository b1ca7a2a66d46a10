"""Requests made from /openapi.json, fitting and not: no 500, and every answer is one that the document tells of."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, Phase, given, settings

from serving.security.keys import make_key
from tests.builders import png, write_fake_bundle
from tests.serving.embedder import write_fake_embedder
from tests.serving.running import PATIENCE_S, Server, running

schemathesis = pytest.importorskip("schemathesis", reason="it belongs to the dev extra")
checks = pytest.importorskip("schemathesis.specs.openapi.checks")

ADMIN = make_key("root")
KEY = {"x-api-key": ADMIN.key}
NUM_SHARES = 4
"""The operations are dealt out to so many tests, which may run side by side."""
NUM_EXAMPLES = 10
CHECKS = [checks.status_code_conformance, checks.content_type_conformance, checks.response_schema_conformance]
IN_PATH = {"name": "spare", "version": "1"}
"""What exists: the operations that change something find a model that no other test asks."""


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("fuzzed")
    models = folder / "models"
    write_fake_bundle(models)
    write_fake_bundle(models, "spare")
    write_fake_embedder(models)
    with running(models, folder, environment={"MODELYARD_ADMIN_KEYS": ADMIN.line}) as server:
        server.wait_for_status("/v2/health/ready", 200)
        yield server


@pytest.mark.filterwarnings("ignore")  # of the tool's own; ours would be the server's, in its log
@pytest.mark.parametrize("share", range(NUM_SHARES))
def test_no_request_made_from_the_document_meets_what_the_document_does_not_tell(fuzzed: Server, share: int) -> None:
    document = fuzzed.client.get("/openapi.json").json()
    operations = [result.ok() for result in schemathesis.openapi.from_dict(document).get_all_operations()]
    assert len(operations) > 20
    problems: list[str] = []
    for operation in operations[share::NUM_SHARES]:
        for how in _ways(operation):
            _ask(fuzzed, operation, how, problems)
    assert not problems, "\n".join(problems)
    assert "Traceback" not in fuzzed.stderr()
    for path in ("/v2/health/live", "/v2/health/ready"):
        assert fuzzed.client.get(path).status_code == 200
    answer = httpx.post(f"{fuzzed.url}/v1/classify?model=fake", content=png(), trust_env=False, timeout=PATIENCE_S)
    assert answer.status_code == 200


def _ways(operation: Any) -> Iterator[dict[str, Any]]:
    """How requests for an operation are made: fitting, for something that exists, and not fitting."""
    yield {"generation_mode": schemathesis.GenerationMode.POSITIVE}
    if operation.path_parameters:
        named = {name: IN_PATH[name] for name in IN_PATH if f"{{{name}}}" in operation.path}
        yield {"generation_mode": schemathesis.GenerationMode.POSITIVE, "path_parameters": named}
    if operation.body or operation.query:  # of a path alone nothing can be wrong: every text is a name
        yield {"generation_mode": schemathesis.GenerationMode.NEGATIVE}


def _ask(server: Server, operation: Any, how: dict[str, Any], problems: list[str]) -> None:
    @settings(
        max_examples=NUM_EXAMPLES,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(operation.as_strategy(**how))
    def ask(case: Any) -> None:
        response = case.call(base_url=server.url, headers=KEY, timeout=PATIENCE_S)
        if response.status_code == 500:  # 501, 503 and 504 are answers; whether they are told of is checked below
            problems.append(f"{case.as_curl_command()[:500]}\n  {response.text[:300]}")
        try:
            case.validate_response(response, checks=CHECKS)
        except BaseExceptionGroup as group:
            told = "; ".join(str(one) for one in group.exceptions)
            problems.append(f"{case.as_curl_command()[:500]}\n  {told[:500]}\n  {response.text[:300]}")

    ask()


def test_every_operation_that_may_need_a_key_says_so(fuzzed: Server) -> None:
    document = fuzzed.client.get("/openapi.json").json()
    assert document["components"]["securitySchemes"].keys() == {"bearer", "key"}
    for path, operations in document["paths"].items():
        for operation in operations.values():
            is_open = path.startswith("/v2/health/")
            assert ("401" in operation["responses"]) == ("security" in operation) == (not is_open), path
            assert "422" not in operation["responses"]

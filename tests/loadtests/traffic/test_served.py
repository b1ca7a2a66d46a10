"""What cannot be driven is told in a sentence that says what to do."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bundle.store import Bundle
from loadtests.bundles import publish_again
from loadtests.traffic.case import Answer
from loadtests.traffic.families import FAMILIES, TrafficError
from loadtests.traffic.served import available, discover, golden_cases

HOST = "http://here"


def service(models: Any, ready: int = 200, status: int = 200) -> Callable[[str], Answer]:
    body = models if isinstance(models, bytes) else msgspec.json.encode({"models": models})
    return lambda path: Answer(ready, b"") if path == "/v2/health/ready" else Answer(status, body)


def listed(bundle: Bundle, **changes: Any) -> dict[str, Any]:
    manifest = bundle.manifest
    told = {"name": manifest.name, "version": manifest.version, "state": "ready", "task": manifest.task}
    return told | {"artefact": "fp32", "digest": manifest.digest, "more": 1} | changes


@pytest.mark.parametrize(
    ("get", "said"),
    [
        (lambda _: Answer(0, b"", error="ConnectionRefusedError"), "http://here does not answer: ConnectionRefused"),
        (service(b"", status=401), "answers 401: give a key with --api-key"),
        (service(b"<html>", status=404), "answers 404: b'<html>'. Is this Modelyard"),
        (service(b"<html>"), "does not list models"),
        (service([]), "no model is ready after 0 s: it has none"),
        (service([{"name": "a", "version": 3, "state": "failed"}]), "a version 3 is failed"),
    ],
)
def test_a_service_that_cannot_be_driven(get: Callable[[str], Answer], said: str) -> None:
    with pytest.raises(TrafficError) as refused:
        discover(get, HOST, 0.0)
    assert said in str(refused.value)


def test_the_newest_version_that_is_ready_is_asked(fake_bundle: Bundle) -> None:
    versions = [listed(fake_bundle), listed(fake_bundle, version=2), listed(fake_bundle, version=3, state="loading")]
    (found,) = discover(service(versions), HOST, 0.0)
    assert found.version == 2


def test_families_that_are_not_served_have_their_reason(fake_bundle: Bundle) -> None:
    there = available(discover(service([listed(fake_bundle)]), HOST, 0.0), has_grpc=False)
    assert list(there.models) == ["classify", "oip"]
    assert there.missing["detect"] == "no model of task 'object-detection' is ready"
    assert there.missing["grpc"] == "--grpc-host is not given"


def cases_of(bundle: Bundle, bundles: Path, **changes: Any) -> int:
    models = discover(service([listed(bundle, **changes)]), HOST, 0.0)
    return len(golden_cases(models, FAMILIES["classify"], bundles, None))


def test_a_bundle_is_known_by_its_digest(fake_bundle: Bundle) -> None:
    bundles = fake_bundle.folder.parents[1]
    assert cases_of(fake_bundle, bundles) == 3 * len(fake_bundle.golden())
    with pytest.raises(TrafficError, match="it is another bundle, so its golden answers say nothing"):
        cases_of(fake_bundle, bundles, digest="0" * 64)
    with pytest.raises(TrafficError, match=r"there are versions \[1\]"):
        cases_of(fake_bundle, bundles, version=7)
    with pytest.raises(TrafficError, match="has no such bundle"):
        cases_of(fake_bundle, bundles, name="stranger")


def test_a_damaged_bundle_is_told(fake_bundle: Bundle) -> None:
    bundles = fake_bundle.folder.parents[1]
    again = publish_again(fake_bundle.folder, bundles, "fake")
    (again / "golden" / "00.png").write_bytes(b"?")
    with pytest.raises(TrafficError, match=r"--bundles: .*sha256"):
        cases_of(fake_bundle, bundles, version=2)

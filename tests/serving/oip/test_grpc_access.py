"""Who may call over gRPC, over what, and how a server that cannot listen says so."""

import re
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
import trustme

from serving.security.keys import make_key
from tests.serving.oip.grpc_calls import Caller, asking, calling, grpc_address, wait_until
from tests.serving.running import Server, run_to_the_end, running

ALICE, ADMIN = make_key("alice"), make_key("root")
METHODS = ("ServerMetadata", "ModelReady", "ModelMetadata", "ModelConfig", "ModelStatistics", "RepositoryIndex")


@pytest.fixture(scope="module")
def both(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Caller]]:
    environment = {"MODELYARD_API_KEYS": ALICE.line, "MODELYARD_ADMIN_KEYS": ADMIN.line}
    with calling(repository, tmp_path_factory.mktemp("locked"), environment=environment) as both:
        yield both


@pytest.fixture
def call(both: tuple[Server, Caller]) -> Caller:
    return both[1]


def code_of(call: Caller, method: str, **options: object) -> grpc.StatusCode:
    with pytest.raises(grpc.RpcError) as caught:
        call(method, **options)
    return caught.value.code()


@pytest.mark.parametrize("method", METHODS)
def test_without_a_key_nothing_is_told(call: Caller, method: str) -> None:
    assert code_of(call, method) == grpc.StatusCode.UNAUTHENTICATED


def test_probes_need_no_key(call: Caller) -> None:
    assert call.health() == 1
    assert call("ServerLive").live
    assert call("ServerReady").ready


@pytest.mark.parametrize(
    "metadata",
    [("authorization", f"Bearer {ALICE.key}"), ("x-api-key", ALICE.key), ("authorization", f"Bearer {ADMIN.key}")],
    ids=["bearer", "x-api-key", "admin"],
)
def test_with_a_key_calls_are_answered(call: Caller, metadata: tuple[str, str]) -> None:
    assert call.infer(asking(), metadata=[metadata]).model_name == "fake"
    assert call("ServerMetadata", metadata=[metadata]).name == "modelyard"


def test_a_wrong_key_is_refused(call: Caller) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        call.infer(asking(), metadata=[("x-api-key", ALICE.line)])
    assert caught.value.code() == grpc.StatusCode.UNAUTHENTICATED
    assert "is not known here" in caught.value.details()


def test_a_stream_needs_a_key_too(call: Caller) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        list(call.stream(iter([asking()])))
    assert caught.value.code() == grpc.StatusCode.UNAUTHENTICATED


def test_only_admins_change_what_is_served(call: Caller) -> None:
    alice, admin = [("x-api-key", ALICE.key)], [("authorization", f"Bearer {ADMIN.key}")]
    for method in ("RepositoryModelLoad", "RepositoryModelUnload"):
        assert code_of(call, method, model_name="fake") == grpc.StatusCode.UNAUTHENTICATED
        assert code_of(call, method, model_name="fake", metadata=alice) == grpc.StatusCode.PERMISSION_DENIED
    assert "model_repository" in call("ServerMetadata", metadata=alice).extensions
    assert call("RepositoryModelUnload", model_name="fake", metadata=admin).isUnloaded
    assert not call("ModelReady", name="fake", metadata=alice).ready
    with pytest.raises(grpc.RpcError) as caught:
        call.infer(asking(), metadata=alice)
    assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
    assert call("RepositoryModelLoad", repository_name="fake", metadata=admin).isLoaded  # KServe's form of the message
    assert call.infer(asking(), metadata=alice).model_name == "fake"


def loading(name: str, parameter: str = "", **fields: object) -> dict[str, object]:
    given = {parameter: {"string_param": "{}"}} if parameter else {}
    return {"model_name": name, "parameters": given, **fields}


@pytest.mark.parametrize(
    ("fields", "status", "says"),
    [
        (loading("nobody"), grpc.StatusCode.NOT_FOUND, "failed to load"),
        (loading("../fake"), grpc.StatusCode.INVALID_ARGUMENT, "no name of a model"),
        (loading(""), grpc.StatusCode.INVALID_ARGUMENT, "no name of a model"),
        (loading("fake", repository_name="other"), grpc.StatusCode.INVALID_ARGUMENT, "one repository"),
        (loading("fake", "config"), grpc.StatusCode.UNIMPLEMENTED, "failed to load"),
        (loading("fake", "file:1/model.onnx"), grpc.StatusCode.UNIMPLEMENTED, "failed to load"),
    ],
)
def test_loads_that_are_refused(call: Caller, fields: dict[str, object], status: grpc.StatusCode, says: str) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        call("RepositoryModelLoad", metadata=[("x-api-key", ADMIN.key)], **fields)
    assert (caught.value.code(), says in caught.value.details()) == (status, True), caught.value.details()


def test_without_an_admin_key_nobody_changes_anything(repository: Path, tmp_path: Path) -> None:
    with calling(repository, tmp_path) as (_, call):
        assert code_of(call, "RepositoryModelUnload", model_name="fake") == grpc.StatusCode.PERMISSION_DENIED
        assert "model_repository" not in call("ServerMetadata").extensions


def test_tls_in_one_server_with_https(repository: Path, tmp_path: Path) -> None:
    ca = trustme.CA()
    issued = ca.issue_cert("127.0.0.1", "localhost")
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    issued.private_key_pem.write_to_path(key)
    cert.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    flags = ("--grpc-port=0", f"--tls-cert={cert}", f"--tls-key={key}")
    context = ssl.create_default_context()
    ca.configure_trust(context)
    with running(repository, tmp_path, *flags, verify=context) as server:
        server.wait_for_status("/v2/health/ready", 200)
        address = grpc_address(server)
        caller = Caller(address, grpc.ssl_channel_credentials(ca.cert_pem.bytes()))
        assert caller.infer(asking()).model_name == "fake"
        caller.channel.close()
        stranger = Caller(address, grpc.ssl_channel_credentials(trustme.CA().cert_pem.bytes()))
        assert code_of(stranger, "ServerLive") == grpc.StatusCode.UNAVAILABLE
        plain = Caller(address)
        assert code_of(plain, "ServerLive") == grpc.StatusCode.UNAVAILABLE
        for one in (stranger, plain):
            one.channel.close()


def test_a_port_that_is_taken_ends_the_start_with_the_reason(repository: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = run_to_the_end(str(repository), "--port=0", f"--grpc-port={port}")
    assert ended.returncode != 0
    assert re.search(rf"--grpc-port {port}: cannot listen on 127\.0\.0\.1:{port}", ended.stderr)
    assert "Traceback" not in ended.stderr


def test_without_a_grpc_port_nothing_of_grpc_is_loaded(repository: Path, tmp_path: Path) -> None:
    with running(repository, tmp_path) as server:
        server.wait_for_status("/v2/health/ready", 200)
        maps = Path(f"/proc/{server.process.pid}/maps").read_text(encoding="utf-8")
    assert "cygrpc" not in maps


def test_several_processes_share_the_grpc_port(repository: Path, tmp_path: Path) -> None:
    with calling(repository, tmp_path, "--workers=2") as (server, call):
        address = grpc_address(server)
        callers = [Caller(address) for _ in range(8)]
        for one in callers:
            assert one.infer(asking()).model_name == "fake"

        def counted() -> int:
            return int(call("ModelStatistics", name="fake").model_stats[0].inference_count)

        wait_until(lambda: counted() == len(callers), "every process to tell of its calls")
        for one in callers:
            one.channel.close()

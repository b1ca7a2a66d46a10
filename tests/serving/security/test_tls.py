"""HTTPS and gRPC over TLS, by an authority made for the test; what is wrong with files is told before anything runs."""

import logging
import ssl
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest

from serving.security import watched
from serving.security.tls import TlsFiles, grpc_credentials
from tests.builders import png
from tests.serving.running import PATIENCE_S, Server, run_to_the_end, running

trustme = pytest.importorskip("trustme", reason="it belongs to the dev extra")

HOSTS = ("127.0.0.1", "localhost")
LOCKED_KEY = (
    b"-----BEGIN ENCRYPTED PRIVATE KEY-----\n"
    b"MIHjME4GCSqGSIb3DQEFDTBBMCkGCSqGSIb3DQEFDDAcBAgAAAAAAAAAAAICCAAwDAYIKoZIhvcNAgkFADAUBggqhkiG9w0DBwQI\n"
    b"-----END ENCRYPTED PRIVATE KEY-----\n"
)


@dataclass(frozen=True)
class Yard:
    """An authority, and a server's certificate of it on disk."""

    ca: Any  # a trustme.CA
    folder: Path

    @property
    def files(self) -> TlsFiles:
        return TlsFiles(self.folder / "cert.pem", self.folder / "key.pem", None)

    @property
    def client_ca(self) -> Path:
        return self.folder / "ca.pem"

    def issue(self, ca: Any = None) -> None:
        """Write a certificate, of another authority if one is given."""
        issued = (ca or self.ca).issue_cert(*HOSTS)
        issued.private_key_pem.write_to_path(self.files.key)
        self.files.cert.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))

    def flags(self) -> tuple[str, str]:
        return f"--tls-cert={self.files.cert}", f"--tls-key={self.files.key}"


@pytest.fixture
def yard(tmp_path: Path) -> Yard:
    yard = Yard(trustme.CA(), tmp_path / "tls")
    yard.folder.mkdir()
    yard.ca.cert_pem.write_to_path(yard.client_ca)
    yard.issue()
    return yard


def trusting(ca: Any, client: Any = None) -> ssl.SSLContext:
    """What a client is given that trusts an authority, and that shows a certificate of another."""
    context = ssl.create_default_context()
    ca.configure_trust(context)
    if client is not None:
        client.issue_cert("client@example.org").configure_cert(context)
    return context


@pytest.fixture
def https(repository: Path, tmp_path: Path, yard: Yard) -> Iterator[Server]:
    with running(repository, tmp_path, *yard.flags(), verify=trusting(yard.ca)) as server:
        server.wait_for_status("/v2/health/ready", 200)
        yield server


def test_predictions_come_over_https(https: Server) -> None:
    assert https.url.startswith("https://")
    assert https.client.post("/v1/classify", content=png()).status_code == 200


def test_the_announced_address_is_the_one_that_works(https: Server) -> None:
    https.wait_until(lambda: "curl" in https.stdout(), "a curl line")
    assert https.url in https.stdout()


def test_plain_http_and_old_versions_of_tls_are_refused(https: Server, yard: Yard) -> None:
    with pytest.raises(httpx.TransportError), httpx.Client(trust_env=False) as plain:
        plain.get(https.url.replace("https", "http"))
    context = trusting(yard.ca)
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(httpx.ConnectError), httpx.Client(verify=context, trust_env=False) as old:
        old.get(https.url)
    assert https.client.get("/v2/health/live").status_code == 200


def test_a_renewed_certificate_is_taken_for_the_next_connection_and_a_broken_one_is_not(
    https: Server, yard: Yard
) -> None:
    renewed = trustme.CA()
    yard.issue(renewed)
    https.wait_until(lambda: _status(https.url, trusting(renewed)) == 200, "the new certificate to be used")
    with pytest.raises(httpx.ConnectError):
        _status_or_raise(https.url, trusting(yard.ca))
    yard.files.cert.write_text("broken")
    https.wait_until(
        lambda: _status(https.url, trusting(renewed)) == 200 and "stays in use" in https.stderr(), "it to be told"
    )


def test_with_an_authority_for_clients_only_its_clients_are_let_in(
    repository: Path, tmp_path: Path, yard: Yard
) -> None:
    known = trusting(yard.ca, client=yard.ca)
    with running(repository, tmp_path, *yard.flags(), f"--tls-client-ca={yard.client_ca}", verify=known) as server:
        assert server.client.get("/v2/health/live").status_code == 200
        for stranger in (trusting(yard.ca), trusting(yard.ca, client=trustme.CA())):
            with pytest.raises(httpx.TransportError):
                _status_or_raise(server.url, stranger)


def _mismatched(yard: Yard) -> None:
    trustme.CA().issue_cert(*HOSTS).private_key_pem.write_to_path(yard.files.key)


BROKEN: dict[str, tuple[Callable[[Yard], object], str]] = {
    "no certificate": (lambda yard: yard.files.cert.unlink(), "cannot be read"),
    "no key": (lambda yard: yard.files.key.unlink(), "cannot be read"),
    "another's key": (_mismatched, "is not the private key of the certificate"),
    "a locked key": (lambda yard: yard.files.key.write_bytes(LOCKED_KEY), "locked with a password"),
    "swapped": (lambda yard: yard.files.cert.write_bytes(yard.files.key.read_bytes()), "expected are PEM files"),
    "nonsense": (lambda yard: yard.files.cert.write_text("nonsense"), "expected are PEM files"),
    "an authority of nonsense": (lambda yard: yard.client_ca.write_text("nonsense"), "no certificates that clients"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_files_that_cannot_be_used_are_told_before_anything_listens(repository: Path, yard: Yard, what: str) -> None:
    damage, told = BROKEN[what]
    damage(yard)
    done = run_to_the_end(str(repository), "--port=0", *yard.flags(), f"--tls-client-ca={yard.client_ca}")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert told in done.stderr
    assert str(yard.folder) in done.stderr
    assert "listening" not in done.stderr


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--tls-cert=c.pem"], "--tls-cert is given without --tls-key"),
        (["--tls-key=k.pem"], "--tls-key is given without --tls-cert"),
        (["--tls-client-ca=a.pem"], "no --tls-cert and --tls-key"),
    ],
)
def test_half_of_the_files_is_told(repository: Path, flags: list[str], told: str) -> None:
    done = run_to_the_end(str(repository), "--port=0", *flags)
    assert done.returncode == 1
    assert told in done.stderr


def test_grpc_takes_the_same_files_and_their_renewal(
    yard: Yard, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(watched.Watched.__init__, "__kwdefaults__", {"every_s": 0.0})
    server = grpc.server(ThreadPoolExecutor(1))
    port = server.add_secure_port("127.0.0.1:0", grpc_credentials(yard.files))
    server.start()
    try:
        assert _grpc_answers(port, yard.ca)
        renewed = trustme.CA()
        yard.issue(renewed)
        assert _grpc_answers(port, renewed)
        with caplog.at_level(logging.ERROR):
            yard.files.key.write_text("broken")
            assert _grpc_answers(port, renewed)
        assert "stays in use" in caplog.text
    finally:
        server.stop(None).wait()


def _grpc_answers(port: int, ca: Any) -> bool:
    credentials = grpc.ssl_channel_credentials(ca.cert_pem.bytes())
    with grpc.secure_channel(f"localhost:{port}", credentials) as channel:
        grpc.channel_ready_future(channel).result(timeout=PATIENCE_S)
    return True


def _status_or_raise(url: str, context: ssl.SSLContext) -> int:
    with httpx.Client(verify=context, trust_env=False, timeout=PATIENCE_S) as client:
        return client.get(f"{url}/v2/health/live").status_code


def _status(url: str, context: ssl.SSLContext) -> int:
    try:
        return _status_or_raise(url, context)
    except httpx.TransportError:
        return 0

"""HTTPS with certificates of an authority made for the test; what is wrong with files is told before anything runs."""

import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import trustme

from tests.serving.running import PATIENCE_S, environment_with

del environment_with


@dataclass(frozen=True)
class Yard:
    """An authority, and a server's certificate of it on disk."""

    ca: trustme.CA
    folder: Path

    @property
    def cert(self) -> Path:
        return self.folder / "cert.pem"

    @property
    def key(self) -> Path:
        return self.folder / "key.pem"

    @property
    def client_ca(self) -> Path:
        return self.folder / "ca.pem"

    def issue(self, ca: trustme.CA | None = None) -> None:
        issued = (ca or self.ca).issue_cert("127.0.0.1", "localhost")
        issued.private_key_pem.write_to_path(self.key)
        chain = b"".join(blob.bytes() for blob in issued.cert_chain_pems)
        self.cert.write_bytes(chain)

    def flags(self) -> tuple[str, str]:
        return f"--tls-cert={self.cert}", f"--tls-key={self.key}"


@pytest.fixture
def yard(tmp_path: Path) -> Yard:
    folder = tmp_path / "tls"
    folder.mkdir()
    yard = Yard(trustme.CA(), folder)
    yard.ca.cert_pem.write_to_path(yard.client_ca)
    yard.issue()
    return yard


def trusting(ca: trustme.CA, with_client_certificate: bool = False) -> ssl.SSLContext:
    context = ssl.create_default_context()
    ca.configure_trust(context)
    if with_client_certificate:
        ca.issue_cert("client@example.org").configure_cert(context)
    return context


def ready(url: str, context: ssl.SSLContext) -> int:
    with httpx.Client(verify=context, trust_env=False, timeout=PATIENCE_S) as client:
        return client.get(f"{url}/v2/health/ready").status_code


@pytest.fixture
def https(repository: Path, tmp_path: Path, yard: Yard) -> Iterator[str]:
    with secured(repository, tmp_path, yard, trusting(yard.ca)) as url:
        yield url

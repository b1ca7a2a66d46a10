"""Sends cases and brings answers: HTTP through geventhttpclient, gRPC through its own library, each with no retries.

One pool of connections a process: as many are open as requests are under way, as clients behind a load balancer have
it. Call it from greenlets. Knows sockets, TLS and keys. Knows nothing of what is asked.
"""

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import gevent.ssl
import grpc
from geventhttpclient.client import HTTPClient
from geventhttpclient.response import HTTPConnectionClosed, HTTPParseError

from loadtests.traffic.case import Answer, Case
from loadtests.traffic.families import TrafficError

MAX_CONNECTIONS = 4096
"""More than the service lets in by default: what is refused is to be seen, not avoided."""
ANSWER_LIMIT_S = 60.0
"""A request without an answer for so long is unanswered."""
CONNECT_LIMIT_S = 10.0
MAX_MESSAGE_BYTES = 64 * 2**20
UNANSWERED = (OSError, HTTPConnectionClosed, HTTPParseError)
HTTP_STATUS = {
    grpc.StatusCode.UNAUTHENTICATED: 401,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.INTERNAL: 500,
    grpc.StatusCode.UNIMPLEMENTED: 501,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
}
"""What the service's figures call a gRPC status; it sends its own code beside it, without which nothing came from it."""


@dataclass(frozen=True)
class Access:
    """How to reach a service, and as whom."""

    host: str
    """http://... or https://..."""
    grpc_host: str | None = None
    """host:port"""
    api_key: str | None = None
    tls_ca: Path | None = None
    """Certificates (PEM) of who signed the service's; None: those that the system trusts."""
    insecure: bool = False
    """HTTPS with any certificate. gRPC knows no such thing."""
    timeout_ms: float | None = None
    """Sent as X-Request-Timeout-Ms."""


class Asker:
    """One process's way to the service."""

    def __init__(self, access: Access) -> None:
        """Raises TrafficError where the host is no address."""
        parts = urlsplit(access.host)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise TrafficError(f"--host {access.host!r} is no address; give http://HOST:PORT or https://HOST:PORT")
        self._prefix = parts.path.rstrip("/")
        self._headers = {"Accept-Encoding": "identity"}
        self._metadata: list[tuple[str, str]] = []
        if access.api_key:
            self._headers["Authorization"] = f"Bearer {access.api_key}"
            self._metadata.append(("authorization", f"Bearer {access.api_key}"))
        if access.timeout_ms is not None:
            self._headers["X-Request-Timeout-Ms"] = f"{access.timeout_ms:g}"
        secure = parts.scheme == "https"
        self._client = HTTPClient(
            parts.hostname,
            parts.port,
            ssl=secure,
            ssl_context_factory=(lambda: _context(access)) if secure else None,
            insecure=access.insecure,
            concurrency=MAX_CONNECTIONS,
            connection_timeout=CONNECT_LIMIT_S,
            network_timeout=ANSWER_LIMIT_S,
        )
        self._channel = _channel(access, secure) if access.grpc_host else None
        self._calls: dict[str, Any] = {}

    def get(self, path: str) -> Answer:
        """A page of the service."""
        return self._http("GET", path, b"", {})

    def ask(self, case: Case) -> Answer:
        """The answer to a case; never raises for what a server or a network does."""
        if case.protocol == "GRPC":
            return self._grpc(case)
        return self._http("POST", case.path, case.body, dict(case.headers))

    def close(self) -> None:
        """Close the connections that idle."""
        self._client.close()
        if self._channel is not None:
            self._channel.close()

    def _http(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> Answer:
        try:
            response = self._client.request(method, self._prefix + path, body, self._headers | headers)
            content = bytes(response.read())
        except UNANSWERED as cause:
            return Answer(0, b"", error=f"{type(cause).__name__}: {cause}")
        told = {name.lower(): value for name, value in response.items()}
        return Answer(response.status_code, content, told)

    def _grpc(self, case: Case) -> Answer:
        if self._channel is None:
            return Answer(0, b"", error="--grpc-host is not given")
        call = self._calls.get(case.path)
        if call is None:
            call = self._calls[case.path] = self._channel.unary_unary(case.path)
        try:
            return Answer(200, call(case.body, timeout=ANSWER_LIMIT_S, metadata=self._metadata))
        except grpc.RpcError as error:
            told = {key: str(value) for key, value in error.trailing_metadata() or ()}
            text = f"{error.code().name}: {error.details()}"
            if "code" not in told:  # the library's own words: the service was not reached, or did not answer
                return Answer(0, b"", error=text)
            return Answer(HTTP_STATUS.get(error.code(), 400), b"", told, text)


def _context(access: Access) -> ssl.SSLContext:
    context = gevent.ssl.create_default_context(cafile=access.tls_ca)
    if access.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _channel(access: Access, secure: bool) -> Any:
    options = [("grpc.max_receive_message_length", MAX_MESSAGE_BYTES), ("grpc.enable_retries", 0)]
    if not secure:
        return grpc.insecure_channel(access.grpc_host, options)
    authority = access.tls_ca.read_bytes() if access.tls_ca else None
    return grpc.secure_channel(access.grpc_host, grpc.ssl_channel_credentials(authority), options)

"""How the service listens over HTTP: uvicorn, with our limits, TLS and pages of other origins put around the app.

Knows uvicorn and settings. Knows nothing of what the app answers.
"""

import socket
from typing import Any

import uvicorn
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from bundle.errors import BadInput
from serving.http.connections import ConnectionLimits, allow_files, guarded
from serving.http.metrics_port import MAX_CONNECTIONS
from serving.security.tls import server_context, tls_files
from serving.settings import Settings

ASKED_BY_SCRIPTS = (
    "accept",
    "authorization",
    "content-type",
    "inference-header-content-length",
    "traceparent",
    "x-api-key",
    "x-request-id",
    "x-request-timeout-ms",
)
SHOWN_TO_SCRIPTS = ("inference-header-content-length", "retry-after", "server-timing", "x-request-id")


def uvicorn_config(app: ASGIApp, settings: Settings) -> uvicorn.Config:
    """uvicorn as this service runs it.

    Raises:
        BadInput: TLS files that cannot be used.
    """
    allow_files(settings.max_connections + (0 if settings.metrics_port is None else MAX_CONNECTIONS))
    limits = ConnectionLimits(
        settings.max_connections,
        settings.max_header_bytes,
        settings.max_header_s,
        settings.max_read_s,
        settings.keep_alive_s,
    )
    tls = tls_files(settings)
    secure: dict[str, Any] = {"ssl_context_factory": lambda *_: server_context(tls)} if tls else {}
    return uvicorn.Config(
        with_cors(app, settings.cors_origins),
        http=guarded(limits),
        ws="none",  # nothing here speaks it
        server_header=False,
        proxy_headers=False,  # nothing here believes them
        access_log=False,
        log_level=settings.log_level,
        log_config=None,  # its lines come as ours do: serving/observing/logs.py
        **secure,
    )


def with_cors(app: ASGIApp, origins: tuple[str, ...]) -> ASGIApp:
    """The app as scripts of other origins may use it; without origins, the app itself."""
    if not origins:
        return app
    return CORSMiddleware(
        app,
        allow_origins=origins,
        allow_methods=("GET", "POST"),
        allow_headers=ASKED_BY_SCRIPTS,
        expose_headers=SHOWN_TO_SCRIPTS,
    )


def check_ports(settings: Settings) -> None:
    """Refuse one port for two purposes, which the system would notice late, or not at all.

    Raises:
        BadInput: two settings name the same port.
    """
    flags: dict[int, str] = {}
    for name in ("port", "grpc_port", "metrics_port"):
        port, flag = getattr(settings, name), f"--{name.replace('_', '-')}"
        if port:  # 0 is a free one each time
            if port in flags:
                raise BadInput(f"{flags[port]} and {flag} are both {port}; give each a port of its own")
            flags[port] = flag


def listener(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """A socket that is bound and, unless it is shared with other processes, is the only one on its port.

    It does not listen yet: uvicorn makes it once the app has started.
    """
    sock = socket.socket(_family(host), socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind((host, port))
    except OSError as cause:
        sock.close()
        raise OSError(cause.errno, f"{cause.strerror or cause} (while listening on {address(host, port)})") from None
    return sock


def address(host: str, port: int, scheme: str = "http") -> str:
    """The URL of a service there."""
    return f"{scheme}://[{host}]:{port}" if _family(host) == socket.AF_INET6 else f"{scheme}://{host}:{port}"


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET

"""Asks the service in this container whether it lives; the exit code says what it said. For HEALTHCHECK in Dockerfiles.

Asks the port for metrics and health where there is one, else the main port. Knows the ports and whether TLS is on, by
the service's own environment variables. Knows nothing of what is served.
"""

import http.client
import os
import ssl
import sys

PATH = "/v2/health/live"
TIMEOUT_S = 4.0


def live() -> int:
    """0 where the service says that it lives, 1 with a reason on standard error."""
    own_port = os.environ.get("MODELYARD_METRICS_PORT", "")
    port = int(own_port or os.environ.get("MODELYARD_PORT", "8000"))
    try:
        connection = _plain(port) if own_port else _connection(port)
        connection.connect()
        if os.environ.get("MODELYARD_TLS_CLIENT_CA") and not own_port:
            return 0  # only clients with a certificate may ask, and this has none: that it shook hands is all to know
        connection.request("GET", PATH)
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as cause:
        return _no(f"no answer on port {port}: {cause!r}")
    return 0 if status == http.HTTPStatus.OK else _no(f"{PATH} answers {status}")


def _connection(port: int) -> http.client.HTTPConnection:
    if not os.environ.get("MODELYARD_TLS_CERT"):
        return _plain(port)
    context = ssl.create_default_context()
    context.check_hostname = False  # it is this container, whatever its name outside
    context.verify_mode = ssl.CERT_NONE
    return http.client.HTTPSConnection("127.0.0.1", port, timeout=TIMEOUT_S, context=context)


def _plain(port: int) -> http.client.HTTPConnection:
    return http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)


def _no(reason: str) -> int:
    print(reason, file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(live())

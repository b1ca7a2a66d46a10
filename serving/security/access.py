"""Who may do what: everything open without keys, a key for every question with them, admin keys for changes.

One place for HTTP and gRPC: both hand over the values of two headers. Knows keys and paths. Knows nothing of how
requests are carried.
"""

from collections.abc import Mapping
from typing import NamedTuple

from starlette.requests import Request

from bundle.errors import Forbidden, Unauthenticated
from serving.security.keys import Keys, KeySource
from serving.settings import Settings

SHOWN_IN = (b"authorization", b"x-api-key")
ANYBODY = "anybody"
"""The caller's name where no keys are asked for."""

PROBES = frozenset({"/v2/health/live", "/v2/health/ready"})
"""Kubernetes sends no keys; and that a server lives is no secret."""
PAGES = frozenset({"/", "/docs", "/redoc", "/openapi.json"})
"""The same in every installation: they tell what the product is, nothing of what is served."""
ASSETS = "/static-offline-docs/"
METRICS = "/metrics"

HOW_TO_ASK = "send it as 'Authorization: Bearer <key>' or 'X-API-Key: <key>'"
HOW_TO_TURN_ON = (
    "admin operations are off, because no admin key is set: make one with `modelyard key NAME` and give its line in "
    "--admin-keys-file, or in the environment variable MODELYARD_ADMIN_KEYS"
)


class Credentials(NamedTuple):
    """What a caller showed, as it came over the wire."""

    authorization: str | None = None
    api_key: str | None = None


class Access:
    """The rules, over the keys of one installation."""

    def __init__(self, settings: Settings) -> None:
        """Read the keys.

        Raises:
            BadInput: keys that cannot be read; a service never starts with fewer keys than it was given.
        """
        self._callers = Keys(KeySource(settings.api_keys, settings.api_keys_file, "API keys"))
        self._admins = Keys(KeySource(settings.admin_keys, settings.admin_keys_file, "admin keys"))
        self.asks_for_keys = self._callers.configured
        """False: nobody has to be looked at, and a hot path may leave this object alone."""
        self._open = PROBES | PAGES | (frozenset() if settings.metrics_need_key else {METRICS})

    def is_open(self, path: str) -> bool:
        """Whether a path answers without a key."""
        return path in self._open or path.startswith(ASSETS)

    def check(self, path: str, headers: Mapping[bytes, bytes]) -> None:
        """Let a request over HTTP through.

        Raises:
            Unauthenticated: its path is not open to everybody, and it shows no known key.
        """
        if not self.is_open(path):
            self.require_key(credentials_of(headers))

    def require_key(self, shown: Credentials) -> str:
        """The caller's name.

        Raises:
            Unauthenticated: no key, or one that is not known here.
        """
        if not self.asks_for_keys:
            return ANYBODY
        name = _first(self._callers, shown) or _first(self._admins, shown)
        if name is None:
            raise Unauthenticated(_missing("an API key", shown))
        return name

    def require_admin(self, shown: Credentials) -> str:
        """The admin's name.

        Raises:
            Forbidden: no admin key is set, or the key is one for questions only. Unauthenticated: no known key.
        """
        if not self._admins.configured:
            raise Forbidden(HOW_TO_TURN_ON)
        name = _first(self._admins, shown)
        if name is not None:
            return name
        caller = _first(self._callers, shown)
        if caller is not None:
            raise Forbidden(f"the key '{caller}' may ask, not change what is served; this needs an admin key")
        raise Unauthenticated(_missing("an admin key", shown))


def credentials_of(headers: Mapping[bytes, bytes]) -> Credentials:
    """What the headers of a request show."""
    return Credentials(*(headers[name].decode("latin-1") if name in headers else None for name in SHOWN_IN))


def require_admin(request: Request) -> str:
    """The admin's name, for a route that changes what is served.

    Raises:
        Forbidden, Unauthenticated: as `Access.require_admin`.
    """
    access: Access = request.app.state.access
    return access.require_admin(credentials_of(dict(request.scope["headers"])))


def _first(keys: Keys, shown: Credentials) -> str | None:
    return keys.check(shown.authorization) or keys.check(shown.api_key)


def _missing(what: str, shown: Credentials) -> str:
    if shown.authorization or shown.api_key:
        return f"the key that was sent is not known here; this needs {what}: {HOW_TO_ASK}"
    return f"this needs {what}: {HOW_TO_ASK}"

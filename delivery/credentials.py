"""Who asks a registry: the credentials that `docker login`, `oras login` or a Secret for pulling images left.

Knows Docker's config.json and credential helpers. Never tells what it finds.
"""

import base64
import binascii
import json
import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bundle.errors import SourceError

DOCKER_HUB = "docker.io"
HUB_KEYS = ("https://index.docker.io/v1/", "index.docker.io", "docker.io", "registry-1.docker.io")
IDENTITY = "<token>"
"""A helper's name for a user whose secret is an identity token."""
HELPER_S = 30.0


@dataclass(frozen=True)
class Credentials:
    """A user and a password, or an identity token."""

    user: str = ""
    secret: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)


def config_file() -> Path:
    """Where credentials are looked for: $REGISTRY_AUTH_FILE, $DOCKER_CONFIG/config.json or ~/.docker/config.json."""
    if given := os.environ.get("REGISTRY_AUTH_FILE"):
        return Path(given)
    folder = os.environ.get("DOCKER_CONFIG")
    return (Path(folder) if folder else Path.home() / ".docker") / "config.json"


def credentials_for(host: str) -> Credentials | None:
    """What is known for a registry, or None.

    Raises:
        SourceError: the file, or a helper that it names, cannot be used.
    """
    file = config_file()
    try:
        content = json.loads(file.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as cause:
        reason = cause.strerror if isinstance(cause, OSError) else "it is no JSON"
        raise SourceError(f"{file}: the credentials for registries cannot be read: {reason}") from None
    if not isinstance(content, dict):
        raise SourceError(f"{file}: the credentials for registries cannot be read: it holds no object")
    keys = HUB_KEYS if host == DOCKER_HUB else (host, f"https://{host}", f"http://{host}")
    helpers, auths = content.get("credHelpers") or {}, content.get("auths") or {}
    for key in keys:
        helper = helpers.get(key) or content.get("credsStore")
        found = _in_file(file, auths.get(key)) or (_of_helper(helper, key) if helper else None)
        if found:
            return found
    return None


def _in_file(file: Path, entry: Any) -> Credentials | None:
    if not isinstance(entry, dict):
        return None
    if token := entry.get("identitytoken"):
        return Credentials(identity_token=str(token))
    if entry.get("username"):
        return Credentials(str(entry["username"]), str(entry.get("password", "")))
    if not entry.get("auth"):
        return None
    try:
        user, _, secret = base64.b64decode(str(entry["auth"]), validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        raise SourceError(
            f"{file}: an 'auth' of it is no base64 of user:password; log in to the registry again"
        ) from None
    return Credentials(user, secret.rstrip("\0"))


def _of_helper(helper: str, key: str) -> Credentials | None:
    program = f"docker-credential-{helper}"
    try:
        done = subprocess.run([program, "get"], input=key.encode(), capture_output=True, timeout=HELPER_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as cause:
        reason = f"no answer in {HELPER_S:g} s" if isinstance(cause, subprocess.TimeoutExpired) else cause.strerror
        raise SourceError(f"{config_file()} names the credential helper {program}: {reason}") from None
    if done.returncode:
        return None  # it has none for this registry
    try:
        found = json.loads(done.stdout)
        user, secret = str(found["Username"]), str(found["Secret"])
    except (ValueError, KeyError, TypeError):
        raise SourceError(f"the credential helper {program} says what is no credential") from None
    return Credentials(identity_token=secret) if user == IDENTITY else Credentials(user, secret)

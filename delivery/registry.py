"""A registry of images and artefacts, as far as reading needs it: OCI's distribution API, tokens included.

Knows HTTP and credentials. Knows nothing of what a manifest or a blob means.
"""

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import httpx

from bundle.errors import SourceError, SourceInterrupted
from delivery.credentials import DOCKER_HUB, Credentials, config_file, credentials_for
from delivery.tree import PIECE_BYTES

DIGEST = r"sha256:[0-9a-f]{64}"
ADDRESS = re.compile(
    r"oci://(?P<host>[A-Za-z0-9.-]+(?::\d+)?|\[[0-9a-fA-F:]+\](?::\d+)?)/"
    r"(?P<name>[a-z0-9]+(?:[._/-]+[a-z0-9]+)*)"
    rf"(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{{0,127}}))?(?:@(?P<digest>{DIGEST}))?"
)
ACCEPTED = ", ".join(
    (
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.docker.distribution.manifest.v2+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
    )
)
MAX_DOCUMENT_BYTES = 4 * 2**20
"""Of a manifest, as registries limit it; and of a token."""
TIMEOUT = httpx.Timeout(60.0, connect=10.0)
"""Between two pieces of an answer, not for all of it."""
HEADERS = {"User-Agent": "modelyard", "Accept-Encoding": "identity"}
"""Digests are of the bytes as they are."""
ASK_AGAIN = (408, 425, 429, 500, 502, 503, 504)
CHALLENGE = re.compile(r'(\w+)=(?:"((?:[^"\\]|\\.)*)"|([^\s,]+))')
LOOPBACK = re.compile(r"(localhost|127\.\d+\.\d+\.\d+|\[::1\])(:\d+)?")


@dataclass(frozen=True)
class Reference:
    """What an address names."""

    host: str
    name: str
    wanted: str
    """A tag or a digest."""

    def __str__(self) -> str:
        """For messages."""
        return f"oci://{self.host}/{self.name}{'@' if ':' in self.wanted else ':'}{self.wanted}"


def reference(address: str) -> Reference:
    """The parts of `oci://registry/repository:tag` or `...@sha256:...`; a digest wins over a tag.

    Raises:
        SourceError: it has another form.
    """
    found = ADDRESS.fullmatch(address)
    wanted = found and (found["digest"] or found["tag"])
    if not found or not wanted:
        shown = "oci://..." if "@" in address.partition("@sha256:")[0] else f"'{address}'"
        raise SourceError(
            f"{shown} is no address of an artefact: give oci://registry/repository:tag or "
            "oci://registry/repository@sha256:...; credentials come from Docker's config.json, not from the address"
        )
    return Reference(found["host"], found["name"], wanted)


class Registry:
    """One repository of a registry."""

    def __init__(self, ref: Reference, plain_http: bool = False) -> None:
        """Nothing is asked yet. A registry of this machine is asked over plain HTTP, another one if that is said."""
        self._ref = ref
        self._is_plain = plain_http or bool(LOOPBACK.fullmatch(ref.host))
        host = "registry-1.docker.io" if ref.host == DOCKER_HUB else ref.host
        self._base = f"{'http' if self._is_plain else 'https'}://{host}/v2/{ref.name}"
        self._client = httpx.Client(timeout=TIMEOUT, follow_redirects=True, headers=HEADERS)
        self._authorization = ""

    def __enter__(self) -> Self:
        """Itself; its connections go at the end."""
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        """Close."""
        self._client.close()

    def manifest(self, wanted: str) -> bytes:
        """A manifest by tag or digest, held to the digest.

        Raises:
            SourceInterrupted: asking again may help. SourceError: it will not.
        """
        content = b""
        with self._asked(f"{self._base}/manifests/{wanted}", {"Accept": ACCEPTED}) as answer:
            told = answer.headers.get("docker-content-digest", "")
            for piece in self._pieces(answer):
                content += piece
                if len(content) > MAX_DOCUMENT_BYTES:
                    raise SourceError(f"{self._ref}: its manifest has more than {MAX_DOCUMENT_BYTES} bytes")
        expected = wanted if wanted.startswith("sha256:") else told
        found = f"sha256:{hashlib.sha256(content).hexdigest()}"
        if expected.startswith("sha256:") and found != expected:
            raise SourceError(f"{self._ref}: the manifest that came has digest {found}, not {expected}")
        return content

    def blob(self, digest: str, offset: int) -> Iterator[bytes]:
        """The bytes of a blob from `offset` on; they are not held to the digest here.

        Raises:
            SourceInterrupted: asking again, from where it ended, may help. SourceError: it will not.
        """
        asked = {"Range": f"bytes={offset}-"} if offset else {}
        with self._asked(f"{self._base}/blobs/{digest}", asked) as answer:
            known = offset if answer.status_code != httpx.codes.PARTIAL_CONTENT else 0
            for piece in self._pieces(answer):  # where a registry does not do ranges, what is known comes once more
                yield piece[known:]
                known = max(0, known - len(piece))

    def _pieces(self, answer: httpx.Response) -> Iterator[bytes]:
        try:
            yield from answer.iter_raw(PIECE_BYTES)
        except httpx.TransportError as cause:
            raise SourceInterrupted(f"{self._ref}: cut off: {_words(cause)}") from None

    def _asked(self, url: str, headers: dict[str, str]) -> "_Answer":
        """A successful answer, its body still to come; where a token is wanted, one is got first, once."""
        answer = self._send(url, headers)
        if answer.status_code == httpx.codes.UNAUTHORIZED:
            challenge = answer.headers.get("www-authenticate", "")
            answer.close()
            self._authorization = self._answer_to(challenge)
            answer = self._send(url, headers)
        if answer.is_success:
            return _Answer(answer)
        with _Answer(answer):
            raise self._failure(answer)

    def _send(self, url: str, headers: dict[str, str]) -> httpx.Response:
        given = {"Authorization": self._authorization} if self._authorization else {}
        return self._sent(self._client.build_request("GET", url, headers=headers | given))

    def _sent(self, request: httpx.Request) -> httpx.Response:
        try:
            return self._client.send(request, stream=True)
        except httpx.TransportError as cause:
            raise SourceInterrupted(f"{self._ref}: no answer from {request.url.host}: {_words(cause)}") from None
        except httpx.TooManyRedirects:
            raise SourceError(
                f"{self._ref}: {request.url.host} leads from one address to the next without end"
            ) from None

    def _failure(self, answer: httpx.Response) -> SourceError:
        status = answer.status_code
        if status in ASK_AGAIN:
            return SourceInterrupted(f"{self._ref}: the registry answers {status}")
        if status == httpx.codes.NOT_FOUND:
            return SourceError(f"{self._ref}: not found in the registry (404)")
        if status in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
            return self._denied(f"the registry answers {status}")
        return SourceError(f"{self._ref}: the registry answers {status}")

    def _denied(self, why: str) -> SourceError:
        known = credentials_for(self._ref.host)
        who = "with the credentials" if known else "and there are no credentials for it"
        return SourceError(f"{self._ref}: access is denied: {why}, {who} in {config_file()}")

    # Tokens

    def _answer_to(self, challenge: str) -> str:
        """The header Authorization that a challenge asks for."""
        scheme, _, rest = challenge.partition(" ")
        known = credentials_for(self._ref.host)
        asked = {name.lower(): quoted or plain for name, quoted, plain in CHALLENGE.findall(rest)}
        if scheme.lower() == "basic":
            if known is None or not known.user:
                raise self._denied("it asks for a user and a password")
            return _basic(known)
        if scheme.lower() != "bearer" or "realm" not in asked:
            raise self._denied(f"it asks for {scheme or 'nothing that is known'}, expected is Bearer or Basic")
        return f"Bearer {self._token(asked, known)}"

    def _token(self, asked: dict[str, str], known: Credentials | None) -> str:
        realm = httpx.URL(asked["realm"])
        if realm.scheme != "https" and not self._is_plain:
            raise self._denied(f"its tokens are given out by {realm.scheme}://{realm.host}, which is not HTTPS")
        named: dict[str, str] = {name: asked[name] for name in ("service", "scope") if name in asked}
        named.setdefault("scope", f"repository:{self._ref.name}:pull")
        if known and known.identity_token:
            form = named | {
                "grant_type": "refresh_token",
                "refresh_token": known.identity_token,
                "client_id": "modelyard",
            }
            request = self._client.build_request("POST", realm, data=form)
        else:
            headers = {"Authorization": _basic(known)} if known else {}
            request = self._client.build_request("GET", realm.copy_merge_params(dict(named)), headers=headers)
        with _Answer(self._sent(request)) as answer:
            if answer.status_code in ASK_AGAIN:
                raise SourceInterrupted(
                    f"{self._ref}: {realm.host}, which gives out tokens, answers {answer.status_code}"
                )
            if not answer.is_success:
                raise self._denied(f"{realm.host}, which gives out its tokens, answers {answer.status_code}")
            return self._token_in(answer, realm.host)

    def _token_in(self, answer: httpx.Response, host: str) -> str:
        try:
            content = json.loads(answer.read())
            token = content.get("token") or content.get("access_token")
        except (ValueError, AttributeError, httpx.TransportError):
            token = None
        if not isinstance(token, str) or not re.fullmatch(r"[\x21-\x7e]+", token):
            raise SourceError(f"{self._ref}: {host}, which gives out its tokens, answers without one")
        return token


class _Answer:
    """An answer that is closed at the end, whatever of it was read."""

    def __init__(self, answer: httpx.Response) -> None:
        self._answer = answer

    def __enter__(self) -> httpx.Response:
        return self._answer

    def __exit__(self, *_: object) -> None:
        self._answer.close()


def _basic(known: Credentials) -> str:
    return f"Basic {base64.b64encode(f'{known.user}:{known.secret}'.encode()).decode()}"


def _words(cause: Exception) -> str:
    return str(cause) or type(cause).__name__

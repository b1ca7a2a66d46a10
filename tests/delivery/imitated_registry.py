"""An imitation of a registry on loopback, for what a real one does not do when asked: cut off, stall, lie.

What a real registry does is tested with a real one (test_real_registry.py).
"""

import base64
import hashlib
import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
EMPTY = "application/vnd.oci.empty.v1+json"
IMAGE = "application/vnd.oci.image.config.v1+json"
TAR = "application/vnd.oci.image.layer.v1.tar"
TITLE = "org.opencontainers.image.title"


@dataclass
class Registry:
    """What it holds, and how it behaves."""

    port: int = 0
    blobs: dict[str, bytes] = field(default_factory=dict)
    manifests: dict[str, bytes] = field(default_factory=dict)
    cut: Counter[str] = field(default_factory=Counter)
    """Digest -> how many answers end after half of what was asked for."""
    does_ranges: bool = True
    failures: int = 0
    """So many requests are answered 503."""
    user: str = ""
    """user:password that its tokens are given for; none: for nobody, and nobody needs one."""
    token: str = "a-token"
    lasts: int = 10**9
    """Requests that a token is good for."""
    stalled: dict[str, threading.Event] = field(default_factory=dict)
    """Digest -> answers with it stop in their middle until this is set."""
    asked: list[tuple[str, str]] = field(default_factory=list)
    """(path, Authorization) of every request."""

    def address(self, reference: str) -> str:
        """What `modelyard fetch` is given."""
        return f"oci://127.0.0.1:{self.port}/{reference}"

    def blob(self, content: bytes, media_type: str = TAR, **annotations: str) -> dict[str, Any]:
        """Keep a blob; its descriptor."""
        digest = digest_of(content)
        self.blobs[digest] = content
        found = {"mediaType": media_type, "digest": digest, "size": len(content)}
        return found | ({"annotations": annotations} if annotations else {})

    def push(self, name: str, layers: list[dict[str, Any]], config: str = EMPTY) -> str:
        """Keep a manifest by a name, as `digits:1`; its digest."""
        content = {"schemaVersion": 2, "mediaType": MANIFEST, "config": self.blob(b"{}", config), "layers": layers}
        return self.keep(name, content)

    def push_files(self, name: str, files: dict[str, bytes]) -> str:
        """As `oras push` does with files."""
        return self.push(name, [self.blob(content, **{TITLE: path}) for path, content in files.items()])

    def keep(self, name: str, manifest: dict[str, Any]) -> str:
        """Keep any manifest; its digest."""
        content = json.dumps(manifest).encode()
        repository, _, tag = name.partition(":")
        self.manifests[f"{repository}/manifests/{tag}"] = content
        self.manifests[f"{repository}/manifests/{digest_of(content)}"] = content
        return digest_of(content)


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


class Handler(BaseHTTPRequestHandler):
    registry: Registry
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        registry, authorization = self.registry, self.headers.get("Authorization", "")
        registry.asked.append((self.path, authorization))
        if self.path.startswith("/token?"):
            self._give_token(authorization)
        elif registry.failures:
            registry.failures -= 1
            self._answer(503, b"try later")
        elif registry.user and (authorization != f"Bearer {registry.token}" or registry.lasts <= 0):
            realm = f'Bearer realm="http://127.0.0.1:{registry.port}/token",service="yard",scope="repository:x:pull"'
            self._answer(401, b"{}", {"WWW-Authenticate": realm})
        else:
            registry.lasts -= 1
            self._serve(self.path.removeprefix("/v2/"))

    def _give_token(self, authorization: str) -> None:
        registry = self.registry
        if authorization != f"Basic {base64.b64encode(registry.user.encode()).decode()}":
            self._answer(401, b"{}")
            return
        registry.lasts = max(registry.lasts, 3)
        self._answer(200, json.dumps({"token": registry.token}).encode())

    def _serve(self, path: str) -> None:
        registry, digest = self.registry, path.rpartition("/")[2]
        if "/manifests/" in path and path in registry.manifests:
            content = registry.manifests[path]
            self._answer(200, content, {"Content-Type": MANIFEST, "Docker-Content-Digest": digest_of(content)})
        elif "/blobs/" in path and digest in registry.blobs:
            self._blob(digest, registry.blobs[digest])
        else:
            self._answer(404, b'{"errors":[]}')

    def _blob(self, digest: str, content: bytes) -> None:
        start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").removesuffix("-"))
        status = 206 if start and self.registry.does_ranges else 200
        content = content[start if status == 206 else 0 :]
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.registry.cut[digest]:
            self.registry.cut[digest] -= 1
            self.wfile.write(content[: len(content) // 2])
            self.close_connection = True
            return
        if digest in self.registry.stalled:
            self.wfile.write(content[: len(content) // 2])
            self.wfile.flush()
            self.registry.stalled[digest].wait(60)
            content = content[len(content) // 2 :]
        self.wfile.write(content)

    def _answer(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Nothing."""


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """A client that was killed is no news."""


@contextmanager
def serving_registry() -> Iterator[Registry]:
    """An empty one."""
    registry = Registry()
    handler = type("Handler", (Handler,), {"registry": registry})
    with Server(("127.0.0.1", 0), handler) as server:
        registry.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield registry
        finally:
            for event in registry.stalled.values():
                event.set()
            server.shutdown()
            thread.join()


def files_of(folder: Any) -> dict[str, bytes]:
    """A bundle's files by path."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}

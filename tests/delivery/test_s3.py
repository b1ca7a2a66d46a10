"""`modelyard fetch s3://...` against moto's S3, and through a proxy that cuts off; gs:// against the part of S3's XML
that Google's API shares, which is no Google."""

import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

obstore = pytest.importorskip("obstore", reason="obstore belongs to the fetch extra")
from obstore.store import S3Store  # noqa: E402

from bundle.store import names, open_bundle  # noqa: E402
from delivery import objects  # noqa: E402
from tests.delivery.imitated_registry import files_of  # noqa: E402
from tests.delivery.test_fetch import ARTEFACT, left_in_room  # noqa: E402
from tests.scoring.s3 import Store  # noqa: E402

Fetch = Callable[..., tuple[int, list[str], str]]
LARGE_BYTES = 300_000


@pytest.fixture
def bucket(s3: Store, monkeypatch: pytest.MonkeyPatch) -> str:
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    return s3.make_bucket()


def put(bucket: str, files: dict[str, bytes], prefix: str = "") -> None:
    store = S3Store(bucket, prefix=prefix or None, client_options={"allow_http": True})
    for path, content in files.items():
        obstore.put(store, path, content)


def test_a_repository_a_model_and_a_bundle_come_from_a_bucket(
    fetch: Fetch, bucket: str, source: Path, models: Path
) -> None:
    put(bucket, files_of(source), "yard/models")
    put(bucket, {"README.md": b"read me", "drafts/notes.txt": b"x"}, "yard/models")
    address = f"s3://{bucket}/yard/models"
    code, printed, told = fetch(f"{address}/digits/1")
    assert (code, printed) == (0, [f"{models}/digits/1"])
    assert fetch(f"{address}/digits/")[1] == [f"{models}/digits/2"]
    code, printed, told = fetch(address)
    assert (code, printed) == (0, [f"{models}/digits/2", f"{models}/shapes/1"])
    assert f"{address}: README.md: no bundle, skipped" in told
    assert f"{address}/drafts: holds no version with a manifest.json: skipped" in told
    open_bundle(models / "shapes/1")


def test_objects_that_stand_for_folders_and_odd_names_do_no_harm(
    fetch: Fetch, bucket: str, source: Path, models: Path
) -> None:
    put(bucket, files_of(source / "shapes"), "models/shapes")
    for key in ("models/", "models/shapes/", "models/shapes/1/", "models/shapes/1/golden/"):
        _put_raw(bucket, key)
    put(bucket, {"notes of ä+b%20 & c.txt": b"x"}, "models/shapes/1")
    code, printed, told = fetch(f"s3://{bucket}/models")
    assert (code, printed) == (0, [f"{models}/shapes/1"])
    assert "notes of ä+b%20 & c.txt: not named by its manifest.json, so not fetched" in told


def test_a_flipped_byte_and_a_missing_object_are_found(fetch: Fetch, bucket: str, source: Path, models: Path) -> None:
    files = files_of(source / "digits")
    broken = bytearray(files[f"2/{ARTEFACT}"])
    broken[5] ^= 4
    put(bucket, files | {f"2/{ARTEFACT}": bytes(broken)}, "a")
    put(bucket, {path: content for path, content in files.items() if path != f"2/{ARTEFACT}"}, "b")
    assert f"{ARTEFACT}: its sha256 is" in fetch(f"s3://{bucket}/a")[2]
    assert f"lacks {ARTEFACT}, which its manifest.json names" in fetch(f"s3://{bucket}/b")[2]
    assert names(models) == []


def test_nothing_there_is_an_error(fetch: Fetch, bucket: str) -> None:
    code, _, told = fetch(f"s3://{bucket}/models")
    assert code == 1
    assert f"s3://{bucket}/models: no bundle there" in told
    code, _, told = fetch("s3://no-such-bucket/models")
    assert code == 1
    assert "NoSuchBucket" in told
    assert "<?xml" not in told
    assert len(told) < 400


@pytest.mark.usefixtures("quick")
def test_a_store_that_is_cut_off_again_and_again_gives_the_bundle_all_the_same(
    fetch: Fetch, s3: Store, bucket: str, source: Path, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(bucket, files_of(source / "digits"), "digits")
    monkeypatch.setattr(objects, "RETRY", {"max_retries": 0})
    with cutting(s3.port, every=3) as (port, cuts):
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        code, printed, _ = fetch(f"s3://{bucket}/digits", "--jobs", "2")
    assert (code, printed) == (0, [f"{models}/digits/2"])
    assert len(cuts) > 3
    open_bundle(models / "digits/2")


@pytest.mark.usefixtures("quick")
def test_a_store_that_is_not_there_is_given_up_with_a_reason(
    fetch: Fetch, bucket: str, monkeypatch: pytest.MonkeyPatch, models: Path
) -> None:
    monkeypatch.setattr(objects, "RETRY", {"max_retries": 0})
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not-to-be-told")
    code, _, told = fetch(f"s3://{bucket}/digits")
    assert code == 1
    assert "given up after 6 attempts" in told
    assert "not-to-be-told" not in told


def test_a_file_is_read_in_pieces_on_from_an_offset(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    content = bytes(range(256)) * 40
    put(bucket, {"large": content})
    monkeypatch.setattr(objects, "PIECE_BYTES", 1000)
    pieces = list(objects.object_tree(f"s3://{bucket}").read("large", 500))
    assert b"".join(pieces) == content[500:]
    assert max(map(len, pieces)) == 1000


def test_messages_of_a_store_keep_no_query_of_an_address() -> None:
    cause = Exception("POST https://sts.example.org/?WebIdentityToken=abc&x=1 in 3ms - failed\n\nDebug source:\nabc")
    assert objects._told(cause) == "POST https://sts.example.org/ in 3ms - failed"


def test_a_node_without_credentials_says_so() -> None:
    cause = Exception("Generic S3 error: Error performing PUT http://169.254.169.254/latest/api/token in 3ms - refused")
    assert "no credentials are in the environment" in objects._told(cause)


def test_googles_store_is_asked_in_the_same_way(
    fetch: Fetch, s3: Store, bucket: str, source: Path, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _put_raw("", bucket := "yardgs")  # moto does not read the dash of a bucket as Google's client writes it
    put(bucket, files_of(source), "models")
    monkeypatch.setenv("GOOGLE_BASE_URL", s3.endpoint)
    monkeypatch.setenv("GOOGLE_BEARER_TOKEN", "a-token")
    code, printed, told = fetch(f"gs://{bucket}/models/digits")
    assert (code, printed) == (0, [f"{models}/digits/2"]), told
    assert f"from gs://{bucket}/models/digits/2" in told
    assert left_in_room(models) == []


@contextmanager
def cutting(target: int, every: int) -> Iterator[tuple[int, list[int]]]:
    """A proxy that cuts off every so many connections in the middle of the answer: its port, and what it has cut."""
    cuts: list[int] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def relay(client: socket.socket, number: int) -> None:
            with client, socket.create_connection(("127.0.0.1", target)) as server, suppress(OSError):
                request = client.recv(65536)
                server.sendall(
                    re.sub(rb"(?i)\r\nconnection: [^\r]*", b"", request, count=1).replace(
                        b"\r\n", b"\r\nConnection: close\r\n", 1
                    )
                )
                answer = b""
                while piece := server.recv(65536):
                    answer += piece
                if number % every == 0:
                    cuts.append(number)
                    answer = answer[: len(answer) - max(1, len(answer) // 4)]
                client.sendall(answer)

        def accept() -> None:
            number = 0
            with suppress(OSError):
                while True:
                    client, _ = listener.accept()
                    number += 1
                    threading.Thread(target=relay, args=(client, number), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        try:
            yield listener.getsockname()[1], cuts
        finally:
            listener.shutdown(socket.SHUT_RDWR)


def _put_raw(bucket: str, key: str) -> None:
    """An empty object whose key ends with a slash, which obstore's own paths do not."""
    import os
    import urllib.request

    url = f"{os.environ['AWS_ENDPOINT_URL']}/{bucket}/{key}"
    with urllib.request.urlopen(urllib.request.Request(url, method="PUT", data=b"")):  # noqa: S310
        pass

"""Public data: the mirror first, then a checked download; what is damaged or missing is refused."""

import hashlib
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="training needs torch")

from bundle.errors import DataError
from training.data import fetch

CONTENT = b"some numbers"


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Say nothing."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    (tmp_path / "public").mkdir()
    (tmp_path / "public/data.bin").write_bytes(CONTENT)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=tmp_path / "public")) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{http.server_port}/"
        http.shutdown()


@pytest.fixture
def public(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> fetch.PublicSet:
    """A public set of one file, a cache of its own, and no mirror."""
    found = fetch.PublicSet("numbers", "MIT", server, {"data.bin": hashlib.sha256(CONTENT).hexdigest()})
    monkeypatch.setitem(fetch.PUBLIC, "numbers", found)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv(fetch.MIRROR_VARIABLE, raising=False)
    return found


def test_a_download_is_checked_and_kept(public: fetch.PublicSet, tmp_path: Path) -> None:
    folder = fetch.fetch("numbers")
    assert (folder / "data.bin").read_bytes() == CONTENT
    (tmp_path / "public/data.bin").unlink()
    assert fetch.fetch("numbers") == folder, "the second time nothing is asked of the server"


def test_a_download_that_is_something_else_is_refused(public: fetch.PublicSet, tmp_path: Path) -> None:
    (tmp_path / "public/data.bin").write_bytes(b"something else")
    with pytest.raises(DataError, match=r"data\.bin cannot be had.*MODELYARD_DATA"):
        fetch.fetch("numbers")


def test_a_server_that_is_not_there_leads_to_the_mirror(public: fetch.PublicSet, tmp_path: Path) -> None:
    (tmp_path / "public/data.bin").unlink()
    with pytest.raises(DataError, match="MODELYARD_DATA"):
        fetch.fetch("numbers")


@pytest.fixture
def mirror(public: fetch.PublicSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "mirror/numbers"
    folder.mkdir(parents=True)
    (folder / "data.bin").write_bytes(CONTENT)
    monkeypatch.setenv(fetch.MIRROR_VARIABLE, str(tmp_path / "mirror"))
    return folder


def test_the_mirror_is_used_first(mirror: Path) -> None:
    assert fetch.fetch("numbers") == mirror


def test_a_damaged_file_of_the_mirror_is_refused(mirror: Path) -> None:
    (mirror / "data.bin").write_bytes(b"x")
    with pytest.raises(DataError, match=r"data\.bin: its sha256 is"):
        fetch.fetch("numbers")


def test_a_file_missing_from_the_mirror_is_named(mirror: Path) -> None:
    (mirror / "data.bin").unlink()
    with pytest.raises(DataError, match=r"data\.bin: missing"):
        fetch.fetch("numbers")


def test_fashion_mnist_reads_from_a_mirror_or_says_how(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from training.data.fashion_mnist import FashionMnist

    (tmp_path / "fashion-mnist").mkdir()
    monkeypatch.setenv(fetch.MIRROR_VARIABLE, str(tmp_path))
    with pytest.raises(DataError, match=r"t10k-images-idx3-ubyte\.gz: missing"):
        FashionMnist().load()

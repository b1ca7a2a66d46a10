"""`modelyard fetch oci://...`: artefacts of files, packed folders, images; tokens; what is cut off, and what lies."""

import base64
import gzip
import io
import json
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("httpx", reason="httpx belongs to the fetch extra")

from bundle.store import names, open_bundle
from delivery.unpack import MAX_HEADER_BYTES
from tests.delivery.imitated_registry import (
    IMAGE,
    INDEX,
    TAR,
    TITLE,
    Registry,
    digest_of,
    files_of,
    serving_registry,
)
from tests.delivery.test_fetch import ARTEFACT, left_in_room

Fetch = Callable[..., tuple[int, list[str], str]]
UNPACK = {"io.deis.oras.content.unpack": "true"}


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Registry]:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    monkeypatch.delenv("REGISTRY_AUTH_FILE", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serving_registry() as registry:
        yield registry


def packed(files: dict[str, bytes], *others: tarfile.TarInfo) -> bytes:
    """A tar of files, and of entries without content."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for path, content in files.items():
            info = tarfile.TarInfo(path)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        for other in others:
            tar.addfile(other)
    return out.getvalue()


def entry(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def below(folder: str, files: dict[str, bytes]) -> dict[str, bytes]:
    return {f"{folder}/{path}": content for path, content in files.items()}


def log_in(tmp_path: Path, registry: Registry, **entry: str) -> None:
    (tmp_path / "docker").mkdir()
    content = {"auths": {f"127.0.0.1:{registry.port}": entry}}
    (tmp_path / "docker/config.json").write_text(json.dumps(content))


# Forms


def test_files_with_titles_are_a_bundle_or_a_repository(
    fetch: Fetch, registry: Registry, source: Path, models: Path
) -> None:
    registry.push_files("digits:2", files_of(source / "digits/2"))
    registry.push_files("all:1", files_of(source))
    assert fetch(registry.address("digits:2"))[:2] == (0, [f"{models}/digits/2"])
    assert fetch(registry.address("all:1"))[1] == [f"{models}/digits/2", f"{models}/shapes/1"]
    open_bundle(models / "shapes/1")


def test_a_digest_names_exactly_one_artefact(fetch: Fetch, registry: Registry, source: Path, models: Path) -> None:
    digest = registry.push_files("digits:2", files_of(source / "digits/2"))
    registry.push_files("digits:2", files_of(source / "digits/1"))
    assert fetch(registry.address(f"digits@{digest}"))[1] == [f"{models}/digits/2"]
    registry.manifests[f"digits/manifests/{digest}"] += b" "
    assert "the manifest that came has digest" in fetch(registry.address(f"digits@{digest}"))[2]


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("folder", ["2", "digits/2", "models/digits/2"])
def test_a_folder_that_was_pushed_packed_is_found_in_it(
    fetch: Fetch, registry: Registry, source: Path, models: Path, folder: str, zipped: bool
) -> None:
    tar = packed(below(folder, files_of(source / "digits/2")))
    layer = registry.blob(gzip.compress(tar) if zipped else tar, **{TITLE: folder, **UNPACK})
    registry.push("digits:2", [layer])
    assert fetch(registry.address("digits:2"))[:2] == (0, [f"{models}/digits/2"])
    open_bundle(models / "digits/2")
    assert left_in_room(models) == []


def test_of_an_image_the_files_below_models_are_taken_and_no_others(
    fetch: Fetch, registry: Registry, source: Path, models: Path
) -> None:
    """As KServe's modelcars have them: a small base with links, then /models."""
    base = packed({"etc/passwd": b"root"}, entry("bin/sh", tarfile.SYMTYPE, "busybox"), entry("dev/x", tarfile.CHRTYPE))
    layers = [registry.blob(base), registry.blob(gzip.compress(packed(below("models", files_of(source)))))]
    registry.push("yard:1", layers, IMAGE)
    assert fetch(registry.address("yard:1"))[:2] == (0, [f"{models}/digits/2", f"{models}/shapes/1"])
    assert names(models) == ["digits", "shapes"]


def test_of_an_index_the_manifest_for_this_machine_is_taken(
    fetch: Fetch, registry: Registry, source: Path, models: Path
) -> None:
    layer = registry.blob(packed(below("models", files_of(source / "shapes/1"))))
    digest = registry.push("x:image", [layer], IMAGE)
    entries = [
        {"mediaType": "m", "digest": digest, "size": 1, "platform": {"os": "linux", "architecture": "any"}},
        {"mediaType": "m", "digest": "sha256:0", "size": 1, "platform": {"os": "unknown", "architecture": "unknown"}},
    ]
    registry.keep("x:1", {"schemaVersion": 2, "mediaType": INDEX, "manifests": entries})
    assert fetch(registry.address("x:1"))[:2] == (0, [f"{models}/shapes/1"])


def test_a_packed_folder_is_known_by_its_type_where_a_client_leaves_out_the_mark(
    fetch: Fetch, registry: Registry, source: Path, models: Path
) -> None:
    tar = gzip.compress(packed(below("2", files_of(source / "digits/2"))))
    registry.push("digits:2", [registry.blob(tar, f"{TAR}+gzip", **{TITLE: "2"})])
    assert fetch(registry.address("digits:2"))[:2] == (0, [f"{models}/digits/2"])


# Tokens


def test_a_token_is_got_with_the_credentials_of_docker_and_anew_when_it_ends(
    fetch: Fetch, registry: Registry, source: Path, models: Path, tmp_path: Path
) -> None:
    registry.push_files("digits:2", files_of(source / "digits/2"))
    registry.user, registry.lasts = "me:secret-word", 0
    log_in(tmp_path, registry, auth=base64.b64encode(b"me:secret-word").decode())
    code, printed, told = fetch(registry.address("digits:2"), "--jobs", "1")
    assert (code, printed) == (0, [f"{models}/digits/2"])
    tokens = [path for path, _ in registry.asked if path.startswith("/token?")]
    assert len(tokens) > 1
    assert "scope=repository%3Ax%3Apull" in tokens[0]
    assert {authorization for path, authorization in registry.asked if "/blobs/" in path} <= {"", "Bearer a-token"}
    assert "secret-word" not in told


@pytest.mark.parametrize("entry", [{"username": "me", "password": "wrong-word"}, None])
def test_a_registry_that_lets_nobody_in_says_where_credentials_were_looked_for(
    fetch: Fetch, registry: Registry, source: Path, tmp_path: Path, entry: dict[str, str] | None
) -> None:
    registry.push_files("digits:2", files_of(source / "digits/2"))
    registry.user = "me:right"
    if entry:
        log_in(tmp_path, registry, **entry)
    code, _, told = fetch(registry.address("digits:2"))
    assert code == 1
    assert "access is denied" in told
    assert ("with the credentials in" if entry else "there are no credentials for it in") in told
    assert str(tmp_path / "docker/config.json") in told
    assert "wrong-word" not in told


def test_a_credential_helper_is_asked(
    fetch: Fetch, registry: Registry, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.push_files("digits:2", files_of(source / "digits/2"))
    registry.user = "me:helped"
    helper = tmp_path / "bin/docker-credential-yard"
    helper.parent.mkdir()
    helper.write_text('#!/bin/sh\ncat > /dev/null; echo \'{"Username":"me","Secret":"helped"}\'\n')
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", str(helper.parent), prepend=":")
    (tmp_path / "docker").mkdir()
    (tmp_path / "docker/config.json").write_text('{"credsStore": "yard"}')
    assert fetch(registry.address("digits:2"))[0] == 0


# What goes wrong


@pytest.mark.parametrize("does_ranges", [True, False])
@pytest.mark.usefixtures("quick")
def test_what_was_cut_off_goes_on_where_it_ended(
    fetch: Fetch, registry: Registry, source: Path, models: Path, does_ranges: bool
) -> None:
    files = files_of(source / "digits/2")
    registry.push_files("digits:2", files)
    registry.does_ranges = does_ranges
    registry.cut[digest_of(files[ARTEFACT])] = 3
    registry.failures = 2
    code, printed, told = fetch(registry.address("digits:2"))
    assert (code, printed) == (0, [f"{models}/digits/2"])
    assert "cut off; asking again" in told
    open_bundle(models / "digits/2")


@pytest.mark.usefixtures("quick")
def test_what_stays_cut_off_is_given_up_with_a_reason(
    fetch: Fetch, registry: Registry, source: Path, models: Path
) -> None:
    files = files_of(source / "digits/2")
    registry.push_files("digits:2", files)
    registry.does_ranges = False
    registry.cut[digest_of(files[ARTEFACT])] = 100
    code, _, told = fetch(registry.address("digits:2"))
    assert code == 1
    assert "given up after 6 attempts" in told
    assert names(models) == []
    assert left_in_room(models) == []


@pytest.mark.usefixtures("quick")
def test_a_registry_that_is_not_there_is_told(fetch: Fetch, registry: Registry) -> None:
    registry.failures = 1000
    assert "the registry answers 503; given up after 6 attempts" in fetch(registry.address("digits:2"))[2]
    registry.failures = 0
    assert "not found in the registry (404)" in fetch(registry.address("digits:2"))[2]


def test_a_blob_that_is_another_is_not_taken(fetch: Fetch, registry: Registry, source: Path, models: Path) -> None:
    files = files_of(source / "digits/2")
    registry.push_files("digits:2", files)
    content = files[ARTEFACT]
    registry.blobs[digest_of(content)] = content[:-1] + b"!"
    code, _, told = fetch(registry.address("digits:2"))
    assert (code, "its sha256 is" in told, names(models)) == (1, True, [])
    tar = packed(below("2", files))
    registry.push("packed:2", [registry.blob(tar)])
    registry.blobs[digest_of(tar)] = packed(below("2", files | {"x": b"x"}))[: len(tar)]
    code, _, told = fetch(registry.address("packed:2"))
    assert (code, "what came has digest" in told, left_in_room(models)) == (1, True, [])


LONG = tarfile.TarInfo("x")
EVIL: dict[str, tuple[bytes, str]] = {
    "upwards": (packed({"../evil": b"x"}), "leads out of its folder"),
    "absolute": (packed({"/tmp/evil": b"x"}), "leads out of its folder"),  # noqa: S108
    "a link": (packed({}, entry("a", tarfile.SYMTYPE, "/etc")), "is no ordinary file"),
    "a hard link": (packed({}, entry("a", tarfile.LNKTYPE, "b")), "is no ordinary file"),
    "a device": (packed({}, entry("a", tarfile.CHRTYPE)), "is no ordinary file"),
    "a removal": (packed({"2/.wh.model.onnx": b""}), "takes away a file of a layer before"),
    "a file below a file": (packed({"a": b"x", "a/b": b"x"}), "is a file in one place and a folder in another"),
    "no tar": (b"hello" * 1000, "is no tar that can be read"),
    "a tar cut short": (packed({"a": b"x" * 5000})[:3000], "is no tar that can be read"),
    "a gzip cut short": (gzip.compress(packed({"a": bytes(range(256)) * 99}))[:200], "is no tar that can be read"),
    "zstd": (b"\x28\xb5\x2f\xfd" + b"x" * 100, "is packed with zstd"),
}


@pytest.mark.parametrize("kind", EVIL)
def test_a_tar_that_does_what_no_bundle_does_is_refused(
    fetch: Fetch, registry: Registry, models: Path, kind: str
) -> None:
    content, message = EVIL[kind]
    registry.push("evil:1", [registry.blob(content)])
    code, _, told = fetch(registry.address("evil:1"))
    assert (code, message in told) == (1, True), told
    assert "Traceback" not in told
    assert left_in_room(models) == []
    assert not (models.parent / "evil").exists()


def test_a_tar_is_never_unpacked_beyond_the_room_on_the_disk(
    fetch: Fetch, registry: Registry, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("delivery.unpack.shutil.disk_usage", lambda _: type("", (), {"free": 17 * 2**20})())
    bomb = gzip.compress(packed({"2/zeros": bytes(2 * 2**20)}))
    assert len(bomb) < 10_000
    registry.push("bomb:1", [registry.blob(bomb)])
    assert "unpacks to more than is free on the disk" in fetch(registry.address("bomb:1"))[2]


def test_a_name_without_end_is_refused_before_it_is_read(fetch: Fetch, registry: Registry) -> None:
    head = tarfile.TarInfo("x")
    head.type, head.size = tarfile.XHDTYPE, MAX_HEADER_BYTES + 1
    registry.push("x:1", [registry.blob(head.tobuf() + bytes(MAX_HEADER_BYTES + 1024))])
    assert f"a header of {MAX_HEADER_BYTES + 1} bytes" in fetch(registry.address("x:1"))[2]


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        ({"schemaVersion": 1, "fsLayers": []}, "is no manifest with layers of schema version 2"),
        ([], "its manifest cannot be read"),
        ({"schemaVersion": 2, "layers": [{"mediaType": "x", "digest": "md5:1", "size": 1}]}, "expected is sha256"),
        ({"schemaVersion": 2, "manifests": []}, "is an index of 0 manifests, none for"),
    ],
)
def test_a_manifest_of_another_form_is_refused(fetch: Fetch, registry: Registry, manifest: Any, message: str) -> None:
    registry.keep("x:1", manifest)
    code, _, told = fetch(registry.address("x:1"))
    assert (code, message in told) == (1, True), told


def test_a_title_that_leads_elsewhere_is_refused(fetch: Fetch, registry: Registry) -> None:
    registry.push_files("x:1", {"../../evil": b"x"})
    assert "the layer titled '../../evil' leads out of its folder" in fetch(registry.address("x:1"))[2]

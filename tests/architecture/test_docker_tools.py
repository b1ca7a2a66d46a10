"""The tools beside the Dockerfiles: the reader, the rehearsal without Docker, and the sizes."""

import re
import subprocess
import sys
import zipfile
from asyncio import StreamReader, StreamWriter
from pathlib import Path

import pytest
import sizes
from dockerfile import read
from rehearse import Rehearsal

from tests.loadtests.servers import answer, serving

ROOT = Path(__file__).parents[2]
TWO_STAGES = """\
ARG BASE=python:3.11
FROM ${BASE} AS made
WORKDIR /build
COPY LICENSE ./
# a comment
RUN mkdir /wheels \\
    && cp LICENSE /wheels/it \\
    # another one
    && python -c 'import sys; print(sys.prefix)' > /wheels/prefix
FROM ${BASE}
COPY --from=made /wheels/prefix /opt/prefix
RUN --mount=type=bind,from=made,source=/wheels,target=/mounted cp /mounted/it "/opt/copied"
ENV PATH=/opt/bin:$PATH TEXT='a b'
USER 1:1
"""


@pytest.fixture
def two_stages(tmp_path: Path) -> Path:
    path = tmp_path / "Dockerfile"
    path.write_text(TWO_STAGES, encoding="utf-8")
    return path


def test_stages_steps_and_variables_are_read(two_stages: Path) -> None:
    made, image = read(two_stages)
    assert (made.name, made.base, image.name, image.base) == ("made", "python:3.11", "", "python:3.11")
    assert "mkdir /wheels && cp LICENSE /wheels/it && python" in made.commands
    assert image.environment == {"PATH": "/opt/bin:$PATH", "TEXT": "a b"}
    assert image.other["USER"] == "1:1"


def test_an_instruction_that_is_not_known_is_refused(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM a\nONBUILD RUN x\n", encoding="utf-8")
    with pytest.raises(ValueError, match="ONBUILD"):
        read(tmp_path / "Dockerfile")


def test_steps_are_done_in_folders_instead_of_roots(two_stages: Path, tmp_path: Path) -> None:
    folder = tmp_path / "rehearsal"
    Rehearsal(folder).build(read(two_stages))
    licence = (ROOT / "LICENSE").read_bytes()
    assert (folder / "made/build/LICENSE").read_bytes() == licence
    assert (folder / "image/opt/copied").read_bytes() == licence
    assert (folder / "image/opt/prefix").read_text(encoding="utf-8").strip() == str(folder / "base")


def test_a_step_that_fails_ends_the_rehearsal(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM a\nRUN false\nRUN touch /opt\n", encoding="utf-8")
    with pytest.raises(subprocess.CalledProcessError):
        Rehearsal(tmp_path / "rehearsal").build(read(tmp_path / "Dockerfile"))
    assert not (tmp_path / "rehearsal/image/opt").exists()


def test_a_wheels_sizes_are_read_without_fetching_it(tmp_path: Path) -> None:
    path = tmp_path / "it-1-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("it/code.py", "pass\n" * 100)
        archive.writestr("it/library.so", bytes(3_000_000))
        archive.writestr("it/noise.bin", bytes(i * i % 251 for i in range(10_000)) * 200, zipfile.ZIP_STORED)
    content = path.read_bytes()
    sent = 0

    async def ranges(reader: StreamReader, writer: StreamWriter) -> None:
        nonlocal sent
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        asked = re.search(r"range: bytes=(\d+)-(\d+)", head, re.IGNORECASE)
        if head.startswith("HEAD"):
            writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {len(content)}\r\nConnection: close\r\n\r\n".encode())
        else:
            assert asked
            part = content[int(asked[1]) : int(asked[2]) + 1]
            sent += len(part)
            writer.write(answer(part, "206 Partial Content", "Connection: close"))
        await writer.drain()

    with serving(ranges) as port:
        found = sizes.wheel("it", f"http://127.0.0.1:{port}/it.whl")
    assert found.download_bytes == len(content) > 2_000_000
    assert found.unpacked_bytes == 2 * 500 + 3_000_000 + 2_000_000
    assert sent < len(content), "the whole wheel was fetched"


def test_the_page_of_sizes_has_every_image_with_what_it_installs() -> None:
    page = (ROOT / "docs/operations/images.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([\w, -]+)` \| `([\w,]+)` \| (\d+|-) \|", page, re.MULTILINE)
    assert [(name, extras) for name, extras, _ in rows] == [(one.name, one.extras) for one in sizes.IMAGES]
    for name, extras, _ in rows[:4]:
        text = (ROOT / f"docker/Dockerfile.{name}").read_text(encoding="utf-8")
        assert f".[{extras}]" in text or f"ARG EXTRAS={extras}\n" in text


def test_a_new_table_takes_the_place_of_the_old_one() -> None:
    page = f"before\n{sizes.BEGIN}\nold\n{sizes.END}\nafter\n"
    assert sizes.written(page, "new") == f"before\n{sizes.BEGIN}\n\nnew\n\n{sizes.END}\nafter\n"


def test_sizes_are_resolved_for_the_images_platform_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert sizes.main() == 1

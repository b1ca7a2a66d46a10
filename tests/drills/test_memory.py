"""Memory and the folders that stand in for it: a worker that the kernel ends, /dev/shm and /tmp that are full."""

import base64
import os
import shutil
import socket
import struct
import subprocess
import sys
import time
import zlib
from contextlib import suppress
from pathlib import Path

import cv2
import httpx
import numpy as np
import pytest

from tests.builders import png, write_fake_bundle
from tests.drills.asking import CLASSIFY, asking, figure, once, within
from tests.drills.conftest import Seen
from tests.drills.machine import memory_group, needs, needs_root
from tests.serving.running import ROOT, environment_with, running
from tests.serving.workers.test_workers import Crew

SOON_S = 30.0
MIB = 2**20


def bomb(side_px: int) -> bytes:
    """A PNG of a few hundred kilobytes at most whose head promises side x side pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", side_px, side_px, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes(MIB), 9) * 4
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.mark.drill
def test_what_would_need_too_much_memory_is_refused_before_it_has_any(models: Path, tmp_path: Path, seen: Seen) -> None:
    bombs = {
        "a picture of 2.5 gigapixels": (bomb(50_000), {}),
        "a body that unpacks to 1 GiB": (_packed(), {"content-encoding": "gzip"}),
        "a body that says it has 100 GB": (b"", {"content-length": str(10**11)}),
        "64 pictures of 49 megapixels": (_many(bomb(7000)), {"content-type": "application/json"}),
    }
    with running(models, tmp_path) as server:
        server.wait_for_status("/v2/health/ready", 200)
        assert server.client.post(CLASSIFY, content=png()).status_code == 200
        before, told = server.peak_memory_bytes(), []
        for what, (content, headers) in bombs.items():
            for _ in range(3):
                answer = _posted(server.url, content, headers)
                assert answer in (400, 413, 415), (what, answer)
            told.append(f"{what}: {answer}")
        grown = (server.peak_memory_bytes() - before) / MIB
        assert server.client.post(CLASSIFY, content=png()).status_code == 200
        assert server.client.get("/v2/health/ready").status_code == 200
        assert grown < 700, f"{grown:.0f} MiB more"
        seen(f"{'; '.join(told)}; the process grew by {grown:.0f} MiB at its peak")


def _packed() -> bytes:
    packer = zlib.compressobj(9, wbits=31)
    return b"".join(packer.compress(bytes(MIB)) for _ in range(1024)) + packer.flush()


def _many(picture: bytes) -> bytes:
    instance = b'{"b64":"' + base64.b64encode(picture) + b'"}'
    return b'{"instances":[' + b",".join([instance] * 64) + b"]}"


def _posted(url: str, content: bytes, headers: dict[str, str]) -> int:
    """The status, also where the body is not waited for."""
    if "content-length" not in headers:
        return httpx.post(url + CLASSIFY, content=content, headers=headers, trust_env=False, timeout=60).status_code
    host, _, port = url.rpartition("/")[2].partition(":")
    with socket.create_connection((host, int(port)), timeout=SOON_S) as plain:
        plain.sendall(
            f"POST {CLASSIFY} HTTP/1.1\r\nHost: x\r\nContent-Length: {headers['content-length']}\r\n\r\n".encode()
        )
        return int(plain.recv(100).split()[1])


@pytest.mark.drill
def test_a_worker_that_the_kernel_ends_for_its_memory_is_started_again(
    models: Path, tmp_path: Path, seen: Seen
) -> None:
    needs_root()
    with running(models, tmp_path, "--workers=2", "--threads=8") as server:
        server.wait_for_status("/v2/health/ready", 200)
        crew = Crew(server)
        doomed = crew.ids()[0]
        with memory_group(f"modelyard-drill-{os.getpid()}", 48 * MIB) as group:
            # Alone in a group whose limit is soon reached: what it takes from now on counts, and swap does not help.
            swap = group / "memory.memsw.limit_in_bytes"
            if swap.exists():
                swap.write_text(str(48 * MIB))
            (group / "cgroup.procs").write_text(str(doomed))
            with asking(server) as asked:
                large = png_of(6000)
                deadline = time.monotonic() + 60
                while doomed in crew.ids():
                    assert time.monotonic() < deadline, "the kernel did not end it"
                    with suppress(httpx.TransportError):  # the one that had it has gone
                        httpx.post(server.url + CLASSIFY, content=large, trust_env=False, timeout=20)
                took = within(SOON_S, lambda: _ready(server.url) and len(crew.ids()) == 2, "it to be replaced")
            assert "ended by itself with signal SIGKILL" in server.stderr()
            assert asked.statuses[200] > 0
            assert set(asked.statuses) <= {0, 200}
            assert asked.statuses[0] <= 2
            assert figure(server, "modelyard_requests_total") > 0
        seen(f"ended by the kernel; both workers ready {took:.1f} s later; another client meanwhile: {asked}")


def png_of(side_px: int) -> bytes:
    """A real picture of so many pixels, which is decoded: 3 bytes each."""
    return cv2.imencode(".png", np.zeros((side_px, side_px, 3), np.uint8))[1].tobytes()


def _ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/v2/health/ready", trust_env=False, timeout=2).status_code == 200
    except httpx.TransportError:
        return False


IN_OWN_SPACE = ("unshare", "--mount", "--propagation", "private", "sh", "-c")
"""A process that sees mounts of its own."""


@pytest.mark.drill
def test_workers_go_on_where_the_memory_they_share_is_full(models: Path, tmp_path: Path, seen: Seen) -> None:
    needs_root()
    prefix = (*IN_OWN_SPACE, 'mount -t tmpfs -o size=4m drill /dev/shm && exec "$0" "$@"')
    flags = ("--workers=2", "--poll-s=0.2")
    with running(models, tmp_path, *flags, prefix=prefix) as server:
        server.wait_for_status("/v2/health/ready", 200)
        crew = Crew(server)
        workers = crew.ids()
        memory = Path(f"/proc/{server.process.pid}/root/dev/shm")
        with pytest.raises(OSError, match="No space"):
            (memory / "ballast").write_bytes(bytes(8 * MIB))
        assert shutil.disk_usage(memory).free == 0
        with asking(server) as asked:
            time.sleep(3)
            for path in PATHS:  # figures that nobody has counted before
                for _ in range(NUM_EACH):
                    server.client.get(path)
            write_fake_bundle(models, "second", labels=("red", "green"))
            within(SOON_S, lambda: once(server, "/v2/models/second/ready").status_code == 200, "a new model")
            time.sleep(HANGS_S)  # a worker whose reports stay away would be not ready by now
            assert once(server, "/v2/health/ready").status_code == 200
        assert crew.ids() == workers, server.stderr()
        counted = figure(server, "modelyard_requests_total")
        assert counted >= NUM_EACH * len(PATHS)
        (memory / "ballast").unlink()
        assert "Traceback" not in server.stderr()
        seen(f"{asked}; the same two workers, ready throughout, {counted:.0f} requests counted")


NUM_EACH = 25
PATHS = ("/v1/models", "/v2", "/v2/models/none", "/openapi.json", "/nowhere", "/v2/models/fake/ready")
HANGS_S = 8.0
"""Longer than the five seconds after which a silent worker makes the service not ready."""


@pytest.mark.drill
def test_a_start_without_room_for_what_workers_share_is_told(models: Path, seen: Seen) -> None:
    needs_root()
    fill = "mount -t tmpfs -o size=64k drill /dev/shm && (cat /dev/zero > /dev/shm/ballast || true) 2> /dev/null"
    command = [*IN_OWN_SPACE, f'{fill}; exec "$0" "$@"', sys.executable, "-m", "serving", str(models)]
    done = subprocess.run(
        [*command, "--workers=2", "--port=0"],
        capture_output=True, text=True, check=False, timeout=SOON_S, cwd=ROOT, env=environment_with({}),
    )  # fmt: skip
    assert done.returncode == 1
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr
    seen(f"exit code 1: {next(line for line in done.stderr.splitlines() if 'No space' in line)}")


@pytest.mark.drill
@pytest.mark.parametrize("workers", [1, 2])
def test_a_full_folder_for_temporary_files_is_not_missed(
    models: Path, tmp_path: Path, workers: int, seen: Seen
) -> None:
    needs_root()
    needs("unshare", "util-linux")
    small = tmp_path / "small"
    small.mkdir()
    fill = f"mount -t tmpfs -o size=16k drill {small} && (cat /dev/zero > {small}/ballast || true) 2> /dev/null"
    with running(
        models,
        tmp_path,
        f"--workers={workers}",
        prefix=(*IN_OWN_SPACE, f'{fill}; exec "$0" "$@"'),
        environment={"TMPDIR": str(small)},
    ) as server:
        server.wait_for_status("/v2/health/ready", 200)
        large = png_of(2500)
        files = {"file": ("large.png", large + bytes(3 * MIB), "image/png")}  # more than is kept in memory elsewhere
        answer = httpx.post(server.url + CLASSIFY, files=files, trust_env=False, timeout=SOON_S)
        assert answer.status_code == 200, answer.text
        assert "ERROR" not in server.stderr()
        seen(f"{workers} processes: an upload of {len(large) / MIB + 3:.0f} MiB is answered 200, no error in the log")

"""Mounted secrets that are garbage, cut short, empty or gone: what was good stays in force, and the log says so."""

from pathlib import Path

import pytest

from serving.security.keys import make_key
from tests.builders import png
from tests.drills.asking import CLASSIFY, within
from tests.drills.conftest import Seen
from tests.serving.running import Server, run_to_the_end, running

SOON_S = 10.0
BROKEN = {
    "garbage": b"\x00\xff\x17 garbage \x80",
    "empty": b"",
    "cut short": b"alice:0123456789abcdef",
    "missing": None,
    "far too large": b"#" * (2**20 + 1),
}


def put(file: Path, content: bytes | None) -> None:
    """Make a file this, or nothing."""
    if content is None:
        file.unlink()
    else:
        file.write_bytes(content)


def status(server: Server, key: str) -> int:
    return server.client.post(CLASSIFY, content=png(), headers={"x-api-key": key}).status_code


def test_keys_that_break_while_it_runs_leave_the_old_ones_in_force(models: Path, tmp_path: Path, seen: Seen) -> None:
    keys, alice, bob = tmp_path / "keys.txt", make_key("alice"), make_key("bob")
    keys.write_text(alice.line + "\n")
    with running(models, tmp_path, f"--api-keys-file={keys}") as server:
        server.wait_for_status("/v2/health/ready", 200)
        for number, content in enumerate(BROKEN.values(), 1):
            put(keys, content)
            within(
                SOON_S,
                lambda number=number: (
                    status(server, alice.key) == 200 and server.stderr().count("from before stay in force") >= number
                ),
                "it to be told",
            )
            assert status(server, alice.key) == 200
            assert status(server, bob.key) == 401
            assert server.client.post(CLASSIFY, content=png()).status_code == 401
            assert server.client.get("/v2/health/ready").status_code == 200
        keys.write_text(bob.line + "\n")
        took = within(SOON_S, lambda: status(server, bob.key) == 200, "the good file to be read")
        assert status(server, alice.key) == 401
        assert alice.key not in server.stderr()
        seen(f"{', '.join(BROKEN)}: the old key 200, others 401; a good file is in force {took:.1f} s later")


@pytest.mark.parametrize(
    "what", ["empty", *(pytest.param(what, marks=pytest.mark.drill) for what in ("cut short", "missing"))]
)
def test_keys_that_are_broken_at_the_start_are_a_reason_not_to_start(
    models: Path, tmp_path: Path, what: str, seen: Seen
) -> None:
    keys = tmp_path / "keys.txt"
    keys.touch()
    put(keys, BROKEN[what])
    done = run_to_the_end(str(models), "--port=0", f"--api-keys-file={keys}")
    assert done.returncode == 1
    assert str(keys) in done.stderr
    assert "Traceback" not in done.stderr
    assert "listening" not in done.stderr
    seen(f"{what}: exit code 1: {done.stderr.strip().splitlines()[-1].replace(str(tmp_path), '')}")

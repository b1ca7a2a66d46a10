"""The clock jumps: nothing that waits, expires or is compared goes by the time of day."""

import json
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from serving.security.keys import make_key
from tests.builders import png, write_fake_bundle
from tests.drills.asking import CLASSIFY, asking, figure, within
from tests.drills.conftest import Seen
from tests.drills.machine import clock
from tests.serving.running import running

DAY_S = 86_400


def seconds_off(line: str) -> float:
    """How far the time of a JSON line of the log is from this process's clock."""
    told = datetime.fromisoformat(json.loads(line)["time"])
    return (told - datetime.now(UTC)).total_seconds()


@pytest.mark.drill
@pytest.mark.parametrize(("jump", "days"), [("+2d", 2), ("-400d", -400)])
def test_a_clock_that_jumps_changes_times_and_nothing_else(
    models: Path, tmp_path: Path, jump: str, days: int, seen: Seen
) -> None:
    file, environment = clock(tmp_path)
    keys, first, second = tmp_path / "keys.txt", make_key("a"), make_key("b")
    keys.write_text(first.line + "\n")
    flags = (
        *("--log-format=json", "--poll-s=0.2", "--golden-every-s=0.3", "--golden-limit-s=1"),
        f"--api-keys-file={keys}",
    )
    headers = {"x-api-key": first.key, "x-request-timeout-ms": "5000"}
    with running(models, tmp_path, *flags, environment=environment) as server:
        server.wait_for_status("/v2/health/ready", 200)
        with asking(server, headers=headers) as asked:
            time.sleep(1)
            lines = server.stderr().count("\n")
            file.write_text(f"{jump}\n")
            time.sleep(3)
            keys.write_text(f"{first.line}\n{second.line}\n")
            with_second = {"x-api-key": second.key}
            took = within(
                10, lambda: server.client.post(CLASSIFY, content=png(), headers=with_second).status_code == 200, "keys"
            )
            write_fake_bundle(models, labels=("red", "green"))
            loaded = within(20, lambda: "version 2 is ready" in server.stderr(), "a version published after the jump")
        assert asked.statuses.keys() == {200}
        assert server.client.get("/v2/health/ready").status_code == 200
        assert figure(server, "modelyard_golden_failures_total") == 0
        assert figure(server, "modelyard_deadline_drops_total") == 0
        assert figure(server, "modelyard_request_seconds_sum") < 60  # no duration holds the jump
        after = server.stderr().splitlines()[lines:]
        assert after
        assert all(abs(seconds_off(line) - days * DAY_S) < DAY_S / 2 for line in after)
        seen(f"{jump}: {asked}; keys read again after {took:.1f} s, version 2 after {loaded:.1f} s, no golden failure")

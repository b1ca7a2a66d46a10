"""Who may write: one job at a time, on a disk by the system's lock, in a store by a lease."""

import time
from pathlib import Path

import msgspec
import pytest

from bundle.errors import OutputTaken
from scoring.claim import FILE, Check, Lease, Times, claim
from scoring.store import Place, place, put
from tests.scoring.s3 import Store

QUICK = Times(lease=4.0, renew=0.4, settle=0.1)


@pytest.fixture
def output(s3: Store) -> Place:
    return place(f"s3://{s3.make_bucket()}/out{s3.query}")


def lease_of(output: Place, until: float, token: str = "another") -> None:  # noqa: S107 - no secret
    put(output, FILE, msgspec.json.encode(Lease("process 1 on elsewhere", token, until)))


def renewal_noticed(check: Check) -> bool:
    try:
        check()
    except OutputTaken:
        return True
    return False


def test_a_folder_is_held_while_the_body_runs(tmp_path: Path) -> None:
    output = place(str(tmp_path / "out"))
    with claim(output) as check:
        check()
        with pytest.raises(OutputTaken, match=r"process .* is writing there"), claim(output):
            pass
    with claim(output):
        pass


def test_a_store_is_held_by_a_lease_that_is_renewed_and_given_back(output: Place) -> None:
    with claim(output, QUICK) as check:
        first = msgspec.json.decode(output.files.open_input_stream(output.below(FILE).path).read(), type=Lease)
        with pytest.raises(OutputTaken, match=r"process .* on .* is writing there; choose another output"):
            claim(output, QUICK).__enter__()
        check()
        assert (
            msgspec.json.decode(output.files.open_input_stream(output.below(FILE).path).read(), type=Lease).until
            > first.until
        )
    assert not output.below(FILE).exists()
    start = time.monotonic()
    with claim(output, QUICK):
        assert time.monotonic() - start < 1


def test_the_lease_of_a_job_that_died_runs_out(output: Place) -> None:
    lease_of(output, time.time() + 1.0)
    start = time.monotonic()
    with claim(output, QUICK):
        assert 0.9 < time.monotonic() - start < 10
    lease_of(output, time.time() - 1)
    start = time.monotonic()
    with claim(output, QUICK):
        assert time.monotonic() - start < 1


def test_a_clock_far_ahead_holds_nobody_for_longer_than_a_lease(output: Place) -> None:
    lease_of(output, time.time() + 1e6)
    with claim(output, QUICK) as check:
        check()


def test_a_job_that_finds_anothers_lease_in_place_of_its_own_stops_and_leaves_it(output: Place) -> None:
    with claim(output, QUICK) as check:
        lease_of(output, time.time() + 60)
        deadline = time.monotonic() + 10
        while not renewal_noticed(check) and time.monotonic() < deadline:
            time.sleep(0.05)
        with pytest.raises(OutputTaken, match="elsewhere writes there, too"):
            check()
    assert output.below(FILE).exists()


def test_of_two_that_begin_at_once_one_is_refused(output: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    sleep = time.sleep

    def meanwhile(seconds: float) -> None:
        if seconds == QUICK.settle:
            lease_of(output, time.time() + 60)
        sleep(seconds)

    monkeypatch.setattr("scoring.claim.time.sleep", meanwhile)
    with pytest.raises(OutputTaken, match="elsewhere writes there, too"):
        claim(output, QUICK).__enter__()

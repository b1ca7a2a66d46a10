"""Two real processes that share their figures, as the workers of `--workers 2` do."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.multiprocess import mark_process_dead

from tests.serving.figures import samples_of
from tests.serving.running import PATIENCE_S, POLL_S, ROOT, environment_with

Samples = dict[str, dict[tuple[str, ...], float]]


class Worker:
    """One process that counts."""

    def __init__(self, folder: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", "-m", "tests.serving.counting"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=environment_with({"PROMETHEUS_MULTIPROC_DIR": str(folder)}),
        )

    def do(self, order: str) -> Any:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(order + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def shown(self) -> Samples:
        return samples_of(self.do("show"))

    def end(self) -> int:
        if self.process.stdin and not self.process.stdin.closed:
            self.process.stdin.close()
        code = self.process.wait(PATIENCE_S)
        if self.process.stdout:
            self.process.stdout.close()
        return code


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[tuple[Worker, Worker]]:
    pair = Worker(tmp_path), Worker(tmp_path)
    yield pair
    for worker in pair:
        worker.end()


def wait_until(worker: Worker, holds: Callable[[Samples], bool]) -> Samples:
    """What a worker shows, once the other has pushed: it does so within 100 ms."""
    deadline = time.monotonic() + PATIENCE_S
    while not holds(found := worker.shown()):
        assert time.monotonic() < deadline, found
        time.sleep(POLL_S)
    return found


def test_whichever_process_is_scraped_shows_the_sum_of_all(workers: tuple[Worker, Worker]) -> None:
    one, other = workers
    for _ in range(3):
        one.do("answer 2")
    other.do("answer 5")
    for worker in workers:
        found = wait_until(worker, lambda found: found.get("modelyard_instances_total") == {("m",): 11})
        assert found["modelyard_requests_total"] == {("200", "/v1/classify"): 4}
        assert found["modelyard_request_seconds_count"] == {("/v1/classify",): 4}
        assert found["modelyard_phase_seconds_count"] == {("m", "queue"): 4, ("m", "compute"): 4}
        assert found["modelyard_phase_seconds_bucket"]["0.0025", "m", "compute"] == 4
        assert found["modelyard_batch_rows_sum"] == {("m",): 11}


def test_statistics_of_the_protocol_are_of_all_processes(workers: tuple[Worker, Worker]) -> None:
    one, other = workers
    one.do("answer 2")
    other.do("answer 5")
    wait_until(one, lambda found: found.get("modelyard_instances_total") == {("m",): 7})
    (found,) = one.do("statistics")
    assert (found["inference_count"], found["execution_count"]) == (7, 2)
    assert found["inference_stats"]["success"] == {"count": 2, "ns": 8_000_000}
    assert [batch["batch_size"] for batch in found["batch_stats"]] == [2, 5]
    assert abs(found["last_inference"] / 1000 - time.time()) < PATIENCE_S


def test_queues_add_up_and_a_version_is_ready_where_all_have_it(workers: tuple[Worker, Worker]) -> None:
    one, other = workers
    one.do("hold 2")
    other.do("hold 3")
    one.do("ready yes")
    other.do("ready no")
    wait_until(one, lambda found: found.get("modelyard_queue_depth") == {("m",): 5})
    assert one.shown()["modelyard_model_ready"] == {("m", "1"): 0}
    other.do("ready yes")
    assert one.shown()["modelyard_model_ready"] == {("m", "1"): 1}


def test_of_a_process_that_died_counts_stay_and_gauges_go(workers: tuple[Worker, Worker], tmp_path: Path) -> None:
    one, other = workers
    one.do("answer 2")
    other.do("answer 5")
    other.do("hold 3")
    wait_until(one, lambda found: found.get("modelyard_queue_depth") == {("m",): 3})
    other.process.kill()
    other.process.wait()
    mark_process_dead(other.process.pid, str(tmp_path))
    found = one.shown()
    assert found["modelyard_instances_total"] == {("m",): 7}
    assert found["modelyard_queue_depth"] == {("m",): 0}


def test_a_process_that_ends_in_order_loses_no_count(workers: tuple[Worker, Worker]) -> None:
    one, other = workers
    other.do("answer 5")
    assert other.end() == 0
    assert one.shown()["modelyard_instances_total"] == {("m",): 5}


def test_a_version_that_is_gone_shows_as_not_ready(workers: tuple[Worker, Worker]) -> None:
    """prometheus_client cannot take series out of shared files."""
    one, _ = workers
    one.do("ready yes")
    one.do("forget 1")
    assert one.shown()["modelyard_model_ready"] == {("m", "1"): 0}


def test_a_fallback_shows_as_long_as_any_process_is_in_one(workers: tuple[Worker, Worker]) -> None:
    one, other = workers
    for worker in workers:
        worker.do("runs fp32")
    assert one.shown()["modelyard_engine_fallback"] == {("m", "1"): 1}
    assert one.shown()["modelyard_model_info"] == {("fp32", "gpu", "m", "p", "r", "1"): 1}
    one.do("runs fp16")
    assert one.shown()["modelyard_engine_fallback"] == {("m", "1"): 1}
    other.do("runs fp16")
    assert one.shown()["modelyard_engine_fallback"] == {("m", "1"): 0}
    info = {artefact: figure for (artefact, *_), figure in one.shown()["modelyard_model_info"].items()}
    assert info == {"fp32": 0, "fp16": 1}
    for worker in workers:
        worker.do("forget 1")
    assert set(one.shown()["modelyard_model_info"].values()) == {0}


def test_a_process_that_is_just_making_its_files_does_not_break_the_scrape(
    workers: tuple[Worker, Worker], tmp_path: Path
) -> None:
    one, _ = workers
    one.do("answer 2")
    (tmp_path / "counter_999999.db").touch()
    assert one.shown()["modelyard_instances_total"] == {("m",): 2}

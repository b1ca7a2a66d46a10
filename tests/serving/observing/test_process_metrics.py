"""What the processes of a service take, compared with what the system and a second library say of them."""

import os
import resource
import subprocess
import time
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, ProcessCollector

from bundle.store import Bundle
from loadtests.server import rss_bytes
from serving.observing.process_metrics import CPU, MAX_FILES, MEMORY, OPEN_FILES, PROCESS_FAMILIES, START
from serving.observing.process_metrics import process_figures as figures_of
from serving.workers.shared import Place
from tests.serving.figures import samples_of
from tests.serving.running import Server, running


def told() -> dict[str, float]:
    return {sample.name: sample.value for family in figures_of() for sample in family.samples}


def scraped(server: Server) -> dict[str, dict[tuple[str, ...], float]]:
    return samples_of(server.client.get("/metrics").text)


def test_a_process_alone_tells_what_prometheus_own_collector_tells() -> None:
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    own = told()
    assert own.keys() == PROCESS_FAMILIES.keys()
    assert own[START] == pytest.approx(registry.get_sample_value("process_start_time_seconds"), abs=1)
    assert own[MEMORY] == pytest.approx(registry.get_sample_value("process_resident_memory_bytes"), rel=0.1)
    assert own[OPEN_FILES] == pytest.approx(registry.get_sample_value("process_open_fds"), abs=3)
    assert own[MAX_FILES] == registry.get_sample_value("process_max_fds")
    assert own[MAX_FILES] == resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def test_processor_time_counts_and_keeps_what_an_ended_child_took() -> None:
    before = told()[CPU]
    subprocess.run(["sh", "-c", "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done"], check=True)
    assert told()[CPU] >= before + 0.05


def test_a_file_that_is_opened_is_seen(tmp_path: Path) -> None:
    before = told()[OPEN_FILES]
    opened = [(tmp_path / str(number)).open("w") for number in range(20)]
    try:
        assert told()[OPEN_FILES] >= before + 20
    finally:
        for one in opened:
            one.close()


def test_without_proc_there_are_none(tmp_path: Path) -> None:
    assert figures_of(tmp_path) == []


def test_a_supervisor_that_has_gone_leaves_the_figures_of_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    for name, value in Place("/nowhere", 0, 2, gone.pid).as_environment().items():
        monkeypatch.setenv(name, value)
    own = told()
    assert 0 < own[MEMORY] <= rss_bytes(os.getpid()) * 1.1
    assert own[START] <= time.time() + 1


def test_workers_are_added_up_whichever_answers(fake_bundle: Bundle, tmp_path: Path) -> None:
    with running(fake_bundle.folder.parents[1], tmp_path, "--workers", "2") as server:
        server.wait_until(lambda: scraped(server).get("modelyard_queue_limit") == {("fake",): 2 * 256}, "both queues")
        seen = [scraped(server) for _ in range(4)]
        pid = server.process.pid
        children = map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split())
        all_of_them = sum(map(rss_bytes, (pid, *children)))
    for one in seen:
        assert one[MEMORY][()] == pytest.approx(all_of_them, rel=0.2)
        assert one["modelyard_build_info"] == {("0.1.0",): 1}
    cpu = [one[CPU][()] for one in seen]
    assert cpu == sorted(cpu)

"""The number of processors is what the operating system really grants, not what the machine has."""

import os
from pathlib import Path

import pytest

from runtime.cpus import available_cpus

GRANTED = len(os.sched_getaffinity(0))


def version_2(folder: Path, content: str) -> Path:
    (folder / "cpu.max").write_text(f"{content}\n", encoding="ascii")
    return folder


def version_1(folder: Path, quota: str, period: str = "100000") -> Path:
    (folder / "cpu").mkdir()
    (folder / "cpu" / "cpu.cfs_quota_us").write_text(f"{quota}\n", encoding="ascii")
    (folder / "cpu" / "cpu.cfs_period_us").write_text(f"{period}\n", encoding="ascii")
    return folder


@pytest.mark.parametrize("quota", ["100000 100000", "20000 100000", "1 100000", "75000 50000"])
def test_less_than_two_whole_processors_count_as_one(tmp_path: Path, quota: str) -> None:
    assert available_cpus(version_2(tmp_path, quota)) == 1


@pytest.mark.parametrize("whole", [1, 2, 3])
def test_whole_processors_of_a_quota_are_counted(tmp_path: Path, whole: int) -> None:
    quota = whole * 100_000 + 50_000  # and a half, which is not counted
    assert available_cpus(version_2(tmp_path, f"{quota} 100000")) == min(whole, GRANTED)


def test_no_quota_leaves_the_affinity(tmp_path: Path) -> None:
    assert available_cpus(version_2(tmp_path, "max 100000")) == GRANTED


def test_a_quota_above_the_affinity_changes_nothing(tmp_path: Path) -> None:
    assert available_cpus(version_2(tmp_path, f"{(GRANTED + 5) * 100_000} 100000")) == GRANTED


@pytest.mark.parametrize(("quota", "cpus"), [("100000", 1), ("150000", 1), ("50000", 1), ("-1", GRANTED)])
def test_the_first_version_of_control_groups_is_read_too(tmp_path: Path, quota: str, cpus: int) -> None:
    assert available_cpus(version_1(tmp_path, quota)) == cpus


def test_another_period_is_reckoned_with(tmp_path: Path) -> None:
    assert available_cpus(version_1(tmp_path, "100000", period="50000")) == min(2, GRANTED)


@pytest.mark.parametrize("content", ["", "100000", "1 2 3"])
def test_an_unreadable_quota_counts_as_none(tmp_path: Path, content: str) -> None:
    assert available_cpus(version_2(tmp_path, content)) == GRANTED


def test_a_machine_without_control_groups_leaves_the_affinity(tmp_path: Path) -> None:
    assert available_cpus(tmp_path / "nowhere") == GRANTED


def test_this_machine_grants_at_least_one() -> None:
    assert 1 <= available_cpus() <= GRANTED

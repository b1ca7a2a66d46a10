"""What a soak must not overlook."""

from pathlib import Path
from typing import Any

import pytest

from bundle.store import Bundle, versions
from loadtests.soak import KEPT_VERSIONS, Options, Publisher, Seen, faults

OPTIONS = Options(Path("models"), reloaded=("tiny",))


def seen(**changes: Any) -> Seen:
    good: dict[str, Any] = {
        "rss_bytes": [50, 90, *[100] * 20],
        "answered": 1000,
        "codes": {200: 1000},
        "newest": {"tiny": 9},
        "answering": {"tiny": 9},
    }
    return Seen(capacity_per_second=100, rate_per_second=80, **good | changes)


def test_a_good_one_has_no_faults() -> None:
    assert faults(seen(), OPTIONS) == []


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"wrong": 1}, "1 wrong and 0 lost"),
        ({"lost": 2}, "0 wrong and 2 lost"),
        ({"codes": {200: 999, 503: 1}}, "other than 200"),
        ({"rss_bytes": [100] * 20 + [106] * 10}, "grew to 1.060"),
        ({"answering": {"tiny": 8}}, "versions of tiny were not taken up"),
        ({"answering": {}}, "versions of tiny were not taken up"),
    ],
)
def test_faults_are_named(changes: dict[str, Any], problem: str) -> None:
    (found,) = faults(seen(**changes), OPTIONS)
    assert problem in found


def test_what_memory_does_while_it_warms_up_is_no_leak() -> None:
    assert seen().rss_growth == 1.0


def test_new_versions_come_and_old_ones_go(fake_bundle: Bundle) -> None:
    repository = fake_bundle.folder.parent.parent
    with Publisher(repository, ["fake"], 0.01) as publisher:
        while publisher.count < KEPT_VERSIONS + 2:
            assert not publisher.stop.wait(0.01)
    found = versions(repository, "fake")
    assert found == list(range(publisher.count + 2 - KEPT_VERSIONS, publisher.count + 2))

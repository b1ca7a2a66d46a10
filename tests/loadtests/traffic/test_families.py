"""What is to be driven is said in one option, and what cannot be driven is told with the reason."""

import pytest

from loadtests.traffic.families import FAMILIES, TrafficError, chosen, parse_weights
from serving.endpoints import ENDPOINTS


def test_every_task_that_has_an_endpoint_has_a_family() -> None:
    assert set(ENDPOINTS) <= {family.task for family in FAMILIES.values()}


def test_weights_are_read() -> None:
    assert parse_weights("served") is None
    assert parse_weights("classify=3, grpc") == {"classify": 3, "grpc": 1}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("clasify", "'clasify' is no family; there are classify, segment"),
        ("grpc,grpc=2", "'grpc' is named twice"),
        ("grpc=0", "the weight of 'grpc' must be 1, 2, ..., not '0'"),
        ("grpc=", "must be 1, 2, ..., not ''"),
        ("grpc=-1", "not '-1'"),
        ("", "names none"),
    ],
)
def test_what_cannot_be_read_is_refused(text: str, said: str) -> None:
    with pytest.raises(TrafficError, match=said):
        parse_weights(text)


def test_what_is_served_is_driven_where_nothing_was_asked_for() -> None:
    assert chosen(None, ["oip"], {"grpc": "why"}) == {"oip": 1}


def test_what_was_asked_for_and_is_missing_is_told_with_the_reason() -> None:
    with pytest.raises(TrafficError, match=r"detect: no model of that task\. There are: classify, oip"):
        chosen({"classify": 1, "detect": 2}, ["classify", "oip"], {"detect": "no model of that task"})
    with pytest.raises(TrafficError, match="no family that could be driven: grpc: why"):
        chosen(None, [], {"grpc": "why"})

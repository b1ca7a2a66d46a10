"""Which pod gets a request: at random, in turn, the one with least on its hands, the better of two, or by connection.

A Service of Kubernetes picks at random, once a connection; a proxy in front picks for each request. Knows pods' load.
"""

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np

from loadtests.capacity.pod import Pod

Balance = Literal["random", "round-robin", "least", "two"]
Spread = Callable[[Sequence[Pod], int], int]
"""Pods, and the number of the request -> which of them."""


def at_random(requests: int, rng: np.random.Generator) -> Spread:
    """What kube-proxy does, a request a connection."""
    drawn = rng.random(requests).tolist()
    return lambda pods, request: int(drawn[request] * len(pods))


def in_turn(requests: int, rng: np.random.Generator) -> Spread:
    """Round robin of one proxy."""
    return lambda pods, request: request % len(pods)


def least(requests: int, rng: np.random.Generator) -> Spread:
    """The least requests in flight, as one proxy that sees all of them knows it; of equals the next in turn."""

    def pick(pods: Sequence[Pod], request: int) -> int:
        start, number = request % len(pods), len(pods)
        return min(range(start, start + number), key=lambda i: pods[i % number].in_flight) % number

    return pick


def better_of_two(requests: int, rng: np.random.Generator) -> Spread:
    """Two at random, and of these the one with less in flight: what proxies do that know only their own share."""
    first, second = rng.random(requests).tolist(), rng.random(requests).tolist()

    def pick(pods: Sequence[Pod], request: int) -> int:
        one, other = int(first[request] * len(pods)), int(second[request] * len(pods))
        return one if pods[one].in_flight <= pods[other].in_flight else other

    return pick


SPREADING: dict[Balance, Callable[[int, np.random.Generator], Spread]] = {
    "random": at_random,
    "round-robin": in_turn,
    "least": least,
    "two": better_of_two,
}

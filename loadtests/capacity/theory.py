"""What is known of queues without simulating: waiting times, Erlang's C, and how busy servers may be within a limit.

Times are in seconds and rates per second throughout. Servers share one queue. Knows formulas. Knows nothing of pods.
"""

import math

TAIL = 0.01
"""p99."""


def mean_wait_mm1(rate: float, service_s: float) -> float:
    """Poisson arrivals, exponential service, one server."""
    busy = _busy(rate * service_s, 1)
    return service_s * busy / (1 - busy)


def mean_wait_md1(rate: float, service_s: float) -> float:
    """Poisson arrivals, service of one length, one server: half of the above (Pollaczek and Khinchine)."""
    return mean_wait_mm1(rate, service_s) / 2


def erlang_c(servers: int, offered: float) -> float:
    """The share that waits at all, where `offered` servers' worth of work comes in (Poisson, exponential service)."""
    busy = _busy(offered, servers)
    blocked = 1.0  # Erlang's B, by its recursion: factorials would overflow
    for number in range(1, servers + 1):
        blocked = offered * blocked / (number + offered * blocked)
    return blocked / (1 - busy * (1 - blocked))


def mean_wait_mmc(rate: float, service_s: float, servers: int) -> float:
    """Poisson arrivals, exponential service, several servers."""
    return erlang_c(servers, rate * service_s) * service_s / (servers - rate * service_s)


def wait_exceeded(
    share: float, busy: float, service_s: float, servers: int = 1, arrivals: float = 1.0, service: float = 0.0
) -> float:
    """The wait that a share of requests exceed, as in heavy traffic (Kingman; Allen and Cunneen for several servers).

    A wait above 0 has the probability of Erlang's C and then falls off exponentially. `arrivals` and `service` are
    squared coefficients of variation: 1 for Poisson arrivals, 0 for service of one length.
    """
    waits = erlang_c(servers, busy * servers)
    if waits <= share:
        return 0.0
    mean_s = service_s * (arrivals + service) / 2 / (servers * (1 - busy))
    return mean_s * math.log(waits / share)


def busy_within(
    limit_s: float,
    alone_s: float,
    service_s: float,
    servers: int = 1,
    arrivals: float = 1.0,
    service: float = 0.0,
    share: float = TAIL,
) -> float:
    """How busy servers may be so that at most a share of requests takes longer than the limit; 0 where none may.

    `alone_s` is how long a request takes where nobody else is there, `service_s` how long it keeps a server busy.
    """
    if limit_s < alone_s:
        return 0.0
    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        if alone_s + wait_exceeded(share, middle, service_s, servers, arrivals, service) <= limit_s:
            low = middle
        else:
            high = middle
    return low


def _busy(offered: float, servers: int) -> float:
    if not 0 <= offered < servers:
        raise ValueError(f"{offered:g} servers' worth of work for {servers}: a queue grows without end; expected less")
    return offered / servers

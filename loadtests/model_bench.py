"""One model: the service, the referee, the empty server and the ceilings without HTTP, in turn on the same processors.

Knows contestants. Knows nothing of tables or targets.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from loadtests.ceilings import Layout, Pace, alone, by_hand, engine, measure, together
from loadtests.questions import Questions
from loadtests.rounds import Rounds
from loadtests.server import Server
from loadtests.under_load import Checked, drive_and_check
from loadtests.wrk import Figures, drive_hard

CEILING_S = 1.0
WARM_UP_S = 1.0
SERVICE, REFEREE, ECHO = "service", "referee", "echo"


@dataclass(frozen=True)
class Servers:
    """One of each, all idle but the one that is asked."""

    service: Server
    referee: Server
    echo: Server


@dataclass(frozen=True)
class LoadRow:
    """One number of connections."""

    connections: int
    service: Checked
    referee: Checked
    echo: Figures
    without_http: dict[str, Pace]
    """(b) by layout."""
    of_engine: float
    """The service's rate over (a)."""
    of_without_http: float
    """Over (b) in its best layout."""
    of_echo: float
    """Over (c)."""
    over_referee: float
    """Over (d)."""

    @property
    def best(self) -> Pace:
        """(b): of its layouts the fastest."""
        return max(self.without_http.values(), key=lambda pace: pace.per_second)


@dataclass(frozen=True)
class ModelRows:
    """All that was measured of one model."""

    name: str
    artefact: str
    body_bytes: int
    answer_bytes: int
    engine_alone: dict[str, Pace]
    """(a) by layout."""
    loads: tuple[LoadRow, ...]


def measure_model(
    asked: Questions, servers: Servers, cpus: int, connections: tuple[int, ...], seconds: float, rounds: int
) -> ModelRows:
    """Every number of connections, in rounds."""
    layouts = dict.fromkeys([*alone(cpus), *together(cpus)])
    bare = {str(layout): _pace(engine(asked.bundle.folder, asked.rows, layout), layout) for layout in layouts}
    seen = Rounds(bare, rounds)
    paces = {layout: seen.of(layout) for layout in bare}
    fastest = paces[seen.best(bare)].per_second
    loads = tuple(_load(asked, servers, cpus, number, seconds, rounds, fastest) for number in connections)
    manifest = asked.bundle.manifest
    return ModelRows(
        name=asked.name,
        artefact=manifest.default_artefact,
        body_bytes=sum(map(len, asked.bodies)) // len(asked.bodies),
        answer_bytes=len(asked.answer),
        engine_alone=paces,
        loads=loads,
    )


def _load(
    asked: Questions, servers: Servers, cpus: int, number: int, seconds: float, rounds: int, engine_per_second: float
) -> LoadRow:
    http = http_contestants(asked, servers, number, seconds)
    for name in http:
        drive_hard(_target(asked, servers, name), number, WARM_UP_S)
    layouts = alone(cpus) if number == 1 else together(cpus)
    work = {str(layout): _pace(by_hand(asked.bundle.folder, asked.bodies, layout), layout) for layout in layouts}
    seen: Rounds[Any] = Rounds({SERVICE: http.pop(SERVICE)} | work | http, rounds)
    service = seen.of(SERVICE)
    return LoadRow(
        connections=number,
        service=service,
        referee=seen.of(REFEREE),
        echo=seen.of(ECHO),
        without_http={layout: seen.of(layout) for layout in work},
        of_engine=service.per_second / engine_per_second,
        of_without_http=seen.ratio(SERVICE, seen.best(work)),
        of_echo=seen.ratio(SERVICE, ECHO),
        over_referee=seen.ratio(SERVICE, REFEREE),
    )


def http_contestants(asked: Questions, servers: Servers, number: int, seconds: float) -> dict[str, Callable[[], Any]]:
    """The three servers, each driven the same way."""
    return {
        SERVICE: partial(drive_and_check, asked.service(servers.service.port), asked.golden, number, seconds),
        REFEREE: partial(
            drive_and_check, asked.plain(servers.referee.port), asked.checked(f"/{asked.name}"), number, seconds
        ),
        ECHO: partial(drive_hard, asked.plain(servers.echo.port), number, seconds),
    }


def _target(asked: Questions, servers: Servers, name: str) -> Any:
    server = getattr(servers, name)
    return asked.service(server.port) if name == SERVICE else asked.plain(server.port)


def _pace(work: Callable[[int], Any], layout: Layout) -> Callable[[], Pace]:
    work(0)
    return partial(measure, work, layout, CEILING_S)

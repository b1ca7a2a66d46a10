"""Locust's users, one class a family: each asks its cases over and over, and tells Locust and the ledger what came.

Knows Locust. Knows nothing of what the cases are.
"""

import random
from typing import Any, ClassVar

from gevent.pool import Group
from locust import User, task

from loadtests.traffic.case import Case, outcome_of
from loadtests.traffic.ledger import Ended
from loadtests.traffic.pacing import Arrivals, now
from loadtests.traffic.traffic import Traffic

SHED = "SHED"
"""Locust's type of a refusal for load: a row of its own, no failure."""
JOIN_S = 90.0
ANY = "any"
"""In place of a family."""


class NotGood(Exception):
    """A request that failed, as Locust's table of failures shows it."""


class TrafficUser(User):
    """Asks one family."""

    abstract = True
    family: ClassVar[str] = ""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._traffic: Traffic = self.environment.traffic
        self._rng = random.Random()  # noqa: S311 - nothing secret
        # Whose family is not driven (a page chose others, once users were picked) asks what is, so the rate is kept.
        self._families = {self.family: 1} if self.family in self._traffic.weights else self._traffic.weights
        self._turn = self._rng.randrange(1000)
        self._under_way = Group()
        self._arrivals = Arrivals(self._traffic.pacing, self._traffic.rate_per_user, now(), self._rng)

    def on_stop(self) -> None:
        """Wait for answers to what was sent."""
        self._under_way.join(timeout=JOIN_S)

    def wait_time(self) -> float:
        """Seconds until the next request."""
        return self._arrivals.wait_s(now())

    @task
    def ask(self) -> None:
        """Send one if it is due; wait for its answer unless arrivals are open."""
        if self._arrivals.wait_s(now()) > 0:
            return  # the first one is due after a while, so that users do not march in step
        case, due = self._next_case(), self._arrivals.take(now())
        if self._arrivals.is_open:
            self._under_way.spawn(self._ask, case, due)
        else:
            self._ask(case, due)

    def _next_case(self) -> Case:
        (family,) = self._rng.choices(list(self._families), list(self._families.values()))
        forms = self._traffic.forms(family)
        self._turn += 1
        return self._rng.choice(forms[self._turn % len(forms)])

    def _ask(self, case: Case, due: float) -> None:
        sent = now()
        answer = self._traffic.asker.ask(case)
        came = now()
        outcome, why = outcome_of(case, answer)
        traffic = self._traffic
        traffic.ledger.note(
            Ended(case.name, case.route, answer.status, outcome, why, due, sent, came, traffic.access.timeout_ms)
        )
        self.environment.events.request.fire(
            request_type=SHED if outcome == "shed" else case.protocol,
            name=case.name,
            response_time=(came - due) * 1e3,
            response_length=len(answer.body),
            exception=None if outcome in ("good", "shed") else NotGood(f"{outcome}: {why}"),
            context={},
            start_time=sent,
        )


class ClassifyUser(TrafficUser):
    """Pictures to /v1/classify."""

    family = "classify"


class SegmentUser(TrafficUser):
    """Pictures to /v1/segment."""

    family = "segment"


class DetectUser(TrafficUser):
    """Pictures to /v1/detect."""

    family = "detect"


class AnomalyUser(TrafficUser):
    """Pictures to /v1/anomaly."""

    family = "anomaly"


class SeriesUser(TrafficUser):
    """Series to /v1/series/anomaly."""

    family = "series"


class TextClassifyUser(TrafficUser):
    """Texts to /v1/text/classify."""

    family = "text-classify"


class TextEmbedUser(TrafficUser):
    """Texts to /v1/text/embed."""

    family = "text-embed"


class OpenAiUser(TrafficUser):
    """Texts to /v1/embeddings, as OpenAI's clients send them."""

    family = "openai"


class OipUser(TrafficUser):
    """Tensors to /v2/models/.../infer."""

    family = "oip"


class GrpcUser(TrafficUser):
    """Tensors over gRPC."""

    family = "grpc"


class MixedUser(TrafficUser):
    """Every family, each as often as its weight says: in a closed loop, users of one family alone change the mix, since
    those who get quick answers ask more. Runs only where it is named."""

    family = ANY


USERS: dict[str, type[TrafficUser]] = {
    user.family: user
    for user in (
        ClassifyUser,
        SegmentUser,
        DetectUser,
        AnomalyUser,
        SeriesUser,
        TextClassifyUser,
        TextEmbedUser,
        OpenAiUser,
        OipUser,
        GrpcUser,
    )
}
"""By family."""

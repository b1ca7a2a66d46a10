"""results/capacity.json: what was measured of one pod, what was simulated with it, and on which machine.

Knows the form of the file. Knows nothing of how figures come about.
"""

from collections.abc import Sequence
from pathlib import Path

from pydantic import Field, ValidationError

from bundle.errors import RunError
from bundle.spec import Spec, problems

CAPACITY_FILE = Path("results/capacity.json")
BUSY = 0.5
"""Load of a machine above which others shared it while it was measured."""


class Step(Spec):
    """So many requests a second, whether or not they are answered (open loop, Poisson)."""

    asked_per_second: float = Field(gt=0)
    sent_per_second: float
    """What the load generator really sent."""
    answered_per_second: float
    p50_ms: float
    p99_ms: float
    """Of answers, from the moment at which a request was due."""
    shed: int
    failed: int
    """Neither answered nor shed: any other status, a wrong answer, or none."""
    requests: int
    mean_batch: float
    """Rows."""
    generator_busy: float
    """Share of its processor that the load generator used."""
    simulated_p50_ms: float | None = None
    simulated_p99_ms: float | None = None
    simulated_shed: float | None = None
    """Share of requests: the same step in the simulation, with this run's own service times."""

    @property
    def generator_was_full(self) -> bool:
        """Whether the load generator had no time: its processor was busy, or it sent fewer than chance explains."""
        chance = 1 + 4 / max(1, self.requests) ** 0.5  # four standard deviations of Poisson arrivals
        return self.generator_busy > GENERATOR_LIMIT or self.sent_per_second * chance < self.asked_per_second

    @property
    def shed_share(self) -> float:
        """Of all requests."""
        return self.shed / self.requests if self.requests else 0.0


class Model(Spec):
    """One model in one pod with one processor."""

    name: str
    task: str
    sent: str
    """What a request holds."""
    artefact: str
    limit_ms: float = Field(gt=0)
    """The p99 that it was held to."""
    alone_ms: float = Field(gt=0)
    """Median of one request at a time."""
    saturated_per_second: float = Field(gt=0)
    """Closed loop, as fast as answers come: `wrk`, or the Python client."""
    saturated_again_per_second: float = Field(gt=0)
    """The same after the steps: where it is another, the machine was, and the steps are not to be compared with it."""
    saturated_connections: int
    engine_per_second: float = Field(gt=0)
    """The engine alone on the same processor in the same run, on rows that are ready, one at a time."""
    here: bool
    """Runs on the event loop."""
    largest_batch: int
    """That the service forms."""
    max_queue: int
    batch_ms: dict[int, float]
    """Rows of a batch -> mean milliseconds, as the service computed it in this run."""
    memory_mib: float
    """Resident, after the steps; this model alone in the process."""
    ready_s: float
    """From the start of the process to ready; this model alone, files in the page cache."""
    steps: tuple[Step, ...] = Field(min_length=1)

    @property
    def in_order(self) -> list[Step]:
        """Steps, the lowest rate first."""
        return sorted(self.steps, key=lambda step: step.asked_per_second)

    @property
    def is_unsteady(self) -> bool:
        """Whether the machine changed while the model was measured."""
        ratio = self.saturated_again_per_second / self.saturated_per_second
        return not 1 / UNSTEADY <= ratio <= UNSTEADY

    def rate_within(self, limit_ms: float) -> float | None:
        """The highest rate with p99 within a limit and nothing shed, below every rate at which it was not so.

        Between the last step that held and the first that did not, p99 is taken to rise in a straight line, which is
        above the real one. None: not even the lowest step held.
        """
        best = None
        for step in self.in_order:
            if step.failed or step.shed or step.p99_ms > limit_ms:
                if best is None or step.failed or step.shed or step.p99_ms <= best.p99_ms:
                    break
                share = (limit_ms - best.p99_ms) / (step.p99_ms - best.p99_ms)
                return best.asked_per_second + share * (step.asked_per_second - best.asked_per_second)
            best = step
        return best.asked_per_second if best else None

    def generator_ended_first(self, limit_ms: float) -> bool:
        """Whether the load generator, and not the pod, set the highest rate: it was busy, or had no higher step."""
        rate = self.rate_within(limit_ms)
        if rate is None:
            return False
        upto = [step for step in self.in_order if step.asked_per_second <= rate]
        return rate == self.in_order[-1].asked_per_second or any(step.generator_was_full for step in upto)


UNSTEADY = 1.15
"""Between two measurements of the same rate, one over the other."""
GENERATOR_LIMIT = 0.9
"""Above this share of its processor a load generator measures itself."""


class Need(Spec):
    """One load pattern: pods by the formula, and the fewest that held the objective in the simulation."""

    pattern: str
    model: str
    balance: str
    per_second: float
    """The rate that was planned for."""
    limit_ms: float
    by_formula: int
    least: int
    worst_share: float
    """Of the pods by formula: the largest share of bad requests in any minute."""


class Growth(Spec):
    """An HPA while the load doubles."""

    model: str
    limit_ms: float
    way: str
    """Whose targets and least number of pods."""
    targets: dict[str, float]
    """What the HPA looks at (short names) -> averageValue."""
    minutes: float
    start_s: float
    min_replicas: int
    bad: float
    """Share of the requests, from the first growth to two minutes after the last, over the limit or unanswered."""
    shed: float
    """Share of them that was refused."""
    most_pods: int
    """The most that were ready at once."""


class Capacity(Spec):
    """Everything."""

    machine: str
    versions: dict[str, str]
    commit: str
    seconds: float
    """That measuring took."""
    load: float
    """Processes that wanted a processor before it began, over a minute: above 0.5 or so it was not alone."""
    cpus: int
    models: tuple[Model, ...]
    needs: tuple[Need, ...] = ()
    growths: tuple[Growth, ...] = ()

    def model(self, name: str) -> Model:
        """By its name.

        Raises:
            RunError: it was not measured.
        """
        for model in self.models:
            if model.name == name:
                return model
        there = ", ".join(one.name for one in self.models) or "none"
        raise RunError(f"no figures of a model '{name}'; measured are: {there}; `make capacity` measures")


def read_capacity(path: Path) -> Capacity:
    """Read the file.

    Raises:
        RunError: it is not there, cannot be read, or is not of this form.
    """
    try:
        return Capacity.model_validate_json(path.read_bytes())
    except OSError as cause:
        raise RunError(f"{path}: {cause.strerror}; `make capacity` writes it") from None
    except ValidationError as cause:
        raise RunError(f"{path}: not the figures of capacity: {problems(cause)}") from None


def write_capacity(path: Path, capacity: Capacity) -> None:
    """Write the file, making its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(capacity.model_dump_json(indent=1) + "\n", encoding="utf-8")


def names(models: Sequence[Model]) -> list[str]:
    """In their order."""
    return [model.name for model in models]

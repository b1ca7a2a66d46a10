"""What the simulation says to the very steps that a pod was measured at, with its own service times of the same run.

Knows measured figures and the simulation. Knows nothing of servers.
"""

from loadtests.capacity.arrivals import steady
from loadtests.capacity.cluster import ClusterSpec, simulate
from loadtests.capacity.figures import Model, Step
from loadtests.capacity.outcome import End
from loadtests.capacity.pod import PodSpec
from loadtests.capacity.service_times import ServiceTimes

REQUESTS = 20_000
"""Of each step; where it is an overload, fewer fit the measured length."""


def pod_of(model: Model) -> PodSpec:
    """The simulated pod: the batches of the run, and as much beside them as makes it as quick as it was at most."""
    sizes = {rows: ms for rows, ms in model.batch_ms.items() if rows <= model.largest_batch}
    times = ServiceTimes(sizes or model.batch_ms).to_reach(model.saturated_per_second, model.largest_batch)
    return PodSpec(times, model.largest_batch, max_queue=model.max_queue, here=model.here)


def with_predictions(model: Model) -> Model:
    """The model, each step with the simulation's figures beside it."""
    pod = pod_of(model)
    return model.model_copy(update={"steps": tuple(_predicted(pod, step) for step in model.steps)})


def _predicted(pod: PodSpec, step: Step) -> Step:
    is_overload = step.asked_per_second > pod.most_per_second
    requests = step.requests if is_overload else REQUESTS  # an overload is as bad as it is long
    seen = simulate(pod, ClusterSpec(1), steady(step.asked_per_second, requests / step.asked_per_second).moments(1))
    return step.model_copy(
        update={
            "simulated_p50_ms": round(seen.percentile_ms(0.5), 3),
            "simulated_p99_ms": round(seen.percentile_ms(0.99), 3),
            "simulated_shed": round(seen.share_of(End.SHED), 5),
        }
    )

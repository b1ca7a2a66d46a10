"""Figures of one pod, as they would be measured: made up, and telling apart what must not be mixed up."""

from typing import Any

from loadtests.capacity.figures import Capacity, Growth, Model, Need, Step


def step(rate: float, p50_ms: float, p99_ms: float, **more: Any) -> Step:
    given = {"shed": 0, "failed": 0, "requests": 1000, "mean_batch": 1.0, "generator_busy": 0.2} | more
    return Step(
        asked_per_second=rate, sent_per_second=rate, answered_per_second=rate, p50_ms=p50_ms, p99_ms=p99_ms, **given
    )


STEPS = (step(30, 11, 25), step(50, 14, 40), step(60, 16, 60), step(80, 25, 160), step(120, 400, 500, shed=100))


def model(name: str = "picture", **more: Any) -> Model:
    given = {
        "task": "image-classification", "sent": "image/jpeg, 50000 bytes", "artefact": "int8", "limit_ms": 60.0,
        "alone_ms": 11.0, "saturated_per_second": 100.0, "saturated_again_per_second": 101.0,
        "saturated_connections": 32,
        "engine_per_second": 110.0,
        "here": False, "largest_batch": 1, "max_queue": 25, "batch_ms": {1: 9.0}, "memory_mib": 200.0, "ready_s": 1.0,
        "steps": STEPS,
    }  # fmt: skip
    return Model(name=name, **(given | more))


def capacity(*models: Model) -> Capacity:
    return Capacity(
        machine="a machine, 2 cores",
        versions={"Python": "3.13"},
        commit="0123456789abcdef",
        seconds=300.0,
        load=0.2,
        cpus=2,
        models=models or (model(),),
        needs=(
            Need(pattern="steady", model="picture", balance="random", per_second=360.0, limit_ms=60, by_formula=6,
                 least=5, worst_share=0.004),
        ),
        growths=(
            Growth(model="picture", limit_ms=60, way="by the plan", targets={"in flight": 0.9}, minutes=5, start_s=30,
                   min_replicas=3, bad=0.02, shed=0.0, most_pods=8),
        ),
    )  # fmt: skip

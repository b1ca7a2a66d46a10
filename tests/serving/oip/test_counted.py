from prometheus_client import CollectorRegistry, Counter, Gauge

from serving.oip.counted import counted
from serving.oip.statistics import Counts, Duration, statistics

LABELS = ("model", "version")


def registry() -> CollectorRegistry:
    """What a service of one model has counted."""
    made = CollectorRegistry()

    def counter(name: str, *more: str) -> Counter:
        return Counter(f"modelyard_version_{name}", name, [*LABELS, *more], registry=made)

    counter("instances").labels("a", "2").inc(10)
    requests, seconds = counter("requests", "outcome"), counter("request_seconds", "outcome")
    for outcome, number, taken in (("success", 4, 0.5), ("failure", 1, 0.25)):
        requests.labels("a", "2", outcome).inc(number)
        seconds.labels("a", "2", outcome).inc(taken)
    phases, phase_seconds = counter("phases", "phase"), counter("phase_seconds", "phase")
    for phase in ("parse", "prepare", "queue", "compute", "decode", "encode"):
        phases.labels("a", "2", phase).inc(4)
        phase_seconds.labels("a", "2", phase).inc(0.125)
    batches, batch_seconds = counter("batches", "rows"), counter("batch_seconds", "rows")
    for rows, number, taken in (("1", 2, 0.5), ("4", 2, 1.5)):
        batches.labels("a", "2", rows).inc(number)
        batch_seconds.labels("a", "2", rows).inc(taken)
    newest = Gauge("modelyard_last_inference_timestamp_seconds", "newest", LABELS, registry=made)
    newest.labels("a", "2").set(1234.5)
    Counter("modelyard_other", "other", LABELS, registry=made).labels("b", "1").inc()
    return made


def test_what_the_service_has_counted_is_what_it_tells() -> None:
    assert counted(registry().collect()) == {
        ("a", 2): Counts(
            last_inference_ms=1_234_500,
            num_rows=10,
            num_batches=4,
            success=Duration(4, 500_000_000),
            fail=Duration(1, 250_000_000),
            queue=Duration(4, 125_000_000),
            prepare=Duration(4, 125_000_000),
            compute=Duration(4, 125_000_000),
            decode=Duration(4, 250_000_000),
            batches={1: Duration(2, 500_000_000), 4: Duration(2, 1_500_000_000)},
        )
    }


def test_statistics_have_every_figure_that_clients_ask_for_as_an_integer() -> None:
    (one,) = statistics([("a", 2, counted(registry().collect())["a", 2])])["model_stats"]
    assert (one["name"], one["version"]) == ("a", "2")
    assert one["inference_count"] / one["execution_count"] == 2.5
    assert set(one["inference_stats"]) == {
        "success", "fail", "queue", "compute_input", "compute_infer", "compute_output", "cache_hit", "cache_miss",
    }  # fmt: skip
    for duration in one["inference_stats"].values():
        assert {name: type(value) for name, value in duration.items()} == {"count": int, "ns": int}
    assert [batch["batch_size"] for batch in one["batch_stats"]] == [1, 4]

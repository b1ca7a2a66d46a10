"""gRPC calls in the queue: deadlines, clients that go, a full queue, and the end of the process."""

import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from serving.oip.messages import INFERENCE, MESSAGES
from tests.builders import write_fake_bundle
from tests.serving.oip.grpc_calls import Caller, asking, calling, grpc_address, pixels, wait_until
from tests.serving.running import PATIENCE_S, Server

ON_LANES = "--here-ms=0"
BATCH = 4


@pytest.fixture(scope="module")
def patient_repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """'patient' waits for four rows, 10 s at most; 'full' holds one input, and 'slow' waits half a second."""
    folder = tmp_path_factory.mktemp("models")
    for name, settings in {
        "patient": "max_queue_delay_ms = 10000",
        "full": "max_queue_delay_ms = 10000\nmax_queue = 1",
        "slow": "max_queue_delay_ms = 500",
        "fake": "",
    }.items():
        write_fake_bundle(folder, name)
        (folder / name / "serving.toml").write_text(settings, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def both(patient_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Caller]]:
    with calling(patient_repository, tmp_path_factory.mktemp("server"), ON_LANES) as both:
        yield both


def figure(server: Server, name: str, model: str) -> float:
    text = server.client.get("/metrics").text
    return sum(float(value) for value in re.findall(rf'^{name}{{model="{model}"}} (\S+)$', text, re.MULTILINE))


def test_the_timeout_of_a_request_ends_its_wait(both: tuple[Server, Caller]) -> None:
    server, call = both
    message = asking(model="patient")
    message.parameters["timeout"].int64_param = 50_000
    drops = figure(server, "modelyard_deadline_drops_total", "patient")
    with pytest.raises(grpc.RpcError) as caught:
        call.infer(message)
    assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert "the 50 ms that the request may take were over before it was computed" in caught.value.details()
    assert figure(server, "modelyard_deadline_drops_total", "patient") == drops + 1


def test_a_calls_own_deadline_holds_in_the_queue(both: tuple[Server, Caller]) -> None:
    server, call = both

    def dropped() -> float:
        late = figure(server, "modelyard_deadline_drops_total", "patient")
        return late + figure(server, "modelyard_client_gone_drops_total", "patient")

    before = dropped()
    late = infer_later(call, "patient", timeout=2.0)  # long enough to be queued, however busy the machine is
    wait_until(lambda: figure(server, "modelyard_queue_depth", "patient") == 1, "the call to be queued")
    assert late.exception(PATIENCE_S).code() == grpc.StatusCode.DEADLINE_EXCEEDED
    wait_until(lambda: dropped() == before + 1, "the late call to be dropped")


def test_a_call_that_is_given_up_is_not_computed(both: tuple[Server, Caller]) -> None:
    server, call = both
    drops = figure(server, "modelyard_client_gone_drops_total", "patient")
    future = infer_later(call, "patient")
    wait_until(lambda: figure(server, "modelyard_queue_depth", "patient") == 1, "the call to be queued")
    future.cancel()
    call.infer(asking(pixels(rows=BATCH - 1), "patient"))  # with the one that was given up, a batch
    wait_until(
        lambda: figure(server, "modelyard_client_gone_drops_total", "patient") == drops + 1, "the call to be dropped"
    )


def test_a_full_queue_refuses_with_unavailable_and_when_to_come_again(both: tuple[Server, Caller]) -> None:
    server, call = both
    waiting = infer_later(call, "full")
    wait_until(lambda: figure(server, "modelyard_queue_depth", "full") == 1, "the call to be queued")
    with pytest.raises(grpc.RpcError) as caught:
        call.infer(asking(model="full"))
    assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
    assert re.search(r"the wait would be about \d+\.\d\d s", caught.value.details())
    trailing = dict(caught.value.trailing_metadata())
    assert int(trailing["retry-after"]) >= 1
    assert trailing["code"] == "overloaded"
    waiting.cancel()


def test_a_full_queue_of_one_model_is_nothing_to_another(both: tuple[Server, Caller]) -> None:
    _, call = both
    waiting = infer_later(call, "full")
    assert call.infer(asking(model="fake")).model_name == "fake"
    waiting.cancel()


def test_the_end_answers_what_has_come(patient_repository: Path, tmp_path: Path) -> None:
    with calling(patient_repository, tmp_path, ON_LANES) as (server, call):
        watch = call.watch()
        assert next(watch).status == 1
        future = infer_later(call, "slow")
        wait_until(lambda: figure(server, "modelyard_queue_depth", "slow") == 1, "the call to be queued")
        server.terminate()
        assert [one.status for one in watch] == [2]  # not serving any more, and then the watch ends
        assert future.result(PATIENCE_S).model_name == "slow"
        assert server.process.wait(PATIENCE_S) == 0


def test_the_end_waits_for_no_stream_that_has_nothing_to_say(patient_repository: Path, tmp_path: Path) -> None:
    with calling(patient_repository, tmp_path, ON_LANES) as (server, call):
        over = threading.Event()

        def one_and_then_silence() -> Iterator[object]:
            yield asking(id="one")
            over.wait(PATIENCE_S)

        stream = call.stream(one_and_then_silence())
        assert next(stream).infer_response.id == "one"
        server.terminate()
        assert list(stream) == []
        over.set()
        assert server.process.wait(PATIENCE_S) == 0


def test_the_end_under_load_drops_nothing_that_was_sent(patient_repository: Path, tmp_path: Path) -> None:
    """Every call of every client is answered, or was refused because nobody listens any more."""
    with calling(patient_repository, tmp_path) as (server, _):
        address = grpc_address(server)
        answered = [0] * 4
        codes: list[tuple[grpc.StatusCode, str]] = []

        def client(number: int) -> None:
            caller = Caller(address)
            while True:
                try:
                    caller.infer(asking())
                except grpc.RpcError as error:
                    codes.append((error.code(), error.details()))
                    return
                answered[number] += 1

        with ThreadPoolExecutor(4) as threads:
            clients = [threads.submit(client, number) for number in range(4)]
            wait_until(lambda: min(answered) > 20, "load")
            server.terminate()
            for one in clients:
                one.result(PATIENCE_S)
        assert {code for code, _ in codes} == {grpc.StatusCode.UNAVAILABLE}, codes
        assert server.process.wait(PATIENCE_S) == 0


def infer_later(call: Caller, model: str, timeout: float = PATIENCE_S) -> grpc.Future:
    message = asking(model=model)
    stub = call.channel.unary_unary(
        f"/{INFERENCE}/ModelInfer", type(message).SerializeToString, MESSAGES["ModelInferResponse"].FromString
    )
    return stub.future(message, timeout=timeout)

"""The gRPC service of a real process: the same answers, errors and figures as over HTTP."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
from google.protobuf.json_format import ParseDict

from bundle.tensors import unstack
from runtime.predictor import Predictor
from serving.oip.messages import INFERENCE, MESSAGES
from tests.builders import png
from tests.serving.oip.grpc_calls import MAX_MESSAGE_BYTES, Caller, asking, asking_encoded, calling, pixels, scores
from tests.serving.running import MAX_INSTANCES, SMALL_LIMITS, Server


@pytest.fixture(scope="module")
def both(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Caller]]:
    with calling(repository, tmp_path_factory.mktemp("server"), *SMALL_LIMITS) as both:
        yield both


@pytest.fixture
def server(both: tuple[Server, Caller]) -> Server:
    return both[0]


@pytest.fixture
def call(both: tuple[Server, Caller]) -> Iterator[Caller]:
    yield both[1]
    assert both[1].infer(asking()).model_name == "fake", "the same process must go on answering"


def refused(call: Caller, message: Any, **options: Any) -> grpc.Call:
    with pytest.raises(grpc.RpcError) as caught:
        call.infer(message, **options)
    return caught.value


def expected(predictor: Predictor, array: Any) -> Any:
    return np.stack([row["scores"] for row in predictor.run(unstack({"image": array}))])


def test_live_ready_and_metadata_say_what_rest_says(server: Server, call: Caller) -> None:
    assert call("ServerLive").live
    assert call("ServerReady").ready
    assert call("ModelReady", name="fake").ready
    assert call("ModelReady", name="fake", version="1").ready
    assert not call("ModelReady", name="nobody").ready
    assert not call("ModelReady", name="fake", version="2").ready
    for path, method, fields in (
        ("/v2", "ServerMetadata", {}),
        ("/v2/models/fake", "ModelMetadata", {"name": "fake"}),
        ("/v2/models/fake", "ModelMetadata", {"name": "fake", "version": "1"}),
    ):
        document = server.client.get(path).json()
        assert call(method, **fields) == ParseDict(document, MESSAGES[f"{method}Response"]())


def test_the_configuration_is_rests(server: Server, call: Caller) -> None:
    document = server.client.get("/v2/models/fake/config").json()
    assert call("ModelConfig", name="fake") == ParseDict({"config": document}, MESSAGES["ModelConfigResponse"]())
    assert call("ModelConfig", name="fake").config.max_batch_size == 4


def test_the_statistics_are_rests_and_count_these_calls(server: Server, call: Caller) -> None:
    before = call("ModelStatistics", name="fake").model_stats[0]
    call.infer(asking(pixels(rows=3)))
    document = server.client.get("/v2/models/fake/stats").json()
    after = call("ModelStatistics", name="fake")
    assert after == ParseDict(document, MESSAGES["ModelStatisticsResponse"]())
    assert after.model_stats[0].inference_count == before.inference_count + 3
    assert after.model_stats[0].inference_stats.success.count == before.inference_stats.success.count + 1


def test_the_index_is_rests(server: Server, call: Caller) -> None:
    document = server.client.post("/v2/repository/index").json()
    answer = call("RepositoryIndex")
    assert answer == ParseDict({"models": document}, MESSAGES["RepositoryIndexResponse"]())
    assert [(one.name, one.version, one.state) for one in answer.models] == [("fake", "1", "READY")]


def test_raw_tensors_give_the_models_own_answer(call: Caller, predictor: Predictor) -> None:
    array = pixels(rows=5)  # more than the largest batch
    answer = call.infer(asking(array, id="seven"))
    assert (answer.model_name, answer.model_version, answer.id) == ("fake", "1", "seven")
    np.testing.assert_array_equal(scores(answer), expected(predictor, array))


def test_typed_contents_give_the_same_answer(call: Caller) -> None:
    message = MESSAGES["ModelInferRequest"](model_name="fake")
    tensor = message.inputs.add(name="image", datatype="UINT8", shape=[1, 8, 8, 3])
    tensor.contents.uint_contents.extend(pixels().ravel().tolist())
    assert call.infer(message).raw_output_contents == call.infer(asking()).raw_output_contents


def test_so_many_typed_values_that_they_are_read_on_a_thread(call: Caller, predictor: Predictor) -> None:
    message = MESSAGES["ModelInferRequest"](model_name="fake")
    tensor = message.inputs.add(name="image", datatype="UINT8", shape=[300, 8, 8, 3])
    tensor.contents.uint_contents.extend(pixels(rows=300).ravel().tolist())
    assert f"a request holds 1 to {MAX_INSTANCES} rows" in refused(call, message).details()


def test_encoded_pictures_are_answered_as_over_http(server: Server, call: Caller) -> None:
    files = [png(seed=seed) for seed in range(3)]
    multipart = [("file", (f"{i}.png", file, "image/png")) for i, file in enumerate(files)]
    answer = server.client.post("/v1/classify?top_k=3", files=multipart).json()
    labels = ["cat", "dog", "owl"]
    for row, prediction in zip(scores(call.infer(asking_encoded(*files))), answer["predictions"], strict=True):
        told = {one["label"]: one["score"] for one in prediction["top_k"]}
        np.testing.assert_allclose(row, [told[label] for label in labels], atol=1e-6)


def test_an_output_may_be_asked_for_as_classes(call: Caller, predictor: Predictor) -> None:
    message = asking()
    message.outputs.add(name="scores").parameters["classification"].int64_param = 1
    answer = call.infer(message)
    row = expected(predictor, pixels())[0]
    best = int(row.argmax())
    text = f"{row[best]}:{best}:{('cat', 'dog', 'owl')[best]}".encode()
    assert (answer.outputs[0].datatype, list(answer.outputs[0].shape)) == ("BYTES", [1, 1])
    assert list(answer.raw_output_contents) == [len(text).to_bytes(4, "little") + text]


@pytest.mark.parametrize(
    ("message", "status", "says"),
    [
        (asking(model="nobody"), grpc.StatusCode.NOT_FOUND, "Request for unknown model"),
        (asking(model=""), grpc.StatusCode.NOT_FOUND, "Request for unknown model"),
        (asking(model="nöbody\0"), grpc.StatusCode.NOT_FOUND, "nöbody"),
        (asking(model_version="2"), grpc.StatusCode.NOT_FOUND, "version 2"),
        (asking(model_version="../1"), grpc.StatusCode.NOT_FOUND, "versions are whole numbers"),
        (asking(pixels()[0]), grpc.StatusCode.INVALID_ARGUMENT, "the batch dimension is missing"),
        (asking(pixels(rows=0)), grpc.StatusCode.INVALID_ARGUMENT, "batch dimension"),
        (asking_encoded(b"no picture"), grpc.StatusCode.INVALID_ARGUMENT, "picture"),
        (MESSAGES["ModelInferRequest"](model_name="fake"), grpc.StatusCode.INVALID_ARGUMENT, "holds no inputs"),
    ],
    ids=lambda one: one if isinstance(one, str) else "",
)
def test_what_is_refused(call: Caller, message: Any, status: grpc.StatusCode, says: str) -> None:
    error = refused(call, message)
    assert (error.code(), says in error.details()) == (status, True), error.details()


def test_typed_and_raw_contents_together_are_refused(call: Caller) -> None:
    message = asking()
    message.inputs[0].contents.uint_contents.append(1)
    error = refused(call, message)
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "has contents, and the request has raw_input_contents" in error.details()


@pytest.mark.parametrize(
    ("name", "choice", "value", "status"),
    [
        ("priority", "uint64_param", 2**40, grpc.StatusCode.INVALID_ARGUMENT),
        ("timeout", "int64_param", -1, grpc.StatusCode.INVALID_ARGUMENT),
        ("triton_anything", "bool_param", True, grpc.StatusCode.INVALID_ARGUMENT),
        ("sequence_id", "int64_param", 7, grpc.StatusCode.UNIMPLEMENTED),
        ("timeout", "int64_param", 1, grpc.StatusCode.DEADLINE_EXCEEDED),  # a microsecond is over before the queue
    ],
)
def test_parameters_that_cannot_be_met(
    call: Caller, name: str, choice: str, value: int, status: grpc.StatusCode
) -> None:
    message = asking()
    setattr(message.parameters[name], choice, value)
    assert refused(call, message).code() == status


def test_an_error_tells_its_code_and_the_request_id(call: Caller) -> None:
    error = refused(call, asking(model="nobody"), metadata=[("x-request-id", "abc-7")])
    assert dict(error.trailing_metadata()) == {"x-request-id": "abc-7", "code": "model_not_found"}


def test_an_error_is_cut_to_what_every_client_reads(call: Caller) -> None:
    error = refused(call, asking(model="모" * 10_000))
    assert error.code() == grpc.StatusCode.NOT_FOUND
    assert len(error.details()) < 1400


@pytest.mark.parametrize("method", ["SystemSharedMemoryStatus", "TraceSetting", "LogSettings", "NoSuchMethod"])
def test_methods_that_are_not_offered_say_so(call: Caller, method: str) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        call.raw(f"/{INFERENCE}/{method}", b"")
    assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED
    assert "extensions in ServerMetadata" in caught.value.details()


def test_bytes_that_are_no_message(call: Caller) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        call.raw(f"/{INFERENCE}/ModelInfer", b"\xff" * 20)
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "20 bytes that are not a message of this method" in caught.value.details()


@pytest.mark.parametrize("compression", [grpc.Compression.NoCompression, grpc.Compression.Gzip])
def test_a_message_over_the_limit_is_refused_however_small_it_comes(
    call: Caller, compression: grpc.Compression
) -> None:
    message = asking()
    message.raw_input_contents[0] = bytes(MAX_MESSAGE_BYTES)
    assert refused(call, message, compression=compression).code() == grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate])
def test_compressed_messages_are_read(call: Caller, compression: grpc.Compression) -> None:
    assert call.infer(asking(), compression=compression) == call.infer(asking())


def test_a_stream_answers_in_order_and_tells_failures_inside(call: Caller, predictor: Predictor) -> None:
    messages = [asking(pixels(seed), id=str(seed)) for seed in range(200)]
    messages[3].model_name = "nobody"
    messages[5].parameters["triton_enable_empty_final_response"].bool_param = True
    answers = list(call.stream(iter(messages)))
    assert [one.infer_response.id for one in answers] == [str(seed) for seed in range(200)]
    assert "Request for unknown model" in answers[3].error_message
    assert answers[5].infer_response.parameters["triton_final_response"].bool_param
    for seed in (0, 4, 5, 199):
        assert not answers[seed].error_message
        np.testing.assert_array_equal(scores(answers[seed].infer_response), expected(predictor, pixels(seed)))


def test_a_stream_that_is_broken_off_is_no_failure_of_the_server(call: Caller) -> None:
    def endless() -> Iterator[Any]:
        while True:
            yield asking()

    stream = call.stream(endless())
    assert next(stream).infer_response.model_name == "fake"
    stream.cancel()


def test_calls_are_counted_with_the_status_that_http_would_have_had(server: Server, call: Caller) -> None:
    def counted(route: str, code: int) -> float:
        text = httpx.get(f"{server.url}/metrics", trust_env=False).text
        line = f'modelyard_requests_total{{code="{code}",route="grpc:{route}"}}'
        return sum(float(one.split()[-1]) for one in text.splitlines() if _same_sample(one, line))

    good, bad = counted("ModelInfer", 200), counted("ModelInfer", 404)
    call.infer(asking())
    refused(call, asking(model="nobody"))
    assert (counted("ModelInfer", 200), counted("ModelInfer", 404)) == (good + 1, bad + 1)


def _same_sample(line: str, wanted: str) -> bool:
    """Labels may come in any order."""
    name, _, labels = line.rpartition(" ")[0].partition("{")
    wanted_name, _, wanted_labels = wanted.partition("{")
    return name == wanted_name and sorted(labels.rstrip("}").split(",")) == sorted(wanted_labels.rstrip("}").split(","))


def test_health_is_answered_as_kubernetes_asks(call: Caller) -> None:
    serving = 1
    assert call.health() == serving
    assert call.health(INFERENCE) == serving
    assert call.health("grpc.health.v1.Health") == serving
    with pytest.raises(grpc.RpcError) as caught:
        call.health("nobody")
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND
    watch = call.watch("nobody")
    assert next(watch).status == 3
    watch.cancel()


def test_a_documents_numbers_are_those_of_the_manifest(call: Caller, repository: Path) -> None:
    manifest = json.loads((repository / "fake" / "1" / "manifest.json").read_text(encoding="utf-8"))
    metadata = call("ModelMetadata", name="fake")
    assert [list(one.shape) for one in metadata.inputs] == [[-1, *manifest["inputs"][0]["shape"][1:]]]
    assert [one.datatype for one in metadata.inputs] == ["UINT8"]

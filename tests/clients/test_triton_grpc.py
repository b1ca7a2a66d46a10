"""Triton's own gRPC clients, blocking and asyncio, unmodified."""

import asyncio
from collections.abc import Iterator
from queue import Queue
from typing import Any

import numpy as np
import pytest

from tests.clients.conftest import Running
from tests.clients.fake import BEATS, LABELS, PICTURES, answered, png

grpcclient = pytest.importorskip("tritonclient.grpc", reason="tritonclient[grpc] is not installed here")
import tritonclient.grpc.aio as aioclient  # noqa: E402
from tritonclient.utils import InferenceServerException  # noqa: E402

InferInput, InferRequestedOutput = grpcclient.InferInput, grpcclient.InferRequestedOutput


@pytest.fixture
def client(grpc_address: str) -> Iterator[grpcclient.InferenceServerClient]:
    with grpcclient.InferenceServerClient(grpc_address) as made:
        yield made


def sent(name: str, array: np.ndarray, datatype: str) -> Any:
    made = InferInput(name, list(array.shape), datatype)
    made.set_data_from_numpy(array)
    return made


def test_health_and_metadata(client: grpcclient.InferenceServerClient) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("pictures", "1")
    assert not client.is_model_ready("nobody")
    assert "binary_tensor_data" in client.get_server_metadata().extensions
    model = client.get_model_metadata("pictures", as_json=True)
    assert model["inputs"] == [{"name": "image", "datatype": "UINT8", "shape": ["-1", "8", "8", "3"]}]
    assert client.get_model_config("pictures").config.max_batch_size == 4


def test_tensors(client: grpcclient.InferenceServerClient) -> None:
    result = client.infer("beats", [sent("series", BEATS, "FP32")], request_id="my id")
    np.testing.assert_allclose(result.as_numpy("errors"), answered(BEATS, size=4), atol=1e-6)
    np.testing.assert_allclose(result.as_numpy("anomaly_score"), answered(BEATS, size=1)[:, 0], atol=1e-6)
    assert result.get_response().id == "my id"


def test_several_inputs(client: grpcclient.InferenceServerClient) -> None:
    ids, mask = np.array([[2, 3, 4]], np.int64), np.array([[1, 1, 1]], np.int64)
    result = client.infer("embedder", [sent("input_ids", ids, "INT64"), sent("attention_mask", mask, "INT64")])
    np.testing.assert_allclose(result.as_numpy("embedding"), answered(ids, mask, size=4), atol=1e-6)


@pytest.mark.parametrize("datatype", ["FP16", "BF16"])
def test_halves_of_floats(client: grpcclient.InferenceServerClient, datatype: str) -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes", reason="tritonclient takes BF16 from ml_dtypes")
    values = BEATS.astype(np.float16 if datatype == "FP16" else ml_dtypes.bfloat16)
    result = client.infer("beats", [sent("series", values, datatype)])
    np.testing.assert_allclose(result.as_numpy("errors"), answered(BEATS, size=4), atol=1e-6)


def test_encoded_pictures_and_classes(client: grpcclient.InferenceServerClient) -> None:
    pictures = np.array([[png(0)], [png(1)]], object)
    outputs = [InferRequestedOutput("scores", class_count=1)]
    named = client.infer("pictures", [sent("image", pictures, "BYTES")], outputs=outputs).as_numpy("scores")
    for text, expected in zip(named.ravel(), answered(PICTURES[:2], size=3), strict=True):
        value, place, label = text.decode().split(":")
        best = int(np.argmax(expected))
        assert (int(place), label) == (best, LABELS[best])
        assert float(value) == pytest.approx(expected[best], abs=1e-6)


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_compression(client: grpcclient.InferenceServerClient, coding: str) -> None:
    result = client.infer("pictures", [sent("image", PICTURES, "UINT8")], compression_algorithm=coding)
    np.testing.assert_allclose(result.as_numpy("scores"), answered(PICTURES, size=3), atol=1e-6)


def test_priority_and_timeout(client: grpcclient.InferenceServerClient) -> None:
    result = client.infer("beats", [sent("series", BEATS, "FP32")], priority=1, timeout=5_000_000)
    assert result.as_numpy("errors").any()
    with pytest.raises(InferenceServerException, match="were over"):
        client.infer("beats", [sent("series", BEATS, "FP32")], timeout=1)


def test_statistics(client: grpcclient.InferenceServerClient) -> None:
    def rows() -> int:
        (one,) = client.get_inference_statistics("beats", "1").model_stats
        return int(one.inference_count)

    before = rows()
    client.infer("beats", [sent("series", BEATS, "FP32")])
    assert rows() - before == 2


@pytest.mark.parametrize(
    ("model", "message", "status"),
    [("nobody", "Request for unknown model", "NOT_FOUND"), ("beats", "batch dimension is missing", "INVALID_ARGUMENT")],
)
def test_errors_can_be_read(client: grpcclient.InferenceServerClient, model: str, message: str, status: str) -> None:
    with pytest.raises(InferenceServerException, match=message) as caught:
        client.infer(model, [sent("series", BEATS[0], "FP32")])
    assert status in caught.value.status()


def test_the_repository(server: Running, client: grpcclient.InferenceServerClient) -> None:
    index = {one.name: one.state for one in client.get_model_repository_index().models}
    assert index["pictures"] == "READY"
    with pytest.raises(InferenceServerException):
        client.load_model("pictures")
    if not server.admin_key:
        pytest.skip("this service knows no admin keys")
    client.load_model("pictures", headers={"authorization": server.admin["Authorization"]})
    assert client.is_model_ready("pictures")


def test_what_is_not_done_says_so(client: grpcclient.InferenceServerClient) -> None:
    with pytest.raises(InferenceServerException) as caught:
        client.get_system_shared_memory_status()
    assert "UNIMPLEMENTED" in caught.value.status()


def test_many_at_once(client: grpcclient.InferenceServerClient) -> None:
    done: Queue[tuple[Any, Any]] = Queue()

    def note(result: Any, error: Any) -> None:
        done.put((result, error))

    for i in range(32):
        client.async_infer("beats", [sent("series", BEATS + i, "FP32")], note, request_id=str(i))
    for _ in range(32):
        result, error = done.get(timeout=30)
        assert error is None
        i = int(result.get_response().id)
        np.testing.assert_allclose(result.as_numpy("errors"), answered(BEATS + i, size=4), atol=1e-5)


def test_the_asyncio_client_with_many_in_flight(grpc_address: str) -> None:
    async def ask_all() -> list[float]:
        async with aioclient.InferenceServerClient(grpc_address) as client:
            assert await client.is_server_ready()

            async def ask(i: int) -> float:
                result = await client.infer("beats", [sent("series", BEATS + i, "FP32")])
                return float(np.abs(result.as_numpy("errors") - answered(BEATS + i, size=4)).max())

            return await asyncio.gather(*(ask(i) for i in range(50)))

    assert max(asyncio.run(ask_all())) < 1e-5


def test_a_stream(client: grpcclient.InferenceServerClient) -> None:
    done: Queue[tuple[Any, Any]] = Queue()
    client.start_stream(lambda result, error: done.put((result, error)))
    try:
        for i in range(4):
            client.async_stream_infer("beats", [sent("series", BEATS + i, "FP32")], request_id=str(i))
        answers = [done.get(timeout=30) for _ in range(4)]
    finally:
        client.stop_stream()
    if any(error is not None and "UNIMPLEMENTED" in str(error.status()) for _, error in answers):
        pytest.skip("this server does not stream")
    for result, error in answers:
        assert error is None
        i = int(result.get_response().id)
        np.testing.assert_allclose(result.as_numpy("errors"), answered(BEATS + i, size=4), atol=1e-5)

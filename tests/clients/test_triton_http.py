"""Triton's own HTTP client, unmodified."""

import concurrent.futures
from collections.abc import Iterator

import numpy as np
import pytest

from tests.clients.conftest import Running
from tests.clients.fake import BEATS, LABELS, PICTURES, answered, png

tritonclient = pytest.importorskip("tritonclient.http", reason="tritonclient[http] is not installed here")
from tritonclient.utils import InferenceServerException  # noqa: E402

InferInput, InferRequestedOutput = tritonclient.InferInput, tritonclient.InferRequestedOutput


@pytest.fixture
def client(server: Running) -> Iterator[tritonclient.InferenceServerClient]:
    with tritonclient.InferenceServerClient(server.http, concurrency=16) as made:
        yield made


def sent(name: str, array: np.ndarray, datatype: str, binary: bool = True) -> InferInput:
    made = InferInput(name, list(array.shape), datatype)
    made.set_data_from_numpy(array, binary_data=binary)
    return made


def test_health(client: tritonclient.InferenceServerClient) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("pictures")
    assert client.is_model_ready("pictures", "1")
    assert not client.is_model_ready("nobody")
    assert not client.is_model_ready("pictures", "9")
    assert client.is_server_live(query_params={"test_1": 1, "test_2": 2})


def test_metadata(client: tritonclient.InferenceServerClient) -> None:
    server = client.get_server_metadata()
    assert {"binary_tensor_data", "classification", "model_configuration", "statistics"} <= set(server["extensions"])
    model = client.get_model_metadata("pictures", "1")
    assert model["name"] == "pictures"
    assert model["versions"] == ["1"]
    assert model["inputs"] == [{"name": "image", "datatype": "UINT8", "shape": [-1, 8, 8, 3]}]
    assert model["outputs"] == [{"name": "scores", "datatype": "FP32", "shape": [-1, 3]}]
    config = client.get_model_config("pictures")
    assert config["max_batch_size"] == 4
    assert config["input"][0]["format"] == "FORMAT_NHWC"


@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False, None])
def test_tensors_go_in_and_come_out_as_json_or_binary(
    client: tritonclient.InferenceServerClient, binary_in: bool, binary_out: bool | None
) -> None:
    outputs = None
    if binary_out is not None:
        outputs = [InferRequestedOutput(name, binary_data=binary_out) for name in ("errors", "anomaly_score")]
    result = client.infer(
        "beats", [sent("series", BEATS, "FP32", binary_in)], request_id="my id", outputs=outputs, model_version="1"
    )
    np.testing.assert_allclose(result.as_numpy("errors"), answered(BEATS, size=4), atol=1e-6)
    np.testing.assert_allclose(result.as_numpy("anomaly_score"), answered(BEATS, size=1)[:, 0], atol=1e-6)
    response = result.get_response()
    assert (response["model_name"], response["model_version"], response["id"]) == ("beats", "1", "my id")
    if outputs:
        assert [one["name"] for one in response["outputs"]] == ["errors", "anomaly_score"]


def test_json_and_binary_mix_in_one_request(client: tritonclient.InferenceServerClient) -> None:
    ids, mask = np.array([[2, 3, 4], [3, 3, 0]], np.int64), np.array([[1, 1, 1], [1, 1, 0]], np.int64)
    inputs = [sent("input_ids", ids, "INT64", binary=False), sent("attention_mask", mask, "INT64")]
    result = client.infer("embedder", inputs)
    np.testing.assert_allclose(result.as_numpy("embedding"), answered(ids, mask, size=4), atol=1e-6)


def test_outputs_of_both_kinds_come_in_one_answer(client: tritonclient.InferenceServerClient) -> None:
    outputs = [InferRequestedOutput("anomaly_score", binary_data=False), InferRequestedOutput("errors")]
    result = client.infer("beats", [sent("series", BEATS, "FP32")], outputs=outputs)
    np.testing.assert_allclose(result.as_numpy("errors"), answered(BEATS, size=4), atol=1e-6)
    np.testing.assert_allclose(result.as_numpy("anomaly_score"), answered(BEATS, size=1)[:, 0], atol=1e-6)


def test_a_subset_of_the_outputs(client: tritonclient.InferenceServerClient) -> None:
    result = client.infer("beats", [sent("series", BEATS, "FP32")], outputs=[InferRequestedOutput("errors")])
    assert result.as_numpy("errors") is not None
    assert result.as_numpy("anomaly_score") is None


@pytest.mark.parametrize("datatype", ["FP16", "BF16"])
def test_halves_of_floats(client: tritonclient.InferenceServerClient, datatype: str) -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes", reason="tritonclient takes BF16 from ml_dtypes")
    values = BEATS.astype(np.float16 if datatype == "FP16" else ml_dtypes.bfloat16)
    result = client.infer("beats", [sent("series", values, datatype)])
    np.testing.assert_allclose(result.as_numpy("errors"), answered(BEATS, size=4), atol=1e-6)


@pytest.mark.parametrize("shape", [(2,), (2, 1)])
def test_encoded_pictures(client: tritonclient.InferenceServerClient, shape: tuple[int, ...]) -> None:
    pictures = np.array([png(0), png(1)], object).reshape(shape)
    result = client.infer("pictures", [sent("image", pictures, "BYTES")])
    np.testing.assert_allclose(result.as_numpy("scores"), answered(PICTURES[:2], size=3), atol=1e-6)


@pytest.mark.parametrize("binary", [True, False])
def test_texts(client: tritonclient.InferenceServerClient, binary: bool) -> None:
    texts = np.array([b"good film", "안녕 film".encode()], object)
    embedded = client.infer("embedder", [sent("text", texts, "BYTES", binary)]).as_numpy("embedding")
    assert embedded.shape == (2, 4)
    assert not np.array_equal(embedded[0], embedded[1])


@pytest.mark.parametrize("binary", [True, False])
def test_classes(client: tritonclient.InferenceServerClient, binary: bool) -> None:
    outputs = [InferRequestedOutput("scores", binary_data=binary, class_count=2)]
    result = client.infer("pictures", [sent("image", PICTURES, "UINT8")], outputs=outputs)
    named = result.as_numpy("scores")
    assert named.shape == (3, 2)
    scores = answered(PICTURES, size=3)
    for row, expected in zip(named, scores, strict=True):
        best = np.argsort(-expected)[:2]
        for text, index in zip(row, best, strict=True):
            value, place, label = (text.decode() if isinstance(text, bytes) else text).split(":")
            assert (int(place), label) == (index, LABELS[index])
            assert float(value) == pytest.approx(expected[index], abs=1e-6)


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
@pytest.mark.parametrize("ways", ["request", "response", "both"])
def test_compression(client: tritonclient.InferenceServerClient, coding: str, ways: str) -> None:
    packing = {f"{way}_compression_algorithm": coding for way in ("request", "response") if ways in (way, "both")}
    result = client.infer("pictures", [sent("image", PICTURES, "UINT8")], **packing)
    np.testing.assert_allclose(result.as_numpy("scores"), answered(PICTURES, size=3), atol=1e-6)


def test_priority_timeout_and_a_clients_own_parameters(client: tritonclient.InferenceServerClient) -> None:
    result = client.infer(
        "beats", [sent("series", BEATS, "FP32")], priority=1, timeout=5_000_000, parameters={"my_key": "my value"}
    )
    assert result.as_numpy("errors").shape == (2, 4)


def test_a_timeout_that_is_over_is_told(client: tritonclient.InferenceServerClient) -> None:
    with pytest.raises(InferenceServerException, match="were over"):
        client.infer("beats", [sent("series", BEATS, "FP32")], timeout=1)


def test_many_at_once(client: tritonclient.InferenceServerClient) -> None:
    pending = [client.async_infer("beats", [sent("series", BEATS + i, "FP32")]) for i in range(64)]
    for i, one in enumerate(pending):
        np.testing.assert_allclose(one.get_result().as_numpy("errors"), answered(BEATS + i, size=4), atol=1e-5)


def test_threads_get_their_own_answers(server: Running) -> None:
    def ask(i: int) -> float:
        with tritonclient.InferenceServerClient(server.http) as own:
            got = own.infer("beats", [sent("series", BEATS + i, "FP32")]).as_numpy("errors")
        return float(np.abs(got - answered(BEATS + i, size=4)).max())

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert max(pool.map(ask, range(32))) < 1e-5


@pytest.mark.parametrize(
    ("model", "version", "message", "status"),
    [
        ("nobody", "", "^.*Request for unknown model", "404"),
        ("pictures", "9", "has no version 9", "404"),
        ("pictures", "", "the batch dimension is missing", "400"),
    ],
)
def test_errors_can_be_read(
    client: tritonclient.InferenceServerClient, model: str, version: str, message: str, status: str
) -> None:
    with pytest.raises(InferenceServerException, match=message) as caught:
        client.infer(model, [sent("image", PICTURES[0], "UINT8")], model_version=version)
    assert caught.value.status() == status


def test_statistics_count_what_was_asked(client: tritonclient.InferenceServerClient) -> None:
    def counts() -> dict[str, int]:
        (one,) = client.get_inference_statistics("pictures", "1")["model_stats"]
        inference = one["inference_stats"]
        return {
            "rows": one["inference_count"],
            "requests": inference["success"]["count"],
            "ns": inference["success"]["ns"],
        }

    before = counts()
    for _ in range(5):
        client.infer("pictures", [sent("image", PICTURES, "UINT8")])
    after = counts()
    assert after["rows"] - before["rows"] == 15
    assert after["requests"] - before["requests"] == 5
    assert after["ns"] > before["ns"]
    assert {one["name"] for one in client.get_inference_statistics()["model_stats"]} == {
        "pictures",
        "beats",
        "embedder",
    }


def test_the_repository(server: Running, client: tritonclient.InferenceServerClient) -> None:
    assert {one["name"]: one["state"] for one in client.get_model_repository_index()}["embedder"] == "READY"
    if not server.admin_key:
        pytest.skip("this service knows no admin keys")
    with pytest.raises(InferenceServerException):
        client.unload_model("embedder")
    client.unload_model("embedder", headers=server.admin)
    assert not client.is_model_ready("embedder")
    client.load_model("embedder", headers=server.admin)
    assert client.is_model_ready("embedder")
    with pytest.raises(InferenceServerException, match="failed to load"):
        client.load_model("nobody", headers=server.admin)
    with pytest.raises(InferenceServerException, match="models come from the repository folder alone"):
        client.load_model("embedder", headers=server.admin, config="{}")


@pytest.mark.parametrize("what", ["get_system_shared_memory_status", "get_log_settings", "get_trace_settings"])
def test_what_is_not_done_says_so(client: tritonclient.InferenceServerClient, what: str) -> None:
    with pytest.raises(InferenceServerException, match="is no part of this server") as caught:
        getattr(client, what)()
    assert caught.value.status() == "501"

"""Triton's asyncio HTTP client, unmodified."""

import asyncio

import numpy as np
import pytest

from tests.clients.conftest import Running
from tests.clients.fake import BEATS, PICTURES, answered, png

tritonclient = pytest.importorskip("tritonclient.http.aio", reason="tritonclient[http] is not installed here")


def sent(name: str, array: np.ndarray, datatype: str) -> "tritonclient.InferInput":
    made = tritonclient.InferInput(name, list(array.shape), datatype)
    made.set_data_from_numpy(array)
    return made


def test_many_in_flight_get_their_own_answers(server: Running) -> None:
    async def ask_all() -> list[float]:
        async with tritonclient.InferenceServerClient(server.http) as client:
            assert await client.is_server_ready()

            async def ask(i: int) -> float:
                result = await client.infer("beats", [sent("series", BEATS + i, "FP32")])
                return float(np.abs(result.as_numpy("errors") - answered(BEATS + i, size=4)).max())

            return await asyncio.gather(*(ask(i) for i in range(100)))

    assert max(asyncio.run(ask_all())) < 1e-5


def test_packed_pictures_and_questions(server: Running) -> None:
    async def ask() -> None:
        async with tritonclient.InferenceServerClient(server.http) as client:
            assert (await client.get_model_metadata("pictures"))["name"] == "pictures"
            assert (await client.get_inference_statistics("pictures"))["model_stats"]
            result = await client.infer(
                "pictures",
                [sent("image", np.array([png(2)], object), "BYTES")],
                request_compression_algorithm="gzip",
                response_compression_algorithm="deflate",
            )
            np.testing.assert_allclose(result.as_numpy("scores"), answered(PICTURES[2:], size=3), atol=1e-6)

    asyncio.run(ask())

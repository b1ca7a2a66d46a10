"""KServe's clients, unmodified. In a process of its own: it and tritonclient register the same protobuf names."""

import json
import subprocess
import sys
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest

from tests.clients.conftest import Running
from tests.clients.fake import BEATS, answered

if find_spec("kserve") is None:
    pytest.skip("kserve is not installed here", allow_module_level=True)

ASK = """
import asyncio, json, sys
import numpy as np
from kserve import InferenceRESTClient, RESTConfig, InferRequest, InferInput, InferOutput
from kserve.protocol.infer_type import RequestedOutput

url, binary = sys.argv[1], sys.argv[2] == "binary"
beats = np.array(json.loads(sys.argv[3]), np.float32)


async def main():
    client = InferenceRESTClient(RESTConfig(protocol="v2", retries=0, timeout=30))
    told = {
        "live": await client.is_server_live(url),
        "ready": await client.is_server_ready(url),
        "model": await client.is_model_ready(url, "beats"),
        "nobody": await client.is_model_ready(url, "nobody"),
    }
    series = InferInput("series", list(beats.shape), "FP32")
    series.set_data_from_numpy(beats, binary_data=binary)
    outputs = [RequestedOutput("errors", {"binary_data": binary})]
    request = InferRequest("beats", [series], request_id="my id", request_outputs=outputs)
    response = await client.infer(url, request, model_name="beats")
    told["id"], told["name"] = response.id, response.model_name
    told["errors"] = response.outputs[0].as_numpy().tolist()
    plain = {"inputs": [{"name": "series", "shape": list(beats.shape), "datatype": "FP32", "data": beats.tolist()}]}
    response = await client.infer(url, plain, model_name="beats")
    told["all"] = [one.name for one in response.outputs]
    try:
        await client.infer(url, {"inputs": []}, model_name="beats")
    except Exception as error:
        told["refused"] = str(error)
    await client.close()
    print(json.dumps(told))

asyncio.run(main())
"""


ASK_GRPC = """
import asyncio, json, sys
import numpy as np
from kserve import InferenceGRPCClient, InferRequest, InferInput

address, beats = sys.argv[1], np.array(json.loads(sys.argv[2]), np.float32)


async def main():
    client = InferenceGRPCClient(address, retries=0)
    told = {"live": await client.is_server_live(), "ready": await client.is_server_ready()}
    told["model"] = await client.is_model_ready("beats")
    for how in ("raw", "typed"):
        series = InferInput("series", list(beats.shape), "FP32")
        series.set_data_from_numpy(beats, binary_data=how == "raw")
        response = await client.infer(InferRequest("beats", [series], request_id="my id"))
        told[how] = {one.name: one.as_numpy().tolist() for one in response.outputs}
    await client.close()
    print(json.dumps(told))

asyncio.run(main())
"""


def told_by(script: str, *arguments: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout.splitlines()[-1]))


def test_the_grpc_client(grpc_address: str) -> None:
    told = told_by(ASK_GRPC, grpc_address, json.dumps(BEATS.tolist()))
    assert (told["live"], told["ready"], told["model"]) == (True, True, True)
    for how in ("raw", "typed"):
        np.testing.assert_allclose(told[how]["errors"], answered(BEATS, size=4), atol=1e-6)


@pytest.mark.parametrize("how", ["json", "binary"])
def test_the_rest_client(server: Running, how: str) -> None:
    told = told_by(ASK, server.url, how, json.dumps(BEATS.tolist()))
    assert (told["live"], told["ready"], told["model"], told["nobody"]) == (True, True, True, False)
    assert (told["id"], told["name"]) == ("my id", "beats")
    np.testing.assert_allclose(told["errors"], answered(BEATS, size=4), atol=1e-6)
    assert told["all"] == ["anomaly_score", "errors"]
    assert "no inputs" in told["refused"]

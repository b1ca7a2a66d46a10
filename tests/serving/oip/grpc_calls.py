"""A plain gRPC client of a server process, with our own messages."""

import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np

from bundle.tensors import Array
from serving.oip.messages import HEALTH, HEALTH_MESSAGES, INFERENCE, MESSAGES
from tests.serving.running import PATIENCE_S, Server, running

LISTENS = re.compile(r"gRPC listens on (127\.0\.0\.1:\d+)")
MAX_MESSAGE_BYTES = 1_000_000
Metadata = Sequence[tuple[str, str]]


class Caller:
    """One connection."""

    def __init__(self, address: str, credentials: grpc.ChannelCredentials | None = None, name: str = "") -> None:
        options = [("grpc.enable_retries", 0), ("grpc.use_local_subchannel_pool", 1)]
        if name:
            options.append(("grpc.ssl_target_name_override", name))
        self.channel = (
            grpc.secure_channel(address, credentials, options)
            if credentials
            else grpc.insecure_channel(address, options)
        )

    def __call__(self, method: str, *, metadata: Metadata = (), timeout: float = PATIENCE_S, **fields: Any) -> Any:
        """The answer to one call."""
        return self.call(method, MESSAGES[f"{method}Request"](**fields), metadata, timeout)

    def call(
        self, method: str, message: Any, metadata: Metadata = (), timeout: float = PATIENCE_S, **options: Any
    ) -> Any:
        """The same for a message that is there already."""
        write = type(message).SerializeToString
        stub = self.channel.unary_unary(f"/{INFERENCE}/{method}", write, MESSAGES[f"{method}Response"].FromString)
        return stub(message, metadata=metadata, timeout=timeout, **options)

    def infer(self, message: Any, **options: Any) -> Any:
        """The answer to a ModelInfer."""
        return self.call("ModelInfer", message, **options)

    def stream(self, messages: Iterator[Any], timeout: float = PATIENCE_S) -> Any:
        """The answers to a stream of requests."""
        stub = self.channel.stream_stream(
            f"/{INFERENCE}/ModelStreamInfer",
            MESSAGES["ModelInferRequest"].SerializeToString,
            MESSAGES["ModelStreamInferResponse"].FromString,
        )
        return stub(messages, timeout=timeout)

    def raw(self, path: str, body: bytes) -> bytes:
        """Bytes to any method."""
        answer: bytes = self.channel.unary_unary(path)(body, timeout=PATIENCE_S)
        return answer

    def health(self, service: str = "") -> int:
        """What grpc.health.v1 says."""
        request, response = HEALTH_MESSAGES["HealthCheckRequest"], HEALTH_MESSAGES["HealthCheckResponse"]
        stub = self.channel.unary_unary(f"/{HEALTH}/Check", request.SerializeToString, response.FromString)
        return int(stub(request(service=service), timeout=PATIENCE_S).status)

    def watch(self, service: str = "") -> Any:
        """The same, whenever it changes."""
        request, response = HEALTH_MESSAGES["HealthCheckRequest"], HEALTH_MESSAGES["HealthCheckResponse"]
        stub = self.channel.unary_stream(f"/{HEALTH}/Watch", request.SerializeToString, response.FromString)
        return stub(request(service=service), timeout=PATIENCE_S)


def grpc_address(server: Server) -> str:
    """Where a server says that it listens for gRPC."""
    server.wait_until(lambda: bool(LISTENS.search(server.stderr())), "gRPC to listen")
    return LISTENS.findall(server.stderr())[0]  # type: ignore[no-any-return]


@contextmanager
def calling(repository: Path, folder: Path, *flags: str, **options: Any) -> Iterator[tuple[Server, Caller]]:
    """A server process whose models answer, and a connection to it."""
    grpc_flags = ("--grpc-port=0", f"--grpc-max-message-bytes={MAX_MESSAGE_BYTES}")
    with running(repository, folder, *grpc_flags, *flags, **options) as server:
        server.wait_for_status("/v2/health/ready", 200)
        caller = Caller(grpc_address(server))
        yield server, caller
        caller.channel.close()


def pixels(seed: int = 0, rows: int = 1) -> Array:
    """A tensor that the fake model takes: uint8 [rows, 8, 8, 3]."""
    return np.random.default_rng(seed).integers(0, 256, (rows, 8, 8, 3), dtype=np.uint8)


def asking(array: Array | None = None, model: str = "fake", **fields: Any) -> Any:
    """A request with a raw tensor."""
    array = pixels() if array is None else array
    message = MESSAGES["ModelInferRequest"](model_name=model, **fields)
    message.inputs.add(name="image", datatype="UINT8", shape=array.shape)
    message.raw_input_contents.append(array.tobytes())
    return message


def asking_encoded(*files: bytes) -> Any:
    """A request with encoded pictures."""
    message = MESSAGES["ModelInferRequest"](model_name="fake")
    message.inputs.add(name="image", datatype="BYTES", shape=[len(files)])
    message.raw_input_contents.append(b"".join(len(file).to_bytes(4, "little") + file for file in files))
    return message


def scores(answer: Any) -> Array:
    """The output of the fake model."""
    (output,) = answer.outputs
    assert (output.name, output.datatype) == ("scores", "FP32")
    return np.frombuffer(answer.raw_output_contents[0], "<f4").reshape(output.shape)


def wait_until(holds: Any, what: str) -> None:
    """Poll until something holds."""
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.01)

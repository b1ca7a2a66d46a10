"""The gRPC server: it listens in the event loop of the service, on a port of its own, and ends without losing a call.

Knows sockets, TLS and which method is whose. Knows nothing of what a method does.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import grpc
import grpc.aio

from bundle.errors import BadInput, Unsupported
from serving.batching.call import Call
from serving.observing.endings import Endings
from serving.observing.metrics import Metrics
from serving.oip.grpc_frame import Frame, Message, Needs
from serving.oip.grpc_health import HealthService
from serving.oip.grpc_service import Inference, Served
from serving.oip.health import Health
from serving.oip.messages import HEALTH, HEALTH_MESSAGES, INFERENCE, MESSAGES
from serving.oip.rest import Operations
from serving.repository.repository import ModelRepository
from serving.security.access import Access
from serving.security.tls import grpc_credentials, tls_files
from serving.settings import Settings

SHORTEST_PING_S = 10
"""Clients may ask whether the connection lives this often; gRPC's own 5 minutes cut off those who follow its advice."""
PING_S = 60
"""So often an idle connection is asked, so that one whose client has vanished is noticed."""
MAX_STREAMS = 1024
"""Calls under way on one connection; further ones wait at the client."""
MAX_HEADER_BYTES = 32 * 1024
QUIET_S = 0.02
"""At the end: when no call came for so long, all clients wait for their answers."""
SETTLE_S = 1.0
"""... but clients that never stop sending are not waited for longer than this."""

log = logging.getLogger("modelyard.serving")


@dataclass(frozen=True)
class Listening:
    """Where and how to listen."""

    host: str
    port: int
    """0 takes a free one."""
    max_message_bytes: int
    """Of a request, also after it is decompressed."""
    share_port: bool = False
    """Whether other processes of the service listen on the same port."""
    credentials: grpc.ServerCredentials | None = None
    """For TLS."""


class GrpcServer:
    """One server; `start` it in the event loop that it is to run in, and `stop` it there."""

    def __init__(self, served: Served, access: Access, endings: Endings, listening: Listening) -> None:
        self._draining = asyncio.Event()
        self._frame = Frame(endings, access)
        health = HealthService(served.health.not_ready_because, self._draining)
        self._methods = Methods(self._frame, Inference(served, self._draining), health)
        self._listening = listening
        self._server: grpc.aio.Server | None = None
        self.port = 0

    async def start(self) -> None:
        """Listen.

        Raises:
            BadInput: nobody can listen there.
        """
        asked = self._listening
        address = f"[{asked.host}]:{asked.port}" if ":" in asked.host else f"{asked.host}:{asked.port}"
        self._server = grpc.aio.server(handlers=(self._methods,), options=_options(asked))
        try:
            if asked.credentials is None:
                self.port = self._server.add_insecure_port(address)
            else:
                self.port = self._server.add_secure_port(address, asked.credentials)
        except RuntimeError as cause:
            raise BadInput(f"--grpc-port {asked.port}: cannot listen on {address} ({cause}); is it free?") from None
        await self._server.start()
        if not asked.share_port:  # of a port that processes share, the one that started them tells once
            log.info("gRPC listens on %s:%d", address.rpartition(":")[0], self.port)

    async def stop(self, grace_s: float) -> None:
        """Answer what has come, then end; what is not answered within the time is cut off.

        gRPC throws away calls that have reached this process and that nobody has looked at yet when it is told to stop.
        So new calls are first held back: soon every client waits for an answer, nothing is on its way, and then
        "stop" loses none.
        """
        if self._server is None:
            return
        self._draining.set()
        gate = asyncio.Event()
        self._frame.hold(gate)
        loop = asyncio.get_running_loop()
        until = loop.time() + min(SETTLE_S, grace_s)
        arrived = -1
        while arrived != self._frame.arrived and loop.time() < until:
            arrived = self._frame.arrived
            await asyncio.sleep(QUIET_S)
        stopping = asyncio.create_task(self._server.stop(grace_s))
        await asyncio.sleep(QUIET_S)
        gate.set()
        await stopping


def _options(asked: Listening) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", asked.max_message_bytes),
        ("grpc.max_send_message_length", -1),
        ("grpc.so_reuseport", int(asked.share_port)),
        ("grpc.max_concurrent_streams", MAX_STREAMS),
        ("grpc.max_metadata_size", MAX_HEADER_BYTES // 2),  # from here on some are refused ...
        ("grpc.absolute_max_metadata_size", MAX_HEADER_BYTES),  # ... and from here on all
        ("grpc.http2.min_ping_interval_without_data_ms", SHORTEST_PING_S * 1000),
        ("grpc.keepalive_time_ms", PING_S * 1000),
        ("grpc.keepalive_permit_without_calls", 1),
    ]


class Methods(grpc.GenericRpcHandler):  # type: ignore[misc] # grpc comes without types
    """All methods by path."""

    def __init__(self, frame: Frame, inference: Inference, health: HealthService) -> None:
        self._by_path: dict[str, grpc.RpcMethodHandler] = {}
        self._frame = frame
        self._add_inference(inference)
        request, response = HEALTH_MESSAGES["HealthCheckRequest"], HEALTH_MESSAGES["HealthCheckResponse"]
        ends = (request.FromString, response.SerializeToString)
        self._by_path[f"/{HEALTH}/Check"] = frame.unary("Check", health.check, "nothing", *ends)
        self._by_path[f"/{HEALTH}/Watch"] = frame.stream("Watch", health.watch, "nothing", *ends)

    def _add_inference(self, inference: Inference) -> None:
        for name, answer, needs in inference.methods():
            self._unary(name, answer, needs)
        read = MESSAGES["ModelInferRequest"].FromString
        infer = self._frame.unary("ModelInfer", inference.model_infer, "key", read, bytes)
        self._by_path[f"/{INFERENCE}/ModelInfer"] = infer
        stream = self._frame.stream("ModelStreamInfer", inference.model_stream_infer, "key", read, bytes)
        self._by_path[f"/{INFERENCE}/ModelStreamInfer"] = stream

    def _unary(self, name: str, answer: Callable[[Message, Call], Any], needs: Needs) -> None:
        request, response = MESSAGES[f"{name}Request"], MESSAGES[f"{name}Response"]
        handler = self._frame.unary(name, answer, needs, request.FromString, response.SerializeToString)
        self._by_path[f"/{INFERENCE}/{name}"] = handler

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        """The handler of a call's method; for one of this service that is not offered, one that says so."""
        handler = self._by_path.get(details.method)
        if handler is None and details.method.startswith(f"/{INFERENCE}/"):
            return self._frame.unary("other", _not_offered, "nothing", bytes, bytes)
        return handler


async def _not_offered(_: Message, __: Call) -> Message:
    raise Unsupported("this method is not offered here; the extensions in ServerMetadata are those that work")


class AllProcesses(Health, Operations, Protocol):
    """What is asked of and done to every process of the service."""


def grpc_server(
    settings: Settings,
    models: ModelRepository,
    metrics: Metrics,
    access: Access,
    endings: Endings,
    all_processes: AllProcesses,
) -> GrpcServer:
    """The server that the settings ask for; their `grpc_port` is set.

    `all_processes` speaks for all that share the port: the models themselves where this one is alone.

    Raises:
        BadInput: the files for TLS cannot be used.
    """
    assert settings.grpc_port is not None  # noqa: S101 - nothing of gRPC is imported where it is not
    files = tls_files(settings)
    listening = Listening(
        settings.host,
        settings.grpc_port,
        settings.grpc_max_message_bytes,
        share_port=settings.workers > 1,
        credentials=grpc_credentials(files) if files else None,
    )
    admin = bool(settings.admin_keys or settings.admin_keys_file)
    served = Served(models, metrics, all_processes, all_processes, settings.max_instances, admin)
    return GrpcServer(served, access, endings, listening)

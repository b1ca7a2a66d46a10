"""What each method of the protocol's gRPC service does: the same functions as REST's, between other messages.

Knows the messages, the repository and the queue of a model. Knows nothing of sockets or keys.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from google.protobuf.json_format import ParseDict

from bundle.errors import BadInput, ModelNotFound, ModelNotReady, ModelyardError, Unsupported
from bundle.manifest import Manifest
from bundle.preprocess import Prepared
from bundle.tensors import Tensors
from serving.batching.call import Call, now
from serving.observing.metrics import Metrics
from serving.oip.facts import check_name, config_of, find, index_of, metadata_of, statistics_of
from serving.oip.grpc_frame import Needs, Unary, detail
from serving.oip.grpc_tensors import Message, answer_message, is_large, read_request
from serving.oip.health import Health
from serving.oip.infer import schedule
from serving.oip.messages import MESSAGES
from serving.oip.metadata import server_metadata
from serving.oip.request import InferRequest
from serving.oip.response import PlannedOutput, outputs_of, plan
from serving.oip.rest import Operations
from serving.oip.rows import rows_of
from serving.repository.repository import ModelRepository

MAX_AHEAD = 64
"""Requests of one stream that are under way at once; the stream is read on as they are answered."""
WISHES_LAST = "triton_enable_empty_final_response"
"""By this parameter a client of a stream asks to be told which answer to a request is the last; here each is."""
IS_LAST = "triton_final_response"

Answer = asyncio.Task[bytes]

_StreamResponse = MESSAGES["ModelStreamInferResponse"]


@dataclass(frozen=True)
class Served:
    """What the methods answer about."""

    models: ModelRepository
    metrics: Metrics
    health: Health
    operations: Operations
    max_rows: int
    """Most rows of a request."""
    admin: bool
    """Whether an admin key is set."""


class Inference:
    """The methods."""

    def __init__(self, served: Served, draining: asyncio.Event) -> None:
        self._served = served
        self._models = served.models
        self._draining = draining

    def methods(self) -> tuple[tuple[str, Unary, Needs], ...]:
        """Name of each method with one message in and one out, but ModelInfer; and what a caller must show for it."""
        return (
            ("ServerLive", self.server_live, "nothing"),
            ("ServerReady", self.server_ready, "nothing"),
            ("ServerMetadata", self.server_metadata, "key"),
            ("ModelReady", self.model_ready, "key"),
            ("ModelMetadata", self.model_metadata, "key"),
            ("ModelConfig", self.model_config, "key"),
            ("ModelStatistics", self.model_statistics, "key"),
            ("RepositoryIndex", self.repository_index, "key"),
            ("RepositoryModelLoad", self.repository_model_load, "admin"),
            ("RepositoryModelUnload", self.repository_model_unload, "admin"),
        )

    async def server_live(self, _: Message, __: Call) -> Message:
        """Is the process alive?"""
        return MESSAGES["ServerLiveResponse"](live=not self._served.health.not_live_because())

    async def server_ready(self, _: Message, __: Call) -> Message:
        """Does it want traffic?"""
        ready = not self._draining.is_set() and not self._served.health.not_ready_because()
        return MESSAGES["ServerReadyResponse"](ready=ready)

    async def server_metadata(self, _: Message, __: Call) -> Message:
        """Name, version, extensions."""
        return _filled("ServerMetadataResponse", server_metadata(self._served.admin))

    async def model_ready(self, message: Message, _: Call) -> Message:
        """Does a model answer? One that is not known does not."""
        try:
            find(self._models, message.name, message.version)
        except (ModelNotFound, ModelNotReady):
            return MESSAGES["ModelReadyResponse"](ready=False)
        return MESSAGES["ModelReadyResponse"](ready=True)

    async def model_metadata(self, message: Message, _: Call) -> Message:
        """Its tensors and versions."""
        served = find(self._models, message.name, message.version)
        return _filled("ModelMetadataResponse", metadata_of(self._models, served))

    async def model_config(self, message: Message, _: Call) -> Message:
        """How it is run."""
        served = find(self._models, message.name, message.version)
        return _filled("ModelConfigResponse", {"config": config_of(self._models, served, self._served.max_rows)})

    async def model_statistics(self, message: Message, _: Call) -> Message:
        """What one model has done, or all."""
        content = statistics_of(self._models, self._served.metrics, message.name, message.version)
        return _filled("ModelStatisticsResponse", content)

    async def repository_index(self, message: Message, _: Call) -> Message:
        """Every version and its state."""
        return _filled("RepositoryIndexResponse", {"models": index_of(self._models, message.ready)})

    async def repository_model_load(self, message: Message, _: Call) -> Message:
        """Bring a model up, or its newest version."""
        name = _model_name(message)
        foreign = [one for one in message.parameters if one == "config" or one.startswith("file:")]
        if foreign:
            raise Unsupported(
                f"failed to load '{name}': parameter '{foreign[0]:.100}' would bring a model in a request; models come "
                "from the repository folder alone, with proof"
            )
        try:
            await self._served.operations.load(name)
        except ModelyardError as cause:
            if str(cause).startswith("failed to load"):
                raise
            raise type(cause)(f"failed to load '{name}': {cause}") from None
        return MESSAGES["RepositoryModelLoadResponse"](model_name=name, isLoaded=True)

    async def repository_model_unload(self, message: Message, _: Call) -> Message:
        """Take a model away."""
        name = _model_name(message)
        await self._served.operations.unload(name)
        return MESSAGES["RepositoryModelUnloadResponse"](model_name=name, isUnloaded=True)

    async def model_infer(self, message: Message, call: Call) -> bytes:
        """Answer one request, as bytes already: they are made where they hold up nobody."""
        return await self._infer(message, call, _as_answer)

    async def model_stream_infer(self, messages: AsyncIterator[Message], call: Call) -> AsyncIterator[bytes]:
        """Answer the requests of a stream in their order, several at once; one that fails is told inside the stream."""
        answers: asyncio.Queue[Answer | None] = asyncio.Queue(MAX_AHEAD)
        under_way: set[asyncio.Task[Any]] = set()

        async def read() -> None:
            """Start an answer for each message, until the client or the service has no more."""
            try:
                async for message in self._until_draining(messages):
                    answer = asyncio.create_task(self._answer_in_stream(message, call))
                    under_way.add(answer)
                    await answers.put(answer)
            finally:
                await answers.put(None)

        reading = asyncio.create_task(read())
        try:
            while (answer := await answers.get()) is not None:
                yield await answer
                under_way.discard(answer)
            await reading  # a stream that broke, breaks here
        finally:
            for task in (reading, *under_way):
                task.cancel()
            while not answers.empty():  # so that reading, which may wait for room, can end
                answers.get_nowait()

    async def _until_draining(self, messages: AsyncIterator[Message]) -> AsyncIterator[Message]:
        iterator = aiter(messages)
        draining: asyncio.Task[Any] = asyncio.create_task(self._draining.wait())
        coming = draining
        try:
            while True:
                coming = asyncio.create_task(_next(iterator))
                await asyncio.wait((coming, draining), return_when=asyncio.FIRST_COMPLETED)
                if not coming.done() or (message := coming.result()) is None:
                    return
                yield message
        finally:
            draining.cancel()
            coming.cancel()

    async def _answer_in_stream(self, message: Message, stream: Call) -> bytes:
        call = Call(stream.request_id)
        call.deadline = stream.deadline
        marks_last = WISHES_LAST in message.parameters
        if marks_last:
            marks_last = message.parameters[WISHES_LAST].bool_param
            del message.parameters[WISHES_LAST]
        try:
            return await self._infer(message, call, partial(_as_stream_answer, marks_last))
        except asyncio.CancelledError:
            call.gone = True
            raise
        except ModelyardError as error:
            failed = _StreamResponse(error_message=detail(str(error)))
            failed.infer_response.id = message.id  # so that the client knows which
            return bytes(failed.SerializeToString())

    async def _infer(self, message: Message, call: Call, seal: Callable[[Message], bytes]) -> bytes:
        served = find(self._models, message.model_name, message.model_version)
        started = now()
        # Many typed values take long to read: the thread shares the interpreter, but lets others have their turns.
        request = await asyncio.to_thread(read_request, message) if is_large(message) else read_request(message)
        rows = rows_of(served.manifest, request.inputs, self._served.max_rows)
        planned = plan(served.manifest, request)
        schedule(call, request.wishes)
        call.phases["parse"] = now() - started
        return await served.ask(call, rows, partial(_finish, served.manifest, request, planned, call, seal))


def _finish(
    manifest: Manifest,
    request: InferRequest,
    planned: Sequence[PlannedOutput],
    call: Call,
    seal: Callable[[Message], bytes],
    outputs: Sequence[Tensors],
    _: Sequence[Prepared],
) -> bytes:
    start = now()
    sealed = seal(answer_message(manifest, request.id, outputs_of(planned, outputs)))
    call.phases["encode"] = now() - start
    return sealed


def _as_answer(message: Message) -> bytes:
    return bytes(message.SerializeToString())


def _as_stream_answer(marks_last: bool, message: Message) -> bytes:
    if marks_last:
        message.parameters[IS_LAST].bool_param = True
    return bytes(_StreamResponse(infer_response=message).SerializeToString())


async def _next(messages: AsyncIterator[Message]) -> Message | None:
    return await anext(messages, None)


def _model_name(message: Message) -> str:
    """The model to load or unload; KServe's form of the message has it where Triton's has the repository's name."""
    if message.model_name and message.repository_name:
        raise BadInput("there is one repository here; leave repository_name empty")
    name: str = message.model_name or message.repository_name
    check_name(name)
    return name


def _filled(name: str, content: dict[str, Any]) -> Message:
    """A message of what REST writes as JSON: the same names, checked by protobuf."""
    return ParseDict(content, MESSAGES[name]())

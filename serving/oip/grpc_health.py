"""`grpc.health.v1`: what Kubernetes' gRPC probes and load balancers ask; "" and the inference service are answered for.

Knows the repository's own word on whether it is ready. Knows nothing of models or keys.
"""

import asyncio
from collections.abc import AsyncIterator, Callable

from bundle.errors import ModelNotFound
from serving.batching.call import Call
from serving.oip.grpc_tensors import Message
from serving.oip.messages import HEALTH, HEALTH_MESSAGES, INFERENCE

UNKNOWN, SERVING, NOT_SERVING, SERVICE_UNKNOWN = range(4)
LOOK_EVERY_S = 0.5
"""How often a watcher's answer is looked at anew."""

_Response = HEALTH_MESSAGES["HealthCheckResponse"]


class HealthService:
    """The two methods."""

    def __init__(self, not_ready_because: Callable[[], str], draining: asyncio.Event) -> None:
        self._not_ready_because = not_ready_because
        self._draining = draining

    async def check(self, message: Message, _: Call) -> Message:
        """The status now.

        Raises:
            ModelNotFound: a service that is not here.
        """
        status = self._status(message.service)
        if status == SERVICE_UNKNOWN:
            raise ModelNotFound(f"no service '{message.service:.100}' here; there are '{INFERENCE}' and '{HEALTH}'")
        return _Response(status=status)

    async def watch(self, messages: AsyncIterator[Message], _: Call) -> AsyncIterator[Message]:
        """The status now and whenever it changes, until the service ends."""
        async for message in messages:
            told = None
            while True:
                status = self._status(message.service)
                if status != told:
                    yield _Response(status=status)
                    told = status
                if self._draining.is_set():
                    return
                try:
                    await asyncio.wait_for(self._draining.wait(), LOOK_EVERY_S)
                except TimeoutError:
                    continue

    def _status(self, service: str) -> int:
        if service not in ("", INFERENCE, HEALTH):
            return SERVICE_UNKNOWN
        return NOT_SERVING if self._draining.is_set() or self._not_ready_because() else SERVING

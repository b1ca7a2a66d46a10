"""(c): nothing but HTTP. A bare ASGI application that reads a request's body and sends a fixed answer of the real size.

`python -m loadtests.echo FOLDER PORT`: POST /<name> is answered with what is in FOLDER/<name>.
"""

import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import uvicorn

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class Echo:
    """Path -> the two messages that answer it."""

    def __init__(self, answers: dict[str, bytes]) -> None:
        self._answers = {path: (_start(body), _body(body)) for path, body in answers.items()}

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Read all, then answer."""
        while (await receive()).get("more_body"):
            pass
        start, body = self._answers[scope["path"]]
        await send(start)
        await send(body)


def _start(body: bytes) -> dict[str, Any]:
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    return {"type": "http.response.start", "status": 200, "headers": headers}


def _body(body: bytes) -> dict[str, Any]:
    return {"type": "http.response.body", "body": body}


def main(folder: str, port: str) -> None:
    """Serve until told to stop."""
    answers = {f"/{path.name}": path.read_bytes() for path in Path(folder).iterdir()} | {"/ready": b"yes"}
    app: Any = Echo(answers)
    uvicorn.run(
        app, port=int(port), loop="uvloop", http="httptools", lifespan="off", access_log=False, log_level="warning"
    )


if __name__ == "__main__":
    main(*sys.argv[1:])

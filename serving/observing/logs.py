"""The service's log on standard error: lines for people, or one JSON object a line for machines; never a payload.

One format for all: uvicorn's loggers and warnings come the same way; the level debug is for our own loggers alone.
A request has a line where the level is debug, or where it failed through no fault of its caller (5xx); ten of those a
second at most, since refusing must stay cheap when everything is refused. Knows logging. Knows nothing of HTTP beyond
the words of an access line.
"""

import json
import logging
import sys
import time
from collections.abc import Callable
from contextvars import ContextVar
from typing import Literal

from serving.observing.patient import PatientHandler

LogFormat = Literal["text", "json"]

MAX_FAILURE_LINES = 10
"""Lines of failed requests in one second; the next second's first line says how many had none."""
ASKED_OFTEN = ("/ready", "/live")
"""A 503 here is an answer like any other, and is asked for every second."""
OF_A_RECORD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message", "taskName"}
"""What every record has; the rest was given by whoever logged, as `extra`."""

request_id: ContextVar[str] = ContextVar("request_id", default="")
"""The request that this task answers, for its lines in the log."""

access_log = logging.getLogger("modelyard.access")


def configure(log_format: LogFormat, level: str) -> None:
    """Send every logger's lines to standard error in one form. For the process that serves, once."""
    handler = PatientHandler(sys.stderr.fileno())
    handler.setFormatter(JsonLines() if log_format == "json" else TextLines())
    chosen = logging.getLevelNamesMapping()[level.upper()]
    # Others' debug lines quote what they read: Pillow the tags of a picture, python-multipart parts of a body.
    logging.basicConfig(level=max(chosen, logging.INFO), handlers=[handler], force=True)
    logging.getLogger("modelyard").setLevel(chosen)
    logging.captureWarnings(True)  # a warning in plain text is no line of JSON, and would wait for a reader
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "uvicorn.asgi"):
        theirs = logging.getLogger(name)
        theirs.handlers.clear()
        theirs.propagate = True


def lines_lost() -> int:
    """Lines that this process dropped since nobody read its standard error."""
    return sum(handler.lost for handler in logging.getLogger().handlers if isinstance(handler, PatientHandler))


def last_words(message: str, *args: object) -> None:
    """Log an error, and wait for it to be written: the process is about to end without another word."""
    logging.getLogger("modelyard.serving").error(message, *args)
    for handler in logging.getLogger().handlers:
        handler.flush()


class TextLines(logging.Formatter):
    """`INFO:     what happened`, and the request's id where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        """One record, its traceback below."""
        name = request_id.get()
        line = f"{record.levelname + ':':<9} {super().format(record)}"
        first, newline, rest = line.partition("\n")
        return f"{first} [{name}]{newline}{rest}" if name else line


class JsonLines(logging.Formatter):
    """`{"time", "level", "logger", "message"}`, `request_id`, what was given as `extra`, and `exception`; one line."""

    def format(self, record: logging.LogRecord) -> str:
        """One record."""
        whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        entry: dict[str, object] = {
            "time": f"{whole}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        name = request_id.get()
        if name:
            entry["request_id"] = name
        entry |= {key: value for key, value in vars(record).items() if key not in OF_A_RECORD}
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, default=str)


class AccessLog:
    """A line a request, where it deserves one."""

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        self._now_s = now_s
        self._second = 0
        self._lines = 0
        self._left_out = 0

    def request(self, method: str, route: str, code: int, seconds: float, model: str = "", trace_id: str = "") -> None:
        """Say that a request was answered: its route as a template, and of its query no more than model and version."""
        if code >= 500 and not route.endswith(ASKED_OFTEN):
            if not self._may():
                self._left_out += 1
                return
            level = logging.WARNING
        elif access_log.isEnabledFor(logging.DEBUG):
            level = logging.DEBUG
        else:
            return
        duration_ms = round(seconds * 1000, 3)
        extra = {"method": method, "route": route, "status": code, "duration_ms": duration_ms}
        extra |= {key: value for key, value in (("model", model), ("trace_id", trace_id)) if value}
        named = f" ({model})" if model else ""
        access_log.log(level, "%s %s%s: %d in %s ms", method, route, named, code, duration_ms, extra=extra)

    def _may(self) -> bool:
        """Whether one more line of a failure may be written in this second."""
        second = int(self._now_s())
        if second != self._second:
            if self._left_out:
                access_log.warning(
                    "%d more failed requests had no line of their own",
                    self._left_out,
                    extra={"left_out": self._left_out},
                )
            self._second, self._lines, self._left_out = second, 0, 0
        self._lines += 1
        return self._lines <= MAX_FAILURE_LINES

"""A real service process of one's own, on a free port, for the length of a `with`."""

import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

START_LIMIT_S = 60
STOP_LIMIT_S = 20


@contextmanager
def service(repository: Path, *flags: str) -> Iterator[int]:
    """Start `modelyard serve` and wait until it is ready; gives the port, stops it on the way out.

    Raises:
        RuntimeError: it did not become ready, or did not stop cleanly; its output is in the message.
    """
    command = [sys.executable, "-m", "serving", str(repository), "--port", "0", *flags]
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        try:
            yield _wait_until_ready(process, output)
        finally:
            process.terminate()
            try:
                code = process.wait(STOP_LIMIT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                code = process.wait()
        if code != 0:
            raise RuntimeError(f"the service ended with {code}:\n{_read(output)}")


def _wait_until_ready(process: subprocess.Popen[bytes], output: IO[str]) -> int:
    end = time.monotonic() + START_LIMIT_S
    while time.monotonic() < end and process.poll() is None:
        found = re.search(r"http://[\d.]+:(\d+)/v1", _read(output))
        if found:
            port = int(found[1])
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/health/ready") as answer:
                if answer.status == 200:
                    return port
        time.sleep(0.05)
    raise RuntimeError(f"the service did not become ready:\n{_read(output)}")


def _read(output: IO[str]) -> str:
    output.seek(0)
    return output.read()

"""What one client, or many, can cost a server: each limit met over plain sockets on a real process."""

import resource
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from random import Random

import httpx
import pytest

from tests.builders import png
from tests.serving.raw import GOOD, HEAD, asked, connect, read_all, read_head, seconds_until_closed
from tests.serving.running import ROOT, Server, running

MAX_CONNECTIONS = 8
MAX_HEADER_BYTES = 8192
HEADER_S = 0.6
READ_S = 0.6
KEEP_ALIVE_S = 2.0
LARGE = b"/static-offline-docs/swagger-ui-bundle.js"  # over a megabyte: more than a system buffers
SLACK_S = 8.0  # two sweeps, on a machine that does much else
INTERESTING = b"\0\t\n\r :;,%/?=&\x7f\x80\xff0f9ZGP"
ESTABLISHED = "01"
PATIENT = ("--max-header-s=30", "--max-read-s=30", "--keep-alive-s=30")
IMPATIENT = (f"--max-header-s={HEADER_S}", f"--max-read-s={READ_S}", f"--keep-alive-s={KEEP_ALIVE_S}")

REFUSED = {
    "no HTTP": b"\x16\x03\x01 hello\r\n\r\n",
    "a length and chunks": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
    "two lengths": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
    "a negative length": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    "chunks of no size": b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "a blank before the colon": b"GET / HTTP/1.1\r\nHost : x\r\n\r\n",
    "a header of two lines": b"GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n",
    "NUL in a header": b"GET / HTTP/1.1\r\nHost: x\r\nA: b\0c\r\n\r\n",
    "CONNECT": b"CONNECT example.org:443 HTTP/1.1\r\nHost: x\r\n\r\n",
    "no path": b"GET http:// HTTP/1.1\r\nHost: x\r\n\r\n",
    "another version": b"GET / HTTP/9.7\r\nHost: x\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
}


@pytest.fixture(scope="module")
def guarded(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Little room, much patience."""
    flags = (f"--max-connections={MAX_CONNECTIONS}", f"--max-header-bytes={MAX_HEADER_BYTES}", *PATIENT)
    with running(repository, tmp_path_factory.mktemp("guarded"), *flags) as server:
        server.wait_for_status("/v2/health/ready", 200)
        yield server


@pytest.fixture(scope="module")
def impatient(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Much room, little patience."""
    with running(repository, tmp_path_factory.mktemp("impatient"), *IMPATIENT) as server:
        server.wait_for_status("/v2/health/ready", 200)
        yield server


@pytest.fixture(autouse=True)
def _still_answers(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    for name in {"guarded", "impatient"} & set(request.fixturenames):
        server = request.getfixturevalue(name)
        assert httpx.post(f"{server.url}/v1/classify", content=png(), trust_env=False).status_code == 200


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_no_proper_request_is_answered_400_in_the_one_shape_and_closed(guarded: Server, what: str) -> None:
    answer = asked(guarded, REFUSED[what])
    assert answer.startswith(b"HTTP/1.1 400 "), answer
    assert b'"code":"bad_input"' in answer
    assert b"x-content-type-options: nosniff" in answer


def test_requests_with_wrong_bytes_in_them_are_answered_or_cut_off_and_break_nothing(guarded: Server) -> None:
    random = Random(4)  # noqa: S311 - the same bytes every time
    body = png()
    good = (
        b"POST /v1/classify?top_k=2 HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: image/png\r\n"
        b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
    )
    chunked = b"POST /v1/classify HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunked += b"%x\r\n%s\r\n0\r\nA: b\r\n\r\n" % (len(body), body)
    for number in range(300):
        sent = bytearray((good, chunked)[number % 2])
        for _ in range(random.randint(1, 4)):
            sent[random.randrange(len(sent))] = random.choice(INTERESTING)
        with connect(guarded) as connection:
            connection.sendall(bytes(sent))
            connection.shutdown(socket.SHUT_WR)
            answer = read_all(connection)
        assert not answer.startswith(b"HTTP/1.1 500"), (bytes(sent), answer)


@pytest.mark.parametrize(
    "head",
    [
        HEAD + b"A: " + b"a" * 2**20 + b"\r\n\r\n",
        HEAD + b"".join(b"A%d: %s\r\n" % (i, b"a" * 1000) for i in range(1000)) + b"\r\n",
        b"GET /" + b"a" * 2**20 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /" + b"a" * MAX_HEADER_BYTES + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        HEAD + b"A: b\r\n" * 101 + b"\r\n",
        HEAD + b"a" * 2**20,
    ],
    ids=["one header", "many", "path", "a little over", "number", "a name without end"],
)
def test_a_head_over_its_limit_is_answered_431_even_to_a_client_that_sends_all_of_it_first(
    guarded: Server, head: bytes
) -> None:
    answer = asked(guarded, head)
    assert answer.startswith(b"HTTP/1.1 431 "), answer
    assert b'"code":"headers_too_large"' in answer
    assert b"connection: close" in answer


def test_a_head_just_within_its_limit_is_answered_whatever_body_follows_at_once(guarded: Server) -> None:
    body = png() + bytes(100_000)
    head = b"POST /v1/classify HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: image/png\r\n"
    head += b"Content-Length: %d\r\nA: " % len(body)
    head += b"a" * (MAX_HEADER_BYTES - len(head) - 10) + b"\r\n\r\n"
    assert b"HTTP/1.1 200 " in asked(guarded, head + body)


def test_heads_without_end_cost_no_memory(guarded: Server) -> None:
    before = guarded.peak_memory_bytes()
    for _ in range(20):
        asked(guarded, HEAD + b"A: " + b"a" * 4 * 2**20)
    assert guarded.peak_memory_bytes() - before < 8 * 2**20


def test_trailers_are_bounded_and_are_no_headers(guarded: Server) -> None:
    chunked = b"POST /v1/classify HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    body = b"%x\r\n%s\r\n0\r\n" % (len(png()), png())
    assert b"HTTP/1.1 200 " in asked(guarded, chunked + body + b"Content-Type: text/html\r\n\r\n")
    before = guarded.peak_memory_bytes()
    with connect(guarded) as connection:
        connection.sendall(chunked + body + b"A: ")
        with suppress(BrokenPipeError, ConnectionResetError):
            for _ in range(400):
                connection.sendall(b"a" * 65536)
        assert b"HTTP/1.1 431 " in read_all(connection)
    assert guarded.peak_memory_bytes() - before < 8 * 2**20


def test_requests_sent_ahead_are_answered_in_order_up_to_a_number(guarded: Server) -> None:
    with connect(guarded) as connection:
        connection.sendall(GOOD * 20)
        answers = b""
        while answers.count(b"}") < 20:
            answers += connection.recv(65536)
    assert answers.count(b"HTTP/1.1 200 ") == 20


def test_a_packet_full_of_requests_costs_its_connection_and_nothing_else(guarded: Server) -> None:
    answer = asked(guarded, GOOD * 5000)
    assert answer.count(b"HTTP/1.1 200 ") <= 100


def test_another_protocol_is_not_spoken_and_the_request_itself_is_answered(guarded: Server) -> None:
    upgrade = b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
    assert asked(guarded, HEAD + upgrade + b"\r\n").startswith(b"HTTP/1.1 200 ")
    post = b"POST /v1/classify HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n" + upgrade + b"\r\nabcde"
    assert asked(guarded, post).startswith(b"HTTP/1.1 501 ")


def test_over_the_most_connections_an_idle_one_makes_room(guarded: Server) -> None:
    idle = [connect(guarded) for _ in range(MAX_CONNECTIONS)]
    with connect(guarded) as another:
        another.sendall(GOOD)
        assert read_head(another).startswith(b"HTTP/1.1 200 ")
    for connection in idle:
        connection.close()


def test_over_the_most_connections_that_are_all_in_use_a_client_is_told_at_once(guarded: Server) -> None:
    in_use = [connect(guarded) for _ in range(MAX_CONNECTIONS)]
    for connection in in_use:
        connection.sendall(HEAD)
    time.sleep(0.3)  # until the server has seen that they are in use
    with connect(guarded) as another:
        another.sendall(GOOD)
        answer = read_all(another)
    assert answer.startswith(b"HTTP/1.1 503 "), answer
    assert b"retry-after: 1" in answer
    for connection in in_use:  # who was there first is served
        connection.sendall(b"\r\n")
        assert read_head(connection).startswith(b"HTTP/1.1 200 ")
        connection.close()


@pytest.mark.parametrize("piece", [b"A", b"\r\n", b"GET / HTTP/1.1\r\nA"], ids=["a letter", "blank lines", "half"])
def test_a_head_that_comes_in_drops_is_cut_off_in_time(impatient: Server, piece: bytes) -> None:
    with connect(impatient) as connection:
        start = time.monotonic()
        try:
            while time.monotonic() - start < SLACK_S:
                connection.sendall(piece)
                time.sleep(0.05)
                piece = b"\r\n" if piece == b"\r\n" else b"a"
        except OSError:
            pass  # it was cut off, which is what should happen
        assert HEADER_S <= time.monotonic() - start < SLACK_S


def test_a_head_that_stops_half_way_is_answered_408(impatient: Server) -> None:
    with connect(impatient) as connection:
        connection.sendall(HEAD)
        answer = read_all(connection)
    assert answer.startswith(b"HTTP/1.1 408 "), answer
    assert b'"code":"input_too_slow"' in answer


def test_the_second_head_of_a_connection_has_no_more_time_than_the_first(impatient: Server) -> None:
    with connect(impatient) as connection:
        connection.sendall(GOOD)
        assert read_head(connection).startswith(b"HTTP/1.1 200 ")
        connection.sendall(HEAD)
        assert read_all(connection).startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize("asks_first", [False, True])
def test_an_idle_connection_is_kept_for_its_time_and_then_closed_without_a_word(
    impatient: Server, asks_first: bool
) -> None:
    with connect(impatient) as connection:
        if asks_first:
            connection.sendall(GOOD)
            read_head(connection)
        start = time.monotonic()
        assert read_all(connection) == b""
        assert KEEP_ALIVE_S * 0.9 <= time.monotonic() - start < KEEP_ALIVE_S + SLACK_S


def test_slow_heads_keep_nobody_else_waiting(impatient: Server) -> None:
    drops = [connect(impatient) for _ in range(200)]
    for connection in drops:
        connection.sendall(b"GET / HTTP/1.1\r\nA: b")
    assert impatient.client.get("/v2/health/live").status_code == 200
    assert max(seconds_until_closed(connection) for connection in drops) < SLACK_S
    for connection in drops:
        connection.close()


def test_answers_that_nobody_reads_are_given_up(impatient: Server) -> None:
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(impatient.address)
        connection.sendall(b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % LARGE * 60)
        port = connection.getsockname()[1]
        impatient.wait_until(lambda: not _is_open(impatient, port), "the connection to be cut")


def test_an_answer_read_slowly_but_read_arrives_whole(impatient: Server) -> None:
    size = len(impatient.client.get(LARGE.decode()).content)
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        connection.connect(impatient.address)
        num_asks = 8  # the server's system buffers some of them, not all
        connection.sendall(b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % LARGE * num_asks)
        received = 0
        while received < num_asks * size:
            chunk = connection.recv(65536)
            assert chunk, f"cut off after {received} of {num_asks * size} bytes"
            received += len(chunk)
            time.sleep(0.01)


def test_the_limit_on_open_files_is_raised_to_what_the_connections_need() -> None:
    code = (
        "import resource; hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1];"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard));"
        "from serving.http.connections import allow_files; allow_files(1000);"
        "print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    assert int(done.stdout) == (1512 if most == resource.RLIM_INFINITY else min(1512, most))


def _is_open(server: Server, client_port: int) -> bool:
    """Whether the server's process still holds its end of a connection."""
    remote = f":{client_port:04X}"
    lines = Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]
    local = f":{server.address[1]:04X}"
    fields = [line.split() for line in lines]
    return any((one[1][-5:], one[2][-5:], one[3]) == (local, remote, ESTABLISHED) for one in fields)

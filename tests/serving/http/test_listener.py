"""A listener that is about to close: nobody begins any more, and whoever had begun is not lost."""

import socket
import sys

import pytest

from serving.http.listener import refuse_new

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the packet filter is Linux's")
MOMENT_S = 0.2


def test_nobody_begins_and_whoever_had_begun_is_served() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
        with socket.create_connection(address) as early:
            refuse_new(listener)
            with socket.socket() as late:
                late.settimeout(MOMENT_S)
                with pytest.raises(TimeoutError):
                    late.connect(address)
            accepted, _ = listener.accept()
            with accepted:
                early.sendall(b"asked")
                assert accepted.recv(10) == b"asked"
                accepted.sendall(b"answered")
                assert early.recv(10) == b"answered"
            listener.settimeout(MOMENT_S)
            with pytest.raises(TimeoutError):
                listener.accept()


def test_the_next_one_on_the_port_is_free() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
        refuse_new(listener)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address)
    with socket.create_server(address), socket.create_connection(address):
        pass

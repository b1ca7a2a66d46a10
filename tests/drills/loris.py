"""`python -m tests.drills.loris PORT NUMBER`: so many clients that send a head a byte a second and never end it.

Whoever is cut off comes again at once. Prints the number of connections that are open, a line a second. A process of
its own, so that it takes nothing from the clients that are measured. Knows sockets.
"""

import errno
import resource
import socket
import sys
import time

PER_SOURCE = 2000
"""Connections from one address: the system has some 28,000 ports for each, shared with all that runs here."""
AT_ONCE = 200
HEAD = b"POST /v1/classify HTTP/1.1\r\nHost: x\r\nX-a: "


def attack(port: int, number: int) -> None:
    """Until this process is ended."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (number + 100, max(number + 100, _hard())))
    clients: dict[int, socket.socket] = {}
    begun: set[socket.socket] = set()
    num_cut = 0
    while True:
        start = time.monotonic()
        while len(clients) < number and time.monotonic() - start < 1:
            missing = [place for place in range(number) if place not in clients][:AT_ONCE]
            for place in missing:
                clients[place] = _begin(port, f"127.0.0.{2 + place // PER_SOURCE}")
            time.sleep(0.02)  # for the listener to take them
        for place, client in list(clients.items()):
            if not _drip(client, begun):
                begun.discard(client)
                client.close()
                del clients[place]
                num_cut += 1
        print(len(clients), num_cut, flush=True)
        time.sleep(max(0.0, 1 - (time.monotonic() - start)))


def _begin(port: int, source: str) -> socket.socket:
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    client.bind((source, 0))
    client.setblocking(False)
    client.connect_ex(("127.0.0.1", port))
    return client


def _drip(client: socket.socket, begun: set[socket.socket]) -> bool:
    """Whether it is still let in."""
    try:
        if client.recv(65536) == b"":
            return False
    except BlockingIOError:
        pass
    except OSError as cause:
        return cause.errno == errno.ENOTCONN  # it has not yet come in
    try:
        client.send(b"a" if client in begun else HEAD)
        begun.add(client)
    except OSError:
        pass  # not connected yet; or cut off, which the next reading tells
    return True


def _hard() -> int:
    return resource.getrlimit(resource.RLIMIT_NOFILE)[1]


if __name__ == "__main__":
    attack(int(sys.argv[1]), int(sys.argv[2]))

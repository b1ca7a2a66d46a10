"""A listening socket that takes no new connections and loses none that began: what comes before it is closed.

Closing a listener resets every connection that the kernel has completed and nobody has accepted, and while clients go
on connecting there always is one. So first the kernel is told to drop packets that begin a connection (their senders
try again after a second, and then find nobody); what had begun arrives, is accepted, and the listener closes empty.

Knows sockets. Knows nothing of servers.
"""

import ctypes
import logging
import socket
import struct
import sys

SO_ATTACH_FILTER = 26  # Linux; the socket module has no name for it
TCP_FLAGS_BYTE = 13
SYN = 0x02
DROP_SYN = (
    (
        0x30,
        0,
        0,
        TCP_FLAGS_BYTE,
    ),  # load the byte of flags: the packet begins with its TCP header here
    (0x45, 0, 1, SYN),  # if it has this bit
    (0x06, 0, 0, 0),  # drop the packet
    (0x06, 0, 0, 0xFFFFFFFF),  # else keep all of it
)
"""A program of the classic packet filter, which needs no privilege: (code, jump if true, jump if false, operand)."""

log = logging.getLogger("modelyard.serving")


def refuse_new(listener: socket.socket) -> None:
    """From now on no new connection begins; where the kernel cannot, it is asked to queue as few as possible."""
    if sys.platform != "linux":  # the option has another meaning, or none
        listener.listen(0)
        return
    program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in DROP_SYN))
    try:
        listener.setsockopt(
            socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HP", len(DROP_SYN), ctypes.addressof(program))
        )
    except OSError as cause:
        log.warning("connections that begin while the listener closes may be reset: %s", cause)
        listener.listen(0)

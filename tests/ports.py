"""Ports for servers that cannot say which one they took."""

import random
import socket
from contextlib import suppress

LOWEST, BEYOND = 20_000, 32_768
"""Below those of which Linux gives one to whoever asks for any: nobody gets it before its use."""


def free_port() -> int:
    """A port of this machine that nobody uses."""
    while True:
        port = random.randrange(LOWEST, BEYOND)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port

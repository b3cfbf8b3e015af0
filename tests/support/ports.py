"""Free TCP ports that stay free until a test uses them."""

from __future__ import annotations

import os
import random
import socket

# Tests run in several processes (pytest-xdist): each takes ports of its own.
_PROCESSES = 8
_PROCESS = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % _PROCESSES
# Below the range from which the kernel takes ports for outgoing connections, so that none of those gets in between.
_RANGE = range(20_000 + _PROCESS, 32_000, _PROCESSES)
_given: set[int] = set()


def free_port() -> int:
    """Return a port of loopback, of IPv4 and IPv6, that nobody uses and that was not returned before."""
    for _ in range(1000):
        port = random.choice(_RANGE)
        if port not in _given and _is_free(port):
            _given.add(port)
            return port
    raise RuntimeError("no free port found")


def _is_free(port: int) -> bool:
    for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        with socket.socket(family, socket.SOCK_STREAM) as sock:
            try:
                sock.bind((host, port))
            except OSError as error:
                if family == socket.AF_INET or "assign" not in str(error):
                    return False
    return True

"""
Ports for servers that tests start as processes of their own.

None is of those that the system gives out by itself: between the choice of such a port and the server's bind another
test's server, or a client's connection, may get it.
"""

import os
import random
import socket
from contextlib import closing
from itertools import count

# Below what Linux gives out, 32768 and up, and apart for each of the processes that run tests side by side.
_FIRST, _FOR_EACH = 10_000, 5_000
_worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 4
_numbers = count(random.SystemRandom().randrange(_FOR_EACH))


def free_port():
    """
    Return a port of 127.0.0.1 that nobody listens at, and that this process gives out once.
    """
    while True:
        port = _FIRST + _worker * _FOR_EACH + next(_numbers) % _FOR_EACH
        try:
            with closing(socket.create_server(("127.0.0.1", port))):
                return port
        except OSError:
            continue

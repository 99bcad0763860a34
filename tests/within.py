"""
Do a part of a test inside of a request.
"""

from obskit.context import current
from obskit.operation import HttpOperation


def in_request(identity, function, *args):
    """
    Call a function inside of a request with this correlation id.
    """
    operation = HttpOperation("GET", "/")
    operation.correlation_id = identity
    token = current.set(operation)
    try:
        return function(*args)
    finally:
        current.reset(token)

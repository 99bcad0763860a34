"""
For tests of hooks: a runtime, and a PostgreSQL server for those that need one.
"""

import os
import shutil
import tempfile

import pytest

import servers
from obskit.testing import isolated_runtime


@pytest.fixture
def runtime(sink):
    with isolated_runtime(service="shop", sinks=[sink]) as runtime:
        yield runtime


@pytest.fixture(scope="session")
def postgres():
    """
    Yield the address of a PostgreSQL server of these tests' own; it needs no rights.
    """
    os.environ.setdefault("XDG_RUNTIME_DIR", tempfile.gettempdir())
    folder = tempfile.mkdtemp(prefix="obskit-postgres-")
    server = servers.postgresql(folder)
    if server is None:
        os.rmdir(folder)
        pytest.skip("there is no PostgreSQL")
    try:
        yield server.get_uri()
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)

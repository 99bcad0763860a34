"""
What imports an application that keeps its history, and serves nobody, leaves the state folder as it was.
"""

import os
import subprocess
import sys
from importlib.util import find_spec

import pytest

import obskit
from obskit.testing import FakeClock, advance, isolated_runtime

SETTINGS = "service='shop', history=True, version='2'"
FILES = {
    "shop.py": f"import flask, obskit\napp = flask.Flask('shop')\nobskit.instrument(app, {SETTINGS})\n",
    "raw.py": "import obskit\n"
    f"app = obskit.instrument(lambda environ, start: [start('200 OK', []), []][1], {SETTINGS})\n"
    "obskit.counter('plates_total', 'Plates.').inc()\n",
    "manage.py": "import os, sys\n"
    "from django.core.management import execute_from_command_line\n"
    "os.environ['DJANGO_SETTINGS_MODULE'] = 'site_settings'\n"
    "execute_from_command_line(sys.argv)\n",
    "site_settings.py": "SECRET_KEY = 'x'\nROOT_URLCONF = 'site_urls'\n"
    "INSTALLED_APPS = ['obskit.integrations.django']\n"
    "MIDDLEWARE = ['obskit.integrations.django.ObskitMiddleware']\n"
    "OBSKIT = {'service': 'shop', 'history': True, 'version': '2'}\n"
    "DATABASES = {'default': {'ENGINE': 'django.db.backends.sqlite3', 'NAME': 'site.sqlite3'}}\n",
    "site_urls.py": "urlpatterns = []\n",
    "test_shop.py": "import raw\n\n\ndef test_it():\n"
    "    assert b'' == b''.join(raw.app({'REQUEST_METHOD': 'GET', 'PATH_INFO': '/'}, lambda *given: None))\n",
    "test_django.py": "from django.test import SimpleTestCase\n\n\nclass Visit(SimpleTestCase):\n"
    "    def test_it(self):\n        self.assertEqual(404, self.client.get('/').status_code)\n",
    "alembic.ini": "[alembic]\nscript_location = migrations\n",
    "migrations/script.py.mako": "",
    "migrations/env.py": "import sqlalchemy\nfrom alembic import context\nimport raw\n\n"
    "with sqlalchemy.create_engine('sqlite:///shop.sqlite3').connect() as connection:\n"
    "    context.configure(connection=connection)\n"
    "    with context.begin_transaction():\n        context.run_migrations()\n",
    "migrations/versions/one.py": "revision = 'one'\ndown_revision = None\n\n\ndef upgrade(): ...\n",
}
COMMANDS = {
    "manage.py check": ("django", "manage.py", "check"),
    "manage.py migrate": ("django", "manage.py", "migrate"),
    "manage.py test": ("django", "manage.py", "test"),
    "flask routes": ("flask", "-m", "flask", "--app", "shop", "routes"),
    "alembic upgrade": ("alembic", "-m", "alembic", "upgrade", "head"),
    "pytest": ("pytest", "-m", "pytest", "-p", "no:cacheprovider", "test_shop.py"),
    "gunicorn --check-config": ("gunicorn", "-m", "gunicorn", "--check-config", "raw:app"),
    "obskit check": ("obskit", "-m", "obskit", "check", "--app", "raw:app"),
    "obskit export": ("obskit", "-m", "obskit", "export", "prometheus", "--app", "raw:app", "-o", "files"),
}
INSTALLED = [name for name, (library, *_) in COMMANDS.items() if find_spec(library)]


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """
    A project of each kind, and the state of a service that has served.
    """
    folder = tmp_path_factory.mktemp("project")
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    settings = {"service": "shop", "serving": True, "history": True, "state_dir": str(folder / "state")}
    with isolated_runtime(clock=FakeClock(), version="1", **settings):
        obskit.counter("commanded_total", "Before any command.").inc()  # declared for the file, and so for its process
        advance("2m")
    return folder


def seen(folder):
    """
    Return all that is in a folder, and when it was written last.
    """
    return {path: (path.lstat().st_size, path.lstat().st_mtime_ns) for path in folder.rglob("*")}


@pytest.mark.parametrize("command", INSTALLED)
def test_who_serves_nobody_leaves_the_state_as_it_was(project, command):
    """
    Commands, migrations and tests that import the application write nothing, make no file, and take no lead.
    """
    _, *arguments = COMMANDS[command]
    environ = {name: text for name, text in os.environ.items() if not name.startswith(("PYTEST", "COV"))}
    environ |= {"OBSKIT_STATE_DIR": str(project / "state"), "HOME": str(project / "home"), "PYTHONPATH": str(project)}
    environ.pop("XDG_STATE_HOME", None)
    before = seen(project / "state")
    done = subprocess.run([sys.executable, *arguments], cwd=project, env=environ, capture_output=True, text=True)

    assert 0 == done.returncode, done.stdout + done.stderr
    assert before == seen(project / "state")
    assert len(before) > 4
    assert not (project / "home").exists()

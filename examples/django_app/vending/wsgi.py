"""
Serve the platform: `gunicorn vending.wsgi`.
"""

import fcntl
import os
from pathlib import Path

from django.conf import settings
from django.core.management import call_command
from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "vending.settings")
application = get_wsgi_application()

# The example makes its tables when it starts, one worker after the other; a real project has migrations, and runs them
# when it is deployed.
with Path(f"{settings.DATABASES['default']['NAME']}.lock").open("w") as lock:
    fcntl.flock(lock, fcntl.LOCK_EX)
    call_command("migrate", run_syncdb=True, verbosity=0)
    call_command("loaddata", "machines", verbosity=0)

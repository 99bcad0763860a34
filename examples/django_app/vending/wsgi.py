"""
Serve the platform: `gunicorn vending.wsgi`.
"""

import os

from django.core.management import call_command
from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "vending.settings")
application = get_wsgi_application()

# The example makes its tables when it starts; a real project has migrations, and runs them when it is deployed.
call_command("migrate", run_syncdb=True, verbosity=0)
call_command("loaddata", "machines", verbosity=0)

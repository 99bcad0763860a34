"""
Configure a small vending-machine platform on Django, observed by obskit.
"""

import os
import tempfile

SECRET_KEY = os.environ.get("VENDING_SECRET_KEY", "for the example only")
ALLOWED_HOSTS = ["localhost", "127.0.0.1"]
TIME_ZONE = "UTC"
USE_TZ = True
ROOT_URLCONF = "vending.urls"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ.get("VENDING_DATABASE", f"{tempfile.gettempdir()}/vending-django.db"),
    }
}

INSTALLED_APPS = ["obskit.integrations.django", "vending"]
MIDDLEWARE = [
    "obskit.integrations.django.ObskitMiddleware",  # first: it times all that follow
    "django.middleware.common.CommonMiddleware",
]
OBSKIT = {"service": "vending", "namespace": "vending", "auto": True}

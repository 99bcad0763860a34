"""
Write the settings of a database.
"""

import os
import tempfile
from urllib.parse import parse_qs, urlsplit


def database(address, name, **options):
    """
    Return an entry of `DATABASES`, for `sqlite` or for the address of a PostgreSQL.
    """
    if address == "sqlite":
        return {"ENGINE": "django.db.backends.sqlite3", "NAME": os.path.join(tempfile.mkdtemp(), name)}
    url = urlsplit(address)
    host = parse_qs(url.query)["host"][0]
    entry = {"ENGINE": "django.db.backends.postgresql", "NAME": "postgres", "USER": url.username, "HOST": host}
    return {**entry, "OPTIONS": options}

"""
Observe Django: around its handlers, as its middleware, and as an app.

    application = obskit.instrument(get_wsgi_application(), service="shop")     # wsgi.py, or asgi.py

or, in the settings:

    INSTALLED_APPS = ["obskit.integrations.django", ...]
    MIDDLEWARE = ["obskit.integrations.django.ObskitMiddleware", ...]           # first
    OBSKIT = {"service": "shop"}

and `path("", include("obskit.integrations.django.urls"))` in the URLconf. With `instrument()`, obskit answers its
routes in front of Django: before `ALLOWED_HOSTS`, redirects to HTTPS and logins. The URLs of the second form pass
through all middleware.

The `endpoint` is what Django calls the route, with a leading slash: `/items/<int:item_id>`, the routes of includes in
front. Of a regular expression the anchors are left out: `/articles/(?P<year>[0-9]{4})/`.
"""

from __future__ import annotations

from obskit.errors import MissingExtraError

try:
    import django.core.handlers.base  # noqa: F401
except ImportError as error:
    raise MissingExtraError("obskit.integrations.django needs Django: pip install 'obskit[django]'") from error

from obskit.integrations.django.handlers import instrument
from obskit.integrations.django.middleware import ObskitMiddleware

__all__ = ["ObskitMiddleware", "instrument"]

"""
The Django app: settings applied at startup, and checks that the middleware and the URLs are there.
"""

from __future__ import annotations

from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core import checks

from obskit.integrations.django import databases
from obskit.integrations.django.middleware import configure_from_settings
from obskit.integrations.django.routes import internal_prefixes
from obskit.runtime import current_runtime

_DATABASES = "django.databases"  # as `auto=True` names it
_MIDDLEWARE = "obskit.integrations.django.ObskitMiddleware"


class ObskitConfig(AppConfig):
    """
    The app, which applies `settings.OBSKIT` when Django starts.
    """

    name = "obskit.integrations.django"
    label = "obskit"
    verbose_name = "obskit"

    def ready(self) -> None:
        """
        Configure obskit, in every process that starts Django: servers, commands and tests; time the databases.
        """
        runtime = configure_from_settings()
        if runtime.settings.enabled:
            databases.instrument()
            if _DATABASES not in runtime.hooks:
                runtime.hooks.append(_DATABASES)
        checks.register(check_middleware)
        checks.register(check_urls)


def check_middleware(app_configs: Any, **kwargs: Any) -> list[checks.CheckMessage]:
    """
    Warn where the app is installed, and its middleware is not.
    """
    if _MIDDLEWARE in settings.MIDDLEWARE:
        return []
    return [
        checks.Warning(
            "obskit.integrations.django is in INSTALLED_APPS, but its middleware is not in MIDDLEWARE: "
            "no request is observed.",
            hint=f'Add "{_MIDDLEWARE}" as the first line of MIDDLEWARE. Where obskit.instrument() wraps the '
            'application instead, say so with SILENCED_SYSTEM_CHECKS = ["obskit.W001"].',
            id="obskit.W001",
        )
    ]


def check_urls(app_configs: Any, **kwargs: Any) -> list[checks.CheckMessage]:
    """
    Warn where the middleware is installed, and the URLconf has none of obskit's routes.
    """
    runtime = current_runtime()
    if runtime is None or not runtime.routes.paths or _MIDDLEWARE not in settings.MIDDLEWARE:
        return []
    try:
        if internal_prefixes():
            return []
    except Exception:
        return []  # Django's own checks report a URLconf that cannot be imported
    return [
        checks.Warning(
            f"The URLconf does not include obskit.integrations.django.urls: "
            f"nothing answers {', '.join(sorted(runtime.routes.paths))}.",
            hint='Add path("", include("obskit.integrations.django.urls")) to the urlpatterns. Where obskit is to have '
            "no routes, say so with metrics_path=None and health_path=None; where obskit.instrument() wraps the "
            'application, with SILENCED_SYSTEM_CHECKS = ["obskit.W002"].',
            id="obskit.W002",
        )
    ]

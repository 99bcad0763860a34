"""
Be the Django app: settings applied at startup, and a check that the middleware is there.
"""

from __future__ import annotations

from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core import checks

from obskit.integrations.django.middleware import configure_from_settings

_MIDDLEWARE = "obskit.integrations.django.ObskitMiddleware"


class ObskitConfig(AppConfig):
    """
    Apply `settings.OBSKIT` when Django starts.
    """

    name = "obskit.integrations.django"
    label = "obskit"
    verbose_name = "obskit"

    def ready(self) -> None:
        """
        Configure obskit, in every process that starts Django: servers, commands and tests.
        """
        configure_from_settings()
        checks.register(check_middleware)


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

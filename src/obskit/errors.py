"""
Name each mistake a user can make with a class of its own.

    ObskitError
    +-- ConfigurationError (ValueError)        a setting is wrong; raised by configure()
    |   +-- UnknownSettingError                no such setting; the nearest name is suggested
    |   +-- AlreadyConfiguredError             configure() came twice with different settings
    |   +-- UnsupportedApplicationError        instrument() was given something it cannot serve
    |   +-- NotObservableError                 a decorator was given what it cannot stand for: a class, a property
    |   +-- RouteTakenError                    the application has a route at metrics_path or health_path
    |   +-- MetricNameError                    a name or label that Prometheus does not accept
    |   +-- MetricConflictError                the name is taken, by us or by the application
    |   +-- HealthCheckError                   a health check cannot be declared so, or is declared twice
    |   +-- UnknownGroupError                  a health check is in a group that nobody declared
    |   +-- StateFolderTakenError              another application of the same name keeps its state there
    |   +-- BudgetError                        an AI budget cannot be declared so, or is declared twice
    +-- BudgetExceededError                    an AI budget refused a call; nothing was sent
    +-- LabelError (ValueError)                an update named labels the metric does not have
    +-- SqliteDoctorError                      the SQLite doctor could not do what it was asked to
    +-- MissingExtraError (ImportError)        an integration's library is not installed
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime


class ObskitError(Exception):
    """
    Catch every error that obskit raises on purpose.
    """


class ConfigurationError(ObskitError, ValueError):
    """
    Report a setting whose value cannot be used.
    """


class UnknownSettingError(ConfigurationError):
    """
    Report an argument of `configure()` that no setting has.
    """


class AlreadyConfiguredError(ConfigurationError):
    """
    Report a second `configure()` that disagrees with the first.
    """


class UnsupportedApplicationError(ConfigurationError):
    """
    Report an application object that `instrument()` does not know how to serve.
    """


class NotObservableError(ConfigurationError):
    """
    Report what a decorator that times functions cannot take the place of: a class, a property, no function at all.
    """


class RouteTakenError(ConfigurationError):
    """
    Report that the application already answers a path which obskit wants.
    """


class MetricNameError(ConfigurationError):
    """
    Report a metric or label name outside of Prometheus' data model.
    """


class MetricConflictError(ConfigurationError):
    """
    Report two different metrics under one name.
    """


class HealthCheckError(ConfigurationError):
    """
    Report a health check that cannot be declared so: a wrong argument, a name that another one has, a need that no
    check meets.
    """


class UnknownGroupError(ConfigurationError):
    """
    Report a health check in a group that is neither built in nor one of `health_groups`.
    """


class StateFolderTakenError(ConfigurationError):
    """
    Report that two applications which nobody has named would share one folder of state.
    """


class BudgetError(ConfigurationError):
    """
    Report an AI budget that cannot be declared so: a wrong argument, a name that another one has, no price to count by.
    """


class BudgetExceededError(ObskitError):
    """
    Report an AI call that a budget with `action="block"` refused before anything was sent.

    Attributes:
        budget: Its name.
        limit_usd: Of a period.
        spent_usd: In this period; None where that is not known.
        reserved_usd: By calls that are under way; None where that is not known.
        resets_at: When the next period begins, in the budget's time zone.
        asked_usd: That the call may have cost at most; None where that is not known.
        reason: `limit`, `unknown_price`, or where the file that keeps the count cannot be used, `state`.
    """

    def __init__(
        self,
        message: str,
        *,
        budget: str = "",
        limit_usd: float = 0.0,
        spent_usd: float | None = None,
        reserved_usd: float | None = None,
        resets_at: datetime | None = None,
        reason: str = "limit",
        asked_usd: float | None = None,
    ) -> None:
        super().__init__(message)
        self.budget = budget
        self.asked_usd = asked_usd
        self.limit_usd = limit_usd
        self.spent_usd = spent_usd
        self.reserved_usd = reserved_usd
        self.resets_at = resets_at
        self.reason = reason


class LabelError(ObskitError, ValueError):
    """
    Report an update whose labels are not the metric's labels.
    """


class SqliteDoctorError(ObskitError):
    """
    Report a backup or an optimisation that was not made, or an examination that was asked for in a request.

    What is wrong with the file is no error: it is in the report.
    """


class MissingExtraError(ObskitError, ImportError):
    """
    Report a library that an integration needs and that is not installed.
    """

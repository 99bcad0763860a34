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
    |   +-- UnknownGroupError                  a health check is in a group that was never declared
    |   +-- StateFolderTakenError              another application of the same name keeps its state there
    |   +-- DurationError                      a length of time without a unit, or none at all
    |   +-- ScheduleError                      a time of day, time zone, cron expression or hours with no meaning
    |   +-- SignalError                        nothing that can be asked of a metric: the rate of a gauge, no such label
    |   +-- RuleError                          a rule cannot be declared so, can never fire, or its name is taken
    |   +-- ObjectiveError                     an objective promises nothing, or what cannot be kept or measured
    |   +-- ExportError                        files for others cannot be written: nothing is on, an unknown version
    |   +-- HistoryError                       nothing that the history can tell: no folder, steps without end
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
    The base of every error that obskit raises on purpose.
    """


class ConfigurationError(ObskitError, ValueError):
    """
    A setting has a value that cannot be used.
    """


class UnknownSettingError(ConfigurationError):
    """
    `configure()` was given an argument that is not a setting.
    """


class AlreadyConfiguredError(ConfigurationError):
    """
    A second `configure()` disagrees with the first.
    """


class UnsupportedApplicationError(ConfigurationError):
    """
    `instrument()` was given an object that it does not know as an application.
    """


class NotObservableError(ConfigurationError):
    """
    A decorator that times functions was put on something else: a class, a property, no function at all.
    """


class RouteTakenError(ConfigurationError):
    """
    The application already has a route that obskit wants.
    """


class MetricNameError(ConfigurationError):
    """
    A name of a metric or a label is not valid in Prometheus' data model.
    """


class MetricConflictError(ConfigurationError):
    """
    Two different metrics have one name.
    """


class HealthCheckError(ConfigurationError):
    """
    A health check cannot be declared so: a wrong argument, a name that another one has, a need that no
    check meets.
    """


class UnknownGroupError(ConfigurationError):
    """
    A health check is in a group that is neither built in nor one of `health_groups`.
    """


class StateFolderTakenError(ConfigurationError):
    """
    Two applications without a name of their own would share one folder of state.
    """


class DurationError(ConfigurationError):
    """
    A length of time cannot be read, or has no unit: a bare number may be seconds or minutes.
    """


class ScheduleError(ConfigurationError):
    """
    A time of day, a time zone, a cron expression or service hours cannot be read, or never come.
    """


class SignalError(ConfigurationError):
    """
    Something cannot be asked of a metric: another kind of metric has it, a label or a bound is not there, units differ.
    """


class RuleError(ConfigurationError):
    """
    A rule cannot be declared so: it can never fire, its name is taken, a severity, an area or a label is unknown.
    """


class ObjectiveError(ConfigurationError):
    """
    An objective cannot be declared so: it promises nothing, a share is out of range, or another one has its name.
    """


class ExportError(ConfigurationError):
    """
    Files for other systems cannot be written: nothing is configured, or they would be for a version that is not known.
    """


class HistoryError(ConfigurationError):
    """
    The history cannot be asked so: none is kept, a folder has none, the steps are too many, or reading takes too long.
    """


class BudgetError(ConfigurationError):
    """
    An AI budget cannot be declared so: a wrong argument, a name that another one has, no price to count by.
    """


class BudgetExceededError(ObskitError):
    """
    A budget with `action="block"` refused an AI call before anything was sent.

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
    An update has other labels than its metric.
    """


class SqliteDoctorError(ObskitError):
    """
    A backup or an optimisation was not made, or an examination was asked for in a request.

    What is wrong with the file is no error: it is in the report.
    """


class MissingExtraError(ObskitError, ImportError):
    """
    A library that an integration needs is not installed.
    """

"""
Name each mistake a user can make with a class of its own.

    ObskitError
    +-- ConfigurationError (ValueError)        a setting is wrong; raised by configure()
    |   +-- UnknownSettingError                no such setting; the nearest name is suggested
    |   +-- AlreadyConfiguredError             configure() came twice with different settings
    |   +-- UnsupportedApplicationError        instrument() was given something it cannot serve
    |   +-- RouteTakenError                    the application has a route at metrics_path or health_path
    |   +-- MetricNameError                    a name or label that Prometheus does not accept
    |   +-- MetricConflictError                the name is taken, by us or by the application
    |   +-- HealthCheckError                   a health check cannot be declared so, or is declared twice
    |   +-- UnknownGroupError                  a health check is in a group that nobody declared
    +-- LabelError (ValueError)                an update named labels the metric does not have
    +-- SqliteDoctorError                      the SQLite doctor could not do what it was asked to
    +-- MissingExtraError (ImportError)        an integration's library is not installed
"""


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

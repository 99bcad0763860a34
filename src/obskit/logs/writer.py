"""
Build lines and route them to the targets that the settings name: one writer for every kind of line.

What a line costs is decided when the writer is made. A line's `body` is its message, ids and fields; `outlet()` gives
what turns the bodies of one logger and level into bytes, and where these go.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias, TypeVar

from obskit.context import current
from obskit.logs.caller import add_callsite, stack
from obskit.logs.categories import category_of
from obskit.logs.exceptions import exception_from, message_of, traceback_of
from obskit.logs.line_format import Body, LineFormat, Renderer, clock_offset_now
from obskit.logs.line_settings import LineSettings
from obskit.logs.line_truncation import truncate_traceback
from obskit.logs.outputs import Output, Tee, fan_out
from obskit.logs.plain_values import plain_sizes
from obskit.logs.rendering import (
    CALLSITE_FIELDS,
    CATEGORY_FIELDS,
    LEFT_IN_RECORDS,
    MAX_DEPTH,
    MAX_LINE_CHARACTERS,
    PROCESSOR_FIELDS,
    RESERVED_FIELDS,
    SCALARS,
    SizeBudget,
    as_text,
    reserved_names,
    to_jsonable,
)
from obskit.logs.sampling import Sampler
from obskit.logs.schemas import field_renames, object_names
from obskit.logs.stream import Target, drop_reason
from obskit.logs.targets import channel_target_for, error_target_for, output_settings, target_for
from obskit.operation import Operation
from obskit.recorder import Recorder
from obskit.redaction.keys import CONTEXTUAL_NAMES
from obskit.redaction.redactor import Redactor
from obskit.redaction.text_truncation import MAX_TEXT
from obskit.redaction.values import marker
from obskit.time.clock import Deadline

T = TypeVar("T")
Pairs: TypeAlias = Iterable[tuple[Any, Any]]
# Adds one field that is not known to be plain; the last is what it comes from, a mapping or a record.
AddOther: TypeAlias = Callable[[Body, Any, Any, SizeBudget, Any], None]
Emit: TypeAlias = Callable[[float, Body], None]
Route: TypeAlias = tuple[Renderer, Target]

# The attribute of an exception that left a request, with the request's id.
CORRELATION_ID_ATTRIBUTE = "_obskit_id_of_request"
# Limits of the cache of field names, since an application may generate names.
MAX_KNOWN_NAMES = 4096
MAX_NAME_LENGTH = 64
# Limits of the cache of messages without a secret: most recur word for word.
MAX_CLEAN_MESSAGES = 4096
MAX_CLEAN_MESSAGE_LENGTH = 256
LEVELS = {"DEBUG": 10, "INFO": 20, "WARNING": 30, "ERROR": 40, "CRITICAL": 50}
_JUDGED_EACH_TIME = CONTEXTUAL_NAMES | PROCESSOR_FIELDS | LEFT_IN_RECORDS
_NO_FIELDS: Mapping[Any, Any] = {}
_MAX_INTEGER = 2**63  # orjson serializes no greater number
_LEVEL_NAMES = {number: name for name, number in LEVELS.items()}


def level_name(number: int) -> str:
    """
    Return the name of a level; an application's own level counts as the next lower one of the five.
    """
    return _LEVEL_NAMES.get(number) or _LEVEL_NAMES[min(max(number // 10 * 10, 10), 50)]


class Add(Protocol):
    """
    Adds fields to a body.
    """

    def __call__(self, body: Body, given: Any, pairs: Pairs | None = ..., add_other: AddOther = ..., /) -> None:
        """
        Add them.

        Args:
            body: What they are added to.
            given: What they come from: a mapping of a caller's fields, or a record.
            pairs: The fields, where it is a record.
            add_other: Adds one that is not known to be plain.
        """


class Writer:
    """
    The writer of one runtime's lines.

    Attributes:
        settings: What it was made from.
        reserved: Names that callers' fields must not have.
        process_fields: The fields that every line has.
        line_format: The format of the first output.
        extra_outputs: The outputs beside the first.
        spans_enabled: Whether spans are on.
        add: Adds a caller's fields to a body; those with a reserved name become `extra_<name>`.
        redactor: Redacts secrets.
        clean_messages: Messages without a secret.
        known_names: The names of callers' fields that need no redaction, and what they are on a line.
        unchanged_names: Those that are the same there.
        sampler: Decides which lines of loggers are left out; None where all are written.
        callsite: Adds the place of the logging call; None where `log_callsite` is off.
        clock_offset: The approximate offset in seconds from the clock of operations to that of records.
    """

    def __init__(self, settings: LineSettings, recorder: Recorder) -> None:
        self.settings = settings
        self.wall_clock = recorder.wall_clock
        self._recorder = recorder
        self._routes: dict[tuple[str, int], Route] = {}
        others = output_settings(settings)
        self.reserved = frozenset[str]().union(*map(_reserved, [settings, *others]))
        self.process_fields = {
            name: value
            for name in ("service", "version", "environment")
            if (value := getattr(settings, name)) is not None
        }
        self.clock_offset = [clock_offset_now()]
        self.line_format = LineFormat(settings, self.process_fields, self.clock_offset)
        self.extra_outputs: list[Output] = []
        self.spans_enabled = False
        self._add_ids: Callable[[Body, Operation | None], None] = _add_request_ids
        self.redactor = Redactor(settings.redact_keys, settings.redact_values)
        self.known_names: dict[str, str] = {}
        self.unchanged_names: set[str] = set()
        self.clean_messages: set[str] = set()
        self.add = self._adder()
        self.sampler = self._sampler_of(settings)
        self.callsite = add_callsite if settings.log_callsite else None
        self._targets: list[Target] = []
        try:
            self._open(settings, others)
        except BaseException:
            self.close()
            raise

    def _open(self, settings: LineSettings, others: Sequence[LineSettings]) -> None:
        self._main = self._keep_open(target_for(settings))
        self._channels = {
            name: self._keep_open(channel_target_for(settings, channel))
            for name, channel in settings.log_channels.items()
        }
        errors = error_target_for(settings)
        self._errors = None if errors is None else self._keep_open(errors)
        for own, given in zip(others, settings.log_outputs, strict=True):
            line_format = LineFormat(own, self.process_fields, self.clock_offset)
            target = self._keep_open(target_for(own))
            self.extra_outputs.append(Output(line_format, target, LEVELS[given["level"]] if "level" in given else 0))
        for target in self._targets:
            self._warn(target.notice())

    def _keep_open(self, target: Target) -> Target:
        self._targets.append(target)
        return target

    def _warn(self, notice: str | None) -> None:
        """
        Log the warning of a target, if there is one.
        """
        if notice is not None and LEVELS["WARNING"] >= self.level_of("obskit.logs"):
            self.emitter("obskit.logs", LEVELS["WARNING"])(self.wall_clock(), {"message": notice})

    def primary_target(self, logger: str, level: int) -> Target:
        """
        Return the target of the first output's lines of a logger and level: the file of its channel, else the main
        target; from ERROR on `error_file` too. obskit's own loggers belong to the channel without their prefix.
        """
        channels = self._channels
        channel = nearest_parent(channels, logger) or nearest_parent(channels, logger.removeprefix("obskit."))
        target = (channel or self._main).for_level(level)
        return target if self._errors is None or level < LEVELS["ERROR"] else Tee(target, self._errors, self.failed)

    def enable_span_ids(self) -> None:
        """
        Add the ids of the current span to each line.
        """
        self.spans_enabled = True
        self._add_ids = _span_id_adder()

    def _sampler_of(self, settings: LineSettings) -> Sampler | None:
        if settings.log_sample_first is None:
            return None
        return Sampler(settings.log_sample_first, settings.log_sample_every, self.count_sampled)

    def count_sampled(self) -> None:
        """
        Count a line that sampling left out.
        """
        self._recorder.dropped.inc(("logs", "sampled"))

    def level_of(self, logger: str) -> int:
        """
        Return the level of a logger: that of its name in `log_levels`, else of the nearest parent there, else
        `log_level`.
        """
        return LEVELS[nearest_parent(self.settings.log_levels, logger) or self.settings.log_level]

    # Bodies

    def start_body(self, message: str) -> Body:
        """
        Start a body: the message, and the ids and bound fields of the current request.
        """
        body: Body = {"message": message if message in self.clean_messages else self.redact_message(message)}
        operation = current.get()
        if operation is not None:
            root = operation._root or operation  # the property, without its call
            if root.correlation_id is not None:
                body["correlation_id"] = root.correlation_id
            if self.spans_enabled or root.sparse is not None:
                self.add_trace_and_bindings(body, operation)
        elif self.spans_enabled:
            self.add_trace_and_bindings(body, None)
        return body

    def redact_message(self, message: str) -> str:
        """
        Redact a message; one without secrets is cached in `clean_messages`.
        """
        shown = self.redactor.text(message)
        if shown is message and len(message) <= MAX_CLEAN_MESSAGE_LENGTH:
            if len(self.clean_messages) >= MAX_CLEAN_MESSAGES:
                self.clean_messages.clear()
            self.clean_messages.add(message)
        return shown

    def add_trace_and_bindings(self, body: Body, operation: Operation | None) -> None:
        """
        Add what only some requests have: trace ids and bound fields.
        """
        self._add_ids(body, operation)
        if operation is not None and (fields := operation.root.fields):
            self.add(body, fields)

    def _adder(self) -> Add:
        """
        Return the function that adds fields to a body: plain values are added as they are.
        """
        known, text, (size_of_dict, size_of_list) = self.known_names.get, self.redactor.text, plain_sizes(self.redactor)
        shorter, smaller = self.redactor.shorter_texts, self.redactor.smaller_integers

        def add(body: Body, given: Any, pairs: Pairs | None = None, add_other: AddOther = self._add_redacted) -> None:
            remaining = MAX_LINE_CHARACTERS
            for key, value in given.items() if pairs is None else pairs:
                name = known(key)
                if name is not None:
                    kind = type(value)
                    if kind is str:
                        body[name] = value if len(value) < shorter else text(value)
                        continue
                    if kind in SCALARS and (kind is not int or value < smaller):
                        body[name] = value
                        continue
                    size = size_of_dict(value) if kind is dict else size_of_list(value) if kind is list else 0
                    if 0 < size < remaining:
                        body[name] = value
                        remaining -= size
                        continue
                budget = SizeBudget(remaining)
                add_other(body, key, value, budget, given)
                remaining = budget.remaining

        return add if self.settings.redact_values else self._adder_of_simple(add)

    def _adder_of_simple(self, add: Add) -> Add:
        """
        Return the function that adds fields that need no look at each.
        """
        all_known, all_simple = self.unchanged_names.issuperset, SCALARS.issuperset

        def add_all(body: Body, given: Any, pairs: Pairs | None = None, add_other: AddOther | None = None) -> None:
            if add_other is not None:
                add(body, given, pairs, add_other)
            elif all_known(given) and all_simple(map(type, given.values())):
                body.update(given)
            else:
                add(body, given)

        return add_all

    def _add_redacted(self, body: Body, name: Any, value: Any, budget: SizeBudget, siblings: Mapping[Any, Any]) -> None:
        if name == "exc_info":
            self.add_exception(body, value)
        elif name == "stack_info":
            if value:
                self.add_stack(body, value if isinstance(value, str) else stack())
        else:
            self.add_field(body, name, value, budget, siblings)

    def add_field(
        self, body: Body, key: Any, value: Any, budget: SizeBudget, siblings: Mapping[Any, Any] = _NO_FIELDS
    ) -> None:
        """
        Add a caller's field, whatever its name and its value are; values share the budget of the line.

        Args:
            body: What it is added to.
            key: Its name.
            value: Its value.
            budget: The budget of the line.
            siblings: The caller's fields, by which some are judged.
        """
        if type(key) is str and key in CONTEXTUAL_NAMES:
            value = self.redactor.contextual_field(key, value, siblings)
        shown_key = name = self.redactor.text(key if type(key) is str else as_text(key))
        while name in self.reserved:
            name = f"extra_{name}"
        rule = self.redactor.rule_for(name)
        if rule is not None:
            is_empty = value is None or value is True or value is False or (type(value) is str and not value)
            body[name] = value if is_empty else marker(rule)
            return
        shown = self.redactor.value(to_jsonable(value) if type(value) is int and abs(value) >= _MAX_INTEGER else value)
        body[name] = shown if type(shown) in SCALARS else to_jsonable(shown, MAX_DEPTH, budget)
        if shown_key is key and key not in _JUDGED_EACH_TIME:
            self._remember_name(key, name)

    def _remember_name(self, key: str, name: str) -> None:
        if len(self.known_names) < MAX_KNOWN_NAMES and len(key) <= MAX_NAME_LENGTH:
            self.known_names[key] = name
            if name == key:
                self.unchanged_names.add(key)

    def add_exception(self, body: Body, given: Any) -> None:
        """
        Add an exception, if there is one.

        Args:
            body: What it is added to.
            given: The exception, what `sys.exc_info()` gives, or something true for the one that is being handled.
        """
        error = exception_from(given)
        if error is None:
            return
        redact = self.redactor.traceback
        said, trace = redact(message_of(error)), self.redactor.traceback_of_any_length(traceback_of(error, redact))
        body["exception"] = {
            "type": type(error).__name__,
            "message": said,
            "traceback": truncate_traceback(trace, MAX_TEXT),
        }
        identity = getattr(error, CORRELATION_ID_ATTRIBUTE, None)
        if identity is not None:  # a server logs it when the request is over
            body.setdefault("correlation_id", identity)

    def add_stack(self, body: Body, stack: str) -> None:
        """
        Add the stack of the logging call.
        """
        body["stack"] = self.redactor.traceback(stack)

    # Lines

    def route(self, logger: str, level: int) -> Route:
        """
        Return the renderer and the target of the lines of one logger and level; cached.
        """
        key = logger, level
        found = self._routes.get(key)
        if found is None:
            target = self.primary_target(logger, level)
            others = [output for output in self.extra_outputs if level >= output.level]
            if others:
                found = fan_out(self.line_format, target, others, level, self.shared_fields(logger, level), self.failed)
            else:
                found = self.renderer(logger, level), target
            self._routes[key] = found
        return found

    def renderer(self, logger: str, level: int) -> Renderer:
        """
        Return the first output's renderer of the lines of one logger and level.
        """
        return self.line_format.renderer(self.shared_fields(logger, level))

    def shared_fields(self, logger: str, level: int) -> Body:
        """
        Return the fields that the lines of one logger and level share.
        """
        shared_fields: Body = {"level": level_name(level), "logger": logger}
        if self.settings.log_category:
            shared_fields["category"] = category_of(logger, level, self._channels.keys())
        if level not in _LEVEL_NAMES:
            shared_fields["level_name"] = logging.getLevelName(level)
        return shared_fields

    def emitter(self, logger: str, level: int) -> Emit:
        """
        Return the function that writes the lines of one logger and level; it never raises, and counts lines that it
        could not write.
        """
        (render_line, target), failed = self.route(logger, level), self.failed

        def emit(now: float, body: Body) -> None:
            try:
                target.write(render_line(now, body))
            except Exception as error:
                failed(error)

        return emit

    def failed(self, error: Exception) -> None:
        """
        Count a line that was not written.
        """
        self._recorder.dropped.inc(("logs", drop_reason(error)))
        self._recorder.failed("logs", error)

    def flush(self, deadline: Deadline | None = None) -> None:
        """
        Wait for the lines that are queued, all targets together no longer than the deadline says.
        """
        for target in self._targets:
            target.flush(deadline)

    def close(self, deadline: Deadline | None = None) -> None:
        """
        Flush, and close the files; a stream is left to its opener.
        """
        for target in self._targets:
            try:
                target.close(deadline)
            except Exception as error:
                self._recorder.failed("logs", error)


def _reserved(settings: LineSettings) -> frozenset[str]:
    """
    Return the names that callers' fields must not have on the lines of one output.
    """
    contract = RESERVED_FIELDS | CALLSITE_FIELDS if settings.log_callsite else RESERVED_FIELDS
    contract = contract | CATEGORY_FIELDS if settings.log_category else contract
    return reserved_names(field_renames(settings), contract) | object_names(settings)


def nearest_parent(given: Mapping[str, T], logger: str) -> T | None:
    """
    Return what is configured for a logger, or for its nearest parent: `a.b` before `a` for `a.b.c`.
    """
    while logger and logger not in given:
        logger = logger.rpartition(".")[0]
    return given.get(logger)


def _span_id_adder() -> Callable[[Body, Operation | None], None]:
    """
    Return the function that adds the ids of the current span, or those that the request came with.
    """
    from opentelemetry.trace import get_current_span

    def add_ids(body: Body, operation: Operation | None) -> None:
        context = get_current_span().get_span_context()
        if context.is_valid:
            body["trace_id"] = f"{context.trace_id:032x}"
            body["span_id"] = f"{context.span_id:016x}"
        else:
            _add_request_ids(body, operation)

    return add_ids


def _add_request_ids(body: Body, operation: Operation | None) -> None:
    if operation is not None:
        root = operation._root or operation
        if root.trace_id is not None:
            body["trace_id"] = root.trace_id
            if root.span_id is not None:
                body["span_id"] = root.span_id

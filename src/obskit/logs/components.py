"""
What a runtime has of logs: the writer of all lines.
"""

from __future__ import annotations

from obskit.components import Assembly, Component
from obskit.logs import current_writer as writers
from obskit.logs.line_settings import LineSettings
from obskit.logs.writer import Writer
from obskit.recorder import recorder
from obskit.time.clock import Deadline

# What lines have at the end, however long the parts before them took: those write lines too.
LEAST_SECONDS = 2.0


class Lines(Component):
    """
    The writer, which loggers use until there is another.
    """

    name = "logs"

    def __init__(self, assembly: Assembly) -> None:
        self.writer = Writer(assembly.settings.of(LineSettings), recorder)
        self._drain = assembly.part("drain")

    def start(self) -> None:
        """
        Register the drain of the queue for SIGTERM.
        """
        if self.writer.settings.enabled and self.writer.settings.log_queue is not None:
            self._drain.watch()

    def flush(self, deadline: Deadline) -> None:
        """
        Write what is queued.
        """
        self.writer.flush(deadline)

    def stop(self, deadline: Deadline) -> None:
        """
        Return loggers to standard output, in the same format, and close the writer.
        """
        if writers.is_current(self.writer):
            writers.activate_fallback(self.writer.settings)
        self.writer.close(Deadline(max(deadline.remaining(), LEAST_SECONDS)))

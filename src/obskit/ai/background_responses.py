"""
Track calls whose reply is fetched later, such as background responses and runs, until it reports its usage.
"""

from __future__ import annotations

from collections import OrderedDict
from threading import RLock

from obskit.ai.ai_operation import UNKNOWN, AiOperation
from obskit.ai.budget_book import budget_book
from obskit.forks import at_fork

MAX_EXPECTED = 1000  # that were never asked for; the oldest goes, and the budgets' file still knows of it
MAX_REPORTED = 10_000
ENDED = ("failed", "cancelled", "expired")  # statuses of responses that will never report usage, if they have none
LABELS, PAID = 3, 2  # of a call; of who is paid, where that is another


class BackgroundResponses:
    """
    Expected and reported responses, by the provider's ids. Thread-safe.
    """

    def __init__(self) -> None:
        self.start_over()

    def start_over(self) -> None:
        """
        Start over in a forked child: its parent waits for these responses.
        """
        self._lock = RLock()
        self._expected: OrderedDict[str, AiOperation] = OrderedDict()
        self._reported: OrderedDict[str, None] = OrderedDict()

    def expect(self, call: AiOperation) -> None:
        """
        Store a call whose reply is not there yet, with its reservation.
        """
        if not isinstance(call.response_id, str):
            return
        call.cost_reason = "background"
        budget_book.expect_reply(call)
        kept = AiOperation(call.service, call.provider, call.model, call.operation)
        kept.parent = None
        kept.billed_as, kept.region, kept.reservation = call.billed_as, call.region, call.reservation
        call.reservation = None
        with self._lock:
            before = self._expected.get(call.response_id)
            if before is not None and before.reservation is not None:  # a run that goes on: one reserve is enough
                budget_book.release(kept)
                kept.reservation = before.reservation
            self._expected[call.response_id] = kept
            if len(self._expected) > MAX_EXPECTED:
                self._expected.popitem(last=False)

    def mark_reported(self, call: AiOperation) -> None:
        """
        Record a call that has reported its own usage: fetching its reply again adds nothing.
        """
        if isinstance(call.response_id, str):
            with self._lock:
                self._note(call.response_id)

    def _note(self, name: str) -> None:
        self._reported[name] = None
        if len(self._reported) > MAX_REPORTED:
            self._reported.popitem(last=False)

    def is_first_report(self, poll: AiOperation) -> bool:
        """
        Return whether this is the first report of a finished reply, and set the labels of its call.
        Where another process has made that, or was told before, the budgets' file knows it.
        """
        name = poll.response_id
        if not isinstance(name, str):
            return False
        if poll.tokens is None or poll.estimated:
            if poll.finish_reason in ENDED and budget_book.is_active:
                self._settle_unreported(poll, name)
            return False
        with self._lock:
            if name in self._reported:
                return False
            call = self._expected.pop(name, None)
            if call is None and not poll.is_background:
                return False
            self._note(name)
        known = budget_book.pending_reply(poll) if budget_book.is_active else None
        if known is not None and known.is_reported:
            return False
        poll.operation = "fetch_response"
        if call is not None:
            poll.service, poll.provider, poll.model = call.service, call.provider, call.model
            poll.billed_as, poll.reservation, poll.is_known_call = call.billed_as, call.reservation, True
        elif known is not None and len(known.labels) >= LABELS:
            poll.service, poll.provider, poll.model, *billed_as = known.labels
            if len(billed_as) == PAID:
                poll.billed_as = billed_as[0], billed_as[1]
        elif poll.model == UNKNOWN and poll.tokens.model:
            poll.model = poll.tokens.model
        if poll.reservation is None and budget_book.is_active:
            budget_book.adopt_reservation(poll, known)
        return True

    def _settle_unreported(self, poll: AiOperation, name: str) -> None:
        """
        Charge the reservation of a response that ended without usage, as that of any call without an answer: the
        provider may have billed it.
        """
        with self._lock:
            call = self._expected.pop(name, None)
        if call is not None:
            poll.reservation = call.reservation
        if poll.reservation is None:
            known = budget_book.pending_reply(poll)
            if known is None or known.is_reported:
                return
            budget_book.adopt_reservation(poll, known)
        budget_book.after_call(poll)


background_responses = BackgroundResponses()
at_fork(after_in_child=background_responses.start_over)

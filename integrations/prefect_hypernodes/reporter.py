"""`Reporter`: takes what happens to scopes off the run's thread, and sees that the server has it.

    hooks ──queue──> TaskRunTracker ──outbox──> POST /events ──in flight──> POST /task_runs/count

Prefect's server keeps events in bounded queues and drops what comes beyond, or what it had when it
was killed, and the client never hears of it. So the reporter never has more than a window of task
runs unconfirmed, asks for them by id, and sends again what has not arrived. It is closed before
the flow run ends: the temporary server of a script stops with whatever it has not yet recorded.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

import orjson
from prefect.events.schemas.events import Event as PrefectEvent
from prefect.events.worker import EventsWorker

from prefect_hypernodes.api import Api, Refused, Unreachable
from prefect_hypernodes.artifacts import Artifacts
from prefect_hypernodes.elsewhere import Elsewhere
from prefect_hypernodes.events import LogLine, logger, sent_anew
from prefect_hypernodes.listing import TaskRunEvent
from prefect_hypernodes.lost import LostTaskRuns
from prefect_hypernodes.run_log import RunLog
from prefect_hypernodes.states import LEFT_RUNNING, TERMINAL
from prefect_hypernodes.task_runs import ScopeEvent, TaskRunTracker

#: Seconds between looks at the queue.
PAUSE = 0.1
#: Seconds in which events are gathered to a request; the first one, and a full one, go at once.
SEND_EVERY = 0.5
#: Events in one request, and task runs in one question: the server needs 20 ms for either.
BATCH = 200
#: Task runs that may be unconfirmed; the server's queues hold 10,000 events of all clients.
WINDOW = 2_000
#: Events that wait to be sent: what comes beyond is counted and not reported.
BACKLOG = 50_000
#: Length of the queue from which on the run's own thread helps to empty it.
QUEUE = 5_000
#: Seconds after which a scope that has not ended is shown as running: most end sooner, and each
#: event holds the server up.
SHOW_RUNNING_AFTER = 2.0
#: Seconds between questions about what has been recorded, while the run goes on.
ASK_EVERY = 1.0
#: Seconds in which the server records a task run; a guess, until it has been measured.
RECORDED_IN = 0.006
#: Seconds after which the rest of a batch is sent again if nothing more of it was recorded; each
#: time twice as long.
SEND_AGAIN_AFTER = 3.0
#: How often, the last time as new events. What is not recorded then is lost.
SEND_AGAIN_TIMES = 3
#: How many deadlines a server has that is there, but slow.
PATIENCE = 3

#: The task run that an event completes, if it does, and the event.
Outgoing = tuple[UUID | None, bytes]
Outbox = deque[Outgoing]

#: By API: what a run could not deliver. The next one in this process takes it along.
_left: dict[str, Outbox] = defaultdict(lambda: deque(maxlen=BACKLOG))
_left_lock = threading.Lock()


@dataclass
class _Batch:
    """Events that the server has taken, and of which it has not yet recorded all."""

    events: dict[UUID, bytes] = field(default_factory=dict)
    recorded: int = 0
    since: float = 0.0
    sent_again: int = 0

    @property
    def missing(self) -> int:
        return len(self.events) - self.recorded


class Reporter:
    """Reports one run, on a thread of its own.

    Args:
        api: takes the events.
        tracker: makes them of what happens.
        artifacts: shown beside the task runs; None for none.
        log: where failures and retries are logged.
        deadline: seconds without an answer after which `close` gives up; a server that is there,
            but slow, has `PATIENCE` times as long.
        elsewhere: what nodes do in other processes.
        lost: what killed processes have left open; None for a run that does not look for it.
    """

    def __init__(
        self,
        api: Api,
        tracker: TaskRunTracker,
        artifacts: Artifacts | None,
        log: RunLog,
        deadline: float,
        elsewhere: Elsewhere,
        lost: LostTaskRuns | None,
    ) -> None:
        self._elsewhere = elsewhere
        self._lost_before = lost
        self._api = api
        self._log = log
        self._tracker = tracker
        self._artifacts = artifacts
        self._deadline = deadline
        self._queue: deque[ScopeEvent] = deque()
        self._tracking = threading.Lock()
        self._closing = threading.Event()
        self._lost = 0
        self._trouble = ""
        self._by_worker = False
        self._retry_at = self._send_at = self._ask_at = self._asked_at = 0.0
        self._recorded_in = RECORDED_IN
        self._progress_at = time.monotonic()
        self._in_flight: deque[_Batch] = deque()
        with _left_lock:
            self._outbox: Outbox = _left.pop(api.url, deque())
        self._thread = threading.Thread(target=self._work, name="hypernodes-prefect", daemon=True)
        self._thread.start()

    def report(self, event: ScopeEvent) -> None:
        """Queue what happened to a scope. Costs a microsecond."""
        if self._closing.is_set():  # something was left running, and has ended after all
            return
        self._queue.append(event)
        if len(self._queue) > QUEUE:
            self._track()

    def close(self) -> None:
        """Wait until the server has recorded everything, or the deadline has passed.

        What has not ended by now was left running.
        """
        with self._tracking:
            is_first = not self._closing.is_set()
            if is_first:
                self._end_left()
                self._closing.set()
        if not is_first:
            self._thread.join()
            return
        self._progress_at = self._api.answered_at = time.monotonic()
        self._thread.join()
        left = self._leave_rest()
        if left:
            logger.warning(
                "%d of %d task runs could not be reported to the Prefect API at %s%s. The results "
                "of the run are complete.",
                left,
                max(left, self._tracker.listed),
                self._api.url,
                self._trouble and f" ({self._trouble})",
            )

    def _end_left(self) -> None:
        """End what has not ended by now: nobody waits for it."""
        self._apply_queue()
        self._elsewhere.close()
        left = self._tracker.left_running()
        state = self._tracker.ended_by or LEFT_RUNNING
        for event in self._tracker.end_left(time.time(), state):
            self._put(event)
        nodes = sorted({ctx.name for ctx in left if ctx.kind == "node"})
        if nodes and state is LEFT_RUNNING:
            logger.warning("left running, since nothing interrupts it: node %s", ", ".join(nodes))

    # -- On the reporter's thread ----------------------------------------------------------------

    def _work(self) -> None:
        try:
            with self._api:
                self._close_lost()
                least = 0.02
                while True:
                    closing = self._closing.wait(PAUSE)
                    moved = self._step(closing)
                    if not closing:
                        continue
                    if self._is_done() or self._is_late():
                        break
                    # The server records one after the other, and every question holds that up.
                    least = 0.02 if moved else min(2 * least, 0.2)
                    expected = self._unconfirmed() * self._recorded_in
                    time.sleep(min(ASK_EVERY, max(least, 0.7 * expected)))
        except Exception:
            logger.exception("the reporter stopped; the run goes on")

    def _close_lost(self) -> None:
        if self._lost_before is None:
            return
        try:
            delivering = {key for key, _ in self._outbox if key is not None}
            count = self._lost_before.close(self._api, delivering)
        except Unreachable as error:
            logger.debug("looking for task runs of killed processes: %s", error)
            return
        if count:
            text = f"{count:,} task runs that a killed process had left open are Crashed now"
            self._log.write(LogLine(logging.INFO, text))

    def _step(self, closing: bool) -> bool:
        """Do what there is to do; returns whether anything was sent, or found to be recorded."""
        self._track()
        if time.monotonic() < self._retry_at:
            return False
        try:
            moved = self._send(closing)
            self._show_artifacts(closing and not self._outbox)
            if closing or time.monotonic() > self._ask_at:
                moved = self._confirm() or moved
                is_full = self._unconfirmed() > WINDOW // 2
                self._ask_at = time.monotonic() + (ASK_EVERY / 2 if is_full else ASK_EVERY)
        except Unreachable as error:
            self._trouble = str(error)
            self._retry_at = time.monotonic() + 0.5
            return False
        if moved:
            self._progress_at = time.monotonic()
        return moved

    def _show_artifacts(self, at_end: bool) -> None:
        if self._artifacts is None:
            return
        try:
            self._artifacts.show(self._api, at_end)
        except Unreachable:
            raise
        except Exception:
            logger.exception("no more artifacts are shown; the run goes on")
            self._artifacts = None

    def _track(self) -> None:
        """Empty the queue into the outbox."""
        with self._tracking:
            self._apply_queue()
            for event in self._tracker.running(time.time() - SHOW_RUNNING_AFTER):
                self._put(event)

    def _apply_queue(self) -> None:
        """Take in what has happened: first what nodes did elsewhere before they ended."""
        length = len(self._queue)
        for seen, ctx in self._elsewhere.news():
            for event in self._tracker.apply_seen(seen, ctx):
                self._put(event)
        for _ in range(length):
            for event in self._tracker.apply(self._queue.popleft()):
                self._put(event)

    def _put(self, event: TaskRunEvent | LogLine) -> None:
        if isinstance(event, LogLine):
            self._log.write(event)
            return
        try:
            body = orjson.dumps(event.body)
        except TypeError as error:  # a name that is no text
            self._trouble = str(error)
        else:
            if len(self._outbox) < BACKLOG:
                self._outbox.append((event.completes, body))
                return
        self._lost += event.completes is not None

    def _is_done(self) -> bool:
        has_shown = self._artifacts is None or self._artifacts.is_done
        return has_shown and not (self._queue or self._outbox or self._in_flight)

    def _is_late(self) -> bool:
        now, patience = time.monotonic(), PATIENCE * self._deadline
        silent = self._deadline if self._api.is_gone else patience
        return now - self._api.answered_at > silent or now - self._progress_at > patience

    def _leave_rest(self) -> int:
        """Leave what was not confirmed to the next run; returns how many task runs that are."""
        rest: Outbox = deque()
        for batch in self._in_flight:
            if batch.sent_again < SEND_AGAIN_TIMES:  # else the server will not record it
                rest.extend(batch.events.items())
        rest.extend(self._outbox)
        if rest:
            with _left_lock:
                _left[self._api.url].extend(rest)
        unsent = sum(task_run is not None for task_run, _ in self._outbox)
        return self._unconfirmed() + unsent + self._lost

    def _unconfirmed(self) -> int:
        return sum(batch.missing for batch in self._in_flight)

    # -- Sending ---------------------------------------------------------------------------------

    def _send(self, at_once: bool) -> bool:
        moved = False
        if not at_once and len(self._outbox) < BATCH and time.monotonic() < self._send_at:
            return moved
        while self._outbox and self._unconfirmed() < WINDOW:
            # By index: the run's thread may append, which an iterator does not survive.
            events = [self._outbox[at] for at in range(min(BATCH, len(self._outbox)))]
            taken = self._post(events)
            for _ in events:
                self._outbox.popleft()
            completing = [(key, body) for key, body in taken if key is not None]
            if completing:
                self._note_sent(completing)
            moved = True
            self._send_at = time.monotonic() + SEND_EVERY
        return moved

    def _note_sent(self, events: list[tuple[UUID, bytes]]) -> None:
        """Wait for them to be recorded, in one batch with the last request's if there is room."""
        last = self._in_flight[-1] if self._in_flight else None
        if last is None or last.sent_again or len(last.events) + len(events) > BATCH:
            self._in_flight.append(_Batch())
        self._in_flight[-1].events.update(events)
        self._in_flight[-1].since = time.monotonic()

    def _post(self, events: Sequence[Outgoing]) -> Sequence[Outgoing]:
        """Send events; returns those that were taken."""
        if self._by_worker:
            worker = EventsWorker.instance()
            for _, body in events:
                worker.send(PrefectEvent.model_validate_json(body))
            return events
        try:
            self._api.ask("POST", "events", b"[" + b",".join(body for _, body in events) + b"]")
        except Refused as error:
            if error.status in (404, 405):  # Prefect Cloud takes events by another way
                self._by_worker = True
                return self._post(events)
            if error.status != 422:
                raise
            if len(events) > 1:  # one of them
                return [taken for each in events for taken in self._post([each])]
            self._trouble = f"an event was refused: {error}"
            self._lost += events[0][0] is not None
            return []
        return events

    def _confirm(self) -> bool:
        """Ask for the oldest batches; returns whether more of them is recorded than before."""
        before, since = self._unconfirmed(), self._asked_at
        self._asked_at = time.monotonic()
        while self._in_flight:
            batch = self._in_flight[0]
            recorded = self._api.ask("POST", "task_runs/count", _recorded(batch))
            if recorded > batch.recorded:
                batch.recorded, batch.since, batch.sent_again = recorded, time.monotonic(), 0
            if not batch.missing:
                self._in_flight.popleft()
                continue
            if time.monotonic() - batch.since > SEND_AGAIN_AFTER * 2**batch.sent_again:
                self._send_again(batch)
            break
        recorded = before - self._unconfirmed()
        if recorded and self._in_flight and self._closing.is_set():  # it had enough to do
            self._recorded_in = (self._asked_at - since) / recorded
        return recorded > 0

    def _send_again(self, batch: _Batch) -> None:
        """Send what has not arrived of the oldest batch, which then goes to the end of the line."""
        if batch.sent_again == SEND_AGAIN_TIMES:
            self._lost += batch.missing
            self._in_flight.popleft()
            return
        rows = self._api.ask("POST", "task_runs/filter", _recorded(batch))
        arrived = {row["id"] for row in rows}
        missing = {key: body for key, body in batch.events.items() if str(key) not in arrived}
        batch.sent_again += 1
        if batch.sent_again == SEND_AGAIN_TIMES:  # the server was not away, and is not just slow
            missing = {key: sent_anew(body) for key, body in missing.items()}
            batch.events.update(missing)
        if missing:
            self._post(list(missing.items()))
        batch.since = time.monotonic()
        self._in_flight.rotate(-1)


def _recorded(batch: _Batch) -> bytes:
    """A filter for the task runs of a batch that have been recorded as ended."""
    those = {"id": {"any_": [*batch.events]}, "state": {"type": {"any_": TERMINAL}}}
    return orjson.dumps({"task_runs": those})

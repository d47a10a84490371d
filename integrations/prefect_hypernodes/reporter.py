"""`Reporter`: takes what callbacks tell off the run's thread and sees that the server has it.

    hooks ──queue──> ledger ──outbox──> POST /events ──in flight──> POST /task_runs/count

Prefect's server keeps events in bounded queues and drops what comes beyond, or what it had when it
was killed, without telling the client. So the reporter never has more than a window of task runs
unconfirmed, asks for them by id, and sends again what has not arrived. It is closed before the
flow run ends: the temporary server of a script stops with whatever it has not yet recorded.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID, uuid4

import httpx
import orjson
from prefect.events.schemas.events import Event as PrefectEvent
from prefect.events.worker import EventsWorker

from prefect_hypernodes.artifacts import Artifacts
from prefect_hypernodes.events import Refused, Unreachable, logger, sent_anew
from prefect_hypernodes.task_runs import Event, TaskRunTracker, Told

PAUSE = 0.1
"""Seconds between looks at what the run has told."""
SEND_EVERY = 0.5
"""Seconds in which events are gathered to a request; the first one, and a full one, go at once."""
BATCH = 200
"""Events in one request, and task runs in one question: the server needs 20 ms for either."""
WINDOW = 2_000
"""Task runs that may be unconfirmed; the server's queues hold 10,000 events of all clients."""
BACKLOG = 50_000
"""Events that wait to be sent: what comes beyond is counted and not reported."""
QUEUE = 5_000
"""What the run has told and nobody has looked at: beyond, the run's own thread helps."""
SHOW_RUNNING_AFTER = 2.0
"""Seconds after which a scope that has not ended is shown as running."""
ASK_EVERY = 1.0
"""Seconds between questions about what has been recorded, while the run goes on."""
RECORDED_IN = 0.006
"""Seconds in which the server records a task run, as long as it has not been seen to."""
SEND_AGAIN_AFTER = 3.0
"""Seconds in which nothing more of a batch was recorded, after which the rest is sent again; each
time twice as long."""
SEND_AGAIN_TIMES = 3
"""How often, the last time as new events; what has not been recorded after that is given up."""
PATIENCE = 3
"""So many deadlines are waited for a server that is there and slow."""
TERMINAL = ["COMPLETED", "FAILED", "CRASHED", "CANCELLED"]

Sent = tuple[UUID | None, bytes]
"""The task run that an event completes, if it does, and the event."""
Outbox = deque[Sent]

_left: dict[str, Outbox] = defaultdict(lambda: deque(maxlen=BACKLOG))
"""By API: what a run could not deliver. The next one in this process takes it along."""
_left_lock = threading.Lock()


class _Batch:
    """Events that the server has taken, and of which it has not yet recorded all."""

    def __init__(self) -> None:
        self.events: dict[UUID, bytes] = {}
        self.recorded = 0
        self.since = 0.0
        self.sent_again = 0

    def add(self, events: list[tuple[UUID, bytes]]) -> None:
        """Take in what the server has taken now."""
        self.events.update(events)
        self.since = time.monotonic()

    @property
    def missing(self) -> int:
        return len(self.events) - self.recorded


class Reporter:
    """Reports one run.

    Args:
        api: answers requests: the API's address, headers and certificates are its own.
        ledger: makes events of what is told.
        artifacts: shown beside the task runs; None for none.
        deadline: seconds without an answer after which `close` gives the rest up; a server that
            is there, and slow, has `PATIENCE` times as long.
    """

    def __init__(
        self,
        api: Callable[[], httpx.Client],
        url: str,
        ledger: TaskRunTracker,
        artifacts: Artifacts | None,
        deadline: float,
    ) -> None:
        self._make_api = api
        self._url = url
        self._ledger = ledger
        self._artifacts = artifacts
        self._deadline = deadline
        self._queue: deque[Told] = deque()
        self._books = threading.Lock()
        self._closing = threading.Event()
        self._lost = 0
        self._trouble = ""
        self._by_worker = False
        self._retry_at = self._send_at = self._ask_at = self._asked_at = 0.0
        self._recorded_in = RECORDED_IN
        self._progress_at = self._answered_at = time.monotonic()
        self._is_gone = False
        self._in_flight: deque[_Batch] = deque()
        with _left_lock:
            self._outbox: Outbox = _left.pop(url, deque())
        self._thread = threading.Thread(target=self._work, name="hypernodes-prefect", daemon=True)
        self._thread.start()

    def tell(self, told: Told) -> None:
        """Pass on what a hook was told. Costs a microsecond."""
        self._queue.append(told)
        if len(self._queue) > QUEUE:
            self._enter()

    def close(self) -> None:
        """Wait until the server has recorded everything, or the deadline has passed."""
        self._progress_at = self._answered_at = time.monotonic()
        self._closing.set()
        self._thread.join()
        left = self._leave_rest()
        if left:
            logger.warning(
                "%d of %d task runs could not be reported to the Prefect API at %s%s. The results "
                "of the run are complete.",
                left,
                max(left, self._ledger.listed),
                self._url,
                self._trouble and f" ({self._trouble})",
            )

    # -- On the reporter's thread ----------------------------------------------------------------

    def _work(self) -> None:
        try:
            with self._make_api() as api:
                self._api = api
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

    def _step(self, closing: bool) -> bool:
        """Do what there is to do; says whether anything was sent, or found to be recorded."""
        self._enter()
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
            self._artifacts.show(self._ask, at_end)
        except Unreachable:
            raise
        except Exception:
            logger.exception("no more artifacts are shown; the run goes on")
            self._artifacts = None

    def _enter(self) -> None:
        """Enter what is in the queue into the books."""
        with self._books:
            while self._queue:
                for event in self._ledger.take(self._queue.popleft()):
                    self._put(event)
            for event in self._ledger.running(time.time() - SHOW_RUNNING_AFTER):
                self._put(event)

    def _put(self, event: Event) -> None:
        try:
            body = orjson.dumps(event.body)
        except TypeError as error:  # a name that is no text
            self._trouble = str(error)
        else:
            if len(self._outbox) < BACKLOG:
                self._outbox.append((event.task_run, body))
                return
        self._lost += event.task_run is not None

    def _is_done(self) -> bool:
        has_shown = self._artifacts is None or self._artifacts.is_done
        return has_shown and not (self._queue or self._outbox or self._in_flight)

    def _is_late(self) -> bool:
        now, patience = time.monotonic(), PATIENCE * self._deadline
        silent = self._deadline if self._is_gone else patience
        return now - self._answered_at > silent or now - self._progress_at > patience

    def _leave_rest(self) -> int:
        """Leave what was not confirmed to the next run; gives the number of task runs."""
        rest: Outbox = deque()
        for batch in self._in_flight:
            if batch.sent_again < SEND_AGAIN_TIMES:  # else the server is there, and records it not
                rest.extend(batch.events.items())
        rest.extend(self._outbox)
        if rest:
            with _left_lock:
                _left[self._url].extend(rest)
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
        """Note that they are on their way, with those of the last request where it was small."""
        last = self._in_flight[-1] if self._in_flight else None
        if last is None or last.sent_again or len(last.events) + len(events) > BATCH:
            self._in_flight.append(_Batch())
        self._in_flight[-1].add(events)

    def _post(self, events: Sequence[Sent]) -> Sequence[Sent]:
        """Send events; gives those that were taken."""
        if self._by_worker:
            worker = EventsWorker.instance()
            for _, body in events:
                worker.send(PrefectEvent.model_validate_json(body))
            return events
        bodies = b",".join(body for _, body in events)
        answer = self._request("POST", "events", content=b"[" + bodies + b"]")
        if answer.status_code in (404, 405):  # Prefect Cloud takes events by another way
            self._by_worker = True
            return self._post(events)
        if answer.status_code == 422 and len(events) > 1:
            return [taken for each in events for taken in self._post([each])]
        if answer.status_code == 422:
            self._trouble = f"an event was refused: {answer.text[:200]}"
            self._lost += events[0][0] is not None
            return []
        _check(answer)
        return events

    def _confirm(self) -> bool:
        """Ask for the oldest batches; says whether more of them are recorded than before."""
        before, since = self._unconfirmed(), self._asked_at
        self._asked_at = time.monotonic()
        while self._in_flight:
            batch = self._in_flight[0]
            recorded = self._ask("POST", "task_runs/count", _where(list(batch.events)))
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
        """Send what has not arrived of the oldest batch, whose turn is last then."""
        if batch.sent_again == SEND_AGAIN_TIMES:
            self._lost += batch.missing
            self._in_flight.popleft()
            return
        rows = self._ask("POST", "task_runs/filter", _where(list(batch.events)))
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

    def _ask(self, method: str, path: str, body: Any) -> Any:
        """What the API answers.

        Raises:
            Unreachable: it does not, or not well.
        """
        answer = self._request(method, path, content=orjson.dumps(body))
        _check(answer)
        return answer.json() if answer.content else None

    def _request(self, method: str, path: str, content: bytes) -> httpx.Response:
        answer = self._try(method, path, content)
        if answer.status_code == 403 and "CSRF" in answer.text:
            client = str(uuid4())
            token = self._try("GET", f"csrf-token?client={client}", b"")
            _check(token)
            self._api.headers["Prefect-Csrf-Token"] = token.json()["token"]
            self._api.headers["Prefect-Csrf-Client"] = client
            answer = self._try(method, path, content)
        self._is_gone = answer.status_code in (401, 403)
        if not self._is_gone:
            self._answered_at = time.monotonic()
        return answer

    def _try(self, method: str, path: str, content: bytes) -> httpx.Response:
        try:
            return self._api.request(
                method, path, content=content, headers={"content-type": "application/json"}
            )
        except httpx.HTTPError as error:
            self._is_gone = not isinstance(error, httpx.ReadTimeout)
            raise Unreachable(repr(error)) from error


def _where(task_runs: list[UUID]) -> dict[str, Any]:
    """A filter for those of some task runs that have been recorded as ended."""
    return {"task_runs": {"id": {"any_": task_runs}, "state": {"type": {"any_": TERMINAL}}}}


def _check(answer: httpx.Response) -> None:
    if answer.is_error:
        may_change = answer.is_server_error or answer.status_code in (401, 403, 408, 429)
        kind = Unreachable if may_change else Refused
        raise kind(f"{answer.status_code} {answer.text[:200]}")

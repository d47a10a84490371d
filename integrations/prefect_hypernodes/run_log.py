"""`RunLog`: lines in the logs of a flow run and of its task runs, as Prefect writes its own."""

from __future__ import annotations

import contextvars
from uuid import UUID

from prefect.context import FlowRunContext, TaskRunContext
from prefect.logging.loggers import PrefectLogAdapter, get_logger

from prefect_hypernodes.events import LogLine


class RunLog:
    """Writes to the logs of one run, from any thread, one line at a time.

    Args:
        flow: the flow run's context, if there is one.
        task: that of the task run that everything is part of, if there is one.
    """

    def __init__(self, flow: FlowRunContext | None, task: TaskRunContext | None) -> None:
        # Prefect's handlers look there for settings: which API, and whether logs go to it.
        self._context = contextvars.copy_context()
        flow_run = None if flow is None else flow.flow_run
        task_run = None if task is None else task.task_run
        flow_run_id = flow_run.id if flow_run else task_run.flow_run_id if task_run else None
        self._around = (None, "") if task_run is None else (task_run.id, task_run.name)
        self._extra = {
            "flow_run_id": None if flow_run_id is None else str(flow_run_id),
            "flow_run_name": flow_run.name if flow_run else "<unknown>",
            "flow_name": flow.flow.name if flow and flow.flow else "<unknown>",
        }

    def write(self, line: LogLine) -> None:
        """Write a line, to the server and to the console, as far as Prefect's settings say so."""
        task_run, name = (line.task_run, line.name) if line.task_run else self._around
        self._context.run(_handle, self._logger(task_run, name), line)

    def _logger(self, task_run: UUID | None, name: str) -> PrefectLogAdapter:
        if task_run is None:
            return PrefectLogAdapter(get_logger("prefect.flow_runs"), extra=self._extra)
        extra = {"task_run_id": str(task_run), "task_run_name": name, "task_name": name}
        return PrefectLogAdapter(get_logger("prefect.task_runs"), extra={**self._extra, **extra})


def _handle(adapter: PrefectLogAdapter, line: LogLine) -> None:
    """Log a line as of when it happened: it is known here some time later."""
    logger = adapter.logger
    if not logger.isEnabledFor(line.level):
        return
    message, options = adapter.process(line.message, {})
    extra: dict[str, object] = options["extra"]
    record = logger.makeRecord(
        logger.name, line.level, __file__, 0, "%s", (message,), None, extra=extra
    )
    if line.at is not None:
        record.created, record.msecs = line.at, line.at % 1 * 1000
    logger.handle(record)

"""Task runs that a killed process has left open, closed by a later run of the same flow.

After SIGKILL nobody is left to report. Prefect's worker marks the flow run as Crashed, and its task
runs stay Running for good.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import orjson

from prefect_hypernodes.api import Api
from prefect_hypernodes.states import OPEN, TERMINAL

#: Seconds after a flow run's end in which the server may still be recording its task runs.
SETTLED_AFTER = 60.0
#: Task runs that are closed in one go: each is a request. The next run of the flow goes on.
AT_MOST = 200
CRASHED = {"type": "CRASHED", "name": "Crashed", "message": "its process was killed while it ran"}

#: The flows that were looked at in this process.
_looked_at: set[tuple[str, UUID]] = set()


@dataclass(frozen=True)
class LostTaskRuns:
    """The task runs that earlier runs of a flow, and earlier attempts of this one, have left open.

    Attributes:
        flow: the flow's id.
        flow_run: id of the run that looks for them.
        run_count: which attempt of it this is.
    """

    flow: UUID
    flow_run: UUID
    run_count: int

    def close(self, api: Api, not_these: Container[UUID], settled: float = SETTLED_AFTER) -> int:
        """Mark them as Crashed.

        Args:
            api: an entered client.
            not_these: task runs whose end is still to be delivered.
            settled: seconds that a flow run must have ended ago.

        Returns:
            How many there were.

        Raises:
            Unreachable: the API does not answer.
        """
        found: list[dict[str, Any]] = []
        if self.run_count > 1:
            same = self._open(api, {"id": {"any_": [self.flow_run]}})
            found += [each for each in same if each["flow_run_run_count"] < self.run_count]
        if (key := (api.url, self.flow)) not in _looked_at:
            _looked_at.add(key)
            ended = datetime.now(timezone.utc) - timedelta(seconds=settled)
            state = {"type": {"any_": TERMINAL}}
            found += self._open(api, {"state": state, "end_time": {"before_": ended}})
        found = [each for each in found if UUID(each["id"]) not in not_these]
        content = orjson.dumps({"state": CRASHED, "force": True})
        for each in found:
            api.ask("POST", f"task_runs/{each['id']}/set_state", content)
        return len(found)

    def _open(self, api: Api, flow_runs: dict[str, Any]) -> list[dict[str, Any]]:
        """The open task runs of flow runs of the flow; those of native tasks are not ours."""
        question = {
            "flows": {"id": {"any_": [self.flow]}},
            "flow_runs": flow_runs,
            "task_runs": {"state": {"type": {"any_": OPEN}}, "tags": {"all_": ["hypernodes"]}},
            "limit": AT_MOST,
        }
        found: list[dict[str, Any]] = api.ask("POST", "task_runs/filter", orjson.dumps(question))
        return found

"""The Prefect adapter of HyperNodes: pipelines as flows, their nodes as task runs."""

import os

# Prefect's recorder takes about 150 task runs a second one by one, and many more in batches. The
# temporary server of a script takes these from the environment; a server of yours has its own. The
# interval loses its fraction there: with less than a second the server would never rest.
for _name, _value in (("BATCH_SIZE", "200"), ("READ_BATCH_SIZE", "200"), ("FLUSH_INTERVAL", "1")):
    os.environ.setdefault(f"PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_{_name}", _value)

from prefect.settings import get_current_settings  # noqa: E402

from prefect_hypernodes.callback import PrefectCallback  # noqa: E402
from prefect_hypernodes.engine import PrefectEngine  # noqa: E402
from prefect_hypernodes.flow import PipelineFlow, pipeline_flow  # noqa: E402
from prefect_hypernodes.settings import Reporting, configured_cache  # noqa: E402
from prefect_hypernodes.task import pipeline_task  # noqa: E402

__all__ = [
    "PipelineFlow",
    "PrefectCallback",
    "PrefectEngine",
    "Reporting",
    "configured_cache",
    "pipeline_flow",
    "pipeline_task",
]

#: Seconds that the temporary server of a script has to start, where nobody has said otherwise:
#: Prefect's own 20 are not enough where other work keeps the machine busy. (At a load of 20 on two
#: cores a start took longer than 120.)
STARTUP_TIMEOUT = 300

_ephemeral = get_current_settings().server.ephemeral
if "startup_timeout_seconds" not in _ephemeral.model_fields_set:
    _ephemeral.startup_timeout_seconds = STARTUP_TIMEOUT

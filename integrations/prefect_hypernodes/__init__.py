"""The Prefect adapter of HyperNodes: pipelines as flows, their nodes as task runs."""

import os

# Prefect's recorder takes about 150 task runs a second one by one, and many more in batches. The
# temporary server of a script takes these from the environment; a server of yours has its own. The
# interval loses its fraction there: with less than a second the server would never rest.
for _name, _value in (("BATCH_SIZE", "200"), ("READ_BATCH_SIZE", "200"), ("FLUSH_INTERVAL", "1")):
    os.environ.setdefault(f"PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_{_name}", _value)

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

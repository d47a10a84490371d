"""DaftEngine on a local Ray of two CPUs, in a process of its own: the runner is set but once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

pytest.importorskip("daft")
pytest.importorskip("ray")

SCRIPT = """
import asyncio, json, os, sys, tempfile
import daft, ray
from hypernodes import *
sys.path.insert(0, {tests!r})
from recording import Recorder

temporary = tempfile.mkdtemp(prefix="hn", dir="/tmp")
ray.init(num_cpus=2, object_store_memory=100 * 1024**2, include_dashboard=False,
         _temp_dir=temporary, logging_level="ERROR", log_to_driver=False)
if {by_call}:
    daft.set_runner_ray(noop_if_initialized=True)

class Mine:
    def __init__(self, value): self.value = value

@node(output_name="made")
def make(x): return Mine(x), os.getpid()

@node(output_name="y")
async def read(made, client):
    await asyncio.sleep(0.001)
    return made[0].value / client["by"]

said = {{}}
pipeline = Pipeline([make, read], engine=DaftEngine(), name="on_ray")
given = {{"x": list(range(50)), "client": {{"by": 2}}}}
rows = pipeline.map(given, "x")
said["rows"] = [row["y"] for row in rows]
said["mine"] = all(type(row["made"][0]) is Mine for row in rows)
said["elsewhere"] = os.getpid() not in {{row["made"][1] for row in rows}}
said["run"] = pipeline.run({{"x": 3, "client": {{"by": 2}}}}, "y")

recorder = Recorder()
cached = pipeline.with_cache(DiskCache(temporary + "/cache")).with_callbacks([recorder])
for _ in range(2):
    cached.map(given, "x")
recorder.check_pairs()
said["hooks"] = [len(recorder.names(hook)) for hook in
                 ("on_node_end", "on_node_cached", "on_map_item_end", "on_map_item_cached")]

@node(output_name="z", daft={{"use_process": True}})
def fragile(x):
    return x if x != 3 else os.kill(os.getpid(), 9)

killing = Pipeline([fragile], engine=DaftEngine()).map({{"x": [1, 2, 3, 4]}}, "x",
                                                       error_handling="continue")
lost = killing[2].error
said["killed"] = [*killing[:2], killing[3], type(lost).__name__, str(lost), lost.__notes__]

try:
    pipeline.map({{"x": [1], "client": {{"by": 0}}}}, "x")
except ZeroDivisionError as error:
    said["notes"] = error.__notes__
rows = pipeline.map({{"x": [1], "client": {{"by": 0}}}}, "x", error_handling="continue")
said["failed"] = repr(rows)
try:
    pipeline.with_cache(MemoryCache()).map(given, "x")
except SerializationError as error:
    said["memory"] = str(error)

driver = os.getpid()
class PerMachine(DiskCache):  # a folder of this name on each machine
    def __init__(self):
        super().__init__(temporary + ("/driver" if os.getpid() == driver else "/worker"))
    def __reduce__(self): return PerMachine, ()

os.environ["HYPERNODES_CACHE_KEY"] = "known here"
signed = DiskCache(temporary + "/signed")
for name, cache in (("key", signed), ("apart", PerMachine())):
    try:
        pipeline.with_cache(cache).map(given, "x")
    except SerializationError as error:
        said[name] = str(error)
    os.environ.pop("HYPERNODES_CACHE_KEY", None)

import threading
try:
    pipeline.map({{"x": [1], "client": threading.Lock()}}, "x")
except SerializationError as error:
    said["lock"] = str(error)

inner = Pipeline([make, read], name="inner").as_node(map_over="xs")
outer = Pipeline([inner, node(lambda y: sum(y), output_name="total")], engine=DaftEngine())
lists = {{"xs": [[2, 4], [], [6]], "client": {{"by": 2}}}}
said["nested"] = outer.map(lists, {{"xs": "xs"}}, output_name="total")
frame = daft.from_pydict({{"x": [1, 2], "id": ["a", "b"]}})
lazy = pipeline.with_engine(DaftEngine(collect=False)).bind(client={{"by": 1}})
said["frame"] = lazy.map(frame, "x", output_name="y").select("id", "y").sort("id").to_pydict()
print("said", json.dumps(said))
ray.shutdown()
"""


@pytest.mark.parametrize("by_call", [True, False])
def test_it_runs_on_ray_whether_a_call_or_the_environment_says_so(by_call: bool) -> None:
    script = SCRIPT.format(tests=str(Path(__file__).parents[1]), by_call=by_call)
    environment = {
        **os.environ,
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AUTH_MODE": "disabled",
        "DAFT_ANALYTICS_ENABLED": "0",
        "DAFT_PROGRESS_BAR": "0",
        **({} if by_call else {"DAFT_RUNNER": "ray"}),
    }
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "on_ray.py"
        file.write_text(script)
        done = subprocess.run(
            [sys.executable, str(file)],
            env=environment,
            capture_output=True,
            text=True,
            timeout=280,
        )
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("said ")]
    said = json.loads(line[5:])
    assert said["rows"] == [x / 2 for x in range(50)]
    assert said["mine"]
    assert said["elsewhere"]
    assert said["run"] == {"y": 1.5}
    assert said["hooks"] == [100, 100, 50, 50]
    *others, kind, message, notes = said["killed"]
    assert (others, kind) == ([{"z": 1}, {"z": 2}, {"z": 4}], "WorkerLostError")
    assert "node 'fragile'" in message
    assert "SIGKILL" in message
    assert "in item 2 (x=3) of a map of pipeline 'pipeline'" in notes
    assert said["notes"] == [
        "in node 'read' of pipeline 'on_ray'",
        "in item 0 (x=1) of a map of pipeline 'on_ray'",
    ]
    assert said["failed"].startswith("[<FailedItem 0: read: ZeroDivisionError")
    assert "DiskCache(folder)" in said["memory"]
    assert "HYPERNODES_CACHE_KEY is not the same on Ray's node" in said["key"]
    assert "known here" not in said["key"]
    assert "is not shared with Ray's node" in said["apart"]
    assert "input 'client'" in said["lock"]
    assert said["nested"] == [{"total": 3.0}, {"total": 0}, {"total": 3.0}]
    assert said["frame"] == {"id": ["a", "b"], "y": [1.0, 2.0]}

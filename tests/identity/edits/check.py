"""Each edit of code in the corpus is noticed by the cache, or by nothing where it changes nothing.

    python check.py [CORPUS...] [--tool NAME] [--only WORD] [--sample N] [--report] [--all]
                    [--json FILE]

A small project runs through a cached pipeline, is edited, and runs again; an uncached run tells the
truth, and another cached one whether the new result is kept. Every run is a process of its own: a
fork of this one with the tool imported and the project not, or of another interpreter where the
edit sets variables that only a new one reads. Says one line for each edit that is wrong and the
sums at the end; exits with 1 where a result was stale, recomputed for nothing, or never kept, but
not with --report. A node that is not cached with a CacheWarning fails closed: that is declined.
"""

import argparse
import contextlib
import functools
import gc
import importlib
import importlib.util
import json
import multiprocessing
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
import urllib.request
import warnings
from collections import Counter, defaultdict
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
from _edit import HIT, RUN, faults  # noqa: E402

sys.dont_write_bytecode = True
PATIENCE = 60  # seconds that one run may take


# --- the tools: each runs the project's function and tells whether it was called ------------------
def hypernodes(nodes, x, cached):
    from hypernodes import CacheWarning, DiskCache, Pipeline, PipelineCallback, node

    ran = []

    class Started(PipelineCallback):
        def on_node_start(self, node_id, *args, **kwargs):
            ran.append(node_id)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        members = getattr(nodes, "NODES", None) or [node(nodes.f, output_name="out")]
        cache = DiskCache("cachedir") if cached else False
        pipeline = Pipeline(members, cache=cache, callbacks=[Started()])
        out = pipeline.run({"x": x}, output_name="out")["out"]
    declined = [str(each.message) for each in caught if issubclass(each.category, CacheWarning)]
    return out, bool(ran), declined


def called(function, run):
    """What `run` gives, and whether the function's code ran meanwhile, on any thread."""
    import threading

    places = (
        function,
        getattr(function, "__wrapped__", None),
        vars(type(function)).get("__call__"),
        getattr(function, "func", None),
    )
    code = next((place.__code__ for place in places if hasattr(place, "__code__")), None)
    seen = []

    def watch(frame, event, arg):
        if event == "call" and frame.f_code is code:
            seen.append(True)

    threading.setprofile(watch)
    sys.setprofile(watch)
    try:
        out = run()
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    return out, bool(seen), []


def joblib(nodes, x, cached):
    from joblib import Memory

    return called(
        nodes.f, lambda: (Memory("cachedir", verbose=0).cache(nodes.f) if cached else nodes.f)(x)
    )


def hamilton(nodes, x, cached):
    if not cached:
        return nodes.f(x), True, []
    import inspect
    from typing import Any

    from hamilton import ad_hoc_utils, driver

    names = [*inspect.signature(nodes.f).parameters, "return"]
    nodes.f.__annotations__ = dict.fromkeys(names, Any)  # it asks for some
    nodes.f.__name__ = "f"
    module = ad_hoc_utils.create_temporary_module(nodes.f, module_name="made_for_hamilton")
    dag = driver.Builder().with_modules(module).with_cache(path="cachedir").build()
    return called(nodes.f, lambda: dag.execute(["f"], inputs={"x": x})["f"])


def pipefunc(nodes, x, cached):
    if not cached:
        return nodes.f(x), True, []
    from pipefunc import PipeFunc, Pipeline

    function = PipeFunc(nodes.f, output_name="out", cache=True)
    options = {"cache_dir": "cachedir", "with_lru_cache": False}
    pipeline = Pipeline([function], cache_type="disk", cache_kwargs=options)
    return called(nodes.f, lambda: pipeline("out", x=x))


def prefect(nodes, x, cached):
    if not cached:
        return nodes.f(x), True, []
    from prefect import flow, task
    from prefect.cache_policies import INPUTS, TASK_SOURCE
    from prefect.settings import PREFECT_LOCAL_STORAGE_PATH, temporary_settings

    with temporary_settings({PREFECT_LOCAL_STORAGE_PATH: Path("cachedir").absolute()}):
        step = task(cache_policy=TASK_SOURCE + INPUTS, persist_result=True)(nodes.f)
        told = []

        @flow(persist_result=False)
        def whole(x):
            state = step(x, return_state=True)
            told.append((state.result(raise_on_failure=True), state.name != "Cached"))
            return "done"

        whole(x)
    return *told[0], []


TOOLS = {each.__name__: each for each in (hypernodes, joblib, hamilton, pipefunc, prefect)}


# --- one run --------------------------------------------------------------------------------------
def here(folder, tool, cached, environment):
    """What one run in this process gives: it must be a process of its own."""
    os.chdir(folder)
    sys.path.insert(0, folder)
    os.environ.update(environment)
    own = {
        path.relative_to(folder).parts[0].removesuffix(".py") for path in Path(folder).rglob("*.py")
    }
    for name in [each for each in sys.modules if each.split(".")[0] in own]:
        del sys.modules[name]  # a module of the project may be named as one of the standard library
    try:
        nodes = importlib.import_module("nodes")
        out, ran, declined = TOOLS[tool](nodes, getattr(nodes, "X", 3), cached)
        told = {"out": repr(out), "ran": ran, "declined": declined[:1], "error": ""}
        return {**told, "modules": sorted(sys.modules)}
    except BaseException:
        return failed(traceback.format_exc()[-600:])


def failed(error):
    return {"out": "", "ran": False, "declined": [], "error": error}


def forked(folder, tool, cached, environment):
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pid = os.fork()
    if not pid:
        os.close(reader)
        quiet = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(quiet, stream)
        gc.disable()  # it would touch, and so copy, every page
        told = here(folder, tool, cached, environment)
        with os.fdopen(writer, "wb") as pipe:
            pipe.write(json.dumps(told).encode())
        os._exit(0)
    os.close(writer)
    data, end = b"", time.monotonic() + PATIENCE
    while True:
        ready, _, _ = select.select([reader], [], [], max(0, end - time.monotonic()))
        block = os.read(reader, 65536) if ready else b""
        if not block:
            break
        data += block
    os.close(reader)
    if not data:
        os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return json.loads(data) if data else failed("it hung, or died")


@functools.cache
def interpreter(variables):
    """A new interpreter with variables that only a new one reads; it forks for each run."""
    command = [sys.executable, str(Path(__file__).resolve()), "--serve"]
    surroundings = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", **dict(variables)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    return subprocess.Popen(command, env=surroundings, text=True, **pipes)


def elsewhere(folder, tool, cached, environment):
    read = {name: text for name, text in environment.items() if name.startswith("PYTHON")}
    process = interpreter(frozenset(read.items()))
    try:
        process.stdin.write(json.dumps([folder, tool, cached, environment]) + "\n")
        process.stdin.flush()
        return json.loads(process.stdout.readline())
    except (OSError, ValueError):
        return failed(f"an interpreter with {read} does not run")


def serve():
    """Answers requests, a line each."""
    for line in sys.stdin:
        print(json.dumps(forked(*json.loads(line))), flush=True)


# --- one edit -------------------------------------------------------------------------------------
def write(folder, path, text):
    place = Path(folder, path)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(text.encode())


def verdict(edit, tool):
    """What became of one edit: a word, and what was seen."""
    folder = tempfile.mkdtemp(prefix="edit-")
    try:
        for path, text in edit.files.items():
            write(folder, path, text)
        anew = any(name.startswith("PYTHON") for name in {**edit.before, **edit.after})
        run = elsewhere if anew else forked
        first = run(folder, tool, True, edit.before)
        for path, old, new in edit.change:
            if new is None:
                Path(folder, path).unlink()
            else:
                write(folder, path, new if old is None else edited(folder, path, old, new))
        second = run(folder, tool, True, edit.after)
        truth = run(folder, tool, False, edit.after)
        settled = second["out"] != truth["out"] or not second["ran"] or second["declined"]
        third = second if settled else run(folder, tool, True, edit.after)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    seen = f"{first['out'][:40]} -> {second['out'][:40]}, uncached {truth['out'][:40]}"
    for each in (first, second, truth, third):
        if each["error"]:
            return "error", each["error"].strip().splitlines()[-1][:160]
    if edit.rule == RUN and first["out"] == truth["out"]:
        return "error", f"the edit does not change the result: {seen}"
    if edit.rule == HIT and first["out"] != truth["out"]:
        return "error", f"the edit changes the result: {seen}"
    if {truth["out"]} != {second["out"], third["out"]}:
        return "stale", seen
    if edit.rule == HIT and second["ran"]:
        return "needless", (second["declined"] or [seen])[0][:160]
    if third["ran"]:
        return ("declined", third["declined"][0][:160]) if third["declined"] else ("never", seen)
    return "right", seen


def edited(folder, path, old, new):
    text = Path(folder, path).read_bytes().decode()
    assert old in text, f"{path} has no {old!r}"
    return text.replace(old, new)


# --- all of them ----------------------------------------------------------------------------------
def load(path):
    spec = importlib.util.spec_from_file_location(f"corpus_{abs(hash(path))}", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module.EDITS


def absent(edit):
    return [name for name in edit.needs if importlib.util.find_spec(name) is None]


def imported(edits, tool):
    """Imports once what the projects and the tool import, so that forks need not."""
    own = {path.split("/")[0].removesuffix(".py") for edit in edits for path in edit.files}
    texts = [text for edit in edits for text in edit.files.values()]
    names = {
        name for text in texts for name in re.findall(r"^\s*(?:import|from) (\w[\w.]*)", text, re.M)
    }
    left = own | {*sys.stdlib_module_names, "prefect", "hypernodes"}
    for name in sorted(name for name in names if name.split(".")[0] not in left):
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    with tempfile.TemporaryDirectory(prefix="edit-") as folder:
        write(folder, "nodes.py", "def f(x): return x\n")
        tried = forked(folder, tool, True, {})
    if tried["error"]:
        sys.exit(f"{tool} does not run: {tried['error']}")
    for name in set(tried["modules"]) - set(sys.modules) - own - {"nodes"}:
        with contextlib.suppress(Exception):  # one that a library made up
            importlib.import_module(name)
    gc.collect()
    gc.freeze()


def serve_prefect():
    """A server of Prefect for the length of this check; its process and its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    home = tempfile.mkdtemp(prefix="edits-prefect-")
    os.environ.update(PREFECT_HOME=home, PREFECT_LOGGING_LEVEL="CRITICAL")
    os.environ.update(PREFECT_SERVER_ANALYTICS_ENABLED="false", DO_NOT_TRACK="1")
    command = [sys.executable, "-m", "prefect", "server", "start", "--no-ui"]
    command += ["--host", "127.0.0.1", "--port", str(port)]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command, start_new_session=True, **quiet)
    os.environ["PREFECT_API_URL"] = url = f"http://127.0.0.1:{port}/api"
    for _ in range(240):
        try:
            urllib.request.urlopen(f"{url}/health", timeout=2)
            return process, home
        except OSError:
            time.sleep(0.5)
    sys.exit("the server of Prefect does not answer")


def judge(pair):
    edit, tool = pair
    return verdict(edit, tool)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpus", nargs="*", default=[str(HERE / "corpus.py")])
    parser.add_argument("--tool", choices=TOOLS, default="hypernodes")
    parser.add_argument("--only", default="", help="edits with this in their kind or name")
    parser.add_argument("--sample", type=int, help="about so many edits, evenly spread")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--report", action="store_true", help="exit with 0 whatever is found")
    parser.add_argument(
        "--all", action="store_true", help="also those that are right; sums by kind"
    )
    parser.add_argument("--json", type=Path, help="a file for what became of each edit")
    options = parser.parse_args()

    edits = [edit for path in options.corpus for edit in load(path)]
    if wrong := [each for each in faults(edits) if each]:
        sys.exit(f"the corpus is not in form: {wrong}")
    edits = [edit for edit in edits if options.only in f"{edit.kind} {edit.name}"]
    skipped = Counter(name for edit in edits for name in absent(edit))
    edits = [edit for edit in edits if not absent(edit)]
    if options.tool != "hypernodes":  # what only HyperNodes has
        edits = [edit for edit in edits if "hypernodes" not in "".join(edit.files.values())]
    if options.sample and options.sample < len(edits):
        edits = [edits[round(i * len(edits) / options.sample)] for i in range(options.sample)]

    server = serve_prefect() if options.tool == "prefect" else None
    try:
        imported(edits, options.tool)
        found, kinds, record = Counter(), defaultdict(Counter), []
        with multiprocessing.get_context("fork").Pool(options.jobs) as pool:
            told = pool.imap(judge, [(edit, options.tool) for edit in edits])
            for edit, (word, seen) in zip(edits, told, strict=True):
                found[word] += 1
                each = {"kind": edit.kind, "name": edit.name, "rule": edit.rule}
                record.append({**each, "verdict": word, "seen": seen})
                kinds[edit.kind, edit.rule][word] += 1
                if options.all or word not in ("right", "declined"):
                    print(f"{word:9} {edit.kind:10} {edit.name}: {seen}", flush=True)
    finally:
        if server:
            os.killpg(server[0].pid, signal.SIGKILL)
            server[0].wait()
            shutil.rmtree(server[1], ignore_errors=True)
    if options.all:
        for (kind, rule), words in sorted(kinds.items()):
            counts = ", ".join(f"{count} {word}" for word, count in words.items())
            print(f"  {kind:10} {rule}: {sum(words.values())} edits, {counts}")
    if skipped:
        counts = ", ".join(f"{name} ({count})" for name, count in sorted(skipped.items()))
        print("skipped for want of", counts)
    if options.json:
        options.json.write_text(json.dumps(record, indent=1))
    print(
        f"{len(edits)} edits: {found['stale']} stale, {found['needless']} recomputed needlessly, "
        f"{found['never']} never cached though they could be, {found['error']} errors "
        f"({found['declined']} declined with a warning)"
    )
    wrong = any(found[word] for word in ("stale", "needless", "never", "error"))
    sys.exit(not options.report and wrong)


if __name__ == "__main__":
    if sys.argv[1:] == ["--serve"]:
        imported([], "hypernodes")
        serve()
    else:
        main()

"""Each value in the corpus is told from the one that differs, and known again where it is the same.

    python check.py [CORPUS...] [--only WORD] [--report] [--all] [--json FILE]

A node is run with the first expression of a pair in one process, and in another one with another
hash seed with the second, and with the first again. Says one line for each pair that is wrong and
the sums at the end: a collision is a result served for a value that differs, needless one that was
computed again for a value that is the same. A value that is not cached with a CacheWarning fails
closed: that counts as declined where the two differ, and as needless where they agree. Exits with
1 where anything is wrong, unless with --report.
"""

import argparse
import concurrent.futures
import contextlib
import gc
import importlib
import importlib.util
import json
import os
import re
import resource
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import warnings
from collections import Counter
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
from _pair import AGREE, DIFFER  # noqa: E402

sys.dont_write_bytecode = True
PATIENCE = 10  # seconds that one expression may take
MEMORY = 4 << 30  # bytes
COMMON = """
import collections, dataclasses, datetime as dt, decimal, enum, functools, io, itertools, pathlib
import re, types, typing
import numpy as np, pandas as pd, polars as pl, pyarrow as pa
"""


# --- one value, in a process of its own -----------------------------------------------------------
def seen(value):
    return 0


def ask(folder, given, expression):
    """Whether the node ran for the expression's value, and what the cache warned of."""
    from hypernodes import CacheWarning, DiskCache, Pipeline, PipelineCallback, node

    os.chdir(folder)
    sys.path.insert(0, folder)
    Path("own.py").write_text(COMMON + given)
    value = eval(expression, vars(importlib.import_module("own")))
    ran = []

    class Started(PipelineCallback):
        def on_node_start(self, node_id, *args, **kwargs):
            ran.append(node_id)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        member = node(seen, output_name="out")
        Pipeline([member], cache=DiskCache("cachedir"), callbacks=[Started()]).run({"value": value})
    declined = [str(each.message) for each in caught if issubclass(each.category, CacheWarning)]
    return {"ran": bool(ran), "declined": declined[:1]}


def forked(request):
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(reader)
        gc.disable()
        quiet = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(quiet, stream)
        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
        try:
            told = ask(*request)
        except BaseException:
            told = {"error": traceback.format_exc()[-600:]}
        with os.fdopen(writer, "wb") as pipe:
            pipe.write(json.dumps(told).encode())
        os._exit(0)
    os.close(writer)
    data, end = b"", time.monotonic() + PATIENCE
    while select.select([reader], [], [], max(0, end - time.monotonic()))[0]:
        block = os.read(reader, 65536)
        if not block:
            break
        data += block
    os.close(reader)
    if not data:
        os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return json.loads(data) if data else {"error": f"HANG: nothing in {PATIENCE} s"}


def serve(packages):
    """Answers requests, a line each; with the packages imported once."""
    warnings.simplefilter("ignore")
    for name in ("numpy", "pandas", "polars", "pyarrow", "hypernodes", *packages):
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    gc.collect()
    gc.freeze()
    for line in sys.stdin:
        print(json.dumps(forked(json.loads(line))), flush=True)


# --- all of them ----------------------------------------------------------------------------------
class Server:
    def __init__(self, seed, packages):
        command = [sys.executable, str(Path(__file__).resolve()), "--serve", *packages]
        surroundings = {**os.environ, "PYTHONHASHSEED": str(seed)}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen(command, env=surroundings, text=True, **pipes)

    def __call__(self, *request):
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def verdict(pair, first, second):
    folder = tempfile.mkdtemp(prefix="pair-")
    try:
        kept = first(folder, pair.given, pair.one)
        other = kept if "error" in kept else second(folder, pair.given, pair.other)
        again = other if "error" in other else second(folder, pair.given, pair.one)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    for each in (kept, other, again):
        if "error" in each:
            last = each["error"].strip().splitlines()[-1][:160]
            return ("hang" if last.startswith("HANG") else "error"), last
    declined = (kept["declined"] or other["declined"] or [""])[0][:160]
    if pair.rule == DIFFER and not other["ran"]:
        return "collision", f"{pair.one}  |  {pair.other}"
    if declined:
        return ("declined" if pair.rule == DIFFER else "needless"), declined
    if pair.rule == AGREE and other["ran"]:
        return "needless", f"{pair.one}  |  {pair.other}"
    if again["ran"]:
        return "needless", f"not known again in another process: {pair.one}"
    return "right", ""


def load(path):
    spec = importlib.util.spec_from_file_location(f"corpus_{abs(hash(path))}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.PAIRS


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpus", nargs="*", default=[str(HERE / "corpus.py")])
    parser.add_argument("--only", default="", help="pairs with this in their name")
    parser.add_argument("--sample", type=int, help="about so many pairs, evenly spread")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--report", action="store_true", help="exit with 0 whatever is found")
    parser.add_argument("--all", action="store_true", help="a line for those that are right, too")
    parser.add_argument("--json", type=Path, help="a file for what became of each pair")
    options = parser.parse_args()
    pairs = [pair for path in options.corpus for pair in load(path) if options.only in pair.name]
    names = [pair.name for pair in pairs]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        sys.exit(f"the corpus is not in form: {twice} are there twice")
    needs = {name for pair in pairs for name in pair.needs}
    absent = {name for name in needs if importlib.util.find_spec(name) is None}
    skipped = Counter(name for pair in pairs for name in pair.needs if name in absent)
    pairs = [pair for pair in pairs if not absent & set(pair.needs)]
    if options.sample and options.sample < len(pairs):
        pairs = [pairs[round(i * len(pairs) / options.sample)] for i in range(options.sample)]
    given = "\n".join(pair.given for pair in pairs)
    imports = set(re.findall(r"^\s*(?:import|from) ([\w.]+)", given, re.M))
    packages = sorted(each for each in imports if each.split(".")[0] not in sys.stdlib_module_names)

    local = threading.local()
    servers = []

    def judge(pair):
        if not hasattr(local, "pair"):
            local.pair = Server(1, packages), Server(2, packages)
            servers.extend(local.pair)
        return verdict(pair, *local.pair)

    found, record = Counter(), []
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        for pair, (word, text) in zip(pairs, pool.map(judge, pairs), strict=True):
            found[word] += 1
            record.append({"name": pair.name, "rule": pair.rule, "verdict": word, "seen": text})
            if options.all or word not in ("right", "declined"):
                print(f"{word:9} {pair.rule}: {pair.name}: {text}", flush=True)
    for server in servers:
        server.close()
    if skipped:
        counts = ", ".join(f"{name} ({count})" for name, count in sorted(skipped.items()))
        print("skipped for want of", counts)
    if options.json:
        options.json.write_text(json.dumps(record, indent=1))
    print(
        f"{len(pairs)} pairs: {found['collision']} collide, {found['needless']} recomputed "
        f"needlessly, {found['hang']} hang, {found['error']} errors ({found['declined']} declined "
        "with a warning)"
    )
    wrong = any(found[word] for word in ("collision", "needless", "hang", "error"))
    sys.exit(not options.report and wrong)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        serve(sys.argv[2:])
    else:
        main()

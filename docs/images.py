"""The pictures of the README, out of real runs of the project's own flows.

    python docs/images.py

Needs `pip install -e ".[dev]"` and Chromium. More of Prefect's UI is shown by pictures that its
browser test makes.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from html import escape
from itertools import groupby
from pathlib import Path
from typing import Any

import pexpect
import pyte
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).parents[1]
IMAGES = Path(__file__).parent / "images"
FLOW = ROOT / "flows" / "corpus_report.py"
WIDTH = 92

sys.path[:0] = [str(FLOW.parent), str(ROOT / "tests" / "integration")]

from corpus_report import corpus, find_files  # noqa: E402
from prefect_server import environment, server  # noqa: E402

from hypernodes import HyperNodesEngine, MemoryCache, record  # noqa: E402

_COLOURS = {
    "red": "#ff7070", "green": "#4cc38a", "cyan": "#5cc8d8", "magenta": "#d8a0e8",
    "brown": "#f0b13c", "yellow": "#f0b13c", "brightblack": "#6b7787",
}  # fmt: skip
_TERMINAL = """<body style="margin:0;background:#f6f7f9"><div id="window" style="margin:0;
display:inline-block;background:#10151c;border-radius:10px;overflow:hidden">
<div style="background:#1c242e;padding:9px 14px;color:#95a2b3;font:12px system-ui,sans-serif">
<span style="color:#ff6058">●</span> <span style="color:#ffbd2e">●</span>
<span style="color:#28c840">●</span>&nbsp; {title}</div><pre style="margin:0;padding:14px 20px 18px;
color:#dfe5ec;font:14px/1.32 'DejaVu Sans Mono',monospace">{lines}</pre></div></body>"""


def terminal(arguments: list[str], folder: str) -> list[str]:
    """The lines that a terminal shows after a command, as HTML."""
    child = pexpect.spawn(
        sys.executable,
        arguments,
        cwd=folder,
        dimensions=(60, WIDTH),
        encoding="utf-8",
        timeout=300,
        env={**os.environ, "TERM": "xterm-256color", "PREFECT_HOME": f"{folder}/prefect"},
    )
    child.expect(pexpect.EOF)
    written: Any = child.before
    screen = pyte.Screen(WIDTH, 60)
    pyte.Stream(screen).feed(written)
    return [_line([screen.buffer[y][x] for x in range(WIDTH)]) for y in range(60)]


def _line(cells: list[Any]) -> str:
    parts = []
    for style, group in groupby(cells, _style):
        text = escape("".join(cell.data for cell in group))
        parts.append(f'<span style="{style}">{text}</span>' if style else text)
    return "".join(parts).rstrip()


def _style(cell: Any) -> str:
    colour = _COLOURS.get(cell.fg, "" if cell.fg == "default" else f"#{cell.fg}")
    return (f"color:{colour};" if colour else "") + ("font-weight:bold" if cell.bold else "")


def main() -> None:
    """Make them."""
    IMAGES.mkdir(exist_ok=True)
    files = find_files(Path(sysconfig.get_path("stdlib")), "*.py", 120)
    cached = corpus.with_cache(MemoryCache())
    cached.run({"files": files[:40]})
    with HyperNodesEngine("threaded", "threaded") as engine, record() as timeline:
        cached.with_engine(engine).run({"files": files})
    with tempfile.TemporaryDirectory() as folder:
        terminal([str(FLOW), "--limit", "400"], folder)
        shown = terminal([str(FLOW), "--limit", "600"], folder)
    first = next(place for place, line in enumerate(shown) if "corpus" in line and "✓" in line)
    last = next(place for place, line in enumerate(shown) if "report:" in line)
    lines = [line for line in shown[first : last + 1] if not line.endswith(" files")]
    lines.insert(0, "$ python flows/corpus_report.py --limit 600")

    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])

        def shoot(html: str, name: str, height: int, act: Any = None) -> None:
            page = browser.new_page(
                viewport={"width": 1280, "height": height}, device_scale_factor=1.5
            )
            file = Path(folder) / f"{name}.html"
            file.write_text(html, encoding="utf-8")
            page.goto(file.as_uri())
            if act is not None:
                page.wait_for_selector("html[data-ready]", state="attached")
                act(page)
                page.screenshot(path=str(IMAGES / f"{name}.png"))
            else:
                page.locator("#window").screenshot(path=str(IMAGES / f"{name}.png"))
            page.close()

        picture = str(cached.visualize(timeline=timeline))
        shoot(picture, "diagram", 800, lambda page: _point(page, "corpus/document/tokenise"))
        shoot(timeline.html(), "waterfall", 620, lambda page: page.click("#nodes"))
        shoot(_TERMINAL.format(title="corpus report", lines="\n".join(lines)), "terminal", 800)
        prefect_ui(browser.new_page(viewport={"width": 1400, "height": 900}), Path(folder))
        prefect_failures(browser.new_page(viewport={"width": 1200, "height": 560}), Path(folder))
        prefect_states(browser.new_page(viewport={"width": 1200, "height": 960}), Path(folder))
        browser.close()


def prefect_ui(page: Any, folder: Path) -> None:
    """The page of a run of the corpus report in Prefect's UI."""
    with server(folder / "server") as prefect:
        command = [sys.executable, str(FLOW), "--limit", "12"]
        env = environment(folder / "home", PREFECT_API_URL=prefect.url)
        subprocess.run(command, cwd=folder, env=env, check=True, stdout=subprocess.DEVNULL)
        (run,) = prefect.flow_runs()
        page.goto(f"{prefect.url.removesuffix('/api')}/runs/flow-run/{run['id']}?tab=Task+Runs")
        page.get_by_text(run["name"]).first.wait_for(timeout=60_000)
        page.wait_for_timeout(5_000)  # the graph is drawn
        page.screenshot(path=str(IMAGES / "prefect.png"))


_LEVELS = """
from prefect_hypernodes import pipeline_flow
from hypernodes import Pipeline, node

@node(output_name="level")
def measure(sensor):
    if sensor in ("s077", "s200", "s431"):
        raise ValueError(f"{sensor} has not answered for a minute")
    return len(sensor) / 2

levels = pipeline_flow(
    Pipeline([measure], name="levels"), map_over="sensors", error_handling="continue"
)
levels(sensors=[f"s{number:03}" for number in range(500)])
"""


def prefect_failures(page: Any, folder: Path) -> None:
    """What Prefect's UI lists of a map of 500 items, three of which have failed."""
    with server(folder / "levels-server") as prefect:
        (folder / "levels.py").write_text(_LEVELS, encoding="utf-8")
        env = environment(folder / "home", PREFECT_API_URL=prefect.url)
        subprocess.run([sys.executable, "levels.py"], cwd=folder, env=env, check=True)
        (run,) = prefect.flow_runs()
        (made,) = [each for key, each in prefect.artifacts(run).items() if key.endswith("failures")]
        page.goto(f"{prefect.url.removesuffix('/api')}/artifacts/artifact/{made['id']}")
        page.get_by_text("of 500 items failed").first.wait_for(timeout=60_000)
        page.wait_for_timeout(2_000)
        page.screenshot(path=str(IMAGES / "prefect-failures.png"))


_STATIONS = """
import os, signal, sys, time
from prefect_hypernodes import pipeline_flow
from hypernodes import DiskCache, HyperNodesEngine, Pipeline, node

@node(output_name="values")
def read(station, fault):
    time.sleep(0.3 if fault != "slow" else 3 * len(station))
    if station == "west" and fault == "failed":
        raise ConnectionError(f"{station} does not answer")
    if station == "west" and fault == "crashed":
        os.kill(os.getpid(), signal.SIGKILL)
    return [len(station), 2, 6]

@node(output_name="mean")
def average(values):
    return sum(values) / len(values)

@node(output_name="report")
def report(means):
    return f"{len(means)} stations"

one = Pipeline([read, average], name="station")
each = one.as_node(
    name="each", map_over={"stations": "station"}, output_mapping={"mean": "means"}
)

if __name__ == "__main__":
    executor = "parallel" if sys.argv[1] == "crashed" else "threaded"
    with HyperNodesEngine(map_executor=executor) as engine:
        pipeline = Pipeline(
            [each, report], name="readings", engine=engine, cache=DiskCache("results")
        )
        names = ["north", "west", "south", "old town", "harbour", "airport", "university"]
        pipeline_flow(pipeline, name="readings")(stations=names, fault=sys.argv[1])
"""


def prefect_states(page: Any, folder: Path) -> None:
    """A run that fails, with its log; one whose worker is killed; one that runs; a cached one."""
    (folder / "stations.py").write_text(_STATIONS, encoding="utf-8")
    with server(folder / "stations-server") as prefect:
        env = environment(folder / "home", PREFECT_API_URL=prefect.url)
        ui = prefect.url.removesuffix("/api")

        # Its traceback is to name the file, and not the folder that it happens to be in.
        script = "exec(compile(open('stations.py').read(), 'stations.py', 'exec'))"

        def start(what: str) -> subprocess.Popen[bytes]:
            return subprocess.Popen([sys.executable, "-c", script, what], cwd=folder, env=env)

        runs: list[dict[str, Any]] = []
        for what in ("failed", "crashed", "none", "none", "slow"):
            process, known = start(what), len(runs)
            while len(runs) == known:
                page.wait_for_timeout(500)
                runs = prefect.flow_runs()
            if what != "slow":
                process.wait()
        failed, crashed, _, cached, slow = runs
        (read,) = [
            each
            for each in prefect.task_runs(failed)
            if each["name"].startswith("read[") and each["state_name"] == "Failed"
        ]
        page.wait_for_timeout(6_000)  # nodes are shown as running
        for what, run in (("running", slow), ("crashed", crashed), ("cached", cached)):
            page.goto(f"{ui}/runs/flow-run/{run['id']}")
            page.get_by_text("Task Runs", exact=True).click(timeout=120_000)
            page.get_by_text("read[").first.wait_for(timeout=120_000)
            page.wait_for_timeout(5_000)  # the graph is drawn
            page.screenshot(path=str(IMAGES / f"prefect-{what}.png"))
        page.set_viewport_size({"width": 1200, "height": 420})
        page.goto(f"{ui}/runs/task-run/{read['id']}")
        page.get_by_text("Traceback").first.wait_for(timeout=120_000)
        page.screenshot(path=str(IMAGES / "prefect-failed.png"))
        process.wait()


def _point(page: Any, path: str) -> None:
    page.hover(f".card[data-path='{path}']")
    page.wait_for_selector("#more:not([hidden])")


if __name__ == "__main__":
    main()

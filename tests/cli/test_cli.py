"""The command line, each call a process of its own."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

pytest.importorskip("cyclopts", reason="needs cyclopts: hypernodes[cli]")

PIPELINES = '''
import time
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Literal
from hypernodes import Pipeline, node

class Size(Enum):
    SMALL = "small"
    LARGE = "large"

@node(output_name="words")
def split(text: str) -> list[str]:
    """Words in lower case.

    More about it.
    """
    return text.lower().split()

@node(output_name=("count", "longest"))
def measure(words: list[str], at_least: int = 1) -> tuple[int, str]:
    kept = [word for word in words if len(word) >= at_least]
    if not kept:
        raise ValueError("nothing left")
    return len(kept), max(kept, key=len)

document = Pipeline([split, measure], name="document")
corpus = Pipeline([document.as_node(map_over="texts")], name="corpus")

def types(path: Path, size: Size, kind: Literal["a", "b"], numbers: list[float], flag: bool = False,
          limit: int | None = None, table: dict[str, int] = {}, anything=None, json: str = "mine"):
    return repr((path, size, kind, numbers, flag, limit, table, anything, json))

typed = Pipeline([node(types, "told")], name="typed")
picture = Pipeline([node(lambda text: text.encode(), "data", name="draw")], name="picture")
not_a_pipeline = 3
'''

ENVIRONMENT = {
    "PATH": "/usr/bin:/bin",
    "LANG": "C.UTF-8",
    "COLUMNS": "120",
    "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
}

# A program that has imported what the commands need, and forks for each call: that takes a tenth of
# the time that a new interpreter does.
FORKS = """
import gc, json, os, sys
import cyclopts, rich.console, rich.markdown, rich.syntax, rich.table
from hypernodes import observe
from hypernodes.cli import commands, main

gc.freeze()  # what is collected in a child would be copied for it
while line := sys.stdin.buffer.readline():
    asked = json.loads(line)
    child = os.fork()
    if not child:
        os.chdir(asked["folder"])
        for stream, name in enumerate(("stdin", "stdout", "stderr")):
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC if stream else os.O_RDONLY
            os.dup2(os.open(asked[name], flags), stream)
        sys.stdin = open(0)
        sys.argv[1:] = asked["arguments"]
        sys.exit(main())
    _, status = os.waitpid(child, 0)
    os.write(1, b"%d\\n" % os.waitstatus_to_exitcode(status))
"""


@functools.cache
def forking() -> subprocess.Popen[bytes]:
    """The program that forks; it ends when nobody can ask it any more."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    return subprocess.Popen([sys.executable, "-c", FORKS], env=ENVIRONMENT, **pipes)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "made.py").write_text(PIPELINES)
    return tmp_path


def call(folder: Path, *arguments: str, code: int = 0, stdin: str = "") -> tuple[str, str]:
    """What the command writes to stdout and stderr, in a process of its own."""
    command = forking()
    assert command.stdin is not None
    assert command.stdout is not None
    with tempfile.TemporaryDirectory() as place:
        files = {name: Path(place, name) for name in ("stdin", "stdout", "stderr")}
        files["stdin"].write_text(stdin)
        asked = {"folder": str(folder), "arguments": arguments}
        asked |= {name: str(file) for name, file in files.items()}
        command.stdin.write(json.dumps(asked).encode() + b"\n")
        command.stdin.flush()
        status = int(command.stdout.readline())
        out, err = files["stdout"].read_text(), files["stderr"].read_text()
    assert status == code, out + err
    return out, err


def test_show_tells_inputs_nodes_and_outputs_with_their_types(folder: Path) -> None:
    told, _ = call(folder, "show", "made.py:document")
    lines = [line.split() for line in told.splitlines()]
    assert ["input", "text", "str", "required"] in lines
    assert ["input", "at_least", "int", "=", "1"] in lines
    assert ["node", "split", "words:", "list[str]", "Words", "in", "lower", "case."] in lines
    assert ["output", "longest", "str"] in lines
    nested, _ = call(folder, "show", "made.py:corpus")
    assert "for each of texts" in nested


def test_show_draws_and_prints_for_programs(folder: Path) -> None:
    mermaid, _ = call(folder, "show", "made.py:document", "--mermaid")
    assert mermaid.startswith("flowchart TD")
    described = json.loads(call(folder, "show", "made.py:document", "--json")[0])
    assert [each["id"] for each in described["nodes"]] == ["split", "measure"]
    call(folder, "show", "made.py:document", "--to", "drawn.html")
    assert (folder / "drawn.html").read_text().startswith("<!DOCTYPE html>")
    _, problem = call(folder, "show", "made.py:document", "--to", "drawn.bmp", code=2)
    assert "unsupported format '.bmp'" in problem


def test_run_has_an_option_for_each_input(folder: Path) -> None:
    told, _ = call(folder, "run", "made.py:document", "--help")
    assert "--text" in told
    assert "--at-least" in told
    assert "For measure." in told
    result, _ = call(
        folder, "run", "made.py:document", "--text", "One two three", "--at-least", "4"
    )
    assert json.loads(result) == {"words": ["one", "two", "three"], "count": 1, "longest": "three"}
    result, _ = call(folder, "run", "made.py:document", "--text", "a b", "-o", "count")
    assert json.loads(result) == {"count": 2}


def test_options_have_the_types_of_the_inputs(folder: Path) -> None:
    result, _ = call(
        folder, "run", "made.py:typed", "--path", "a/b", "--size", "large", "--kind", "b",
        "--numbers", "1", "2.5", "--flag", "--limit", "3", "--table.x", "1",
        "--anything", '{"a": [1]}', "--input-json", "theirs", "--json",
    )  # fmt: skip
    assert json.loads(result)["told"] == repr(
        (Path("a/b"), "SIZE", "b", [1.0, 2.5], True, 3, {"x": 1}, {"a": [1]}, "theirs")
    ).replace("'SIZE'", "<Size.LARGE: 'large'>")
    _, problem = call(
        folder, "run", "made.py:typed", "--path", "a", "--size", "huge", "--kind", "b",
        "--numbers", "1", code=2,
    )  # fmt: skip
    assert "huge" in problem
    assert "small" in problem


def test_outputs_go_to_files(folder: Path) -> None:
    call(folder, "run", "made.py:picture", "--text", "abc", "--save", "data=out.bin")
    assert (folder / "out.bin").read_bytes() == b"abc"
    _, problem = call(folder, "run", "made.py:picture", "--text", "a", "--save", "x=y", code=2)
    assert "outputs are 'data'" in problem


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["run", "mad.py:document"], "there is no file mad.py"),
        (["run", "made.py:documnt"], "Did you mean 'document'?"),
        (["run", "made.py:not_a_pipeline"], "is 3, no pipeline"),
        (["run", "made.py"], "which pipeline of made.py? Write made.py:NAME"),
        (["run", "made.py:document"], "--text"),
        (["run", "made.py:document", "--txt", "a"], "Did you mean --text"),
        (["run", "made.py:document", "--text", "a", "--at-least", "x"], 'unable to convert "x"'),
        (["run", "made.py:document", "--text", "a", "-o", "cuont"], "Did you mean 'count'?"),
        (["run", "no.such.module:p"], "No module named"),
        (["map", "made.py:document", "rows.xlsx"], "expected a file that ends in '.jsonl'"),
        (["map", "made.py:document", "rows.csv"], "there is no file rows.csv"),
        (["run", "made.py:document", "--text", "a", "--timeline", "x/y.html"], "no folder x"),
        (["run", "made.py:picture", "--text", "a", "--save", "data=x/y"], "there is no folder x"),
        (["map", "made.py:document", "rows.csv", "--to", "x/y.csv"], "there is no folder x"),
        (["show", "made.py:document", "--to", "x/y.html"], "there is no folder x"),
        (["cache", "stats", "nowhere"], "there is no folder nowhere"),
        (["shwo", "made.py"], "show"),
    ],
)
def test_what_cannot_be_is_said_and_has_exit_code_2(
    folder: Path, arguments: list[str], expected: str
) -> None:
    told, problem = call(folder, *arguments, code=2)
    assert expected in problem
    assert problem.startswith("error: ")
    assert told == ""
    assert "Traceback" not in problem


def test_a_file_that_cannot_be_loaded_is_told_with_its_line(folder: Path) -> None:
    (folder / "broken.py").write_text("x = 1\ny = z\n")
    _, problem = call(folder, "show", "broken.py:p", code=2)
    assert "broken.py cannot be loaded, line 2: NameError: name 'z' is not defined" in problem


def test_a_node_that_fails_is_told_without_the_engines_frames_and_has_exit_code_1(
    folder: Path,
) -> None:
    _, problem = call(folder, "run", "made.py:document", "--text", "a", "--at-least", "9", code=1)
    assert "ValueError: nothing left" in problem
    assert "in node 'measure' of pipeline 'document'" in problem
    assert "made.py" in problem
    assert "engines" not in problem
    told, _ = call(
        folder, "run", "made.py:document", "--text", "a", "--at-least", "9", "--json", code=1
    )
    assert json.loads(told) == {
        "error": {"type": "ValueError", "message": "nothing left", "node": "measure"}
    }


ROWS = [{"text": "one two", "id": 1}, {"text": "x", "id": 2}, {"text": "three", "id": 3}]


def test_map_goes_from_jsonl_to_jsonl_and_keeps_the_other_columns(folder: Path) -> None:
    lines = "".join(json.dumps(row) + "\n" for row in ROWS)
    told, problem = call(folder, "map", "made.py:document", "-", "-o", "count", stdin=lines)
    assert [json.loads(line) for line in told.splitlines()] == [
        {**row, "count": len(str(row["text"]).split())} for row in ROWS
    ]
    assert "3 rows, 0 failed" in problem


def test_rows_that_fail_have_an_error_and_exit_code_3(folder: Path) -> None:
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    told, _ = call(
        folder, "map", "made.py:document", "rows.jsonl", "--at-least", "3", "--on-error",
        "continue", "--to", "out.jsonl", "--json", "--executor", "threaded", code=3,
    )  # fmt: skip
    assert json.loads(told) == {"rows": 3, "failed": 1, "to": "out.jsonl"}
    rows = [json.loads(line) for line in (folder / "out.jsonl").read_text().splitlines()]
    assert rows[1] == {"text": "x", "id": 2, "error": "ValueError: nothing left"}
    assert rows[2]["longest"] == "three"


def test_a_row_that_fails_stops_the_map_by_default(folder: Path) -> None:
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    _, problem = call(
        folder, "map", "made.py:document", "rows.jsonl", "--at-least", "3", "--to", "out.jsonl",
        code=1,
    )  # fmt: skip
    assert "in item 1 (text='x') of a map" in problem
    assert not (folder / "out.jsonl").exists()


def test_map_reads_and_writes_csv_with_types(folder: Path) -> None:
    (folder / "rows.csv").write_text('text,at_least,note\n"one, two",4,a\nthree,1,b\n')
    call(folder, "map", "made.py:document", "rows.csv", "--to", "out.csv")
    assert (folder / "out.csv").read_text().splitlines() == [
        "text,at_least,note,words,count,longest",
        '"one, two",4,a,"[""one,"", ""two""]",1,"one,"',
        'three,1,b,"[""three""]",1,three',
    ]
    (folder / "bad.csv").write_text("text,at_least\na,1\nb,x\n")
    _, problem = call(folder, "map", "made.py:document", "bad.csv", code=2)
    assert "bad.csv, row 2: 'at_least' is 'x': expected int" in problem


def test_map_reads_and_writes_parquet(folder: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="needs pyarrow: hypernodes[parquet]")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pyarrow.Table.from_pylist(ROWS), folder / "rows.parquet")
    call(folder, "map", "made.py:document", "rows.parquet", "--to", "out.parquet", "-o", "words")
    made = parquet.read_table(folder / "out.parquet").to_pylist()
    assert made == [{**row, "words": str(row["text"]).split()} for row in ROWS]


def test_items_run_in_processes_from_a_file_that_workers_import(folder: Path) -> None:
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    told, _ = call(
        folder, "map", "made.py:document", "rows.jsonl", "-o", "longest", "--executor", "parallel"
    )
    assert [json.loads(line)["longest"] for line in told.splitlines()] == ["one", "x", "three"]


def test_a_column_that_no_input_has_and_one_given_twice_are_refused(folder: Path) -> None:
    _, problem = call(folder, "map", "made.py:document", "-", code=2, stdin='{"txt": "a"}\n')
    assert "no column that is an input. Columns: 'txt'" in problem
    _, problem = call(
        folder, "map", "made.py:document", "-", "--text", "b", code=2, stdin='{"text": "a"}\n'
    )
    assert "'text' is given twice" in problem
    _, problem = call(folder, "map", "made.py:document", "-", code=2, stdin="{]\n")
    assert "line 1: not JSON" in problem


def test_a_run_leaves_a_cache_and_a_timeline(folder: Path) -> None:
    arguments = ["run", "made.py:document", "--text", "a b", "--cache", "kept"]
    call(folder, *arguments)
    call(folder, *arguments, "--timeline", "ran.html", "--progress")
    assert '"hits":[2,2]' in (folder / "ran.html").read_text()


def test_a_run_computes_anew_what_it_is_told_to(folder: Path) -> None:
    arguments = ["run", "made.py:document", "--text", "a b", "--cache", "kept"]
    call(folder, *arguments)
    call(folder, *arguments, "--refresh", "measure", "--timeline", "ran.html")
    assert '"hits":[1,2]' in (folder / "ran.html").read_text()
    _, problem = call(folder, *arguments, "--refresh", "measrue", code=2)
    assert "no node or output 'measrue'. Did you mean 'measure'" in problem
    why = ["cache", "why", *arguments[1:], "--refresh", "measure"]
    told, _ = call(folder, *why)
    assert "measure: miss: it is to be refreshed" in told


def test_a_cache_can_be_looked_into_and_cleared(folder: Path) -> None:
    call(folder, "run", "made.py:document", "--text", "a b", "--cache", "kept")
    told, _ = call(folder, "cache", "stats", "kept")
    assert "split" in told
    assert "measure" in told
    held = json.loads(call(folder, "cache", "stats", "kept", "--json")[0])
    assert held["entries"] == 3
    _, problem = call(folder, "cache", "clear", "kept", code=2)
    assert "add --yes" in problem
    call(folder, "cache", "clear", "kept", "--node", "split", "--yes")
    assert json.loads(call(folder, "cache", "stats", "kept", "--json")[0])["entries"] == 2
    told, _ = call(folder, "cache", "why", "made.py:document", "--text", "a b", "--cache", "kept")
    assert "measure: hit" in told
    assert "split: miss" in told
    told, _ = call(
        folder, "cache", "why", "made.py:document", "--text", "a b", "--cache", "kept", "--json"
    )
    assert [each["verdict"] for each in json.loads(told)] == ["miss", "hit"]
    _, problem = call(folder, "cache", "why", "made.py:document", "--text", "a", code=2)
    assert "has no cache of its own" in problem
    call(folder, "cache", "clear", "kept", "--yes")
    assert json.loads(call(folder, "cache", "stats", "kept", "--json")[0])["entries"] == 0


def edit(folder: Path) -> None:
    file = folder / "made.py"
    file.write_text(file.read_text().replace("text.lower().split()", "list(text.lower().split())"))


def test_results_of_the_code_before_an_edit_can_be_kept(folder: Path) -> None:
    arguments = ("made.py:document", "--text", "a b", "--cache", "kept")
    call(folder, "run", *arguments)
    edit(folder)
    told, _ = call(folder, "cache", "why", *arguments)
    assert "split: miss: code: made.split changed" in told
    assert "hypernodes cache keep FILE:PIPELINE" in told
    keep = ("cache", "keep", "made.py:document", "--cache", "kept")
    _, problem = call(folder, *keep, code=2)
    assert "split: can be kept: 1 result of its earlier code" in problem
    assert "code: made.split changed" in problem
    assert "for 'split' without being asked, add --yes" in problem
    told, _ = call(folder, *keep, "--yes", "--json")
    assert [each["verdict"] for each in json.loads(told)] == ["kept", "left"]
    told, _ = call(folder, "cache", "why", *arguments)
    assert "split: hit" in told
    assert "measure: hit" in told
    told, _ = call(folder, *keep)  # nothing is left to ask for
    assert "are used already" in told
    told, _ = call(folder, *keep, "--undo", "--yes", "--node", "split")
    assert told == "split: undone\n"
    _, problem = call(folder, *keep, "--node", "spilt", code=2)
    assert "no node 'spilt'" in problem
    _, problem = call(folder, "cache", "keep", "made.py:document", code=2)
    assert "has no cache of its own" in problem


@pytest.mark.parametrize(("answer", "kept"), [("y", True), ("n", False), ("", False)])
def test_nothing_is_kept_before_the_answer_is_yes(folder: Path, answer: str, kept: bool) -> None:
    pty = pytest.importorskip("pty")
    arguments = ("made.py:document", "--text", "a b", "--cache", "kept")
    call(folder, "run", *arguments)
    edit(folder)
    terminal, stdin = pty.openpty()
    os.write(terminal, f"{answer}\n".encode())
    done = subprocess.run(
        [sys.executable, "-c", "from hypernodes.cli import main; main()",
         "cache", "keep", "made.py:document", "--cache", "kept"],
        cwd=folder, stdin=stdin, capture_output=True, text=True, timeout=120, env=ENVIRONMENT,
    )  # fmt: skip
    os.close(terminal)
    os.close(stdin)
    assert "Use the results of earlier code for 'split'? [y/N]" in done.stdout
    assert ("split: kept" in done.stdout) is kept
    told, _ = call(folder, "cache", "why", *arguments)
    assert ("split: hit" in told) is kept


def test_progress_and_results_do_not_mix(folder: Path) -> None:
    told, problem = call(folder, "run", "made.py:document", "--text", "a", "--progress")
    assert json.loads(told)["count"] == 1
    assert "document: done in" in problem


def test_help_version_and_completion(folder: Path) -> None:
    told, _ = call(folder, "--help")
    for command in ("show", "run", "map", "cache", "--install-completion"):
        assert command in told
    assert call(folder, "--version")[0].strip()
    told, _ = call(folder, "run", "--help")
    assert "FILE:PIPELINE" in told
    for command in ("stats", "clear", "keep", "why"):
        assert command in call(folder, "cache", "--help")[0]


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_a_table_is_shown_by_its_first_rows(library: str) -> None:
    from rich.console import Console

    from hypernodes.cli import rows

    frame = pytest.importorskip(library).DataFrame({"city": ["Oslo"] * 30, "level": range(30)})
    console = Console(width=60, record=True)
    console.print(rows.head(frame))
    told = console.export_text()
    assert "city" in told
    assert "Oslo" in told
    assert "30 rows, 2 columns" in told
    assert told.count("Oslo") == 10
    assert rows.head([1, 2]) is None
    assert rows.head({"columns": 1}) is None

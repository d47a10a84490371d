"""The command line, each call a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import ENVIRONMENT, call, on_terminal

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
measured = Pipeline([measure], name="measured")
implicit = Pipeline([node(lambda limit=None: repr(limit), "shown", name="implicit")])

class NoText(Exception):
    def __str__(self):
        raise ValueError

@node(output_name="made")
def fails_at_1(x: int) -> int:
    if x == 1:
        raise NoText
    return x

odd = Pipeline([fails_at_1], name="odd")

def printing(x: str = "[red]a[/red] [/]"):
    print("printed [/] :smile:", end="", flush=True)
    print()
    return x

marked = Pipeline(
    [node(printing, "y", name="n[b]o[/b] `c` *d* :smile:")], name="p[b]q :smile:"
)
picture = Pipeline([node(lambda text: text.encode(), "data", name="draw")], name="picture")
not_a_pipeline = 3
'''


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "made.py").write_text(PIPELINES)
    return tmp_path


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


def test_a_row_without_an_input_has_its_default(folder: Path) -> None:
    rows = '{"words": ["a", "bcd"]}\n{"words": ["a", "bcd"], "at_least": 2}\n'
    told, _ = call(folder, "map", "made.py:measured", "-", "-o", "count", "--to", "-", stdin=rows)
    assert [json.loads(line)["count"] for line in told.splitlines()] == [2, 1]
    rows = '{"at_least": 2}\n{"words": []}\n'
    _, problem = call(folder, "map", "made.py:measured", "-", code=2, stdin=rows)
    assert problem == "error: -, row 1: there is no 'words'\n"


def test_null_is_given_only_to_an_input_that_can_be_none(folder: Path) -> None:
    rows = '{"words": ["a"], "at_least": null}\n'
    _, problem = call(folder, "map", "made.py:measured", "-", code=2, stdin=rows)
    assert "row 1: 'at_least' is None: expected int" in problem
    told, _ = call(folder, "map", "made.py:implicit", "-", stdin='{"limit": null}\n')
    assert json.loads(told)["shown"] == "None"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["run", "--save", "count=."], ". cannot be written: it is a folder"),
        (["run", "--timeline", "folder.html"], "folder.html cannot be written: it is a folder"),
        (["run", "--cache", "made.py"], "made.py is a file"),
        (["cache", "why", "--cache", "made.py"], "made.py is a file"),
        (["map", "rows.jsonl", "--to", "folder.csv"], "folder.csv cannot be written"),
        (["run", "--save", "count=/dev/full"], "No space left on device"),
        (["map", "rows.jsonl", "--to", "full.jsonl"], "No space left on device"),
    ],
)
def test_what_cannot_be_written_is_one_line_and_exit_code_2(
    folder: Path, arguments: list[str], expected: str
) -> None:
    for name in ("folder.html", "folder.csv"):
        (folder / name).mkdir()
    (folder / "rows.jsonl").write_text('{"text": "a"}\n')
    (folder / "full.jsonl").symlink_to("/dev/full")
    at = 2 if arguments[0] == "cache" else 1
    text = [] if "map" in arguments else ["--text", "a"]
    command = [*arguments[:at], "made.py:document", *arguments[at:], *text]
    _, problem = call(folder, *command, code=2)
    assert expected in problem
    assert problem.startswith("error: ")
    assert problem.count("\n") == 1
    _, problem = call(folder, "cache", "keep", "made.py:document", "--cache", "made.py", code=2)
    assert "made.py is a file" in problem


@pytest.mark.parametrize(
    ("name", "code", "expected"),
    [
        ("ends.py", "import sys\nsys.exit(0)\n", "ends.py cannot be loaded, line 2: SystemExit: 0"),
        ("x.y.py", "", "a module has no dot in its name. Rename it to x_y.py"),
        (
            "odd.py",
            "class E(Exception):\n    def __str__(self): raise ValueError\nraise E\n",
            "odd.py cannot be loaded, line 3: E: (an error without a text)",
        ),
    ],
)
def test_a_module_that_cannot_be_imported_is_one_line_and_exit_code_2(
    folder: Path, name: str, code: str, expected: str
) -> None:
    (folder / name).write_text(code)
    told, problem = call(folder, "run", f"{name}:p", code=2)
    assert told == ""
    assert problem.startswith("error: ")
    assert expected in problem
    assert problem.count("\n") == 1


def test_an_item_whose_error_has_no_text_loses_no_others(folder: Path) -> None:
    rows = '{"x": 0}\n{"x": 1}\n'
    told, _ = call(
        folder, "map", "made.py:odd", "-", "--on-error", "continue", code=3, stdin=rows
    )  # fmt: skip
    assert [json.loads(line) for line in told.splitlines()] == [
        {"x": 0, "made": 0}, {"x": 1, "error": "NoText: (an error without a text)"},
    ]  # fmt: skip
    told, _ = call(folder, "run", "made.py:odd", "--x", "1", "--json", code=1)
    assert json.loads(told)["error"]["type"] == "NoText"


def test_rows_from_the_standard_input_may_begin_with_a_byte_order_mark(folder: Path) -> None:
    told, _ = call(
        folder, "map", "made.py:document", "-", "-o", "count", stdin=b'\xef\xbb\xbf{"text": "a"}'
    )
    assert json.loads(told) == {"text": "a", "count": 1}
    _, problem = call(folder, "map", "made.py:document", "-", code=2, stdin=b'{"text": "\xff"}')
    assert "not UTF-8" in problem


@pytest.mark.parametrize(
    ("line", "code", "expected"),
    [
        ("map made.py:odd rows.jsonl | head -1", 141, ("", '{"x": 0, "made": 0}\n')),
        ("run made.py:odd --x 0 >&-", 2, ("error: the standard output is closed\n", "")),
        ("run made.py:odd --x 0 > /dev/full", 2, ("error: No space left on device\n", "")),
        ("map made.py:odd - <&-", 2, ("error: the standard input is closed\n", "")),
        ("run made.py:document --text é😄 -o words", 0, ("", '{\n  "words": [\n    "\\u00e9'
         '\\ud83d\\ude04"\n  ]\n}\n')),
    ],
)  # fmt: skip
def test_streams_that_are_closed_full_or_ascii(
    folder: Path, line: str, code: int, expected: tuple[str, str]
) -> None:
    (folder / "rows.jsonl").write_text('{"x": 0}\n' * 10_000)
    done = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m hypernodes {line}; exit ${{PIPESTATUS[0]}}"],
        cwd=folder, capture_output=True, text=True, timeout=120,
        env={**ENVIRONMENT, "PYTHONIOENCODING": "ascii:strict"},
    )  # fmt: skip
    assert (done.stderr, done.stdout) == expected
    assert done.returncode == code


def test_a_terminal_shows_texts_of_the_users_as_they_are(folder: Path) -> None:
    shown = on_terminal(folder, "run", "made.py:marked", "--x", "[b]x[/b] [/] :smile:")
    assert "[b]x[/b] [/] :smile:" in shown
    assert "printed [/] :smile:" in shown
    assert "n[b]o[/b] `c` *d* :smile:" in shown
    shown = on_terminal(folder, "run", "made.py:marked", "--help")
    assert "For n[b]o[/b] `c` *d* :smile:." in shown
    assert "[default: [red]a[/red] [/]]" in shown
    shown = on_terminal(folder, "show", "made.py:marked")
    assert "p[b]q :smile:" in shown
    assert "n[b]o[/b] `c` *d* :smile:" in shown
    shown = on_terminal(folder, "run", "made.py:marked", "--save", "y=[b]:smile:")
    assert "y: [b]:smile:" in shown
    _, problem = call(folder, "run", "made.py:marked", "--progress")
    assert "p[b]q :smile:: done in" in problem
    _, problem = call(folder, "run", "[b]:smile:.py:p", code=2)
    assert "there is no file [b]:smile:.py" in problem


def test_why_compares_a_script_with_the_module_of_its_name(tmp_path: Path) -> None:
    job = tmp_path / "job.py"
    job.write_text(
        "from hypernodes import DiskCache, Pipeline, node\n"
        "def by(x): return x + 1\n"
        "@node(output_name='n')\n"
        "def parse(body: str) -> float:\n    return by(float(body))\n"
        "p = Pipeline([parse], name='p', cache=DiskCache('c'))\n"
        "if __name__ == '__main__':\n    p.run({'body': '1'})\n"
    )
    subprocess.run([sys.executable, "job.py"], cwd=tmp_path, env=ENVIRONMENT, check=True)
    job.write_text(job.read_text().replace("x + 1", "x + 2"))
    out, _ = call(tmp_path, "cache", "why", "job.py:p", "--body", "1")
    assert "code: job.by changed" in out
    assert "any more" not in out

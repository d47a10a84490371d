"""Inputs as options: whatever an input is called, there is a way to give it."""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path

import pytest
from command_line import call

pytest.importorskip("cyclopts", reason="needs cyclopts: hypernodes[cli]")

from hypernodes import Pipeline, node
from hypernodes.cli.inputs import names_of, options

PIPELINES = """
from hypernodes import Pipeline, node

def pipeline(names, kind="int"):
    space = {}
    takes = ", ".join(f"{name}: {kind}" for name in names)
    exec(f"def gathered({takes}): return [{', '.join(names)}]", space)
    return Pipeline([node(space["gathered"], "out")])

flags = pipeline(["no_x", "x"], "bool")
several = pipeline(["cache", "input_cache", "x", "_x", "X"])
"""
OURS = [
    "target", "tokens", "version", "help", "h", "output", "o", "cache", "executor", "progress",
    "no_progress", "refresh", "timeline", "json", "save", "to", "on_error", "source", "running",
    "install_completion",
]  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "made.py").write_text(f"{PIPELINES}ours = pipeline({OURS})\n")
    return tmp_path


def flags_of(help_text: str) -> list[str]:
    return re.findall(r"(--[\w-]+) .*For gathered", help_text)


def test_inputs_may_be_called_as_options_of_ours_are(folder: Path) -> None:
    for command in ("run", "map", "cache why"):
        arguments = (*command.split(), "made.py:ours")
        flags = flags_of(call(folder, *arguments, "--help")[0])
        plain = [each.removeprefix("--input-").removeprefix("--") for each in flags]
        assert plain == [name.replace("_", "-") for name in OURS]
        given = [word for at, flag in enumerate(flags) for word in (flag, str(at))]
        more = {"run": ["-o", "out"], "map": ["-"], "cache why": ["--cache", "kept"]}[command]
        out, _ = call(folder, *arguments, *given, *more)
        if command == "run":
            assert json.loads(out) == {"out": list(range(len(OURS)))}


def test_inputs_do_not_take_each_others_options(folder: Path) -> None:
    flags = flags_of(call(folder, "run", "made.py:several", "--help")[0])
    assert flags == ["--input-cache", "--input-input-cache", "--x", "--input-x", "--X"]
    given = [word for at, flag in enumerate(flags) for word in (flag, str(at))]
    assert json.loads(call(folder, "run", "made.py:several", *given)[0])["out"] == [0, 1, 2, 3, 4]
    shown, _ = call(folder, "run", "made.py:flags", "--help")
    assert "--no-x --no-no-x" in shown
    assert "--input-x --no-input-x" in shown
    given = ["--no-x", "--no-input-x"]
    assert json.loads(call(folder, "run", "made.py:flags", *given)[0])["out"] == [True, False]


def test_no_two_options_have_a_name_in_common() -> None:
    def every(x: bool, no_x: int, input_x: int, xs: list[int], empty_xs: int, _x: int) -> int:
        return 0

    pipeline = Pipeline([node(every, "out")])
    used = {"--x", "--help"}
    made = options(pipeline, used)
    for option in made:
        assert not used & names_of([option])
        used |= names_of([option])
    assert [each.name for each in made] == [f"input_{name}" for name in pipeline.inputs]
    assert all(each.kind is inspect.Parameter.KEYWORD_ONLY for each in made)


def test_a_value_is_given_as_json_where_words_cannot_say_it(folder: Path) -> None:
    (folder / "lists.py").write_text(
        PIPELINES + "lists = pipeline(['m'], 'list[list[int]]')\n"
    )  # fmt: skip
    assert "As JSON." in call(folder, "run", "lists.py:lists", "--help")[0]
    out, _ = call(folder, "run", "lists.py:lists", "--m", "[[1], [2]]")
    assert json.loads(out) == {"out": [[[1], [2]]]}
    _, problem = call(folder, "run", "lists.py:lists", "--m", "[1]", code=2)
    assert "--m: expected list[list[int]]" in problem


@pytest.mark.parametrize("more", [["rows.json"], ["--inputs", "rows.json"]])
def test_what_is_not_understood_is_told_beside_what_is_missing(
    folder: Path, more: list[str]
) -> None:
    _, err = call(folder, "run", "made.py:several", *more, code=2)
    assert "needs a value" in err
    assert f"(Not understood: {' '.join(more)})" in err

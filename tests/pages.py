"""How the blocks of a page are run: what Sybil finds, in the order of the page.

    ```python                    runs; values and output shown in comments are checked
    ```python  with >>>          a doctest
    ```sh                        runs in bash, where a failing command fails the test
    ```text title="name"         a file: written beside the page's commands, or, where the
                                 repository has it, a part of that file
    <!--- invisible-code-block: python      runs and is not shown
    <!--- skip: next "reason" -->           does not run, and is reported as skipped

A page has a folder of its own and one namespace, as a script has.
"""

from __future__ import annotations

import ast
import contextlib
import doctest
import io
import itertools
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sybil import Document, Example, Region
from sybil.parsers.abstract import DocTestStringParser
from sybil.parsers.markdown import CodeBlockParser
from sybil.parsers.markdown.lexers import RawFencedCodeBlockLexer

ROOT = Path(__file__).parents[1]
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE | doctest.IGNORE_EXCEPTION_DETAIL
VALUE = re.compile(r"# ([\[{(<'\"\d-]|True|False|None)")


def begin(namespace: dict[str, Any]) -> None:
    """Start a page: an empty folder that knows the repository's flows, and a script's name."""
    namespace["__name__"] = "__main__"
    namespace["_home"] = os.getcwd()
    folder = tempfile.mkdtemp(prefix="page-")
    for name in ("flows", "prefect.yaml", "README.md", "pyproject.toml"):
        if (ROOT / name).exists():
            os.symlink(ROOT / name, Path(folder) / name)
    os.chdir(folder)


def end(namespace: dict[str, Any]) -> None:
    """Leave the page's folder, and remove it."""
    folder = os.getcwd()
    os.chdir(namespace["_home"])
    shutil.rmtree(folder, ignore_errors=True)


class ShownPython:
    """Python that is run statement by statement, and whose comments are held to be true.

    A comment below a `print` is what it prints; one below another expression, or below an
    assignment to a name, is the value, if it begins as values do. `...` stands for anything; in a
    list it stands for the elements that the page has put, unseen, into `placeholders`.
    """

    def __call__(self, example: Example) -> str | None:
        source: str = example.parsed
        first = example.line + example.parsed.line_offset
        lines = source.splitlines()
        module = _Placeholders().visit(ast.parse(source))
        for statement in module.body:
            ast.increment_lineno(statement, first)
            told = io.StringIO()
            with contextlib.redirect_stdout(told):
                value = _run(statement, example)
            shown = _comment(lines[statement.end_lineno - first :])  # type: ignore[operator]
            if shown and _prints(statement):
                problem = _differs(shown, told.getvalue())
            elif shown and VALUE.match(f"# {shown}") and value is not _NOTHING:
                problem = None if _is(shown, value) else _differs(shown, f"{value!r}\n")
            else:
                problem = None
            if problem:
                return f"{example.path}:{statement.lineno}: {problem}"
        return None


class _Placeholders(ast.NodeTransformer):
    """`[1, ...]` as `[1, *placeholders[0]]`, and so on."""

    def __init__(self) -> None:
        self.used = itertools.count()

    def visit_List(self, node: ast.List) -> ast.AST:
        self.generic_visit(node)
        for place, each in enumerate(node.elts):
            if isinstance(each, ast.Constant) and each.value is ...:
                filled = ast.parse(f"[*placeholders[{next(self.used)}]]", mode="eval").body
                node.elts[place] = ast.copy_location(filled.elts[0], each)  # type: ignore[attr-defined]
        return ast.fix_missing_locations(node)


_NOTHING = object()


def _run(statement: ast.stmt, example: Example) -> Any:
    namespace = example.namespace
    if isinstance(statement, ast.Expr):
        code = compile(ast.Expression(statement.value), example.path, "eval")
        return eval(code, namespace)
    exec(compile(ast.Module([statement], []), example.path, "exec"), namespace)
    if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
        return namespace[statement.targets[0].id]
    return _NOTHING


def _prints(statement: ast.stmt) -> bool:
    call = statement.value if isinstance(statement, ast.Expr) else None
    return isinstance(call, ast.Call) and getattr(call.func, "id", None) == "print"


def _comment(lines: list[str]) -> str:
    """The comment that begins in the next line."""
    told = []
    for line in lines:
        if not line.startswith("#"):
            break
        told.append(line.removeprefix("#").removeprefix(" "))
    return "\n".join(told)


def _is(shown: str, value: Any) -> bool:
    try:
        return bool(ast.literal_eval(shown) == value)
    except (ValueError, SyntaxError):
        return False


def _differs(shown: str, got: str) -> str | None:
    if doctest.OutputChecker().check_output(f"{shown}\n", got, FLAGS):
        return None
    return f"the page says\n{shown}\nand it is\n{got}"


class PythonParser:
    """Python blocks, as scripts or as doctests."""

    def __init__(self) -> None:
        from sybil.evaluators.doctest import DocTestEvaluator

        self.blocks = CodeBlockParser("python", ShownPython())
        self.doctests = DocTestStringParser(DocTestEvaluator(FLAGS))

    def __call__(self, document: Document) -> Iterable[Region]:
        for region in self.blocks(document):
            if not region.parsed.startswith(">>>"):
                yield region
                continue
            for each in self.doctests(region.parsed, document.path):
                each.adjust(region, region.parsed)
                yield each


def run_shell(example: Example) -> str | None:
    """Run a block of commands as a user would type them."""
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", example.parsed],
        capture_output=True,
        text=True,
        timeout=240,
        env={
            **os.environ,
            "COLUMNS": "160",
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        },
    )
    example.namespace["_shell"] = done.stdout
    if done.returncode:
        return f"{example.parsed}\ngave {done.returncode}:\n{done.stdout}\n{done.stderr}"
    return None


class FileParser:
    """Blocks with a title: files."""

    lexer = RawFencedCodeBlockLexer(re.compile(r'\w+ title="(?P<name>[^"]+)"$\n', re.MULTILINE))

    def __call__(self, document: Document) -> Iterable[Region]:
        for region in self.lexer(document):
            region.parsed = (region.lexemes["name"], region.lexemes["source"])
            region.evaluator = self.evaluate
            yield region

    def evaluate(self, example: Example) -> str | None:
        """Write the file, or see that the repository's own says the same."""
        name, text = example.parsed
        if (ROOT / name).exists():
            if _bare(text) not in _bare((ROOT / name).read_text(encoding="utf-8")):
                return f"{example.path}:{example.line}: {name} does not have this part"
            return None
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(text, encoding="utf-8")
        return None


def _bare(text: str) -> str:
    return "\n".join(line.strip() for line in text.splitlines()).strip()

"""Pictures: formats, files, what they show, and what is missing."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from hypernodes import DiskCache, MemoryCache, Pipeline, node, record
from hypernodes.visualize import plain_svg, visualize
from hypernodes.visualize.model import describe

needs_dot = pytest.mark.skipif(
    shutil.which("dot") is None, reason="needs Graphviz: `apt-get install graphviz`"
)


@node(output_name="words")
def split(text: str) -> list[str]:
    """Words in lower case."""
    return text.lower().split()


@node(output_name="count")
def measure(words: list[str], at_least: int = 1) -> int:
    return len([word for word in words if len(word) >= at_least])


document = Pipeline([split, measure], name="document")
corpus = Pipeline(
    [
        document.as_node(map_over={"texts": "text"}, output_mapping={"count": "counts"}),
        node(lambda counts: sum(counts), "total", name="add: all <of> them"),
    ],
    name="corpus",
)


def svg_texts(svg: str) -> str:
    root = ElementTree.fromstring(svg[svg.index("<svg") :])
    return " ".join(each.text or "" for each in root.iter("{http://www.w3.org/2000/svg}text"))


@needs_dot
def test_svg_has_nodes_nested_pipelines_inputs_outputs_and_types() -> None:
    drawn = svg_texts(str(corpus.visualize(format="svg")))
    for told in (
        "split", "measure", "document · for each of texts", "add: all <of> them",
        "texts: list[str]", "text: str", "words: list[str]", "at_least: int = 1", "total",
    ):  # fmt: skip
        assert told in drawn


@needs_dot
def test_after_a_run_svg_tells_states_and_times() -> None:
    cached = corpus.with_cache(MemoryCache())
    cached.run({"texts": ["a"]})
    with record() as timeline:
        cached.run({"texts": ["a", "b c"]})
    drawn = svg_texts(str(cached.visualize(format="svg", timeline=timeline)))
    assert drawn.count("1 cached") == 2
    assert "µs" in drawn or "ms" in drawn


@needs_dot
@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (r"C:\new\Gtable", r"C:\new\Gtable"),
        ("<b>x</b>", "<b>x</b>"),
        ("<inner & co>", "<inner & co>"),
        ("a/b", "a/b"),
        ("\0and\x1b", "\ufffdand\ufffd"),
        ("half \ud800", "half \ufffd"),
    ],
)
def test_names_and_texts_are_drawn_as_they_are(name: str, shown: str) -> None:
    def keep(x: int, option: str = name) -> int:
        return x

    keep.__doc__ = name
    inner = Pipeline([node(keep, "y", name=name)], name=name)
    pipeline = Pipeline([inner, node(lambda y: y, "z", name="last")], name=name)
    for depth in (0, 1):
        drawn = svg_texts(str(pipeline.visualize(format="svg", depth=depth)))
        assert shown in drawn
        assert "z" in drawn
    assert shown in svg_texts(plain_svg(pipeline))


@needs_dot
def test_png_and_dot_and_files(tmp_path: Path) -> None:
    picture = document.visualize(tmp_path / "drawn.png")
    assert (tmp_path / "drawn.png").read_bytes() == picture.data
    assert isinstance(picture.data, bytes)
    assert picture.data[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">I", picture.data[16:20])[0] > 50
    assert str(document.visualize(tmp_path / "drawn.dot")).startswith("digraph")
    assert "<svg" in document.visualize(tmp_path / "drawn.svg").data
    assert document.visualize(tmp_path / "drawn.txt", format="svg").format == "svg"
    assert "image/png" in picture._repr_mimebundle_()


@needs_dot
def test_depth_folds_what_is_nested_deeper() -> None:
    folded = svg_texts(str(corpus.visualize(format="svg", depth=0)))
    assert "document" in folded
    assert "measure" not in folded
    assert "measure" in svg_texts(str(corpus.visualize(format="svg", depth=1)))


def test_without_the_program_dot_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("graphviz", reason="needs the Python package graphviz")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RuntimeError, match="'dot' is not installed: `apt-get install graphviz`"):
        document.visualize(format="png")


def test_mermaid_is_text() -> None:
    assert str(document.visualize(format="mermaid")).startswith("flowchart TD")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"path": "drawn.bmp"}, "unsupported format '.bmp'"),
        ({"format": "svgg"}, "Did you mean 'svg'?"),
        ({"depth": -1}, "depth is -1"),
    ],
)
def test_what_cannot_be_drawn_is_refused(arguments: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told.replace("?", r"\?")):
        visualize(document, **arguments)


def test_what_is_described_of_a_function(tmp_path: Path) -> None:
    class Model:
        """Not the node's."""

        def __call__(self, x: int) -> int:
            """The call's."""
            return x

    described = describe(
        Pipeline(
            [
                split,
                node(partial(measure.func, at_least=2), "many"),
                node(Model(), "y"),
                node(lambda y: y, "z", cache=False),
                node(len, "size"),
            ]
        ).bind(text="a")
    )
    by_id = {each["id"]: each for each in described["nodes"]}
    assert by_id["split"]["doc"] == "Words in lower case."
    assert by_id["split"]["source"].startswith('@node(output_name="words")\ndef split')
    assert by_id["split"]["where"].startswith("test_visualize.py:")
    assert by_id["measure"]["source"].startswith('@node(output_name="count")\ndef measure')
    assert by_id["measure"]["doc"] == ""
    assert by_id["z"]["options"] == ["cache=False"]
    assert by_id["len"]["source"] == ""
    assert described["bound"][0]["default"] == "'a'"


def test_importing_the_library_imports_none_of_what_pictures_need() -> None:
    code = (
        "import sys, hypernodes; "
        "heavy = {'rich', 'graphviz', 'matplotlib', 'opentelemetry', 'cyclopts', 'networkx'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ
    )
    assert done.stdout.strip() == "[]"


def test_public_names_are_there_and_others_are_not() -> None:
    import hypernodes

    for name in hypernodes.__all__:
        assert getattr(hypernodes, name) is not None
    assert hypernodes.record is record
    with pytest.raises(AttributeError, match="no attribute 'recrod'"):
        hypernodes.recrod  # type: ignore[attr-defined]


def test_a_pipelines_docstring_is_made_from_its_nodes() -> None:
    import inspect

    told = inspect.getdoc(corpus)
    assert told is not None
    assert told.startswith("Pipeline 'corpus': words, total out of texts, at_least.")
    assert "at_least (int): for document. By default 1." in told
    assert "document: a pipeline of 2 nodes, for each of texts." in told
    assert "split: Words in lower case." in str(document.__doc__)
    assert str(Pipeline.__doc__).startswith("Nodes wired by name into a graph")


def test_reprs_say_what_things_are(tmp_path: Path) -> None:
    assert repr(document.visualize(format="mermaid")).startswith("<Picture mermaid, ")
    assert repr(split) == "<Node split(text) -> words>"
    assert repr(document) == "<Pipeline 'document': text, at_least -> words, count; 2 nodes>"
    large = Pipeline([node(lambda x: x, f"y{place}", name=f"n{place}") for place in range(40)])
    assert repr(large).endswith("y6, y7 and 32 more; 40 nodes>")
    assert repr(DiskCache(tmp_path)) == f"DiskCache({str(tmp_path)!r})"

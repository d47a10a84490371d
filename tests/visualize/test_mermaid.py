"""A pipeline as Mermaid text."""

from __future__ import annotations

import pytest

from hypernodes import Pipeline, node
from hypernodes.visualize import mermaid


@node(output_name=("half", "rest"))
def halve(x: int) -> tuple[int, int]:
    return divmod(x, 2)


@node(output_name="sum")
def add(halves: list[int], offset: int = 0) -> int:
    return sum(halves) + offset


def test_nodes_inputs_edges_and_nested_pipelines_are_drawn() -> None:
    inner = Pipeline([halve], name='a "quoted" one')
    outer = Pipeline(
        [add, inner.as_node(map_over={"xs": "x"}, output_mapping={"half": "halves"})], name="outer"
    )
    assert mermaid(outer).splitlines() == [
        "flowchart TD",
        '  in_offset(["offset"])',
        '  in_xs(["xs"])',
        '  subgraph n0["a &quot;quoted&quot; one for each of xs"]',
        '    n0_in_x(["x"])',
        '    n1["halve"]',
        "    n0_in_x --> n1",
        "  end",
        "  in_xs --> n0",
        '  n2["add"]',
        '  n0 -- "halves" --> n2',
        "  in_offset --> n2",
    ]


def test_two_nodes_of_one_name_are_two_boxes() -> None:
    twice = Pipeline([node(halve.func, output_name=("a", "b")), node(halve.func, ("c", "d"))])
    assert mermaid(twice).count('["halve"]') == 2


@pytest.mark.parametrize("name", ["load:b", "stage 1: load", ":", "a:", "#9829; hearts"])
def test_a_name_may_hold_anything(name: str) -> None:
    pipeline = Pipeline([node(lambda x: x, "b", name=name), node(lambda b: b, "c", name="b")])
    shown = name.replace("#", "#35;")
    assert mermaid(pipeline).splitlines()[2:] == [
        f'  n0["{shown}"]',
        "  in_x --> n0",
        '  n1["b"]',
        '  n0 -- "b" --> n1',
    ]

"""The picture that needs no Graphviz: rows, boxes in boxes, states and times."""

from __future__ import annotations

from xml.etree import ElementTree

from hypernodes import Pipeline, node, record
from hypernodes.visualize import plain_svg

SVG = "{http://www.w3.org/2000/svg}"


@node(output_name="half")
def halve(x: int) -> float:
    return x / 2


@node(output_name="share")
def divide(half: float, by: int = 2) -> float:
    return half / by


@node(output_name="total")
def add_up(shares: list[float], half: float = 0) -> float:
    return sum(shares)


one = Pipeline([halve, divide], name="one")
each = one.as_node(
    name="<each>", map_over={"xs": "x"}, output_mapping={"share": "shares", "half": "halves"}
)
many = Pipeline([each, add_up], name="many")


def places(svg: str) -> dict[str, tuple[float, float]]:
    """Where each text is, from the picture's corner."""
    found: dict[str, tuple[float, float]] = {}

    def walk(element: ElementTree.Element, x: float, y: float) -> None:
        moved = element.get("transform", "")
        if moved:
            across, down = moved.removeprefix("translate(").removesuffix(")").split()
            x, y = x + float(across), y + float(down)
        if element.tag == f"{SVG}text":
            found[element.text or ""] = (x + float(element.get("x", 0)), y)
        for child in element:
            walk(child, x, y)

    walk(ElementTree.fromstring(svg), 0, 0)
    return found


def test_each_node_is_below_what_it_reads_and_nested_ones_are_in_a_box() -> None:
    found = places(plain_svg(many))
    title = "<each> for each of xs"
    assert found.keys() == {"xs", "by", "half", title, "halve", "divide", "add_up"}
    heights = [found[name][1] for name in ("xs", title, "halve", "divide", "add_up")]
    assert heights == sorted(set(heights))


def test_boxes_of_one_row_do_not_overlap() -> None:
    steps = [node(lambda x: x, f"output_{at}") for at in range(5)]
    svg = ElementTree.fromstring(plain_svg(Pipeline(steps, name="wide")))
    moved = [each.get("transform", "") for each in svg.iter(f"{SVG}g")]
    lefts = sorted({float(each.split()[0].removeprefix("translate(")) for each in moved if each})
    assert len(lefts) >= 5
    assert all(after - before > 20 for before, after in zip(lefts[-5:], lefts[-4:], strict=False))


def test_nodes_bear_their_states_and_times() -> None:
    with record() as timeline:
        many.run({"xs": [2, 4, 6]})
    texts = places(plain_svg(many, timeline))
    assert any(text.startswith("3 done · ") and text.endswith(" s") for text in texts)
    assert "#2f9e63" in plain_svg(many, timeline)
    assert "#2f9e63" not in plain_svg(many)

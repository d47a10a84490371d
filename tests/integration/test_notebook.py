"""A real notebook: every executor, and a session made in one cell and awaited in a node."""

from __future__ import annotations

import nbformat
from nbclient import NotebookClient

CELLS = [
    """
    import aiohttp, asyncio
    from aiohttp import web
    from hypernodes import HyperNodesEngine, Pipeline, node

    async def greet(request):
        await asyncio.sleep(0.001)
        return web.Response(text="hello " + request.match_info["name"])

    app = web.Application()
    app.router.add_get("/{name}", greet)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    """,
    """
    session = aiohttp.ClientSession()

    @node(output_name="text")
    async def fetch(name: str) -> str:
        async with session.get(f"{url}/{name}") as response:
            return await response.text()

    @node(output_name="size")
    def measure(text: str) -> int:
        return len(text)

    pipeline = Pipeline([fetch, measure])
    """,
    """
    results = {}
    for kind in ("sequential", "threaded", "async"):
        with HyperNodesEngine(kind, kind) as engine:
            told = pipeline.with_engine(engine)
            results[kind] = [
                told.run({"name": "ann"}),
                *told.map({"names": ["bob", "cecil"]}, map_over="names"),
                *(await told.amap({"names": ["dora"]}, map_over="names")),
                *told.imap({"name": iter(["eve"])}, map_over="name"),
                *[row async for row in told.imap({"name": iter(["fred"])}, map_over="name")],
            ]
    results
    """,
    """
    @node(output_name="square")
    def square(x: int) -> int:
        return x * x

    @node(output_name="waited")
    async def wait(square: int) -> int:
        await asyncio.sleep(0)
        return square + 1

    with HyperNodesEngine("parallel", "parallel") as engine:
        rows = Pipeline([square, wait], engine=engine).map({"x": [1, 2, 3]}, "x")
    rows
    """,
    """
    await session.close()
    await runner.cleanup()
    """,
]


def test_a_notebook_uses_every_executor_and_its_own_session() -> None:
    import textwrap

    cells = [nbformat.v4.new_code_cell(textwrap.dedent(cell).strip()) for cell in CELLS]
    notebook = nbformat.v4.new_notebook(cells=cells)
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    NotebookClient(notebook, timeout=120, kernel_name="python3").execute()

    def shown(cell: int) -> object:
        return eval(notebook.cells[cell].outputs[-1]["data"]["text/plain"])

    names = ["ann", "bob", "cecil", "dora", "eve", "fred"]
    expected = [{"text": f"hello {name}", "size": len(name) + 6} for name in names]
    assert shown(2) == dict.fromkeys(("sequential", "threaded", "async"), expected)
    assert shown(3) == [{"square": x * x, "waited": x * x + 1} for x in (1, 2, 3)]

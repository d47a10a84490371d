"""Retrieval, measured: chunks of documents, TF-IDF vectors, an index, and how well it finds.

    python flows/retrieval.py                          # the standard library's own modules
    python flows/retrieval.py --sizes 60 120 240 --ks 1 5 10

The documents are modules; the questions are the first sentences of their docstrings, which are
taken out of what is indexed, so that a question's right answer is known: its module. A map runs
the pipeline for several chunk sizes. Change the size, and reading is not repeated; change `ks`, and
only the evaluation runs.
"""

from __future__ import annotations

import argparse
import ast
import io
import os
import re
import sys
import sysconfig
from collections import Counter
from pathlib import Path
from typing import Any

os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
os.environ.setdefault("DO_NOT_TRACK", "1")

import numpy as np
from prefect import flow
from prefect.artifacts import create_markdown_artifact
from prefect_hypernodes import PrefectCallback, configured_cache
from rich.console import Console
from scipy.sparse import csr_matrix
from sklearn.feature_extraction.text import TfidfVectorizer

from hypernodes import CallbackContext, DiskCache, Pipeline, PipelineCallback, node

Chunk = tuple[int, str]
"""The place of a document, and a part of its text."""

# -- Documents and questions ---------------------------------------------------------------------


@node(output_name=("document", "question"))
def read(path: str, modified: int) -> tuple[str, str]:
    """A module's words without its docstring's first sentence, and that sentence.

    Args:
        path: a Python file.
        modified: when it was changed, which identifies it together with its path.
    """
    source = Path(path).read_text(encoding="utf-8", errors="replace")
    try:
        told = ast.get_docstring(ast.parse(source)) or ""
    except (SyntaxError, ValueError):
        told = ""
    first = re.split(r"(?<=[.!?])\s|\n\s*\n", told.strip(), maxsplit=1)[0]
    words = re.findall(r"[A-Za-z]{2,}", source.replace(first, " ") if first else source)
    return " ".join(words).lower(), " ".join(first.split())


document = Pipeline([read], name="document")

# -- Retrieval -----------------------------------------------------------------------------------


@node(output_name="chunks")
def chunk(documents: list[str], size: int, overlap: float = 0.25) -> list[Chunk]:
    """Parts of `size` words, which overlap by a share of that."""
    step = max(1, round(size * (1 - overlap)))
    chunks = []
    for place, text in enumerate(documents):
        words = text.split()
        starts = range(0, max(len(words) - size, 0) + step, step)
        chunks += [(place, " ".join(words[start : start + size])) for start in starts]
    return chunks


@node(output_name=("embedder", "index"))
def embed(chunks: list[Chunk], features: int = 20_000) -> tuple[TfidfVectorizer, csr_matrix]:
    """TF-IDF vectors of length 1 for all chunks, and what makes the like of them."""
    embedder = TfidfVectorizer(max_features=features, sublinear_tf=True, stop_words="english")
    return embedder, embedder.fit_transform([text for _, text in chunks])


@node(output_name="ranked")
def search(
    questions: list[str], embedder: Any, index: Any, chunks: list[Chunk], depth: int = 20
) -> list[list[int]]:
    """For each question the documents of the most similar chunks (cosine), the best first."""
    owners = np.array([place for place, _ in chunks])
    ranked = []
    for scores in (embedder.transform(questions) @ index.T).toarray():
        best = np.argsort(-scores, kind="stable")[: depth * 10]
        ranked.append(list(dict.fromkeys(owners[best].tolist()))[:depth])
    return ranked


@node(output_name="quality")
def evaluate(
    ranked: list[list[int]], questions: list[str], ks: tuple[int, ...] = (1, 5, 10)
) -> dict[str, float]:
    """Recall at each k, and the mean reciprocal rank, of the questions that are there."""
    ranks = [
        found.index(place) + 1 if place in found else None
        for place, (found, question) in enumerate(zip(ranked, questions, strict=True))
        if question
    ]
    total = max(len(ranks), 1)
    recall = {f"recall@{k}": sum(rank is not None and rank <= k for rank in ranks) for k in ks}
    told = {name: round(hits / total, 4) for name, hits in recall.items()}
    return {**told, "mrr": round(sum(1 / rank for rank in ranks if rank) / total, 4)}


retrieval = Pipeline([chunk, embed, search, evaluate], name="retrieval")


@node(output_name=("markdown", "plot"))
def write_report(sizes: list[int], qualities: list[dict[str, float]]) -> tuple[str, bytes]:
    """A table and a picture of the quality by chunk size."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names = list(qualities[0])
    lines = ["# Retrieval", "", f"| words in a chunk | {' | '.join(names)} |",
             "| ---: |" + " ---: |" * len(names)]  # fmt: skip
    for size, each in zip(sizes, qualities, strict=True):
        lines.append(f"| {size} | " + " | ".join(f"{each[name]:.3f}" for name in names) + " |")
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    for name in names:
        axes.plot(sizes, [each[name] for each in qualities], marker="o", label=name)
    axes.set(xlabel="words in a chunk", ylabel="share of questions", xscale="log")
    axes.set_xticks(sizes, [str(size) for size in sizes])
    axes.minorticks_off()
    axes.legend()
    axes.grid(alpha=0.3)
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer)
    return "\n".join(lines) + "\n", buffer.getvalue()


experiment = Pipeline(
    [
        document.as_node(
            map_over={"paths": "path", "times": "modified"},
            output_mapping={"document": "documents", "question": "questions"},
        ),
        retrieval.as_node(map_over={"sizes": "size"}, output_mapping={"quality": "qualities"}),
        write_report,
    ],
    name="retrieval-experiment",
)

# -- The flow ------------------------------------------------------------------------------------


class Counts(PipelineCallback):
    """How many runs of each node were computed, and how many came from the cache."""

    def __init__(self) -> None:
        self.ran: Counter[str] = Counter()
        self.cached: Counter[str] = Counter()

    def on_node_end(self, node_id: str, outputs: Any, duration: float, ctx: Any) -> None:
        self.ran[node_id] += 1

    def on_node_cached(self, node_id: str, signature: str, ctx: CallbackContext) -> None:
        self.cached[node_id] += 1


@flow(name="retrieval")
def find_out(
    folder: str = "",
    sizes: list[int] = [30, 60, 120, 240, 480],  # noqa: B006  # Prefect shows it in its form
    ks: list[int] = [1, 5, 10],  # noqa: B006
    limit: int = 300,
    output: str = "reports",
) -> dict[str, Any]:
    """How well modules are found by what they say about themselves.

    Args:
        folder: a folder with Python files; by default the standard library.
        sizes: words in a chunk.
        ks: the ranks at which recall is measured.
        limit: at most this many files.
        output: the folder for the report, the plot and the cache.
    """
    root = Path(folder or sysconfig.get_path("stdlib")).expanduser().resolve()
    paths = sorted(root.glob("*.py"))[:limit]
    if not paths:
        raise ValueError(f"{root} has no Python file: name a folder that has some")
    target, counts = Path(output), Counts()
    target.mkdir(parents=True, exist_ok=True)
    result = (
        experiment.with_cache(configured_cache() or DiskCache(target / "cache"))
        .with_callbacks([counts, PrefectCallback()])
        .run(
            {
                "paths": [str(path) for path in paths],
                "times": [path.stat().st_mtime_ns for path in paths],
                "sizes": sizes,
                "ks": tuple(ks),
            },
            ["markdown", "plot", "qualities"],
        )
    )
    create_markdown_artifact(result["markdown"], key="retrieval", description=str(root))
    (target / "retrieval.md").write_text(result["markdown"], encoding="utf-8")
    (target / "retrieval.png").write_bytes(result["plot"])
    told = {name: f"{counts.ran[name]} ran, {counts.cached[name]} cached"
            for name in sorted({*counts.ran, *counts.cached})}  # fmt: skip
    console = Console()
    console.print(result["markdown"])
    for name, what in told.items():
        console.print(f"{name:>14}: {what}")
    console.print(f"report: {target / 'retrieval.md'}   plot: {target / 'retrieval.png'}\n")
    return {"qualities": result["qualities"], "ran": dict(counts.ran)}


def main(arguments: list[str]) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", nargs="?", default="", help="by default the standard library")
    parser.add_argument("--sizes", type=int, nargs="+", default=[30, 60, 120, 240, 480])
    parser.add_argument("--ks", type=int, nargs="+", default=[1, 5, 10])
    parser.add_argument("--limit", type=int, default=300, help="at most this many files (300)")
    parser.add_argument("--output", default="reports", help="folder for results ('reports')")
    options = parser.parse_args(arguments)
    if min(*options.sizes, options.limit, *options.ks) < 1:
        parser.error("--sizes, --ks and --limit: expected numbers from 1")
    if options.folder and not any(Path(options.folder).expanduser().glob("*.py")):
        parser.error(f"{options.folder} has no Python file: name a folder that has some")
    find_out(**vars(options))


if __name__ == "__main__":
    main(sys.argv[1:])

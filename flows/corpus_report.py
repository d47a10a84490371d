"""A report on a folder of text or source files: key terms, similar files, where the time went.

    python flows/corpus_report.py                        # the standard library's own source
    python flows/corpus_report.py ~/notes --limit 1000 --pattern "*.md"

Every document goes through a pipeline of its own (read, normalise, tokenise, statistics, key
terms), which is nested in the pipeline for the corpus. Results are cached on disk: run it again
and nothing is computed; touch a file and only what depends on it is.
"""

from __future__ import annotations

import argparse
import io
import math
import os
import re
import sys
import sysconfig
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
os.environ.setdefault("DO_NOT_TRACK", "1")

from prefect import flow
from prefect.artifacts import create_markdown_artifact
from prefect_hypernodes import PrefectCallback, configured_cache
from rich.console import Console
from rich.table import Table

from hypernodes import (
    CallbackContext,
    DiskCache,
    Pipeline,
    PipelineCallback,
    ProgressCallback,
    node,
)

# -- One document --------------------------------------------------------------------------------


@dataclass(frozen=True)
class SourceFile:
    """A file as it was when the folder was listed: a change of size or time is another file."""

    path: str
    name: str
    size: int
    modified: int


@node(output_name=("text", "problem"))
def read(file: SourceFile) -> tuple[str, str]:
    """The file's text, or why it has none."""
    try:
        data = Path(file.path).read_bytes()
    except OSError as error:
        return "", f"unreadable ({error.strerror})"
    if b"\0" in data[:8192]:
        return "", "binary"
    try:
        return data.decode("utf-8"), ""
    except UnicodeDecodeError:
        return data.decode("latin-1"), ""


@node(output_name="normalised")
def normalise(text: str) -> str:
    """Lower case, one form of every accent, camelCase apart."""
    apart = re.sub(r"([a-z])([A-Z])", r"\1 \2", unicodedata.normalize("NFKC", text))
    return apart.lower()


@node(output_name="tokens")
def tokenise(normalised: str) -> list[str]:
    """Words of at least three letters."""
    return re.findall(r"[^\W\d_]{3,}", normalised)


@node(output_name="statistics")
def statistics(text: str, tokens: list[str]) -> dict[str, int]:
    """Lines, words and different words."""
    return {
        "lines": text.count("\n") + bool(text and not text.endswith("\n")),
        "words": len(tokens),
        "vocabulary": len(set(tokens)),
    }


@node(output_name="terms")
def key_terms(tokens: list[str], term_limit: int = 400) -> dict[str, int]:
    """The most frequent words with their counts."""
    return dict(Counter(tokens).most_common(term_limit))


document = Pipeline([read, normalise, tokenise, statistics, key_terms], name="document")

# -- The corpus ----------------------------------------------------------------------------------


@node(output_name="document_frequencies")
def count_documents(terms: list[dict[str, int]]) -> dict[str, int]:
    """In how many documents each word occurs."""
    return dict(Counter(word for each in terms for word in each))


@node(output_name="weights")
def weigh(
    terms: list[dict[str, int]], document_frequencies: dict[str, int], kept: int = 40
) -> list[dict[str, float]]:
    """TF-IDF weights of each document's best terms, as vectors of length 1.

    Weight: (1 + ln tf) * ln(N / df); Manning, Raghavan and Schuetze (2008), chapter 6.
    """
    total = len(terms)
    vectors = []
    for each in terms:
        weights = {
            word: (1 + math.log(count)) * math.log(total / document_frequencies[word])
            for word, count in each.items()
            if document_frequencies[word] < total
        }
        best = dict(sorted(weights.items(), key=lambda item: (-item[1], item[0]))[:kept])
        length = math.sqrt(sum(weight**2 for weight in best.values())) or 1.0
        vectors.append({word: weight / length for word, weight in best.items()})
    return vectors


@node(output_name="similar")
def find_similar(weights: list[dict[str, float]], pairs: int = 10) -> list[tuple[float, int, int]]:
    """The pairs of documents with the highest cosine similarity."""
    holders: dict[str, list[int]] = defaultdict(list)
    for place, vector in enumerate(weights):
        for word in vector:
            holders[word].append(place)
    scores: dict[tuple[int, int], float] = defaultdict(float)
    for word, places in holders.items():
        for one, other in combinations(places, 2):
            scores[one, other] += weights[one][word] * weights[other][word]
    best = sorted(scores.items(), key=lambda item: (-item[1], item[0]))[:pairs]
    return [(score, one, other) for (one, other), score in best]


@node(output_name="markdown")
def write_report(
    files: list[SourceFile],
    problem: list[str],
    statistics: list[dict[str, int]],
    document_frequencies: dict[str, int],
    weights: list[dict[str, float]],
    similar: list[tuple[float, int, int]],
) -> str:
    """The report as Markdown."""
    bad = [(file.name, why) for file, why in zip(files, problem, strict=True) if why]
    totals = {key: sum(each[key] for each in statistics) for key in ("lines", "words")}
    lines = [
        "# Corpus report",
        "",
        f"**{len(files) - len(bad)}** documents, **{totals['lines']:,}** lines, "
        f"**{totals['words']:,}** words, **{len(document_frequencies):,}** different terms.",
        "",
        "## Largest documents",
        "",
        "| document | lines | words | vocabulary | key terms |",
        "| --- | ---: | ---: | ---: | --- |",
    ]
    order = sorted(range(len(files)), key=lambda place: -statistics[place]["words"])
    for place in order[:20]:
        each = statistics[place]
        lines.append(
            f"| {files[place].name} | {each['lines']:,} | {each['words']:,} | "
            f"{each['vocabulary']:,} | {', '.join(list(weights[place])[:6])} |"
        )
    lines += ["", "## Most similar pairs", "", "| similarity | document | document |",
              "| ---: | --- | --- |"]  # fmt: skip
    lines += [f"| {s:.2f} | {files[a].name} | {files[b].name} |" for s, a, b in similar]
    if bad:
        lines += ["", f"## Left out: {len(bad)}", "", "| file | why |", "| --- | --- |"]
        lines += [f"| {name} | {why} |" for name, why in bad]
    return "\n".join(lines) + "\n"


@node(output_name="plot")
def draw(statistics: list[dict[str, int]]) -> bytes:
    """Vocabulary against length, on logarithmic axes (Heaps' law), as PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.add_subplot()
    shown = [each for each in statistics if each["words"]]
    axes.scatter([each["words"] for each in shown], [each["vocabulary"] for each in shown], s=12)
    if shown:
        axes.set(xscale="log", yscale="log")
    axes.set(xlabel="words", ylabel="different words", title=f"{len(shown)} documents")
    axes.grid(alpha=0.3)
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer)
    return buffer.getvalue()


corpus = Pipeline(
    [
        document.as_node(map_over={"files": "file"}),
        count_documents,
        weigh,
        find_similar,
        write_report,
        draw,
    ],
    name="corpus",
)

# -- The flow ------------------------------------------------------------------------------------


class LineUp(PipelineCallback):
    """Adds up what ran, what came from the cache, and how long it took, for each node."""

    def __init__(self) -> None:
        self.ran: Counter[str] = Counter()
        self.cached: Counter[str] = Counter()
        self.seconds: Counter[str] = Counter()

    def on_node_end(
        self, node_id: str, outputs: Mapping[str, Any], duration: float, ctx: CallbackContext
    ) -> None:
        self.ran[node_id] += 1
        self.seconds[node_id] += duration  # type: ignore[assignment]

    def on_node_cached(self, node_id: str, signature: str, ctx: CallbackContext) -> None:
        self.cached[node_id] += 1

    def table(self) -> Table:
        """One line a node, in the order of the pipeline."""
        table = Table(title="Where the time went", title_justify="left")
        for column in ("node", "ran", "from the cache", "seconds"):
            table.add_column(column, justify="left" if column == "node" else "right")
        for name in (*document.node_ids, *corpus.node_ids):
            if name in self.ran or name in self.cached:
                table.add_row(
                    name,
                    f"{self.ran[name]:,}",
                    f"{self.cached[name]:,}",
                    f"{self.seconds[name]:.3f}",
                )
        total = sum(self.ran.values()), sum(self.cached.values()), sum(self.seconds.values())
        table.add_section()
        table.add_row("total", f"{total[0]:,}", f"{total[1]:,}", f"{total[2]:.3f}")
        return table


def find_files(folder: Path, pattern: str, limit: int) -> list[SourceFile]:
    """The first files of a folder, in the order of their paths."""
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        raise SystemExit(f"{folder} {what}: give a folder with text or source files")
    found = []
    for path in sorted(folder.rglob(pattern)):
        if len(found) == limit:
            break
        if path.is_dir():
            continue
        try:
            stat = path.stat()
            size, modified = stat.st_size, stat.st_mtime_ns
        except OSError:  # a broken link, for one: the report names it
            size, modified = -1, 0
        name = path.relative_to(folder).as_posix()
        found.append(SourceFile(str(path), name, size, modified))
    if not found:
        raise SystemExit(f"no file in {folder} matches {pattern!r}: try --pattern '*'")
    return found


@flow(name="corpus-report")
def corpus_report(
    folder: str = "", limit: int = 300, pattern: str = "", output: str = "reports"
) -> dict[str, Any]:
    """Report on the files of a folder; by default Python's standard library.

    Args:
        folder: where to look, subfolders included.
        limit: at most this many files.
        pattern: which files; by default "*.py" for the standard library and "*" elsewhere.
        output: the folder for the report, the plot and the cache.
    """
    root = Path(folder or sysconfig.get_path("stdlib")).expanduser().resolve()
    files = find_files(root, pattern or ("*" if folder else "*.py"), limit)
    target = Path(output)
    target.mkdir(parents=True, exist_ok=True)
    lineup = LineUp()
    pipeline = corpus.with_cache(configured_cache() or DiskCache(target / "cache")).with_callbacks(
        [lineup, ProgressCallback(), PrefectCallback()]
    )
    result = pipeline.run({"files": files}, ["markdown", "plot", "problem"])
    create_markdown_artifact(result["markdown"], key="corpus-report", description=str(root))
    (target / "corpus.md").write_text(result["markdown"], encoding="utf-8")
    (target / "corpus.png").write_bytes(result["plot"])

    console = Console()
    console.print(f"\n[bold]{root}[/bold]: {len(files)} files")
    bad = [f"{file.name}: {why}" for file, why in zip(files, result["problem"], strict=True) if why]
    if bad:
        console.print(f"[yellow]left out: {len(bad)}[/yellow]  " + "; ".join(bad[:10]))
    console.print(lineup.table())
    console.print(f"report: {target / 'corpus.md'}   plot: {target / 'corpus.png'}\n")
    return {"files": len(files), "left_out": bad, "ran": sum(lineup.ran.values())}


def main(arguments: list[str]) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", nargs="?", default="", help="by default the standard library")
    parser.add_argument("--limit", type=int, default=300, help="at most this many files (300)")
    parser.add_argument("--pattern", default="", help="which files, for instance '*.md'")
    parser.add_argument("--output", default="reports", help="folder for results ('reports')")
    options = parser.parse_args(arguments)
    if options.limit < 1:
        parser.error(f"--limit is {options.limit}: expected at least 1")
    if options.folder and not Path(options.folder).expanduser().is_dir():
        parser.error(f"{options.folder} is no folder: give one with text or source files")
    if Path(options.output).exists() and not Path(options.output).is_dir():
        parser.error(f"{options.output} is no folder: give one for the report")
    corpus_report(**vars(options))


if __name__ == "__main__":
    main(sys.argv[1:])

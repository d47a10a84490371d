"""A pipeline as a flow and nothing else: what `prefect deploy` and `.serve()` need.

python flows/word_count.py            # serve it, every hour
prefect --no-prompt deploy --all      # or deploy what prefect.yaml names
"""

from __future__ import annotations

from pathlib import Path

from prefect_hypernodes import pipeline_flow

from hypernodes import Pipeline, node


@node(output_name="text", cache=False)  # a path says nothing of what is in the file
def read(path: str) -> str:
    """The file's text.

    Args:
        path: a text file.
    """
    return Path(path).read_text(encoding="utf-8", errors="replace")


@node(output_name="count")
def count_words(text: str, at_least: int = 1) -> int:
    """Words of some length.

    Args:
        at_least: letters that a word has to have.
    """
    return sum(len(word) >= at_least for word in text.split())


@node(output_name="total")
def add_up(counts: list[int]) -> int:
    """All words of all files."""
    return sum(counts)


each_file = Pipeline([read, count_words], name="each-file")
word_count = pipeline_flow(
    Pipeline(
        [each_file.as_node(map_over={"paths": "path"}, output_mapping={"count": "counts"}), add_up],
        name="word-count",
    ),
    output_name="total",
    retries=1,
)

if __name__ == "__main__":
    word_count.serve(
        name="hourly", interval=3600, parameters={"paths": ["README.md"], "at_least": 3}
    )

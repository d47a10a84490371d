"""A model is trained and evaluated, and replaces the one in use only if it is better.

    python flows/promote_model.py
    python flows/promote_model.py --trees 300 --depth 6 --registry models

Both models, the new one and the one in use, are scored on the same test part, which none was
trained on. Training comes from the cache where nothing has changed, so trying a forest that was
tried before costs nothing. The registry is a folder: one file a model, named by its content, and
`champion.json`, which is replaced in one step, so that a reader never sees half of it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import pickle
import sys
from pathlib import Path
from typing import Any

os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
os.environ.setdefault("DO_NOT_TRACK", "1")

from prefect import get_run_logger
from prefect.artifacts import create_markdown_artifact
from prefect_hypernodes import pipeline_flow
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split

from hypernodes import Pipeline, node

Split = dict[str, Any]


@node(output_name="split")
def load(seed: int = 0, test_share: float = 0.4) -> Split:
    """569 tumours with 30 measurements each, split by a seed.

    Args:
        seed: how the cases are split. Models are compared for one seed.
        test_share: the part that no model is trained on.
    """
    data = load_breast_cancer()
    x, x_test, y, y_test = train_test_split(
        data.data, data.target, test_size=test_share, random_state=seed, stratify=data.target
    )
    return {"x": x, "y": y, "x_test": x_test, "y_test": y_test}


@node(output_name="model")
def train(split: Split, trees: int = 10, depth: int = 1) -> bytes:
    """A random forest, pickled.

    Args:
        trees: how many trees it has.
        depth: how deep each may be.
    """
    forest = RandomForestClassifier(trees, max_depth=depth, random_state=0)
    return pickle.dumps(forest.fit(split["x"], split["y"]))


@node(output_name="score")
def evaluate(split: Split, model: bytes) -> float:
    """Area under the ROC curve on the test part."""
    chances = pickle.loads(model).predict_proba(split["x_test"])[:, 1]
    return float(roc_auc_score(split["y_test"], chances))


@node(output_name="champion", cache=False)
def find_champion(registry: str) -> bytes | None:
    """The model in use, or None.

    Args:
        registry: the folder with the models.
    """
    entry = Path(registry) / "champion.json"
    if not entry.exists():
        return None
    return (Path(registry) / json.loads(entry.read_text())["file"]).read_bytes()


@node(output_name="to_beat")
def evaluate_champion(split: Split, champion: bytes | None) -> float:
    """The champion's score on the same test part; 0 where there is none."""
    return 0.0 if champion is None else evaluate(split, champion)


@node(output_name="decision", cache=False)
def promote(
    model: bytes, score: float, to_beat: float, registry: str, gain: float = 0.0005
) -> dict[str, Any]:
    """Put the new model in place of the old one if it is better.

    Args:
        gain: by how much its score has to be higher.
    """
    name = f"{hashlib.sha256(model).hexdigest()[:16]}.pickle"
    better = score >= to_beat + gain
    if better:
        folder = Path(registry)
        folder.mkdir(parents=True, exist_ok=True)
        for target, content in (
            (folder / name, model),
            (folder / "champion.json", json.dumps({"file": name, "score": score}).encode()),
        ):
            aside = target.with_suffix(".part")
            aside.write_bytes(content)
            aside.replace(target)
    get_run_logger().info("%s: %.4f against %.4f", "promoted" if better else "kept", score, to_beat)
    create_markdown_artifact(
        f"The new model scores **{score:.4f}**, the one in use **{to_beat:.4f}**: "
        + ("it **replaces** it." if better else "nothing changes."),
        key="promotion",
    )
    return {"promoted": better, "score": score, "to_beat": to_beat}


pipeline = Pipeline(
    [load, train, evaluate, find_champion, evaluate_champion, promote], name="promotion"
)
promote_model = pipeline_flow(pipeline, output_name="decision", name="promote-model")


def main(arguments: list[str]) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--trees", type=int, default=10, help="trees of the forest (10)")
    parser.add_argument("--depth", type=int, default=1, help="how deep a tree may be (1)")
    parser.add_argument("--registry", default="reports/models", help="folder for the models")
    options = parser.parse_args(arguments)
    if min(options.trees, options.depth) < 1:
        parser.error("--trees and --depth: expected at least 1")
    os.environ.setdefault("HYPERNODES_CACHE", str(Path("reports/cache").absolute()))
    print(promote_model(trees=options.trees, depth=options.depth, registry=options.registry))


if __name__ == "__main__":
    main(sys.argv[1:])

"""A model-selection sweep on scikit-learn's handwritten digits, each candidate on a process.

    python flows/digits_sweep.py
    python flows/digits_sweep.py --cs 0.1 1 10 --gammas 0.0005 0.001 --output sweep

A nested pipeline trains and evaluates a support vector machine; a map runs it for every combination
of the parameters. The best model is tested on digits that no candidate has seen. Results are cached
on disk (or where `HYPERNODES_CACHE` says): widen the sweep, and only what is new is computed.
"""

from __future__ import annotations

import argparse
import base64
import io
import os
import sys
from pathlib import Path
from typing import Any

os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
os.environ.setdefault("DO_NOT_TRACK", "1")

import numpy as np
from prefect import flow, get_run_logger
from prefect.artifacts import create_image_artifact, create_table_artifact
from prefect_hypernodes import PrefectCallback, configured_cache
from sklearn.base import ClassifierMixin
from sklearn.datasets import load_digits
from sklearn.metrics import confusion_matrix
from sklearn.model_selection import cross_val_score, train_test_split
from sklearn.svm import SVC

from hypernodes import DiskCache, HyperNodesEngine, Pipeline, node

Split = dict[str, Any]

# -- One candidate -------------------------------------------------------------------------------


@node(output_name="score")
def evaluate(split: Split, c: float, gamma: float, folds: int = 4) -> float:
    """Mean accuracy in cross-validation on the training part.

    Args:
        split: training and test part.
        c: how much an error costs.
        gamma: how fast a support vector's influence falls with the distance.
        folds: parts of the cross-validation.
    """
    scores = cross_val_score(SVC(C=c, gamma=gamma), split["x"], split["y"], cv=folds)
    get_run_logger().info("C=%g gamma=%g: %.4f", c, gamma, scores.mean())
    return float(scores.mean())


@node(output_name="candidate")
def describe(c: float, gamma: float, score: float) -> dict[str, float]:
    """The candidate as a line of the table."""
    return {"C": c, "gamma": gamma, "accuracy": round(score, 4)}


candidate = Pipeline([evaluate, describe], name="candidate")

# -- The sweep -----------------------------------------------------------------------------------


@node(output_name="split")
def load(seed: int = 0, test_share: float = 0.25) -> Split:
    """1,797 digits of 8 x 8 grey values, split by a seed."""
    digits = load_digits()
    x, x_test, y, y_test = train_test_split(
        digits.data, digits.target, test_size=test_share, random_state=seed, stratify=digits.target
    )
    return {"x": x, "y": y, "x_test": x_test, "y_test": y_test}


@node(output_name="best")
def choose(candidates: list[dict[str, float]]) -> dict[str, float]:
    """The candidate with the highest accuracy; of equals the first."""
    return max(candidates, key=lambda each: each["accuracy"])


@node(output_name="model")
def train(split: Split, best: dict[str, float]) -> ClassifierMixin:
    """The best candidate, trained on the whole training part."""
    model: ClassifierMixin = SVC(C=best["C"], gamma=best["gamma"]).fit(split["x"], split["y"])
    return model


@node(output_name=("accuracy", "confusion"))
def test(split: Split, model: Any) -> tuple[float, np.ndarray]:
    """Accuracy and confusion matrix on the test part."""
    predicted = model.predict(split["x_test"])
    return (
        float((predicted == split["y_test"]).mean()),
        confusion_matrix(split["y_test"], predicted),
    )


@node(output_name="plot")
def draw(confusion: np.ndarray, accuracy: float) -> bytes:
    """The confusion matrix as PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 4.5), layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(confusion, cmap="Blues")
    for (row, column), count in np.ndenumerate(confusion):
        if count:
            colour = "white" if count > confusion.max() / 2 else "black"
            axes.text(column, row, str(count), ha="center", va="center", color=colour)
    axes.set(xlabel="predicted", ylabel="digit", title=f"{accuracy:.1%} of the test digits")
    axes.set_xticks(range(10))
    axes.set_yticks(range(10))
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer)
    return buffer.getvalue()


sweep = Pipeline(
    [
        load,
        candidate.as_node(
            map_over={"cs": "c", "gammas": "gamma"},
            map_mode="product",
            output_mapping={"candidate": "candidates", "score": "scores"},
        ),
        choose,
        train,
        test,
        draw,
    ],
    name="digits-sweep",
)

# -- The flow ------------------------------------------------------------------------------------

CS = [0.5, 1.0, 2.0, 5.0, 10.0]
GAMMAS = [0.0003, 0.0006, 0.001, 0.002, 0.004]


@flow(name="digits-sweep")
def digits_sweep(
    cs: list[float] = CS,
    gammas: list[float] = GAMMAS,
    seed: int = 0,
    workers: str = "parallel",
    output: str = "reports",
) -> dict[str, float]:
    """Find the best support vector machine for handwritten digits.

    Args:
        cs: values of C to try.
        gammas: values of gamma to try, each with every C.
        seed: how the digits are split into a training and a test part.
        workers: where candidates run: "parallel", "threaded" or "sequential".
        output: the folder for the plot and the cache.
    """
    folder = Path(output)
    folder.mkdir(parents=True, exist_ok=True)
    cache = configured_cache() or DiskCache(folder / "cache")
    with HyperNodesEngine(map_executor=workers) as engine:
        watched = sweep.with_engine(engine).with_cache(cache).with_callbacks([PrefectCallback()])
        result = watched.run(
            {"cs": cs, "gammas": gammas, "seed": seed}, ["candidates", "best", "accuracy", "plot"]
        )
    (folder / "digits.png").write_bytes(result["plot"])
    table = sorted(result["candidates"], key=lambda each: -each["accuracy"])
    best = {**result["best"], "test accuracy": round(result["accuracy"], 4)}
    create_table_artifact(table, key="digits-candidates", description=f"Best: {best}")
    image = "data:image/png;base64," + base64.b64encode(result["plot"]).decode()
    create_image_artifact(image, key="digits-confusion", description="Confusion matrix")
    return best


def main(arguments: list[str]) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cs", type=float, nargs="+", default=CS, help="values of C")
    parser.add_argument("--gammas", type=float, nargs="+", default=GAMMAS, help="values of gamma")
    parser.add_argument("--seed", type=int, default=0, help="how the digits are split (0)")
    parser.add_argument("--workers", default="parallel", help="'parallel', 'threaded', ...")
    parser.add_argument("--output", default="reports", help="folder for results ('reports')")
    options = parser.parse_args(arguments)
    if min(*options.cs, *options.gammas) <= 0:
        parser.error("every C and gamma has to be greater than 0")
    best = digits_sweep(**vars(options))
    print(f"best: {best}   plot: {Path(options.output) / 'digits.png'}")


if __name__ == "__main__":
    main(sys.argv[1:])

"""Retries and timeouts: like those of Prefect's tasks, wherever a node runs."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from recording import Recorder
from waiting import wait_until

from hypernodes import (
    DaftEngine,
    HyperNodesEngine,
    NodeError,
    NodeTimeoutError,
    Pipeline,
    PipelineCallback,
    Retry,
    exponential_backoff,
    node,
)
from hypernodes.integration import SLOTS

KINDS = ["sequential", "async", "threaded", "parallel"]


class Retries(PipelineCallback):
    def __init__(self) -> None:
        self.told: list[Retry] = []

    def on_node_retry(self, node_id: str, retry: Retry, ctx: Any) -> None:
        assert ctx.kind == "node"
        self.told.append(retry)


def flaky(folder: Path, failures: int) -> Any:
    """A function that fails so many times for each x, in whichever process."""

    def work(x: int) -> int:
        tries = len(list(folder.glob(f"{x}-*")))
        (folder / f"{x}-{tries}-{os.getpid()}").touch()
        if tries < failures:
            raise ConnectionError(f"try {tries + 1}")
        return x * 10

    return work


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("is_map", [False, True])
def test_a_node_is_tried_again_and_callbacks_are_told(
    kind: str, is_async: bool, is_map: bool, tmp_path: Path
) -> None:
    work = flaky(tmp_path, 2)

    async def awaited(x: int) -> int:
        await asyncio.sleep(0)
        return int(work(x))

    func = awaited if is_async else work
    made = node(func, "y", retries=3, retry_delay_seconds=[0.001, 0.002])
    retries, recorder = Retries(), Recorder()
    with HyperNodesEngine(kind, kind) as engine:
        pipeline = Pipeline([made], engine=engine, callbacks=[retries, recorder])
        if is_map:
            assert pipeline.map({"x": [1, 2]}, "x") == [{"y": 10}, {"y": 20}]
        else:
            assert pipeline.run({"x": 1}) == {"y": 10}
        silent = pipeline.with_callbacks(None)
        assert silent.run({"x": 3}) == {"y": 30}
    recorder.check_pairs()
    first = [each for each in retries.told if each.attempt == 1]
    assert len(retries.told) == (4 if is_map else 2)
    assert all(str(each.error) == "try 1" and each.delay == 0.001 for each in first)
    assert {each.delay for each in retries.told} == {0.001, 0.002}


def test_the_last_error_is_raised_as_it_is() -> None:
    tries = []

    @node(output_name="y", retries=2)
    def fail(x: int) -> int:
        tries.append(x)
        raise KeyError(len(tries))

    with pytest.raises(KeyError, match="3") as caught:
        Pipeline([fail]).run({"x": 1})
    assert len(tries) == 3
    assert "in node 'fail' of pipeline 'pipeline'" in caught.value.__notes__


def test_a_condition_says_which_errors_are_worth_it() -> None:
    tries = []

    @node(output_name="y", retries=5, retry_condition_fn=lambda e: isinstance(e, OSError))
    def fail(x: int) -> int:
        tries.append(x)
        raise OSError("once") if len(tries) == 1 else ValueError("no use")

    with pytest.raises(ValueError, match="no use"):
        Pipeline([fail]).run({"x": 1})
    assert len(tries) == 2


@pytest.mark.parametrize("executor", ["sequential", "threaded", "async"])
def test_a_condition_that_raises_does_not_hide_what_the_node_raised(executor: str) -> None:
    @node(output_name="y", retries=5, retry_condition_fn=lambda error: error.code == 503)
    def fetch(x: int) -> int:
        raise ConnectionError("refused")

    with HyperNodesEngine(executor) as engine, pytest.raises(ConnectionError) as caught:
        Pipeline([fetch], engine=engine).run({"x": 1})
    (note,) = [each for each in caught.value.__notes__ if "retry_condition_fn" in each]
    assert note.startswith("not tried again: retry_condition_fn raised AttributeError: ")


def test_nor_does_one_whose_error_has_no_text() -> None:
    class NoText(Exception):
        def __str__(self) -> str:
            raise ValueError("no text")

    def refuse(error: BaseException) -> bool:
        raise NoText

    @node(output_name="y", retries=1, retry_condition_fn=refuse)
    def fetch(x: int) -> int:
        raise ConnectionError("refused")

    with pytest.raises(ConnectionError, match="refused"):
        Pipeline([fetch]).run({"x": 1})


def test_delays_may_grow_and_jitter() -> None:
    retries = Retries()
    tries = []

    @node(
        output_name="y",
        retries=3,
        retry_delay_seconds=exponential_backoff(0.001),
        retry_jitter_factor=0.5,
    )
    def fail(x: int) -> int:
        tries.append(x)
        if len(tries) <= 3:
            raise OSError
        return x

    Pipeline([fail], callbacks=[retries]).run({"x": 1})
    for retry, least in zip(retries.told, (0.001, 0.002, 0.004), strict=True):
        assert least <= retry.delay <= 1.5 * least


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("is_async", [False, True])
def test_what_takes_too_long_is_an_error(kind: str, is_async: bool) -> None:
    def work(x: int) -> int:
        time.sleep(30 * x)
        return x

    async def awaited(x: int) -> int:
        await asyncio.sleep(30 * x)
        return x

    made = node(awaited if is_async else work, "y", name="slow", timeout_seconds=0.3)
    with HyperNodesEngine(kind, kind) as engine:
        pipeline = Pipeline([made], engine=engine)
        assert pipeline.run({"x": 0}) == {"y": 0}
        begun = time.monotonic()
        with pytest.raises(NodeTimeoutError, match=r"node 'slow' took longer than 0\.3 s"):
            pipeline.run({"x": 1})
        with pytest.raises(NodeTimeoutError):
            pipeline.map({"x": [1]}, "x")
        assert time.monotonic() - begun < 20


def test_a_timeout_is_tried_again_like_any_error() -> None:
    tries = []

    @node(output_name="y", retries=1, timeout_seconds=0.3)
    def slow_once(x: int) -> int:
        tries.append(x)
        if len(tries) == 1:
            threading.Event().wait(30)
        return x

    assert Pipeline([slow_once]).run({"x": 1}) == {"y": 1}


def test_an_awaited_node_that_is_too_late_is_cancelled() -> None:
    ended = threading.Event()

    @node(output_name="y", timeout_seconds=0.05)
    async def slow(x: int) -> int:
        try:
            await asyncio.sleep(30)
        finally:
            ended.set()
        return x

    with pytest.raises(NodeTimeoutError):
        Pipeline([slow]).run({"x": 1})
    assert ended.wait(10)


def _nap(x: float) -> float:
    time.sleep(x)
    return x


@pytest.mark.slow
@pytest.mark.parametrize(
    "inside",
    [
        Pipeline([node(_nap, "y", timeout_seconds=60)]),
        Pipeline([node(_nap, "y", timeout_seconds=60, retries=50)]),
        Pipeline([node(_nap, "y", retries=50)]),
    ],
)
@pytest.mark.parametrize("error_handling", [None, "raise", "continue"])
def test_an_outer_timeout_ends_what_runs_inside_of_it(
    inside: Pipeline, error_handling: Any
) -> None:
    def outer(x: float) -> Any:
        if error_handling is None:
            return inside.run({"x": x})
        return inside.map({"x": [x] * 50}, "x", error_handling=error_handling)

    made = Pipeline([node(outer, "o", timeout_seconds=0.3)])
    assert made.run({"x": 0})
    handler, (left, _) = signal.getsignal(signal.SIGALRM), signal.getitimer(signal.ITIMER_REAL)
    begun = time.monotonic()
    with pytest.raises(NodeTimeoutError, match="node 'outer' took longer"):
        made.run({"x": 20})
    assert time.monotonic() - begun < 10
    assert signal.getsignal(signal.SIGALRM) is handler
    assert abs(signal.getitimer(signal.ITIMER_REAL)[0] - left) < 10


def test_an_inner_timeout_leaves_the_outer_one_alone() -> None:
    inside = Pipeline([node(_nap, "y", name="inside", timeout_seconds=0.2)])

    @node(output_name="o", timeout_seconds=1)
    def outer(x: float) -> str:
        try:
            inside.run({"x": 30})
        except NodeTimeoutError:
            time.sleep(x)
            return "in time"
        return "not told"

    assert Pipeline([outer]).run({"x": 0}) == {"o": "in time"}
    with pytest.raises(NodeTimeoutError, match="node 'outer' took longer"):
        Pipeline([outer]).run({"x": 30})


@pytest.mark.slow
def test_processes_that_are_forked_under_a_timeout_have_none_of_it() -> None:
    with HyperNodesEngine(map_executor="parallel") as engine:
        inside = Pipeline([node(_nap, "y", timeout_seconds=60)], engine=engine)

        @node(output_name="o", timeout_seconds=5)
        def outer(xs: list[float]) -> Any:
            return inside.map({"x": xs}, "x")

        Pipeline([outer]).run({"xs": [0, 0, 0, 0]})
        assert inside.map({"x": [5.5, 5.5]}, "x") == [{"y": 5.5}, {"y": 5.5}]


def test_a_timer_of_the_programs_own_goes_off_in_time() -> None:
    class Deadline(Exception):
        pass

    rung = []

    def ring(*_: object) -> None:
        rung.append(time.monotonic())
        if len(rung) == 3:
            raise Deadline

    before = signal.signal(signal.SIGALRM, ring)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.1, 0.1)
        with pytest.raises(Deadline):
            Pipeline([node(_nap, "y", timeout_seconds=60)]).run({"x": 20})
        deadline = time.monotonic() + 10
        while len(rung) < 5 and time.monotonic() < deadline:  # it goes on afterwards
            time.sleep(0.01)
        assert len(rung) >= 5
        assert signal.getsignal(signal.SIGALRM) is ring
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("inside", [False, True])
def test_a_timer_that_a_node_with_a_timeout_sets_is_the_programs(inside: bool) -> None:
    class Deadline(Exception):
        pass

    def ring(*_: object) -> None:
        raise Deadline

    def arm(x: float) -> str:
        signal.setitimer(signal.ITIMER_REAL, x)
        try:
            _nap(20 if inside else 0)
        except Deadline:
            return "inside"
        return "set"

    before = signal.signal(signal.SIGALRM, ring)
    armed = node(arm, "y", timeout_seconds=60)
    try:
        if inside:
            assert Pipeline([armed]).run({"x": 0.1}) == {"y": "inside"}
        else:
            with pytest.raises(Deadline):
                Pipeline([armed, node(lambda y: _nap(20), "z")]).run({"x": 0.2})
        assert signal.getsignal(signal.SIGALRM) is ring
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_a_node_with_a_timeout_may_turn_the_programs_timer_off() -> None:
    rung: list[int] = []
    before = signal.signal(signal.SIGALRM, lambda *_: rung.append(1))
    off = node(lambda x: signal.setitimer(signal.ITIMER_REAL, 0) and x, "y", timeout_seconds=60)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        Pipeline([off]).run({"x": 1})
        time.sleep(0.4)
        assert not rung
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("is_async", [False, True])
def test_a_loop_that_goes_on_after_any_error_is_ended(kind: str, is_async: bool) -> None:
    def poll(x: int) -> str:
        end = time.monotonic() + 30
        while time.monotonic() < end:
            try:
                time.sleep(0.02)
                raise ConnectionError("not ready")
            except Exception:
                continue
        return "gave up"

    async def awaited(x: int) -> str:
        for _ in range(2):
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(30)
        return "gave up"

    made = node(awaited if is_async else poll, "y", name="poll", timeout_seconds=0.3)
    with HyperNodesEngine(kind, kind) as engine:
        begun = time.monotonic()
        with pytest.raises(NodeTimeoutError, match="node 'poll' took longer"):
            Pipeline([made], engine=engine).run({"x": 1})
        assert time.monotonic() - begun < 15


def test_what_was_told_of_its_timeout_is_late_whatever_it_makes_of_that() -> None:
    @node(output_name="y", timeout_seconds=0.1)
    def hide(x: int) -> int:
        try:
            time.sleep(30)
        except Exception:
            return x
        return -x

    @node(output_name="y", timeout_seconds=0.1)
    def rename(x: int) -> int:
        try:
            time.sleep(30)
        except NodeTimeoutError as error:
            raise ConnectionError("no answer") from error
        return x

    with pytest.raises(NodeTimeoutError, match="'hide' took longer"):
        Pipeline([hide]).run({"x": 1})
    with pytest.raises(NodeTimeoutError, match="'rename' took longer") as caught:
        Pipeline([rename]).run({"x": 1})
    assert isinstance(caught.value.__cause__, ConnectionError)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"retries": -1}, "expected how often to try again"),
        ({"retries": True}, "expected how often to try again"),
        ({"retry_delay_seconds": []}, "expected seconds, a list"),
        ({"retry_delay_seconds": "1s"}, "expected seconds, a list"),
        ({"retry_jitter_factor": -1}, "expected a number from 0"),
        ({"retry_condition_fn": True}, "expected a function of the error"),
        ({"retry_condition_fn": lambda: True}, "expected a function of the error"),
        (
            {"retries": 1, "retry_delay_seconds": lambda: 1},
            "raised TypeError: .*: expected seconds",
        ),
        ({"retries": 1, "retry_delay_seconds": lambda _: ["a"]}, r"gave \['a'\]: expected seconds"),
        ({"timeout_seconds": 0}, "expected a positive number"),
        ({"timeout_seconds": float("inf")}, "None for no limit"),
        ({"timeout_seconds": 10**400}, "None for no limit"),
        ({"retries": 1, "retry_delay_seconds": float("inf")}, "expected seconds"),
        ({"retry": 3}, "Did you mean 'retries'"),
    ],
)
def test_wrong_options_are_told(options: dict[str, Any], words: str) -> None:
    with pytest.raises(NodeError, match=words):
        node(lambda x: x, "y", **options)


def test_a_backoff_without_a_number_is_told_at_once() -> None:
    with pytest.raises(ValueError, match="backoff_factor is 'a': expected seconds"):
        exponential_backoff("a")  # type: ignore[arg-type]


@pytest.mark.parametrize("is_async", [False, True])
def test_daft_tries_again_and_gives_up_in_time_too(is_async: bool, tmp_path: Path) -> None:
    pytest.importorskip("daft")
    work = flaky(tmp_path, 2)

    async def awaited(x: int) -> int:
        await asyncio.sleep(30 if x < 0 else 0)
        return int(work(x))

    def called(x: int) -> int:
        time.sleep(30 if x < 0 else 0)
        return int(work(x))

    retries = Retries()
    options: dict[str, Any] = {"retries": 2, "retry_delay_seconds": 0.001}
    patient = node(awaited if is_async else work, "y", **options)
    pipeline = Pipeline([patient], engine=DaftEngine(), callbacks=[retries])
    assert pipeline.map({"x": [1, 2]}, "x") == [{"y": 10}, {"y": 20}]
    assert sorted(each.attempt for each in retries.told) == [1, 1, 2, 2]
    hasty = node(awaited if is_async else called, "y", name="hasty", timeout_seconds=0.1)
    with pytest.raises(NodeTimeoutError, match="node 'hasty' took longer"):
        Pipeline([hasty], engine=DaftEngine()).map({"x": [-1]}, "x")


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("kind", ["sequential", "async", "threaded"])
def test_an_error_that_is_false_is_tried_again_and_comes_out(kind: str, is_async: bool) -> None:
    class Problems(Exception):
        def __bool__(self) -> bool:
            return False

    tried = []

    def fail(x: int) -> int:
        tried.append(x)
        raise Problems

    async def fail_async(x: int) -> int:
        return fail(x)

    failing = node(fail_async if is_async else fail, "y", retries=2, cache=False)
    hopeless = node(
        fail_async if is_async else fail, "y", retries=2, retry_condition_fn=lambda _: False
    )
    with HyperNodesEngine(kind, kind) as engine:
        for each, times in ((failing, 3), (hopeless, 1)):
            tried.clear()
            with pytest.raises(Problems):
                Pipeline([each], engine=engine).run({"x": 1})
            assert tried == [1] * times


class Taken:
    """Slots as a system with limits would give them: one each around an attempt."""

    held: list[str] = []
    log: list[str] = []

    def __init__(self, names: tuple[str, ...]) -> None:
        self.names = names

    def __enter__(self) -> None:
        self.held.extend(self.names)
        self.log.append("taken")

    def __exit__(self, *_: object) -> None:
        for each in self.names:
            self.held.remove(each)
        self.log.append("given back")

    async def __aenter__(self) -> None:
        self.__enter__()

    async def __aexit__(self, *error: object) -> None:
        self.__exit__(*error)


class WithSlots(PipelineCallback):
    def node_context(self, ctx: Any) -> Any:
        @contextlib.contextmanager
        def context() -> Iterator[None]:
            token = SLOTS.set(Taken)
            yield
            SLOTS.reset(token)

        return context()


@pytest.mark.parametrize("kind", ["sequential", "threaded", "async"])
@pytest.mark.parametrize("is_async", [False, True])
def test_each_attempt_takes_its_slots_and_a_wait_between_two_holds_none(
    kind: str, is_async: bool
) -> None:
    def work(x: int) -> int:
        Taken.log.append(f"{len(Taken.log)} with {sorted(Taken.held)}")
        if sum("with" in each for each in Taken.log) < 2:
            raise ValueError("again")
        return x

    async def work_async(x: int) -> int:
        return work(x)

    Taken.log.clear()
    function = work_async if is_async else work
    limited = node(
        function, output_name="y", retries=1, timeout_seconds=30, concurrency_limit=["api", "db"]
    )
    with HyperNodesEngine(node_executor=kind) as engine:
        pipeline = Pipeline([limited], engine=engine)
        assert pipeline.with_callbacks([WithSlots()]).run({"x": 1}) == {"y": 1}
        right = ["taken", "1 with ['api', 'db']", "given back"]
        assert Taken.log == [*right, "taken", "4 with ['api', 'db']", "given back"]
        Taken.log.clear()
        assert pipeline.run({"x": 2}) == {"y": 2}  # no such system: the limit is ignored
        assert Taken.log == ["0 with []", "1 with []"]


# -- Whoever does not wait any more --------------------------------------------------------------


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("of", ["nodes", "items"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_cancelled_run_tries_nothing_again(
    kind: str, of: str, is_async: bool, tmp_path: Path
) -> None:
    attempts = flaky(tmp_path, 9)

    @node(output_name="y", retries=3, retry_delay_seconds=300)
    def fetch(x: int) -> Any:
        return attempts(x)

    @node(output_name="y", retries=3, retry_delay_seconds=300)
    async def fetch_async(x: int) -> Any:
        return attempts(x)

    places = {"node_executor": kind} if of == "nodes" else {"map_executor": kind}

    async def main(engine: HyperNodesEngine) -> None:
        pipeline = Pipeline([fetch_async if is_async else fetch], engine=engine)
        task = asyncio.ensure_future(pipeline.amap({"x": [1]}, "x"))
        while not list(tmp_path.iterdir()):
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with HyperNodesEngine(**places) as engine:
        asyncio.run(asyncio.wait_for(main(engine), 60))
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("kind", ["async", "threaded", "parallel"])
def test_a_failure_ends_the_retries_beside_it_and_is_what_is_raised(
    kind: str, tmp_path: Path
) -> None:
    attempts = flaky(tmp_path, 9)

    @node(output_name="a", retries=3, retry_delay_seconds=300)
    def tries(x: int) -> Any:
        return attempts(x)

    @node(output_name="b")
    def fail(x: int) -> int:
        wait_until(lambda: list(tmp_path.iterdir()))
        time.sleep(0.05)
        raise KeyError("its own")

    recorder = Recorder()
    with HyperNodesEngine(node_executor=kind) as engine:
        pipeline = Pipeline([tries, fail], engine=engine, callbacks=[recorder])
        with pytest.raises(KeyError, match="its own"):
            pipeline.run({"x": 1})
    recorder.check_pairs()


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_not_known_to_be_async_has_its_retries_and_its_timeout(
    kind: str, tmp_path: Path
) -> None:
    """An async function under a decorator of the usual kind, say."""

    def logged(func: Any) -> Any:
        @functools.wraps(func)
        def called(*args: Any, **kwargs: Any) -> Any:
            return func(*args, **kwargs)

        return called

    attempts = flaky(tmp_path, 1)

    @node(output_name="y", retries=2)
    @logged
    async def fetch(x: int) -> Any:
        await asyncio.sleep(0)
        return attempts(x)

    @node(output_name="z", timeout_seconds=0.2)
    @logged
    async def slow(x: int) -> int:
        await asyncio.sleep(30)
        return x

    with HyperNodesEngine(kind, kind) as engine:
        assert Pipeline([fetch], engine=engine).run({"x": 1})["y"] == attempts(1)
        for late in (Pipeline([slow], engine=engine).run, Pipeline([slow], engine=engine).map):
            more = {} if late.__name__ == "run" else {"map_over": "x"}
            with pytest.raises(NodeTimeoutError):
                late({"x": [1] if more else 1}, **more)

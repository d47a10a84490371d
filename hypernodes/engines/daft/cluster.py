"""What has to hold of a Ray cluster before anything runs there: that workers share the caches."""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Sequence
from typing import Any

import cloudpickle
import daft

from hypernodes.cache.base import Cache
from hypernodes.engines.daft.cells import SHIP_MODULES
from hypernodes.errors import SerializationError

_SECRET = "HYPERNODES_CACHE_KEY"

_checked: set[tuple[str, bytes, str | None]] = set()
"""The nodes of a cluster that are known to share a cache, with the digest of the driver's key."""


def check_caches(caches: Sequence[Cache]) -> None:
    """Check that every node of the Ray cluster reads what is stored here, and the reverse.

    The driver stores a token in each cache; a task on each node reads it and stores another. A node
    that has been checked is not asked again.

    Args:
        caches: the caches that workers are going to use.

    Raises:
        SerializationError: a node does not share a cache, with the reason where it is known.
    """
    caches = [cache for cache in caches if getattr(cache, "shared", True)]
    if not caches:
        return
    daft.get_or_create_runner()  # connects to Ray, where nobody has yet
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    task = ray.remote(num_cpus=0, max_retries=0)(_exchange)
    every: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    nodes = {node["NodeID"]: node for node in every if node["Alive"]}
    for cache in caches:
        sent = cloudpickle.dumps(cache)
        new = [each for each in nodes if (each, sent, _digest()) not in _checked]
        token = uuid.uuid4().hex
        try:
            if new:
                cache.store(token, token)
        except Exception:  # the run warns of that, and goes on without the cache
            continue
        try:
            answers = {
                each: task.options(
                    scheduling_strategy=NodeAffinitySchedulingStrategy(each, soft=False)
                ).remote(sent, token)
                for each in new
            }
            for each, answer in answers.items():
                where = f"{nodes[each]['NodeManagerAddress']} ({each[:8]})"
                _judge(cache, token, where, answer)
                _checked.add((each, sent, _digest()))
        finally:
            for key in (token, _answer_to(token)):
                _forget(cache, key)


def _judge(cache: Cache, token: str, where: str, answer: Any) -> None:
    import ray

    try:
        found, digest, error = ray.get(answer)
    except (ray.exceptions.NodeDiedError, ray.exceptions.TaskUnschedulableError):
        return  # the node has left
    except ray.exceptions.RayError as raised:
        raise SerializationError(
            f"HyperNodes cannot be used on Ray's node {where}: {raised}. Install what the driver "
            'has there, or ship it: ray.init(runtime_env={"pip": [...]}), {"py_modules": [...]}'
        ) from raised
    if error is not None:
        hint = f" {SHIP_MODULES}" if isinstance(error, ImportError) else ""
        raise SerializationError(
            f"{cache!r} cannot be used on Ray's node {where}: {type(error).__name__}: {error}."
            f"{hint}"
        )
    if found and _load(cache, _answer_to(token)) == token:
        return
    if digest != _digest():
        raise SerializationError(
            f"{_SECRET} is not the same on Ray's node {where} as here, so that {cache!r} takes "
            "nothing from there, and the workers nothing from here. Pass it on: ray.init("
            f'runtime_env={{"env_vars": {{"{_SECRET}": os.environ["{_SECRET}"]}}}})'
        )
    raise SerializationError(
        f"{cache!r} is not shared with Ray's node {where}: what one stores the other does not "
        "find, and each item would be computed again. Use a folder that all machines mount, or a "
        'bucket: FsspecCache("s3://...")'
    )


def _exchange(sent: bytes, token: str) -> tuple[bool, str | None, Exception | None]:
    """On a node: read the driver's token, and store an answer."""
    try:
        cache: Cache = cloudpickle.loads(sent)
        found = _load(cache, token) == token
        if found:
            cache.store(_answer_to(token), token)
    except Exception as error:
        try:
            cloudpickle.loads(cloudpickle.dumps(error))
        except Exception:
            error = SerializationError(f"{type(error).__name__}: {error}")
        return False, _digest(), error
    return found, _digest(), None


def _load(cache: Cache, key: str) -> object:
    """What a cache has under a key, as a run would look it up; None for nothing."""
    load = cache.find(key)
    try:
        return None if load is None else load()
    except KeyError:
        return None


def _answer_to(token: str) -> str:
    return f"{token}a"


def _forget(cache: Cache, key: str) -> None:
    try:
        cache.remove(key)
    except Exception:  # it is not there, or stays: nobody looks for it
        return


def _digest() -> str | None:
    """What tells one key from another, without giving it away."""
    secret = os.environ.get(_SECRET)
    return hashlib.sha256(f"hypernodes:{secret}".encode()).hexdigest() if secret else None

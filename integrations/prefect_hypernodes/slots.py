"""`concurrency_limit="api"`: a slot of Prefect's global concurrency limit around each attempt."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Any

from prefect.concurrency import asyncio as awaited
from prefect.concurrency import sync


class LimitSlots:
    """A slot of each limit, while it is entered, on whatever worker that is.

    As in Prefect's tasks, a limit that there is not costs a warning and bounds nothing.

    Args:
        names: the limits.
    """

    _held: AbstractContextManager[None]
    _awaited: AbstractAsyncContextManager[None]

    def __init__(self, names: tuple[str, ...]) -> None:
        self._names = list(names)

    def __enter__(self) -> None:
        self._held = sync.concurrency(self._names)
        self._held.__enter__()

    def __exit__(self, *error: Any) -> None:
        self._held.__exit__(*error)

    async def __aenter__(self) -> None:
        self._awaited = awaited.concurrency(self._names)
        await self._awaited.__aenter__()

    async def __aexit__(self, *error: Any) -> None:
        await self._awaited.__aexit__(*error)

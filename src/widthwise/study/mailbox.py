"""A mailbox between populations in training, wherever they are, and the store's writer: an actor of Ray's.

Who trains puts messages in, and waits for `answer` where one is due; the writer takes them out, and confirms.
"""

import asyncio
from typing import Generic, TypeVar

Key = tuple[int, int]
"""A population and the attempt at it; see `Task.key`."""
Letter = TypeVar("Letter")


class Mailbox(Generic[Letter]):
    """Letters in the order in which they came; its methods run on one event loop."""

    def __init__(self) -> None:
        self._letters: list[tuple[Key, Letter]] = []
        self._arrived = asyncio.Event()
        self._confirmed: dict[Key, asyncio.Semaphore] = {}

    async def put(self, key: Key, letter: Letter) -> None:
        """Put one in."""
        self._letters.append((key, letter))
        self._arrived.set()

    async def heard(self) -> None:
        """Return when all that this caller put in before is there."""

    async def take(self) -> list[tuple[Key, Letter]]:
        """All that are there, as soon as there are any."""
        await self._arrived.wait()
        return await self.rest()

    async def rest(self) -> list[tuple[Key, Letter]]:
        """All that are there."""
        letters, self._letters = self._letters, []
        self._arrived.clear()
        return letters

    async def answer(self, key: Key) -> object:
        """Return when one more letter of this key has been confirmed."""
        from widthwise.study.worker import Recorded

        await self._gate(key).acquire()
        return Recorded()

    async def confirm(self, key: Key) -> None:
        """Say that a letter of this key is acted on."""
        self._gate(key).release()

    def _gate(self, key: Key) -> asyncio.Semaphore:
        return self._confirmed.setdefault(key, asyncio.Semaphore(0))

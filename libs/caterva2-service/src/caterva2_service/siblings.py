"""Workers of one service that ask each other for what each of them knows alone, over Unix sockets."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from .log import get_logger

log = get_logger(__name__)

_ANSWER_S = 5.0
"""Seconds that a worker waits for another one's answer."""
_MAX_QUESTION = 64 * 2**10

Answers = Mapping[str, Callable[[str], Awaitable[bytes]]]
"""What a worker can be asked, by the name of the question; given the question's argument."""


@dataclass(frozen=True, slots=True)
class Siblings:
    """The other workers of a service, as one of them sees them."""

    directory: Path | None = None
    number: int = 0
    count: int = 1

    @asynccontextmanager
    async def answering(self, answers: Answers) -> AsyncIterator[None]:
        """Answer what the others ask, until left."""
        if self.directory is None:
            yield
            return

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                name, _, argument = (await reader.readline()).decode().rstrip("\n").partition(" ")
                writer.write(await answers[name](argument))
                await writer.drain()
            except (OSError, KeyError, ValueError) as error:
                log.warning("a worker was asked what it cannot answer", reason=repr(error))
            finally:
                writer.close()

        # Through the descriptor: the path of a socket may have only 107 bytes.
        with _directory(self.directory) as here:
            (self.directory / str(self.number)).unlink(missing_ok=True)
            server = await asyncio.start_unix_server(answer, f"{here}/{self.number}", limit=_MAX_QUESTION)
        try:
            yield
        finally:
            server.close()

    async def ask(self, name: str, argument: str = "") -> list[bytes]:
        """Return what the other workers answer to a question; those that do not answer are left out."""
        if self.directory is None:
            return []
        found = await asyncio.gather(
            *(self._ask(number, f"{name} {argument}\n") for number in range(self.count) if number != self.number)
        )
        return [answer for answer in found if answer is not None]

    async def _ask(self, number: int, question: str) -> bytes | None:
        assert self.directory is not None
        try:
            async with asyncio.timeout(_ANSWER_S):
                with _directory(self.directory) as here:
                    reader, writer = await asyncio.open_unix_connection(f"{here}/{number}")
                try:
                    writer.write(question.encode())
                    return await reader.read()
                finally:
                    writer.close()
        except (OSError, TimeoutError) as error:
            log.info("a worker does not answer", worker=number, reason=repr(error))
            return None


@contextlib.contextmanager
def _directory(path: Path) -> Iterator[str]:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{fd}"
    finally:
        os.close(fd)

"""Pictures made smaller, in a process of their own that can do nothing but that."""

from __future__ import annotations

import asyncio
import sys

from caterva2.errors import Unavailable, UnsafeContent

MAX_PICTURE_BYTES = 64 * 2**20
DEADLINE_S = 20.0


class Shrinker:
    """Makes pictures smaller, a few at a time.

    Parameters
    ----------
    at_once
        Processes that may run at the same time.
    """

    def __init__(self, at_once: int = 2) -> None:
        self._turns = asyncio.Semaphore(at_once)

    async def shrink(self, picture: bytes, width: int) -> bytes:
        """Return a picture as PNG that is at most `width` pixels wide.

        Raises
        ------
        UnsafeContent
            If the bytes are no picture that is known here, or one that is too large.
        Unavailable
            If it took too long.
        """
        async with self._turns:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-I",
                "-m",
                "caterva2_subscriber.preview.shrink_worker",
                str(width),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
            )
            try:
                async with asyncio.timeout(DEADLINE_S):
                    made, _ = await process.communicate(picture)
            except TimeoutError:
                raise Unavailable("the picture takes too long to be made smaller") from None
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.wait()
        if process.returncode != 0 or not made:
            raise UnsafeContent("this is no picture that can be shown here, or it is too large")
        return made

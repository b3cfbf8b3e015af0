"""Files of a space are read a few chunks at a time."""

from contextlib import aclosing
from pathlib import Path

import blosc2
import numpy as np
import pytest

from caterva2_formats.directory import DirectoryRoot
from caterva2_service.threads import Threads
from caterva2_subscriber.spaces.resource import BATCH_BYTES, BATCH_CHUNKS, SpaceResource


@pytest.mark.parametrize(
    ("megabytes", "ahead"), [(0.1, BATCH_CHUNKS), (5, 1)], ids=["small chunks in batches", "large chunks one by one"]
)
async def test_what_is_read_ahead_is_bounded_in_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, megabytes: float, ahead: int
) -> None:
    size = int(megabytes * 2**20)
    data = np.random.default_rng(0).integers(0, 256, 10 * size, dtype="u1")
    blosc2.asarray(data, chunks=(size,), urlpath=str(tmp_path / "a.b2nd"))
    threads = Threads(1)
    source = DirectoryRoot(tmp_path).open("a.b2nd")
    read: list[int] = []
    stored = source.chunk

    def counted(nchunk: int) -> bytes:
        read.append(nchunk)
        return stored(nchunk)

    monkeypatch.setattr(source, "chunk", counted)
    resource = SpaceResource("@public/a.b2nd", source, 0.0, threads)
    async with aclosing(resource.chunks(range(10))) as chunks:
        nchunk, chunk = await anext(chunks)
        assert (nchunk, len(read)) == (0, ahead)
        assert len(read) * len(chunk) <= max(BATCH_BYTES, len(chunk))
        assert [nchunk async for nchunk, _ in chunks] == list(range(1, 10))
    threads.close()

"""Getting chunks: from the cache where they are, over the link where they are not, each one once.

Readers that want the same missing chunk share one flight. Flights travel in batches, one request each, in reading
order, a bounded number of bytes ahead of the reader. When the last reader of a batch goes away, its request is ended.
Processes that share the cache claim what they fetch, and wait for what another one has claimed.
What arrives is checked (U4, digest) before anybody sees it or the cache keeps it.

Of large chunks a small window fetches the blocks that it needs (docs/design/008): a flight of its own for each set of
blocks, whose bytes stay in memory.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from math import prod

from caterva2.errors import (
    Caterva2Error,
    ChunkNotFound,
    NotFound,
    Unavailable,
    UnsafeContent,
    UpstreamInvalid,
    UpstreamUnavailable,
    VersionChanged,
)
from caterva2.slices import ChunkPart
from caterva2.wire import INDEX_PART, INDEX_SKELETON, NO_DIGEST, ChunkFrame, Kind, PartRequest
from caterva2_formats.base import Layout, Skeleton
from caterva2_formats.chunks import Grid, bytes_of_part, check_chunk, digest
from caterva2_formats.envelope import Line
from caterva2_formats.parts import ChunkData, Numbers, Singles, block_numbers, check_part, part_nchunk
from caterva2_formats.pyramid import Plane, level_layout
from caterva2_service.log import get_logger
from caterva2_service.metrics import Metrics
from caterva2_service.threads import Threads

from .cache import Bytes, ChunkStore, Claims, Kept, VersionKey
from .economy import Economy
from .library import Usage
from .parts import PartMemory
from .settings import UpstreamSettings
from .upstream import NotUnderstood, Publisher

log = get_logger(__name__)

_AHEAD_BYTES = 24 * 2**20
"""Compressed bytes that a reader may be behind what was asked for."""
_MAX_BATCH = 4096
"""Chunks in one request."""
_STORE_BYTES = 4 * 2**20
"""Compressed bytes that are handed to the cache at once."""
_INLINE_BYTES = 256 * 1024
"""Chunks up to this size are checked on the event loop, which costs less than a thread would."""
_QUARANTINE_S = 60.0
_PATIENCE_S = 5.0
"""Longest pause that a publisher may ask for and that is waited for here."""
_DIGEST_ROUNDS = 3
"""Requests for digests of a new version, each of which may take its publisher some seconds."""
_NO_SKELETON = b"none"
_LOOK_MIN_S, _LOOK_MAX_S = 0.005, 0.1
"""Pauses between looks for what another process is fetching."""


@dataclass(frozen=True, slots=True)
class View:
    """A level of the mean pyramid of a plane."""

    path: str
    """Path of the dataset, below its root."""
    plane: Plane
    level: int


@dataclass(frozen=True, slots=True)
class Target:
    """One version of one dataset at its publisher."""

    key: VersionKey
    layout: Layout
    publisher: Publisher
    chunk_cbytes: int
    """Compressed bytes of a chunk, about."""
    changed: Callable[[], None]
    """Called when the publisher says that it has another version."""
    lost: Callable[[], None]
    """Called when the publisher does not answer."""
    view: View | None = None
    """Which array the publisher derives; None for the dataset itself."""

    def level(self, plane: Plane, level: int) -> Target:
        """Return a level of the mean pyramid of a plane, whose chunks are tiles. Raises as `level_layout` does."""
        layout = level_layout(self.layout, plane, level)
        # No dataset has this name: no part of a path holds a control character.
        name = f"{self.key.path}/\x01{plane.rows},{plane.columns}@{','.join(map(str, plane.at))}/{level}"
        cbytes = max(1, layout.chunksize // 2)
        view = View(self.key.path, plane, level)
        return replace(self, key=replace(self.key, path=name), layout=layout, chunk_cbytes=cbytes, view=view)

    @property
    def path(self) -> str:
        """Path of the dataset, below its root."""
        return self.key.path if self.view is None else self.view.path

    def frames(
        self, ranges: Sequence[tuple[int, int]], *, skeleton: bool, parts: Sequence[PartRequest]
    ) -> AsyncGenerator[ChunkFrame, None]:
        """Ask for chunks; for parts of them of the dataset itself alone."""
        if self.view is None:
            return self.publisher.chunks(self.path, etag=self.key.etag, ranges=ranges, skeleton=skeleton, parts=parts)
        return self.publisher.tiles(
            self.path, etag=self.key.etag, plane=self.view.plane, level=self.view.level, ranges=ranges
        )

    @property
    def slots(self) -> int:
        """Records that the cache may hold: one for each chunk, and the skeleton behind them."""
        return self.layout.nchunks + 1

    @property
    def skeleton_slot(self) -> int:
        """Where the cache holds the skeleton."""
        return self.layout.nchunks


Asked = tuple[int, Numbers]
"""Number of a chunk, and the blocks of it that will do; without any, all of it is asked for."""


@dataclass(eq=False, slots=True)
class _Flight:
    """One chunk (or skeleton, or some blocks of a chunk) on its way, for any number of readers."""

    nchunk: int
    blocks: Numbers
    """The blocks that will do; empty for the whole chunk."""
    arrived: asyncio.Future[ChunkData]
    batch: _Batch
    nbytes: int = 0
    """Bytes that arrived."""
    cache_state: str | None = None
    over_link: bool = True
    """Whether it came over the link for us, not for another process that shares the cache."""

    def bring(self, data: ChunkData, nbytes: int) -> None:
        """Give what came to its readers."""
        if not self.arrived.done():
            self.nbytes = nbytes
            self.arrived.set_result(data)


@dataclass(eq=False, slots=True)
class _Waiting:
    """What a reader is to get next: what is on its way with what is in memory, or else a chunk of the cache."""

    nchunk: int
    flight: _Flight | None = None
    kept: Singles = field(default_factory=dict)


@dataclass(eq=False, slots=True)
class _Batch:
    """Flights that share one request."""

    target: Target
    flights: dict[int, _Flight] = field(default_factory=dict)
    task: asyncio.Task[None] | None = None
    readers: int = 0
    """Readers of flights that they have not taken yet, each flight counted."""

    @property
    def wanted(self) -> list[int]:
        """Numbers of the chunks that are not here yet."""
        return [nchunk for nchunk, flight in self.flights.items() if not flight.arrived.done()]

    @property
    def parts(self) -> dict[int, Numbers]:
        """Chunks of which only some blocks are asked for, as they are in all of a batch or in none."""
        return {nchunk: flight.blocks for nchunk, flight in self.flights.items() if flight.blocks}


class Fetcher:
    """Gets chunks of any dataset for any number of readers."""

    def __init__(
        self, store: ChunkStore, settings: UpstreamSettings, threads: Threads, metrics: Metrics, economy: Economy
    ) -> None:
        self._store = store
        self._settings = settings
        self._threads = threads
        self._flights: dict[tuple[VersionKey, int, Numbers], _Flight] = {}
        self._parts = PartMemory(settings.parts)
        self._quarantined: dict[VersionKey, float] = {}
        self._carrying: dict[VersionKey, asyncio.Task[None]] = {}
        self._economy = economy
        self._link_chunks = metrics.counter("link_chunks", "Chunks that came over the link", ("root",))
        self._link_parts = metrics.counter("link_parts", "Parts of chunks that came over the link", ("root",))
        self._requests = metrics.counter("link_requests", "Requests for chunks", ("root",))
        self._rejected = metrics.counter("link_rejected", "Chunks that were not what was announced", ("root",))

    async def close(self) -> None:
        """End every request."""
        tasks = {flight.batch.task for flight in self._flights.values() if flight.batch.task is not None}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # --- for readers ---------------------------------------------------------------------
    async def envelope(self, target: Target, line: Line, usage: Usage) -> bytes:
        """Return the chunk of the envelope of a line, as the publisher makes it. Raises as `Publisher.envelope` does.

        Raises
        ------
        UpstreamInvalid
            If it is not the chunk that was asked for.
        """
        key = target.key
        data = await target.publisher.envelope(key.path, etag=key.etag, line=line)
        try:
            check_chunk(data, line.layout(target.layout), 0)
        except UnsafeContent as error:
            raise UpstreamInvalid(f"The publisher sent a wrong envelope: {error}") from None
        self._economy.came(key.root, key.path, len(data))
        self._economy.served(usage.reader, len(data))
        usage.link_bytes += len(data)
        return data

    async def arrivals(
        self, target: Target, numbers: Iterable[int], usage: Usage
    ) -> AsyncGenerator[tuple[int, bytes | None], None]:
        """Yield chunks in the order asked for, as soon as they are here.

        Yields
        ------
        tuple of int and bytes or None
            None stands for a chunk that is in the cache: take it with `cached` in a thread. Should it be gone by
            then, `one` brings it.
        """
        wanted = ((nchunk, ()) for nchunk in numbers)
        async with aclosing(self._arrivals(target, wanted, usage)) as arrivals:
            async for nchunk, data in arrivals:
                assert data is None or isinstance(data, bytes)
                yield nchunk, data

    async def pieces(
        self, target: Target, parts: Iterable[ChunkPart], usage: Usage
    ) -> AsyncGenerator[tuple[int, ChunkData | None], None]:
        """Yield what `parts` need of their chunks, in their order: as `arrivals`, or blocks where those are enough."""
        wanted = ((part.nchunk, self._blocks(target, part)) for part in parts)
        async with aclosing(self._arrivals(target, wanted, usage)) as arrivals:
            async for arrival in arrivals:
                yield arrival

    async def _arrivals(
        self, target: Target, wanted: Iterable[Asked], usage: Usage
    ) -> AsyncGenerator[tuple[int, ChunkData | None], None]:
        await self._carry_over(target)
        waiting: deque[_Waiting] = deque()
        window = max(1, min(_MAX_BATCH, _AHEAD_BYTES // max(1, target.chunk_cbytes)))
        left = iter(wanted)
        try:
            while True:
                if len(waiting) <= window // 2:
                    waiting.extend(self._depart(target, list(islice(left, window - len(waiting)))))
                if not waiting:
                    return
                data = await self._arrival(target, waiting[0], usage)
                nchunk = waiting.popleft().nchunk
                yield nchunk, data
        finally:
            for each in waiting:
                if each.flight is not None:
                    self._leave(each.flight)

    async def one(self, target: Target, nchunk: int, usage: Usage) -> bytes:
        """Return one chunk from wherever it is."""
        for _ in range(3):
            async with aclosing(self.arrivals(target, [nchunk], usage)) as arrivals:
                async for _, data in arrivals:
                    if data is None:
                        data = await self._threads.run(self.cached, target, nchunk, usage)
                    if data is not None:
                        return data
        raise Unavailable("The cache loses what it is given", retry_after_s=1)

    def cached(self, target: Target, nchunk: int, usage: Usage) -> bytes | None:
        """Return a chunk from the cache, or None if it is not there (any more). Blocks."""
        data = self._store.get(target.key, nchunk)
        if data is not None:
            usage.cache_bytes += len(data)
            self._economy.saved(target.key.root, target.path, len(data), usage.reader)
        return data

    def cached_part(self, target: Target, part: ChunkPart, usage: Usage) -> Bytes | None:
        """Return a chunk of an array from the cache, for `read_part` of this part alone; None if it is not there."""
        choose = partial(bytes_of_part, layout=target.layout, part=part) if target.layout.kind is Kind.ARRAY else None
        data = self._store.get_part(target.key, part.nchunk, choose)
        if data is not None:
            self._economy.saved(target.key.root, target.path, len(data), usage.reader)
            usage.cache_bytes += len(data)
        return data

    def was_checked(self, target: Target, nchunk: int) -> bool:
        """Tell whether `cached_part` is going to read no more of a chunk than is wanted."""
        return self._store.was_checked(target.key, nchunk)

    def missing(self, target: Target, numbers: Sequence[int]) -> list[int]:
        """Return those of the chunks that are not in the cache, nor on their way from a request into it."""
        return [n for n in self._store.missing(target.key, numbers) if not self._has_arrived(target.key, n)]

    def _has_arrived(self, key: VersionKey, nchunk: int) -> bool:
        flight = self._flights.get((key, nchunk, ()))
        return flight is not None and flight.arrived.done() and not flight.arrived.cancelled()

    async def skeleton(self, target: Target, usage: Usage) -> Skeleton | None:
        """Return what of the stored frame is not chunks; None if it is not stored as one."""
        data = await self.one(target, target.skeleton_slot, usage)
        return None if data == _NO_SKELETON else Skeleton.from_bytes(data)

    # --- parts of chunks ---------------------------------------------------------------------
    def _blocks(self, target: Target, part: ChunkPart) -> Numbers:
        """Return the blocks to fetch of a chunk that is not here; nothing where all of it is the better answer."""
        is_large = target.layout.kind is Kind.ARRAY and target.chunk_cbytes >= self._settings.parts_from
        if (
            not is_large
            or target.view is not None
            or not target.publisher.takes_parts
            or self._store.is_pinned(target.key)
        ):
            return ()
        return block_numbers(target.layout, part)

    def _apart(self, target: Target, nchunk: int, blocks: Numbers) -> tuple[Singles, Numbers] | None:
        """Return which of the blocks are in memory, and which are to be fetched; None if the chunk itself is."""
        place = target.key, nchunk
        if not blocks or (*place, ()) in self._flights:
            return None
        kept = self._parts.get(place, blocks)
        lacking = tuple(number for number in blocks if number not in kept)
        if lacking and (*place, lacking) not in self._flights and not self._parts.may_ask(place):
            return None
        return kept, lacking

    def link_bytes(self, target: Target, parts: Iterable[ChunkPart]) -> int:
        """Return the compressed bytes that `pieces` would bring over the link, about."""
        wanted = {part.nchunk: part for part in parts}
        total = 0
        for nchunk in self.missing(target, list(wanted)):
            found = self._apart(target, nchunk, self._blocks(target, wanted[nchunk]))
            share = 1.0 if found is None else len(found[1]) / prod(Grid.of(target.layout).counts)
            total += round(target.chunk_cbytes * share)
        return total

    # --- flights ---------------------------------------------------------------------
    def _depart(self, target: Target, wanted: list[Asked]) -> Iterator[_Waiting]:
        """Start or join a flight for each chunk that is not in the cache, or for blocks of it."""
        key = target.key
        missing = set(self._store.missing(key, [nchunk for nchunk, _ in wanted]))
        kept: dict[int, Singles] = {}
        lacking: dict[int, Numbers] = {}
        for nchunk, blocks in wanted:
            if nchunk in missing:
                found = self._apart(target, nchunk, blocks)
                kept[nchunk], lacking[nchunk] = found or ({}, ())
                if found and not found[1]:
                    del lacking[nchunk]
        new = [(n, blocks) for n, blocks in lacking.items() if (key, n, blocks) not in self._flights]
        if new:
            self._check_quarantine(target)
            for whole in (True, False):
                self._start(target, [(n, blocks) for n, blocks in new if (not blocks) is whole])
        for nchunk, _ in wanted:
            flight = self._flights[key, nchunk, lacking[nchunk]] if nchunk in lacking else None
            if flight is not None:
                flight.batch.readers += 1
            yield _Waiting(nchunk, flight, kept.get(nchunk, {}))

    def _start(self, target: Target, wanted: Iterable[Asked]) -> None:
        size = max(1, min(_MAX_BATCH, self._settings.batch_bytes // max(1, target.chunk_cbytes)))
        loop = asyncio.get_running_loop()
        left = iter(wanted)
        while some := list(islice(left, size)):
            batch = _Batch(target)
            for nchunk, blocks in some:
                flight = _Flight(nchunk, blocks, loop.create_future(), batch)
                # An error that nobody waits for any more is not worth a message.
                flight.arrived.add_done_callback(lambda future: future.cancelled() or future.exception())
                batch.flights[nchunk] = self._flights[target.key, nchunk, blocks] = flight
                if blocks:
                    self._parts.asked((target.key, nchunk))
            batch.task = asyncio.create_task(self._fly(batch), name=f"fetch {target.key.root}/{target.path}")

    async def _arrival(self, target: Target, waiting: _Waiting, usage: Usage) -> ChunkData | None:
        flight, kept = waiting.flight, waiting.kept
        if kept:
            self._saved(target, sum(map(len, kept.values())), usage)
        if flight is None:
            return kept or None
        data = await asyncio.shield(flight.arrived)
        self._leave(flight)
        if flight.over_link:
            usage.link_bytes += flight.nbytes
            self._economy.served(usage.reader, flight.nbytes)
        else:
            self._saved(target, flight.nbytes, usage)
        usage.cache_state = usage.cache_state or flight.cache_state or self._store.state
        return {**kept, **data} if isinstance(data, Mapping) else data

    def _saved(self, target: Target, nbytes: int, usage: Usage) -> None:
        usage.cache_bytes += nbytes
        self._economy.saved(target.key.root, target.path, nbytes, usage.reader)

    def _leave(self, flight: _Flight) -> None:
        batch = flight.batch
        batch.readers -= 1
        if not batch.readers and batch.task is not None and not all(f.arrived.done() for f in batch.flights.values()):
            self._land(batch)
            batch.task.cancel()

    def _land(self, batch: _Batch) -> None:
        for flight in batch.flights.values():
            if self._flights.get((batch.target.key, flight.nchunk, flight.blocks)) is flight:
                del self._flights[batch.target.key, flight.nchunk, flight.blocks]

    async def _fly(self, batch: _Batch) -> None:
        """Bring a batch in: one request, and others for the rest while that makes progress."""
        key = batch.target.key
        attempts = 0
        # Parts are not kept where other processes find them.
        claims = None if batch.parts else self._store.claims(key)
        try:
            while (wanted := batch.wanted) and (wanted := await self._claimed(batch, claims)):
                try:
                    await self._request(batch, wanted)
                    if all(not batch.flights[n].arrived.done() for n in wanted):
                        raise UpstreamInvalid("The publisher left out what was asked for")
                except (UpstreamUnavailable, UpstreamInvalid, Unavailable) as error:
                    progress = any(batch.flights[n].arrived.done() for n in wanted)
                    attempts = 1 if progress else attempts + 1
                    if attempts >= self._settings.attempts or (error.retry_after_s or 0) > _PATIENCE_S:
                        raise
                    await asyncio.sleep(max(error.retry_after_s or 0, 0.1 * 2**attempts * random.uniform(0.5, 1)))
                finally:
                    if claims is not None:
                        claims.give_back(_ranges(wanted))
        except Caterva2Error as error:
            self._failed(batch, error)
        except Exception as error:  # noqa: BLE001 - readers must not wait for ever
            log.error("fetch failed", path=f"{key.root}/{batch.target.path}", error=repr(error))
            self._failed(batch, UpstreamInvalid("The answer of the publisher could not be used"))
        finally:
            if claims is not None:
                claims.close()
            self._land(batch)
            for flight in batch.flights.values():
                flight.arrived.cancel()
            # Batch and flights know each other: without this, chunks would stay in memory until cycles are looked for.
            batch.flights.clear()

    async def _claimed(self, batch: _Batch, claims: Claims | None) -> list[int]:
        """Return what this process is to ask for; nothing once the other processes have brought everything."""
        pause_s = _LOOK_MIN_S
        while wanted := batch.wanted:
            mine = wanted if claims is None else claims.take(_ranges(wanted))
            # Only now: what is not in the cache after it was claimed is fetched by nobody else.
            found = await self._threads.run(self._found, batch.target.key, wanted)
            for nchunk, data in found.items():
                batch.flights[nchunk].over_link = False
                batch.flights[nchunk].bring(data, len(data))
            mine = [nchunk for nchunk in mine if not batch.flights[nchunk].arrived.done()]
            if mine:
                return mine
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LOOK_MAX_S)
        return []

    def _found(self, key: VersionKey, numbers: list[int]) -> dict[int, bytes]:
        """Return those of the chunks that another process has put into the cache. Blocks."""
        self._store.look(key)
        missing = set(self._store.missing(key, numbers))
        found = {nchunk: self._store.get(key, nchunk) for nchunk in numbers if nchunk not in missing}
        return {nchunk: data for nchunk, data in found.items() if data is not None}

    def _failed(self, batch: _Batch, error: Caterva2Error) -> None:
        key = batch.target.key
        if isinstance(error, (VersionChanged, NotFound)) and not isinstance(error, ChunkNotFound):
            batch.target.changed()
            error = VersionChanged(f"{key.root}/{batch.target.path} has changed at its publisher")
        elif isinstance(error, UpstreamUnavailable):
            batch.target.lost()
        elif isinstance(error, UpstreamInvalid):
            self._quarantined[key] = time.monotonic() + _QUARANTINE_S
            log.warning("version is quarantined", path=f"{key.root}/{batch.target.path}", reason=str(error))
        for flight in batch.flights.values():
            if not flight.arrived.done():
                flight.arrived.set_exception(error)

    async def _request(self, batch: _Batch, wanted: list[int]) -> None:
        parts = batch.parts if batch.target.publisher.takes_parts else {}
        try:
            await self._ask(batch, wanted, parts)
        except NotUnderstood:
            if not parts:
                raise
            await self._ask(batch, wanted, {})

    async def _ask(self, batch: _Batch, wanted: list[int], parts: Mapping[int, Numbers]) -> None:
        target = batch.target
        skeleton = target.skeleton_slot in wanted
        ranges = _ranges([n for n in wanted if n != target.skeleton_slot and n not in parts])
        kept: list[Kept] = []
        self._requests.labels(target.key.root).inc()
        asked = set(wanted)
        frames = target.frames(
            ranges,
            skeleton=skeleton,
            parts=[PartRequest(chunk=n, blocks=_ranges(parts[n])) for n in wanted if n in parts],
        )
        try:
            async with aclosing(frames):
                async for frame in frames:
                    if frame.index == INDEX_PART:
                        await self._part_came(batch, frame, {n: parts[n] for n in asked if n in parts})
                        continue
                    nchunk = target.skeleton_slot if frame.index == INDEX_SKELETON else frame.index
                    if nchunk not in asked:
                        raise UpstreamInvalid("The publisher sent what was not asked for")
                    kept.append(await self._checked(target, nchunk, frame))
                    self._arrived(batch, kept[-1])
                    if sum(len(one.data) for one in kept) >= _STORE_BYTES:
                        kept, full = [], kept
                        await self._keep(batch, full)
            if skeleton and not batch.flights[target.skeleton_slot].arrived.done():
                kept.append(Kept(target.skeleton_slot, _NO_SKELETON, digest(_NO_SKELETON)))
                self._arrived(batch, kept[-1])
        finally:
            if kept:
                await asyncio.shield(self._keep(batch, kept))

    async def _part_came(self, batch: _Batch, frame: ChunkFrame, parts: Mapping[int, Numbers]) -> None:
        key = batch.target.key
        try:
            nchunk = part_nchunk(frame.data)
            if nchunk not in parts:
                raise UpstreamInvalid("it was not asked for")
            if len(frame.data) <= _INLINE_BYTES:
                singles = _check_part(batch.target, nchunk, parts[nchunk], frame)
            else:
                singles = await self._threads.run(_check_part, batch.target, nchunk, parts[nchunk], frame)
        except (UnsafeContent, UpstreamInvalid) as error:
            self._rejected.labels(key.root).inc()
            raise UpstreamInvalid(f"The publisher sent a wrong part of a chunk: {error}") from None
        self._economy.came(key.root, batch.target.path, len(frame.data))
        self._link_parts.labels(key.root).inc()
        self._parts.put((key, nchunk), singles)
        batch.flights[nchunk].bring(singles, len(frame.data))

    async def _checked(self, target: Target, nchunk: int, frame: ChunkFrame) -> Kept:
        try:
            if len(frame.data) <= _INLINE_BYTES:
                return _check(target, nchunk, frame)
            return await self._threads.run(_check, target, nchunk, frame)
        except (UnsafeContent, UpstreamInvalid) as error:
            self._rejected.labels(target.key.root).inc()
            raise UpstreamInvalid(f"The publisher sent a wrong chunk: {error}") from None

    def _arrived(self, batch: _Batch, kept: Kept) -> None:
        key = batch.target.key
        flight = batch.flights[kept.nchunk]
        if flight.blocks:
            # Blocks were asked for and the whole chunk came: whoever wants any of it finds it under way.
            self._flights.pop((key, flight.nchunk, flight.blocks), None)
            flight.blocks = ()
            self._flights.setdefault((key, flight.nchunk, ()), flight)
        self._economy.came(key.root, batch.target.path, len(kept.data))
        self._link_chunks.labels(key.root).inc()
        self._parts.forget((key, kept.nchunk))
        flight.bring(kept.data, len(kept.data))

    async def _keep(self, batch: _Batch, kept: list[Kept]) -> None:
        state = await self._threads.run(self._store.put, batch.target.key, batch.target.slots, kept)
        for one in kept:
            flight = batch.flights.get(one.nchunk)  # gone if the batch was ended meanwhile
            if flight is not None:
                flight.cache_state = state
            # From here on readers find it in the cache; without one, they fetch it again.
            self._flights.pop((batch.target.key, one.nchunk, ()), None)

    def _check_quarantine(self, target: Target) -> None:
        key = target.key
        until = self._quarantined.get(key)
        if until is None:
            return
        left = until - time.monotonic()
        if left <= 0:
            del self._quarantined[key]
            return
        raise UpstreamInvalid(
            f"The publisher of {key.root} sends wrong data for {target.path}; it is asked again in a while",
            retry_after_s=left,
        )

    # --- new versions ---------------------------------------------------------------------
    async def _carry_over(self, target: Target) -> None:
        """Take what is unchanged over from the version before, once; forget the rest of it."""
        old = self._store.older(target.key)
        if old is None:
            return
        task = self._carrying.get(target.key)
        if task is None:
            task = self._carrying[target.key] = asyncio.create_task(self._carry(target, old))
            task.add_done_callback(lambda _: self._carrying.pop(target.key, None))
        await asyncio.shield(task)

    async def _carry(self, target: Target, old: VersionKey) -> None:
        keep: list[int] = []
        if target.view is None and old.root == target.key.root and not self._store.has_version(target.key):
            known = await self._threads.run(self._store.digests, old)
            known = {n: found for n, found in known.items() if n < target.layout.nchunks}
            try:
                keep = await self._unchanged(target, known)
            except UpstreamUnavailable:
                return
            except Caterva2Error as error:
                log.debug("no digests", path=f"{old.root}/{old.path}", reason=str(error))
        if keep:
            await self._threads.run(self._store.adopt, old, target.key, target.slots, keep)
        else:
            await self._threads.run(self._store.drop, old)

    async def _unchanged(self, target: Target, known: dict[int, bytes]) -> list[int]:
        """Return which of the chunks with `known` digests are the same in the new version."""
        new: dict[int, bytes] = {}
        for _ in range(_DIGEST_ROUNDS):
            open_ = sorted(known.keys() - new.keys())
            if not open_:
                break
            found = await target.publisher.digests(target.key.path, etag=target.key.etag, ranges=_ranges(open_))
            new.update({n: told for n in open_ if n < len(found) and (told := found[n]) is not None})
        return [n for n, told in new.items() if told == known[n]]


def _check(target: Target, nchunk: int, frame: ChunkFrame) -> Kept:
    found = digest(frame.data)
    if frame.digest not in (NO_DIGEST, found):
        raise UpstreamInvalid("its digest is another one")
    if nchunk == target.skeleton_slot:
        Skeleton.from_bytes(frame.data)
    else:
        check_chunk(frame.data, target.layout, nchunk)
    return Kept(nchunk, frame.data, found)


def _check_part(target: Target, nchunk: int, numbers: Numbers, frame: ChunkFrame) -> Singles:
    if frame.digest not in (NO_DIGEST, digest(frame.data)):
        raise UpstreamInvalid("its digest is another one")
    return check_part(frame.data, target.layout, nchunk, numbers)


def _ranges(numbers: Iterable[int]) -> list[tuple[int, int]]:
    """Return half-open ranges that hold `numbers` in their order."""
    ranges: list[tuple[int, int]] = []
    for number in numbers:
        if ranges and ranges[-1][1] == number:
            ranges[-1] = (ranges[-1][0], number + 1)
        else:
            ranges.append((number, number + 1))
    return ranges

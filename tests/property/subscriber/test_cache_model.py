"""The cache against a model: whatever happens to it, it returns the bytes that were put, or nothing.

Two stores share the directory, as two processes would: each rule is one that either of them may follow.
"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from caterva2_formats.chunks import digest
from caterva2_subscriber.cache import ChunkStore, Kept, VersionKey

NCHUNKS = 12
KEYS = [VersionKey(root, "e", path, etag) for root in ("a", "b") for path in ("x", "y") for etag in ("1", "2")]
keys = st.sampled_from(KEYS)
numbers = st.integers(0, NCHUNKS - 1)


class CacheModel(RuleBasedStateMachine):
    """Puts, reads, evicts, adopts, damages and restarts."""

    stores: tuple[ChunkStore, ChunkStore]

    @initialize()
    def begin(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="cat2-cache-"))
        self.put: dict[tuple[VersionKey, int], bytes] = {}
        self.damaged = False
        self.open()

    def open(self) -> None:
        self.stores = (self.opened(), self.opened())

    def opened(self) -> ChunkStore:
        store = ChunkStore(self.directory, size=300_000, low=200_000, shares={"a": 50_000})
        store.open()
        return store

    def close(self) -> None:
        for store in self.stores:
            store.close()

    @property
    def store(self) -> ChunkStore:
        """The store whose turn it is."""
        return self.stores[0]

    @rule()
    def take_turns(self) -> None:
        self.stores = (self.stores[1], self.stores[0])

    @rule(
        key=keys,
        chunks=st.dictionaries(numbers, st.binary(min_size=1, max_size=40), min_size=1),
        copies=st.integers(1, 900),
    )
    def keep(self, key: VersionKey, chunks: dict[int, bytes], copies: int) -> None:
        new = {n: body * copies for n, body in chunks.items() if (key, n) not in self.put}
        self.put.update({(key, n): body for n, body in new.items()})
        known = {n: self.put[key, n] for n in chunks}
        assert self.store.put(key, NCHUNKS, [Kept(n, body, digest(body)) for n, body in known.items()]) is None

    @rule(old=keys, same=st.sets(numbers))
    def adopt(self, old: VersionKey, same: set[int]) -> None:
        new = replace(old, etag="2" if old.etag == "1" else "1")
        for key in (old, new):
            self.store.look(key)
        if self.store.has_version(new) or not self.store.has_version(old):
            return
        keep = {
            n
            for n in self.store.digests(old)
            if n in same and self.put.get((new, n), self.put[old, n]) == self.put[old, n]
        }
        self.put.update({(new, n): self.put[old, n] for n in keep})
        self.store.adopt(old, new, NCHUNKS, keep)
        assert not self.store.has_version(old)

    @rule(key=keys)
    def drop(self, key: VersionKey) -> None:
        self.store.drop(key)
        assert self.store.missing(key, range(NCHUNKS)) == list(range(NCHUNKS))

    @rule()
    def restart(self) -> None:
        before = {key: self.store.missing(key, range(NCHUNKS)) for key in KEYS}
        self.close()
        self.open()
        if not self.damaged:
            assert before == {key: self.store.missing(key, range(NCHUNKS)) for key in KEYS}

    @rule(which=st.integers(0, 7), cut=st.integers(1, 5000))
    def tear(self, which: int, cut: int) -> None:
        packs = sorted(self.directory.glob("??/*.pack"))
        if not packs:
            return
        pack = packs[which % len(packs)]
        self.close()
        with pack.open("r+b") as file:
            file.truncate(max(0, pack.stat().st_size - cut))
        self.open()

    @rule(which=st.integers(0, 7), where=st.integers(0, 10**6), flip=st.integers(1, 255))
    def damage(self, which: int, where: int, flip: int) -> None:
        packs = sorted(self.directory.glob("??/*.pack"))
        if not packs:
            return
        self.damaged = True
        raw = bytearray(packs[which % len(packs)].read_bytes())
        raw[where % len(raw)] ^= flip
        packs[which % len(packs)].write_bytes(raw)

    @invariant()
    def answers_are_what_was_put_or_nothing(self) -> None:
        for key in KEYS:
            for nchunk in range(NCHUNKS):
                found = self.store.get(key, nchunk)
                assert found is None or found == self.put[key, nchunk]

    @invariant()
    def the_bound_holds(self) -> None:
        on_disk = sum(pack.stat().st_blocks * 512 for pack in self.directory.glob("??/*.pack"))
        assert on_disk <= 300_000 + 8 * 4096

    def teardown(self) -> None:
        if hasattr(self, "stores"):
            self.close()
            shutil.rmtree(self.directory)


TestCacheModel = CacheModel.TestCase
TestCacheModel.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)

"""Brings the index of a root up to what its files are now.

A *reconcile* walks the whole root and compares it with the index; a *look* does so for a few places that the watcher
named. Both end in the same steps: is the file whole (`settle`), what do the checks of its bytes say, record it. A look
and a reconcile may run at the same time in two threads; they take turns by batches, so that a change is announced at
once while a large root is indexed.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from typing import TypeVar

import orjson

from caterva2.errors import Caterva2Error, DatasetNotFound, Unavailable, UnsafeContent, VersionChanged
from caterva2.paths import ARRAY_SUFFIX, FRAME_SUFFIX, is_hdf5, listed, printable
from caterva2.wire import Kind
from caterva2_formats.base import Found, RootSource

from .catalog import Catalog, Change, Changed, Entry, Removed
from .settle import LOOK_AGAIN_S, Settling
from .temporary import is_temporary
from .tree import Top, Tree

log = logging.getLogger(__name__)

MANY_CHANGES = 500
"""More changes than this at once are announced as one "fetch the manifest"."""
BATCH = 200
BULK = 1000
"""Changes that are recorded together where they are not announced one by one."""
SCAN_BATCH = 2000
PROGRESS = 5000
"""Changes of a walk after which its progress is logged."""
CONFIRM_S = 5.0
"""Seconds after which a second look decides whether most of a root was removed."""
FEW_REMOVALS = 10
"""So many removals are believed at once, whatever share of the root they are."""
FAILED_READ_S = 5.0
UNRECOGNIZED = "Unrecognized format"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a look or a reconcile did, and what is left to do."""

    changes: int = 0
    """Number of changes that were recorded."""
    again: dict[str, float] = field(default_factory=dict)
    """Seconds after which to look at a listed path again: it is still written, locked or unreadable."""
    reconcile_in_s: float | None = None
    """Seconds after which only a reconcile can tell what is true."""


@dataclass(frozen=True, slots=True)
class Sight:
    """Whether the publisher sees its data."""

    online: bool
    reason: str = ""


@dataclass(slots=True)
class _Batch:
    """What a few looks found, to be recorded together."""

    changes: list[Change] = field(default_factory=list)
    missing: list[tuple[str, int]] = field(default_factory=list)
    again: dict[str, float] = field(default_factory=dict)
    devices: dict[str, int] = field(default_factory=dict)


class Indexer:
    """Compares the files of a root with its index. Methods block.

    Parameters
    ----------
    root
        The published tree.
    tree
        Its place in the file system.
    catalog
        The index.
    settle_s
        Seconds without a change after which a file counts as whole when the kernel cannot tell.
    confirm_removals
        Believe in the first reconcile that whatever is missing was removed: an operator said so.
    on_news
        Called, in the thread that looks, with changes that were recorded.
    on_sight
        Called, in the thread that looks, when the data come into sight or go out of it.
    """

    def __init__(
        self,
        root: RootSource,
        tree: Tree,
        catalog: Catalog,
        *,
        settle_s: float,
        confirm_removals: bool = False,
        on_news: Callable[[list[Change]], None] = lambda news: None,
        on_sight: Callable[[Sight], None] = lambda sight: None,
    ) -> None:
        self._root = root
        self._tree = tree
        self._catalog = catalog
        self._settling = Settling(settle_s, tree.files)
        self._confirm_removals = confirm_removals
        self._on_news = on_news
        self._on_sight = on_sight
        self._turn = threading.Lock()
        self._stopping = threading.Event()
        self._doubt_since: float | None = None
        self._kept = 0
        self.sight = Sight(online=True)

    def reconcile(self) -> Outcome:
        """Compare the whole root with the index and record the differences."""
        if (unseen := self._unseen()) is not None:
            return unseen
        try:
            changed: list[Found] = []
            with self._catalog.compare() as comparison:
                for batch in _batched(self._root.scan(), SCAN_BATCH):
                    if self._stopping.is_set():
                        return Outcome()
                    changed += comparison.changed([found for found in batch if not is_temporary(found.path)])
                missing = comparison.missing()
        except Unavailable as error:
            return Outcome(reconcile_in_s=error.retry_after_s or 1.0)
        except (UnsafeContent, OSError) as error:
            self._see(Sight(online=False, reason=f"the root cannot be read: {_why(error)}"))
            return Outcome(reconcile_in_s=FAILED_READ_S)
        announce_each = len(changed) + len(missing) <= MANY_CHANGES
        done = told = 0
        again: dict[str, float] = {}
        for some in _batched(changed, BATCH if announce_each else BULK):
            if self._stopping.is_set():
                return Outcome(done, again)
            outcome = self._take(some, announce_each=announce_each)
            done += outcome.changes
            again |= outcome.again
            if done - told >= PROGRESS:
                told = done
                log.info("%d of %d changed files are indexed", done, len(changed))
            time.sleep(0.0005)  # a look that waits for its turn gets it here
        with self._turn:
            removed, doubtful_s = self._remove(missing, announce_each=announce_each)
            if doubtful_s is None:
                self._doubt_since = None
                self._keep_top()
                self._see(Sight(online=True))
        self._confirm_removals = False
        return Outcome(done + removed, again, doubtful_s)

    def stop(self) -> None:
        """End what runs in other threads after its batch, and wait for that."""
        self._stopping.set()
        with self._turn:
            pass

    def look(self, places: Collection[str], paths: Collection[str] = ()) -> Outcome:
        """Compare a few places with the index and record the differences.

        Parameters
        ----------
        places
            Files and directories, relative to the root, of which the watcher said that something happened there.
        paths
            Listed paths to look at again.
        """
        if (unseen := self._unseen()) is not None:
            return unseen
        try:
            below = (found.path for place in places for found in self._root.below(place))
            here = {path for path in below if not is_temporary(path)}
            known = dict(entry for place in places for entry in self._catalog.below(listed(place)))
        except Unavailable as error:
            return Outcome(reconcile_in_s=error.retry_after_s or 1.0)
        except (UnsafeContent, OSError) as error:
            log.warning("A changed part of the root cannot be read (%s): it is looked at again", _why(error))
            return Outcome(reconcile_in_s=FAILED_READ_S)
        wanted = sorted(here | known.keys() | set(paths))
        return self._take(wanted, announce_each=len(wanted) <= MANY_CHANGES)

    def present(self, path: str) -> Entry:
        """Return the entry of `path` after making sure that it is that of the present file.

        While the publisher does not see its data, the last known entry is returned.

        Raises
        ------
        DatasetNotFound
            If there is no such path.
        Unavailable
            If the file is being written, or is missing and not known to be removed.
        """
        entry = self._catalog.get(path)
        found = self._find_or_none(path)
        if entry is not None and found is not None and found.etag == entry.etag:
            return entry
        outcome = self.look((), (path,))
        entry = self._catalog.get(path)
        if entry is None and path not in outcome.again:
            raise DatasetNotFound
        if not self.sight.online and entry is not None:
            return entry
        if path in outcome.again:
            raise Unavailable("The file is being written: try again", retry_after_s=outcome.again[path])
        found = self._find_or_none(path)
        if entry is None or found is None or found.etag != entry.etag:
            raise Unavailable("The file cannot be seen now: try again", retry_after_s=1)
        return entry

    def _find_or_none(self, path: str) -> Found | None:
        try:
            return None if is_temporary(path) else self._root.find(path)
        except (Unavailable, UnsafeContent, OSError):
            return None

    # --- one batch --------------------------------------------------------------------
    def _take(self, seen: Sequence[Found | str], *, announce_each: bool) -> Outcome:
        """Record what is at each of some paths, given as such or as a walk found them just now."""
        batch = _Batch()
        with self._turn:
            for each in seen:
                if isinstance(each, str):
                    self._look_at(each, batch)
                else:
                    self._take_up(each, batch)
            news = self._record(batch.changes, announce_each=announce_each)
            removed, doubtful_s = self._remove(batch.missing, announce_each=announce_each)
        return Outcome(news + removed, batch.again, doubtful_s)

    def _look_at(self, path: str, batch: _Batch) -> None:
        """Find out whether a path is new, changed, missing or as the index has it."""
        try:
            found = self._root.find(path)
        except Unavailable as error:
            batch.again[path] = error.retry_after_s or 1.0
            return
        except (UnsafeContent, OSError):
            batch.again[path] = FAILED_READ_S
            return
        entry = self._catalog.get(path)
        if found is not None and (entry is None or entry.etag != found.etag):
            self._take_up(found, batch)
            return
        self._settling.forget(path)
        if entry is not None and found is None:
            batch.missing.append((path, entry.dev))

    def _take_up(self, found: Found, batch: _Batch) -> None:
        """Inspect a version that the index does not have, if it can be taken for whole."""
        wait_s = self._settling.wait_s(found)
        result = wait_s if wait_s > 0 else self._inspect(found, batch)
        if isinstance(result, Changed):
            batch.changes.append(result)
        else:
            batch.again[found.path] = result

    def _device(self, path: str, batch: _Batch) -> int:
        directory = path.rpartition("/")[0]
        if directory not in batch.devices:
            batch.devices[directory] = self._tree.device(path)
        return batch.devices[directory]

    def _inspect(self, found: Found, batch: _Batch) -> Changed | float:
        """Return what the checks of a file's bytes tell, or the seconds after which to try again."""
        try:
            dev = self._device(found.path, batch)
            with self._root.open(found.path) as source:
                if source.etag != found.etag:
                    return LOOK_AGAIN_S
                return Changed(found, dev, source.layout.kind, source.layout.nbytes, orjson.dumps(source.info))
        except (VersionChanged, DatasetNotFound):
            return LOOK_AGAIN_S
        except Unavailable as error:
            return error.retry_after_s or 1.0
        except OSError as error:
            log.warning("%s cannot be read (%s)", printable(found.path), _why(error))
            return FAILED_READ_S
        except Caterva2Error as error:
            log.warning("%s is listed as unrecognized: %s", printable(found.path), error)
            return _unrecognized(found, self._device(found.path, batch), error.detail)
        except Exception:
            # Whatever a file makes the decoders do, the other files go on being served.
            log.exception("%s is listed as unrecognized", printable(found.path))
            return _unrecognized(found, self._device(found.path, batch), "it made its decoder fail")

    # --- removals -------------------------------------------------------------------
    def _remove(self, missing: Sequence[tuple[str, int]], *, announce_each: bool) -> tuple[int, float | None]:
        """Record removals as far as they can be believed; return how many, and when to look again."""
        if not missing:
            return 0, None
        believed = missing if self._confirm_removals else self._on_seen_devices(missing)
        doubtful_s = None if self._confirm_removals else self._doubtful_s(len(missing))
        if doubtful_s is not None or not believed:
            return 0, doubtful_s
        # A path that came back since the walk is not removed.
        gone = [Removed(path) for path, _ in believed if self._is_gone(path)]
        return self._record(gone, announce_each=announce_each), None

    def _record(self, changes: Sequence[Change], *, announce_each: bool) -> int:
        news = self._catalog.apply(changes, announce_each=announce_each) if changes else []
        if news:
            if announce_each:
                _tell(news)
            self._on_news(news)
        return len(news)

    def _is_gone(self, path: str) -> bool:
        try:
            return self._root.find(path) is None
        except (Unavailable, UnsafeContent, OSError):
            return False

    def _on_seen_devices(self, missing: Sequence[tuple[str, int]]) -> list[tuple[str, int]]:
        """Leave out what lies on a file system that is not there: unmounted is not removed."""
        before, now = self._known_top(), self._tree.top()
        # Some file systems get another number at each mount.
        renumbered = {before.dev: now.dev} if before and now else {}
        believed = []
        for path, dev in missing:
            try:
                seen = self._tree.device(path)
            except OSError:
                continue
            if seen in (dev, renumbered.get(dev)):
                believed.append((path, dev))
        kept = len(missing) - len(believed)
        if kept > self._kept:
            log.warning(
                "%d datasets are kept, though they are missing: their file system is not mounted"
                " (start with --confirm-removals if they are gone for good)",
                kept,
            )
        self._kept = kept
        return believed

    def _doubtful_s(self, count: int) -> float | None:
        """Return the seconds after which to look again, if so many removals need more evidence."""
        total = self._catalog.totals().ndatasets
        if count * 2 <= total:
            return None
        before, now = self._known_top(), self._tree.top()
        if before and now and before.ino != now.ino:
            reason = (
                "another directory is in its place (start with --confirm-removals if its datasets are gone for good)"
            )
            self._see(Sight(online=False, reason=f"{count} of {total} datasets are missing, and {reason}"))
            return CONFIRM_S
        if count <= FEW_REMOVALS:
            return None
        if self._doubt_since is None:
            self._doubt_since = time.monotonic()
            log.warning("%d of %d datasets are missing: a second look decides in %g s", count, total, CONFIRM_S)
        remaining = self._doubt_since + CONFIRM_S - time.monotonic()
        return remaining if remaining > 0 else None

    def _known_top(self) -> Top | None:
        top = self._catalog.top()
        return Top(*map(int, top.split(":"))) if top else None

    def _keep_top(self) -> None:
        if (top := self._tree.top()) is not None:
            self._catalog.keep_top(f"{top.dev}:{top.ino}")

    # --- sight ----------------------------------------------------------------------
    def _unseen(self) -> Outcome | None:
        """Return what to answer while the root cannot be seen at all."""
        if not self._root.available():
            self._see(Sight(online=False, reason="the root is not there"))
            return Outcome(reconcile_in_s=FAILED_READ_S)
        return None

    def _see(self, sight: Sight) -> None:
        if sight != self.sight:
            self.sight = sight
            if sight.online:
                log.warning("The root is in sight again")
            else:
                log.error("The root is offline: %s", sight.reason)
            self._on_sight(sight)


def _tell(news: Iterable[Change]) -> None:
    for change in news:
        if isinstance(change, Removed):
            log.info("DELETE %s", change.path)
        else:
            log.info("UPDATE %s", change.found.path)


def _why(error: OSError | UnsafeContent) -> str:
    return (error.strerror or type(error).__name__) if isinstance(error, OSError) else error.detail


def _unrecognized(found: Found, dev: int, reason: str) -> Changed:
    mtime = datetime.fromtimestamp(found.stamp.mtime_ns / 1e9, UTC).isoformat(timespec="microseconds")
    info = orjson.dumps({"mtime": mtime.replace("+00:00", "Z"), "error": UNRECOGNIZED, "reason": reason})
    return Changed(found, dev, _kind(found.path), found.stamp.size, info)


def _kind(path: str) -> Kind:
    if path.endswith(ARRAY_SUFFIX):
        return Kind.ARRAY
    if path.endswith(FRAME_SUFFIX):
        return Kind.FRAME
    return Kind.HDF5 if is_hdf5(path) else Kind.FILE


def _batched(items: Iterable[T], size: int) -> Iterator[list[T]]:
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch

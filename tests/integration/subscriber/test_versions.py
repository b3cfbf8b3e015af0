"""Publisher, cache and readers against a model: every read is exactly one published version, and never an older one.

Chunks are taken apart however small they are, so that windows are read from parts, chunks and the cache alike.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

import httpx
import numpy as np
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.support.processes import wait_until
from tests.support.site import PASSWORD, USER, Site

from .published import counter, decode, fetch, make_array, subscribe

NAMES = ("a.b2nd", "dir/b.b2nd")
names = st.sampled_from(NAMES)
slices = st.sampled_from(["", "0:8", "5:20,3:7", "11", "::3", "2:30,:", "6,5", "5:8,2"])
ROWS = 32
BLOCK = (1, 3, DEPTH := 200)
EXAMPLES = int(os.environ.get("CATERVA2_EXAMPLES", "2"))
"""The long form is 100."""


def content(version: int, shape: tuple[int, int]) -> np.ndarray[Any, Any]:
    """Return an array that no other version has an element of."""
    size = shape[0] * shape[1] * DEPTH
    return version * 1_000_000 + np.random.default_rng(version).permutation(size).reshape(*shape, DEPTH)


class Versions(RuleBasedStateMachine):
    """One site for all examples; what each example publishes is its own."""

    site: ClassVar[Site]
    data: ClassVar[Path]
    published: ClassVar[dict[str, list[np.ndarray[Any, Any] | None]]]
    seen: ClassVar[dict[str, int]]
    count = 0

    @initialize()
    def begin(self) -> None:
        self.wrong: list[str] = []

    # --- the publisher's side ---------------------------------------------------------------------
    @rule(name=names, rows=st.integers(1, ROWS), chunk=st.integers(1, 9))
    def replace(self, name: str, rows: int, chunk: int) -> None:
        array = content(self._next(), (rows, 12))
        self.published[name].append(array)
        make_array(self.data / name, array, (min(chunk, rows), 12, DEPTH), BLOCK)

    @rule(name=names, row=st.integers(0, ROWS - 1))
    def edit(self, name: str, row: int) -> None:
        array = self.published[name][-1]
        if array is None:
            return
        array = array.copy()
        array[row % len(array)] = content(self._next(), (1, 12))[0]
        self.published[name].append(array)
        make_array(self.data / name, array, (min(4, len(array)), 12, DEPTH), BLOCK)

    @rule(name=names)
    def remove(self, name: str) -> None:
        if self.published[name][-1] is not None:
            self.published[name].append(None)
            (self.data / name).unlink()

    @classmethod
    def _next(cls) -> int:
        Versions.count += 1
        return Versions.count

    # --- the readers' side ---------------------------------------------------------------------
    @rule(name=names, asked=st.lists(slices, min_size=1, max_size=4))
    def read(self, name: str, asked: list[str]) -> None:
        with ThreadPoolExecutor(4) as readers:
            for answer, slice_ in zip(readers.map(lambda text: self._fetch(name, text), asked), asked, strict=True):
                self._check(name, slice_, answer)

    @rule(name=names, slice_=slices)
    def read_while_it_is_replaced(self, name: str, slice_: str) -> None:
        done = threading.Event()

        def readers() -> list[httpx.Response]:
            found = [self._fetch(name, slice_)]
            while not done.is_set():
                found.append(self._fetch(name, slice_))
            return found

        with ThreadPoolExecutor(1) as pool:
            reading = pool.submit(readers)
            for _ in range(3):
                self.replace(name, ROWS, 3)
            done.set()
            for answer in reading.result():
                self._check(name, slice_, answer, keep=True)

    def _fetch(self, name: str, slice_: str) -> httpx.Response:
        params = {"slice_": slice_} if slice_ else {}
        return self.site.subscriber.get(f"/api/fetch/foo/{name}", params=params, timeout=60)

    def _check(self, name: str, slice_: str, answer: httpx.Response, *, keep: bool = False) -> None:
        versions = self.published[name]
        first = self.seen.get(name, 0)
        if answer.status_code != 200:
            assert answer.status_code in (400, 404, 409, 503, 504), answer.text
            return
        found = decode(answer.content)
        for number in range(first, len(versions)):
            expected = _selected(versions[number], slice_)
            if expected is not None and expected.shape == found.shape and np.array_equal(expected, found):
                if found.size and not keep:
                    self.seen[name] = number
                return
        raise AssertionError(f"{name}[{slice_}] is no version from {first} to {len(versions) - 1}: {found}")

    # --- what goes wrong ---------------------------------------------------------------------
    @rule(name=names)
    def evict(self, name: str) -> None:
        with httpx.Client(base_url=self.site.subscriber.url, trust_env=False, timeout=60) as http:
            http.post("/auth/jwt/login", data={"username": USER, "password": PASSWORD})
            http.post(f"/api/cache/free/foo/{name}").raise_for_status()

    @precondition(lambda self: Versions.count % 7 == 3)
    @rule()
    def kill_the_subscriber(self) -> None:
        self._next()
        self.site.subscriber.restart().wait_ready()

    @precondition(lambda self: Versions.count % 7 == 6)
    @rule()
    def kill_the_publisher(self) -> None:
        self._next()
        self.site.publishers["foo"].restart().wait_ready()

    @invariant()
    def the_subscriber_lives(self) -> None:
        assert self.site.subscriber.running

    def teardown(self) -> None:
        for name in NAMES:
            last = self.published[name][-1]
            wait_until(lambda name=name, last=last: self._is(name, last), timeout_s=30, what=f"{name} is up to date")

    def _is(self, name: str, expected: np.ndarray[Any, Any] | None) -> bool:
        answer = self._fetch(name, "")
        if expected is None:
            return answer.status_code == 404
        return answer.status_code == 200 and np.array_equal(decode(answer.content), expected)


def _selected(array: np.ndarray[Any, Any] | None, slice_: str) -> np.ndarray[Any, Any] | None:
    if array is None:
        return None
    try:
        return array[eval(f"np.s_[{slice_ or '...'}]")]  # one of the texts above
    except IndexError:
        return None


def test_every_read_is_exactly_one_published_version(tmp_path: Path) -> None:
    data = Path(tempfile.mkdtemp(dir=tmp_path))
    for number, name in enumerate(NAMES):
        make_array(data / name, content(number, (8, 12)), (3, 12, DEPTH), BLOCK)
    Versions.data = data
    Versions.published = {name: [content(number, (8, 12))] for number, name in enumerate(NAMES)}
    Versions.seen = {}
    Versions.count = len(NAMES)
    with Site(tmp_path / "site", login=True) as site:
        Versions.site = site
        site.subscriber.env["CATERVA2_UPSTREAM_PARTS_FROM"] = "1"
        site.start(foo=data)
        site.add_user(superuser=True)
        subscribe(site.subscriber, "foo", count=2)
        np.testing.assert_array_equal(fetch(site.subscriber, f"foo/{NAMES[0]}", "6,5"), content(0, (8, 12))[6, 5])
        assert counter(site.subscriber, "link_parts_total") == 1
        machine = Versions.TestCase
        machine.settings = settings(
            max_examples=EXAMPLES,
            stateful_step_count=12,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        machine().runTest()
    shutil.rmtree(data)

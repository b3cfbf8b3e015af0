"""The JSON of every endpoint, as clients of all ages know it: each shape has a golden file."""

from __future__ import annotations

import asyncio
import io
import zipfile
from pathlib import Path
from typing import Any

import blosc2
import h5py
import httpx
import numpy as np
import pytest

from caterva2 import wire
from tests.support.golden import check_golden, shape_of
from tests.support.processes import wait_until
from tests.support.site import Site as Processes

from .conftest import Site
from .test_spaces import frame, upload

GOLDEN = Path(__file__).parents[1] / "golden"
ROOT = "root@example.com"

INFOS: dict[str, tuple[str, type[wire.Answer]]] = {
    "array": ("@personal/a.b2nd", wire.ArrayInfo),
    "table": ("@personal/table.b2nd", wire.ArrayInfo),
    "frame": ("@personal/bytes.b2frame", wire.FrameInfo),
    "file": ("@personal/note.txt", wire.FrameInfo),
    "empty-file": ("@personal/empty.txt", wire.FrameInfo),
    "expression": ("@personal/lazy.b2nd", wire.ExpressionInfo),
    "unfolded": ("@personal/data/group/x.b2nd", wire.ArrayInfo),
    "group": ("@personal/data.h5/group", wire.GroupInfo),
    "missing-operands": ("@personal/orphan.b2nd", wire.MissingOperandsInfo),
    "unreadable": ("@public/broken.b2nd", wire.UnreadableInfo),
    "hdf5-file": ("@personal/data.h5", wire.Hdf5FileInfo),
}
READS = {
    "roots": "/api/roots",
    "list": "/api/list/@personal",
    "list-of-a-file": "/api/list/@personal/note.txt",
    "list-of-a-group": "/api/list/@personal/data.h5/group",
    "plan": "/api/plan/@personal/a.b2nd?slice_=1:3",
    "usage": "/api/usage",
    "me": "/api/me",
    "tokens": "/api/tokens",
    "identities": "/api/identities",
    "users": "/api/listusers/",
    "user": "/api/listusers/?username=ada@example.com",
    "groups": "/api/groups",
    "rights": "/api/rights/@shared",
    "search": "/api/search?q=table",
    "browse": "/api/browse/@personal",
    "view-cache": "/api/view/cache/@personal/a.b2nd",
    "view-stats": "/api/view/stats/@personal/a.b2nd",
    "cache-status": "/api/cache/status",
    "error-not-found": "/api/info/@personal/nope.b2nd",
    "error-unknown-root": "/api/list/nope",
    "error-directory": "/api/info/@personal/dir",
    "error-slice": "/api/fetch/@personal/a.b2nd?slice_=99",
    "error-slice-text": "/api/fetch/@personal/a.b2nd?slice_=a:b",
    "error-filter": "/api/fetch/@personal/table.b2nd?filter=nope>1",
    "error-field": "/api/fetch/@personal/table.b2nd?field=nope",
    "error-chunk": "/api/chunk/@personal/a.b2nd?nchunk=99",
    "error-parameter": "/api/chunk/@personal/a.b2nd",
    "error-missing-operands": "/api/fetch/@personal/orphan.b2nd",
    "error-unreadable": "/api/fetch/@public/broken.b2nd",
}
ANONYMOUS = {
    "anonymous-roots": "/api/roots",
    "anonymous-me": "/api/me",
    "anonymous-list": "/api/list/@personal",
    "anonymous-info": "/api/info/@personal/a.b2nd",
    "anonymous-users": "/api/listusers/",
}


async def fill(client: httpx.AsyncClient, statedir: Path) -> None:
    """Put one of everything into ``@personal``."""
    a = np.arange(24, dtype="i8").reshape(4, 6)
    table = np.zeros(5, [("a", "<i4"), ("b", "<f8"), ("c", "S10"), ("d", "?")])
    stored = blosc2.asarray(a, chunks=(2, 6), blocks=(1, 3))
    stored.schunk.vlmeta["units"] = "mA"
    packed = blosc2.SChunk(chunksize=100, data=b"Hello world!" * 100)
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        file.create_dataset("group/x", data=a, chunks=(2, 6)).attrs["Int"] = 42
    for name, body in {
        "a.b2nd": bytes(stored.to_cframe()),
        "gone.b2nd": frame(a),
        "table.b2nd": frame(table, chunks=(5,), blocks=(5,)),
        "bytes.b2frame": bytes(packed.to_cframe()),
        "note.txt": b"a note\n",
        "empty.txt": b"",
        "dir/inner.txt": b"x",
        "data.h5": content.getvalue(),
    }.items():
        assert (await upload(client, f"@personal/{name}", body)).status_code == 200, name
    assert (await client.post("/api/unfold/@personal/data.h5")).status_code == 200
    for name, operand in (("lazy", "a"), ("orphan", "gone")):
        body = {"name": name, "expression": "x + 1", "operands": {"x": f"@personal/{operand}.b2nd"}, "compute": False}
        assert (await client.post("/api/lazyexpr/", json=body)).status_code == 200
    await client.post("/api/remove/@personal/gone.b2nd")
    (statedir / "public").mkdir(exist_ok=True)
    (statedir / "public" / "broken.b2nd").write_bytes(b"not a frame at all")


@pytest.fixture
async def client(site: Site) -> Any:
    await site.add("ada@example.com", groups=("xray",))
    client = await site.as_user(ROOT)
    await fill(client, Path(site.context.settings.statedir))
    await client.post("/api/tokens", json={"name": "nightly", "scopes": ["read"], "days": 5})
    async with asyncio.timeout(60):
        # What is found by search is looked up beside the requests.
        while (found := (await client.get("/api/search?q=personal")).json())["pending"] or found["total"] < 8:
            await asyncio.sleep(0.05)
    yield client
    await client.aclose()


async def test_infos_are_as_they_always_were(client: httpx.AsyncClient) -> None:
    for name, (path, model) in INFOS.items():
        answer = await client.get(f"/api/info/{path}")
        described = model.model_validate(answer.json()).model_dump(exclude_unset=True)
        assert described == answer.json(), f"{name}: the reference of the API describes this shape"
        check_golden(GOLDEN / f"info-{name}.json", shape_of(answer))


async def test_answers_to_readers_are_as_they_always_were(client: httpx.AsyncClient, site: Site) -> None:
    for name, url in READS.items():
        check_golden(GOLDEN / f"{name}.json", shape_of(await client.get(url)))
    async with site.client() as anonymous:
        for name, url in ANONYMOUS.items():
            check_golden(GOLDEN / f"{name}.json", shape_of(await anonymous.get(url)))


async def test_answers_to_writers_are_as_they_always_were(client: httpx.AsyncClient, site: Site) -> None:
    pair = ["@personal/a.b2nd", "@personal/copied.b2nd"]
    operands = {"x": "@personal/a.b2nd"}
    expression = {"expression": "x * 2", "operands": operands, "compute": True}
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("inside.txt", "x")
    await upload(client, "@personal/archive.zip", archive.getvalue())
    steps: list[tuple[str, str, Any]] = [
        ("subscribe", "/api/subscribe/@public", None),
        ("subscribe-unknown", "/api/subscribe/nope", None),
        ("copy", "/api/copy/", {"src": pair[0], "dst": pair[1]}),
        ("copy-published-nothing", "/api/copy/", {"src": "nope/x.b2nd", "dst": pair[1]}),
        ("concat", "/api/concat/", {"srcs": pair, "dst": "@personal/joined.b2nd", "axis": 0}),
        ("stack", "/api/stack/", {"srcs": pair, "dst": "@personal/stacked.b2nd", "axis": 0}),
        ("concat-refused", "/api/concat/", {"srcs": pair, "dst": "@personal/joined.txt", "axis": 0}),
        ("lazyexpr", "/api/lazyexpr/", {"name": "doubled", **expression}),
        ("lazyexpr-refused", "/api/lazyexpr/", {"name": "bad", "expression": "x +", "operands": operands}),
        ("lazyexpr-unknown", "/api/lazyexpr/", {"name": "bad", "expression": "x + b", "operands": operands}),
        ("upload_lazyarr", "/api/upload_lazyarr/@personal/made.b2nd", {"name": None, **expression}),
        (
            "upload_lazyarr-refused",
            "/api/upload_lazyarr/@personal/made.b2nd",
            {"name": None, "expression": None, "func": "def f(x): return x", "operands": operands, "compute": False},
        ),
        ("addnotebook", "/api/addnotebook/@personal/new.ipynb", None),
        ("addnotebook-refused", "/api/addnotebook/@personal/new.ipynb", None),
        ("unfold", "/api/unfold/@personal/archive.zip", None),
        ("unfold-refused", "/api/unfold/@personal/note.txt", None),
        ("move", "/api/move/", {"src": pair[1], "dst": "@shared/dir/"}),
        ("move-refused", "/api/move/", {"src": "foo/x.b2nd", "dst": "@shared/"}),
        ("remove", "/api/remove/@shared/dir", None),
        ("remove-refused", "/api/remove/@shared/dir", None),
        (
            "adduser",
            "/api/adduser/",
            {"username": "new@example.com", "password": "foobar11-new", "superuser": False},
        ),
        ("error-body", "/api/move/", {"src": pair[0]}),
    ]
    for name, url, body in steps:
        check_golden(GOLDEN / f"{name}.json", shape_of(await client.post(url, json=body)))
    check_golden(GOLDEN / "upload.json", shape_of(await upload(client, "@personal/dir", b"x", "sent.txt")))
    check_golden(GOLDEN / "upload-refused.json", shape_of(await upload(client, "foo/sent.txt", b"x")))
    check_golden(GOLDEN / "upload-unsafe.json", shape_of(await upload(client, "@personal/x.b2nd", b"no frame")))
    appended = await client.post("/api/append/@personal/a.b2nd", files={"file": ("x", frame(np.ones((2, 6), "i8")))})
    check_golden(GOLDEN / "append.json", shape_of(appended))
    refused = await client.post("/api/append/@personal/a.b2nd", files={"file": ("x", frame(np.ones((2, 5), "i8")))})
    check_golden(GOLDEN / "append-refused.json", shape_of(refused))
    check_golden(GOLDEN / "deluser.json", shape_of(await client.get("/api/deluser/new@example.com")))
    check_golden(GOLDEN / "deluser-refused.json", shape_of(await client.get("/api/deluser/new@example.com")))
    async with site.client() as anonymous:
        wrong = {"username": ROOT, "password": "wrong password"}
        check_golden(GOLDEN / "login-refused.json", shape_of(await anonymous.post("/auth/jwt/login", data=wrong)))
        logged_in = await anonymous.post("/auth/jwt/login", data={**wrong, "password": "foobar11-foobar"})
        check_golden(GOLDEN / "login.json", shape_of(logged_in))
        name, _, rest = logged_in.headers["set-cookie"].partition("=")
        assert name == "c2subauth"
        assert {"HttpOnly", "Path=/", "SameSite=lax"} <= {each.strip() for each in rest.split(";")}
        check_golden(GOLDEN / "anonymous-upload.json", shape_of(await upload(anonymous, "@public/x.txt", b"x")))


PUBLISHED = {
    "published-roots": "/api/roots",
    "published-list": "/api/list/hdf5root",
    "published-info-array": "/api/info/foo/dir1/ds-2d.b2nd",
    "published-info-table": "/api/info/foo/ds-1d-fields.b2nd",
    "published-info-frame": "/api/info/foo/ds-hello.b2frame",
    "published-info-file": "/api/info/foo/README.md",
    "published-info-hdf5-file": "/api/info/foo/root-example.h5",
    "published-info-hdf5-array": "/api/info/hdf5root/arrays/3d-blosc2.b2nd",
    "published-info-hdf5-attributes": "/api/info/hdf5root/attrs.b2nd",
    "published-info-hdf5-subarray": "/api/info/hdf5root/arrays/array-dtype.b2nd",
}


def test_answers_about_published_roots_are_as_they_always_were(sample_site: Processes) -> None:
    def counted() -> bool:
        roots = sample_site.broker.get("/api/roots").json()
        return all("nbytes" in root for root in roots.values())

    wait_until(counted, timeout_s=30, what="publishers have told how much they have")
    for name, url in PUBLISHED.items():
        answer = sample_site.subscriber.get(url)
        if "-info-" in name:
            model = wire.Hdf5FileInfo if "size" in answer.json() else wire.FrameInfo
            model = wire.ArrayInfo if "shape" in answer.json() else model
            assert model.model_validate(answer.json()).model_dump(exclude_unset=True) == answer.json(), name
        check_golden(GOLDEN / f"{name}.json", shape_of(answer))
    broker = sample_site.broker.get("/api/roots")
    check_golden(GOLDEN / "broker-roots.json", shape_of(broker))


def test_datasets_of_a_published_hdf5_file_are_read_from_a_copy(sample_site: Processes) -> None:
    refused = sample_site.subscriber.get("/api/info/foo/root-example.h5/arrays/3d-blosc2.b2nd")
    assert refused.status_code == 404
    assert "copy it to @personal" in refused.json()["detail"]
    assert sample_site.subscriber.get("/api/info/foo/nothing.h5/arrays/3d-blosc2.b2nd").json()["detail"] == "Not Found"
    client = sample_site.client(user=True)
    client.copy("foo/root-example.h5", "@personal/copied.h5")
    assert client.get_info("@personal/copied.h5/arrays/3d-blosc2.b2nd")["shape"] == [10, 10, 10]
    client.remove("@personal/copied.h5")

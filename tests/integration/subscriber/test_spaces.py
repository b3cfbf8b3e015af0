"""Files of people: uploads, listings, moves, copies, removals and quotas, over HTTP."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import blosc2
import h5py
import httpx
import numpy as np
import pytest

from .conftest import Site, Start

USER = "user@example.com"


def frame(array: Any, **kwargs: Any) -> bytes:
    return bytes(blosc2.asarray(np.asarray(array), **kwargs).to_cframe())


async def upload(client: httpx.AsyncClient, path: str, content: bytes, name: str = "x") -> httpx.Response:
    return await client.post(f"/api/upload/{path}", files={"file": (name, content)})


def statedir(site: Site) -> Path:
    return Path(site.context.settings.statedir)


async def test_an_uploaded_array_comes_back_byte_for_byte(site: Site) -> None:
    content = frame(np.arange(1000).reshape(10, 100), chunks=(3, 30), blocks=(2, 10), meta={})
    async with await site.as_user(USER) as client:
        assert (await upload(client, "@personal/dir/ds.b2nd", content)).json() == "@personal/dir/ds.b2nd"
        assert (await client.get("/api/list/@personal")).json() == ["dir/ds.b2nd"]
        assert (await client.get("/api/list/@personal/dir")).json() == ["ds.b2nd"]
        assert (await client.get("/api/list/@personal/dir/ds.b2nd")).json() == ["ds.b2nd"]
        info = (await client.get("/api/info/@personal/dir/ds.b2nd")).json()
        assert (info["shape"], info["chunks"], info["dtype"]) == ([10, 100], [3, 30], "int64")
        whole = await client.get("/api/fetch/@personal/dir/ds.b2nd")
        assert whole.content == content
        part = await client.get("/api/fetch/@personal/dir/ds.b2nd", params={"slice_": "2:9:3, -1"})
        expected = np.arange(1000).reshape(10, 100)[2:9:3, -1]
        np.testing.assert_array_equal(blosc2.ndarray_from_cframe(part.content)[:], expected)


async def test_plain_files_are_stored_packed_and_listed_by_their_name(site: Site) -> None:
    text = b"# title\n" * 100
    async with await site.as_user(USER) as client:
        assert (await upload(client, "@personal/README.md", text)).json() == "@personal/README.md"
        assert (await client.get("/api/list/@personal")).json() == ["README.md"]
        for name in ("README.md", "README.md.b2"):
            assert (await client.get(f"/api/info/@personal/{name}")).json()["nbytes"] == len(text)
            assert (await client.get(f"/api/download/@personal/{name}")).content == text
        packed = await client.get("/api/fetch/@personal/README.md")
        assert 'filename="README.md.b2"' in packed.headers["content-disposition"]
        assert blosc2.schunk_from_cframe(packed.content)[:] == text
        assert [path.name for path in (statedir(site) / "personal").glob("*/*")] == ["README.md.b2"]


@pytest.mark.parametrize("size", [0, 1, 16 * 2**20, 16 * 2**20 + 1])
async def test_plain_files_of_every_size(site: Site, size: int) -> None:
    content = os.urandom(size)
    async with await site.as_user(USER) as client:
        assert (await upload(client, "@shared/data.bin", content)).status_code == 200
        info = (await client.get("/api/info/@shared/data.bin")).json()
        assert (info["nbytes"], info["nchunks"]) == (size, -(-size // 2**24))
        assert (await client.get("/api/download/@shared/data.bin")).content == content


async def test_the_name_of_the_sender_is_used_in_a_directory_and_never_as_a_path(site: Site) -> None:
    async with await site.as_user(USER) as client:
        for name in ("notes.txt", "../../../etc/notes.txt", "C:\\data\\notes.txt"):
            assert (await upload(client, "@personal", b"x", name)).json() == "@personal/notes.txt"
        assert (await upload(client, "@personal/new/", b"x", "a.txt")).json() == "@personal/new/a.txt"
        assert (await upload(client, "@personal/new", b"x", "b.txt")).json() == "@personal/new/b.txt"
        for name in ("..", "", "a\u202eb"):
            assert (await upload(client, "@personal", b"x", name)).status_code in (400, 422), name
        assert (await client.get("/api/list/@personal")).json() == ["new/a.txt", "new/b.txt", "notes.txt"]


async def test_requests_that_are_no_upload_are_refused_with_a_sentence(site: Site) -> None:
    async with await site.as_user(USER) as client:
        without = await client.post("/api/upload/@personal/x.txt", files={"other": b"x"})
        assert (without.status_code, without.json()["detail"][0]["loc"]) == (422, ["body", "file"])
        assert (await client.post("/api/upload/@personal/x.txt", content=b"raw")).status_code == 400
        broken = {"content-type": "multipart/form-data; boundary=b"}
        cut = b'--b\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\ncontent that ends'
        answer = await client.post("/api/upload/@personal/x.txt", content=cut, headers=broken)
        assert (answer.status_code, answer.json()["detail"]) == (400, "the upload was broken off")
        foreign = await upload(client, "foo/x.txt", b"x")
        expected = "Only @personal or @shared or @public roots can be modified"
        assert (foreign.status_code, foreign.json()["detail"]) == (400, expected)
        assert (await client.get("/api/list/@personal")).json() == []
    async with site.client() as nobody:
        assert (await upload(nobody, "@public/x.txt", b"x")).status_code == 401


async def test_u3_bytes_that_are_not_what_the_name_says_are_refused(site: Site) -> None:
    good = frame(np.arange(1000), chunks=(100,))
    damaged = bytearray(good)
    damaged[len(good) // 2] ^= 0xFF
    samples = {
        "junk.b2nd": b"junk" * 100,
        "junk.b2frame": b"",
        "junk.b2": b"PK\x03\x04" + b"x" * 100,
        "cut.b2nd": good[:-40],
        "fake.h5": b"not an HDF5 file",
        "record.b2nd": b'{"caterva2_record":"expression","version":1,"expression":"a","operands":{"a":"@personal/x"}}',
    }
    async with await site.as_user(USER) as client:
        for name, content in samples.items():
            answer = await upload(client, f"@personal/{name}", content)
            assert answer.status_code == 422, (name, answer.text)
            assert len(answer.json()["detail"]) > 10
        assert (await client.get("/api/list/@personal")).json() == []
    assert list((statedir(site) / "staging").glob("*/*")) == []


async def test_special_roots_belong_to_whom_they_should(site: Site) -> None:
    await site.add("other@example.com")
    async with await site.as_user(USER) as client, await site.as_user("other@example.com") as other:
        for root in ("@personal", "@shared", "@public"):
            assert (await upload(client, f"{root}/x.txt", b"mine")).status_code == 200
        assert (await other.get("/api/list/@personal")).json() == []
        assert (await other.get("/api/info/@personal/x.txt")).status_code == 404
        assert (await other.get("/api/download/@shared/x.txt")).content == b"mine"
    async with site.client() as nobody:
        assert (await nobody.get("/api/download/@public/x.txt")).content == b"mine"
        hidden = await nobody.get("/api/list/@personal")
        assert (hidden.status_code, hidden.json()["detail"]) == (404, "@personal needs authentication")
        for root in ("@personal", "@shared"):
            answer = await nobody.get(f"/api/info/{root}/x.txt")
            assert (answer.status_code, answer.json()["detail"]) == (404, "Not Found")


async def test_files_dropped_by_hand_are_served_at_once_and_never_changed(site: Site) -> None:
    public = statedir(site) / "public"
    (public / "sub").mkdir(parents=True)
    (public / "sub" / "plain.txt").write_bytes(b"dropped")
    (public / "array.b2nd").write_bytes(frame(np.arange(10)))
    (public / "broken.b2nd").write_bytes(b"\x9e\xa8b2frame\0 and then nothing")
    (public / "data.hdf5").write_bytes(b"")
    (public / "outside").symlink_to("/etc")
    (public / "passwd").symlink_to("/etc/passwd")
    async with site.client() as client:
        listed = (await client.get("/api/list/@public")).json()
        assert listed == ["array.b2nd", "broken.b2nd", "data.hdf5", "sub/plain.txt"]
        assert (await client.get("/api/download/@public/sub/plain.txt")).content == b"dropped"
        broken = await client.get("/api/info/@public/broken.b2nd")
        assert (broken.status_code, broken.json()["error"]) == (200, "Unrecognized format")
        assert (await client.get("/api/fetch/@public/broken.b2nd")).status_code == 400
        for name in ("passwd", "outside/passwd", "sub"):
            assert (await client.get(f"/api/info/@public/{name}")).status_code == 404
        assert (await client.get("/api/info/@public/data.hdf5")).status_code == 200
    assert sorted(path.name for path in public.iterdir()) == [
        "array.b2nd",
        "broken.b2nd",
        "data.hdf5",
        "outside",
        "passwd",
        "sub",
    ]


async def test_an_upload_replaces_a_dropped_file_of_the_same_name(site: Site) -> None:
    public = statedir(site) / "public"
    public.mkdir()
    (public / "notes.txt").write_bytes(b"dropped")
    async with await site.as_user(USER) as client:
        assert (await upload(client, "@public/notes.txt", b"uploaded")).status_code == 200
        assert (await client.get("/api/download/@public/notes.txt")).content == b"uploaded"
        assert (await client.get("/api/list/@public")).json() == ["notes.txt"]


async def test_move_and_copy_follow_the_rule_of_destinations(site: Site) -> None:
    content = frame(np.arange(10))
    async with await site.as_user(USER) as client:

        async def call(action: str, src: str, dst: str) -> Any:
            answer = await client.post(f"/api/{action}/", json={"src": src, "dst": dst})
            return answer.json() if answer.status_code == 200 else (answer.status_code, answer.json()["detail"])

        await upload(client, "@personal/a/ds.b2nd", content)
        await upload(client, "@personal/a/notes.txt", b"text")
        assert await call("copy", "@personal/a/ds.b2nd", "@shared") == "@shared/ds.b2nd"
        assert await call("copy", "@personal/a/ds.b2nd", "@shared/newdir") == "@shared/newdir/ds.b2nd"
        assert await call("copy", "@personal/a/ds.b2nd", "@shared/other.b2nd") == "@shared/other.b2nd"
        assert await call("copy", "@personal/a", "@public") == "@public/a"
        assert await call("move", "@personal/a/notes.txt", "@personal/b") == "@personal/b/notes.txt"
        assert await call("move", "@personal/b/notes.txt", "@personal/text.md") == "@personal/text.md"
        assert await call("move", "@public/a", "@public/z") == "@public/z/a"
        assert (await client.get("/api/list/@personal")).json() == ["a/ds.b2nd", "text.md"]
        assert (await client.get("/api/list/@public")).json() == ["z/a/ds.b2nd", "z/a/notes.txt"]
        assert (await client.get("/api/list/@shared")).json() == ["ds.b2nd", "newdir/ds.b2nd", "other.b2nd"]
        assert (await client.get("/api/fetch/@shared/newdir/ds.b2nd")).content == content
        assert (await client.get("/api/download/@personal/text.md")).content == b"text"

        only = "Only {} @personal or @shared or @public roots is allowed"
        assert await call("move", "foo/x", "@personal") == (400, only.format("moving from"))
        assert await call("move", "@personal/text.md", "foo") == (400, only.format("moving to"))
        assert await call("copy", "@personal/text.md", "foo") == (400, only.format("copying to"))
        assert await call("copy", "nope/x", "@personal") == (400, "Only copying from existing roots is allowed")
        assert await call("move", "@personal/gone", "@shared") == (404, "The specified path does not exist")
        assert await call("copy", "@personal/gone", "@shared") == (404, "The specified path does not exist")
        assert (await call("move", "@public/z", "@public/z/a"))[0] == 400
        assert (await call("move", "@personal/text.md", "@personal/x.b2nd"))[0] == 400
        assert (await client.get("/api/download/@personal/text.md")).content == b"text"


async def test_removing_files_directories_and_what_is_not_there(site: Site) -> None:
    async with await site.as_user(USER) as client:
        for name in ("a/one.txt", "a/b/two.txt", "three.txt"):
            await upload(client, f"@personal/{name}", b"x")
        assert (await client.post("/api/remove/@personal/a")).json() == "@personal/a"
        assert (await client.get("/api/list/@personal")).json() == ["three.txt"]
        again = await client.post("/api/remove/@personal/a")
        assert (again.status_code, again.json()["detail"]) == (404, "The specified path does not exist")
        assert (await client.post("/api/remove/@personal")).status_code == 400
        assert (await client.post("/api/remove/foo/x")).status_code == 400


async def test_notebooks(site: Site) -> None:
    async with await site.as_user(USER) as client:
        assert (await client.post("/api/addnotebook/@personal/n.ipynb")).json() == "@personal/n.ipynb"
        notebook = json.loads((await client.get("/api/download/@personal/n.ipynb")).content)
        assert (notebook["nbformat"], notebook["cells"]) == (4, [])
        again = await client.post("/api/addnotebook/@personal/n.ipynb")
        assert (again.status_code, again.json()["detail"]) == (400, "File exists at the given path")
        wrong = await client.post("/api/addnotebook/@personal/n.txt")
        assert wrong.json()["detail"] == "Notebooks must end with the .ipynb extension"


@pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
async def test_quotas_of_the_site_and_of_users(start: Start, engine: str, request: pytest.FixtureRequest) -> None:
    database = {"database": {"url": request.getfixturevalue("postgres_url")}} if engine == "postgresql" else {}
    site = await start(quota="100K", **database)
    await site.add(USER)
    await site.add("root@example.com", superuser=True)
    async with await site.as_user(USER) as client, await site.as_user("root@example.com") as root:
        limited = await root.patch(f"/api/users/{USER}", json={"quota": 40_000})
        assert limited.status_code == 200
        assert (await upload(client, "@personal/a.bin", os.urandom(30_000))).status_code == 200
        too_much = await upload(client, "@personal/b.bin", os.urandom(30_000))
        message = "Upload failed because quota limit has been exceeded."
        assert (too_much.status_code, too_much.json()["detail"]) == (400, message)
        assert (await upload(client, "@shared/b.bin", os.urandom(60_000))).status_code == 200
        assert (await upload(client, "@shared/c.bin", os.urandom(60_000))).status_code == 400
        copied = await client.post("/api/copy/", json={"src": "@shared/b.bin", "dst": "@public"})
        assert copied.status_code == 400
        assert (await upload(client, "@personal/a.bin", b"small now")).status_code == 200
        assert (await upload(client, "@personal/b.bin", os.urandom(30_000))).status_code == 200
        await client.post("/api/remove/@shared/b.bin")
        used = (await client.get("/api/usage")).json()
        on_disk = sum(path.stat().st_size for path in (statedir(site) / "personal").rglob("*") if path.is_file())
        assert used["user"] == {"used": on_disk, "limit": 40_000}
        assert used["site"] == {"used": on_disk, "limit": 102_400}


async def test_files_that_are_there_at_the_start_count(start: Start, tmp_path: Path) -> None:
    public = tmp_path / "sub" / "public"
    public.mkdir(parents=True)
    (public / "x.bin").write_bytes(bytes(50_000))
    site = await start(quota=60_000)
    await site.add(USER)
    async with await site.as_user(USER) as client:
        for _ in range(100):
            if (await client.get("/api/usage")).json()["site"]["used"]:
                break
            await asyncio.sleep(0.02)
        assert (await upload(client, "@shared/y.bin", os.urandom(20_000))).status_code == 400


async def test_names_that_differ_in_case_alone_are_refused(site: Site) -> None:
    async with await site.as_user(USER) as client:
        assert (await upload(client, "@shared/Data/x.txt", b"x")).status_code == 200
        assert (await upload(client, "@shared/data/y.txt", b"x")).status_code == 400
        assert (await upload(client, "@shared/Data/X.TXT", b"x")).status_code == 400
        assert (await upload(client, "@shared/Data/x.txt/z.txt", b"x")).status_code == 400


async def test_members_of_an_hdf5_file_are_read_without_an_unfold(site: Site, tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("group/data", data=np.arange(24).reshape(4, 6), chunks=(2, 3))
    async with await site.as_user(USER) as client:
        assert (await upload(client, "@personal/x.h5", path.read_bytes())).status_code == 200
        assert (await client.get("/api/info/@personal/x.h5")).json()["size"] == path.stat().st_size
        assert (await client.get("/api/download/@personal/x.h5")).content == path.read_bytes()
        for name in ("group/data", "group/data.b2nd"):
            assert (await client.get(f"/api/info/@personal/x.h5/{name}")).json()["shape"] == [4, 6]
            part = await client.get(f"/api/fetch/@personal/x.h5/{name}", params={"slice_": "1:3"})
            np.testing.assert_array_equal(blosc2.ndarray_from_cframe(part.content)[:], np.arange(24).reshape(4, 6)[1:3])
        group = (await client.get("/api/info/@personal/x.h5/group")).json()
        assert (group["kind"], group["nfiles"], group["size"]) == ("group", 1, path.stat().st_size)
        assert (await client.get("/api/list/@personal/x.h5/group")).json() == ["data.b2nd"]
        assert (await client.get("/api/info/@personal/x.h5/nothing")).status_code == 404
        assert (await client.get("/api/list/@personal/x.h5/nothing")).json() == []
        assert (await client.get("/api/fetch/@personal/x.h5/group")).status_code == 404


async def test_f7_readers_see_one_version_while_a_file_is_replaced(site: Site) -> None:
    """Every answer is one of the versions, whole, however often the file is replaced."""
    versions = {frame(np.full(50_000, n), chunks=(5_000,)) for n in range(6)}
    async with await site.as_user(USER) as client:
        await upload(client, "@public/ds.b2nd", next(iter(versions)))

        async def write() -> None:
            for content in list(versions) * 3:
                assert (await upload(client, "@public/ds.b2nd", content)).status_code == 200

        async def read() -> list[bytes]:
            found = []
            for _ in range(30):
                answer = await client.get("/api/fetch/@public/ds.b2nd")
                if answer.status_code == 200:
                    found.append(answer.content)
                else:
                    assert answer.status_code == 412
            return found

        outcomes = await asyncio.gather(write(), read(), read(), return_exceptions=True)
        assert outcomes[0] is None
        answers = [answer for outcome in outcomes[1:] if isinstance(outcome, list) for answer in outcome]
        assert answers
        assert set(answers) <= versions

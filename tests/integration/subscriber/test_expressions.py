"""Expressions, joined and grown arrays, and unfolded files, over HTTP."""

from __future__ import annotations

import asyncio
import io
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import blosc2
import h5py
import httpx
import numpy as np
import pytest

from .conftest import Site
from .test_spaces import USER, frame, upload

A = np.arange(24, dtype=np.int64).reshape(4, 6)
B = np.linspace(-1, 1, 6)


@pytest.fixture
async def client(site: Site) -> AsyncIterator[httpx.AsyncClient]:
    async with await site.as_user(USER) as client:
        await upload(client, "@personal/a.b2nd", frame(A, chunks=(2, 3), blocks=(1, 2)))
        await upload(client, "@shared/b.b2nd", frame(B, chunks=(4,)))
        yield client


async def lazy(client: httpx.AsyncClient, expression: str, name: str = "x", **more: Any) -> httpx.Response:
    operands = {"a": "@personal/a.b2nd", "b": "@shared/b.b2nd"}
    body = {"name": name, "expression": expression, "operands": operands, "compute": False, **more}
    return await client.post("/api/lazyexpr/", json=body)


async def value(client: httpx.AsyncClient, path: str, **params: str) -> Any:
    answer = await client.get(f"/api/fetch/{path}", params=params)
    assert answer.status_code == 200, answer.text
    return blosc2.ndarray_from_cframe(answer.content)[...]


async def test_an_expression_is_listed_described_sliced_and_evaluated(client: httpx.AsyncClient) -> None:
    assert (await lazy(client, "sqrt(a) + 2 * b")).json() == "@personal/x.b2nd"
    assert (await client.get("/api/list/@personal")).json() == ["a.b2nd", "x.b2nd"]
    info = (await client.get("/api/info/@personal/x.b2nd")).json()
    assert {key: info[key] for key in ("shape", "dtype", "expression", "operands")} == {
        "shape": [4, 6],
        "dtype": "float64",
        "expression": "sqrt(a) + 2 * b",
        "operands": {"a": "@personal/a.b2nd", "b": "@shared/b.b2nd"},
    }
    assert not {"chunks", "blocks", "schunk"} & info.keys()
    expected = np.sqrt(A) + 2 * B
    np.testing.assert_array_equal(await value(client, "@personal/x.b2nd"), expected)
    np.testing.assert_array_equal(await value(client, "@personal/x.b2nd", slice_="1:3, ::-2"), expected[1:3, ::-2])
    assert await value(client, "@personal/x.b2nd", slice_="3,5") == expected[3, 5]
    chunk = await client.get("/api/chunk/@personal/x.b2nd", params={"nchunk": 1})
    np.testing.assert_array_equal(np.frombuffer(blosc2.decompress2(chunk.content)).size, 8)


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("a", A),
        ("a[1:3]", A[1:3]),
        ("a[1, ::2] + b[:3]", A[1, ::2] + B[:3]),
        ("sum(a)", A.sum()),
        ("sum(a, axis=0) / 2", A.sum(axis=0) / 2),
        ("(a - mean(a)) ** 2", (A - A.mean()) ** 2),
        ("a.max(axis=1, keepdims=True) - a", A.max(axis=1, keepdims=True) - A),
        ("where((a > 3) & (b < 0.5), a, -1)", np.where((A > 3) & (B < 0.5), A, -1)),
        ("~(a == 3)", ~(A == 3)),
        ("linspace(0, 10, num=50)", np.linspace(0, 10, num=50)),
        ("arange(10)", np.arange(10)),
        ("arange(6, shape=(2, 3)) * 2", np.arange(6).reshape(2, 3) * 2),
        ("1 + 2 * 3", np.asarray(7)),
        ("zeros((2, 3), dtype='float32') + 1", np.ones((2, 3), np.float32)),
    ],
)
async def test_expressions_mean_what_they_mean_to_numpy(
    client: httpx.AsyncClient, expression: str, expected: Any
) -> None:
    assert (await lazy(client, expression)).status_code == 200
    found = await value(client, "@personal/x.b2nd")
    assert (found.dtype, found.shape) == (np.asarray(expected).dtype, np.asarray(expected).shape)
    np.testing.assert_allclose(found, expected, rtol=1e-14)


async def test_computed_expressions_are_ordinary_arrays(client: httpx.AsyncClient) -> None:
    assert (await lazy(client, "a * 2", name="dir/y", compute=True)).json() == "@personal/dir/y.b2nd"
    info = (await client.get("/api/info/@personal/dir/y.b2nd")).json()
    assert (info["shape"], info["chunks"]) == ([4, 6], [2, 3])
    await client.post("/api/remove/@personal/a.b2nd")
    np.testing.assert_array_equal(await value(client, "@personal/dir/y.b2nd"), A * 2)


async def test_expressions_of_expressions_and_of_changed_operands(client: httpx.AsyncClient) -> None:
    await lazy(client, "a + 1", name="one")
    operands = {"one": "@personal/one.b2nd"}
    assert (await lazy(client, "one * 10", name="two", operands=operands)).status_code == 200
    np.testing.assert_array_equal(await value(client, "@personal/two.b2nd"), (A + 1) * 10)
    before = (await client.get("/api/info/@personal/two.b2nd")).json()["version"]
    await upload(client, "@personal/a.b2nd", frame(A * 100))
    np.testing.assert_array_equal(await value(client, "@personal/two.b2nd"), (A * 100 + 1) * 10)
    assert (await client.get("/api/info/@personal/two.b2nd")).json()["version"] != before


async def test_missing_operands_are_named(client: httpx.AsyncClient) -> None:
    await lazy(client, "a + b")
    await client.post("/api/remove/@shared/b.b2nd")
    info = (await client.get("/api/info/@personal/x.b2nd")).json()
    assert info == {
        "mtime": None,
        "error": "Lazy expression with missing operands",
        "expr": "a + b",
        "missing_ops": {"b": "@shared/b.b2nd"},
    }
    assert (await client.get("/api/fetch/@personal/x.b2nd")).status_code == 400


async def test_wrong_expressions_are_refused_with_the_sentences_of_the_original(client: httpx.AsyncClient) -> None:
    cases = {
        "": "Invalid name or expression: the expression is empty",
        "a +": "Invalid name or expression: the syntax is wrong",
        "a + c": "Expression error: c is not in the list of available datasets",
        "a.T": "Invalid name or expression: an attribute cannot be used in an expression",
        "a + b[:5]": "Invalid name or expression: shapes (4, 6) and (5,) do not fit together",
        "__import__('os').system('true')": "Invalid name or expression: ",
        "a @ b": "Invalid name or expression: ",
        "9 ** 9 ** 9": "Invalid name or expression: the base of a power must be a dataset, not a number",
        "sum(a, axis=7)": "Invalid name or expression: sum: there is no axis 7 in 2 dimensions",
    }
    for expression, expected in cases.items():
        answer = await lazy(client, expression)
        assert answer.status_code == 400, expression
        assert answer.json()["detail"].startswith(expected), (expression, answer.text)
    assert (await lazy(client, "a", name="")).status_code == 400
    assert (await lazy(client, "a", name="../escape")).status_code == 400
    gone = await lazy(client, "a + 1", operands={"a": "@personal/gone.b2nd"})
    assert (gone.status_code, gone.json()["detail"][:18]) == (400, "Expression error: ")
    source = {"name": "x", "expression": None, "func": "def f(): pass", "operands": {}, "dtype": None, "shape": None}
    assert (await client.post("/api/upload_lazyarr/@personal/x.b2nd", json=source)).status_code == 400


async def test_later_clients_upload_expressions_to_a_path(client: httpx.AsyncClient) -> None:
    body = {
        "name": None,
        "expression": "(o0 + 1)",
        "func": None,
        "operands": {"o0": "@personal/a.b2nd"},
        "dtype": None,
        "shape": None,
        "compute": False,
    }
    answer = await client.post("/api/upload_lazyarr/@shared/dir/z.b2nd", json=body)
    assert answer.json() == "@shared/dir/z.b2nd"
    np.testing.assert_array_equal(await value(client, "@shared/dir/z.b2nd"), A + 1)


async def test_s5_an_expression_reads_with_the_rights_of_its_reader(site: Site, client: httpx.AsyncClient) -> None:
    await site.add("other@example.com")
    await lazy(client, "a + 1")
    await client.post("/api/move/", json={"src": "@personal/x.b2nd", "dst": "@public"})
    np.testing.assert_array_equal(await value(client, "@public/x.b2nd"), A + 1)
    async with await site.as_user("other@example.com") as other, site.client() as nobody:
        for reader in (other, nobody):
            assert (await reader.get("/api/info/@public/x.b2nd")).json()["missing_ops"] == {"a": "@personal/a.b2nd"}
            assert (await reader.get("/api/fetch/@public/x.b2nd")).status_code == 400


async def test_u2_expressions_that_go_round_in_a_circle_end(client: httpx.AsyncClient) -> None:
    await lazy(client, "a + 1", name="one")
    await lazy(client, "one + 1", name="two", operands={"one": "@personal/one.b2nd"})
    await lazy(client, "two + 1", name="one", operands={"two": "@personal/two.b2nd"})
    info = (await client.get("/api/info/@personal/one.b2nd")).json()
    assert "circle" in info["error"] or "cannot be read" in info["error"]
    assert (await client.get("/api/fetch/@personal/one.b2nd")).status_code == 400


@pytest.mark.parametrize("axis", [0, 1, -1])
async def test_concat_and_stack(client: httpx.AsyncClient, axis: int) -> None:
    await upload(client, "@personal/c.b2nd", frame(A + 100, chunks=(3, 4)))
    srcs = ["@personal/a.b2nd", "@personal/c.b2nd"]
    joined = await client.post("/api/concat/", json={"srcs": srcs, "dst": "@shared/j.b2nd", "axis": axis})
    assert joined.json() == "@shared/j.b2nd"
    np.testing.assert_array_equal(await value(client, "@shared/j.b2nd"), np.concatenate([A, A + 100], axis))
    stacked = await client.post("/api/stack/", json={"srcs": srcs, "dst": "s", "axis": axis})
    assert stacked.json() == "@personal/s.b2nd"
    np.testing.assert_array_equal(await value(client, "@personal/s.b2nd"), np.stack([A, A + 100], axis))


async def test_concat_and_stack_refuse_what_does_not_fit(client: httpx.AsyncClient) -> None:
    async def refused(action: str, srcs: list[str], dst: str = "@personal/j.b2nd", axis: int = 0) -> tuple[int, str]:
        answer = await client.post(f"/api/{action}/", json={"srcs": srcs, "dst": dst, "axis": axis})
        return answer.status_code, answer.json()["detail"]

    a, b = "@personal/a.b2nd", "@shared/b.b2nd"
    assert await refused("concat", [a, b]) == (400, "shapes (4, 6) and (6,) cannot be concatenated along axis 0")
    assert (await refused("stack", [a, b]))[0] == 400
    assert (await refused("concat", [a, a], axis=5))[0] == 400
    assert (await refused("concat", []))[0] == 400
    assert (await refused("concat", [a, "@personal/gone.b2nd"]))[0] == 404
    only = (400, "Only stacking/concatenating from existing roots is allowed")
    assert await refused("concat", [a, "nope/x.b2nd"]) == only
    name = (400, "Stack/concat destination must be a .b2nd file")
    assert await refused("stack", [a, a], dst="@personal/j.txt") == name


async def test_append_grows_the_first_axis(client: httpx.AsyncClient) -> None:
    more = np.arange(18).reshape(3, 6)
    answer = await client.post("/api/append/@personal/a.b2nd", files={"file": ("x", frame(more))})
    assert answer.json() == [7, 6]
    np.testing.assert_array_equal(await value(client, "@personal/a.b2nd"), np.concatenate([A, more]))
    info = (await client.get("/api/info/@personal/a.b2nd")).json()
    assert (info["shape"], info["chunks"]) == ([7, 6], [2, 3])


async def test_append_keeps_attributes_and_one_after_the_other(client: httpx.AsyncClient) -> None:
    array = blosc2.asarray(np.arange(10), chunks=(4,), blocks=(2,))
    array.schunk.vlmeta["unit"] = "mm"
    await upload(client, "@personal/v.b2nd", array.to_cframe())
    one = frame(np.full(3, 7))
    answers = await asyncio.gather(
        *(client.post("/api/append/@personal/v.b2nd", files={"file": ("x", one)}) for _ in range(5))
    )
    assert sorted(answer.json()[0] for answer in answers) == [13, 16, 19, 22, 25]
    whole = await client.get("/api/fetch/@personal/v.b2nd")
    found = blosc2.ndarray_from_cframe(whole.content)
    assert found.schunk.vlmeta["unit"] == "mm"
    np.testing.assert_array_equal(found[:], np.concatenate([np.arange(10), np.full(15, 7)]))


async def test_append_refuses_what_does_not_fit(client: httpx.AsyncClient) -> None:
    async def refused(path: str, content: bytes) -> tuple[int, str]:
        answer = await client.post(f"/api/append/{path}", files={"file": ("x", content)})
        return answer.status_code, answer.json()["detail"]

    shapes = "The shapes of the original dataset and the data to append are not compatible"
    assert await refused("@personal/a.b2nd", frame(np.zeros((2, 5), np.int64))) == (400, shapes)
    assert (await refused("@personal/a.b2nd", b"junk"))[0] == 422
    assert (await refused("@personal/a.b2nd", frame(np.zeros((2, 6), complex))))[0] == 400
    missing = (400, "Target file does not exist or is not a file")
    assert await refused("@personal/gone.b2nd", frame(A)) == missing
    await upload(client, "@personal/t.txt", b"text")
    assert await refused("@personal/t.txt", frame(A)) == (400, "Target file must be a NDArray")
    await lazy(client, "a + 1")
    assert (await refused("@personal/x.b2nd", frame(A)))[0] == 400
    np.testing.assert_array_equal(await value(client, "@personal/a.b2nd"), A)


async def test_unfold_of_an_hdf5_file(client: httpx.AsyncClient, tmp_path: Path) -> None:
    path = tmp_path / "h5r.h5"
    with h5py.File(path, "w") as file:
        file.attrs["title"] = "sample"
        data = file.create_dataset("arrays/3d", data=np.arange(60).reshape(3, 4, 5), chunks=(2, 2, 5))
        data.attrs["unit"] = "mm"
        file["arrays/link"] = h5py.SoftLink("/arrays/3d")
    await upload(client, "@personal/sub/h5r.h5", path.read_bytes())
    assert (await client.post("/api/unfold/@personal/sub/h5r.h5")).json() == "h5r"
    listed = (await client.get("/api/list/@personal/sub")).json()
    assert listed == [
        "h5r.h5",
        "h5r/!_attrs_.json",
        "h5r/arrays/!_attrs_.json",
        "h5r/arrays/3d.b2nd",
        "h5r/arrays/link.b2nd",
    ]
    info = (await client.get("/api/info/@personal/sub/h5r/arrays/3d.b2nd")).json()
    assert (info["shape"], info["chunks"], info["schunk"]["cbytes"]) == ([3, 4, 5], [2, 2, 5], 0)
    assert info["schunk"]["vlmeta"] == {"_ftype": "hdf5", "_dsetname": "arrays/3d", "unit": "mm"}
    for name in ("3d", "link"):
        found = await value(client, f"@personal/sub/h5r/arrays/{name}.b2nd", slice_="1:, 0")
        np.testing.assert_array_equal(found, np.arange(60).reshape(3, 4, 5)[1:, 0])
    moved = await client.post("/api/move/", json={"src": "@personal/sub/h5r", "dst": "@personal/other"})
    assert moved.json() == "@personal/other/h5r"
    np.testing.assert_array_equal(
        await value(client, "@personal/other/h5r/arrays/3d.b2nd"), np.arange(60).reshape(3, 4, 5)
    )
    attributes = await client.get("/api/download/@personal/other/h5r/!_attrs_.json")
    assert attributes.json() == {"title": "sample"}


async def test_unfold_of_archives(client: httpx.AsyncClient) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("dir/notes.txt", b"text")
        archive.writestr("ds.b2nd", frame(B))
        archive.writestr(".hidden", b"x")
    await upload(client, "@shared/data.zip", packed.getvalue())
    assert (await client.post("/api/unfold/@shared/data.zip")).json() == "data"
    assert (await client.get("/api/list/@shared/data")).json() == ["dir/notes.txt", "ds.b2nd"]
    np.testing.assert_array_equal(await value(client, "@shared/data/ds.b2nd"), B)


async def test_unfold_of_a_store_of_blosc2_never_uses_the_logic_of_stores(
    client: httpx.AsyncClient, tmp_path: Path
) -> None:
    with blosc2.TreeStore(str(tmp_path / "store.b2z"), mode="w") as store:
        store["/group/a"] = A
        store["/b"] = B
    content = (tmp_path / "store.b2z").read_bytes()
    await upload(client, "@personal/store.b2z", content)
    assert (await client.get("/api/download/@personal/store.b2z")).content == content
    assert (await client.post("/api/unfold/@personal/store.b2z")).json() == "store"
    assert {"b.b2nd", "group/a.b2nd"} <= set((await client.get("/api/list/@personal/store")).json())
    np.testing.assert_array_equal(await value(client, "@personal/store/group/a.b2nd"), A)
    np.testing.assert_array_equal(await value(client, "@personal/store/b.b2nd"), B)
    table = io.BytesIO()
    with zipfile.ZipFile(table, "w") as archive:
        archive.writestr("_meta.b2f", b"a table whose columns are computed by Python")
        archive.writestr("column.b2nd", frame(B))
    await upload(client, "@personal/table.b2z", table.getvalue())
    assert (await client.post("/api/unfold/@personal/table.b2z")).json() == "table"
    assert (await client.get("/api/list/@personal/table")).json() == ["_meta.b2f", "column.b2nd"]
    assert (await client.get("/api/download/@personal/table/_meta.b2f")).content.startswith(b"a table")


async def test_unfold_refuses_and_leaves_nothing_behind(client: httpx.AsyncClient, tmp_path: Path) -> None:
    async def refused(path: str) -> tuple[int, str]:
        answer = await client.post(f"/api/unfold/{path}")
        return answer.status_code, answer.json()["detail"]

    assert await refused("@personal/gone.h5") == (400, "Target file does not exist or is not a file")
    assert await refused("@personal/a.b2nd") == (400, "Target file must be a zip, tar or hdf5 container")
    with h5py.File(tmp_path / "e.h5", "w") as file:
        file.create_group("empty")
    await upload(client, "@personal/e.h5", (tmp_path / "e.h5").read_bytes())
    assert await refused("@personal/e.h5") == (400, "No arrays found in HDF5 file")
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("good.txt", b"text")
        archive.writestr("bad.b2nd", b"junk")
    await upload(client, "@personal/z.zip", packed.getvalue())
    assert (await refused("@personal/z.zip"))[0] == 422
    assert (await client.get("/api/list/@personal")).json() == ["a.b2nd", "e.h5", "z.zip"]


ROWS = np.zeros(1000, dtype=[("a", "<i4"), ("b", "<f8"), ("c", "S10"), ("d", "?")])
ROWS["a"], ROWS["b"] = np.arange(1000), np.linspace(0, 1, 1000)
ROWS["c"], ROWS["d"] = np.arange(1000).astype("S10"), np.arange(1000) % 3 == 0


@pytest.mark.parametrize(
    ("condition", "mask"),
    [
        ("a < 5", ROWS["a"] < 5),
        ("(a > 10) & (b < 0.5) & ~d", (ROWS["a"] > 10) & (ROWS["b"] < 0.5) & ~ROWS["d"]),
        ("d", ROWS["d"]),
        ("sqrt(b) > 0.9", np.sqrt(ROWS["b"]) > 0.9),
        ("c == b'77'", ROWS["c"] == b"77"),
        ("startswith(c, b'99')", np.strings.startswith(ROWS["c"], b"99")),
        ("a < 0", ROWS["a"] < 0),
    ],
)
async def test_filters_select_rows(client: httpx.AsyncClient, condition: str, mask: Any) -> None:
    await upload(client, "@public/rows.b2nd", frame(ROWS, chunks=(70,), blocks=(10,)))
    expected = ROWS[mask]
    np.testing.assert_array_equal(await value(client, "@public/rows.b2nd", filter=condition), expected)
    sliced = await value(client, "@public/rows.b2nd", filter=condition, slice_="1:3")
    np.testing.assert_array_equal(sliced, expected[1:3])
    field = await value(client, "@public/rows.b2nd", filter=condition, field="a")
    np.testing.assert_array_equal(field, expected["a"])


async def test_wrong_filters_are_refused_with_a_sentence(client: httpx.AsyncClient) -> None:
    await upload(client, "@public/rows.b2nd", frame(ROWS, chunks=(70,)))
    for condition in ("a", "x > 1", "a <", "__import__('os')", "a + 1", "sum(a) > 3", "a > 'x'"):
        answer = await client.get("/api/fetch/@public/rows.b2nd", params={"filter": condition})
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_field"), condition
    plain = await client.get("/api/fetch/@personal/a.b2nd", params={"filter": "a > 1"})
    assert plain.status_code == 400

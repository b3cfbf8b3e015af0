"""The asynchronous client offers what the blocking one does."""

import inspect

import httpx
import numpy as np
import pytest

import caterva2
from caterva2 import errors

from .subscriber import Subscriber

GRID = np.arange(200).reshape(10, 20)


@pytest.fixture
async def client():
    subscriber = Subscriber({"foo/ds.b2nd": GRID, "foo/README.md": b"# Hello"})
    async with caterva2.AsyncClient("http://sub.example", transport=httpx.MockTransport(subscriber)) as client:
        yield client


def public(kind: type) -> dict[str, inspect.Signature]:
    functions = inspect.getmembers(kind, inspect.isfunction)
    return {
        name: inspect.Signature(inspect.signature(function).parameters.values())
        for name, function in functions
        if not name.startswith("_")
    }


def test_the_methods_are_the_same():
    asynchronous = public(caterva2.AsyncClient)
    del asynchronous["login"]
    assert {name: str(signature) for name, signature in asynchronous.items()} == {
        name: str(signature) for name, signature in public(caterva2.Client).items()
    }


@pytest.mark.parametrize(("name", "extra"), [("File", {"load"}), ("Dataset", {"load"})])
def test_the_methods_of_what_is_read_are_the_same(name, extra):
    import blosc2

    blocking, asynchronous = getattr(caterva2, name), getattr(caterva2, f"Async{name}")
    assert set(public(asynchronous)) - extra == set(public(blocking)) - set(public(blosc2.Operand))


async def test_reading(client):
    assert list(await client.get_roots()) == ["foo", "bar"]
    root = await client.get("foo")
    assert await root.file_list() == ["README.md", "ds.b2nd"]
    ds = await root.get("ds.b2nd")
    assert (ds.shape, str(ds), ds.dtype) == ((10, 20), "foo/ds.b2nd", "int64")
    np.testing.assert_array_equal(await ds[2:4, ::-3], GRID[2:4, ::-3])
    np.testing.assert_array_equal(await ds[[1, 9, 1], 3], GRID[[1, 9, 1], 3])
    np.testing.assert_array_equal(await client.fetch("foo/ds.b2nd"), GRID)
    assert await (await client.get("foo/README.md"))[2:] == b"Hello"
    with pytest.raises(errors.NotFound):
        await client.get("foo/nope.b2nd")


async def test_download(client, tmp_path):
    saved = await client.download("foo/README.md", tmp_path)
    assert saved.read_bytes() == b"# Hello"

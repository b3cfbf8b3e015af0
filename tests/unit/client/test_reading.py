"""Roots, datasets and files as Python objects."""

import pickle
from pathlib import PurePosixPath

import blosc2
import httpx
import numpy as np
import pytest

import caterva2
from caterva2 import errors

from .subscriber import Subscriber

GRID = np.arange(200).reshape(10, 20)
TABLE = np.array([(1, 2.5, b"x"), (2, 3.5, b"yy"), (1, 4.5, b"z")], dtype="i4,f8,S4")
TABLE.dtype.names = ("a", "b", "c")


@pytest.fixture
def subscriber():
    return Subscriber(
        {
            "foo/README.md": b"# Hello",
            "foo/dir1/ds-2d.b2nd": GRID,
            "foo/ds-hello.b2frame": b"Hello world!" * 100,
            "foo/scalar.b2nd": np.array(3.5),
            "foo/table.b2nd": TABLE,
        }
    )


@pytest.fixture
def client(subscriber):
    with caterva2.Client("http://sub.example/", transport=httpx.MockTransport(subscriber)) as client:
        yield client


def test_a_root_is_a_collection_of_paths(client):
    root = client.get("foo")
    assert isinstance(root, caterva2.Root)
    assert str(root) == "foo"
    assert repr(root) == "<Root: foo>"
    assert "README.md" in root
    assert "nope" not in root
    assert len(root) == 5
    assert list(root) == root.file_list
    assert client.get("foo/").name == "foo"


def test_a_root_is_followed_once(client, subscriber):
    client.get("foo/README.md")
    client.get("foo/README.md")
    assert [request.url.path for request in subscriber.requests].count("/api/subscribe/foo") == 1


def test_the_kind_follows_from_the_name(client):
    assert type(client.get("foo/README.md")) is caterva2.File
    assert type(client.get("foo/ds-hello.b2frame")) is caterva2.Dataset
    assert type(client.get("foo")["dir1/ds-2d.b2nd"]) is caterva2.Dataset


@pytest.mark.parametrize("path", ["nope", "foo/nope", "foo/nope.b2nd"])
def test_what_is_not_there_cannot_be_got(client, path):
    with pytest.raises(errors.NotFound) as caught:
        client.get(path)
    assert isinstance(caught.value, httpx.HTTPStatusError)


@pytest.mark.parametrize("path", ["/foo", "", "."])
def test_a_path_names_something_below_a_root(client, path):
    with pytest.raises(ValueError, match="path"):
        client.get(path)


def test_facts_of_a_dataset(client):
    ds = client.get(PurePosixPath("foo/dir1/ds-2d.b2nd"))
    assert ds.name == "dir1/ds-2d.b2nd"
    assert str(ds) == "foo/dir1/ds-2d.b2nd"
    assert repr(ds) == "<Dataset: foo/dir1/ds-2d.b2nd>"
    assert (ds.shape, ds.ndim, ds.size, ds.nbytes, len(ds)) == ((10, 20), 2, 200, GRID.nbytes, 10)
    assert ds.chunks == blosc2.asarray(GRID).chunks
    assert ds.vlmeta == {"a": 1}
    assert ds.vlmeta is ds.meta["schunk"]["vlmeta"]
    assert ds.get_download_url() == "http://sub.example/api/fetch/foo/dir1/ds-2d.b2nd"


def test_a_fact_that_is_absent_is_an_attribute_error(client):
    frame = client.get("foo/ds-hello.b2frame")
    with pytest.raises(AttributeError, match="'Dataset' object has no attribute 'chunks'"):
        _ = frame.chunks
    assert not hasattr(frame, "shape")


def test_a_dtype_is_text_and_dtype_at_once(client):
    ds, table = client.get("foo/dir1/ds-2d.b2nd"), client.get("foo/table.b2nd")
    assert ds.dtype == "int64"
    assert ds.dtype == np.int64
    assert ds.dtype != np.float32
    assert isinstance(ds.dtype, str)
    assert ds.dtype.itemsize == 8
    assert np.zeros(2, ds.dtype).dtype == np.int64
    assert table.dtype == TABLE.dtype
    assert table.dtype == str(TABLE.dtype)
    assert np.dtype(table.dtype) == TABLE.dtype
    assert {str(TABLE.dtype): 1}[table.dtype] == 1
    assert pickle.loads(pickle.dumps([ds.dtype, table.dtype])) == [np.dtype("int64"), TABLE.dtype]
    assert table.dtype.names == ("a", "b", "c")


def test_a_path_object_equals_its_path(client):
    ds, file = client.get("foo/dir1/ds-2d.b2nd"), client.get("foo/README.md")
    for found, text in ((ds, "foo/dir1/ds-2d.b2nd"), (file, "foo/README.md")):
        assert found == text
        assert text == found
        assert found == PurePosixPath(text)
        assert PurePosixPath(text) == found
        assert PurePosixPath(found) == PurePosixPath(text)
        assert found != "foo/other"
        assert {found: 1}[PurePosixPath(text)] == 1
    assert ds in [file, ds]
    assert ds != file


@pytest.mark.parametrize("key", [5, -1, np.int64(3), slice(2, 4), slice(0, 0), slice(None, None, -3), None])
def test_indexing_is_that_of_numpy(client, key):
    ds = client.get("foo/dir1/ds-2d.b2nd")
    np.testing.assert_array_equal(ds[key], GRID[key])
    np.testing.assert_array_equal(ds[..., key], GRID[..., key])
    np.testing.assert_array_equal(ds[key, 0:0], GRID[key, 0:0])


@pytest.mark.parametrize("key", [(), ..., (slice(None), slice(None))])
def test_everything_can_be_written_in_many_ways(client, key):
    np.testing.assert_array_equal(client.get("foo/dir1/ds-2d.b2nd")[key], GRID)


def test_a_scalar_is_read_as_an_array_without_axes(client):
    scalar = client.get("foo/scalar.b2nd")
    assert scalar[()].shape == ()
    assert scalar[()] == 3.5
    with pytest.raises(TypeError, match="without axes"):
        len(scalar)


def test_bytes_are_read_as_bytes(client):
    frame = client.get("foo/ds-hello.b2frame")
    assert frame[:12] == b"Hello world!"
    assert frame[3] == b"l"
    assert frame[0:0] == b""
    assert len(frame) == 1200
    assert client.get("foo/README.md")[:] == b"# Hello"
    assert client.fetch("foo/README.md") == b"# Hello"


def test_containers_can_be_asked_for(client):
    assert isinstance(client.get_slice("foo/dir1/ds-2d.b2nd", slice(2)), blosc2.NDArray)
    assert isinstance(client.get_slice("foo/README.md"), blosc2.SChunk)
    assert isinstance(client.get("foo/dir1/ds-2d.b2nd").slice(3), blosc2.NDArray)


def test_fields_and_filters(client):
    table = client.get("foo/table.b2nd")
    np.testing.assert_array_equal(table["b"][:], TABLE["b"])
    np.testing.assert_array_equal(table["a < 2"][:], TABLE[[0, 2]])
    with pytest.raises(ValueError, match="structured"):
        client.get("foo/dir1/ds-2d.b2nd")["a"]


def test_a_dataset_becomes_an_array(client, subscriber):
    ds = client.get("foo/dir1/ds-2d.b2nd")
    np.testing.assert_array_equal(np.asarray(ds), GRID)
    assert np.asarray(ds, dtype="f4").dtype == np.float32
    fetches = [request for request in subscriber.requests if "/fetch/" in request.url.path]
    assert len(fetches) == 2
    assert bytes(np.asarray(client.get("foo/ds-hello.b2frame"))[:5]) == b"Hello"
    np.testing.assert_array_equal(list(ds), list(GRID))


def test_a_dataset_is_an_operand_of_lazy_expressions(client):
    ds = client.get("foo/dir1/ds-2d.b2nd")
    np.testing.assert_array_equal((ds + 1)[:], GRID + 1)
    np.testing.assert_array_equal((ds < 50)[:], GRID < 50)
    np.testing.assert_array_equal((ds == 7)[:], GRID == 7)


def test_freshness_is_that_of_the_last_answer(client):
    ds = client.get("foo/dir1/ds-2d.b2nd")
    assert (ds.version, ds.age, ds.stale, ds.source) == ("v1", 2.5, False, "cache")
    _ = ds[0]
    assert (ds.age, ds.stale, ds.source) == (7, True, "mixed")


def test_files_are_downloaded_unpacked_and_datasets_as_frames(client, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    saved = client.download("foo/README.md")
    assert (saved.as_posix(), saved.read_bytes()) == ("foo/README.md", b"# Hello")
    into = client.get("foo/dir1/ds-2d.b2nd").download(tmp_path)
    assert into == tmp_path / "ds-2d.b2nd"
    np.testing.assert_array_equal(blosc2.open(str(into), mode="r")[:], GRID)
    named = client.download("foo/README.md", tmp_path / "sub" / "x.md")
    assert named.read_bytes() == b"# Hello"
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == ["README.md", "ds-2d.b2nd", "x.md"]


def test_notebooks_show_facts_and_nothing_executes(client, subscriber):
    subscriber.contents["foo/<script>.b2nd"] = GRID
    shown = client.get("foo/<script>.b2nd")._repr_html_()
    assert "<script>" not in shown
    assert "<tr><th>shape</th><td>[10, 20]</td></tr>" in shown
    assert "1,600 bytes" in shown
    assert "foo</b>, 6 datasets and files" in client.get("foo")._repr_html_()

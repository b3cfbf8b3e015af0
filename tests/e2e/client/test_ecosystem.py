"""Remote datasets in the tools of the field: dask, xarray, fsspec, blosc2."""

from __future__ import annotations

import pickle

import blosc2
import dask
import dask.array
import fsspec
import numpy as np
import pytest
import xarray as xr

import caterva2
from caterva2._locator import split_locator
from tests.support.samples import sample_arrays
from tests.support.site import PASSWORD, USER, Site

ARRAYS = sample_arrays()
PLANE, CUBE, TABLE = ARRAYS["plane.b2nd"], ARRAYS["cube.b2nd"], ARRAYS["table.b2nd"]


@pytest.fixture(scope="module")
def client(sample_site: Site):
    with sample_site.client() as client:
        yield client


@pytest.fixture(scope="module")
def locator(sample_site: Site) -> str:
    return sample_site.subscriber.url.replace("http://", "cat2://")


def test_dask_cuts_along_the_chunks(client):
    ds = client.get("samples/cube.b2nd")
    with dask.config.set({"array.chunk-size": "100B"}):
        array = dask.array.from_array(ds)
    assert array.dtype == CUBE.dtype
    assert array.npartitions > 1
    for lengths, chunk in zip(array.chunks, ds.chunks, strict=True):
        assert all(length % chunk == 0 for length in lengths[:-1])
    with dask.config.set(scheduler="threads"):
        np.testing.assert_array_equal(array.compute(), CUBE)
        assert array[2:5].sum().compute() == CUBE[2:5].sum()
    assert dask.base.tokenize(ds) == dask.base.tokenize(client.get("samples/cube.b2nd"))
    assert dask.base.tokenize(ds) != dask.base.tokenize(client.get("samples/plane.b2nd"))


def test_dask_reads_structured_arrays(client):
    array = dask.array.from_array(client.get("samples/table.b2nd"), chunks=100)
    np.testing.assert_array_equal(array["b"].compute(scheduler="threads"), TABLE["b"])


def test_clients_and_datasets_can_be_sent_to_other_processes(client, sample_site):
    ds = pickle.loads(pickle.dumps(client.get("samples/plane.b2nd")))
    np.testing.assert_array_equal(ds[3], PLANE[3])
    with caterva2.Client(sample_site.subscriber.url, (USER, PASSWORD)) as mine:
        sent = pickle.dumps(mine)
        assert PASSWORD.encode() not in sent
        assert "@personal" in pickle.loads(sent).get_roots()


def test_xarray_opens_one_array(locator):
    found = xr.open_dataset(f"{locator}/samples/cube.b2nd", engine="caterva2")
    assert list(found) == ["cube"]
    assert found.sizes == {"dim_0": 9, "dim_1": 8, "dim_2": 7}
    cube = found["cube"]
    np.testing.assert_array_equal(cube.isel(dim_0=3, dim_2=slice(None, None, -2)).values, CUBE[3, :, ::-2])
    np.testing.assert_array_equal(
        cube.isel(dim_0=[0, 8, 1], dim_1=2, dim_2=[5, 0]).values, CUBE[np.ix_([0, 8, 1], [2], [5, 0])][:, 0]
    )
    np.testing.assert_array_equal(cube.mean("dim_1").values, CUBE.mean(1))
    chunked = xr.open_dataset(f"{locator}/samples/cube.b2nd", chunks={})
    assert chunked["cube"].data.chunksize == tuple(-(-n // 3) for n in CUBE.shape)


def test_xarray_opens_all_arrays_of_a_directory(locator):
    with pytest.raises(ValueError, match="cat2://HOST"):
        split_locator("http://x/y")
    found = xr.open_dataset(f"{locator}/foo/dir1")  # the engine follows from the URL
    assert sorted(found) == ["ds-2d", "ds-3d"]
    assert found["ds-2d"].shape == (10, 20)


def test_fsspec_reads_files_and_frames(locator):
    with fsspec.open(f"{locator}/samples/notes.md", "rt") as file:
        assert file.readline() == "# Notes\n"
    with fsspec.open(f"{locator}/samples/!odd #?name.bin".replace("#", "%23").replace("?", "%3F")) as file:
        file.seek(256 * 900 + 5)
        assert file.read(3) == bytes([5, 6, 7])
    files = fsspec.filesystem("cat2", urlbase=locator.replace("cat2://", "http://"))
    assert "foo" in files.ls("", detail=False)
    assert files.ls("foo/dir1", detail=False) == ["foo/dir1/ds-2d.b2nd", "foo/dir1/ds-3d.b2nd"]
    assert files.isdir("foo/dir1")
    assert not files.exists("foo/nope")
    frame = files.cat_file("samples/plane.b2nd")
    assert files.size("samples/plane.b2nd") == len(frame)
    np.testing.assert_array_equal(blosc2.ndarray_from_cframe(frame)[:], PLANE)
    assert files.cat_file("samples/plane.b2nd", 2, 9) == frame[2:9]
    assert files.cat_file("samples/plane.b2nd", -20) == frame[-20:]
    assert [name for name in files.find("samples") if name.endswith(".md")] == ["samples/notes.md"]


def test_blosc2_opens_our_datasets(client, sample_site):
    urlbase = sample_site.subscriber.url
    array = blosc2.open(blosc2.URLPath("samples/plane.b2nd", urlbase), mode="r", offset=0)
    assert isinstance(array, blosc2.C2Array)
    assert (array.shape, array.dtype) == (PLANE.shape, PLANE.dtype)
    np.testing.assert_array_equal(array[3:9, 2], PLANE[3:9, 2])
    np.testing.assert_array_equal(
        blosc2.decompress2(array.get_chunk(0)), blosc2.decompress2(client.get_chunk("samples/plane.b2nd", 0))
    )
    np.testing.assert_allclose((array + 1)[:], PLANE + 1)

"""Any index of any kind of dataset gives what numpy gives on the publisher's array."""

from __future__ import annotations

import blosc2
import httpx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import caterva2
from caterva2 import _chunked, errors
from tests.support.samples import make_samples, sample_arrays
from tests.support.site import Site

ARRAYS = sample_arrays()


@pytest.fixture(scope="module")
def client(sample_site: Site):
    with sample_site.client() as client:
        yield client


@pytest.fixture(scope="module")
def datasets(client):
    return {name: client.get(f"samples/{name}") for name in ARRAYS}


def same(found: np.ndarray, expected: np.ndarray) -> None:
    assert isinstance(found, np.ndarray)
    assert found.dtype == expected.dtype
    assert found.shape == expected.shape
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("name", ARRAYS)
def test_facts_are_those_of_the_array(datasets, name):
    ds, array = datasets[name], ARRAYS[name]
    assert (ds.shape, ds.ndim, ds.size) == (array.shape, array.ndim, array.size)
    assert ds.dtype == array.dtype
    assert ds.nbytes == array.nbytes


@pytest.mark.parametrize("name", ARRAYS)
def test_the_whole(client, datasets, name):
    same(np.asarray(datasets[name]), ARRAYS[name])
    same(datasets[name][...], ARRAYS[name][...])
    same(client.fetch(f"samples/{name}"), ARRAYS[name])


@given(data=st.data())
def test_basic_indexing(datasets, data):
    name = data.draw(st.sampled_from(list(ARRAYS)))
    key = data.draw(hnp.basic_indices(ARRAYS[name].shape, allow_newaxis=True, max_dims=8))
    same(datasets[name][key], np.asarray(ARRAYS[name][key], ARRAYS[name].dtype))


@given(data=st.data())
def test_slices_put_together_from_chunks(datasets, data):
    name = data.draw(st.sampled_from(list(ARRAYS)))
    key = data.draw(hnp.basic_indices(ARRAYS[name].shape, allow_newaxis=True, max_dims=8))
    with pytest.MonkeyPatch.context() as patch:
        # As if every slice were large and held most of its chunks.
        patch.setattr(_chunked, "MIN_BYTES", 0)
        patch.setattr(_chunked, "MAX_EXCESS", 10**9)
        same(datasets[name][key], np.asarray(ARRAYS[name][key], ARRAYS[name].dtype))


def test_large_slices_come_as_the_chunks_that_hold_them(client, datasets):
    asked = []
    client.httpx_client.event_hooks["request"].append(lambda request: asked.append(request.url.path))
    try:
        _ = datasets["large.b2nd"][3:-5, 7:]
        _ = datasets["large.b2nd"][3:5, 7:]
    finally:
        client.httpx_client.event_hooks["request"].pop()
    assert [path.split("/")[2] for path in asked] == ["chunks", "fetch"]


def test_the_cost_of_a_slice_is_told_before_it_is_read(datasets):
    ds = datasets["line.b2nd"]
    plan = ds.plan(slice(0, 5))
    assert (plan["nbytes"], plan["chunks"], plan["link_chunks"] + plan["cache_chunks"]) == (40, 1, 1)
    _ = ds[0:5]
    assert ds.plan(slice(0, 5))["link_bytes"] == 0


@given(data=st.data())
def test_indexing_with_lists(datasets, data):
    name = data.draw(st.sampled_from([name for name, array in ARRAYS.items() if array.size]))
    array = ARRAYS[name]
    if not array.ndim:
        return
    key = data.draw(hnp.integer_array_indices(array.shape, result_shape=hnp.array_shapes(max_dims=2, max_side=4)))
    key = key[: data.draw(st.integers(1, len(key)))]
    same(datasets[name][key], array[key])


def test_indexing_with_more_indices_than_fit_into_a_url(sample_site):
    line = np.arange(20_000) ** 2
    far_apart = np.arange(0, 20_000, 4)
    with sample_site.client(user=True) as user:
        ds = user.upload(line, "@personal/long.b2nd")
        asked = []
        user.httpx_client.event_hooks["request"].append(lambda request: asked.append(request.method))
        same(ds[far_apart], line[far_apart])
        assert asked[-1] == "POST"
        ds.remove()


def test_indexing_with_masks(datasets):
    plane = ARRAYS["plane.b2nd"]
    same(datasets["plane.b2nd"][plane > 1], plane[plane > 1])
    same(datasets["plane.b2nd"][plane[:, 0] > 0, ::2], plane[plane[:, 0] > 0, ::2])


@pytest.mark.parametrize("key", [47, (0, 31), -48, (0, 0, 0), (..., 0, ...), 1.5, "x", [47]])
def test_an_index_that_numpy_refuses_is_refused(datasets, key):
    with pytest.raises((IndexError, ValueError)):
        _ = datasets["plane.b2nd"][key]


def test_the_service_refuses_as_the_client_does(client, sample_site):
    answer = httpx.get(f"{sample_site.subscriber.url}/api/fetch/samples/plane.b2nd", params={"slice_": "99"})
    assert answer.status_code == 400
    with pytest.raises(errors.InvalidSlice) as caught:
        client.fetch("samples/plane.b2nd", "99")
    assert isinstance(caught.value, httpx.HTTPStatusError)
    assert answer.json()["detail"] in str(caught.value)


def test_iteration_and_length(datasets):
    cube = ARRAYS["cube.b2nd"]
    assert len(datasets["cube.b2nd"]) == 9
    rows = list(datasets["cube.b2nd"])
    assert len(rows) == 9
    for row, expected in zip(rows, cube, strict=True):
        same(row, expected)


@pytest.mark.parametrize("field", ["a", "b", "c", "d"])
def test_fields(datasets, field):
    found = datasets["table.b2nd"][field]
    assert isinstance(found, blosc2.NDArray)
    same(found[:], ARRAYS["table.b2nd"][field])


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("a < 3", lambda t: t["a"] < 3),
        ("(a < 5) & d", lambda t: (t["a"] < 5) & t["d"]),
        ("d", lambda t: t["d"]),
        ("b > 2", lambda t: t["b"] > 2),
    ],
)
def test_filters(client, datasets, condition, expected):
    table = ARRAYS["table.b2nd"]
    # The bare name of a field is the field for `ds[...]`, and a condition for `get_slice`.
    found = client.get_slice("samples/table.b2nd", condition)
    same(found[:], table[expected(table)])


@pytest.mark.parametrize("condition", ["a <", "nope > 1", "__import__('os')", "a"])
def test_filters_that_make_no_sense_are_refused(client, condition):
    with pytest.raises(errors.BadRequest):
        client.get_slice("samples/table.b2nd", condition)


def test_frames_and_files_are_bytes(client):
    frame = client.get("samples/frame.b2frame")
    content = b"Hello world!" * 50
    assert frame[:] == content
    assert frame[10:200] == content[10:200]
    assert frame[-1] == b"!"
    assert frame[600] == b""
    assert (len(frame), frame.nbytes) == (600, 600)
    assert client.fetch("samples/notes.md", "2:7") == b"Notes"
    assert client.fetch("samples/!odd #?name.bin") == bytes(range(256)) * 1000


@pytest.mark.parametrize("name", ["plane.b2nd", "frame.b2frame", "notes.md", "!odd #?name.bin", "named/día 1%.b2nd"])
def test_downloads_are_the_publishers_bytes(client, tmp_path, name):
    published = make_samples(tmp_path / "published") / name
    saved = client.download(f"samples/{name}", tmp_path / "here")
    if published.suffix == ".b2nd":
        same(blosc2.open(str(saved), mode="r")[:], ARRAYS[name])
    elif published.suffix == ".b2frame":
        assert blosc2.open(str(saved), mode="r")[:] == b"Hello world!" * 50
    else:
        assert saved.read_bytes() == published.read_bytes()


def test_a_dataset_is_an_operand(datasets):
    plane = ARRAYS["plane.b2nd"]
    expression = (datasets["plane.b2nd"] + 1) * 2
    np.testing.assert_allclose(expression[:], (plane + 1) * 2)
    np.testing.assert_allclose((datasets["plane.b2nd"].sum()), plane.sum())


def test_freshness_is_told(datasets):
    ds = datasets["plane.b2nd"]
    _ = ds[0]
    assert ds.version
    assert ds.source in ("cache", "link", "mixed")
    assert ds.stale is False


async def test_the_asynchronous_client_reads_the_same(sample_site):
    async with caterva2.AsyncClient(sample_site.subscriber.url) as client:
        ds = await client.get("samples/cube.b2nd")
        same(await ds[2:5, ::-2, [1, 3]], ARRAYS["cube.b2nd"][2:5, ::-2, [1, 3]])

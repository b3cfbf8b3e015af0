"""What a program written for caterva2 2025.6.26 does. Run in an environment that has that client, against our services.

Arguments: URL of the subscriber, directory that `foo` publishes, directory of ``.npy`` files with the datasets that
`hdf5root` publishes, user, password, directory to write into.
"""

import os
import pathlib
import sys

import blosc2
import httpx
import numpy as np

import caterva2

URL, PUBLISHED, HDF5, USER, PASSWORD, HERE = sys.argv[1:7]
PUBLISHED, HDF5 = pathlib.Path(PUBLISHED).resolve(), pathlib.Path(HDF5).resolve()
os.chdir(HERE)


def refused(status, function, *arguments):
    """Check that a call fails with this status."""
    answered = None
    try:
        function(*arguments)
    except httpx.HTTPStatusError as error:
        answered = error.response.status_code
    assert answered == status, f"answered {answered}, not {status}"


# --- anonymous: what is there ---
anonymous = caterva2.Client(URL)
roots = anonymous.get_roots()
assert roots["foo"]["name"] == "foo"
assert roots["@public"] == {"name": "@public", "http": "", "subscribed": True}
assert "@personal" not in roots
assert anonymous.subscribe("foo") == "Ok"
refused(404, anonymous.get, "nope")
refused(401, anonymous.get, "@personal")
refused(404, anonymous.get_info, "foo/nope.b2nd")

root = anonymous.get("foo")
assert str(root) == "foo"
expected = sorted(str(p.relative_to(PUBLISHED)) for p in PUBLISHED.rglob("*") if p.is_file())
assert root.file_list == expected, (root.file_list, expected)
assert anonymous.get_list("foo/dir1") == ["ds-2d.b2nd", "ds-3d.b2nd"]
assert "README.md" in root
assert len(root) == len(expected)
assert list(root) == expected

# --- every dataset, slice by slice, against the publisher's files ---
for name in expected:
    if not name.endswith((".b2nd", ".b2frame")):
        continue
    local = blosc2.open(str(PUBLISHED / name), mode="r")
    remote = root[name]
    if isinstance(local, blosc2.NDArray):
        assert remote.shape == local.shape, name
        assert remote.chunks == local.chunks, name
        assert remote.blocks == local.blocks, name
        assert remote.dtype == str(local.dtype), name
        whole = local[:] if local.ndim else local[()]
        keys = [5, slice(2, 7), slice(1, 9), slice(-3, None), (slice(1, 2), slice(1, 3)), (0, 1), (1, slice(1, 4))]
        for key in keys:
            try:
                wanted = whole[key]
            except IndexError:
                continue
            found = remote[key]
            assert found.dtype == wanted.dtype, (name, key)
            assert found.shape == np.shape(wanted), (name, key, found.shape)
            np.testing.assert_array_equal(found, wanted, err_msg=f"{name} {key}")
        np.testing.assert_array_equal(anonymous.fetch(f"foo/{name}"), whole)
        if local.ndim:
            np.testing.assert_array_equal(remote.slice(slice(1, 2))[:], whole[1:2])
    else:
        for key in (slice(0, 12), slice(2, 900), slice(5, 6), 7):
            wanted = local[key] if isinstance(key, slice) else local[key : key + 1]
            assert remote[key] == wanted, (name, key)
    attributes = getattr(local, "schunk", local).vlmeta.getall().items()
    assert remote.vlmeta == {k.decode() if isinstance(k, bytes) else k: v for k, v in attributes}, name
    chunk = anonymous.get_chunk(f"foo/{name}", 0)
    assert blosc2.decompress2(chunk) == getattr(local, "schunk", local).decompress_chunk(0), name
    saved = remote.download()
    assert saved == pathlib.Path("foo") / name
    assert saved.read_bytes() == (PUBLISHED / name).read_bytes(), f"{name} is not downloaded byte for byte"

# --- the same for every dataset of an HDF5 file ---
saved = {f"{p.relative_to(HDF5).with_suffix('')}.b2nd": p for p in HDF5.rglob("*.npy")}
assert len(saved) == 13
hdf5root = anonymous.get("hdf5root")
assert hdf5root.file_list == sorted(saved)
assert anonymous.get_list("hdf5root/arrays") == sorted(n[7:] for n in saved if n.startswith("arrays/"))
for name, file in saved.items():
    whole = np.load(file)
    remote = hdf5root[name]
    ndim = len(remote.shape)
    assert remote.shape == whole.shape[:ndim], name
    assert whole.shape[ndim:] == ((4,) if name.endswith("array-dtype.b2nd") else ()), name
    found = anonymous.fetch(f"hdf5root/{name}")
    assert found.dtype == whole.dtype, (name, found.dtype)
    np.testing.assert_array_equal(found, whole, err_msg=name)
    for key in [5, slice(2, 7), slice(-3, None), slice(4, 4), (slice(1, 9), slice(3, 4)), (0, 1), (2, slice(1, 9), 3)]:
        if (len(key) if isinstance(key, tuple) else 1) > ndim:
            continue
        found = remote[key]
        assert found.shape == whole[key].shape, (name, key, found.shape)
        np.testing.assert_array_equal(found, whole[key], err_msg=f"{name} {key}")
    if remote.chunks and ndim == whole.ndim:
        corner = whole[tuple(slice(0, length) for length in remote.chunks)]
        chunk = np.frombuffer(blosc2.decompress2(anonymous.get_chunk(f"hdf5root/{name}", 0)), whole.dtype)
        assert chunk[0] == corner.flat[0], name
        if corner.shape == remote.chunks:
            np.testing.assert_array_equal(chunk.reshape(corner.shape), corner, err_msg=name)
    np.testing.assert_array_equal(blosc2.open(str(remote.download()))[()], whole, err_msg=name)
compound = hdf5root["arrays/compound-dtype.b2nd"]
np.testing.assert_array_equal(compound["f1"][:], np.load(saved["arrays/compound-dtype.b2nd"])["f1"])
attributes = {"Arr": [[0, 1], [2, 3]], "ArrT": [[0, 1], [2, 3]], "Bin": "foo", "BinT": "foo"}
attributes |= {"Int": 42, "IntT": 42, "NilBin": "", "NilInt": None, "Str": "bar"}
assert hdf5root["attrs.b2nd"].vlmeta == attributes
refused(404, anonymous.get_info, "hdf5root/unsupported/vlstring.b2nd")

table = root["ds-1d-fields.b2nd"]
local = blosc2.open(str(PUBLISHED / "ds-1d-fields.b2nd"), mode="r")[:]
field = local.dtype.names[0]
np.testing.assert_array_equal(table[field][:], local[field])

readme = root["README.md"]
assert isinstance(readme, caterva2.File)
assert not isinstance(readme, caterva2.Dataset)
text = (PUBLISHED / "README.md").read_bytes()
assert anonymous.fetch("foo/README.md") == text
assert readme[2:9] == text[2:9]
assert readme.download().read_bytes() == text
assert httpx.get(f"{URL}/api/download/foo/README.md").content == text
for name in expected:
    if name.endswith(".h5"):
        assert httpx.get(f"{URL}/api/download/foo/{name}").content == (PUBLISHED / name).read_bytes(), name

refused(401, root.upload, PUBLISHED / "README.md", "x.md")

# --- a user: what can be written ---
refused(400, caterva2.Client, URL, (USER, "wrong password"))

client = caterva2.Client(URL, caterva2.BasicAuth(USER, PASSWORD))
assert client.cookie.startswith("c2subauth=")
assert {"@personal", "@shared", "@public"} <= set(client.get_roots())
refused(400, client.upload, PUBLISHED / "README.md", "foo/x.md")

for where in ("@personal", "@shared", "@public"):
    mine = client.get(where)
    sent = mine.upload(PUBLISHED / "ds-1d.b2nd", "tour/ds-1d.b2nd")
    assert str(sent) == f"{where}/tour/ds-1d.b2nd"
    original = blosc2.open(str(PUBLISHED / "ds-1d.b2nd"), mode="r")[:]
    np.testing.assert_array_equal(mine["tour/ds-1d.b2nd"][:], original)
    saved = mine["tour/ds-1d.b2nd"].download(f"{HERE}/{where}.b2nd")
    assert saved.read_bytes() == (PUBLISHED / "ds-1d.b2nd").read_bytes()

    assert mine["tour/ds-1d.b2nd"].append(np.array([1, 2, 3])) == (original.shape[0] + 3,)
    np.testing.assert_array_equal(mine["tour/ds-1d.b2nd"][-3:], [1, 2, 3])
    moved = mine["tour/ds-1d.b2nd"].move(f"{where}/tour/moved.b2nd")
    assert str(moved) == f"{where}/tour/moved.b2nd"
    copied = client.copy(moved, f"{where}/tour/copies/")
    assert str(copied) == f"{where}/tour/copies/moved.b2nd", copied
    assert "tour/ds-1d.b2nd" not in mine
    refused(404, client.get_info, f"{where}/tour/ds-1d.b2nd")

    note = mine.upload(PUBLISHED / "README.md", "tour/")
    assert client.fetch(note.path) == text
    assert note.name == "tour/README.md"

    pair = [f"{where}/tour/moved.b2nd", f"{where}/tour/copies/moved.b2nd"]
    joined = client.concatenate(pair, f"{where}/tour/joined.b2nd", 0)
    length = original.shape[0] + 3
    assert client.get(joined).shape == (2 * length,)
    stacked = client.stack([moved, copied], f"{where}/tour/stacked.b2nd", 1)
    assert client.get(stacked).shape == (length, 2)

    client.remove(f"{where}/tour/copies")
    assert [name for name in mine.file_list if name.startswith("tour/copies")] == []

h5 = next(name for name in expected if name.endswith(".h5"))
client.get("@personal").upload(PUBLISHED / h5, "tour/example.h5")
assert str(client.unfold("@personal/tour/example.h5")) == "example"
unfolded = client.get_list("@personal/tour/example")
assert any(name.endswith(".b2nd") for name in unfolded), unfolded
for name in unfolded:
    if name.endswith(".b2nd"):
        array = client.get(f"@personal/tour/example/{name}")
        assert np.shape(client.fetch(array.path))[: len(array.shape)] == array.shape, name

# --- expressions ---
one = client.get("foo/ds-1d.b2nd")
lazy = client.lazyexpr("tour-lazy", "ds + 1", {"ds": one})
assert str(lazy) == "@personal/tour-lazy.b2nd"
np.testing.assert_array_equal(client.fetch(lazy), original + 1)
np.testing.assert_array_equal(client.get(lazy)[3:7], original[3:7] + 1)
assert client.get_info(lazy)["expression"] == "ds + 1"
assert client.get_info(lazy)["operands"] == {"ds": "foo/ds-1d.b2nd"}
computed = client.lazyexpr("tour-computed", "ds * 2 + x", {"ds": "foo/ds-1d.b2nd", "x": lazy}, compute=True)
np.testing.assert_array_equal(client.fetch(computed), original * 3 + 1)
total = client.lazyexpr("tour-total", "sum(ds)", {"ds": "foo/ds-1d.b2nd"})
assert client.fetch(total)[()] == original.sum()
space = client.lazyexpr("tour-space", "linspace(0, 10, num=50)")
np.testing.assert_allclose(client.fetch(space), np.linspace(0, 10, num=50))
refused(400, client.lazyexpr, "tour-bad", "ds +", {"ds": one})
refused(400, client.lazyexpr, "tour-bad", "ds + b", {"ds": one})

# --- users ---
assert "new@example.com" in client.adduser("new@example.com", "foobar11-new-user", False)
assert [user["email"] for user in client.listusers("new@example.com")] == ["new@example.com"]
other = caterva2.Client(URL, ("new@example.com", "foobar11-new-user"))
assert other.get_list("@personal") == []
refused(401, other.adduser, "third@example.com", "foobar11-third", False)
assert client.deluser("new@example.com") == "User deleted: new@example.com"
assert client.listusers("new@example.com") == []
for where in ("@personal", "@shared", "@public"):
    client.remove(f"{where}/tour")
print("tour complete")

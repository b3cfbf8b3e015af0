"""What a program written for caterva2 2026.9 does. Run in an environment that has that client, against our services.

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
assert {"foo", "@public"} <= set(anonymous.get_roots())
root = anonymous.get("foo")
expected = sorted(str(p.relative_to(PUBLISHED)) for p in PUBLISHED.rglob("*") if p.is_file())
assert sorted(root.file_list) == expected
assert sorted(anonymous.get_list("foo")) == expected
refused(404, anonymous.get_info, "foo/nope.b2nd")
refused(404, anonymous.get_list, "@personal")

# --- every dataset, slice by slice, against the publisher's files ---
for name in expected:
    if not name.endswith((".b2nd", ".b2frame")):
        continue
    local = blosc2.open(str(PUBLISHED / name), mode="r")
    remote = anonymous.get(f"foo/{name}")
    if isinstance(local, blosc2.NDArray):
        assert tuple(remote.shape) == local.shape, name
        assert str(remote.dtype) == str(local.dtype), name
        whole = local[()]
        keys = [5, slice(2, 7), slice(-3, None), (slice(1, 2), slice(1, 3)), (0, 1)]
        for key in keys:
            try:
                wanted = whole[key]
            except IndexError:
                continue
            found = remote[key]
            assert found.dtype == wanted.dtype, (name, key)
            assert np.shape(found) == np.shape(wanted), (name, key)
            np.testing.assert_array_equal(found, wanted, err_msg=f"{name} {key}")
        np.testing.assert_array_equal(anonymous.fetch(f"foo/{name}"), whole)
        chunk = anonymous.get_chunk(remote, 0)
        assert blosc2.decompress2(chunk) == local.schunk.decompress_chunk(0), name
    saved = remote.download()
    again = blosc2.open(str(saved), mode="r")
    if isinstance(local, blosc2.NDArray):
        np.testing.assert_array_equal(again[()], local[()])
    else:
        assert again[:] == local[:], name

# --- the same for every dataset of an HDF5 file ---
saved = {f"{p.relative_to(HDF5).with_suffix('')}.b2nd": p for p in HDF5.rglob("*.npy")}
assert len(saved) == 13
assert sorted(anonymous.get_list("hdf5root")) == sorted(saved)
for name, file in saved.items():
    whole = np.load(file)
    remote = anonymous.get(f"hdf5root/{name}")
    ndim = len(remote.shape)
    assert tuple(remote.shape) == whole.shape[:ndim], name
    np.testing.assert_array_equal(anonymous.fetch(f"hdf5root/{name}"), whole, err_msg=name)
    for key in [5, slice(2, 7), slice(-3, None), (slice(1, 9), slice(3, 4)), (0, 1), (2, slice(1, 9), 3)]:
        if (len(key) if isinstance(key, tuple) else 1) > ndim:
            continue
        found = np.asarray(remote[key])
        assert found.shape == whole[key].shape, (name, key, found.shape)
        np.testing.assert_array_equal(found, whole[key], err_msg=f"{name} {key}")
compound = anonymous.get("hdf5root/arrays/compound-dtype.b2nd")
np.testing.assert_array_equal(compound["f1"][:], np.load(saved["arrays/compound-dtype.b2nd"])["f1"])

table = anonymous.get("foo/ds-1d-fields.b2nd")
local = blosc2.open(str(PUBLISHED / "ds-1d-fields.b2nd"), mode="r")[:]
field = local.dtype.names[0]
np.testing.assert_array_equal(table[field][:], local[field])

readme = anonymous.get("foo/README.md")
text = (PUBLISHED / "README.md").read_bytes()
assert readme.download().read_bytes() == text
for name in expected:
    if name.endswith(".h5"):
        assert anonymous.download(f"foo/{name}").read_bytes() == (PUBLISHED / name).read_bytes(), name

# --- a user: what can be written ---
refused(400, caterva2.Client, URL, (USER, "wrong password"))
client = caterva2.Client(URL, (USER, PASSWORD))
original = blosc2.open(str(PUBLISHED / "ds-1d.b2nd"), mode="r")[:]
for where in ("@personal", "@shared", "@public"):
    mine = client.get(where)
    sent = mine.upload(PUBLISHED / "ds-1d.b2nd", "late/ds-1d.b2nd")
    assert sent.shape == original.shape
    np.testing.assert_array_equal(sent[:], original)
    memory = client.upload(np.arange(12).reshape(3, 4), f"{where}/late/memory.b2nd")
    np.testing.assert_array_equal(memory[1], [4, 5, 6, 7])
    grown = sent.append(np.array([1, 2, 3]))
    assert tuple(grown.shape) == (original.shape[0] + 3,)
    np.testing.assert_array_equal(client.get(f"{where}/late/ds-1d.b2nd")[-3:], [1, 2, 3])
    moved = client.move(f"{where}/late/ds-1d.b2nd", f"{where}/late/moved.b2nd")
    assert str(moved) == f"{where}/late/moved.b2nd"
    copied = client.copy(moved, f"{where}/late/copies/")
    assert str(copied) == f"{where}/late/copies/moved.b2nd"
    refused(404, client.get_info, f"{where}/late/ds-1d.b2nd")
    client.remove(f"{where}/late/copies")

# --- expressions over datasets of the server ---
one = client.get("foo/ds-1d.b2nd")
lazy = client.upload(one + 1, "@personal/late-lazy.b2nd")
np.testing.assert_array_equal(client.get("@personal/late-lazy.b2nd")[3:7], original[3:7] + 1)
computed = client.upload(one * 2, "@personal/late-computed.b2nd", compute=True)
np.testing.assert_array_equal(client.get("@personal/late-computed.b2nd")[:], original * 2)

h5 = next(name for name in expected if name.endswith(".h5"))
client.get("@personal").upload(PUBLISHED / h5, "late/example.h5")
client.unfold("@personal/late/example.h5")
assert any(name.endswith(".b2nd") for name in client.get_list("@personal/late/example"))

# --- users ---
client.adduser("late@example.com", "foobar11-new-user", False)
assert [user["email"] for user in client.listusers("late@example.com")] == ["late@example.com"]
client.deluser("late@example.com")
for where in ("@personal", "@shared", "@public"):
    client.remove(f"{where}/late")
print("tour complete")

"""Unfolding HDF5 files into directories."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from caterva2_formats.hdf5 import Handles, open_member
from caterva2_formats.unfold import Unfolded, unfold
from demo.make_hdf5_example import make_hdf5_example
from tests.conformance.roots import read


@pytest.fixture
def handles() -> Iterator[Handles]:
    handles = Handles()
    yield handles
    handles.close()


def unfolded(handles: Handles, path: Path) -> dict[str, Unfolded]:
    handle = handles.acquire(str(path))
    try:
        return {entry.path: entry for entry in unfold(handle)}
    finally:
        handles.release(handle)


def test_every_link_to_a_dataset_is_unfolded(handles: Handles, tmp_path: Path) -> None:
    make_hdf5_example(tmp_path / "example.h5")
    entries = unfolded(handles, tmp_path / "example.h5")
    datasets = {path: entry.member for path, entry in entries.items() if entry.member}
    assert len(datasets) == 14
    assert datasets["arrays/soft-link.b2nd"] == "arrays/1d-raw"
    assert datasets["arrays/3d-blosc2.b2nd"] == "arrays/3d-blosc2"
    assert [path for path, entry in entries.items() if not entry.member] == [
        "!_attrs_.json",
        "arrays/!_attrs_.json",
        "unsupported/!_attrs_.json",
    ]
    for member in datasets.values():
        assert member is not None
        with open_member(handles, str(tmp_path / "example.h5"), member) as source:
            read(source)


def test_links_that_lead_nowhere_or_elsewhere_or_back_are_left_out(handles: Handles, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["x"] = 1
    with h5py.File(tmp_path / "file.h5", "w") as file:
        file["group/x"] = 1
        file["group/up"] = file["/"]
        file["again"] = file["group"]
        file["broken"] = h5py.SoftLink("/nothing")
        file["soft-group"] = h5py.SoftLink("/group")
        file["external"] = h5py.ExternalLink("other.h5", "x")
        file["x"] = h5py.SoftLink("/external")
    entries = unfolded(handles, tmp_path / "file.h5")
    assert sorted(path for path, entry in entries.items() if entry.member) == ["again/x.b2nd"]


def test_attributes_of_groups_become_json(handles: Handles, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "file.h5", "w") as file:
        file.attrs["text"] = "bü"
        file.attrs["bytes"] = np.bytes_(b"abc")
        file.attrs["numbers"] = [1.5, 2.0]
        file.attrs["empty"] = h5py.Empty("S3")
        file.attrs["none"] = h5py.Empty("f4")
        file.create_group("odd").attrs["complex"] = 1j
        file["odd"].attrs["number"] = 5
        file["odd"].attrs["texts"] = ["a", "b"]
    entries = unfolded(handles, tmp_path / "file.h5")
    shown: dict[str, Any] = json.loads(entries["!_attrs_.json"].content)
    assert shown == {"text": "bü", "bytes": "abc", "numbers": [1.5, 2.0], "empty": "", "none": None}
    assert entries["!_attrs_.json"].content.startswith(b'{\n  "')
    odd = json.loads(entries["odd/!_attrs_.json"].content)
    assert odd["number"] == "5"
    assert json.loads(odd["texts"]) == ["a", "b"]
    assert odd["complex"].startswith("[Error: ")

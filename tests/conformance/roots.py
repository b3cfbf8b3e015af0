"""What every `RootSource` and its `DatasetSource`s must do. Subclass and give the fixtures `root` and `expected`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from caterva2.errors import ChunkNotFound, DatasetNotFound
from caterva2.slices import select
from caterva2.wire import Kind
from caterva2_formats.base import DatasetSource, RootSource
from caterva2_formats.chunks import check_chunk, decompress, read_part
from caterva2_formats.dtypes import from_storage, parse_dtype, storage_dtype
from caterva2_formats.info import layout_of


def read(source: DatasetSource, key: Any = ...) -> Any:
    """Read a slice of a source chunk by chunk, as a subscriber does; bytes for what is no array."""
    layout = source.layout
    if layout.kind is not Kind.ARRAY:
        return b"".join(decompress(source.chunk(i)) for i in range(layout.nchunks))
    selection = select(key, layout.shape)
    dtype = parse_dtype(layout.dtype)
    box = np.empty(selection.box, dtype=storage_dtype(dtype))
    for part in selection.parts(layout.chunks):
        chunk = source.chunk(part.nchunk)
        read_part(chunk, layout, part, box, header=check_chunk(chunk, layout, part.nchunk))
    return from_storage(box[(*selection.finish, ...)], dtype)


class RootSourceTests:
    """`expected` maps each listed path to its array, or to its bytes."""

    @pytest.fixture
    def root(self) -> RootSource:
        raise NotImplementedError

    @pytest.fixture
    def expected(self) -> dict[str, Any]:
        raise NotImplementedError

    def test_a_scan_finds_everything_once(self, root: RootSource, expected: dict[str, Any]) -> None:
        found = list(root.scan())
        assert sorted(f.path for f in found) == sorted(expected)

    def test_find_agrees_with_scan(self, root: RootSource) -> None:
        for found in root.scan():
            assert root.find(found.path) == found

    @pytest.mark.parametrize("path", ["missing.b2nd", "missing/x.b2nd", "../x", "/etc/passwd", "", "a//b", "x\0y"])
    def test_what_is_not_there_is_not_found(self, root: RootSource, path: str) -> None:
        assert root.find(path) is None
        with pytest.raises(DatasetNotFound):
            root.open(path)

    def test_everything_reads_back(self, root: RootSource, expected: dict[str, Any]) -> None:
        for path, value in expected.items():
            with root.open(path) as source:
                data = read(source)
            if isinstance(value, bytes):
                assert data == value, path
            else:
                assert data.shape == value.shape, path
                assert data.tobytes() == value.tobytes(), path

    def test_the_info_describes_the_layout(self, root: RootSource, expected: dict[str, Any]) -> None:
        for path in expected:
            with root.open(path) as source:
                assert layout_of(source.layout.kind, source.info) == source.layout

    def test_the_version_is_that_of_the_scan(self, root: RootSource) -> None:
        for found in root.scan():
            with root.open(found.path) as source:
                assert source.etag == found.etag

    def test_chunks_that_do_not_exist_are_refused(self, root: RootSource, expected: dict[str, Any]) -> None:
        for path in expected:
            with root.open(path) as source:
                for nchunk in (-1, source.layout.nchunks):
                    with pytest.raises(ChunkNotFound):
                        source.chunk(nchunk)

    def test_a_root_is_available_and_watched(self, root: RootSource) -> None:
        assert root.available()
        assert root.watch_paths()

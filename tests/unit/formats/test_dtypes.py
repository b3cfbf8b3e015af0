"""Data types are read from text that strangers wrote."""

from pathlib import Path

import blosc2
import numpy as np
import pytest

from caterva2.errors import UnsafeContent
from caterva2_formats.directory import DirectoryRoot
from caterva2_formats.dtypes import MAX_DTYPE_TEXT, parse_dtype


@pytest.mark.parametrize(
    "text",
    [
        "|a3",
        "[('x', '|a3')]",
        "[('\\d', '<i4')]",
        "<i3",
        "object",
        "[('x', 'O')]",
        "[" * 90,
        "",
        "(2,)",
        "[" * 60_000,
        "[" + "-" * 60_000 + "1]",
        "i4," * 2000 + "i4",
    ],
)
def test_t1_odd_texts_of_data_types_are_refused_and_no_accident(text: str) -> None:
    with pytest.raises(UnsafeContent):
        parse_dtype(text)


def test_tables_of_many_columns_are_read(tmp_path: Path) -> None:
    dtype = np.dtype([(f"column_with_a_name_of_its_own_{number:04}", "<f8") for number in range(500)])
    blosc2.asarray(np.zeros(10, dtype), urlpath=str(tmp_path / "wide.b2nd"), mode="w")
    root = DirectoryRoot(tmp_path)
    with root.open("wide.b2nd") as source:
        assert parse_dtype(source.layout.dtype) == dtype
    root.close()
    columns = ", ".join(f"('{'x' * 100}{number:04}', '<f8')" for number in range(MAX_DTYPE_TEXT // 100))
    with pytest.raises(UnsafeContent, match="longer than 65536 characters"):
        parse_dtype(f"[{columns}]")

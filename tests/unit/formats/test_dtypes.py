"""Data types are read from text that strangers wrote."""

import pytest

from caterva2.errors import UnsafeContent
from caterva2_formats.dtypes import parse_dtype


@pytest.mark.parametrize(
    "text", ["|a3", "[('x', '|a3')]", "[('\\d', '<i4')]", "<i3", "object", "[('x', 'O')]", "[" * 90, "", "(2,)"]
)
def test_t1_odd_texts_of_data_types_are_refused_and_no_accident(text: str) -> None:
    with pytest.raises(UnsafeContent):
        parse_dtype(text)

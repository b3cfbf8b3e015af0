"""The public surface of the package."""

import subprocess
import sys

import pytest

import caterva2


def test_every_exported_member_can_be_imported():
    for name in caterva2.__all__:
        assert getattr(caterva2, name) is not None
    assert set(dir(caterva2)) == set(caterva2.__all__)


def test_an_unknown_member_is_an_attribute_error():
    with pytest.raises(AttributeError, match="nothing_like_this"):
        _ = caterva2.nothing_like_this


def test_the_contract_modules_load_neither_blosc2_nor_httpx():
    code = (
        "import sys, caterva2.wire, caterva2.events, caterva2.paths, caterva2.slices\n"
        "print(*sorted({'blosc2', 'httpx', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == ""


def test_the_command_line_starts_without_loading_blosc2():
    code = "import sys, caterva2.cli\nprint(*sorted({'blosc2', 'numpy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == ""

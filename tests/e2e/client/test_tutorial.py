"""Every block of the Python tutorial, run as it is written; only the server's port differs."""

import re
from pathlib import Path

import pytest

from tests.support.site import Site

TUTORIAL = Path(__file__).parents[3] / "docs" / "tutorials" / "python.md"
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_the_python_tutorial_works(
    sample_site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    sample_site.add_user("tutor@example.com", "a-long-password")
    names: dict[str, object] = {}
    blocks = BLOCK.findall(TUTORIAL.read_text())
    assert len(blocks) > 10
    for block in blocks:
        code = block.replace("localhost:8002", sample_site.subscriber.http).replace("user@example", "tutor@example")
        exec(compile(code, TUTORIAL.name, "exec"), names)
    printed = capsys.readouterr().out
    for expected in ("dir1/ds-2d.b2nd", "(10, 20) uint16", "[100 101 102 103]", "Not Found", "README.md"):
        assert expected in printed

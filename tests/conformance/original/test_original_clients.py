"""Clients of the original, unmodified, against our services.

Which versions were tried is what `docs/compatibility.md` says; what each tour does is in the scripts beside this file.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT_EXAMPLE
from tests.support.processes import environment
from tests.support.site import PASSWORD, USER, Site

from .venv import original_client

TOURS = {
    "tour_2025_6.py": ("caterva2[clients]==2025.6.26", "blosc2==3.5.1"),
    "tour_2026_9.py": ("caterva2==2026.9.2",),
}


@pytest.mark.timeout(900)
@pytest.mark.parametrize("script", TOURS)
def test_a_client_of_the_original_completes_its_tour(
    script: str, sample_site: Site, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    python = original_client(pytestconfig.cache.mkdir("original-clients"), *TOURS[script])
    done = subprocess.run(
        [python, Path(__file__).with_name(script), sample_site.subscriber.url, ROOT_EXAMPLE, USER, PASSWORD, tmp_path],
        capture_output=True,
        text=True,
        env=environment(),
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert "tour complete" in done.stdout

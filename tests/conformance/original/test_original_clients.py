"""Clients of the original, unmodified, against our services.

Which versions were tried is what `docs/compatibility.md` says; what each tour does is in the scripts beside this file.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.conftest import ROOT_EXAMPLE
from tests.support.processes import environment
from tests.support.site import PASSWORD, USER, Site

from .venv import original_client

TOURS = {
    "tour_2025_6.py": ("caterva2[clients]==2025.6.26", "blosc2==3.5.1"),
    "tour_2026_9.py": ("caterva2==2026.9.2",),
}


def save_datasets(file: Path, directory: Path) -> None:
    """Save what a published HDF5 file holds as ``.npy`` files, for environments without h5py."""

    def save(name: str, member: object) -> None:
        if isinstance(member, h5py.Dataset) and not name.startswith("unsupported/"):
            target = directory / f"{name}.npy"
            target.parent.mkdir(parents=True, exist_ok=True)
            # A null dataspace is served as a scalar of zero.
            empty = isinstance(member[()], h5py.Empty)
            np.save(target, np.zeros((), member.dtype) if empty else member[()], allow_pickle=False)

    with h5py.File(file, "r") as opened:
        opened.visititems(save)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("script", TOURS)
def test_a_client_of_the_original_completes_its_tour(
    script: str, sample_site: Site, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    python = original_client(pytestconfig.cache.mkdir("original-clients"), *TOURS[script])
    save_datasets(sample_site.directory / "hdf5root.h5", tmp_path / "hdf5root")
    (tmp_path / "here").mkdir()
    arguments = [sample_site.subscriber.url, ROOT_EXAMPLE, tmp_path / "hdf5root", USER, PASSWORD, tmp_path / "here"]
    done = subprocess.run(
        [python, Path(__file__).with_name(script), *arguments],
        capture_output=True,
        text=True,
        env=environment(),
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert "tour complete" in done.stdout

"""Two sites and a thin link, by compose.two-sites.yaml: what is read twice crosses the link once."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
import pytest

import caterva2
from tests.deploy.compose import Project, project
from tests.support.ports import free_port
from tests.support.processes import wait_until

VOLUME = "volumes/volume.b2nd"
CHUNK_BYTES = 8 * 512 * 512 * 4


@pytest.fixture(scope="module")
def far_port() -> int:
    """Port of the subscriber behind the link."""
    return free_port()


@pytest.fixture(scope="module")
def sites(images: dict[str, str], far_port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """Both sites, up and healthy, with a link that is not too slow for a test."""
    settings = {"NEAR_PORT": str(free_port()), "FAR_PORT": str(far_port), "LINK_MBITS": "80"}
    with project("compose.two-sites.yaml", tmp_path_factory.mktemp("sites"), settings) as made:
        made.compose("up", "--detach", "--wait", timeout_s=600)
        yield made


@pytest.fixture
def far(sites: Project, far_port: int) -> Iterator[caterva2.Client]:
    """A reader at the far site."""
    with caterva2.Client(f"http://127.0.0.1:{far_port}") as client:
        wait_until(lambda: "volumes" in client.get_roots(), timeout_s=180, what="the root known at the far site")
        wait_until(lambda: "volume.b2nd" in client.get_list("volumes"), timeout_s=180, what="its catalogue complete")
        yield client


def crossed(sites: Project) -> float:
    """Return the bytes of chunks that the far site has received over the link."""
    metrics = sites.inside("far", "http://127.0.0.1:8002/metrics")
    return sum(float(value) for value in re.findall(r"^caterva2_link_bytes_total\{.*\} (\S+)$", metrics, re.MULTILINE))


def test_what_is_read_twice_crosses_the_link_once(sites: Project, far: caterva2.Client) -> None:
    before = crossed(sites)
    first = far.fetch(VOLUME, np.s_[3, 200:210, 200:210])
    after_first = crossed(sites)
    assert 0 < after_first - before <= CHUNK_BYTES
    np.testing.assert_array_equal(far.fetch(VOLUME, np.s_[3, 200:210, 200:210]), first)
    assert crossed(sites) == after_first
    # Who looks here and there into a chunk gets some of its blocks, and then all of it.
    for row in range(0, 500, 100):
        far.fetch(VOLUME, np.s_[4, row : row + 10, 300:310])
    everything = crossed(sites)
    assert everything - before <= 1.5 * CHUNK_BYTES
    far.fetch(VOLUME, np.s_[:8, :512, :512])
    assert crossed(sites) == everything
    said = sites.compose("logs", "--no-color", "link")
    assert "a link of 80 Mbit/s and 40 ms there and back" in said


def test_a_site_that_is_cut_off_serves_what_it_has_and_catches_up(sites: Project, far: caterva2.Client) -> None:
    cached = far.fetch(VOLUME, np.s_[12, :5, :5])
    sites.compose("stop", "link")
    np.testing.assert_array_equal(far.fetch(VOLUME, np.s_[12, :5, :5]), cached)
    with pytest.raises(caterva2.errors.Caterva2Error, match="cannot be reached"):
        far.fetch(VOLUME, np.s_[60, :5, :5])
    sites.compose("start", "link")

    def whole() -> bool:
        try:
            return far.fetch(VOLUME, np.s_[60, :5, :5]).shape == (5, 5)
        except caterva2.errors.Caterva2Error:
            return False

    wait_until(whole, timeout_s=180, what="a chunk fetched after the link came back", every_s=0.5)

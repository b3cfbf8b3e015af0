"""Sites of processes. Starting one takes seconds: most tests share one, each with a folder of its own in root foo."""

from collections.abc import Iterator
from pathlib import Path

import pytest

import caterva2
from tests.support.content import wait_subscribed, write_array
from tests.support.site import Site


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A site of this test alone, whose services are not started yet."""
    with Site(tmp_path / "site") as made:
        yield made


@pytest.fixture(scope="module")
def _shared_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    directory = tmp_path_factory.mktemp("site")
    write_array(directory / "source" / "first.b2nd", 0)
    with Site(directory / "state") as made:
        made.start(foo=directory / "source")
        wait_subscribed(made.client(), "foo")
        yield made


@pytest.fixture
def shared_site(_shared_site: Site) -> Site:
    """A running site that publishes root foo; whatever a test ends in it is started again for the next."""
    return _shared_site.ensure_running()


@pytest.fixture
def client(shared_site: Site) -> caterva2.Client:
    """A client of the shared site."""
    return shared_site.client()


@pytest.fixture
def folder(_shared_site: Site, request: pytest.FixtureRequest) -> Path:
    """A new folder in root foo of the shared site, with the arrays a (1) and sub/b (2)."""
    path = _shared_site.directory.parent / "source" / f"{abs(hash(request.node.nodeid)):x}"
    write_array(path / "a.b2nd", 1)
    write_array(path / "sub" / "b.b2nd", 2)
    return path


@pytest.fixture
def prefix(folder: Path) -> str:
    """API path of `folder`."""
    return f"foo/{folder.name}"

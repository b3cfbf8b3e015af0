"""Fixtures of all tests: real servers, started when a test asks for them and gone when it ends."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from demo.make_hdf5_example import make_hdf5_example
from tests.deploy.engine import running
from tests.support import containers
from tests.support.nats import NatsServer
from tests.support.ports import free_port
from tests.support.postgres import Postgres
from tests.support.samples import make_samples
from tests.support.site import Site

ROOT_EXAMPLE = Path(__file__).parents[1] / "root-example"

hypothesis.settings.register_profile("default", deadline=None, max_examples=60, print_blob=True)
hypothesis.settings.register_profile("long", deadline=None, max_examples=5000, print_blob=True)
hypothesis.settings.load_profile("default")

# Tests start services hundreds of times: each may keep what it compiled of its modules.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """One process more than there are cores (``make test``): tests of services wait for them half of their time."""
    return len(os.sched_getaffinity(0)) + 1


@pytest.fixture(name="free_port")
def _free_port() -> int:
    """A TCP port that nobody uses."""
    return free_port()


@pytest.fixture(scope="session", name="_containers")
def containers_can_be_had() -> Iterator[None]:
    """A Docker engine, where the servers of tests shall run in containers."""
    if not containers.wanted():
        yield
        return
    with running():
        yield


@pytest.fixture
def nats_server(tmp_path: Path, _containers: None) -> Iterator[NatsServer]:
    """A running nats-server with an empty store."""
    with containers.nats_server(tmp_path / "nats").start_ready() as server:
        yield server


@pytest.fixture(scope="session")
def postgres(_containers: None) -> Iterator[Postgres]:
    """A running PostgreSQL server for the whole session; use `postgres_url` for a database."""
    server = containers.postgres()
    try:
        yield server
    finally:
        server.close()


@pytest.fixture
def postgres_url(postgres: Postgres) -> Iterator[str]:
    """URL of an empty PostgreSQL database of this test."""
    name = postgres.create()
    yield postgres.url(name)
    postgres.drop(name)


@pytest.fixture(scope="session")
def sample_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A running site for tests that leave its services and published roots as they are.

    It has people, an administrator (`Site.client(user=True)`), and the roots ``foo``, ``hdf5root`` and ``samples``.
    """
    directory = tmp_path_factory.mktemp("site")
    hdf5 = directory / "hdf5root.h5"
    make_hdf5_example(hdf5)
    with Site(directory, login=True) as site:
        site.start(foo=ROOT_EXAMPLE, hdf5root=hdf5, samples=make_samples(directory / "samples"))
        site.add_user(superuser=True)
        with site.client() as client:
            for root in ("foo", "hdf5root", "samples"):
                client.subscribe(root)
        yield site

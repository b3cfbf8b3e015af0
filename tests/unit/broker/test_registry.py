"""Leases on roots (requirements N3, F21)."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from caterva2.errors import InvalidName, PermissionDenied, RootNotFound, RootTaken
from caterva2.wire import RootRegistration, RootState
from caterva2_broker.registry import Registry


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def registry(tmp_path: Path, clock: Clock) -> Iterator[Registry]:
    opened = Registry(tmp_path / "roots.sqlite", lease_s=30, clock=clock)
    yield opened
    opened.close()


def registration(http: str = "localhost:8001", **values: object) -> RootRegistration:
    return RootRegistration.model_validate({"name": "foo", "http": http, **values})


def test_f21_a_second_publisher_of_a_root_is_refused_while_the_first_lives(registry: Registry, clock: Clock) -> None:
    registry.register(registration(), owner="p1")
    clock.now += 29
    with pytest.raises(RootTaken, match="another publisher") as refusal:
        registry.register(registration("localhost:9001"), owner="p2")
    assert refusal.value.status == 409
    assert refusal.value.retry_after_s == pytest.approx(1)
    assert registry.root("foo").http == "localhost:8001"


def test_f21_a_root_can_be_taken_over_when_its_lease_has_run_out(registry: Registry, clock: Clock) -> None:
    registry.register(registration(), owner="p1")
    clock.now += 31
    assert registry.register(registration("localhost:9001"), owner="p2")
    with pytest.raises(RootTaken):
        registry.register(registration(), owner="p1")


def test_f21_the_original_form_does_not_take_a_root_from_a_publisher_that_lives(registry: Registry) -> None:
    registry.register(registration(), owner="p1")
    with pytest.raises(RootTaken):
        registry.register(registration("localhost:9001"), owner=None)


def test_a_publisher_may_move_and_start_a_new_epoch(registry: Registry) -> None:
    registry.register(registration(epoch="e1"), owner="p1")
    assert registry.register(registration("localhost:9001", epoch="e2"), owner="p1")
    root = registry.root("foo")
    assert (root.http, root.epoch) == ("localhost:9001", "e2")


def test_renewing_is_nothing_new(registry: Registry) -> None:
    assert registry.register(registration(epoch="e1"), owner="p1")
    assert not registry.register(registration(epoch="e1", ndatasets=5), owner="p1")
    assert registry.root("foo").ndatasets == 5


def test_f6_a_silent_publisher_is_offline_since_its_lease_ran_out(registry: Registry, clock: Clock) -> None:
    registry.register(registration(), owner="p1")
    assert registry.root("foo").state == RootState.ONLINE
    clock.now += 100
    root = registry.root("foo")
    assert (root.state, root.offline_since) == (RootState.OFFLINE, 1030.0)
    registry.register(registration(), owner="p1")
    assert registry.root("foo").state == RootState.ONLINE


def test_f5_roots_and_leases_survive_a_restart_of_the_broker(tmp_path: Path, clock: Clock) -> None:
    first = Registry(tmp_path / "kept.sqlite", lease_s=30, clock=clock)
    first.register(registration(description="Beam line 3"), owner="p1")
    first.close()
    clock.now += 600
    second = Registry(tmp_path / "kept.sqlite", lease_s=30, clock=clock)
    assert second.root("foo").description == "Beam line 3"
    # The holder could not renew while the broker was down, so that nobody else gets the root at once.
    with pytest.raises(RootTaken):
        second.register(registration(), owner="p2")
    clock.now += 31
    second.register(registration(), owner="p2")
    second.close()


def test_the_original_form_replaces_itself_and_has_no_state(registry: Registry) -> None:
    registry.register(registration(), owner=None)
    registry.register(registration("localhost:9001"), owner=None)
    root = registry.root("foo")
    assert root.model_dump(mode="json", exclude_none=True) == {"name": "foo", "http": "localhost:9001"}


def test_a_root_is_retired_by_its_holder_or_an_administrator_only(registry: Registry) -> None:
    registry.register(registration(), owner="p1")
    with pytest.raises(PermissionDenied):
        registry.retire("foo", owner="p2")
    registry.retire("foo", owner="p1")
    assert registry.roots() == {}
    assert [fact.retired for fact in registry.facts()] == [True]
    with pytest.raises(RootNotFound):
        registry.retire("foo", owner=None)
    registry.register(registration(), owner="p2")
    registry.retire("foo", owner=None)
    assert registry.roots() == {}


def test_roots_keep_the_order_of_registration(registry: Registry) -> None:
    for name in ("zebra", "ant", "cat"):
        registry.register(registration(name=name), owner="p1")
    registry.register(registration(name="zebra", http="localhost:9"), owner="p1")
    assert list(registry.roots()) == ["zebra", "ant", "cat"]


@pytest.mark.parametrize("name", ["@public", "@nothing", "Foo", "a/b", "", "../x", "a" * 64])
def test_u7_names_that_cannot_be_published_are_refused(registry: Registry, name: str) -> None:
    with pytest.raises(InvalidName):
        registry.register(registration(name=name), owner="p1")

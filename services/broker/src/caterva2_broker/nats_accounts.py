"""What each kind of service may do on NATS, be it the broker's own or one of yours (requirement A11)."""

from __future__ import annotations

from caterva2.events import BUCKET_ALIVE, BUCKET_ROOTS, STREAM, SUBJECT_PREFIX
from caterva2_service.messaging import inbox_prefix
from caterva2_service.trust import Role

from .admission import Account

_BUCKETS = (f"KV_{BUCKET_ROOTS}", f"KV_{BUCKET_ALIVE}")


def user(account: Account) -> dict[str, object]:
    """Return the entry of an account in the server's configuration. What is not listed is denied."""
    return {
        "user": account.user,
        "password": account.password,
        "permissions": permissions(account.user, account.role, account.root),
    }


def permissions(user: str, role: Role, root: str | None = None) -> dict[str, object]:
    """Return what a service may do; `user` names the subjects where its answers arrive."""
    publish = _of_publisher(root) if role == Role.PUBLISHER else _of_subscriber()
    return {"publish": {"allow": publish}, "subscribe": {"allow": [f"{inbox_prefix(user)}.>"]}}


def _of_publisher(root: str | None) -> list[str]:
    """A publisher tells of its own root, and reads nothing."""
    if root is None:
        return [f"$JS.API.STREAM.INFO.KV_{BUCKET_ALIVE}"]
    return [f"{SUBJECT_PREFIX}.{root}.*", f"$KV.{BUCKET_ALIVE}.{root}", f"$JS.API.STREAM.INFO.KV_{BUCKET_ALIVE}"]


def _of_subscriber() -> list[str]:
    """A subscriber reads events, roots and heartbeats, and writes nothing."""
    allowed = [f"$JS.ACK.{STREAM}.>", f"$JS.API.CONSUMER.MSG.NEXT.{STREAM}.*", "$JS.FC.>"]
    for stream in (STREAM, *_BUCKETS):
        allowed += [
            f"$JS.API.STREAM.INFO.{stream}",
            f"$JS.API.CONSUMER.CREATE.{stream}",
            f"$JS.API.CONSUMER.CREATE.{stream}.>",
            f"$JS.API.CONSUMER.DURABLE.CREATE.{stream}.*",
            f"$JS.API.CONSUMER.INFO.{stream}.*",
            f"$JS.API.CONSUMER.DELETE.{stream}.*",
        ]
    return allowed

"""The bus: events, roots and heartbeats over NATS JetStream. The only module that imports nats.

The bus carries facts about data, never data, and it is never needed to answer a request: a service starts and serves
while NATS is down, and a wiped NATS loses nothing, because the publisher's manifest is the truth (N1 to N8).
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Self

import nats
import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext, api
from nats.js.kv import KeyValue

from caterva2 import wire
from caterva2.errors import Conflict, Unavailable
from caterva2.events import (
    ALIVE_TTL_S,
    BUCKET_ALIVE,
    BUCKET_ROOTS,
    STREAM,
    SUBJECT_PREFIX,
    DatasetEvent,
    Heartbeat,
    RootFact,
)

from .background import running
from .health import Health
from .log import get_logger
from .metrics import Metrics
from .settings import NatsSettings

Locate = Callable[[], Awaitable[wire.Bus | None]]
Callback = Callable[[], Awaitable[None]]

PART = "bus"
"""Name of the bus among the parts of `Health`."""

RETRY_MIN_S, RETRY_MAX_S = 0.2, 5.0
REQUEST_TIMEOUT_S = 5.0
PROBE_TIMEOUT_S = 3.0
PING_INTERVAL_S = 10
EVENTS_MAX_AGE_S = 7 * 24 * 3600.0
EVENTS_MAX_BYTES = 1 << 30
EVENT_MAX_BYTES = 64 * 1024
DUPLICATE_WINDOW_S = 120.0
ACK_WAIT_S = 30.0
MAX_ACK_PENDING = 256
FORGET_FOLLOWER_S = 30 * 24 * 3600.0
POLL_S = 1.0
LAG_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0, 300.0, 3600.0, 86400.0)

_PROBE_SUBJECT = f"{SUBJECT_PREFIX}.@probe.0"
"""No root has this name."""
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_-]")

log = get_logger("caterva2.bus")


def inbox_prefix(user: str | None) -> str:
    """Return the prefix of the subjects where answers for a user arrive; nobody else may listen there."""
    return f"_INBOX_{user}" if user else "_INBOX"


@dataclass(frozen=True, slots=True)
class FollowState:
    """Where a follower of events stands; any surprise in it means that the manifest must be fetched (N7)."""

    stream_created: float
    """Unix time in seconds; another value means that the stream was made anew."""
    consumer_created: float
    """Unix time in seconds; another value means that the bus forgot what was acknowledged."""
    first_seq: int
    """Oldest event that the stream still holds. Greater than ``ack_floor + 1``: events were missed."""
    last_seq: int
    ack_floor: int
    """Stream sequence up to which everything was acknowledged."""
    pending: int
    """Events of this root that were not delivered yet."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """One event, to be acknowledged after its effect is stored; otherwise it comes again."""

    event: DatasetEvent
    stream_seq: int
    message: Msg

    async def ack(self) -> None:
        """Acknowledge. Harmless when the connection is gone: the event comes again and has no effect then."""
        with contextlib.suppress(nats.errors.Error):
            await self.message.ack()


class Bus:
    """One connection that never gives up. Make it with `open`.

    Operations raise `Unavailable` while there is no connection; iterators wait and go on with the next one.
    """

    def __init__(self, locate: Locate, *, name: str, health: Health, metrics: Metrics, nats_settings: NatsSettings):
        self._locate = locate
        self._name = name
        self._health = health
        self._settings = nats_settings
        self._client: Client | None = None
        self._up = asyncio.Event()
        self._down = asyncio.Event()
        self._down.set()
        self._callbacks: list[Callback] = []
        self._limits: set[asyncio.Timeout] = set()
        self._lag = metrics.histogram(
            "event_seconds", "Time from the storing of an event by the bus to its receipt", ("durable",), LAG_BUCKETS_S
        )
        self._published = metrics.counter("bus_published", "Events stored by the bus")
        self._failed = metrics.counter("bus_publish_failures", "Events whose storing is not known")
        self._connections = metrics.counter("bus_connections", "Connections made to the bus")

    @classmethod
    @contextlib.asynccontextmanager
    async def open(
        cls,
        locate: Locate,
        *,
        name: str,
        health: Health | None = None,
        metrics: Metrics | None = None,
        nats_settings: NatsSettings | None = None,
    ) -> AsyncIterator[Self]:
        """Start connecting in the background and return at once, whether NATS is there or not.

        Parameters
        ----------
        locate
            Says where the bus is; asked again before each attempt to connect. None means: not known now.
        name
            Name of this service in the lists of NATS.
        nats_settings
            Nkey and TLS files; user and password where `locate` gives none.
        """
        bus = cls(
            locate,
            name=name,
            health=health or Health(),
            metrics=metrics or Metrics(),
            nats_settings=nats_settings or NatsSettings(),
        )
        bus._health.set(PART, ok=False, detail="not connected yet")
        try:
            async with running(bus._stay_connected(), name="bus"):
                yield bus
        finally:
            await bus._disconnect()

    @property
    def connected(self) -> bool:
        """Whether the bus can be used now."""
        return self._up.is_set()

    def on_reconnect(self, callback: Callback) -> None:
        """Call `callback` after every connection that is made, the first one included, in order of registration."""
        self._callbacks.append(callback)

    async def wait_connected(self, timeout_s: float) -> bool:
        """Wait until the bus is connected; False if it was not within `timeout_s`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._up.wait()
        return self.connected

    # --- connection ---------------------------------------------------------------------
    async def _stay_connected(self) -> None:
        wait_s = RETRY_MIN_S
        while True:
            try:
                await self._connect()
            except Exception as error:  # noqa: BLE001 - this task must live as long as the service
                self._health.set(PART, ok=False, detail=_why(error))
                log.debug("bus not reachable", why=_why(error))
                await self._disconnect()
                await asyncio.sleep(wait_s * random.uniform(0.5, 1.0))
                wait_s = min(wait_s * 1.6, RETRY_MAX_S)
                continue
            wait_s = RETRY_MIN_S
            await self._run_callbacks()
            await self._down.wait()
            log.warning("bus connection lost")
            self._health.set(PART, ok=False, detail="connection lost")
            await self._disconnect()

    async def _connect(self) -> None:
        where = await self._locate()
        if where is None or where.url is None:
            raise Unavailable("it is not known where the bus is")
        down = asyncio.Event()

        async def closed() -> None:
            down.set()
            self._up.clear()
            # nats-py lets requests wait for their time-out although the connection is gone.
            while self._limits:
                self._limits.pop().reschedule(asyncio.get_running_loop().time())

        async def failed(error: Exception) -> None:
            log.debug("bus error", why=_why(error))

        # Who is told only where an external NATS is has been given credentials of its own.
        user = where.user or self._settings.user
        password = where.password if where.user else self._settings.secret()
        self._client = Client()
        # Reconnecting is ours: each attempt asks anew where the bus is, and what hangs on a connection is made anew.
        await self._client.connect(
            servers=[url.strip() for url in where.url.split(",")],
            name=self._name,
            allow_reconnect=False,
            reconnect_time_wait=0,
            connect_timeout=4,
            ping_interval=PING_INTERVAL_S,
            max_outstanding_pings=2,
            closed_cb=closed,
            disconnected_cb=closed,
            error_cb=failed,
            inbox_prefix=inbox_prefix(user),
            user=user,
            password=password,
            nkeys_seed=str(self._settings.nkey_file) if self._settings.nkey_file else None,
            tls=_tls(self._settings),
        )
        self._down = down
        self._up.set()
        self._connections.inc()
        self._health.set(PART, ok=True)
        log.info("bus connected", url=self._client.connected_url.netloc if self._client.connected_url else "")

    async def _run_callbacks(self) -> None:
        for callback in self._callbacks:
            try:
                await callback()
            except Exception as error:  # noqa: BLE001 - one callback must not silence the others
                log.warning("what follows a connection failed", why=_why(error))

    async def _disconnect(self) -> None:
        client, self._client = self._client, None
        self._up.clear()
        if client is not None:
            with contextlib.suppress(Exception):
                async with asyncio.timeout(1):
                    await client.close()

    def _js(self) -> JetStreamContext:
        if self._client is None or not self.connected:
            raise Unavailable("The bus cannot be reached", retry_after_s=RETRY_MAX_S)
        return self._client.jetstream(timeout=REQUEST_TIMEOUT_S)

    @contextlib.asynccontextmanager
    async def _use(self, sentence: str) -> AsyncIterator[JetStreamContext]:
        """Give the connection to a block that ends as soon as it is lost; what nats raises becomes `Unavailable`."""
        js = self._js()
        try:
            async with asyncio.timeout(None) as limit:
                self._limits.add(limit)
                try:
                    yield js
                finally:
                    self._limits.discard(limit)
        except (nats.errors.Error, TimeoutError, OSError) as error:
            raise Unavailable(f"{sentence}: {_why(error)}", retry_after_s=RETRY_MAX_S) from error

    async def server_info(self) -> dict[str, Any]:
        """Return what the connected server says of itself. Raises Unavailable."""
        self._js()
        assert self._client is not None
        return dict(self._client._server_info)

    # --- declaration ---------------------------------------------------------------------
    async def declare(self, *, replicas: int = 1) -> None:
        """Make the stream and the buckets, or bring them to what they must be, and check what is there.

        Raises
        ------
        Unavailable
            If the bus cannot be reached or does not do what was asked.
        """
        async with self._use("The bus could not be set up") as js:
            await _declare_stream(js, _events_config(replicas))
            await _declare_stream(js, _bucket_config(BUCKET_ROOTS, history=5, replicas=replicas))
            await _declare_stream(
                js, _bucket_config(BUCKET_ALIVE, storage=api.StorageType.MEMORY, ttl=ALIVE_TTL_S, replicas=replicas)
            )

    # --- events ---------------------------------------------------------------------
    async def publish(self, event: DatasetEvent) -> None:
        """Store an event in the bus; returns after the bus said that it is stored.

        Raises
        ------
        Unavailable
            If that is not known. Publishing the same event again is right: the bus drops the duplicate.
        """
        try:
            async with self._use("The bus did not confirm an event") as js:
                await js.publish(
                    event.subject,
                    event.model_dump_json(exclude_none=True).encode(),
                    timeout=REQUEST_TIMEOUT_S,
                    stream=STREAM,
                    headers={api.Header.MSG_ID.value: event.message_id},
                )
        except Unavailable:
            self._failed.inc()
            raise
        self._published.inc()

    async def probe(self) -> None:
        """Store a message among the events that no follower is sent. Raises Unavailable if it is not confirmed."""
        async with self._use("The bus stores nothing") as js:
            await js.publish(_PROBE_SUBJECT, timeout=PROBE_TIMEOUT_S, stream=STREAM)

    @contextlib.asynccontextmanager
    async def follow(self, root: str, *, durable: str) -> AsyncIterator[Subscription]:
        """Receive the events of `root` that come from now on, and those that were not acknowledged before.

        Parameters
        ----------
        durable
            Name under which the bus remembers what was acknowledged, for 30 days without contact.
        """
        subscription = Subscription(self, root, _NOT_IN_NAMES.sub("_", durable))
        try:
            yield subscription
        finally:
            await subscription.close()

    async def forget(self, durable: str) -> None:
        """Delete the memory of a follower that will not come back. Raises Unavailable."""
        async with self._use("The bus could not forget a follower") as js:
            with contextlib.suppress(nats.js.errors.NotFoundError):
                await js.delete_consumer(STREAM, _NOT_IN_NAMES.sub("_", durable))

    # --- roots ---------------------------------------------------------------------
    async def put_root(self, fact: RootFact, *, last: int | None = None) -> int:
        """Store what is known of a root and return the revision.

        Parameters
        ----------
        last
            Revision that this replaces; None for a root that is not there.

        Raises
        ------
        Conflict
            If the present revision is another one.
        Unavailable
        """
        value = fact.model_dump_json(exclude_none=True).encode()
        async with self._use("The bus did not store a root") as js:
            bucket = await js.key_value(BUCKET_ROOTS)
            try:
                if last is None:
                    return await bucket.create(fact.name, value)
                return await bucket.update(fact.name, value, last=last)
            except nats.js.errors.KeyWrongLastSequenceError:
                raise Conflict(f"the bus holds another revision of root '{fact.name}'") from None

    async def get_root(self, name: str) -> tuple[RootFact, int] | None:
        """Return what the bus holds of a root, and its revision. Raises Unavailable."""
        async with self._use("The bus did not tell of a root") as js:
            bucket = await js.key_value(BUCKET_ROOTS)
            try:
                entry = await bucket.get(name)
            except nats.js.errors.NotFoundError:
                return None
            return RootFact.model_validate_json(entry.value or b""), entry.revision or 0

    async def delete_root(self, name: str) -> None:
        """Remove what the bus holds of a root. Followers see it vanish; to retire a root, put the fact that says so."""
        async with self._use("The bus did not delete a root") as js:
            bucket = await js.key_value(BUCKET_ROOTS)
            await bucket.delete(name)

    async def watch_roots(self) -> AsyncIterator[dict[str, RootFact]]:
        """Yield all roots that the bus knows, at once and after every change, across reconnections.

        A root that is missing is not known to be gone (the bus may have been wiped): only `RootFact.retired` says so.
        """
        roots: dict[str, RootFact] = {}
        complete = False
        async for change in self._watch(BUCKET_ROOTS):
            if change is _BEGIN:
                roots, complete = {}, False
            elif change is _COMPLETE:
                complete = True
                yield dict(roots)
            elif isinstance(change, _Change):
                _apply_root(roots, change)
                if complete:
                    yield dict(roots)

    # --- liveness ---------------------------------------------------------------------
    async def heartbeat(self, root: str, beat: Heartbeat) -> None:
        """Say that the publisher of `root` is alive. Raises Unavailable."""
        async with self._use("The bus did not take a heartbeat") as js:
            bucket = await js.key_value(BUCKET_ALIVE)
            await bucket.put(root, beat.model_dump_json().encode())

    async def end_heartbeat(self, root: str) -> None:
        """Say that the publisher of `root` stops, so that nobody has to wait for the expiry. Raises Unavailable."""
        async with self._use("The bus did not take a heartbeat") as js:
            bucket = await js.key_value(BUCKET_ALIVE)
            await bucket.delete(root)

    async def watch_alive(self) -> AsyncIterator[tuple[str, Heartbeat | None]]:
        """Yield every heartbeat, and None for a root whose heartbeats ended, across reconnections.

        Nothing is said while the bus cannot be reached; after a reconnection roots get a full term to show up again.
        """
        deadlines: dict[str, float] = {}
        async for change in self._watch(BUCKET_ALIVE):
            now = time.monotonic()
            if change is _BEGIN:
                deadlines = dict.fromkeys(deadlines, now + ALIVE_TTL_S)
            if isinstance(change, _Change):
                beat = _heartbeat(change)
                if beat is not None:
                    deadlines[change.key] = now + ALIVE_TTL_S
                    yield change.key, beat
                elif deadlines.pop(change.key, None) is not None:
                    yield change.key, None
            for root in [root for root, deadline in deadlines.items() if deadline < now]:
                del deadlines[root]
                yield root, None

    async def _watch(self, bucket: str) -> AsyncIterator[_Change | object]:
        """Yield `_BEGIN`, the present keys, `_COMPLETE`, then changes; from the start after each connection.

        `_TICK` comes at least every `POLL_S`.
        """
        while True:
            await self._up.wait()
            down = self._down
            try:
                async with self._use("A bucket cannot be watched") as js:
                    watcher = await (await js.key_value(bucket)).watchall()
            except Unavailable as error:
                log.debug("cannot watch", bucket=bucket, why=error.detail)
                await asyncio.sleep(RETRY_MIN_S)
                continue
            try:
                yield _BEGIN
                while not down.is_set():
                    yield await _next_change(watcher)
            finally:
                with contextlib.suppress(nats.errors.Error):
                    await watcher.stop()  # type: ignore[no-untyped-call]  # nats-py is partly typed


class Subscription:
    """The events of one root for one follower; see `Bus.follow`."""

    def __init__(self, bus: Bus, root: str, durable: str) -> None:
        self._bus = bus
        self._durable = durable
        self._subject = f"{SUBJECT_PREFIX}.{root}.*"
        self._pull: JetStreamContext.PullSubscription | None = None
        self._connection: asyncio.Event | None = None
        self.bindings = 0
        """How often the consumer was bound. A change means: look at `state` before trusting that nothing was missed."""

    async def fetch(self, max_events: int = 100, timeout_s: float = 5.0) -> list[Delivery]:
        """Return the next events, waiting at most `timeout_s` for the first; none also while the bus is down."""
        if not await self._bus.wait_connected(timeout_s):
            return []
        try:
            async with self._bus._use("Events cannot be fetched") as js:
                messages = await self._pull_messages(await self._bound(js), max_events, timeout_s)
        except Unavailable as error:
            log.debug("events cannot be fetched", durable=self._durable, why=error.detail)
            self._pull = None
            await asyncio.sleep(min(RETRY_MIN_S, timeout_s))
            return []
        for message in messages:
            self._observe_lag(message)
        deliveries = [await self._delivery(message) for message in messages]
        return [delivery for delivery in deliveries if delivery is not None]

    def _observe_lag(self, message: Msg) -> None:
        if message.metadata.num_delivered == 1:
            lag_s = time.time() - message.metadata.timestamp.timestamp()
            self._bus._lag.labels(self._durable).observe(max(0.0, lag_s))  # clocks of two machines may differ

    async def _pull_messages(
        self, pull: JetStreamContext.PullSubscription, max_events: int, timeout_s: float
    ) -> list[Msg]:
        try:
            return await pull.fetch(max_events, timeout=timeout_s)
        except nats.errors.TimeoutError:
            return []

    async def bind(self) -> None:
        """Make sure that events from now on are kept for this follower. Raises Unavailable."""
        async with self._bus._use("Events cannot be followed") as js:
            await self._bound(js)

    async def state(self) -> FollowState:
        """Return where this follower stands. Raises Unavailable."""
        async with self._bus._use("The bus did not tell its state") as js:
            await self._bound(js)
            stream = await js.stream_info(STREAM)
            consumer = await js.consumer_info(STREAM, self._durable)
        return FollowState(
            stream_created=stream.created.timestamp() if stream.created else 0.0,
            consumer_created=consumer.created.timestamp() if consumer.created else 0.0,
            first_seq=stream.state.first_seq,
            last_seq=stream.state.last_seq,
            ack_floor=consumer.ack_floor.stream_seq if consumer.ack_floor else 0,
            pending=consumer.num_pending or 0,
        )

    async def close(self) -> None:
        """Stop receiving. What is not acknowledged stays with the bus."""
        pull, self._pull = self._pull, None
        if pull is not None and self._bus.connected:
            with contextlib.suppress(nats.errors.Error):
                await pull.unsubscribe()

    async def _bound(self, js: JetStreamContext) -> JetStreamContext.PullSubscription:
        if self._pull is not None and self._connection is self._bus._down:
            return self._pull
        connection = self._bus._down
        info = await js.add_consumer(STREAM, self._consumer_config())
        if info.config is None or info.config.filter_subject != self._subject:
            raise Unavailable(f"the bus does not filter events by {self._subject}: it is too old")
        self._pull = await js.pull_subscribe_bind(durable=self._durable, stream=STREAM)
        self._connection = connection
        self.bindings += 1
        return self._pull

    def _consumer_config(self) -> api.ConsumerConfig:
        return api.ConsumerConfig(
            durable_name=self._durable,
            deliver_policy=api.DeliverPolicy.NEW,
            ack_policy=api.AckPolicy.EXPLICIT,
            ack_wait=ACK_WAIT_S,
            max_ack_pending=MAX_ACK_PENDING,
            max_deliver=-1,
            filter_subject=self._subject,
            inactive_threshold=FORGET_FOLLOWER_S,
        )

    async def _delivery(self, message: Msg) -> Delivery | None:
        try:
            event = DatasetEvent.model_validate_json(message.data)
        except ValueError:
            log.warning("not an event", subject=message.subject)
            with contextlib.suppress(nats.errors.Error):
                await message.term()
            return None
        return Delivery(event, message.metadata.sequence.stream, message)


@dataclass(frozen=True, slots=True)
class _Change:
    key: str
    value: bytes | None


_BEGIN, _COMPLETE, _TICK = object(), object(), object()


async def _next_change(watcher: KeyValue.KeyWatcher) -> _Change | object:
    try:
        entry = await watcher.updates(timeout=POLL_S)  # type: ignore[no-untyped-call]  # nats-py is partly typed
    except nats.errors.TimeoutError:
        return _TICK
    if entry is None:
        return _COMPLETE
    if not isinstance(entry, KeyValue.Entry):
        return _TICK
    return _Change(entry.key, entry.value or b"" if entry.operation is None else None)


def _apply_root(roots: dict[str, RootFact], change: _Change) -> None:
    if change.value is None:
        roots.pop(change.key, None)
        return
    try:
        roots[change.key] = RootFact.model_validate_json(change.value)
    except ValueError:
        log.warning("not a root", key=change.key)


def _heartbeat(change: _Change) -> Heartbeat | None:
    if change.value is None:
        return None
    try:
        return Heartbeat.model_validate_json(change.value)
    except ValueError:
        log.warning("not a heartbeat", key=change.key)
        return None


def _events_config(replicas: int) -> api.StreamConfig:
    return api.StreamConfig(
        name=STREAM,
        subjects=[f"{SUBJECT_PREFIX}.>"],
        retention=api.RetentionPolicy.LIMITS,
        storage=api.StorageType.FILE,
        discard=api.DiscardPolicy.OLD,
        max_age=EVENTS_MAX_AGE_S,
        max_bytes=EVENTS_MAX_BYTES,
        max_msg_size=EVENT_MAX_BYTES,
        duplicate_window=DUPLICATE_WINDOW_S,
        deny_delete=True,
        deny_purge=True,
        num_replicas=replicas,
    )


def _bucket_config(
    bucket: str,
    *,
    replicas: int,
    history: int = 1,
    storage: api.StorageType = api.StorageType.FILE,
    ttl: float | None = None,
) -> api.StreamConfig:
    """Return the stream behind a key-value bucket (NATS ADR-8)."""
    return api.StreamConfig(
        name=f"KV_{bucket}",
        subjects=[f"$KV.{bucket}.>"],
        storage=storage,
        discard=api.DiscardPolicy.NEW,
        max_age=ttl or 0,
        max_bytes=64 << 20,
        max_msg_size=EVENT_MAX_BYTES,
        max_msgs_per_subject=history,
        duplicate_window=min(ttl or DUPLICATE_WINDOW_S, DUPLICATE_WINDOW_S),
        allow_rollup_hdrs=True,
        allow_direct=True,
        deny_delete=True,
        num_replicas=replicas,
    )


_CHECKED = ("subjects", "storage", "max_age", "max_msg_size", "max_msgs_per_subject", "deny_delete", "deny_purge")


async def _declare_stream(js: JetStreamContext, wanted: api.StreamConfig) -> None:
    assert wanted.name is not None
    try:
        found = (await js.stream_info(wanted.name)).config
    except nats.js.errors.NotFoundError:
        found = (await js.add_stream(wanted)).config
        log.info("stream made", stream=wanted.name)
    if _differences(wanted, found):
        found = (await js.update_stream(wanted)).config
    wrong = _differences(wanted, found)
    if wrong:
        raise Unavailable(f"stream {wanted.name} of the bus has other settings than asked for: {', '.join(wrong)}")


def _differences(wanted: api.StreamConfig, found: api.StreamConfig) -> list[str]:
    return [name for name in _CHECKED if (getattr(wanted, name) or 0) != (getattr(found, name) or 0)]


def _why(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "no answer, or the connection was lost"
    return (str(error).removeprefix("nats: ") or type(error).__name__)[:200]


def _tls(settings: NatsSettings) -> ssl.SSLContext | None:
    if settings.tls_ca is None and settings.tls_cert is None:
        return None
    context = ssl.create_default_context(cafile=str(settings.tls_ca) if settings.tls_ca else None)
    if settings.tls_cert is not None:
        context.load_cert_chain(settings.tls_cert, settings.tls_key)
    return context

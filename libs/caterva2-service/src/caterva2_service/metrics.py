"""Prometheus metrics of one application."""

from __future__ import annotations

from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

__all__ = ["CONTENT_TYPE_LATEST", "Metrics"]

_LATENCY_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metrics:
    """Metrics in a registry of their own: two applications in one process do not meet.

    Names get the prefix ``caterva2_``. Requests are counted for every service.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = self.counter("http_requests", "Requests answered", ("method", "route", "status"))
        self.request_seconds = self.histogram("http_request_seconds", "Time to answer a request", ("method", "route"))

    def counter(self, name: str, documentation: str, labels: Sequence[str] = ()) -> Counter:
        """Return a new counter; its exposed name ends in ``_total``."""
        return Counter(f"caterva2_{name}", documentation, labels, registry=self.registry)

    def gauge(self, name: str, documentation: str, labels: Sequence[str] = ()) -> Gauge:
        """Return a new gauge."""
        return Gauge(f"caterva2_{name}", documentation, labels, registry=self.registry)

    def histogram(
        self, name: str, documentation: str, labels: Sequence[str] = (), buckets: Sequence[float] = _LATENCY_BUCKETS_S
    ) -> Histogram:
        """Return a new histogram; `buckets` are upper bounds, in seconds by default."""
        return Histogram(f"caterva2_{name}", documentation, labels, registry=self.registry, buckets=buckets)

    def exposition(self) -> bytes:
        """Return everything in the text format of Prometheus."""
        return generate_latest(self.registry)

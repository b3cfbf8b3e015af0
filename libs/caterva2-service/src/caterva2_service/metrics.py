"""Prometheus metrics of one application."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from .health import Health

__all__ = ["CONTENT_TYPE_LATEST", "PART_OK", "Metrics", "merged"]

PART_OK = "caterva2_part_ok"

_LATENCY_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metrics:
    """Metrics in a registry of their own: two applications in one process do not meet.

    Names get the prefix ``caterva2_``. Requests are counted for every service.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._before: Callable[[], None] = lambda: None
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

    def report_parts(self, health: Health) -> None:
        """Show which parts of the service work."""
        part_ok = self.gauge("part_ok", "Whether a part that the service depends on works (1) or not (0)", ("part",))

        def show() -> None:
            for name, part in health.snapshot().items():
                part_ok.labels(name).set(part.ok)

        self._before = show

    def exposition(self) -> bytes:
        """Return everything in the text format of Prometheus."""
        self._before()
        return generate_latest(self.registry)


def merged(expositions: Iterable[bytes]) -> bytes:
    """Return the metrics of several processes of one service as those of one.

    Counters and histograms are added up. Of gauges the largest value counts, as what they say of a shared thing is the
    same in each process; of whether a part works, the smallest.
    """
    texts = list(expositions)
    if len(texts) == 1:
        return texts[0]
    families: dict[str, Metric] = {}
    values: dict[tuple[str, str, tuple[tuple[str, str], ...]], float] = {}
    for text in texts:
        for family in text_string_to_metric_families(text.decode()):
            families.setdefault(family.name, Metric(family.name, family.documentation, family.type))
            for sample in family.samples:
                key = (family.name, sample.name, tuple(sample.labels.items()))
                known = values.get(key)
                values[key] = sample.value if known is None else _both(family, known, sample.value)
    for (name, sample_name, labels), value in values.items():
        families[name].add_sample(sample_name, dict(labels), value)
    registry = CollectorRegistry()
    registry.register(_Found(list(families.values())))
    return generate_latest(registry)


def _both(family: Metric, one: float, other: float) -> float:
    if family.type != "gauge":
        return one + other
    return min(one, other) if family.name == PART_OK else max(one, other)


class _Found(Collector):
    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> list[Metric]:
        return self._families

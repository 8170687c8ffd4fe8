"""What Prometheus reads: calls and their times, generations by state, webhooks by outcome."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    Metric,
    SummaryMetricFamily,
)
from prometheus_client.registry import Collector

from gateway.tally import Ended

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
# Seconds; a call waits for a database, at most for a worker that enriches a prompt.
_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


@dataclass(frozen=True, slots=True, kw_only=True)
class Levels:
    """What stands in the database now."""

    generations: Mapping[str, int]  # by status; only those that have not ended
    oldest_seconds: float  # since the oldest of them was accepted; 0 without any
    webhooks_waiting: int
    ended: Ended


class Metrics:
    """The numbers of one app. Labels are of small sets: routes are templates, never paths."""

    def __init__(
        self,
        levels: Callable[[], Levels] | None = None,
        loops: Callable[[], bool] | None = None,
    ) -> None:
        """`levels` reads the database; `loops` says whether they run."""
        self._registry = CollectorRegistry()
        self._calls = Counter(
            "ltx2_gateway_requests_total",
            "Calls that were answered.",
            ("method", "route", "status"),
            registry=self._registry,
        )
        self._seconds = Histogram(
            "ltx2_gateway_request_seconds",
            "Seconds from a call to the start of its answer.",
            ("method", "route"),
            buckets=_BUCKETS,
            registry=self._registry,
        )
        self._streams = Gauge(
            "ltx2_gateway_event_streams", "Open streams of events.", registry=self._registry
        )
        self._limited = Counter(
            "ltx2_gateway_limited_total", "Calls over a limit.", ("kind",), registry=self._registry
        )
        self._webhooks = Counter(
            "ltx2_gateway_webhooks_total",
            "Tries to deliver a webhook.",
            ("outcome",),
            registry=self._registry,
        )
        self._platform = Counter(
            "ltx2_gateway_platform_calls_total",
            "Calls to the worker's platform.",
            ("call", "outcome"),
            registry=self._registry,
        )
        if loops is not None:
            alive = Gauge(
                "ltx2_gateway_loops_alive",
                "1 where all loops of this gateway run and tell so, else 0.",
                registry=self._registry,
            )
            alive.set_function(lambda: float(loops()))
        if levels is not None:
            self._registry.register(_Stored(levels))

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """A call was answered."""
        self._calls.labels(method, route, str(status)).inc()
        self._seconds.labels(method, route).observe(seconds)

    def limited(self, kind: str) -> None:
        """A call was refused for a limit."""
        self._limited.labels(kind).inc()

    def stream_opened(self) -> None:
        """A stream of events began."""
        self._streams.inc()

    def stream_closed(self) -> None:
        """It ended."""
        self._streams.dec()

    def webhook(self, outcome: str) -> None:
        """A webhook was tried."""
        self._webhooks.labels(outcome).inc()

    def platform(self, call: str, outcome: str) -> None:
        """The worker's platform was called; `outcome` is ok or the name of what it raised."""
        self._platform.labels(call, outcome).inc()

    def text(self) -> bytes:
        """Everything, in Prometheus' own format."""
        return generate_latest(self._registry)


class _Stored(Collector):
    """Read from the database when Prometheus asks, so that every process says the same."""

    def __init__(self, levels: Callable[[], Levels]) -> None:
        self._levels = levels

    def describe(self) -> Iterator[Metric]:
        """Nothing, so that registering does not ask the database."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """The numbers as they are now."""
        levels = self._levels()
        live = GaugeMetricFamily(
            "ltx2_gateway_generations", "Generations that have not ended.", labels=["status"]
        )
        for status, count in levels.generations.items():
            live.add_metric([status], count)
        yield live
        yield GaugeMetricFamily(
            "ltx2_gateway_oldest_generation_seconds",
            "Seconds since the oldest generation that has not ended was accepted.",
            value=levels.oldest_seconds,
        )
        yield GaugeMetricFamily(
            "ltx2_gateway_webhooks_waiting",
            "Webhooks that wait for a try.",
            value=levels.webhooks_waiting,
        )
        yield from _ended(levels.ended)


def _ended(ended: Ended) -> Iterator[Metric]:
    outcomes = CounterMetricFamily(
        "ltx2_gateway_generations_ended",
        "Generations that have ended; without the last half minute.",
        labels=["status", "error"],
    )
    for (status, error), count in ended.outcomes.items():
        outcomes.add_metric([status, error], count)
    yield outcomes
    for name, told, counts, sums in (
        ("queue", "waited for a worker", ended.queued, ended.queue_ms),
        ("execution", "were worked at", ended.executed, ended.execution_ms),
    ):
        summary = SummaryMetricFamily(
            f"ltx2_gateway_{name}_seconds",
            f"Seconds that generations which have ended {told}, by its platform.",
            labels=["mode"],
        )
        for mode, count in counts.items():
            summary.add_metric([mode], count_value=count, sum_value=sums[mode] / 1000)
        yield summary

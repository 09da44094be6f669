"""What is counted, for Prometheus: one registry a server, nothing global."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.process_collector import ProcessCollector

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
BATCHES = (1, 2, 4, 8, 16, 32)


class Counters:
    """Labels are of few values: routes, codes, stages. No name of a photo, no landmark, no key."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self.requests = Counter("whichlandmark_requests", "Requests answered.",
                                ["route", "method", "status"], registry=registry)  # fmt: skip
        self.seconds = Histogram("whichlandmark_request_seconds", "Of a request.", ["route"],
                                 buckets=SECONDS, registry=registry)  # fmt: skip
        self.photos = Counter("whichlandmark_photos", "Photos answered, by decision or error.",
                              ["outcome"], registry=registry)  # fmt: skip
        self.stages = Histogram("whichlandmark_stage_seconds", "Seconds of a photo in a stage.",
                                ["stage"], buckets=SECONDS, registry=registry)  # fmt: skip
        self.batch = Histogram("whichlandmark_batch_photos", "Photos embedded at once.",
                               buckets=BATCHES, registry=registry)  # fmt: skip
        self.workers = Counter("whichlandmark_workers_replaced", "Decode workers replaced, by why.",
                               ["why"], registry=registry)  # fmt: skip
        self.queue = Gauge("whichlandmark_queue_photos", "Photos accepted and not yet answered.",
                           registry=registry)  # fmt: skip
        self.line = Gauge("whichlandmark_line_requests", "Requests that wait for room.",
                          registry=registry)  # fmt: skip
        self.generation = Gauge("whichlandmark_gallery_generation", "Generation that answers.",
                                registry=registry)  # fmt: skip

    def text(self) -> bytes:
        """In Prometheus' text format."""
        return generate_latest(self.registry)

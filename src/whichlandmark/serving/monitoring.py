"""Prometheus metrics and JSON logs, neither with data of photos."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.process_collector import ProcessCollector

LATENCY_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)

BATCH_BUCKETS = (1, 2, 4, 8, 16, 32)


class Counters:
    """Metrics. Labels are routes, codes and stages, never names of photos, landmarks or keys."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self.requests = Counter(
            "whichlandmark_requests",
            "Requests answered.",
            ["route", "method", "status"],
            registry=registry,
        )
        self.seconds = Histogram(
            "whichlandmark_request_seconds",
            "Duration of a request.",
            ["route"],
            buckets=LATENCY_BUCKETS,
            registry=registry,
        )
        self.photos = Counter(
            "whichlandmark_photos",
            "Photos answered, by decision or error.",
            ["outcome"],
            registry=registry,
        )
        self.stages = Histogram(
            "whichlandmark_stage_seconds",
            "Duration of a stage for one photo.",
            ["stage"],
            buckets=LATENCY_BUCKETS,
            registry=registry,
        )
        self.batch = Histogram(
            "whichlandmark_batch_photos",
            "Photos in a batch.",
            buckets=BATCH_BUCKETS,
            registry=registry,
        )
        self.workers = Counter(
            "whichlandmark_workers_replaced",
            "Decode workers replaced, by reason.",
            ["why"],
            registry=registry,
        )
        self.queue = Gauge(
            "whichlandmark_queue_photos", "Photos accepted and not yet answered.", registry=registry
        )
        self.waiting = Gauge(
            "whichlandmark_line_requests", "Requests that wait for capacity.", registry=registry
        )
        self.generation = Gauge(
            "whichlandmark_gallery_generation",
            "Generation of the gallery in use.",
            registry=registry,
        )

    def text(self) -> bytes:
        """All metrics in the text format of Prometheus."""
        return generate_latest(self.registry)


# Extra fields of a log record; others are dropped, so that no data of a photo is logged.
LOGGED_FIELDS = (
    "request_id",
    "method",
    "route",
    "status",
    "ms",
    "photos",
    "bytes",
    "key",
    "code",
    "generation",
    "address",  # only with --log-addresses
)


class JsonLines(logging.Formatter):
    """Formats a log record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """time (UTC), level, event, extra fields; type and code locations of an exception."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
        }
        line |= {name: getattr(record, name) for name in LOGGED_FIELDS if hasattr(record, name)}
        if record.exc_info and record.exc_info[0] is not None:
            line["exception"] = record.exc_info[0].__name__
            line["where"] = _code_locations(record.exc_info[2])
        return json.dumps(line, ensure_ascii=False)


def _code_locations(trace: Any) -> list[str]:
    """File, line and function of the last 12 frames, without values, which may be user data."""
    locations = []
    while trace is not None:
        code = trace.tb_frame.f_code
        locations.append(f"{code.co_filename.rsplit('/', 1)[-1]}:{trace.tb_lineno} {code.co_name}")
        trace = trace.tb_next
    return locations[-12:]


def start_logging(level: int = logging.INFO) -> None:
    """Send all logs of this process to stderr as JSON lines. level: for this package."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("whichlandmark").setLevel(level)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logger = logging.getLogger(name)
        logger.handlers[:] = []
        logger.propagate = name != "uvicorn.access"

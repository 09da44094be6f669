"""Prometheus metrics, JSON logs."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any

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


# What a record may carry besides its message: a closed list, so that nothing slips in.
FIELDS = ("request_id", "method", "route", "status", "ms", "photos", "bytes", "key", "code",
          "generation")  # fmt: skip


class JsonLines(logging.Formatter):
    """A record → one line."""

    def format(self, record: logging.LogRecord) -> str:
        """time (UTC), level, event, the fields that were given; where an exception came from."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
        }
        line |= {name: getattr(record, name) for name in FIELDS if hasattr(record, name)}
        if record.exc_info and record.exc_info[0] is not None:
            line["exception"] = record.exc_info[0].__name__
            line["where"] = _where(record.exc_info[2])
        return json.dumps(line, ensure_ascii=False)


def _where(trace: Any) -> list[str]:
    """Files and lines, without the values and messages, which may hold what was sent."""
    places = []
    while trace is not None:
        code = trace.tb_frame.f_code
        places.append(f"{code.co_filename.rsplit('/', 1)[-1]}:{trace.tb_lineno} {code.co_name}")
        trace = trace.tb_next
    return places[-12:]


def start_logging(level: int = logging.INFO) -> None:
    """Everything of this process goes to stderr as JSON lines."""
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

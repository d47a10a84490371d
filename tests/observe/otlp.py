"""A real OTLP receiver over HTTP on loopback, for tests to look at."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)


@dataclass
class Received:
    """A span as it came over the wire."""

    id: str
    trace: str
    parent: str
    name: str
    start: float
    end: float
    attributes: dict[str, Any]
    events: list[tuple[str, dict[str, Any]]]
    failed: bool
    message: str


class Receiver:
    """Spans in the order of arrival."""

    def __init__(self) -> None:
        self.spans: list[Received] = []
        self.url = ""

    def named(self, name: str) -> list[Received]:
        return [each for each in self.spans if each.name == name]

    def parent(self, span: Received) -> Received:
        (found,) = [each for each in self.spans if each.id == span.parent]
        return found


def _values(attributes: Any) -> dict[str, Any]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in attributes}


@contextmanager
def receiver() -> Iterator[Receiver]:
    """A receiver while the block runs."""
    received = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            request = ExportTraceServiceRequest.FromString(body)
            for resource in request.resource_spans:
                for scope in resource.scope_spans:
                    for span in scope.spans:
                        received.spans.append(
                            Received(
                                id=span.span_id.hex(),
                                trace=span.trace_id.hex(),
                                parent=span.parent_span_id.hex(),
                                name=span.name,
                                start=span.start_time_unix_nano / 1e9,
                                end=span.end_time_unix_nano / 1e9,
                                attributes=_values(span.attributes),
                                events=[(e.name, _values(e.attributes)) for e in span.events],
                                failed=span.status.code == 2,
                                message=span.status.message,
                            )
                        )
            answer = ExportTraceServiceResponse().SerializeToString()
            self.send_response(200)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    received.url = f"http://127.0.0.1:{server.server_port}/v1/traces"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield received
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

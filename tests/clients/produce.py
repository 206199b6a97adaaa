"""Feeds a Kafka topic with Kafka's own Python client: events as the portal makes them, and everything that Kafka allows
and the portal does not do: no key, an empty key, headers without value, not of UTF-8, repeated; null values."""

import argparse
import json
import uuid

from confluent_kafka import Producer


def event(number):
    return {
        "event_id": str(uuid.UUID(int=number)),
        "event_type": "job.status.changed",
        "timestamp": "2026-01-31T12:00:00.000Z",
        "correlation_id": str(uuid.UUID(int=number + 1000)),
        "user_id": "user-1",
        "schema_version": 1,
        "payload": {"job_id": f"job-{number}", "previous_status": "QUEUED", "new_status": "RUNNING", "reason": "naïve ✓"},
    }


def records():
    portal = [("content-type", b"application/json"), ("timestamp", b"2026-01-31T12:00:00.000Z")]
    yield {"key": b"portal", "headers": portal}
    yield {"key": None, "headers": portal}
    yield {"key": b"", "headers": []}
    yield {"key": "schlüssel-✓".encode(), "headers": [("naïve", "✓".encode())]}
    yield {"key": b"\xff\xfe\x00", "headers": portal}
    yield {"key": b"null-header", "headers": [("nothing", None), ("something", b"1")]}
    yield {"key": b"binary-header", "headers": [("trace", b"\xff\x00\xfe")]}
    yield {"key": b"repeated-header", "headers": [("tag", b"a"), ("tag", b"b")]}
    yield {"key": b"tombstone", "headers": portal, "value": None}


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--brokers", required=True)
    arguments.add_argument("--topic", required=True)
    arguments = arguments.parse_args()
    failures = []
    producer = Producer({"bootstrap.servers": arguments.brokers, "compression.type": "gzip"})
    for number, record in enumerate(records()):
        value = record.get("value", json.dumps(event(number), ensure_ascii=False).encode())
        if "value" in record:
            value = record["value"]
        producer.produce(
            arguments.topic,
            partition=0,
            key=record["key"],
            value=value,
            headers=record["headers"],
            timestamp=1_769_860_800_000 + number,
            on_delivery=lambda error, _: failures.append(error) if error else None,
        )
    producer.flush(60)
    assert not failures, failures


main()

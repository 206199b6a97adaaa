"""Feeds a Kafka topic with Confluent's own serializer and schema registry. Standard input has one line of JSON for each
record: {"schema": ..., "value": ..., "key": ..., "timestamp": ...}, where a value fits its Avro schema, or, to write what no
serializer would, {"raw": BASE64}. A null value is a tombstone. Standard output has a line for each record, in its order:
where it went, and the id of its schema."""

import argparse
import base64
import json
import sys

from confluent_kafka import Producer
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext


class Serializers:
    """One for each schema: the serializer registers it, once, under the topic's subject."""

    def __init__(self, url, topic):
        self.registry = SchemaRegistryClient({"url": url})
        self.context = SerializationContext(topic, MessageField.VALUE)
        self.by_schema = {}

    def bytes_of(self, record):
        if "raw" in record:
            return base64.b64decode(record["raw"])
        if record["value"] is None:
            return None
        schema = json.dumps(record["schema"])
        if schema not in self.by_schema:
            self.by_schema[schema] = AvroSerializer(self.registry, schema)
        return self.by_schema[schema](record["value"], self.context)


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    for name in ("brokers", "registry", "topic"):
        arguments.add_argument(f"--{name}", required=True)
    arguments = arguments.parse_args()
    serializers = Serializers(arguments.registry, arguments.topic)
    producer = Producer({"bootstrap.servers": arguments.brokers, "enable.idempotence": True})
    written, failures = [], []

    def delivered(number, schema_id):
        def on_delivery(error, message):
            if error:
                failures.append(error)
            else:
                place = {"partition": message.partition(), "offset": message.offset()}
                written.append((number, {**place, "schema_id": schema_id}))

        return on_delivery

    for number, line in enumerate(sys.stdin):
        record = json.loads(line)
        value = serializers.bytes_of(record)
        framed = value is not None and "raw" not in record
        schema_id = int.from_bytes(value[1:5], "big") if framed else None
        producer.produce(
            arguments.topic,
            key=record.get("key"),
            value=value,
            timestamp=record.get("timestamp", 0),
            on_delivery=delivered(number, schema_id),
        )
        producer.poll(0)
    producer.flush(60)
    assert not failures, failures
    for _, place in sorted(written, key=lambda one: one[0]):
        print(json.dumps(place))


main()

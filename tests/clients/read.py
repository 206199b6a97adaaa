"""Reads a Pulsar topic from its beginning with Pulsar's own Python client, by the topic's own schema.

One line of JSON for each message: what a foreign consumer sees of it. Values are read as the schema says that `--by`
names: the topic's newest ("newest"), or the version that the message was written under, alone, with nothing left
over ("version"); or they are shown in base64 ("bytes").
"""

import argparse
import base64
import functools
import io
import json
import urllib.request

import fastavro
import pulsar
from pulsar.schema import AvroSchema, BytesSchema


def topic_schema(admin_url, topic, version=""):
    path = topic.split("://", 1)[1]
    with urllib.request.urlopen(f"{admin_url}/admin/v2/schemas/{path}/schema{version}") as answer:
        schema = json.load(answer)
    assert schema["type"] == "AVRO", schema["type"]
    return json.loads(schema["data"])


def by_version(admin_url, topic):
    @functools.cache
    def schema(version):
        return fastavro.parse_schema(topic_schema(admin_url, topic, f"/{version}"))

    def value(message):
        body = io.BytesIO(message.data())
        read = fastavro.schemaless_reader(body, schema(message._message.int_schema_version()), None)
        assert not body.read(1), "bytes are left over"
        return read

    return value


def partition(message):
    _, _, number = message.topic_name().rpartition("-partition-")
    return int(number) if number.isdecimal() else None


def seen(message, value):
    null = message.has_null_value()
    return {
        "partition": partition(message),
        "producer": message.producer_name(),
        "key": message.partition_key(),
        "event_time": message.event_timestamp(),
        "properties": message.properties(),
        "version": message._message.int_schema_version(),
        "value": None if null else value(message),
    }


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    for name in ("url", "admin-url", "topic"):
        arguments.add_argument(f"--{name}", required=True)
    arguments.add_argument("--count", type=int, required=True)
    arguments.add_argument("--by", choices=("newest", "version", "bytes"), default="newest")
    arguments = arguments.parse_args()
    schema, value = BytesSchema(), lambda message: base64.b64encode(message.data()).decode()
    if arguments.by == "newest":
        newest = topic_schema(arguments.admin_url, arguments.topic)
        schema, value = AvroSchema(None, schema_definition=newest), lambda message: message.value()
    elif arguments.by == "version":
        value = by_version(arguments.admin_url, arguments.topic)
    client = pulsar.Client(arguments.url, logger=pulsar.ConsoleLogger(pulsar.LoggerLevel.Error))
    consumer = client.subscribe(
        arguments.topic,
        "foreign-python",
        schema=schema,
        initial_position=pulsar.InitialPosition.Earliest,
    )
    for _ in range(arguments.count):
        message = consumer.receive(timeout_millis=30_000)
        print(json.dumps(seen(message, value)))
        consumer.acknowledge(message)
    consumer.unsubscribe()
    client.close()


main()

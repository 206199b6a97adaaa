"""Writes events with Confluent's own serializer under several schemas, as their producers would.

    serialize.py REGISTRY-URL SUFFIX CONTRACT

Prints a line of JSON per event: its body, and the datum that fastavro resolves it to by the contract, both in hex.
"""

import io
import json
import sys

import fastavro
from confluent_kafka.schema_registry import Schema, SchemaReference, SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

url, suffix, contract = sys.argv[1:]
contract = json.loads(contract)
client = SchemaRegistryClient({"url": url})

level = {"type": "enum", "name": "shop.Level", "symbols": ["LOW", "HIGH"]}
client.register_schema(f"level-{suffix}", Schema(json.dumps(level), "AVRO"))
to_level = [SchemaReference("shop.Level", f"level-{suffix}", 1)]


def record(*fields):
    return {"type": "record", "name": "shop.Order", "fields": list(fields)}


def field(name, kind):
    return {"name": name, "type": kind}


writers = [
    (contract, [], [
        {"id": "a", "count": 2**40, "price": 1.5, "level": "LOW", "note": None, "parts": {"x": [1, 2], "y": []}},
        {"id": "é😀", "count": -1, "price": 0.0, "level": "NEW", "note": "n", "parts": {}},
    ]),
    # As before there were counts of 64 bits, levels, notes; under the name that the field had.
    (record(field("extra", {"type": "array", "items": "string"}), field("order_id", "string"), field("count", "int"),
            field("price", "int")), [],
     [{"extra": ["x"] * 70, "order_id": "b", "count": 7, "price": 3}]),
    # In another order, with a type from another subject.
    (record(field("parts", {"type": "map", "values": {"type": "array", "items": "int"}}), field("level", "shop.Level"),
            field("note", ["string", "null"]), field("price", "float"), field("count", "long"), field("id", "bytes")),
     to_level,
     [{"parts": {"p": [-5]}, "level": "HIGH", "note": "text", "price": 0.25, "count": 9, "id": b"bytes"},
      {"parts": {}, "level": "LOW", "note": None, "price": 1e10, "count": 0, "id": b""}]),
]

reader = fastavro.parse_schema(contract)
for number, (schema, references, events) in enumerate(writers):
    registered = Schema(json.dumps(schema), "AVRO", references)
    serializer = AvroSerializer(client, registered)
    for event in events:
        body = serializer(event, SerializationContext(f"orders-{suffix}-{number}", MessageField.VALUE))
        named = {"shop.Level": level} if references else {}
        parsed = fastavro.parse_schema(schema, named_schemas=dict(
            (name, fastavro.parse_schema(one)) for name, one in named.items()))
        value = fastavro.schemaless_reader(io.BytesIO(body[5:]), parsed, reader)
        datum = io.BytesIO()
        fastavro.schemaless_writer(datum, reader, value)
        print(json.dumps({"body": body.hex(), "datum": datum.getvalue().hex()}))

//! An AMQP message, as a record.

use std::borrow::Cow;

use lapin::BasicProperties;
use lapin::message::Delivery;
use lapin::types::{AMQPValue, FieldTable, ShortString};
use serde_json::{Value, json};

use crate::config::KeyFrom;
use crate::record::{Header, Offset, Record};

/// What the server adds by itself, and not the same at every delivery.
const OF_THE_DELIVERY: [&str; 3] = ["x-delivery-count", "x-acquired-count", "x-stream-offset"];

/// Shows a delivery as a record. Texts are borrowed from the delivery; only numbers and nested values become texts.
pub(super) fn show(delivery: &Delivery, offset: Offset, key: Option<&KeyFrom>, visit: &mut dyn FnMut(Record<'_>)) {
    let properties = &delivery.properties;
    let mut fields: Vec<(&str, Option<Cow<'_, [u8]>>)> = Vec::new();
    for (name, value) in properties.headers().iter().flat_map(FieldTable::inner) {
        if !OF_THE_DELIVERY.contains(&name.as_str()) {
            fields.push((name.as_str(), bytes_of(value)));
        }
    }
    let first_property = fields.len();
    add_properties(properties, &mut fields);
    fields.push(("amqp.exchange", Some(Cow::Borrowed(delivery.exchange.as_str().as_bytes()))));
    fields.push(("amqp.routing-key", Some(Cow::Borrowed(delivery.routing_key.as_str().as_bytes()))));
    let headers: Vec<Header<'_>> =
        fields.iter().map(|(name, value)| Header { name, value: value.as_deref() }).collect();
    let key = match key {
        None => None,
        Some(KeyFrom::RoutingKey) => Some(delivery.routing_key.as_str().as_bytes()),
        // Only the sender's own headers, not the properties behind them.
        Some(KeyFrom::Header(wanted)) => {
            headers[..first_property].iter().find(|header| header.name == wanted).and_then(|header| header.value)
        }
    };
    visit(Record {
        offset,
        timestamp_ms: timestamp_ms(properties),
        key,
        value: Some(&delivery.data),
        headers: &headers,
    });
}

/// AMQP's stamp counts seconds.
fn timestamp_ms(properties: &BasicProperties) -> Option<u64> {
    properties.timestamp().map(|seconds| seconds.saturating_mul(1000))
}

fn add_properties<'a>(properties: &'a BasicProperties, fields: &mut Vec<(&'a str, Option<Cow<'a, [u8]>>)>) {
    let texts: [(&str, &Option<ShortString>); 10] = [
        ("amqp.message-id", properties.message_id()),
        ("amqp.correlation-id", properties.correlation_id()),
        ("amqp.type", properties.kind()),
        ("amqp.content-type", properties.content_type()),
        ("amqp.content-encoding", properties.content_encoding()),
        ("amqp.reply-to", properties.reply_to()),
        ("amqp.expiration", properties.expiration()),
        ("amqp.app-id", properties.app_id()),
        ("amqp.user-id", properties.user_id()),
        ("amqp.cluster-id", properties.cluster_id()),
    ];
    for (name, value) in texts {
        if let Some(text) = value {
            fields.push((name, Some(Cow::Borrowed(text.as_str().as_bytes()))));
        }
    }
    let numbers = [
        ("amqp.timestamp", *properties.timestamp()),
        ("amqp.priority", properties.priority().map(u64::from)),
        ("amqp.delivery-mode", properties.delivery_mode().map(u64::from)),
    ];
    for (name, value) in numbers {
        if let Some(number) = value {
            fields.push((name, Some(Cow::Owned(number.to_string().into_bytes()))));
        }
    }
}

/// A header's value: bytes as they are, other scalars as their text, null as none, tables and arrays as JSON.
fn bytes_of(value: &AMQPValue) -> Option<Cow<'_, [u8]>> {
    Some(match value {
        AMQPValue::Void => return None,
        AMQPValue::LongString(text) => Cow::Borrowed(text.as_bytes()),
        AMQPValue::ShortString(text) => Cow::Borrowed(text.as_str().as_bytes()),
        AMQPValue::ByteArray(bytes) => Cow::Borrowed(bytes.as_slice()),
        AMQPValue::DecimalValue(number) => Cow::Owned(decimal(number.value, number.scale).into_bytes()),
        other => Cow::Owned(json_of(other).to_string().into_bytes()),
    })
}

/// A value as JSON. Texts that are not UTF-8 are shown with replacement characters here, and only here.
fn json_of(value: &AMQPValue) -> Value {
    match value {
        AMQPValue::Boolean(value) => json!(value),
        AMQPValue::ShortShortInt(value) => json!(value),
        AMQPValue::ShortShortUInt(value) => json!(value),
        AMQPValue::ShortInt(value) => json!(value),
        AMQPValue::ShortUInt(value) => json!(value),
        AMQPValue::LongInt(value) => json!(value),
        AMQPValue::LongUInt(value) => json!(value),
        AMQPValue::LongLongInt(value) => json!(value),
        AMQPValue::Timestamp(value) => json!(value),
        AMQPValue::Float(value) => json!(value),
        AMQPValue::Double(value) => json!(value),
        AMQPValue::DecimalValue(value) => json!(decimal(value.value, value.scale)),
        AMQPValue::ShortString(text) => json!(text.as_str()),
        AMQPValue::LongString(text) => json!(String::from_utf8_lossy(text.as_bytes())),
        AMQPValue::ByteArray(bytes) => json!(String::from_utf8_lossy(bytes.as_slice())),
        AMQPValue::FieldArray(items) => items.as_slice().iter().map(json_of).collect(),
        AMQPValue::FieldTable(table) => {
            Value::Object(table.inner().iter().map(|(name, value)| (name.to_string(), json_of(value))).collect())
        }
        AMQPValue::Void => Value::Null,
    }
}

/// A decimal as its text: `scale` digits of `value` stand behind the point.
fn decimal(value: u32, scale: u8) -> String {
    let scale = usize::from(scale);
    let digits = format!("{value:0>width$}", width = scale + 1);
    match scale {
        0 => digits,
        _ => format!("{}.{}", &digits[..digits.len() - scale], &digits[digits.len() - scale..]),
    }
}

/// A table of AMQP as the headers of a delivery: their names, and the sizes of their values. `None`: no table.
#[cfg(feature = "fuzzing")]
pub(crate) fn headers_in(table: &[u8]) -> Option<Vec<(String, Option<usize>)>> {
    let (_, table) = lapin::types::parsing::parse_field_table(table).ok()?;
    let mut delivery = Delivery::mock(1, "e".into(), "r".into(), false, Vec::new());
    delivery.properties = BasicProperties::default().with_headers(table);
    let mut seen = Vec::new();
    show(&delivery, 1, Some(&KeyFrom::Header("key".to_owned())), &mut |record| {
        seen = record.headers.iter().map(|header| (header.name.to_owned(), header.value.map(<[u8]>::len))).collect();
    });
    Some(seen)
}

#[cfg(test)]
mod tests {
    use lapin::types::{DecimalValue, FieldArray};

    use super::*;

    fn delivery() -> Delivery {
        let mut nested = FieldTable::default();
        nested.insert("a".into(), AMQPValue::LongInt(1));
        let mut headers = FieldTable::default();
        headers.insert("binary".into(), AMQPValue::LongString(vec![0xff, 0].into()));
        headers.insert("decimal".into(), AMQPValue::DecimalValue(DecimalValue { scale: 3, value: 12 }));
        headers.insert("list".into(), AMQPValue::FieldArray(FieldArray::from(vec![AMQPValue::FieldTable(nested)])));
        headers.insert("null".into(), AMQPValue::Void);
        headers.insert("number".into(), AMQPValue::LongLongInt(-5));
        headers.insert("x-delivery-count".into(), AMQPValue::LongLongInt(3));
        headers.insert("yes".into(), AMQPValue::Boolean(true));
        let mut delivery = Delivery::mock(1, "e".into(), "r.k".into(), false, b"body".to_vec());
        delivery.properties = BasicProperties::default()
            .with_headers(headers)
            .with_message_id("m".into())
            .with_timestamp(7)
            .with_priority(4);
        delivery
    }

    #[test]
    fn every_kind_of_header_and_property_is_shown() {
        let mut seen = Vec::new();
        show(&delivery(), 9, Some(&KeyFrom::RoutingKey), &mut |record| {
            assert_eq!((record.offset, record.timestamp_ms), (9, Some(7000)));
            assert_eq!((record.key, record.value), (Some(&b"r.k"[..]), Some(&b"body"[..])));
            seen = record
                .headers
                .iter()
                .map(|header| (header.name.to_owned(), header.value.map(<[u8]>::to_vec)))
                .collect();
        });
        let text = |name: &str, value: &str| (name.to_owned(), Some(value.as_bytes().to_vec()));
        assert_eq!(
            seen,
            [
                ("binary".to_owned(), Some(vec![0xff, 0])),
                text("decimal", "0.012"),
                text("list", "[{\"a\":1}]"),
                ("null".to_owned(), None),
                text("number", "-5"),
                text("yes", "true"),
                text("amqp.message-id", "m"),
                text("amqp.timestamp", "7"),
                text("amqp.priority", "4"),
                text("amqp.exchange", "e"),
                text("amqp.routing-key", "r.k"),
            ]
        );
    }

    #[test]
    fn the_key_is_the_senders_header() {
        let key = |name: &str| {
            let mut key = None;
            let from = KeyFrom::Header(name.to_owned());
            show(&delivery(), 0, Some(&from), &mut |record| key = record.key.map(<[u8]>::to_vec));
            key
        };
        assert_eq!(key("number"), Some(b"-5".to_vec()));
        assert_eq!(key("null"), None);
        assert_eq!(key("amqp.exchange"), None);
    }
}

//! From protobuf to JSON: defaults left out, 64-bit integers as strings, bytes in base64.
// upstream: grpc-gateway v2 with protojson, `UseProtoNames`, without `EmitUnpopulated`

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::frames::{Wire, fields};
use super::schema::{Field, Kind, SCHEMA};

/// The message `name`, encoded as `message`; `None` where it is damaged.
pub(super) fn json(name: &str, message: &[u8]) -> Option<String> {
    let mut out = String::with_capacity(message.len() * 2);
    write_message(name, message, &mut out)?;
    Some(out)
}

/// A line of a stream's answer.
pub(super) fn result_line(name: &str, message: &[u8]) -> Option<String> {
    Some(for_html(format!("{{\"result\":{}}}\n", json(name, message)?)))
}

/// As Go's encoder does with what it is handed in a stream.
pub(super) fn for_html(line: String) -> String {
    if !line.contains(['<', '>', '&', '\u{2028}', '\u{2029}']) {
        return line;
    }
    let mut out = String::with_capacity(line.len() + 16);
    for c in line.chars() {
        match c {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                out.push_str(&format!("\\u{:04x}", u32::from(c)));
            }
            c => out.push(c),
        }
    }
    out
}

/// A text in quotes.
pub(super) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn write_message(name: &str, message: &[u8], out: &mut String) -> Option<()> {
    let found = fields(message)?;
    out.push('{');
    let mut first = true;
    for field in &SCHEMA.message(name).fields {
        let mut values = found.iter().filter(|(number, _)| *number == field.number);
        let shown = if field.repeated {
            let mut list = Vec::new();
            for (_, value) in values {
                spread(field, value, &mut list)?;
            }
            (!list.is_empty()).then(|| format!("[{}]", list.join(",")))
        } else {
            match values.next_back() {
                Some((_, value)) if field.alternative || !is_default(field, value) => {
                    let mut text = String::new();
                    write_value(&field.kind, value, &mut text)?;
                    Some(text)
                }
                _ => None,
            }
        };
        if let Some(shown) = shown {
            if !first {
                out.push(',');
            }
            first = false;
            out.push_str(&format!("\"{}\":{shown}", field.name));
        }
    }
    out.push('}');
    Some(())
}

/// Adds one value of a repeated field, or the many that one packed value is.
fn spread(field: &Field, value: &Wire<'_>, list: &mut Vec<String>) -> Option<()> {
    let is_packed = !matches!(field.kind, Kind::String | Kind::Bytes | Kind::Message(_));
    let mut add = |value: &Wire<'_>| {
        let mut text = String::new();
        write_value(&field.kind, value, &mut text)?;
        list.push(text);
        Some(())
    };
    match value {
        &Wire::Bytes(mut packed) if is_packed => {
            while !packed.is_empty() {
                add(&Wire::Varint(prost::encoding::decode_varint(&mut packed).ok()?))?;
            }
            Some(())
        }
        value => add(value),
    }
}

fn is_default(field: &Field, value: &Wire<'_>) -> bool {
    match value {
        Wire::Varint(number) => *number == 0,
        Wire::Bytes(bytes) => bytes.is_empty() && !matches!(field.kind, Kind::Message(_)),
    }
}

// A varint holds a negative number as its two's complement: the casts take the bits as they are.
#[allow(clippy::cast_possible_wrap, clippy::cast_possible_truncation)]
fn write_value(kind: &Kind, value: &Wire<'_>, out: &mut String) -> Option<()> {
    let text = match (kind, value) {
        (Kind::Bool, Wire::Varint(number)) => (*number != 0).to_string(),
        (Kind::Int32, Wire::Varint(number)) => (*number as i32).to_string(),
        (Kind::Uint32, Wire::Varint(number)) => (*number as u32).to_string(),
        (Kind::Int64, Wire::Varint(number)) => format!("\"{}\"", *number as i64),
        (Kind::Uint64, Wire::Varint(number)) => format!("\"{number}\""),
        (Kind::Enum(name), Wire::Varint(number)) => {
            let number = *number as i32;
            let known = SCHEMA.values(name).iter().find(|(_, value)| *value == number);
            known.map_or_else(|| number.to_string(), |(name, _)| format!("\"{name}\""))
        }
        (Kind::String, Wire::Bytes(bytes)) => quoted(&String::from_utf8_lossy(bytes)),
        (Kind::Bytes, Wire::Bytes(bytes)) => format!("\"{}\"", STANDARD.encode(bytes)),
        (Kind::Message(name), Wire::Bytes(bytes)) => return write_message(name, bytes, out),
        _ => return None,
    };
    out.push_str(&text);
    Some(())
}

#[cfg(test)]
mod tests {
    use keelson_proto::etcdserverpb as pb;
    use keelson_proto::mvccpb::KeyValue;
    use prost::Message as _;

    use super::*;

    fn check(name: &str, message: &impl prost::Message, expected: &str) {
        let name = format!(".etcdserverpb.{name}");
        assert_eq!(json(&name, &message.encode_to_vec()).unwrap(), expected);
    }

    #[test]
    fn messages_look_as_grpc_gateway_prints_them() {
        let header =
            Some(pb::ResponseHeader { cluster_id: u64::MAX, revision: 2, ..Default::default() });
        let kv =
            KeyValue { key: "foo".into(), value: "ba?>".into(), version: 1, ..Default::default() };
        check(
            "RangeResponse",
            &pb::RangeResponse { header, kvs: vec![kv], count: 1, more: true },
            r#"{"header":{"cluster_id":"18446744073709551615","revision":"2"},"kvs":[{"key":"Zm9v","version":"1","value":"YmE/Pg=="}],"more":true,"count":"1"}"#,
        );
        check("RangeResponse", &pb::RangeResponse::default(), "{}");
        check(
            "LeaseTimeToLiveResponse",
            &pb::LeaseTimeToLiveResponse { id: 7, ttl: -1, ..Default::default() },
            r#"{"ID":"7","TTL":"-1"}"#,
        );
        let alarm = pb::AlarmMember { member_id: 1, alarm: 2 };
        check(
            "AlarmResponse",
            &pb::AlarmResponse { header: None, alarms: vec![alarm] },
            r#"{"alarms":[{"memberID":"1","alarm":"CORRUPT"}]}"#,
        );
        // One of several is shown even where it is empty.
        let put = pb::response_op::Response::ResponsePut(pb::PutResponse::default());
        let responses = vec![pb::ResponseOp { response: Some(put) }];
        check(
            "TxnResponse",
            &pb::TxnResponse { header: None, succeeded: true, responses },
            r#"{"succeeded":true,"responses":[{"response_put":{}}]}"#,
        );
        let hash = pb::HashKvResponse { hash: u32::MAX, ..Default::default() };
        check("HashKVResponse", &hash, r#"{"hash":4294967295}"#);
    }

    #[test]
    fn lines_of_streams_are_safe_in_a_page() {
        let canceled = pb::WatchResponse { cancel_reason: "<a&b>\n".into(), ..Default::default() };
        let line = result_line(".etcdserverpb.WatchResponse", &canceled.encode_to_vec()).unwrap();
        assert_eq!(line, "{\"result\":{\"cancel_reason\":\"\\u003ca\\u0026b\\u003e\\n\"}}\n");
    }
}

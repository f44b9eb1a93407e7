//! A change as one JSON object, as `keelson watch` prints it and `/v3/watch/sse` sends it.
//!
//! What is UTF-8 stands there as text, everything else in base64 under a name that says so. A lease is
//! written as etcdctl writes it, in hexadecimal: its 64 bits are more than a JSON number holds.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keelson_proto::mvccpb::{Event, KeyValue, event::EventType};
use serde_json::{Map, Value};

/// The object of a change. `more`: another change of the same revision follows.
pub fn change(event: &Event, more: bool) -> Map<String, Value> {
    let kv = event.kv.clone().unwrap_or_default();
    let deleted = event.r#type() == EventType::Delete;
    let mut object = match deleted {
        false => key_value("PUT", &kv),
        true => {
            let mut object = of_type("DELETE");
            bytes(&mut object, "key", &kv.key);
            object.insert("mod_revision".to_owned(), kv.mod_revision.into());
            object
        }
    };
    if let Some(before) = &event.prev_kv {
        let mut former = key_value("", before);
        former.shift_remove("type");
        former.shift_remove("key");
        former.shift_remove("key_base64");
        object.insert("prev_kv".to_owned(), Value::Object(former));
    }
    if more {
        object.insert("more".to_owned(), true.into());
    }
    object
}

/// The object of a key with its value.
pub fn key_value(kind: &str, kv: &KeyValue) -> Map<String, Value> {
    let mut object = of_type(kind);
    bytes(&mut object, "key", &kv.key);
    bytes(&mut object, "value", &kv.value);
    for (name, number) in [
        ("create_revision", kv.create_revision),
        ("mod_revision", kv.mod_revision),
        ("version", kv.version),
    ] {
        object.insert(name.to_owned(), number.into());
    }
    if kv.lease != 0 {
        object.insert("lease".to_owned(), format!("{:x}", kv.lease).into());
    }
    object
}

fn of_type(kind: &str) -> Map<String, Value> {
    let mut object = Map::new();
    object.insert("type".to_owned(), kind.into());
    object
}

fn bytes(object: &mut Map<String, Value>, name: &str, bytes: &[u8]) {
    match std::str::from_utf8(bytes) {
        Ok(text) => object.insert(name.to_owned(), text.into()),
        Err(_) => object.insert(format!("{name}_base64"), STANDARD.encode(bytes).into()),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kv(value: &'static [u8]) -> KeyValue {
        KeyValue {
            key: "a/b".into(),
            value: value.into(),
            create_revision: 3,
            mod_revision: 7,
            version: 2,
            lease: 0x7694_d1e2_3f4a_5b6c,
        }
    }

    fn check(event: &Event, more: bool, expected: &str) {
        assert_eq!(Value::Object(change(event, more)).to_string(), expected);
    }

    #[test]
    fn the_shape_is_as_documented() {
        let mut event = Event { kv: Some(kv(b"x\n\"")), ..Event::default() };
        check(
            &event,
            true,
            r#"{"type":"PUT","key":"a/b","value":"x\n\"","create_revision":3,"mod_revision":7,"version":2,"lease":"7694d1e23f4a5b6c","more":true}"#,
        );
        event.set_type(EventType::Delete);
        event.prev_kv = Some(KeyValue { lease: 0, ..kv(b"\xff\0") });
        check(
            &event,
            false,
            r#"{"type":"DELETE","key":"a/b","mod_revision":7,"prev_kv":{"value_base64":"/wA=","create_revision":3,"mod_revision":7,"version":2}}"#,
        );
    }
}

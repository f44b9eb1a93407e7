//! What etcd's messages and methods are made of.

use std::collections::HashMap;
use std::sync::LazyLock;

use prost::Message as _;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorSet};

/// The schema of all of etcd's packages.
pub(super) static SCHEMA: LazyLock<Schema> = LazyLock::new(|| {
    let set = FileDescriptorSet::decode(keelson_proto::ETCD_DESCRIPTORS)
        .expect("the build has encoded the descriptors");
    Schema::of(&set)
});

/// All messages, enums and methods.
#[derive(Default)]
pub(super) struct Schema {
    messages: HashMap<String, Shape>,
    enums: HashMap<String, Values>,
    methods: HashMap<String, Method>,
}

/// A message's fields, in the order of their declaration.
#[derive(Default)]
pub(super) struct Shape {
    pub(super) fields: Vec<Field>,
}

/// A field of a message.
pub(super) struct Field {
    pub(super) number: u32,
    pub(super) name: String,
    /// The name in camel case, which input may use too.
    pub(super) json_name: String,
    pub(super) repeated: bool,
    /// One of several, hence shown where it is set, even to its default.
    pub(super) alternative: bool,
    pub(super) kind: Kind,
}

/// What a field holds; messages and enums by their full name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    Bool,
    Int32,
    Int64,
    Uint32,
    Uint64,
    String,
    Bytes,
    Enum(String),
    Message(String),
}

/// An enum's values.
pub(super) type Values = Vec<(String, i32)>;

/// What a method takes and gives.
pub(super) struct Method {
    pub(super) input: String,
    pub(super) output: String,
    pub(super) streams_in: bool,
    pub(super) streams_out: bool,
}

impl Schema {
    fn of(set: &FileDescriptorSet) -> Self {
        let mut schema = Self::default();
        for file in &set.file {
            let package = format!(".{}", file.package());
            file.message_type.iter().for_each(|message| schema.add_message(&package, message));
            file.enum_type.iter().for_each(|values| schema.add_enum(&package, values));
            for service in &file.service {
                for method in &service.method {
                    let path = format!("/{}.{}/{}", file.package(), service.name(), method.name());
                    let method = Method {
                        input: method.input_type().to_owned(),
                        output: method.output_type().to_owned(),
                        streams_in: method.client_streaming(),
                        streams_out: method.server_streaming(),
                    };
                    schema.methods.insert(path, method);
                }
            }
        }
        schema
    }

    fn add_message(&mut self, scope: &str, message: &DescriptorProto) {
        let name = format!("{scope}.{}", message.name());
        message.nested_type.iter().for_each(|nested| self.add_message(&name, nested));
        message.enum_type.iter().for_each(|values| self.add_enum(&name, values));
        let fields = message.field.iter().filter_map(field).collect();
        self.messages.insert(name, Shape { fields });
    }

    fn add_enum(&mut self, scope: &str, values: &EnumDescriptorProto) {
        let list = values.value.iter().map(|value| (value.name().to_owned(), value.number()));
        self.enums.insert(format!("{scope}.{}", values.name()), list.collect());
    }

    /// The method at this path of gRPC.
    pub(super) fn method(&self, path: &str) -> Option<&Method> {
        self.methods.get(path)
    }

    /// A message by its full name; one that is not known has no fields.
    pub(super) fn message(&self, name: &str) -> &Shape {
        static NOTHING: Shape = Shape { fields: Vec::new() };
        self.messages.get(name).unwrap_or(&NOTHING)
    }

    /// An enum's values.
    pub(super) fn values(&self, name: &str) -> &[(String, i32)] {
        self.enums.get(name).map_or(&[], Vec::as_slice)
    }

    #[cfg(test)]
    pub(super) fn method_paths(&self) -> impl Iterator<Item = &str> {
        self.methods.keys().map(String::as_str)
    }
}

fn field(field: &FieldDescriptorProto) -> Option<Field> {
    let kind = match field.r#type() {
        Type::Bool => Kind::Bool,
        Type::Int32 => Kind::Int32,
        Type::Int64 => Kind::Int64,
        Type::Uint32 => Kind::Uint32,
        Type::Uint64 => Kind::Uint64,
        Type::String => Kind::String,
        Type::Bytes => Kind::Bytes,
        Type::Enum => Kind::Enum(field.type_name().to_owned()),
        Type::Message => Kind::Message(field.type_name().to_owned()),
        // etcd's messages have none of these.
        Type::Double
        | Type::Float
        | Type::Fixed64
        | Type::Fixed32
        | Type::Group
        | Type::Sfixed32
        | Type::Sfixed64
        | Type::Sint32
        | Type::Sint64 => return None,
    };
    Some(Field {
        number: u32::try_from(field.number()).ok()?,
        name: field.name().to_owned(),
        json_name: field.json_name().to_owned(),
        repeated: field.label() == Label::Repeated,
        alternative: field.oneof_index.is_some(),
        kind,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_has_a_kind_that_json_knows() {
        let set = FileDescriptorSet::decode(keelson_proto::ETCD_DESCRIPTORS).unwrap();
        for message in set.file.iter().flat_map(|file| &file.message_type) {
            assert!(message.field.iter().all(|one| field(one).is_some()), "{}", message.name());
        }
        let put = SCHEMA.message(".etcdserverpb.PutRequest");
        assert_eq!(put.fields[0].kind, Kind::Bytes);
        assert_eq!(put.fields[3].json_name, "prevKv");
        let range = SCHEMA.values(".etcdserverpb.RangeRequest.SortOrder");
        assert_eq!(range[2], ("DESCEND".to_owned(), 2));
    }
}

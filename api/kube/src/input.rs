//! Input: a request's body as a value, in whichever encoding it came; errors in Kubernetes' words.

use serde_json::Value;

use crate::call::Call;
use crate::decode::{self, DecodeError, Decoded};
use crate::kinds::Kind;
use crate::patch::PatchError;
use crate::protobuf;
use crate::status::Status;
use crate::verbs::options::content_type;

/// Reads an object of a kind.
pub(crate) fn object(kind: &Kind, bytes: &[u8], media: &str) -> Result<Decoded, Status> {
    if media == protobuf::MEDIA_TYPE {
        let read = protobuf::read(kind.schema, bytes);
        return value(kind, read.map_err(|e| Status::bad_request(e.to_string()))?);
    }
    decode::object(kind, bytes, media).map_err(refusal)
}

/// Checks a value like one that was sent.
pub(crate) fn value(kind: &Kind, value: Value) -> Result<Decoded, Status> {
    decode::value(kind, value).map_err(refusal)
}

/// Reads a call's body as an object of another type than the call's kind, without checks.
pub(crate) async fn other(call: &mut Call, schema: &str) -> Result<Value, Status> {
    let body = call.body().await?;
    read_other(&body, schema, content_type(&call.headers))
}

/// Reads bytes as an object of a type, without checks.
pub(crate) fn read_other(bytes: &[u8], schema: &str, media: &str) -> Result<Value, Status> {
    let value = if media == protobuf::MEDIA_TYPE {
        protobuf::read(schema, bytes).map_err(|e| Status::bad_request(e.to_string()))?
    } else {
        decode::untyped(bytes, media).map_err(refusal)?
    };
    if value.is_object() {
        Ok(value)
    } else {
        Err(Status::bad_request("the request body is no object"))
    }
}

fn refusal(error: DecodeError) -> Status {
    match error {
        DecodeError::UnsupportedMedia(_) => Status::unsupported_media_type(&[
            "application/json",
            "application/yaml",
            protobuf::MEDIA_TYPE,
        ]),
        DecodeError::NoType(_) => Status::internal(error),
        DecodeError::Plain(_)
        | DecodeError::Syntax { .. }
        | DecodeError::Unrecognized { .. }
        | DecodeError::WrongType { .. }
        | DecodeError::OtherVersion { .. } => Status::bad_request(error.to_string()),
    }
}

/// A patch that cannot be applied.
pub(crate) fn patch_refusal(kind: &Kind, name: &str, error: PatchError) -> Status {
    match error {
        PatchError::Malformed(text) => Status::bad_request(text),
        PatchError::Failed(text) => Status::generic(
            422,
            "Invalid",
            format!("{} {name:?} is invalid: {text}", crate::call::kind_name(kind)),
        ),
        PatchError::TooManyOperations { .. } => {
            Status::generic(413, "RequestEntityTooLarge", error.to_string())
        }
    }
}

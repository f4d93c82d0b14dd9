//! Answers as HTTP: objects whole, as metadata only or as a table; lists; streams; refusals.

use std::borrow::Cow;
use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::BoxStream;
use http::{Response, header};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use serde::Serialize;
use serde_json::{Value, json};

use super::ResponseBody;
use super::call::Call;
use super::faulty::Stored;
use super::versions;
use crate::error::ApiError;
use crate::kind::Kind;
use crate::object::{Object, Types, fields_of};
use crate::request::{Query, Shape};
use crate::table::{self, Include};

/// What a verb answers.
pub(crate) enum Answer {
    /// An object of the call's kind, as it is stored.
    Object { code: u16, object: Arc<Object> },
    /// Objects of the call's kind, as they are stored; the list's own metadata.
    List {
        objects: Vec<Arc<Object>>,
        metadata: Value,
    },
    /// Anything else: a `Status`, a review, a scale.
    Plain { code: u16, value: Value },
    /// Grows while the caller listens.
    Stream {
        content_type: &'static str,
        chunks: BoxStream<'static, Bytes>,
    },
}

/// The answer in the shape the call asked for.
pub(crate) fn render(call: &Call, answer: Answer, now: jiff::Timestamp) -> Response<ResponseBody> {
    let mut response = match answer {
        Answer::Object { code, object } => {
            let mut response = if call.shape == Shape::Whole && versions::is_as_stored(&call.kind) {
                whole(code, "application/json", text_of(&call.kind, &object))
            } else {
                let shown = shaped(&call.kind, call.shape, include(&call.query), &object, now);
                json(code, shown.as_ref())
            };
            response.extensions_mut().insert(Stored(object));
            response
        }
        Answer::List { objects, metadata } => list(call, &objects, metadata, now),
        Answer::Plain { code, value } => json(code, &value),
        Answer::Stream { content_type, chunks } => stream(content_type, chunks),
    };
    for warning in &call.warnings {
        let quoted = warning.replace('\\', "\\\\").replace('"', "\\\"");
        if let Ok(value) = format!("299 - \"{quoted}\"").parse() {
            response.headers_mut().append(header::WARNING, value);
        }
    }
    response
}

/// One object in the version and shape asked for.
pub(crate) fn shaped<'a>(
    kind: &Kind,
    shape: Shape,
    include: Include,
    object: &'a Value,
    now: jiff::Timestamp,
) -> Cow<'a, Value> {
    match shape {
        Shape::Whole => versions::presented(kind, object),
        Shape::Metadata => Cow::Owned(metadata_only(object)),
        Shape::Table => {
            let metadata = json!({"resourceVersion": object["metadata"]["resourceVersion"]});
            let shown = versions::presented(kind, object).into_owned();
            Cow::Owned(table(kind, include, &[shown], metadata, now))
        }
    }
}

fn list(
    call: &Call,
    objects: &[Arc<Object>],
    metadata: Value,
    now: jiff::Timestamp,
) -> Response<ResponseBody> {
    match call.shape {
        Shape::Whole => {
            let fields = |object: &Arc<Object>| {
                if versions::is_as_stored(&call.kind) {
                    object.fields()
                } else {
                    fields_of(&versions::presented(&call.kind, object))
                }
            };
            let items: Vec<Bytes> = objects.iter().map(fields).collect();
            whole(200, "application/json", list_of(&call.kind, &metadata, &items))
        }
        Shape::Metadata => json(
            200,
            &json!({
                "kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": metadata,
                "items": objects.iter().map(|object| metadata_only(object)).collect::<Vec<_>>(),
            }),
        ),
        Shape::Table => {
            let objects: Vec<Value> = objects
                .iter()
                .map(|object| versions::presented(&call.kind, object).into_owned())
                .collect();
            json(
                200,
                &table(&call.kind, include(&call.query), &objects, metadata, now),
            )
        }
    }
}

/// A stored object in the version of `kind`.
fn text_of(kind: &Kind, object: &Object) -> Bytes {
    let (types, fields) = (Types::of(kind), object.fields());
    let mut out = Vec::with_capacity(types.size() + fields.len());
    types.write(&fields, &mut out);
    out.into()
}

/// A list of items with these fields.
fn list_of(kind: &Kind, metadata: &Value, items: &[Bytes]) -> Bytes {
    let (list, version) = (
        Value::from(kind.list_kind.as_str()),
        Value::from(kind.api_version()),
    );
    let head = format!(r#"{{"kind":{list},"apiVersion":{version},"metadata":{metadata},"items":["#);
    let types = Types::of_items(kind);
    let size: usize = items.iter().map(|fields| types.size() + fields.len() + 1).sum();
    let mut out = Vec::with_capacity(head.len() + size + 2);
    out.extend_from_slice(head.as_bytes());
    for (place, fields) in items.iter().enumerate() {
        if place > 0 {
            out.push(b',');
        }
        types.write(fields, &mut out);
    }
    out.extend_from_slice(b"]}");
    out.into()
}

fn metadata_only(object: &Value) -> Value {
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"]})
}

fn table(kind: &Kind, include: Include, objects: &[Value], metadata: Value, now: jiff::Timestamp) -> Value {
    let mut table = table::render(kind, objects, now, include);
    table["metadata"] = metadata;
    table
}

/// `includeObject` of a request.
pub(crate) fn include(query: &Query) -> Include {
    match query.text("includeObject") {
        "None" => Include::None,
        "Object" => Include::Object,
        _ => Include::Metadata,
    }
}

/// A JSON answer.
pub(crate) fn json(code: u16, value: &impl Serialize) -> Response<ResponseBody> {
    // Values made of strings, numbers and maps with string keys always serialise.
    let bytes = serde_json::to_vec(value).unwrap_or_default();
    whole(code, "application/json", Bytes::from(bytes))
}

/// A text answer.
pub(crate) fn text(code: u16, text: &str) -> Response<ResponseBody> {
    whole(
        code,
        "text/plain; charset=utf-8",
        Bytes::copy_from_slice(text.as_bytes()),
    )
}

/// An error as a `Status`.
pub(crate) fn refused(error: &ApiError) -> Response<ResponseBody> {
    let mut response = json(error.reason.code(), &error.status());
    // As `k8s.io/apiserver` v0.34, `responsewriters.ErrorNegotiated`.
    if let Some(seconds) = error.details["retryAfterSeconds"]
        .as_u64()
        .filter(|seconds| *seconds > 0)
    {
        let seconds = header::HeaderValue::from(seconds);
        response.headers_mut().insert(header::RETRY_AFTER, seconds);
    }
    response
}

fn whole(code: u16, content_type: &'static str, bytes: Bytes) -> Response<ResponseBody> {
    let mut response = Response::new(Full::new(bytes).boxed_unsync());
    *response.status_mut() =
        http::StatusCode::from_u16(code).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        header::HeaderValue::from_static(content_type),
    );
    response
}

fn stream(content_type: &'static str, chunks: BoxStream<'static, Bytes>) -> Response<ResponseBody> {
    use futures::StreamExt;
    let frames = chunks.map(|chunk| Ok::<_, Infallible>(Frame::data(chunk)));
    let mut response = Response::new(StreamBody::new(frames).boxed_unsync());
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        header::HeaderValue::from_static(content_type),
    );
    response
}

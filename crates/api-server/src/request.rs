//! What an HTTP request asks for: `k8s.io/apiserver` v0.34, `pkg/endpoints/request/requestinfo.go`.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::error::{ApiError, Reason};

/// Path of one resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResourcePath {
    pub group: String,
    pub version: String,
    pub namespace: Option<String>,
    pub plural: String,
    pub name: Option<String>,
    pub subresource: Option<String>,
}

/// What a path leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    Resource(ResourcePath),
    /// Discovery, OpenAPI, health, version.
    Other(Vec<String>),
}

impl Target {
    /// Of an URL's path. `/api/v1/namespaces/a/pods/b/log` is a resource, `/apis/apps/v1` is not.
    pub fn parse(path: &str) -> Self {
        let parts: Vec<Cow<'_, str>> = path
            .split('/')
            .filter(|part| !part.is_empty())
            .map(decoded)
            .collect();
        let words: Vec<&str> = parts.iter().map(|part| &**part).collect();
        let other = || Self::Other(words.iter().map(|word| (*word).to_owned()).collect());
        let (group, version, rest) = match words.as_slice() {
            ["api", version, rest @ ..] if !rest.is_empty() => ("", *version, rest),
            ["apis", group, version, rest @ ..] if !rest.is_empty() => (*group, *version, rest),
            _ => return other(),
        };
        let owned = |text: &str| Some(text.to_owned());
        let (namespace, plural, name, subresource) = match rest {
            // Subresources of a namespace itself.
            ["namespaces", name, sub @ ("status" | "finalize")] if group.is_empty() => {
                (None, "namespaces", owned(name), owned(sub))
            }
            ["namespaces", namespace, plural] => (owned(namespace), *plural, None, None),
            ["namespaces", namespace, plural, name] => (owned(namespace), *plural, owned(name), None),
            ["namespaces", namespace, plural, name, sub @ ..] => {
                (owned(namespace), *plural, owned(name), Some(sub.join("/")))
            }
            [plural] => (None, *plural, None, None),
            [plural, name] => (None, *plural, owned(name), None),
            [plural, name, sub @ ..] => (None, *plural, owned(name), Some(sub.join("/"))),
            [] => return other(),
        };
        Self::Resource(ResourcePath {
            group: group.to_owned(),
            version: version.to_owned(),
            namespace,
            plural: plural.to_owned(),
            name,
            subresource,
        })
    }
}

/// Percent-decoding of one path segment.
fn decoded(segment: &str) -> Cow<'_, str> {
    if !segment.contains('%') {
        return Cow::Borrowed(segment);
    }
    let bytes = segment.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = bytes
            .get(at + 1..at + 3)
            .and_then(|two| std::str::from_utf8(two).ok())
            .and_then(|two| u8::from_str_radix(two, 16).ok());
        match (bytes[at], hex) {
            (b'%', Some(byte)) => {
                out.push(byte);
                at += 3;
            }
            (byte, _) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    Cow::Owned(String::from_utf8_lossy(&out).into_owned())
}

/// Query parameters; of a repeated one all values.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query(BTreeMap<String, Vec<String>>);

impl Query {
    pub fn parse(query: &str) -> Self {
        let mut pairs: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            pairs
                .entry(name.into_owned())
                .or_default()
                .push(value.into_owned());
        }
        Self(pairs)
    }

    /// The first value; empty when there is none.
    pub fn text(&self, name: &str) -> &str {
        self.0
            .get(name)
            .and_then(|values| values.first())
            .map_or("", String::as_str)
    }

    pub fn texts(&self, name: &str) -> &[String] {
        self.0.get(name).map_or(&[], Vec::as_slice)
    }

    /// `true`, `1` and the bare name are yes.
    pub fn flag(&self, name: &str) -> bool {
        self.0
            .get(name)
            .and_then(|values| values.first())
            .is_some_and(|value| !matches!(value.as_str(), "false" | "0"))
    }

    pub fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// A number that is not negative.
    pub fn number(&self, name: &str) -> Result<Option<u64>, ApiError> {
        match self.text(name) {
            "" => Ok(None),
            text => text.parse().map(Some).map_err(|_| {
                ApiError::new(
                    Reason::BadRequest,
                    format!("strconv.ParseInt: parsing \"{text}\": invalid syntax"),
                )
            }),
        }
    }
}

/// In which shape objects are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Shape {
    #[default]
    Whole,
    Table,
    /// `PartialObjectMetadata`.
    Metadata,
}

/// The first acceptable media type of an `Accept` header.
pub fn accepted(header: &str) -> Result<Shape, ApiError> {
    if header.trim().is_empty() {
        return Ok(Shape::Whole);
    }
    for media in header.split(',') {
        let mut parameters = media.split(';').map(str::trim);
        let name = parameters.next().unwrap_or_default();
        if !matches!(name, "application/json" | "*/*" | "application/*") {
            continue;
        }
        let rest: Vec<&str> = parameters.collect();
        match rest.iter().find_map(|parameter| parameter.strip_prefix("as=")) {
            None => return Ok(Shape::Whole),
            Some("Table") => return Ok(Shape::Table),
            Some("PartialObjectMetadata" | "PartialObjectMetadataList") => return Ok(Shape::Metadata),
            Some(_) => {}
        }
    }
    Err(ApiError::generic(
        Reason::NotAcceptable,
        "406: Not Acceptable\n\nAvailable representations: application/json, application/yaml, application/vnd.kubernetes.protobuf, application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resource(path: &str) -> ResourcePath {
        match Target::parse(path) {
            Target::Resource(resource) => resource,
            Target::Other(parts) => panic!("no resource: {parts:?}"),
        }
    }

    #[test]
    fn a_namespace_is_a_resource_and_a_place() {
        let namespace = resource("/api/v1/namespaces/shop");
        assert_eq!(namespace.plural, "namespaces");
        assert_eq!(namespace.name.as_deref(), Some("shop"));
        assert_eq!(namespace.namespace, None);
        let finalize = resource("/api/v1/namespaces/shop/finalize");
        assert_eq!(finalize.subresource.as_deref(), Some("finalize"));
        let pods = resource("/api/v1/namespaces/shop/pods");
        assert_eq!(
            (pods.plural.as_str(), pods.namespace.as_deref()),
            ("pods", Some("shop"))
        );
        let log = resource("/api/v1/namespaces/shop/pods/web/log");
        assert_eq!(log.subresource.as_deref(), Some("log"));
    }

    #[test]
    fn discovery_is_no_resource() {
        for path in [
            "/",
            "/api",
            "/api/v1",
            "/apis",
            "/apis/apps/v1",
            "/version",
            "/openapi/v3",
        ] {
            assert!(matches!(Target::parse(path), Target::Other(_)), "{path}");
        }
    }

    #[test]
    fn the_first_acceptable_shape_counts() {
        let kubectl = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
        assert_eq!(accepted(kubectl), Ok(Shape::Table));
        assert_eq!(
            accepted("application/vnd.kubernetes.protobuf,application/json"),
            Ok(Shape::Whole)
        );
        assert!(accepted("application/vnd.kubernetes.protobuf").is_err());
    }
}

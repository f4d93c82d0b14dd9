//! An object as it is stored, and its JSON beside it.
//!
//! Objects are shown far more often than they change: what one answer, list or watch has written, all others send again
//! (`k8s.io/apiserver` v0.34, `pkg/storage/cacher/caching_object.go`). The text lacks `apiVersion` and `kind`, which
//! lists of built-in kinds leave out and which differ between the versions of a kind.

use std::ops::Deref;

use bytes::Bytes;
use parking_lot::Mutex;
use serde_json::Value;

use crate::kind::Kind;

/// A stored object; it never changes.
#[derive(Debug)]
pub struct Object {
    value: Value,
    fields: Mutex<Option<Bytes>>,
}

impl Object {
    /// The object.
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// Its fields as JSON ([`fields_of`]), written when they are asked for first.
    pub fn fields(&self) -> Bytes {
        let mut written = self.fields.lock();
        written.get_or_insert_with(|| fields_of(&self.value)).clone()
    }

    /// Gives the memory of the text back; it is written again when somebody asks.
    pub fn forget_text(&self) {
        *self.fields.lock() = None;
    }
}

impl From<Value> for Object {
    fn from(value: Value) -> Self {
        Self {
            value,
            fields: Mutex::default(),
        }
    }
}

impl Deref for Object {
    type Target = Value;

    fn deref(&self) -> &Value {
        &self.value
    }
}

/// The fields of an object as JSON, without its type and without the braces: `"metadata":{…},"spec":{…}`.
pub fn fields_of(object: &Value) -> Bytes {
    let mut out = Vec::new();
    for (name, value) in object.as_object().into_iter().flatten() {
        if name == "apiVersion" || name == "kind" {
            continue;
        }
        if !out.is_empty() {
            out.push(b',');
        }
        // Writing JSON values to memory does not fail.
        let _ = serde_json::to_writer(&mut out, name);
        out.push(b':');
        let _ = serde_json::to_writer(&mut out, value);
    }
    out.into()
}

/// What the texts of objects begin with: `"apiVersion":"v1","kind":"Pod"`.
#[derive(Debug, Clone)]
pub struct Types(String);

impl Types {
    /// Of objects of this kind.
    pub fn of(kind: &Kind) -> Self {
        let (version, kind) = (Value::from(kind.api_version()), Value::from(kind.kind.as_str()));
        Self(format!(r#""apiVersion":{version},"kind":{kind}"#))
    }

    /// Of items in a list of this kind: those of built-in kinds do not repeat it.
    pub fn of_items(kind: &Kind) -> Self {
        if kind.custom.is_some() {
            Self::of(kind)
        } else {
            Self(String::new())
        }
    }

    /// Bytes that it adds to the fields of one object, at most.
    pub fn size(&self) -> usize {
        self.0.len() + 3
    }

    /// Writes the object with these fields.
    pub fn write(&self, fields: &[u8], out: &mut Vec<u8>) {
        out.push(b'{');
        out.extend_from_slice(self.0.as_bytes());
        if !self.0.is_empty() && !fields.is_empty() {
            out.push(b',');
        }
        out.extend_from_slice(fields);
        out.push(b'}');
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::builtin::kinds;

    fn kind(plural: &str) -> Kind {
        let all = kinds::kinds();
        let found = all.into_iter().find(|kind| kind.plural == plural);
        found.unwrap()
    }

    fn written(types: &Types, object: &Object) -> Value {
        let mut out = Vec::new();
        types.write(&object.fields(), &mut out);
        assert!(out.len() <= object.fields().len() + types.size());
        serde_json::from_slice(&out).unwrap()
    }

    #[test]
    fn an_object_is_written_as_it_is_in_the_version_asked_for_and_without_its_type_in_a_list() {
        let map =
            json!({"apiVersion": "v0", "data": {"a \"b\"": "c"}, "kind": "?", "metadata": {"name": "x"}});
        let object = Object::from(map.clone());
        let config_maps = kind("configmaps");
        let mut shown = map.clone();
        shown["apiVersion"] = "v1".into();
        shown["kind"] = "ConfigMap".into();
        assert_eq!(written(&Types::of(&config_maps), &object), shown);
        object.forget_text();
        let item = json!({"data": {"a \"b\"": "c"}, "metadata": {"name": "x"}});
        assert_eq!(written(&Types::of_items(&config_maps), &object), item);
    }

    #[test]
    fn an_object_without_fields_is_still_json() {
        let bare = Object::from(json!({"apiVersion": "v1", "kind": "Pod"}));
        let types = Types::of(&kind("pods"));
        assert_eq!(written(&types, &bare), *bare.value());
        assert_eq!(written(&Types::of_items(&kind("pods")), &bare), json!({}));
    }
}

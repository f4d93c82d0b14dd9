//! Structural schemas of custom resources: `spec.versions[].schema.openAPIV3Schema`.
//!
//! A write goes through them in this order, as in Kubernetes: unknown fields are dropped ([`Schema::prune`]),
//! defaults filled in ([`Schema::default`]), the result checked ([`Schema::validate`]). What a schema itself may
//! say is in `structural.rs` and `restrictions.rs`; [`crate::custom`] asks them when a CustomResourceDefinition is
//! written.
//! Source: `k8s.io/apiextensions-apiserver` v0.34, `pkg/apiserver/schema` and `pkg/apiserver/validation`.

mod default;
mod embedded;
mod format;
mod list_type;
pub mod names;
pub mod node;
mod number;
pub mod path;
mod prune;
mod restrictions;
mod rules;
mod structural;
#[cfg(test)]
mod tests;
mod validate;
pub mod words;

use serde_json::Value;

use crate::error::FieldError;

pub use node::Node;
use path::Path;

/// One version's schema, ready for use.
#[derive(Debug, Clone)]
pub struct Schema {
    root: Node,
    has_rules: bool,
}

impl Schema {
    /// Reads and checks a schema. Errors name fields below `openAPIV3Schema`.
    pub fn parse(schema: &Value) -> Result<Self, Vec<FieldError>> {
        let wrong = Self::problems(schema, "openAPIV3Schema", false);
        if wrong.is_empty() {
            Ok(Self::read(schema))
        } else {
            Err(wrong)
        }
    }

    /// Reads a schema that was checked before.
    pub fn read(schema: &Value) -> Self {
        let root = Node::read(schema);
        Self {
            has_rules: root.has_rules(),
            root: root.into_resource(),
        }
    }

    /// What Kubernetes would refuse in a schema that stands at the field `at`; with a status subresource fewer
    /// keywords may stand at its root.
    pub fn problems(schema: &Value, at: &str, has_status: bool) -> Vec<FieldError> {
        let path = Path::starting(at);
        let node = Node::read(schema);
        let restricted = restrictions::check(schema, &node, &path);
        let mut wrong = restrictions::at_root(schema, &node, &path, has_status);
        // With keywords that cannot be understood, nothing can be said of the structure.
        if !restricted.iter().any(restrictions::hides_structure) {
            wrong.extend(structural::check(&node, schema, &path));
        }
        wrong.extend(restricted);
        wrong
    }

    /// The schema itself, for those who walk along with an object (list keys of server-side apply).
    pub fn root(&self) -> &Node {
        &self.root
    }

    /// Drops fields that the schema does not know, inside metadata too; gives their paths, sorted, as in
    /// `unknown field "spec.list[0].w"`.
    pub fn prune(&self, object: &mut Value) -> Vec<String> {
        prune::prune(&self.root, object)
    }

    /// Fills in defaults and drops nulls where the schema allows none.
    pub fn default(&self, object: &mut Value) {
        default::drop_nulls(&self.root, object);
        default::fill(&self.root, object);
    }

    /// What is wrong with a new object.
    pub fn validate(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        validate::check(&self.root, object, None, &Path::ROOT, &mut errors);
        self.check_embedded(object, &mut errors);
        list_type::check(&self.root, object, &Path::ROOT, &mut errors);
        self.finish(object, None, errors)
    }

    /// What is wrong with an object that was `old`: a value that did not change is not reported (Kubernetes 1.33
    /// and later, "validation ratcheting").
    pub fn validate_update(&self, object: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        validate::check(&self.root, object, Some(old), &Path::ROOT, &mut errors);
        self.check_embedded(object, &mut errors);
        self.check_lists_of_update(object, old, &mut errors);
        self.finish(object, Some(old), errors)
    }

    /// What is wrong with the status of an object in a write to `/status`. Kubernetes checks the status alone, so
    /// its sentences begin inside it: `status.phase: … phase in body should be …`.
    pub fn validate_status(&self, object: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        if let (Some(node), Some(status)) = (self.root.properties.get("status"), object.get("status")) {
            validate::check(node, status, old.get("status"), &Path::ROOT, &mut errors);
            for error in &mut errors {
                error.field = match error.field.as_str() {
                    "<nil>" => "status".to_owned(),
                    inside => format!("status.{inside}"),
                };
            }
        }
        self.check_lists_of_update(object, old, &mut errors);
        self.finish(object, Some(old), errors)
    }

    /// The root's own apiVersion, kind and metadata are the server's to check.
    fn check_embedded(&self, object: &Value, errors: &mut Vec<FieldError>) {
        for (name, value) in object.as_object().into_iter().flatten() {
            if let Some(child) = self.root.child(name) {
                embedded::check(child, value, &Path::ROOT.field(name), errors);
            }
        }
    }

    /// An old object with repeated elements may keep them.
    fn check_lists_of_update(&self, object: &Value, old: &Value, errors: &mut Vec<FieldError>) {
        let mut before = Vec::new();
        list_type::check(&self.root, old, &Path::ROOT, &mut before);
        if before.is_empty() {
            list_type::check(&self.root, object, &Path::ROOT, errors);
        }
    }

    /// Each error once; then the rules, unless an error makes their answers meaningless.
    fn finish(&self, object: &Value, old: Option<&Value>, errors: Vec<FieldError>) -> Vec<FieldError> {
        let mut said: Vec<FieldError> = Vec::with_capacity(errors.len());
        for error in errors {
            if !said.contains(&error) {
                said.push(error);
            }
        }
        if self.has_rules {
            rules::check(&self.root, object, old, &mut said);
        }
        said
    }
}

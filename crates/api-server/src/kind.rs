//! What the server knows of one kind in one version: names, scope, subresources, how it is printed and checked.

use std::sync::Arc;

use serde_json::Value;

/// Where objects of a kind live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    Namespaced,
    Cluster,
}

/// One printer column: of a CustomResourceDefinition's `additionalPrinterColumns`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    pub name: String,
    /// `string`, `integer`, `number`, `boolean`, `date`.
    pub kind: String,
    pub format: String,
    pub description: String,
    /// 0: always shown; more: with `-o wide`.
    pub priority: i32,
    /// Simple JSONPath, `.status.phase`.
    pub json_path: String,
}

/// One kind in one served version. Versions of one kind share their objects (conversion strategy `None`).
#[derive(Debug, Clone)]
pub struct Kind {
    /// Empty for the core group.
    pub group: String,
    pub version: String,
    pub kind: String,
    /// `BackupList`.
    pub list_kind: String,
    pub plural: String,
    pub singular: String,
    pub short_names: Vec<String>,
    pub categories: Vec<String>,
    pub scope: Scope,
    /// Status is a subresource: a write to the object leaves it alone, a write to `/status` changes only it.
    pub status_subresource: bool,
    /// The version that objects are kept in.
    pub stored: bool,
    /// `metadata.generation` counts changes of the spec (all custom kinds, and built-in kinds that do so).
    pub generation: bool,
    /// Set for kinds of a CustomResourceDefinition: the version's `openAPIV3Schema`, as written.
    pub custom: Option<Arc<Custom>>,
}

/// Where a custom kind keeps what `/scale` shows; paths without the leading dot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scale {
    pub spec_replicas: String,
    pub status_replicas: String,
    /// Holds a selector as text.
    pub label_selector: Option<String>,
}

/// What a CustomResourceDefinition adds.
#[derive(Debug, Clone)]
pub struct Custom {
    /// `spec.versions[].schema.openAPIV3Schema`.
    pub open_api: Value,
    /// The same, ready for use.
    pub schema: crate::schema::Schema,
    /// `spec.versions[].additionalPrinterColumns`.
    pub columns: Vec<Column>,
    /// `spec.preserveUnknownFields`, or no schema.
    pub preserve_unknown_fields: bool,
    /// `spec.versions[].subresources.scale`.
    pub scale: Option<Scale>,
    /// `spec.versions[].selectableFields[].jsonPath`, without the leading dot.
    pub selectable_fields: Vec<String>,
}

impl Kind {
    /// `v1`, `velero.io/v1`.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.clone()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// Objects of all versions are kept under this.
    pub fn storage_key(&self) -> (&str, &str) {
        (&self.group, &self.plural)
    }

    pub fn is_namespaced(&self) -> bool {
        self.scope == Scope::Namespaced
    }
}

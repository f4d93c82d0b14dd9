//! One node of a structural schema, read from its JSON.
//! Source: `k8s.io/apiextensions-apiserver` v0.34, `JSONSchemaProps` and `pkg/apiserver/schema/structural.go`.

use std::collections::BTreeMap;

use regex::Regex;
use serde_json::Value;

/// What one value may be. Keywords that are absent hold their empty value.
#[derive(Debug, Clone, Default)]
pub struct Node {
    /// `type`: `object`, `array`, `string`, `integer`, `number`, `boolean`; empty: any.
    pub kind: String,
    pub nullable: bool,
    pub default: Option<Value>,
    pub items: Option<Box<Node>>,
    pub properties: BTreeMap<String, Node>,
    pub additional: Option<Additional>,
    /// `x-kubernetes-preserve-unknown-fields`
    pub preserve_unknown_fields: bool,
    /// `x-kubernetes-embedded-resource`: apiVersion, kind and metadata are there without being named.
    pub embedded_resource: bool,
    /// `x-kubernetes-int-or-string`
    pub int_or_string: bool,
    /// `x-kubernetes-list-type`: `atomic`, `set` or `map`.
    pub list_type: Option<String>,
    /// `x-kubernetes-list-map-keys`
    pub list_map_keys: Vec<String>,
    /// `x-kubernetes-map-type`: `atomic` or `granular`.
    pub map_type: Option<String>,
    pub limits: Limits,
    pub all_of: Vec<Node>,
    pub any_of: Vec<Node>,
    pub one_of: Vec<Node>,
    pub not: Option<Box<Node>>,
    /// `x-kubernetes-validations`
    pub rules: Vec<Rule>,
}

/// `additionalProperties`.
#[derive(Debug, Clone)]
pub enum Additional {
    /// `true` or `false`
    Any(bool),
    Schema(Box<Node>),
}

/// What a value is compared with.
#[derive(Debug, Clone, Default)]
pub struct Limits {
    pub required: Vec<String>,
    /// `enum`
    pub allowed: Vec<Value>,
    pub format: String,
    pub pattern: Option<Pattern>,
    pub maximum: Option<f64>,
    pub exclusive_maximum: bool,
    pub minimum: Option<f64>,
    pub exclusive_minimum: bool,
    pub multiple_of: Option<f64>,
    /// In characters.
    pub max_length: Option<i64>,
    pub min_length: Option<i64>,
    pub max_items: Option<i64>,
    pub min_items: Option<i64>,
    pub max_properties: Option<i64>,
    pub min_properties: Option<i64>,
}

/// A regular expression and its source. Go's RE2 and Rust's `regex` read the same language but for rare escapes.
#[derive(Debug, Clone)]
pub struct Pattern {
    pub source: String,
    /// The reason why it cannot be used, if so.
    pub compiled: Result<Regex, String>,
}

/// One CEL rule, with what is said when it does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    pub rule: String,
    pub message: String,
    pub reason: String,
    pub field_path: String,
}

impl Node {
    /// Reads a schema. A keyword whose value has the wrong JSON type is left out: the typed
    /// CustomResourceDefinition is checked before.
    pub fn read(schema: &Value) -> Self {
        Self {
            kind: text(schema, "type"),
            nullable: flag(schema, "nullable"),
            default: schema
                .get("default")
                .filter(|default| !default.is_null())
                .cloned(),
            items: schema
                .get("items")
                .filter(|items| items.is_object())
                .map(|items| Box::new(Self::read(items))),
            properties: schema
                .get("properties")
                .and_then(Value::as_object)
                .map(|properties| {
                    properties
                        .iter()
                        .map(|(name, schema)| (name.clone(), Self::read(schema)))
                        .collect()
                })
                .unwrap_or_default(),
            additional: match schema.get("additionalProperties") {
                Some(Value::Bool(any)) => Some(Additional::Any(*any)),
                Some(schema @ Value::Object(_)) => Some(Additional::Schema(Box::new(Self::read(schema)))),
                _ => None,
            },
            preserve_unknown_fields: flag(schema, "x-kubernetes-preserve-unknown-fields"),
            embedded_resource: flag(schema, "x-kubernetes-embedded-resource"),
            int_or_string: flag(schema, "x-kubernetes-int-or-string"),
            list_type: maybe_text(schema, "x-kubernetes-list-type"),
            list_map_keys: texts(schema, "x-kubernetes-list-map-keys"),
            map_type: maybe_text(schema, "x-kubernetes-map-type"),
            limits: Limits::read(schema),
            all_of: nodes(schema, "allOf"),
            any_of: nodes(schema, "anyOf"),
            one_of: nodes(schema, "oneOf"),
            not: schema
                .get("not")
                .filter(|not| not.is_object())
                .map(|not| Box::new(Self::read(not))),
            rules: schema
                .get("x-kubernetes-validations")
                .and_then(Value::as_array)
                .map(|rules| rules.iter().map(Rule::read).collect())
                .unwrap_or_default(),
        }
    }

    /// The schema of `name` in an object of this schema, if it has one of its own or all fields have one.
    pub fn child(&self, name: &str) -> Option<&Node> {
        self.properties.get(name).or(match &self.additional {
            Some(Additional::Schema(schema)) => Some(schema),
            _ => None,
        })
    }

    /// There is a CEL rule here or further in.
    pub fn has_rules(&self) -> bool {
        !self.rules.is_empty()
            || self.properties.values().any(Node::has_rules)
            || self.items.as_ref().is_some_and(|items| items.has_rules())
            || matches!(&self.additional, Some(Additional::Schema(schema)) if schema.has_rules())
    }

    /// This schema with apiVersion, kind and metadata implied, as every resource has them.
    pub(super) fn into_resource(mut self) -> Self {
        self.embedded_resource = true;
        self
    }
}

impl Limits {
    fn read(schema: &Value) -> Self {
        Self {
            required: texts(schema, "required"),
            allowed: schema
                .get("enum")
                .and_then(Value::as_array)
                .cloned()
                .unwrap_or_default(),
            format: text(schema, "format"),
            pattern: maybe_text(schema, "pattern")
                .filter(|source| !source.is_empty())
                .map(Pattern::compile),
            maximum: number(schema, "maximum"),
            exclusive_maximum: flag(schema, "exclusiveMaximum"),
            minimum: number(schema, "minimum"),
            exclusive_minimum: flag(schema, "exclusiveMinimum"),
            multiple_of: number(schema, "multipleOf"),
            max_length: integer(schema, "maxLength"),
            min_length: integer(schema, "minLength"),
            max_items: integer(schema, "maxItems"),
            min_items: integer(schema, "minItems"),
            max_properties: integer(schema, "maxProperties"),
            min_properties: integer(schema, "minProperties"),
        }
    }
}

impl Pattern {
    fn compile(source: String) -> Self {
        let compiled = Regex::new(&source).map_err(|why| match why {
            regex::Error::Syntax(text) => text
                .lines()
                .last()
                .unwrap_or_default()
                .trim_start_matches("error: ")
                .to_owned(),
            other => other.to_string(),
        });
        Self { source, compiled }
    }
}

impl Rule {
    fn read(rule: &Value) -> Self {
        Self {
            rule: text(rule, "rule"),
            message: text(rule, "message"),
            reason: text(rule, "reason"),
            field_path: text(rule, "fieldPath"),
        }
    }
}

fn text(schema: &Value, keyword: &str) -> String {
    maybe_text(schema, keyword).unwrap_or_default()
}

fn maybe_text(schema: &Value, keyword: &str) -> Option<String> {
    schema.get(keyword).and_then(Value::as_str).map(str::to_owned)
}

fn texts(schema: &Value, keyword: &str) -> Vec<String> {
    let texts = schema.get(keyword).and_then(Value::as_array);
    texts
        .map(|texts| {
            texts
                .iter()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect()
        })
        .unwrap_or_default()
}

fn flag(schema: &Value, keyword: &str) -> bool {
    schema.get(keyword).and_then(Value::as_bool).unwrap_or_default()
}

fn number(schema: &Value, keyword: &str) -> Option<f64> {
    schema.get(keyword).and_then(Value::as_f64)
}

fn integer(schema: &Value, keyword: &str) -> Option<i64> {
    schema.get(keyword).and_then(Value::as_i64)
}

fn nodes(schema: &Value, keyword: &str) -> Vec<Node> {
    let nodes = schema.get(keyword).and_then(Value::as_array);
    nodes
        .map(|nodes| nodes.iter().map(Node::read).collect())
        .unwrap_or_default()
}

//! Answers of a Kubernetes 1.34.4 to the same schema and objects, recorded on 2026-11-21.

use serde_json::{Value, json};

use super::Schema;

/// One of everything that a schema can say.
fn gadget() -> Schema {
    let letters = |clause: Value| {
        let mut schema =
            json!({"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "string"}}});
        schema
            .as_object_mut()
            .expect("an object")
            .extend(clause.as_object().expect("an object").clone());
        schema
    };
    let either = json!([{"required": ["a"]}, {"required": ["b"]}]);
    let spec = json!({
        "name": {"type": "string", "minLength": 2, "maxLength": 5, "pattern": "^[a-z]+$"},
        "count": {"type": "integer", "minimum": 1, "maximum": 10, "default": 3},
        "mode": {"type": "string", "enum": ["a", "b"]},
        "ratio": {"type": "number", "minimum": 0.5, "exclusiveMinimum": true, "multipleOf": 0.25},
        "when": {"type": "string", "format": "date-time"},
        "day": {"type": "string", "format": "date"},
        "i32": {"type": "integer", "format": "int32"},
        "flag": {"type": "boolean"},
        "port": {"x-kubernetes-int-or-string": true},
        "any": {"x-kubernetes-preserve-unknown-fields": true},
        "labels": {"type": "object", "additionalProperties": {"type": "string"}, "maxProperties": 2, "minProperties": 1},
        "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}, "maxItems": 3, "minItems": 1},
        "list": {
            "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
            "items": {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}, "v": {"type": "integer"}}},
        },
        "list2": {
            "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name", "p"],
            "items": {"type": "object", "required": ["name", "p"], "properties": {"name": {"type": "string"}, "p": {"type": "integer"}}},
        },
        "nul": {"type": "string", "nullable": true},
        "emb": {"type": "object", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true},
        "deep": {"type": "object", "properties": {"x": {"type": "object", "default": {}, "properties": {"y": {"type": "integer", "default": 7}}}}},
        "one": letters(json!({"oneOf": either})),
        "many": letters(json!({"anyOf": either})),
        "all": letters(json!({"allOf": either})),
        "nots": letters(json!({"not": {"required": ["a"]}})),
        "nenum": {"type": "integer", "enum": [1, 2]},
    });
    let schema = json!({
        "type": "object",
        "description": "A gadget.",
        "required": ["spec"],
        "properties": {
            "spec": {"type": "object", "required": ["name"], "properties": spec},
            "status": {"type": "object", "properties": {"phase": {"type": "string", "enum": ["New", "Done"]}}},
        },
    });
    Schema::parse(&schema).expect("Kubernetes takes this schema")
}

fn object(spec: Value) -> Value {
    json!({"apiVersion": "example.com/v1", "kind": "Gadget", "metadata": {"name": "g"}, "spec": spec})
}

/// Prunes, defaults and checks as a write does; errors sorted (Kubernetes' order varies).
fn written(mut object: Value) -> Vec<String> {
    let schema = gadget();
    schema.prune(&mut object);
    schema.default(&mut object);
    said(schema.validate(&object))
}

fn said(errors: Vec<crate::error::FieldError>) -> Vec<String> {
    let mut said: Vec<String> = errors
        .into_iter()
        .map(|error| format!("{}: {}", error.field, error.message))
        .collect();
    said.sort();
    said
}

#[test]
fn a_required_field_that_is_absent_is_named() {
    assert_eq!(written(object(json!({}))), ["spec.name: Required value"]);
    assert_eq!(written(json!({"kind": "Gadget"})), ["spec: Required value"]);
}

#[test]
fn values_beyond_their_limits_are_refused_in_kubernetes_words() {
    let spec = json!({
        "name": "A", "count": 0, "mode": "c", "ratio": 0.5, "when": "yesterday", "day": "x",
        "i32": 99_999_999_999_i64, "flag": "x", "port": true,
    });
    assert_eq!(
        written(object(spec)),
        [
            r#"spec.count: Invalid value: 0: spec.count in body should be greater than or equal to 1"#,
            r#"spec.day: Invalid value: "x": spec.day in body must be of type date: "x""#,
            r#"spec.flag: Invalid value: "string": spec.flag in body must be of type boolean: "string""#,
            r#"spec.mode: Unsupported value: "c": supported values: "a", "b""#,
            r#"spec.name: Invalid value: "A": spec.name in body should be at least 2 chars long"#,
            r#"spec.port: Invalid value: "boolean": spec.port in body must be of type integer,string: "boolean""#,
            r#"spec.ratio: Invalid value: 0.5: spec.ratio in body should be greater than 0.5"#,
            r#"spec.when: Invalid value: "yesterday": spec.when in body must be of type date-time: "yesterday""#,
        ]
    );
}

#[test]
fn long_lists_and_repeated_elements_are_refused() {
    let spec = json!({
        "name": "abcdefg", "count": "3", "labels": {"a": 1, "b": "2", "c": "3"}, "set": ["a", "b", "a", "a"],
        "list": [{"name": "x"}, {"name": "x"}], "list2": [{"name": "x", "p": 1}, {"name": "x", "p": 1}],
    });
    assert_eq!(
        written(object(spec)),
        [
            r#"spec.count: Invalid value: "string": spec.count in body must be of type integer: "string""#,
            r#"spec.labels.a: Invalid value: "integer": spec.labels.a in body must be of type string: "integer""#,
            r#"spec.labels: Too many: 3: must have at most 2 items"#,
            r#"spec.list2[1]: Duplicate value: {"name":"x","p":1}"#,
            r#"spec.list[1]: Duplicate value: {"name":"x"}"#,
            r#"spec.name: Too long: may not be more than 5 bytes"#,
            r#"spec.set: Too many: 4: must have at most 3 items"#,
            r#"spec.set[2]: Duplicate value: "a""#,
        ]
    );
    let without_keys = json!({"name": "ab", "list": [{"v": 1}, {"v": 2}]});
    assert_eq!(
        written(object(without_keys)),
        [
            "spec.list[0].name: Required value",
            "spec.list[1].name: Required value",
            "spec.list[1]: Duplicate value: {}",
        ]
    );
}

#[test]
fn anyof_oneof_allof_and_not_say_what_would_fit_best() {
    let spec = json!({
        "name": "abc", "labels": {}, "set": [], "nul": null, "emb": {"a": 1}, "one": {"a": "1", "b": "2"}, "many": {},
        "all": {}, "nots": {"a": "x"}, "nenum": 3, "deep": {}, "unk": 1,
    });
    assert_eq!(
        written(object(spec)),
        [
            r#"<nil>: Invalid value: "": "spec.all" must validate all the schemas (allOf). None validated"#,
            r#"<nil>: Invalid value: "": "spec.many" must validate at least one schema (anyOf)"#,
            r#"<nil>: Invalid value: "": "spec.nots" must not validate the schema (not)"#,
            r#"<nil>: Invalid value: "": "spec.one" must validate one and only one schema (oneOf). Found 2 valid alternatives"#,
            r#"spec.all.a: Required value"#,
            r#"spec.all.b: Required value"#,
            r#"spec.emb.apiVersion: Required value"#,
            r#"spec.emb.kind: Required value"#,
            r#"spec.labels: Invalid value: 0: spec.labels in body should have at least 1 properties"#,
            r#"spec.many.a: Required value"#,
            r#"spec.nenum: Unsupported value: 3: supported values: "1", "2""#,
            r#"spec.set: Invalid value: 0: spec.set in body should have at least 1 items"#,
        ]
    );
    assert_eq!(
        written(object(json!({"name": null, "count": null, "one": {}}))),
        [
            r#"<nil>: Invalid value: "": "spec.one" must validate one and only one schema (oneOf). Found none valid"#,
            "spec.name: Required value",
            "spec.one.a: Required value",
        ]
    );
}

#[test]
fn wrong_types_are_named_at_every_depth() {
    let spec = json!({
        "name": "ab", "ratio": 0.6, "any": {"f": [{"z": 1}]}, "port": "x", "count": 1.0, "i32": 1.5, "set": "a", "list": {},
        "emb": {"apiVersion": "v1", "kind": "X", "metadata": {"name": "UP", "foo": 1}, "z": 1},
    });
    assert_eq!(
        written(object(spec)),
        [
            r#"spec.i32: Invalid value: "number": spec.i32 in body must be of type integer: "number""#,
            r#"spec.list: Invalid value: "object": spec.list in body must be of type array: "object""#,
            r#"spec.ratio: Invalid value: 0.6: spec.ratio in body should be a multiple of 0.25"#,
            r#"spec.set: Invalid value: "string": spec.set in body must be of type array: "string""#,
        ]
    );
    let spec = json!({"name": "ab", "set": ["a", 1, null], "list": [1, null], "labels": "x", "flag": null});
    assert_eq!(
        written(object(spec)),
        [
            r#"spec.labels: Invalid value: "string": spec.labels in body must be of type object: "string""#,
            r#"spec.list[0]: Invalid value: "integer": spec.list[0] in body must be of type object: "integer""#,
            r#"spec.list[0]: Invalid value: 1: must be an object for an array of list-type map"#,
            r#"spec.list[1]: Invalid value: "null": spec.list[1] in body must be of type object: "null""#,
            r#"spec.set[1]: Invalid value: "integer": spec.set[1] in body must be of type string: "integer""#,
            r#"spec.set[2]: Invalid value: "null": spec.set[2] in body must be of type string: "null""#,
        ]
    );
    assert_eq!(
        written(object(json!("x"))),
        [r#"spec: Invalid value: "string": spec in body must be of type object: "string""#]
    );
    assert_eq!(
        written(object(json!({"name": "ab", "mode": 7, "nenum": "1"}))),
        [
            r#"spec.mode: Invalid value: "integer": spec.mode in body must be of type string: "integer""#,
            r#"spec.mode: Unsupported value: 7: supported values: "a", "b""#,
            r#"spec.nenum: Invalid value: "string": spec.nenum in body must be of type integer: "string""#,
            r#"spec.nenum: Unsupported value: "1": supported values: "1", "2""#,
        ]
    );
}

#[test]
fn multiples_of_a_fraction_are_checked_as_upstream_does_odd_as_it_is() {
    assert_eq!(
        written(object(json!({"name": "ab", "ratio": 5, "count": 1.0}))),
        ["spec.ratio: Invalid value: 0: factor MultipleOf declared for spec.ratio must be positive: 0"]
    );
    assert_eq!(
        written(object(json!({"name": "ab", "ratio": 0.3}))),
        [
            "spec.ratio: Invalid value: 0.3: spec.ratio in body should be a multiple of 0.25",
            "spec.ratio: Invalid value: 0.3: spec.ratio in body should be greater than 0.5",
        ]
    );
    assert_eq!(written(object(json!({"name": "ab", "ratio": 0.75}))), [""; 0]);
}

#[test]
fn embedded_resources_have_a_type_and_good_metadata() {
    let resource =
        json!({"apiVersion": "", "kind": "a_b", "metadata": {"name": "a/b", "labels": {"x y": "1"}}});
    let label = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an \
                 alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex \
                 used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
    let key = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an \
               alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is \
               '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
    assert_eq!(
        written(object(json!({"name": "ab", "emb": resource}))),
        [
            r#"spec.emb.apiVersion: Invalid value: "": must not be empty"#.to_owned(),
            format!(
                r#"spec.emb.kind: Invalid value: "a_b": may have mixed case, but should otherwise match: {label}"#
            ),
            format!(r#"spec.emb.metadata.labels: Invalid value: "x y": {key}"#),
            r#"spec.emb.metadata.name: Invalid value: "a/b": may not contain '/'"#.to_owned(),
        ]
    );
}

#[test]
fn unknown_fields_are_dropped_and_named_and_defaults_filled_in() {
    let mut object = json!({
        "apiVersion": "example.com/v1", "kind": "Gadget", "zzz": 1, "metadata": {"name": "g", "foo": 1},
        "spec": {
            "name": "ab", "unk": 1, "list": [{"name": "a", "w": 1}], "deep": {"x": {"q": 1}, "r": [1]}, "any": {"f": 1},
            "nul": null, "flag": null, "emb": {"apiVersion": "v1", "kind": "X", "metadata": {"bar": 1}, "kept": 1},
        },
    });
    let schema = gadget();
    assert_eq!(
        schema.prune(&mut object),
        [
            "metadata.foo",
            "spec.deep.r",
            "spec.deep.x.q",
            "spec.emb.metadata.bar",
            "spec.list[0].w",
            "spec.unk",
            "zzz"
        ]
    );
    schema.default(&mut object);
    let expected = json!({
        "apiVersion": "example.com/v1", "kind": "Gadget", "metadata": {"name": "g"},
        "spec": {
            "name": "ab", "count": 3, "list": [{"name": "a"}], "deep": {"x": {"y": 7}}, "any": {"f": 1},
            "nul": null, "emb": {"apiVersion": "v1", "kind": "X", "metadata": {}, "kept": 1},
        },
    });
    assert_eq!(object, expected);
    assert_eq!(said(schema.validate(&object)), [""; 0]);
}

#[test]
fn a_status_is_checked_from_inside_itself() {
    let schema = gadget();
    let old = object(json!({"name": "ab"}));
    let with = |status: Value| {
        let mut object = old.clone();
        object["status"] = status;
        said(schema.validate_status(&object, &old))
    };
    assert_eq!(
        with(json!({"phase": 1})),
        [
            r#"status.phase: Invalid value: "integer": phase in body must be of type string: "integer""#,
            r#"status.phase: Unsupported value: 1: supported values: "New", "Done""#,
        ]
    );
    assert_eq!(
        with(json!("x")),
        [r#"status: Invalid value: "string":  in body must be of type object: "string""#]
    );
    assert_eq!(with(json!({"phase": "New"})), [""; 0]);
}

#[test]
fn an_update_may_keep_what_an_older_schema_allowed() {
    let schema = gadget();
    let old = object(
        json!({"name": "TOO LONG", "mode": "x", "set": ["a", "a"], "list": [{"name": "a", "v": "x"}]}),
    );
    let mut new = old.clone();
    new["spec"]["count"] = json!(4);
    new["spec"]["list"] = json!([{"name": "b"}, {"name": "a", "v": "x"}]);
    assert_eq!(said(schema.validate_update(&new, &old)), [""; 0]);
    new["spec"]["mode"] = json!("y");
    assert_eq!(
        said(schema.validate_update(&new, &old)),
        [r#"spec.mode: Unsupported value: "y": supported values: "a", "b""#]
    );
    new["spec"]["list"] = json!([{"name": "a", "v": "z"}]);
    assert_eq!(said(schema.validate_update(&new, &old)).len(), 2);
}

#[test]
fn rules_are_asked_once_the_values_fit() {
    let schema = Schema::parse(&json!({"type": "object", "properties": {"spec": {
        "type": "object", "properties": {"source": {"type": "string"}, "mode": {"type": "string", "enum": ["a"]}},
        "x-kubernetes-validations": [{"rule": "!has(oldSelf.source) || has(self.source)", "message": "source is required once set"}],
    }}}))
    .expect("a good schema");
    let old = json!({"spec": {"source": "a"}});
    assert_eq!(said(schema.validate(&json!({"spec": {}}))), [""; 0]);
    assert_eq!(
        said(schema.validate_update(&json!({"spec": {}}), &old)),
        [r#"spec: Invalid value: "object": source is required once set"#]
    );
    assert_eq!(
        said(schema.validate_update(&json!({"spec": {"mode": "b"}}), &old)),
        [
            "<nil>: Invalid value: null: some validation rules were not checked because the object was invalid; \
             correct the existing errors to complete validation",
            r#"spec.mode: Unsupported value: "b": supported values: "a""#,
        ]
    );
}

/// What Kubernetes says of a schema whose `properties[spec]` is this.
fn of_spec(spec: Value) -> Vec<String> {
    let schema = json!({"type": "object", "properties": {"spec": spec}});
    said(Schema::problems(&schema, "S", false))
        .into_iter()
        .map(|error| error.replace("S.properties[spec]", "P"))
        .collect()
}

#[test]
fn a_schema_is_structural() {
    assert_eq!(
        of_spec(json!({})),
        ["P.type: Required value: must not be empty for specified object fields"]
    );
    assert_eq!(
        of_spec(json!({"type": "foo"})),
        [
            r#"P.type: Unsupported value: "foo": supported values: "array", "boolean", "integer", "number", "object", "string""#
        ]
    );
    assert_eq!(
        of_spec(json!({"type": "array"})),
        ["P.items: Required value: must be specified"]
    );
    assert_eq!(
        of_spec(json!({"type": "array", "items": {}})),
        ["P.items.type: Required value: must not be empty for specified array items"]
    );
    assert_eq!(
        of_spec(
            json!({"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": {"type": "string"}})
        ),
        ["P.additionalProperties: Forbidden: additionalProperties and properties are mutual exclusive"]
    );
    assert_eq!(
        of_spec(json!({
            "type": "object", "properties": {"a": {"type": "string"}},
            "anyOf": [{"type": "object", "properties": {"a": {"type": "string"}}}],
        })),
        [
            "P.anyOf[0].properties[a].type: Forbidden: must be empty to be structural",
            "P.anyOf[0].type: Forbidden: must be empty to be structural",
        ]
    );
    assert_eq!(
        of_spec(
            json!({"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}], "pattern": "^a$"})
        ),
        [""; 0]
    );
    assert_eq!(
        of_spec(json!({"x-kubernetes-int-or-string": true, "x-kubernetes-preserve-unknown-fields": true})),
        [
            "P.x-kubernetes-preserve-unknown-fields: Invalid value: true: must be false if x-kubernetes-int-or-string is true"
        ]
    );
    assert_eq!(
        of_spec(json!({"type": "object", "x-kubernetes-embedded-resource": true})),
        [
            "P.properties: Required value: must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields"
        ]
    );
    assert_eq!(
        of_spec(
            json!({"type": "object", "default": {"b": 1}, "properties": {"a": {"type": "integer", "default": "x"}}})
        ),
        [
            r#"P.default: Invalid value: {"b":1}: must not have unknown fields"#,
            r#"P.properties[a].default: Invalid value: "string":  in body must be of type integer: "string""#,
        ]
    );
}

#[test]
fn list_keywords_belong_to_lists_with_keys() {
    assert_eq!(
        of_spec(json!({"type": "object", "x-kubernetes-list-type": "map"})),
        [
            "P.items: Required value: must have a schema if x-kubernetes-list-type is map",
            r#"P.type: Invalid value: "object": must be array if x-kubernetes-list-type is specified"#,
            "P.x-kubernetes-list-map-keys: Required value: must not be empty if x-kubernetes-list-type is map",
        ]
    );
    assert_eq!(
        of_spec(json!({
            "type": "array", "items": {"type": "object", "properties": {"n": {"type": "string"}}},
            "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["n", "m"],
        })),
        [
            "P.items.properties[n].default: Required value: this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property",
            r#"P.x-kubernetes-list-map-keys: Invalid value: ["n","m"]: entries must all be names of item properties"#,
        ]
    );
    assert_eq!(
        of_spec(json!({"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "foo"})),
        [r#"P.x-kubernetes-list-type: Unsupported value: "foo": supported values: "atomic", "set", "map""#]
    );
    assert_eq!(
        of_spec(json!({"type": "array", "items": {"type": "object"}, "x-kubernetes-list-type": "set"})),
        [
            "P.items.x-kubernetes-map-type: Invalid value: null: must be atomic as item of a list with x-kubernetes-list-type=set"
        ]
    );
}

#[test]
fn keywords_that_kubernetes_lacks_are_refused() {
    assert_eq!(
        of_spec(json!({"$ref": "#/x"})),
        ["P.$ref: Forbidden: $ref is not supported"]
    );
    assert_eq!(
        of_spec(json!({"type": "array", "uniqueItems": true, "items": {"type": "string"}})),
        [
            "P.uniqueItems: Forbidden: uniqueItems cannot be set to true since the runtime complexity becomes quadratic"
        ]
    );
    assert_eq!(
        of_spec(json!({"type": "object", "x-kubernetes-preserve-unknown-fields": false})),
        ["P.x-kubernetes-preserve-unknown-fields: Invalid value: false: must be true or undefined"]
    );
    assert_eq!(
        of_spec(json!({"type": "object", "x-kubernetes-validations": [{"rule": ""}]})),
        ["P.x-kubernetes-validations[0].rule: Required value: rule is not specified"]
    );
    assert!(
        of_spec(json!({"type": "string", "pattern": "("}))[0]
            .starts_with("P.pattern: Invalid value: \"(\": must be a valid regular expression, but isn't: ")
    );
}

#[test]
fn the_root_is_an_object_whose_metadata_is_left_alone() {
    let of_root = |schema: Value, has_status| said(Schema::problems(&schema, "S", has_status));
    assert_eq!(
        of_root(
            json!({"type": "object", "additionalProperties": {"type": "string"}}),
            false
        ),
        ["S.additionalProperties: Forbidden: must not be used at the root"]
    );
    assert_eq!(
        of_root(json!({"type": "string"}), false),
        [r#"S.type: Invalid value: "string": must be object at the root"#]
    );
    assert_eq!(
        of_root(json!({"type": "object", "nullable": true}), false),
        ["S.nullable: Forbidden: nullable cannot be true at the root"]
    );
    let metadata = |properties: Value| json!({"type": "object", "properties": {"metadata": {"type": "object", "properties": properties}}});
    assert_eq!(
        of_root(metadata(json!({"name": {"type": "string"}})), false),
        [""; 0]
    );
    assert_eq!(
        of_root(metadata(json!({"labels": {"type": "object"}})), false),
        [
            "S.properties[metadata]: Forbidden: must not specify anything other than name and generateName, but metadata is implicitly specified"
        ]
    );
    let with_clause = json!({"type": "object", "properties": {"spec": {"type": "object"}}, "oneOf": [{"required": ["spec"]}]});
    assert_eq!(of_root(with_clause.clone(), false), [""; 0]);
    assert_eq!(of_root(with_clause, true).len(), 1);
}

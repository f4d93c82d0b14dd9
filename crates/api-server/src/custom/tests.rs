//! Answers of a Kubernetes 1.34.4 to the same definitions, recorded on 2026-11-21; and Velero's own definitions.

use serde_json::{Value, json};

use super::*;

fn bad(change: impl FnOnce(&mut Value)) -> String {
    let mut crd = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "bads.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced", "names": {"plural": "bads", "kind": "Bad"},
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": {"type": "object"}}}},
            }],
        },
    });
    change(&mut crd);
    match kinds(&crd) {
        Ok(kinds) => format!("{} kinds", kinds.len()),
        Err(error) => error
            .message
            .split_once(" is invalid: ")
            .map_or(error.message.clone(), |(_, why)| why.to_owned()),
    }
}

const LABEL: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an \
                     alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', \
                     regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";

#[test]
fn names_group_and_scope_of_a_definition_are_checked() {
    assert_eq!(bad(|_| ()), "1 kinds");
    let name =
        "metadata.name: Invalid value: \"bads.example.com\": must be spec.names.plural+\".\"+spec.group";
    assert_eq!(
        bad(|crd| crd["metadata"]["name"] = json!("x.y")),
        "metadata.name: Invalid value: \"x.y\": must be spec.names.plural+\".\"+spec.group"
    );
    assert_eq!(
        bad(|crd| crd["spec"]["group"] = json!("")),
        format!("[{name}, spec.group: Required value]")
    );
    assert_eq!(
        bad(|crd| crd["spec"]["group"] = json!("foo")),
        format!("[{name}, spec.group: Invalid value: \"foo\": should be a domain with at least one dot]")
    );
    assert_eq!(
        bad(|crd| crd["spec"]["scope"] = json!("X")),
        "spec.scope: Unsupported value: \"X\": supported values: \"Cluster\", \"Namespaced\""
    );
    assert_eq!(
        bad(|crd| crd["spec"]["names"] = json!({})),
        format!(
            "[{name}, spec.names.plural: Required value, spec.names.singular: Required value, spec.names.kind: \
             Required value, spec.names.listKind: Required value]"
        )
    );
    assert_eq!(
        bad(|crd| crd["spec"]["names"]["plural"] = json!("Bads")),
        format!("[{name}, spec.names.plural: Invalid value: \"Bads\": {LABEL}]")
    );
    let mixed = "may have mixed case, but should otherwise match: ";
    assert_eq!(
        bad(|crd| crd["spec"]["names"]["kind"] = json!("B_d")),
        format!(
            "[spec.names.singular: Invalid value: \"b_d\": {LABEL}, spec.names.kind: Invalid value: \"B_d\": \
             {mixed}{LABEL}, spec.names.listKind: Invalid value: \"B_dList\": {mixed}{LABEL}]"
        )
    );
    assert_eq!(
        bad(|crd| crd["spec"]["names"]["listKind"] = json!("Bad")),
        "spec.names.listKind: Invalid value: \"Bad\": kind and listKind may not be the same"
    );
}

#[test]
fn a_definition_has_one_storage_version_and_a_schema_for_each() {
    let go = |name: &str, storage: bool| {
        format!(
            "{{\"Name\":\"{name}\",\"Served\":true,\"Storage\":{storage},\"Deprecated\":false,\
             \"DeprecationWarning\":null,\"Schema\":null,\"Subresources\":null,\"AdditionalPrinterColumns\":null,\
             \"SelectableFields\":null}}"
        )
    };
    assert_eq!(
        bad(|crd| crd["spec"]["versions"] = json!([])),
        "[spec.versions: Invalid value: []: must have exactly one version marked as storage version, \
         status.storedVersions: Invalid value: null: must have at least one stored version]"
    );
    let second = |crd: &mut Value, name: &str, storage: bool| {
        let mut version = crd["spec"]["versions"][0].clone();
        version["name"] = json!(name);
        version["storage"] = json!(storage);
        crd["spec"]["versions"]
            .as_array_mut()
            .expect("a list")
            .push(version);
    };
    assert_eq!(
        bad(|crd| second(crd, "v2", true)),
        format!(
            "[spec.versions: Invalid value: [{},{}]: must have exactly one version marked as storage version, \
             status.storedVersions: Invalid value: [\"v1\"]: must have the storage version v2]",
            go("v1", true),
            go("v2", true)
        )
    );
    assert_eq!(
        bad(|crd| second(crd, "v1", false)),
        format!(
            "spec.versions: Invalid value: [{},{}]: must contain unique version names",
            go("v1", true),
            go("v1", false)
        )
    );
    assert_eq!(bad(|crd| second(crd, "v2", false)), "2 kinds");
    assert_eq!(
        bad(|crd| crd["spec"]["versions"][0]["schema"] = Value::Null),
        "spec.versions[0].schema.openAPIV3Schema: Required value"
    );
    assert_eq!(
        bad(|crd| crd["spec"]["versions"][0]["name"] = json!("V1")),
        format!(
            "[spec.versions[0].name: Invalid value: \"V1\": {LABEL}, spec.version: Invalid value: \"V1\": {LABEL}]"
        )
    );
    assert_eq!(
        bad(|crd| crd["status"] = json!({"storedVersions": ["v0", "v1"]})),
        "status.storedVersions[0]: Invalid value: \"v0\": missing from spec.versions; v0 was previously a storage \
         version, and must remain in spec.versions until a storage migration ensures no data remains persisted in \
         v0 and removes v0 from status.storedVersions"
    );
}

#[test]
fn schemas_columns_and_scale_are_checked_where_upstream_lifts_them() {
    assert_eq!(
        bad(|crd| crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"] = json!({})),
        "spec.validation.openAPIV3Schema.properties[spec].type: Required value: must not be empty for specified \
         object fields"
    );
    let columns = json!([
        {"name": "", "type": "x", "jsonPath": "a"},
        {"name": "B", "type": "string", "format": "q", "jsonPath": ""},
    ]);
    assert_eq!(
        bad(|crd| crd["spec"]["versions"][0]["additionalPrinterColumns"] = columns),
        "[spec.additionalPrinterColumns[0].name: Required value, spec.additionalPrinterColumns[0].type: Invalid \
         value: \"x\": must be one of boolean,date,integer,number,string, \
         spec.additionalPrinterColumns[0].JSONPath: Invalid value: \"a\": must be a simple json path starting with \
         ., spec.additionalPrinterColumns[1].format: Invalid value: \"q\": must be one of \
         byte,date,date-time,double,float,int32,int64,password, spec.additionalPrinterColumns[1].JSONPath: \
         Required value]"
    );
    let scale = json!({"scale": {"specReplicasPath": "a", "statusReplicasPath": ".spec.r"}});
    assert_eq!(
        bad(|crd| crd["spec"]["versions"][0]["subresources"] = scale),
        "[spec.subresources.scale.specReplicasPath: Invalid value: \"a\": must be a simple json path starting with \
         ., spec.subresources.scale.statusReplicasPath: Invalid value: \".spec.r\": should be a json path under \
         .status]"
    );
}

#[test]
fn groups_of_kubernetes_need_an_approval() {
    let named = |crd: &mut Value, group: &str| {
        crd["spec"]["group"] = json!(group);
        crd["metadata"]["name"] = json!(format!("bads.{group}"));
    };
    assert_eq!(
        bad(|crd| named(crd, "foo.k8s.io")),
        "metadata.annotations[api-approved.kubernetes.io]: Required value: protected groups must have approval \
         annotation \"api-approved.kubernetes.io\", see https://github.com/kubernetes/enhancements/pull/1111"
    );
    for approval in [
        "unapproved, a test",
        "https://github.com/kubernetes-csi/external-snapshotter/pull/814",
    ] {
        let approved = bad(|crd| {
            named(crd, "snapshot.storage.k8s.io");
            crd["metadata"]["annotations"] = json!({"api-approved.kubernetes.io": approval});
        });
        assert_eq!(approved, "1 kinds");
    }
}

#[test]
fn what_is_outside_is_said_to_be() {
    assert_eq!(
        bad(|crd| crd["spec"]["conversion"] = json!({"strategy": "Webhook"})),
        "[spec.conversion.webhookClientConfig: Required value: required when strategy is set to Webhook, \
         spec.conversion.conversionReviewVersions: Required value]"
    );
    let webhook = json!({"strategy": "Webhook", "webhook": {"clientConfig": {"url": "https://a"}, "conversionReviewVersions": ["v1"]}});
    assert_eq!(
        bad(|crd| crd["spec"]["conversion"] = webhook),
        "customresourcedefinitions.apiextensions.k8s.io \"bads.example.com\": conversion by webhook is not implemented"
    );
    assert_eq!(
        bad(|crd| crd["spec"]["preserveUnknownFields"] = json!(true)),
        "spec.preserveUnknownFields: Invalid value: true: cannot set to true, set \
         x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead"
    );
}

#[test]
fn an_update_keeps_the_group_the_plural_and_once_established_kind_and_scope() {
    let mut old = json!({
        "metadata": {"name": "as.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced", "names": {"plural": "as", "kind": "A"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object"}}}],
        },
    });
    default(&mut old);
    let mut new = old.clone();
    new["spec"]["scope"] = json!("Cluster");
    assert_eq!(validate_update(&new, &old), []);
    established(&mut old, Timestamp::UNIX_EPOCH);
    let wrong = validate_update(&new, &old);
    assert_eq!(wrong.len(), 1);
    assert_eq!(wrong[0].message, "Invalid value: \"Cluster\": field is immutable");
}

#[test]
fn an_accepted_definition_says_so_and_keeps_the_time_of_its_conditions() {
    let mut crd = json!({"spec": {
        "names": {"plural": "gadgets", "kind": "Gadget", "shortNames": ["gad"]}, "versions": [{"name": "v1", "storage": true}],
    }});
    default(&mut crd);
    established(&mut crd, "2026-11-21T08:16:07.5Z".parse().expect("a time"));
    let expected = json!({
        "acceptedNames": {"kind": "Gadget", "listKind": "GadgetList", "plural": "gadgets", "shortNames": ["gad"], "singular": "gadget"},
        "conditions": [
            {"lastTransitionTime": "2026-11-21T08:16:07Z", "message": "no conflicts found", "reason": "NoConflicts", "status": "True", "type": "NamesAccepted"},
            {"lastTransitionTime": "2026-11-21T08:16:07Z", "message": "the initial names have been accepted", "reason": "InitialNamesAccepted", "status": "True", "type": "Established"},
        ],
        "storedVersions": ["v1"],
    });
    assert_eq!(crd["status"], expected);
    crd["spec"]["versions"] = json!([{"name": "v1"}, {"name": "v2", "storage": true}]);
    established(&mut crd, "2026-11-21T09:00:00Z".parse().expect("a time"));
    assert_eq!(crd["status"]["storedVersions"], json!(["v1", "v2"]));
    assert_eq!(crd["status"]["conditions"], expected["conditions"]);
}

#[test]
fn names_that_another_definition_has_are_not_accepted_and_nothing_is_served() {
    let definition = |plural: &str, kind: &str| {
        let mut crd = json!({
            "metadata": {"name": format!("{plural}.example.com")},
            "spec": {
                "group": "example.com", "scope": "Namespaced", "names": {"plural": plural, "kind": kind},
                "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object"}}}],
            },
        });
        default(&mut crd);
        crd
    };
    let now = Timestamp::UNIX_EPOCH;
    let mut first = definition("things", "Thing");
    established(&mut first, now);
    let mut second = definition("others", "Thing");
    second["spec"]["names"]["shortNames"] = json!(["o"]);
    accept(&mut second, [&first], now);
    assert_eq!(
        second["status"]["acceptedNames"],
        json!({"plural": "others", "kind": "", "shortNames": ["o"]})
    );
    let said: Vec<(&str, &str, &str)> = second["status"]["conditions"]
        .as_array()
        .expect("conditions")
        .iter()
        .map(|condition| {
            let text = |field: &str| condition[field].as_str().unwrap_or_default();
            (text("status"), text("reason"), text("message"))
        })
        .collect();
    assert_eq!(
        said,
        [
            ("False", "ListKindConflict", "\"ThingList\" is already in use"),
            ("False", "NotAccepted", "not all names are accepted"),
        ]
    );
    assert_eq!(kinds(&second).expect("kept").len(), 0);
    accept(&mut second, [], now);
    assert_eq!(kinds(&second).expect("kept").len(), 1);
}

#[test]
fn velero_s_definitions_become_kinds() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/crds");
    let mut plurals = Vec::new();
    for file in std::fs::read_dir(folder).expect("the folder of CRDs") {
        let text = std::fs::read_to_string(file.expect("an entry").path()).expect("a file");
        let crd: Value = serde_saphyr::from_str(&text).expect("YAML");
        let kinds = kinds(&crd).expect("Kubernetes takes Velero's definitions");
        let [kind] = kinds.as_slice() else {
            panic!("one version each")
        };
        assert!(kind.stored && kind.generation && kind.is_namespaced());
        assert_eq!(kind.group, "velero.io");
        plurals.push(kind.plural.clone());
    }
    plurals.sort();
    assert_eq!(plurals.len(), 13);
    assert_eq!(plurals[1], "backups");
}

//! What Kubernetes refuses in a CustomResourceDefinition.
//!
//! Messages speak of upstream's internal form: what all versions have in common (schema, subresources, columns)
//! is lifted out of them, so a definition of one version reads `spec.validation.openAPIV3Schema…`.
//! Source: `k8s.io/apiextensions-apiserver` v0.34, `pkg/apis/apiextensions/validation/validation.go`, and
//! `pkg/apis/apiextensions/v1/conversion.go` for the lifting.

use serde_json::Value;

use crate::error::FieldError;
use crate::schema::{Schema, names};

const COLUMN_TYPES: [&str; 5] = ["boolean", "date", "integer", "number", "string"];
const COLUMN_FORMATS: [&str; 8] = [
    "byte",
    "date",
    "date-time",
    "double",
    "float",
    "int32",
    "int64",
    "password",
];
/// The annotation without which nobody may add to Kubernetes' own groups.
const APPROVED: &str = "api-approved.kubernetes.io";

/// What is wrong with a definition to which [`super::default`] was applied.
pub fn validate(crd: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    check_name(crd, &mut errors);
    check_spec(&crd["spec"], &mut errors);
    check_stored_versions(crd, &mut errors);
    check_approval(crd, &mut errors);
    if crd["spec"]["preserveUnknownFields"] == true {
        let why = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead";
        errors.push(FieldError::invalid(
            "spec.preserveUnknownFields",
            &true.into(),
            why,
        ));
    }
    errors
}

/// What is wrong with a definition that replaces `old`.
pub fn validate_update(crd: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = validate(crd);
    let same = |one: &Value, other: &Value, field: &str, errors: &mut Vec<FieldError>| {
        if one != other {
            errors.push(FieldError::invalid(field, one, "field is immutable"));
        }
    };
    let (new, old_spec) = (&crd["spec"], &old["spec"]);
    let conditions = old["status"]["conditions"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let established = |condition: &Value| condition["type"] == "Established" && condition["status"] == "True";
    if conditions.iter().any(established) {
        same(&new["scope"], &old_spec["scope"], "spec.scope", &mut errors);
        same(
            &new["names"]["kind"],
            &old_spec["names"]["kind"],
            "spec.names.kind",
            &mut errors,
        );
    }
    same(&new["group"], &old_spec["group"], "spec.group", &mut errors);
    same(
        &new["names"]["plural"],
        &old_spec["names"]["plural"],
        "spec.names.plural",
        &mut errors,
    );
    errors
}

fn check_name(crd: &Value, errors: &mut Vec<FieldError>) {
    let (name, spec) = (text(&crd["metadata"]["name"]), &crd["spec"]);
    let mut wrong = names::dns_1123_subdomain(name);
    if name != format!("{}.{}", text(&spec["names"]["plural"]), text(&spec["group"])) {
        wrong.push("must be spec.names.plural+\".\"+spec.group".to_owned());
    }
    for why in wrong {
        errors.push(FieldError::invalid("metadata.name", &name.into(), &why));
    }
}

fn check_spec(spec: &Value, errors: &mut Vec<FieldError>) {
    let group = text(&spec["group"]);
    let wrong = names::dns_1123_subdomain(group);
    if group.is_empty() {
        errors.push(FieldError::required("spec.group", ""));
    } else if !wrong.is_empty() {
        errors.push(FieldError::invalid("spec.group", &group.into(), &wrong.join(",")));
    } else if !group.contains('.') {
        let why = "should be a domain with at least one dot";
        errors.push(FieldError::invalid("spec.group", &group.into(), why));
    }
    match text(&spec["scope"]) {
        "" => errors.push(FieldError::required("spec.scope", "")),
        "Cluster" | "Namespaced" => {}
        other => {
            errors.push(FieldError::not_supported(
                "spec.scope",
                &other.into(),
                &["Cluster", "Namespaced"],
            ));
        }
    }
    let versions = spec["versions"].as_array().map(Vec::as_slice).unwrap_or_default();
    check_versions(versions, errors);
    check_names(&spec["names"], errors);
    check_lifted(versions, errors);
    check_conversion(&spec["conversion"], errors);
}

/// A part of a version that stands in all of them alike is lifted out.
fn is_lifted(versions: &[Value], part: &str) -> bool {
    versions.iter().all(|version| version[part] == versions[0][part])
}

fn check_versions(versions: &[Value], errors: &mut Vec<FieldError>) {
    for (index, version) in versions.iter().enumerate() {
        if !version["schema"]["openAPIV3Schema"].is_object() {
            let field = format!("spec.versions[{index}].schema.openAPIV3Schema");
            errors.push(FieldError::required(field, ""));
        }
    }
    for (index, version) in versions.iter().enumerate() {
        let at = format!("spec.versions[{index}]");
        let wrong = names::dns_1035_label(text(&version["name"]));
        if !wrong.is_empty() {
            errors.push(FieldError::invalid(
                format!("{at}.name"),
                &version["name"],
                &wrong.join(","),
            ));
        }
        check_deprecation(version, &at, errors);
        if !is_lifted(versions, "schema") {
            check_schema(version, &format!("{at}.schema.openAPIV3Schema"), errors);
        }
        if !is_lifted(versions, "subresources") {
            check_scale(&version["subresources"], &format!("{at}.subresources"), errors);
        }
        if !is_lifted(versions, "additionalPrinterColumns") {
            let field = format!("{at}.additionalPrinterColumns");
            check_columns(&version["additionalPrinterColumns"], &field, errors);
        }
    }
    let repeated = |(index, version): (usize, &Value)| {
        versions[..index]
            .iter()
            .any(|other| other["name"] == version["name"])
    };
    if versions.iter().enumerate().any(repeated) {
        errors.push(of_versions(versions, "must contain unique version names"));
    }
    if versions
        .iter()
        .filter(|version| version["storage"] == true)
        .count()
        != 1
    {
        errors.push(of_versions(
            versions,
            "must have exactly one version marked as storage version",
        ));
    }
    let first = versions
        .first()
        .map(|version| text(&version["name"]))
        .unwrap_or_default();
    let wrong = names::dns_1035_label(first);
    if !first.is_empty() && !wrong.is_empty() {
        errors.push(FieldError::invalid(
            "spec.version",
            &first.into(),
            &wrong.join(","),
        ));
    }
}

/// Upstream shows the versions as its internal Go structs.
fn of_versions(versions: &[Value], why: &str) -> FieldError {
    let shown: Vec<String> = versions
        .iter()
        .map(|version| {
            format!(
                "{{\"Name\":{},\"Served\":{},\"Storage\":{},\"Deprecated\":{},\"DeprecationWarning\":{},\
                 \"Schema\":null,\"Subresources\":null,\"AdditionalPrinterColumns\":null,\"SelectableFields\":null}}",
                version["name"],
                version["served"] == true,
                version["storage"] == true,
                version["deprecated"] == true,
                version["deprecationWarning"],
            )
        })
        .collect();
    FieldError {
        field: "spec.versions".to_owned(),
        reason: "FieldValueInvalid",
        message: format!("Invalid value: [{}]: {why}", shown.join(",")),
    }
}

fn check_deprecation(version: &Value, at: &str, errors: &mut Vec<FieldError>) {
    let Some(warning) = version["deprecationWarning"].as_str() else {
        return;
    };
    let mut say = |why: &str| {
        let field = format!("{at}.deprecationWarning");
        errors.push(FieldError::invalid(field, &warning.into(), why));
    };
    if version["deprecated"] != true {
        say("can only be set for deprecated versions");
        return;
    }
    if warning.len() > 256 {
        say("must be <= 256 characters long");
    }
    if warning.is_empty() {
        say("must not be an empty string");
    }
    if let Some((index, _)) = warning.char_indices().find(|(_, letter)| letter.is_control()) {
        say(&format!(
            "must only contain printable UTF-8 characters; non-printable character found at index {index}"
        ));
    }
}

fn check_schema(version: &Value, at: &str, errors: &mut Vec<FieldError>) {
    let schema = &version["schema"]["openAPIV3Schema"];
    if schema.is_object() {
        let has_status = version["subresources"]["status"].is_object();
        errors.extend(Schema::problems(schema, at, has_status));
    }
}

/// Parts that all versions have alike are told once, as if they stood beside the versions.
fn check_lifted(versions: &[Value], errors: &mut Vec<FieldError>) {
    let Some(first) = versions.first() else { return };
    if is_lifted(versions, "schema") {
        let status = versions
            .iter()
            .find(|version| version["subresources"]["status"].is_object());
        check_schema(status.unwrap_or(first), "spec.validation.openAPIV3Schema", errors);
    }
    if is_lifted(versions, "subresources") {
        check_scale(&first["subresources"], "spec.subresources", errors);
    }
    if is_lifted(versions, "additionalPrinterColumns") {
        check_columns(
            &first["additionalPrinterColumns"],
            "spec.additionalPrinterColumns",
            errors,
        );
    }
}

fn check_scale(subresources: &Value, at: &str, errors: &mut Vec<FieldError>) {
    let scale = &subresources["scale"];
    if !scale.is_object() {
        return;
    }
    for (name, starts) in [("specReplicasPath", ".spec."), ("statusReplicasPath", ".status.")] {
        let (field, path) = (format!("{at}.scale.{name}"), text(&scale[name]));
        if path.is_empty() {
            errors.push(FieldError::required(field, ""));
        } else if let Some(why) = json_path(path) {
            errors.push(FieldError::invalid(field, &path.into(), why));
        } else if !path.starts_with(starts) {
            let why = format!("should be a json path under {}", starts.trim_end_matches('.'));
            errors.push(FieldError::invalid(field, &path.into(), &why));
        }
    }
}

fn check_columns(columns: &Value, at: &str, errors: &mut Vec<FieldError>) {
    for (index, column) in columns.as_array().into_iter().flatten().enumerate() {
        let field = |name: &str| format!("{at}[{index}].{name}");
        if text(&column["name"]).is_empty() {
            errors.push(FieldError::required(field("name"), ""));
        }
        let types = format!("must be one of {}", COLUMN_TYPES.join(","));
        match text(&column["type"]) {
            "" => errors.push(FieldError::required(field("type"), &types)),
            known if COLUMN_TYPES.contains(&known) => {}
            other => errors.push(FieldError::invalid(field("type"), &other.into(), &types)),
        }
        let format = text(&column["format"]);
        if !format.is_empty() && !COLUMN_FORMATS.contains(&format) {
            let why = format!("must be one of {}", COLUMN_FORMATS.join(","));
            errors.push(FieldError::invalid(field("format"), &format.into(), &why));
        }
        let path = text(&column["jsonPath"]);
        if path.is_empty() {
            errors.push(FieldError::required(field("JSONPath"), ""));
        } else if let Some(why) = json_path(path) {
            errors.push(FieldError::invalid(field("JSONPath"), &path.into(), why));
        }
    }
}

fn json_path(path: &str) -> Option<&'static str> {
    (!path.starts_with('.')).then_some("must be a simple json path starting with .")
}

fn check_names(all: &Value, errors: &mut Vec<FieldError>) {
    for name in ["plural", "singular", "kind", "listKind"] {
        if text(&all[name]).is_empty() {
            errors.push(FieldError::required(format!("spec.names.{name}"), ""));
        }
    }
    let mut check = |field: String, name: &str, mixed: bool| {
        let lower = if mixed {
            name.to_lowercase()
        } else {
            name.to_owned()
        };
        let wrong = names::dns_1035_label(&lower);
        if wrong.is_empty() {
            return;
        }
        let mut why = wrong.join(",");
        if mixed {
            why = format!("may have mixed case, but should otherwise match: {why}");
        }
        errors.push(FieldError::invalid(field, &name.into(), &why));
    };
    for (name, mixed) in [
        ("plural", false),
        ("singular", false),
        ("kind", true),
        ("listKind", true),
    ] {
        if !text(&all[name]).is_empty() {
            check(format!("spec.names.{name}"), text(&all[name]), mixed);
        }
    }
    for list in ["shortNames", "categories"] {
        for (index, name) in all[list].as_array().into_iter().flatten().enumerate() {
            check(format!("spec.names.{list}[{index}]"), text(name), false);
        }
    }
    if !text(&all["kind"]).is_empty() && all["kind"] == all["listKind"] {
        let why = "kind and listKind may not be the same";
        errors.push(FieldError::invalid("spec.names.listKind", &all["listKind"], why));
    }
}

fn check_conversion(conversion: &Value, errors: &mut Vec<FieldError>) {
    let webhook = &conversion["webhook"];
    match text(&conversion["strategy"]) {
        "" => errors.push(FieldError::required("spec.conversion.strategy", "")),
        "None" => {
            if webhook["clientConfig"].is_object() {
                let why = "should not be set when strategy is not set to Webhook";
                errors.push(FieldError::forbidden("spec.conversion.webhookClientConfig", why));
            }
        }
        "Webhook" => {
            if !webhook["clientConfig"].is_object() {
                let why = "required when strategy is set to Webhook";
                errors.push(FieldError::required("spec.conversion.webhookClientConfig", why));
            }
            if webhook["conversionReviewVersions"]
                .as_array()
                .is_none_or(Vec::is_empty)
            {
                errors.push(FieldError::required(
                    "spec.conversion.conversionReviewVersions",
                    "",
                ));
            }
        }
        other => {
            let supported = ["None", "Webhook"];
            errors.push(FieldError::not_supported(
                "spec.conversion.strategy",
                &other.into(),
                &supported,
            ));
        }
    }
}

fn check_stored_versions(crd: &Value, errors: &mut Vec<FieldError>) {
    let field = "status.storedVersions";
    let stored = crd["status"]["storedVersions"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    if stored.is_empty() {
        errors.push(FieldError::invalid(
            field,
            &Value::Null,
            "must have at least one stored version",
        ));
        return;
    }
    let versions = crd["spec"]["versions"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    for version in versions.iter().filter(|version| version["storage"] == true) {
        if !stored.contains(&version["name"]) {
            let why = format!("must have the storage version {}", text(&version["name"]));
            errors.push(FieldError::invalid(field, &stored.into(), &why));
        }
    }
    for (index, name) in stored.iter().enumerate() {
        if versions.iter().all(|version| version["name"] != *name) {
            let name = text(name);
            let why = format!(
                "missing from spec.versions; {name} was previously a storage version, and must remain in \
                 spec.versions until a storage migration ensures no data remains persisted in {name} and removes \
                 {name} from status.storedVersions"
            );
            errors.push(FieldError::invalid(
                format!("{field}[{index}]"),
                &name.into(),
                &why,
            ));
        }
    }
}

/// Groups of Kubernetes itself need an approval, or a word that there is none.
fn check_approval(crd: &Value, errors: &mut Vec<FieldError>) {
    let group = text(&crd["spec"]["group"]);
    let protected = ["k8s.io", "kubernetes.io"];
    if !protected
        .iter()
        .any(|one| group == *one || group.ends_with(&format!(".{one}")))
    {
        return;
    }
    let (field, see) = (
        format!("metadata.annotations[{APPROVED}]"),
        "see https://github.com/kubernetes/enhancements/pull/1111",
    );
    match text(&crd["metadata"]["annotations"][APPROVED]) {
        "" => {
            let why = format!("protected groups must have approval annotation \"{APPROVED}\", {see}");
            errors.push(FieldError::required(field, &why));
        }
        given
            if given.starts_with("unapproved")
                || given.parse::<url::Url>().is_ok_and(|url| url.has_host()) => {}
        other => {
            let why = format!(
                "protected groups must have approval annotation \"{APPROVED}\" with either a URL or a reason \
                 starting with \"unapproved\", {see}"
            );
            errors.push(FieldError::invalid(field, &other.into(), &why));
        }
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

//! The requests of a group and version, as far as clients read them: kubectl looks for the parameter
//! `fieldValidation` of PATCH, and for the kind behind a path.
//! Source: `k8s.io/apiserver` v0.34, `pkg/endpoints/installer.go`.

use serde_json::{Map, Value, json};

use super::{builtin, reference, schema_name};
use crate::builtin::{kinds::rules, types};
use crate::discovery::{subresources_of, verbs};
use crate::kind::Kind;

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";

/// All paths of the kinds of one group and version.
pub(super) fn of(kinds: &[&Kind], group: &str, version: &str) -> Value {
    let root = format!("/{}", super::path_of(group, version));
    let mut paths = Map::new();
    let resources = json!({
        "get": {
            "tags": [tag(group, version)],
            "description": "get available resources",
            "operationId": format!("get{}APIResources", words(group, version)),
            "responses": answers(&format!("{META}.APIResourceList"), "get"),
        },
    });
    // Kubernetes names it for its own groups only.
    if kinds.iter().all(|kind| kind.custom.is_none()) {
        paths.insert(format!("{root}/"), resources);
    }
    for kind in kinds {
        add(&root, kind, &mut paths);
    }
    Value::Object(paths)
}

fn add(root: &str, kind: &Kind, paths: &mut Map<String, Value>) {
    let verbs = verbs(kind);
    let mut say = |path: String, methods: &[(&str, &str)], only: &[&str], sub: Option<&Sub>| {
        let mut item = Map::new();
        for (method, verb) in methods {
            if only.contains(verb) {
                item.insert((*method).to_owned(), operation(kind, verb, &path, sub));
            }
        }
        if !item.is_empty() {
            item.insert("parameters".to_owned(), of_path(&path, kind));
            paths.insert(path, Value::Object(item));
        }
    };
    let plural = &kind.plural;
    let all = format!("{root}/{plural}");
    let collection = if kind.is_namespaced() {
        format!("{root}/namespaces/{{namespace}}/{plural}")
    } else {
        all.clone()
    };
    if kind.is_namespaced() {
        say(all, &[("get", "list")], &verbs, None);
    }
    let on_collection = [
        ("get", "list"),
        ("post", "create"),
        ("delete", "deletecollection"),
    ];
    say(collection.clone(), &on_collection, &verbs, None);
    let on_item = [
        ("get", "get"),
        ("put", "update"),
        ("patch", "patch"),
        ("delete", "delete"),
    ];
    say(format!("{collection}/{{name}}"), &on_item, &verbs, None);
    // An exec is a stream, of no schema.
    for sub in subresources_of(kind).into_iter().filter(|sub| sub.name != "exec") {
        let (group, version, name) = sub.other.unwrap_or((&kind.group, &kind.version, &kind.kind));
        let own = sub.other.is_none().then(|| schema_name(kind)).flatten();
        let described = Sub {
            name: sub.name.to_owned(),
            kind: json!({"group": group, "version": version, "kind": name}),
            schema: own.or_else(|| builtin::name_of(group, version, name)),
        };
        let on_sub = [
            ("get", "get"),
            ("put", "update"),
            ("patch", "patch"),
            ("post", "create"),
        ];
        say(
            format!("{collection}/{{name}}/{}", sub.name),
            &on_sub,
            sub.verbs,
            Some(&described),
        );
    }
}

/// A subresource and what it holds.
struct Sub {
    name: String,
    /// Group, version and kind.
    kind: Value,
    schema: Option<String>,
}

fn operation(kind: &Kind, verb: &str, path: &str, sub: Option<&Sub>) -> Value {
    let schema = match sub {
        Some(sub) => sub.schema.clone(),
        None => schema_name(kind),
    };
    let schema = schema.unwrap_or_else(|| format!("{META}.Status"));
    let (prefix, action) = match verb {
        "list" => ("list", "list"),
        "create" => ("create", "post"),
        "deletecollection" => ("delete", "deletecollection"),
        "get" => ("read", "get"),
        "update" => ("replace", "put"),
        "patch" => ("patch", "patch"),
        other => (other, other),
    };
    let answer = match verb {
        "list" => format!("{schema}List"),
        "delete" if rules(kind).returns_deleted => schema.clone(),
        "delete" | "deletecollection" => format!("{META}.Status"),
        _ => schema.clone(),
    };
    let everywhere = verb == "list" && kind.is_namespaced() && !path.contains("{namespace}");
    let id = format!(
        "{prefix}{}{}{}{}{}{}",
        words(&kind.group, &kind.version),
        if verb == "deletecollection" {
            "Collection"
        } else {
            ""
        },
        if path.contains("{namespace}") {
            "Namespaced"
        } else {
            ""
        },
        kind.kind,
        sub.map(|sub| capitalised(&sub.name)).unwrap_or_default(),
        if everywhere { "ForAllNamespaces" } else { "" },
    );
    let own = json!({"group": kind.group, "version": kind.version, "kind": kind.kind});
    let mut operation = json!({
        "tags": [tag(&kind.group, &kind.version)],
        "description": format!("{verb} {}{}", kind.kind, sub.map(|sub| format!(": {}", sub.name)).unwrap_or_default()),
        "operationId": id,
        "parameters": of_verb(verb),
        "responses": answers(&answer, verb),
        "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind": sub.map_or(own, |sub| sub.kind.clone()),
    });
    if let Some(body) = body(kind, verb, &schema) {
        operation["requestBody"] = body;
    }
    operation
}

fn body(kind: &Kind, verb: &str, schema: &str) -> Option<Value> {
    let of = |types: &[&str], schema: &str| {
        let content: Map<String, Value> = types
            .iter()
            .map(|one| ((*one).to_owned(), json!({"schema": reference(schema)})))
            .collect();
        content
    };
    let patches = [
        "application/apply-patch+yaml",
        "application/json-patch+json",
        "application/merge-patch+json",
        "application/strategic-merge-patch+json",
    ];
    match verb {
        "create" | "update" => Some(json!({"content": of(&["*/*"], schema), "required": true})),
        "patch" => {
            // Without merge keys there is no strategic merge; kubectl then goes by its own types.
            let is_plain = types::of(kind).is_none();
            let patches = if is_plain { &patches[..3] } else { &patches[..] };
            Some(json!({"content": of(patches, &format!("{META}.Patch")), "required": true}))
        }
        "delete" | "deletecollection" => {
            Some(json!({"content": of(&["*/*"], &format!("{META}.DeleteOptions"))}))
        }
        _ => None,
    }
}

fn answers(schema: &str, verb: &str) -> Value {
    let answer = |description: &str| {
        json!({
            "description": description,
            "content": {
                "application/json": {"schema": reference(schema)}, "application/yaml": {"schema": reference(schema)},
            },
        })
    };
    let mut answers = json!({"200": answer("OK"), "401": {"description": "Unauthorized"}});
    if matches!(verb, "create" | "update" | "patch") {
        answers["201"] = answer("Created");
    }
    if matches!(verb, "create" | "delete") {
        answers["202"] = answer("Accepted");
    }
    answers
}

fn parameter(name: &str, place: &str, kind: &str, description: &str) -> Value {
    let schema = json!({"type": kind, "uniqueItems": true});
    json!({"name": name, "in": place, "description": description, "schema": schema})
}

/// Parameters in the path itself.
fn of_path(path: &str, kind: &Kind) -> Value {
    let mut all = Vec::new();
    if path.contains("{name}") {
        all.push(parameter(
            "name",
            "path",
            "string",
            &format!("name of the {}", kind.kind),
        ));
    }
    if path.contains("{namespace}") {
        all.push(parameter(
            "namespace",
            "path",
            "string",
            "namespace of the object",
        ));
    }
    for parameter in &mut all {
        parameter["required"] = true.into();
    }
    all.push(parameter(
        "pretty",
        "query",
        "string",
        "\"true\": the answer is indented for people.",
    ));
    all.into()
}

fn of_verb(verb: &str) -> Value {
    let dry_run = (
        "dryRun",
        "string",
        "\"All\": everything is checked, nothing is kept.",
    );
    let manager = (
        "fieldManager",
        "string",
        "Who makes the change, for the ownership of fields; at most 128 characters.",
    );
    let validation = (
        "fieldValidation",
        "string",
        "What happens to unknown and duplicate fields: Ignore drops them, Warn drops them with a warning, Strict \
         refuses the request.",
    );
    let force = ("force", "boolean", "Of apply: take over fields that others own.");
    let selection = [
        ("labelSelector", "string", "Only objects with these labels."),
        (
            "fieldSelector",
            "string",
            "Only objects with these values of fields.",
        ),
        (
            "limit",
            "integer",
            "At most so many objects; the answer says how to go on.",
        ),
        ("continue", "string", "Where an earlier answer stopped."),
        (
            "resourceVersion",
            "string",
            "How recent the answer must be; of a watch, where it starts.",
        ),
        (
            "resourceVersionMatch",
            "string",
            "How resourceVersion is meant: Exact or NotOlderThan.",
        ),
        (
            "timeoutSeconds",
            "integer",
            "The longest time that the request may take.",
        ),
    ];
    let watch = [
        ("watch", "boolean", "Changes as they come, instead of a list."),
        (
            "allowWatchBookmarks",
            "boolean",
            "Of a watch: bookmarks may be sent between changes.",
        ),
        (
            "sendInitialEvents",
            "boolean",
            "Of a watch: what is there already comes first.",
        ),
    ];
    let deletion = [
        ("gracePeriodSeconds", "integer", "Seconds until the object goes."),
        (
            "propagationPolicy",
            "string",
            "What becomes of dependents: Orphan, Background or Foreground.",
        ),
    ];
    let all: Vec<(&str, &str, &str)> = match verb {
        "list" => [&selection[..], &watch[..]].concat(),
        "create" | "update" => vec![dry_run, manager, validation],
        "patch" => vec![dry_run, manager, validation, force],
        "delete" => [&[dry_run], &deletion[..]].concat(),
        "deletecollection" => [&[dry_run], &deletion[..], &selection[..]].concat(),
        _ => Vec::new(),
    };
    all.into_iter()
        .map(|(name, kind, description)| parameter(name, "query", kind, description))
        .collect()
}

/// `core_v1`, `rbacAuthorization_v1`, `veleroIo_v1`.
fn tag(group: &str, version: &str) -> String {
    let words = group_words(group);
    let mut letters = words.chars();
    let first = letters.next().map(|first| first.to_ascii_lowercase());
    format!(
        "{}{}_{version}",
        first.into_iter().collect::<String>(),
        letters.as_str()
    )
}

/// `CoreV1`, `RbacAuthorizationV1`, `VeleroIoV1`.
fn words(group: &str, version: &str) -> String {
    format!("{}{}", group_words(group), capitalised(version))
}

fn group_words(group: &str) -> String {
    if group.is_empty() {
        return "Core".to_owned();
    }
    group
        .trim_end_matches(".k8s.io")
        .split(['.', '-'])
        .map(capitalised)
        .collect()
}

fn capitalised(word: &str) -> String {
    let mut letters = word.chars();
    match letters.next() {
        Some(first) => format!("{}{}", first.to_ascii_uppercase(), letters.as_str()),
        None => String::new(),
    }
}

//! Names of definitions: within a group nobody else's are taken. A definition whose names are not accepted is kept
//! but not served.
//! Source: `k8s.io/apiextensions-apiserver` v0.34, `pkg/controller/status/naming_controller.go` and
//! `pkg/controller/establish`.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{storage_version, texts};

/// Accepts the names of a definition that was checked, beside the `others`: `acceptedNames`, the conditions
/// `NamesAccepted` and `Established`, and its storage version among `storedVersions`. A condition that stays as it
/// is keeps its time.
///
/// Kubernetes takes about a second for it; here the kinds are served with the answer. Names that a deleted
/// definition leaves are taken with the next write of the one that waits for them.
pub fn accept<'a>(crd: &mut Value, others: impl IntoIterator<Item = &'a Value>, now: Timestamp) {
    if !crd.is_object() {
        return;
    }
    let taken = Taken::by(crd, others);
    let wanted = crd["spec"]["names"].clone();
    let stored = storage_version(crd);
    if !crd["status"].is_object() {
        crd["status"] = json!({});
    }
    let status = &mut crd["status"];
    let (accepted, conflict) = taken.allow(&wanted, &status["acceptedNames"]);
    status["acceptedNames"] = accepted;
    let mut versions = texts(&status["storedVersions"]);
    versions.extend(stored.filter(|stored| !versions.contains(stored)));
    status["storedVersions"] = json!(versions);
    let names = match &conflict {
        None => ("NamesAccepted", true, "NoConflicts", "no conflicts found"),
        Some((reason, message)) => ("NamesAccepted", false, *reason, message.as_str()),
    };
    set(&mut status["conditions"], names, now);
    let accepted = "the initial names have been accepted";
    match (&conflict, is_established(status)) {
        // Once served, always served.
        (_, Some(true)) => {}
        (None, _) => set(
            &mut status["conditions"],
            ("Established", true, "InitialNamesAccepted", accepted),
            now,
        ),
        (Some(_), _) => {
            let refused = ("Established", false, "NotAccepted", "not all names are accepted");
            set(&mut status["conditions"], refused, now);
        }
    }
}

/// Whether the condition says so; `None`: nothing was said yet.
pub(super) fn is_established(status: &Value) -> Option<bool> {
    let conditions = status["conditions"].as_array()?;
    let condition = conditions
        .iter()
        .find(|condition| condition["type"] == "Established")?;
    Some(condition["status"] == "True")
}

/// Names that other definitions of the group have.
#[derive(Default)]
struct Taken {
    resources: BTreeSet<String>,
    kinds: BTreeSet<String>,
}

impl Taken {
    fn by<'a>(crd: &Value, others: impl IntoIterator<Item = &'a Value>) -> Self {
        let mut taken = Self::default();
        for other in others {
            let is_self = other["metadata"]["name"] == crd["metadata"]["name"];
            if is_self || other["spec"]["group"] != crd["spec"]["group"] {
                continue;
            }
            let names = &other["status"]["acceptedNames"];
            let named = |name: &str| {
                names[name]
                    .as_str()
                    .filter(|name| !name.is_empty())
                    .map(str::to_owned)
            };
            taken
                .resources
                .extend(["plural", "singular"].into_iter().filter_map(named));
            taken.resources.extend(texts(&names["shortNames"]));
            taken
                .kinds
                .extend(["kind", "listKind"].into_iter().filter_map(named));
        }
        taken
    }

    /// The names accepted now, and the last conflict: its reason and what is in use.
    fn allow(&self, wanted: &Value, before: &Value) -> (Value, Option<(&'static str, String)>) {
        let mut accepted = before.as_object().cloned().unwrap_or_default();
        let mut conflict = None;
        let resources = &self.resources;
        self.allow_one(
            "plural",
            resources,
            "PluralConflict",
            wanted,
            &mut accepted,
            &mut conflict,
        );
        self.allow_one(
            "singular",
            resources,
            "SingularConflict",
            wanted,
            &mut accepted,
            &mut conflict,
        );
        let mine = texts(&before["shortNames"]);
        let is_free = |name: &String| mine.contains(name) || !self.resources.contains(name);
        let used: Vec<String> = texts(&wanted["shortNames"])
            .into_iter()
            .filter(|name| !is_free(name))
            .map(|name| format!("\"{name}\" is already in use"))
            .collect();
        match used.as_slice() {
            [] => copy("shortNames", wanted, &mut accepted),
            [one] => conflict = Some(("ShortNamesConflict", one.clone())),
            many => conflict = Some(("ShortNamesConflict", format!("[{}]", many.join(", ")))),
        }
        let kinds = &self.kinds;
        self.allow_one(
            "kind",
            kinds,
            "KindConflict",
            wanted,
            &mut accepted,
            &mut conflict,
        );
        self.allow_one(
            "listKind",
            kinds,
            "ListKindConflict",
            wanted,
            &mut accepted,
            &mut conflict,
        );
        copy("categories", wanted, &mut accepted);
        for always in ["plural", "kind"] {
            accepted.entry(always).or_insert_with(|| "".into());
        }
        (Value::Object(accepted), conflict)
    }

    fn allow_one(
        &self,
        field: &str,
        taken: &BTreeSet<String>,
        reason: &'static str,
        wanted: &Value,
        accepted: &mut Map<String, Value>,
        conflict: &mut Option<(&'static str, String)>,
    ) {
        let name = wanted[field].as_str().unwrap_or_default();
        let is_mine = accepted.get(field).and_then(Value::as_str) == Some(name);
        if !is_mine && taken.contains(name) {
            *conflict = Some((reason, format!("\"{name}\" is already in use")));
        } else {
            copy(field, wanted, accepted);
        }
    }
}

fn copy(field: &str, from: &Value, to: &mut Map<String, Value>) {
    match from.get(field) {
        Some(value) => to.insert(field.to_owned(), value.clone()),
        None => to.remove(field),
    };
}

/// Type, whether it holds, reason and message.
type Condition<'a> = (&'a str, bool, &'a str, &'a str);

fn set(conditions: &mut Value, (kind, holds, reason, message): Condition<'_>, now: Timestamp) {
    let status = if holds { "True" } else { "False" };
    let mut condition = json!({
        "type": kind, "status": status, "reason": reason, "message": message,
        "lastTransitionTime": now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
    });
    let Some(all) = conditions.as_array_mut() else {
        *conditions = json!([condition]);
        return;
    };
    match all.iter_mut().find(|old| old["type"] == kind) {
        Some(old) => {
            if old["status"] == status {
                condition["lastTransitionTime"] = old["lastTransitionTime"].clone();
            }
            *old = condition;
        }
        None => all.push(condition),
    }
}

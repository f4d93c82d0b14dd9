//! The items that a backup selects by itself, in Velero's order (upstream `pkg/backup/item_collector.go`).
//!
//! What other items bring along (the PV of a PVC, Namespaces, CRDs) is added while running, in `run/item.rs` and `run/follows.rs`.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use caravel_api::labels;
use caravel_api::v1::BackupSpec;
use caravel_item_action::{IdentifierSet, ResourceIdentifier};
use kube::Client;
use kube::core::{Selector, SelectorExt};
use serde_json::Value;

use crate::cluster::{self, metadata_entry, name, namespace, text};
use crate::discovery::{Resource, Resources};
use crate::filter::{KindFilters, NamespaceFilter, ResourceFilter, Word};
use crate::log::{About, BackupLog};
use crate::resource_policies::Policies;
use crate::spool::{Spool, Spooled};

/// What a backup takes, worked out once.
#[derive(Debug)]
pub struct Selection {
    pub namespaces: NamespaceFilter,
    pub resources: ResourceFilter,
    /// Any of these; empty: everything.
    selectors: Vec<Selector>,
    /// Of a resource policy; they stand in for the selectors where they have a word.
    pub kinds: KindFilters,
    /// `spec.orderedResources`: plural resource → names (`ns/name`, or `name` of cluster-scoped ones), in order.
    ordered: BTreeMap<String, Vec<String>>,
}

/// The spec's label selector is not a legal one.
#[derive(Debug, thiserror::Error)]
#[error("invalid label selector: {0}")]
pub struct InvalidSelector(String);

impl Selection {
    /// # Errors
    /// [`InvalidSelector`].
    pub fn new(
        spec: &BackupSpec,
        namespaces: NamespaceFilter,
        discovered: &Resources,
        policies: Option<&Policies>,
    ) -> Result<Self, InvalidSelector> {
        let wanted = spec.label_selector.iter().chain(&spec.or_label_selectors);
        let selectors = wanted
            .map(|selector| {
                Selector::try_from(selector.clone()).map_err(|error| InvalidSelector(error.to_string()))
            })
            .collect::<Result<Vec<_>, _>>()?;
        let mut resources = ResourceFilter::new(spec, &namespaces, |word| discovered.scope_of(word));
        if let Some(policy) = policies.and_then(|policies| policies.include_exclude.as_ref()) {
            resources.combine(policy, |word| discovered.scope_of(word));
        }
        let kinds = policies.map(|policies| KindFilters::new(policies, |word| discovered.resolve(word)));
        Ok(Self {
            resources,
            namespaces,
            kinds: kinds.transpose().map_err(InvalidSelector)?.unwrap_or_default(),
            ordered: spec
                .ordered_resources
                .iter()
                .map(|(plural, names)| (plural.clone(), ordered_names(names)))
                .collect(),
            selectors: selectors
                .into_iter()
                .filter(|selector| !selector.to_string().is_empty())
                .collect(),
        })
    }

    /// The label selectors of the lists to make.
    fn selectors(&self, resource: &str, namespaced: bool) -> Vec<Option<String>> {
        match &self.selectors[..] {
            _ if self.kinds.concerns(resource, namespaced) => vec![None],
            [] => vec![None],
            some => some.iter().map(|selector| Some(selector.to_string())).collect(),
        }
    }

    fn labels_match(&self, item: &Value) -> bool {
        let labels = item
            .pointer("/metadata/labels")
            .and_then(|labels| serde_json::from_value(labels.clone()).ok())
            .unwrap_or_default();
        self.selectors.is_empty() || self.selectors.iter().any(|selector| selector.matches(&labels))
    }

    fn takes_listed(&self, resource: &str, item: &Value) -> bool {
        match self.kinds.of_listed(resource, item) {
            Word::Take => true,
            Word::Leave => false,
            // Narrowed by the server, unless a policy is about others of this kind.
            Word::Silent => self.labels_match(item),
        }
    }

    /// True when the Namespace object itself is selected (it is also taken when one of its items is): by the labels, or
    /// by its name unless the backup is one of everything with these labels.
    pub fn takes_namespace(&self, object: &Value) -> bool {
        let labelled = !self.selectors.is_empty();
        (labelled && self.labels_match(object))
            || (!(labelled && self.namespaces.is_everything()) && self.namespaces.includes(name(object)))
    }
}

/// Why an item that was found is not taken.
pub fn left_out(item: &Value) -> Option<&'static str> {
    if metadata_entry(item, "labels", labels::EXCLUDE_FROM_BACKUP) == Some("true") {
        return Some("it has the label velero.io/exclude-from-backup=true");
    }
    being_deleted(item)
}

/// Why a Namespace object is not taken, selected or not.
pub fn namespace_left_out(object: &Value) -> Option<&'static str> {
    let terminating = text(object, "/status/phase") == "Terminating";
    left_out(object).or(terminating.then_some("it's not in Active phase"))
}

/// Something that is going away is never taken.
pub fn being_deleted(item: &Value) -> Option<&'static str> {
    (!text(item, "/metadata/deletionTimestamp").is_empty()).then_some("it is being deleted")
}

/// An item of the backup, its JSON in the spool. Small, for there may be a million.
#[derive(Clone, Debug)]
pub struct Collected {
    /// Only of items that are looked for by name ([`LookedFor`]): claims, pods with hooks, those of an ordered resource. The
    /// others' is read with them ([`Items::named`]).
    pub id: Option<Box<ResourceIdentifier>>,
    /// Named in `spec.orderedResources`: backed up before others, and to its end before the next one.
    pub ordered: bool,
    /// A pod that hooks run in.
    pub hooked: bool,
    /// Into [`Items::resources`].
    resource: u32,
    spooled: Spooled,
}

/// All items that were listed.
#[derive(Debug)]
pub struct Items {
    spool: Spool,
    /// Group and plural of what was listed.
    resources: Vec<(String, String)>,
    pub list: Vec<Collected>,
}

impl Items {
    /// The JSON of an item.
    ///
    /// # Errors
    /// The temporary file cannot be read.
    pub fn read(&self, item: &Collected) -> io::Result<Value> {
        self.spool.read(item.spooled)
    }

    /// The name and the JSON of an item.
    ///
    /// # Errors
    /// The temporary file cannot be read.
    pub fn named(&self, item: &Collected) -> io::Result<(ResourceIdentifier, Value)> {
        let value = self.read(item)?;
        let at = usize::try_from(item.resource).unwrap_or(usize::MAX);
        let (group, plural) = self
            .resources
            .get(at)
            .ok_or_else(|| io::Error::other("an item of no listed resource"))?;
        let id = ResourceIdentifier::new(group, plural, namespace(&value), name(&value));
        Ok((id, value))
    }

    /// One more, looked for by name, after those that were listed.
    ///
    /// # Errors
    /// The temporary file cannot be written.
    pub fn add(&mut self, id: &ResourceIdentifier, item: &Value, hooked: bool) -> io::Result<()> {
        let is_its = |(group, plural): &(String, String)| *group == id.group && *plural == id.resource;
        let at = self.resources.iter().position(is_its).unwrap_or_else(|| {
            self.resources.push((id.group.clone(), id.resource.clone()));
            self.resources.len() - 1
        });
        let spooled = self.spool.push(item)?;
        self.list.push(Collected {
            id: Some(Box::new(id.clone())),
            ordered: false,
            hooked,
            resource: u32::try_from(at).unwrap_or(u32::MAX),
            spooled,
        });
        Ok(())
    }
}

/// Which items are looked for by name later.
pub struct LookedFor<F> {
    /// All of them, and not only claims, pods with hooks and those of an ordered resource.
    pub everything: bool,
    /// Whether hooks run in a pod.
    pub hooked: F,
}

/// Lists everything that is selected. A resource that cannot be listed is an error line of the backup, and the others
/// are still taken.
///
/// # Errors
/// The temporary file in `folder` cannot be written.
pub async fn collect(
    client: &Client,
    discovered: &Resources,
    selection: &Selection,
    page_size: u32,
    folder: &Path,
    looked_for: LookedFor<impl Fn(&Value) -> bool>,
    log: &BackupLog,
) -> io::Result<Items> {
    let mut items = Items {
        spool: Spool::create(folder)?,
        resources: Vec::new(),
        list: Vec::new(),
    };
    for resource in discovered.iter() {
        let gr = resource.group_resource();
        if gr == "namespaces" || !selection.resources.collects(&gr, resource.namespaced) {
            continue;
        }
        let order = selection.ordered.get(&resource.api.plural);
        let at = u32::try_from(items.resources.len()).unwrap_or(u32::MAX);
        items
            .resources
            .push((resource.api.group.clone(), resource.api.plural.clone()));
        let mut found = Vec::new();
        let mut failure = None;
        let spool = &mut items.spool;
        list(client, resource, selection, page_size, log, |item| {
            let hooked = gr == "pods" && (looked_for.hooked)(&item);
            let by_name =
                looked_for.everything || hooked || order.is_some() || gr == "persistentvolumeclaims";
            match spool.push(&item) {
                Ok(spooled) => found.push(Collected {
                    id: by_name.then(|| Box::new(identifier(resource, &item))),
                    ordered: false,
                    hooked,
                    resource: at,
                    spooled,
                }),
                Err(error) => failure = Some(error),
            }
        })
        .await;
        if let Some(failure) = failure {
            return Err(failure);
        }
        if let Some(order) = order {
            found = in_order(found, order, log);
        }
        items.list.append(&mut found);
    }
    Ok(items)
}

/// The identifier of an object.
pub fn identifier(resource: &Resource, item: &Value) -> ResourceIdentifier {
    ResourceIdentifier::new(
        &resource.api.group,
        &resource.api.plural,
        namespace(item),
        name(item),
    )
}

fn ordered_names(names: &str) -> Vec<String> {
    let names = names.split(',').map(str::trim).filter(|name| !name.is_empty());
    names.map(str::to_owned).collect()
}

/// The named items first, in that order; the others as they came.
fn in_order(mut found: Vec<Collected>, order: &[String], log: &BackupLog) -> Vec<Collected> {
    let mut sorted = Vec::with_capacity(found.len());
    for wanted in order {
        let is_wanted = |item: &Collected| item.id.as_deref().is_some_and(|id| listed_name(id) == *wanted);
        match found.iter().position(is_wanted) {
            Some(at) => {
                let mut item = found.remove(at);
                item.ordered = true;
                sorted.push(item);
            }
            None => log.warn(
                About::default(),
                format!("Cannot find resource '{wanted}', which spec.orderedResources names."),
            ),
        }
    }
    sorted.append(&mut found);
    sorted
}

/// `shop/web`, or `pv1`.
pub fn listed_name(id: &ResourceIdentifier) -> String {
    if id.namespace.is_empty() {
        id.name.clone()
    } else {
        // Of exactly its length: there is one for each object, and all are kept.
        [&*id.namespace, "/", &id.name].concat()
    }
}

/// The selected items of one resource, a page at a time, each once.
pub async fn list(
    client: &Client,
    resource: &Resource,
    selection: &Selection,
    page_size: u32,
    log: &BackupLog,
    mut each: impl FnMut(Value),
) {
    let gr = resource.group_resource();
    let namespaces = match selection.namespaces.to_list() {
        Some(namespaces) if resource.namespaced => namespaces,
        _ => vec![String::new()],
    };
    let mut count = 0_usize;
    let mut seen = IdentifierSet::default();
    for namespace_name in &namespaces {
        for labels in selection.selectors(&gr, resource.namespaced) {
            let about = About {
                resource: &gr,
                namespace: Some(namespace_name),
                name: "",
            };
            let take = |item: Value| {
                let wanted = (!resource.namespaced || selection.namespaces.includes(namespace(&item)))
                    && selection.takes_listed(&gr, &item)
                    && seen.insert(&identifier(resource, &item));
                if !wanted {
                    return;
                }
                count += 1;
                match left_out(&item) {
                    Some(why) => {
                        let about = About {
                            resource: &gr,
                            namespace: Some(namespace(&item)),
                            name: name(&item),
                        };
                        log.item(about, format!("Excluding item because {why}"));
                    }
                    None => each(item),
                }
            };
            let listed = cluster::list(
                client,
                &resource.api,
                namespace_name,
                labels.as_deref(),
                page_size,
                take,
            );
            match listed.await {
                Ok(()) => {}
                // Served by discovery, gone meanwhile (a CRD that is being deleted).
                Err(kube::Error::Api(status)) if status.code == 404 || status.code == 405 => {
                    log.warn(
                        about,
                        format!("{gr} cannot be listed and is left out: {}", status.message),
                    );
                }
                Err(error) => log.error(about, "Error listing items", error),
            }
        }
    }
    log.item(
        About {
            resource: &gr,
            ..About::default()
        },
        format!("Retrieved {count} items"),
    );
}

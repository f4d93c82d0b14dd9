//! The items that a backup selects by itself, in Velero's order (upstream `pkg/backup/item_collector.go`).
//!
//! What other items bring along (the PV of a PVC, Namespaces, CRDs) is added while running, in `run.rs`.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use caravel_api::labels;
use caravel_api::v1::BackupSpec;
use caravel_item_action::ResourceIdentifier;
use kube::Client;
use kube::core::{Selector, SelectorExt};
use serde_json::Value;

use crate::cluster::{self, metadata_entry, name, namespace, text};
use crate::discovery::{Resource, Resources};
use crate::filter::{NamespaceFilter, ResourceFilter};
use crate::log::{About, BackupLog};
use crate::spool::{Spool, Spooled};

/// What a backup takes, worked out once.
#[derive(Debug)]
pub struct Selection {
    pub namespaces: NamespaceFilter,
    pub resources: ResourceFilter,
    /// Any of these; empty: everything.
    selectors: Vec<Selector>,
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
    ) -> Result<Self, InvalidSelector> {
        let wanted = spec.label_selector.iter().chain(&spec.or_label_selectors);
        let selectors = wanted
            .map(|selector| {
                Selector::try_from(selector.clone()).map_err(|error| InvalidSelector(error.to_string()))
            })
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            resources: ResourceFilter::new(spec, &namespaces, |word| discovered.resolve(word)),
            namespaces,
            selectors: selectors
                .into_iter()
                .filter(|selector| !selector.to_string().is_empty())
                .collect(),
        })
    }

    /// The label selectors of the lists to make.
    fn selectors(&self) -> Vec<Option<String>> {
        match &self.selectors[..] {
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

    /// True when the Namespace object itself is selected (it is also taken when one of its items is).
    pub fn takes_namespace(&self, object: &Value) -> bool {
        self.namespaces.includes(name(object)) && self.labels_match(object)
    }
}

/// Why an item that was found is not taken.
pub fn left_out(item: &Value) -> Option<&'static str> {
    if metadata_entry(item, "labels", labels::EXCLUDE_FROM_BACKUP) == Some("true") {
        return Some("it has the label velero.io/exclude-from-backup=true");
    }
    (!text(item, "/metadata/deletionTimestamp").is_empty()).then_some("it is being deleted")
}

/// An item of the backup, its JSON in the spool.
#[derive(Clone, Debug)]
pub struct Collected {
    pub id: ResourceIdentifier,
    spooled: Spooled,
}

/// All items that were listed.
#[derive(Debug)]
pub struct Items {
    spool: Spool,
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
    log: &BackupLog,
) -> io::Result<Items> {
    let mut items = Items {
        spool: Spool::create(folder)?,
        list: Vec::new(),
    };
    for resource in discovered.iter() {
        let gr = resource.group_resource();
        if gr == "namespaces" || !selection.resources.collects(&gr, resource.namespaced) {
            continue;
        }
        for item in list(client, resource, selection, page_size, log).await {
            let id = identifier(resource, &item);
            let spooled = items.spool.push(&item)?;
            items.list.push(Collected { id, spooled });
        }
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

/// The selected items of one resource.
pub async fn list(
    client: &Client,
    resource: &Resource,
    selection: &Selection,
    page_size: u32,
    log: &BackupLog,
) -> Vec<Value> {
    let gr = resource.group_resource();
    let namespaces = match selection.namespaces.to_list() {
        Some(namespaces) if resource.namespaced => namespaces,
        _ => vec![String::new()],
    };
    let mut found = Vec::new();
    let mut seen = BTreeSet::new();
    for namespace_name in &namespaces {
        for labels in selection.selectors() {
            let about = About {
                resource: &gr,
                namespace: Some(namespace_name),
                name: "",
            };
            let listed = cluster::list(
                client,
                &resource.api,
                namespace_name,
                labels.as_deref(),
                page_size,
                |item| {
                    let wanted = !resource.namespaced || selection.namespaces.includes(namespace(&item));
                    if wanted && seen.insert((namespace(&item).to_owned(), name(&item).to_owned())) {
                        found.push(item);
                    }
                },
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
        format!("Retrieved {} items", found.len()),
    );
    found.retain(|item| match left_out(item) {
        Some(why) => {
            let about = About {
                resource: &gr,
                namespace: Some(namespace(item)),
                name: name(item),
            };
            log.item(about, format!("Excluding item because {why}"));
            false
        }
        None => true,
    });
    found
}

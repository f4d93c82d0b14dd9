//! An empty volume that the data mover fills for a DataDownload.
//!
//! The target PVC waits, kept Pending by its selector (the PVC restore item action has set it), while a restore PVC of
//! the same shape, named like the DataDownload, is provisioned in Velero's namespace and filled by the data mover pod.
//! Beside it lies the PVC of the data mover's cache, where one is wanted ([`crate::cache_volume`]).
//! Afterwards [`crate::rebind`] hands the volume to the target. With a delayed-binding class the volume is made for the
//! node that the application's pod was placed on. Source: velero-behaviour.md 5.4, Velero
//! `pkg/exposer/generic_restore.go`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, PersistentVolumeClaimSpec, Pod};
use k8s_openapi::api::storage::v1::StorageClass;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::ObjectMeta;

use crate::api::{self, Cluster};
use crate::cache_volume::{self, CacheVolume};
use crate::inherited::inherited;
use crate::mover_pod::{DataMoverPod, LocationMount, Verb};
use crate::snapshot::{binds_late, claim_phase};
use crate::{ExposerError, Next, Settings, Step};

/// The node that a delayed-binding PVC is placed on.
pub(crate) const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";

/// What a DataDownload asks to expose.
#[derive(Clone, Debug)]
pub struct RestoreRequest {
    /// Name and UID of the DataDownload.
    pub name: String,
    pub uid: String,
    /// Owner reference to it.
    pub owner: OwnerReference,
    pub target_namespace: String,
    pub target_pvc: String,
    /// How long the application's pod may take to be placed.
    pub operation_timeout: Duration,
    pub resource_timeout: Duration,
    pub location: LocationMount,
    /// The volume for the data mover's cache, where there shall be one.
    pub cache: Option<CacheVolume>,
    pub settings: Arc<Settings>,
}

/// What exists of it.
#[derive(Clone, Debug, Default)]
pub struct RestoreExposure {
    pub target: Option<PersistentVolumeClaim>,
    pub restore_pvc: Option<PersistentVolumeClaim>,
    pub pod: Option<Pod>,
    pub storage_class: Option<StorageClass>,
    /// The newest warning about the restore PVC.
    pub pvc_warning: Option<String>,
    /// The three of the cache volume; looked for only where there shall be one.
    pub cache_pvc: Option<PersistentVolumeClaim>,
    pub cache_class: Option<StorageClass>,
    pub cache_warning: Option<String>,
}

/// The target PVC, which must exist before a DataDownload is accepted.
pub async fn target(
    cluster: &Cluster,
    namespace: &str,
    pvc: &str,
) -> Result<Option<PersistentVolumeClaim>, ExposerError> {
    api::get(&cluster.in_namespace(namespace), pvc).await
}

/// Reads everything the next step rests on.
pub async fn observe(cluster: &Cluster, request: &RestoreRequest) -> Result<RestoreExposure, ExposerError> {
    let (claims, pods) = (cluster.ours::<PersistentVolumeClaim>(), cluster.ours::<Pod>());
    // The API is not asked for an empty name.
    let cache_name = request
        .cache
        .as_ref()
        .map(|_| cache_volume::claim_name(&request.name));
    let cache_name = cache_name.unwrap_or_default();
    let (target, restore_pvc, cache_pvc, pod) = futures::try_join!(
        target(cluster, &request.target_namespace, &request.target_pvc),
        api::get(&claims, &request.name),
        api::get(&claims, &cache_name),
        api::get(&pods, &request.name),
    )?;
    let (class, cache_class) = (class_name(target.as_ref()), class_name(cache_pvc.as_ref()));
    let classes = cluster.wide::<StorageClass>();
    let (storage_class, cache_class, pvc_warning, cache_warning) = futures::try_join!(
        api::get(&classes, &class),
        api::get(&classes, &cache_class),
        crate::rebind::claim_warning(cluster, restore_pvc.as_ref()),
        crate::rebind::claim_warning(cluster, cache_pvc.as_ref()),
    )?;
    Ok(RestoreExposure {
        target,
        restore_pvc,
        pod,
        storage_class,
        pvc_warning,
        cache_pvc,
        cache_class,
        cache_warning,
    })
}

impl RestoreExposure {
    /// What comes next.
    pub fn next(&self, request: &RestoreRequest) -> Next {
        if self.pod.is_some() {
            return self.with_pod(request);
        }
        let object = format!("target PVC {}/{}", request.target_namespace, request.target_pvc);
        let Some(target) = &self.target else {
            return Next::impossible(format!(
                "{object} not found: it was deleted before it could be filled"
            ));
        };
        if target
            .spec
            .as_ref()
            .is_some_and(|spec| spec.volume_name.as_deref().is_some_and(|name| !name.is_empty()))
        {
            return Next::impossible(format!("{object} is already bound to a volume"));
        }
        let late = self.storage_class.as_ref().is_some_and(binds_late);
        let waits_for_a_pod = late && !request.settings.restore_pvc.ignore_delay_binding;
        if waits_for_a_pod && self.selected_node().is_none() {
            return Next::Wait {
                what: format!(
                    "a pod that uses {object} to be placed on a node (its class binds volumes late)"
                ),
                within: Some(request.operation_timeout),
            };
        }
        let name = &request.name;
        let Some(pvc) = &self.restore_pvc else {
            return Next::Do(Step::CreateRestorePvc);
        };
        if let Some(why) = unusable(pvc, name, &request.uid) {
            return Next::impossible(why);
        }
        // Before the restore PVC is bound: the two are provisioned side by side.
        let until_cached = match self.without_cache(request) {
            Some(Next::Wait { what, .. }) => Some(what),
            Some(next) => return next,
            None => None,
        };
        if claim_phase(pvc) != "Bound" && !late {
            return Next::wait(to_be_bound(name, self.pvc_warning.as_deref()));
        }
        until_cached.map_or(Next::Do(Step::CreateMoverPod), Next::wait)
    }

    /// What the cache PVC lacks before there can be a pod.
    fn without_cache(&self, request: &RestoreRequest) -> Option<Next> {
        request.cache.as_ref()?;
        let name = cache_volume::claim_name(&request.name);
        let Some(pvc) = &self.cache_pvc else {
            return Some(Next::Do(Step::CreateCachePvc));
        };
        if let Some(why) = unusable(pvc, &name, &request.uid) {
            return Some(Next::impossible(why));
        }
        let late = self.cache_class.as_ref().is_some_and(binds_late);
        let binds = late || claim_phase(pvc) == "Bound";
        (!binds).then(|| Next::wait(to_be_bound(&name, self.cache_warning.as_deref())))
    }

    /// A pod waits for a late cache PVC, too, and nobody but that PVC's events says why it is not there.
    fn with_pod(&self, request: &RestoreRequest) -> Next {
        let Some(why) = &self.cache_warning else {
            return Next::Done;
        };
        let name = cache_volume::claim_name(&request.name);
        Next::wait(to_be_bound(&name, Some(why)))
    }

    fn selected_node(&self) -> Option<&str> {
        selected_node(self.target.as_ref()?)
    }

    /// The node that the restore PVC of a delayed-binding class was made for.
    fn placed_on(&self) -> Option<&str> {
        let late = self.storage_class.as_ref().is_some_and(binds_late);
        selected_node(self.restore_pvc.as_ref()?).filter(|_| late)
    }
}

/// Takes one step of this ladder.
pub async fn take(
    cluster: &Cluster,
    request: &RestoreRequest,
    exposure: &RestoreExposure,
    step: Step,
) -> Result<(), ExposerError> {
    let Some(target) = &exposure.target else {
        return Ok(());
    };
    match step {
        Step::CreateRestorePvc => {
            api::create(&cluster.ours(), &restore_pvc(&cluster.namespace, request, target)).await
        }
        Step::CreateCachePvc => match &request.cache {
            Some(cache) => {
                let claim = cache.claim(&cluster.namespace, request, exposure.placed_on());
                api::create(&cluster.ours(), &claim).await
            }
            None => Ok(()),
        },
        Step::CreateMoverPod => {
            let inherited = inherited(cluster, &request.settings).await?;
            let spec = target.spec.as_ref();
            let storage_class = spec.and_then(|spec| spec.storage_class_name.as_deref());
            let pod = DataMoverPod {
                verb: Verb::Restore,
                name: &request.name,
                namespace: &cluster.namespace,
                uid: &request.uid,
                owner: request.owner.clone(),
                volume_mode: volume_mode(target),
                resource_timeout: request.resource_timeout,
                location: &request.location,
                enable_compression: false,
                cache: request.cache.as_ref(),
                service_account: inherited.service_account(),
                on_node: exposure.placed_on(),
                topology: None,
                not_on_nodes: &[],
                storage_class: storage_class.unwrap_or_default(),
                read_only: false,
                no_relabeling: false,
                settings: &request.settings,
                priority_class: inherited.priority_class(),
            };
            api::create(&cluster.ours(), &pod.build(&inherited.agent)).await
        }
        _ => Ok(()),
    }
}

/// The target's twin, without the selector that keeps the target pending.
fn restore_pvc(
    namespace: &str,
    request: &RestoreRequest,
    target: &PersistentVolumeClaim,
) -> PersistentVolumeClaim {
    let spec = target.spec.clone().unwrap_or_default();
    let keeps_node = !request.settings.restore_pvc.ignore_delay_binding;
    PersistentVolumeClaim {
        metadata: ObjectMeta {
            name: Some(request.name.clone()),
            namespace: Some(namespace.into()),
            labels: target.metadata.labels.clone(),
            annotations: target
                .metadata
                .annotations
                .clone()
                .map(|all| without_binding(all, keeps_node)),
            owner_references: Some(vec![request.owner.clone()]),
            ..ObjectMeta::default()
        },
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: spec.access_modes,
            storage_class_name: spec.storage_class_name,
            volume_mode: spec.volume_mode,
            resources: spec.resources,
            volume_attributes_class_name: spec.volume_attributes_class_name,
            ..PersistentVolumeClaimSpec::default()
        }),
        status: None,
    }
}

/// Annotations without what the volume binder has written; the chosen node may stay.
fn without_binding(annotations: BTreeMap<String, String>, keeps_node: bool) -> BTreeMap<String, String> {
    const BINDER: &[&str] = &[
        "pv.kubernetes.io/",
        "volume.kubernetes.io/",
        "volume.beta.kubernetes.io/",
    ];
    annotations
        .into_iter()
        .filter(|(key, _)| {
            (keeps_node && key == SELECTED_NODE) || !BINDER.iter().any(|prefix| key.starts_with(prefix))
        })
        .collect()
}

/// Why a claim that exists will never serve us.
fn unusable(pvc: &PersistentVolumeClaim, name: &str, uid: &str) -> Option<String> {
    if !api::is_owned_by(&pvc.metadata, uid) {
        return Some(format!("PVC {name} exists already and is not ours"));
    }
    (claim_phase(pvc) == "Lost").then(|| format!("PVC {name} has lost its volume"))
}

/// What is waited for, and why it is not there yet.
fn to_be_bound(name: &str, warning: Option<&str>) -> String {
    let why = warning.map(|why| format!(" ({why})")).unwrap_or_default();
    format!("PVC {name} to be bound{why}")
}

fn class_name(pvc: Option<&PersistentVolumeClaim>) -> String {
    pvc.and_then(|pvc| pvc.spec.as_ref()?.storage_class_name.clone())
        .unwrap_or_default()
}

fn selected_node(pvc: &PersistentVolumeClaim) -> Option<&str> {
    pvc.metadata
        .annotations
        .as_ref()?
        .get(SELECTED_NODE)
        .map(String::as_str)
}

pub(crate) fn volume_mode(pvc: &PersistentVolumeClaim) -> &'static str {
    let mode = pvc.spec.as_ref().and_then(|spec| spec.volume_mode.as_deref());
    if mode == Some("Block") {
        "Block"
    } else {
        "Filesystem"
    }
}

#[cfg(test)]
pub(crate) mod tests;

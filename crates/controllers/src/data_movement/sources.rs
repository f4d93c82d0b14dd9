//! What wakes a movement: one watch per kind, each mapping an object to the movements it concerns.

use std::sync::Arc;

use caravel_api::v1::BackupRepository;
use caravel_csi::{VolumeSnapshot, VolumeSnapshotContent};
use k8s_openapi::api::core::v1::{Event, PersistentVolume, PersistentVolumeClaim, Pod};
use kube::runtime::watcher;
use kube::{Api, Resource, ResourceExt};

use super::{Controller, Direction, Interests, Movement, key_of_pod, pod_label};
use crate::reconcile::{Key, Source};

/// The watches of one direction.
pub(crate) fn sources<M: Movement>(controller: &Controller<M>) -> Vec<Source> {
    let context = &controller.shared.context;
    let (client, namespace) = (context.client.clone(), context.namespace.clone());
    let interests = || Arc::clone(&controller.interests);
    let direction = M::DIRECTION;
    let mut all = vec![
        Source::own(context, {
            let queue = Arc::clone(&controller.shared.queue);
            move |object: &M::Object| {
                let key = Key::of(object);
                let facts = M::facts(object);
                let is_gone = facts.deleting && facts.finalizers.is_empty();
                queue.seen(direction, &key, facts.is_in_preparation() && !is_gone);
                vec![key]
            }
        }),
        Source::keys(controller.shared.slots.freed(direction)),
        Source::keys(controller.shared.queue.freed(direction)),
        Source::watch(
            context.api::<Pod>(),
            watcher::Config::default().labels(pod_label(direction)),
            key_of_pod,
        ),
        Source::watch(
            context.api::<Event>(),
            watcher::Config::default().fields(&format!("involvedObject.kind={}", direction.kind())),
            key_of_final_event,
        ),
        Source::watch(
            context.api::<BackupRepository>(),
            watcher::Config::default(),
            waiting("BackupRepository", interests()),
        ),
        Source::watch(
            Api::<PersistentVolumeClaim>::all(client.clone()),
            watcher::Config::default(),
            {
                let interests = interests();
                move |pvc: &PersistentVolumeClaim| {
                    let mut keys = interests.keys("PersistentVolumeClaim", &Key::of(pvc));
                    if pvc.namespace().as_deref() == Some(&namespace) {
                        // By the owner's name: not all claims of a movement are named like it.
                        let owners = pvc.owner_references().iter();
                        let owners = owners.filter(|owner| owner.kind == direction.kind());
                        keys.extend(owners.map(|owner| Key::new(namespace.clone(), owner.name.clone())));
                    }
                    keys
                }
            },
        ),
    ];
    match direction {
        Direction::Upload => {
            let home = context.namespace.clone();
            all.push(Source::watch(
                Api::<VolumeSnapshot>::all(client.clone()),
                watcher::Config::default(),
                waiting("VolumeSnapshot", interests()),
            ));
            all.push(Source::watch(
                Api::<VolumeSnapshotContent>::all(client),
                watcher::Config::default(),
                {
                    let interests = interests();
                    move |content: &VolumeSnapshotContent| {
                        // Our own content and VolumeSnapshot have the DataUpload's name.
                        interests.keys(
                            "VolumeSnapshotContent",
                            &Key::new(home.clone(), content.name_any()),
                        )
                    }
                },
            ));
        }
        Direction::Download => all.push(Source::watch(
            Api::<PersistentVolume>::all(client),
            watcher::Config::default(),
            waiting("PersistentVolume", interests()),
        )),
    }
    all
}

/// Maps an object to those who have said that they wait for it.
fn waiting<K: Resource<DynamicType = ()>>(
    kind: &'static str,
    interests: Arc<Interests>,
) -> impl FnMut(&K) -> Vec<Key> {
    move |object| interests.keys(kind, &Key::of(object))
}

/// A data mover's last word; its other events wake nobody.
fn key_of_final_event(event: &Event) -> Vec<Key> {
    if !caravel_data_mover::protocol::is_final(event.reason.as_deref().unwrap_or_default()) {
        return Vec::new();
    }
    let about = &event.involved_object;
    vec![Key::new(
        about.namespace.clone().unwrap_or_default(),
        about.name.clone().unwrap_or_default(),
    )]
}

//! Claims and volumes: whether a claim keeps the volume it had, gets its data anew, or comes back empty, which is said
//! (guarantee 5).

use serde_json::Value;

use super::ItemError;
use crate::group_resource::{GroupResource, known};
use crate::item_actions::claim;
use crate::item_name::ItemName;
use crate::metadata::forget_binding;
use crate::run::Engine;
use crate::volumes::{Saved, VolumeDecision, decide_volume, empty_claim_warning};

impl Engine {
    /// Claims and volumes forget each other where the claim gets a new volume; guarantee 5 is kept here.
    pub(super) async fn forget_volumes(
        &self,
        name: &ItemName,
        in_backup: &Value,
        item: &mut Value,
    ) -> Result<(), ItemError> {
        if name.group_resource.is(known::PERSISTENT_VOLUMES) {
            forget_binding(item);
            return Ok(());
        }
        if name.group_resource.is(known::PODS) {
            self.warn_of_volumes_saved_through(name);
        }
        if !name.group_resource.is(known::PERSISTENT_VOLUME_CLAIMS) {
            return Ok(());
        }
        forget_binding(item);
        claim::forget_traces(item);
        let saved = self
            .run
            .saved_volumes
            .of_claim(&name.namespace, &name.name, in_backup);
        let restore_pvs = self.run.restore.spec.restore_pvs;
        let volume_stays = restore_pvs != Some(false) && self.volume_stays(in_backup, saved).await?;
        if !volume_stays {
            claim::forget_volume(item);
        }
        let target = self.selection.target_namespace(&name.namespace);
        let warning = empty_claim_warning(target, &name.name, in_backup, saved, volume_stays, restore_pvs);
        if let Some(warning) = warning {
            self.warning(target, warning);
        }
        Ok(())
    }

    /// Guarantee 5 of volumes that no claim holds.
    fn warn_of_volumes_saved_through(&self, pod: &ItemName) {
        let target = self.selection.target_namespace(&pod.namespace);
        for volume in self.run.saved_volumes.of_pod(&pod.namespace, &pod.name) {
            let warning = format!(
                "Pod {target}/{} comes back with an empty volume {volume}: its data was saved by file system backup, which this version does not restore yet",
                pod.name
            );
            self.warning(target, warning);
        }
    }

    /// True when the claim's old volume is restored as is (now, as an additional item), or is still in the cluster.
    async fn volume_stays(&self, claim_in_backup: &Value, saved: Saved) -> Result<bool, ItemError> {
        let volume = claim_in_backup
            .pointer("/spec/volumeName")
            .and_then(Value::as_str)
            .unwrap_or_default();
        if volume.is_empty() || saved != Saved::Not {
            return Ok(false);
        }
        let resource = GroupResource::parse(known::PERSISTENT_VOLUMES);
        if self.run.contents.contains(&resource, "", volume) {
            let object = self.run.contents.object(&resource, "", volume)?;
            let as_is = decide_volume(&object, self.run.saved_volumes.of_volume(volume))
                == VolumeDecision::RestoreAsIs;
            if as_is {
                let name = ItemName {
                    group_resource: resource,
                    namespace: String::new(),
                    name: volume.to_owned(),
                };
                self.restore_item(name).await;
            }
            return Ok(as_is);
        }
        let volumes: kube::Api<k8s_openapi::api::core::v1::PersistentVolume> =
            kube::Api::all(self.run.client.clone());
        Ok(volumes.get_opt(volume).await?.is_some())
    }
}

//! Worlds with one defect each. A check that no defect can fail checks nothing: `tests/sabotage.rs` plays each of these
//! and expects the check that is there to find it.

use anyhow::Context as _;
use caravel_api_server::User;
use caravel_api_server::faults::{Fault, Rule};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{
    Api, ApiResource, DynamicObject, GroupVersionKind, ObjectMeta, Patch, PatchParams, PostParams,
};
use serde_json::json;

use crate::application;
use crate::checks::{BYSTANDER, Invariant};
use crate::operation::{phase, velero_api};
use crate::world::{VELERO, World};

/// One defect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sabotage {
    /// A snapshot is not of one moment: the storage changes it after it was cut.
    SnapshotsChange,
    /// A DataUpload is Completed, but the volume that comes back has a byte changed.
    RestoredByteChanges,
    /// Something that has ended is taken up again.
    MovementGoesOn,
    /// A node agent cannot say that a movement has ended, whatever it tries.
    MovementsNeverEnd,
    /// A snapshot is there that nobody needs and nobody takes away.
    SnapshotStays,
    /// Velero's server writes into a namespace that nobody named.
    ServerWritesElsewhere,
    /// An object in a namespace that nobody named is not what it was; who did it was not seen.
    OtherObjectChanges,
    /// Its volume is not what it was.
    OtherVolumeChanges,
    /// The storage loses a snapshot that a Completed backup counts on.
    KeptSnapshotIsLost,
}

impl Sabotage {
    /// Each of them.
    pub const ALL: [Self; 9] = [
        Self::SnapshotsChange,
        Self::RestoredByteChanges,
        Self::MovementGoesOn,
        Self::MovementsNeverEnd,
        Self::SnapshotStays,
        Self::ServerWritesElsewhere,
        Self::OtherObjectChanges,
        Self::OtherVolumeChanges,
        Self::KeptSnapshotIsLost,
    ];

    /// What is not true any more.
    pub fn breaks_what(self) -> Invariant {
        match self {
            Self::SnapshotsChange | Self::RestoredByteChanges | Self::KeptSnapshotIsLost => {
                Invariant::RestoredAsTaken
            }
            Self::MovementGoesOn => Invariant::TerminalStays,
            Self::MovementsNeverEnd => Invariant::EverythingEnds,
            Self::SnapshotStays => Invariant::NothingLeft,
            Self::ServerWritesElsewhere | Self::OtherObjectChanges | Self::OtherVolumeChanges => {
                Invariant::OthersUntouched
            }
        }
    }

    /// Makes the world have it, from now on.
    pub fn breaks(self, world: &World) {
        let product = "system:serviceaccount:velero:";
        match self {
            Self::SnapshotsChange => world.checks.spoil_snapshots(),
            Self::MovementsNeverEnd => {
                let refused = Rule::always(Fault::unavailable()).on("patch");
                world.api_faults.add(refused.of("datauploads").by(product));
            }
            _ => {}
        }
    }

    /// Strikes once: when the operations have ended, before everything is restored.
    ///
    /// # Errors
    /// There is nothing to strike.
    pub async fn strikes(self, world: &World) -> anyhow::Result<()> {
        match self {
            Self::MovementGoesOn => {
                let uploads = world.list("velero.io", "v2alpha1", "DataUpload").await?;
                let done = uploads.iter().find(|upload| phase(upload) == "Completed");
                let name = done.and_then(|upload| upload.metadata.name.clone());
                let on = Patch::Merge(json!({"status": {"phase": "InProgress"}}));
                velero_api(world, "DataUpload")
                    .patch(
                        &name.context("no upload is Completed")?,
                        &PatchParams::default(),
                        &on,
                    )
                    .await?;
            }
            Self::SnapshotStays => {
                let kind = GroupVersionKind::gvk("snapshot.storage.k8s.io", "v1", "VolumeSnapshot");
                let resource = ApiResource::from_gvk(&kind);
                let mut left = DynamicObject::new("left-by-velero", &resource);
                left.data = json!({"spec": {"source": {"persistentVolumeClaimName": "gone"}}});
                Api::namespaced_with(world.client.clone(), VELERO, &resource)
                    .create(&PostParams::default(), &left)
                    .await?;
            }
            Self::ServerWritesElsewhere => {
                let server = world
                    .sandbox
                    .api()
                    .client_as(User::service_account(VELERO, "velero"));
                let map = ConfigMap {
                    metadata: ObjectMeta {
                        name: Some("left-by-velero".into()),
                        ..ObjectMeta::default()
                    },
                    ..ConfigMap::default()
                };
                let maps: Api<ConfigMap> = Api::namespaced(server, BYSTANDER);
                maps.create(&PostParams::default(), &map).await?;
            }
            Self::OtherObjectChanges => {
                let maps: Api<ConfigMap> = Api::namespaced(world.client.clone(), BYSTANDER);
                let other = Patch::Merge(json!({"data": {"of": "somebody else"}}));
                maps.patch("settings", &PatchParams::default(), &other).await?;
            }
            Self::OtherVolumeChanges => {
                world.write(BYSTANDER, "data", 1)?;
            }
            Self::KeptSnapshotIsLost => world.checks.lose_a_snapshot()?,
            _ => {}
        }
        Ok(())
    }

    /// Strikes once: when everything was restored, before it is compared.
    ///
    /// # Errors
    /// There is nothing to strike.
    pub fn strikes_at_last(self, world: &World) -> anyhow::Result<()> {
        if self == Self::RestoredByteChanges {
            let restored = world.applications.restored();
            let volume = restored.first().context("no volume was restored")?;
            application::flip_a_byte(volume)?;
        }
        Ok(())
    }
}

//! `csi.v1.Controller` over a [`crate::medium`].

use tonic::{Request, Response, Status};

use crate::csi::controller_server::Controller;
use crate::csi::controller_service_capability::{Rpc, Type, rpc};
use crate::csi::validate_volume_capabilities_response::Confirmed;
use crate::csi::*;
use crate::driver::Driver;
use crate::error::Error;
use crate::records::{self, Record, SnapshotRecord, Source, VolumeRecord};
use crate::{request, volume};

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl Controller for Driver {
    async fn create_volume(&self, request: Request<CreateVolumeRequest>) -> Answer<CreateVolumeResponse> {
        let asked = request.into_inner();
        let copied = request::source(asked.volume_content_source.as_ref())?;
        let still = match &copied {
            Some(Source::Volume(id)) => self.still(id).await?,
            _ => None,
        };
        self.run("CreateVolume", asked.name.clone(), move |driver| {
            let _still = still;
            let medium = driver.medium();
            if asked.name.is_empty() {
                return Err(Error::missing("name"));
            }
            let accesses = request::accesses(&asked.volume_capabilities)?;
            let filesystem = request::filesystem(&accesses, &asked.parameters)?;
            let block = accesses.iter().all(|a| a.block);
            let source = request::source(asked.volume_content_source.as_ref())?;
            let range = asked.capacity_range.as_ref();
            let id = records::id_for::<VolumeRecord>(&asked.name);
            if let Some(existing) = records::find::<VolumeRecord>(medium.root(), &id)? {
                request::same_volume(&existing, range, block, source.as_ref())?;
                return Ok(CreateVolumeResponse {
                    volume: Some(shown(&existing)),
                });
            }
            let source_bytes = source
                .as_ref()
                .map(|s| volume::source_bytes(medium.root(), s))
                .transpose()?;
            let size = request::size(range, (!block).then_some(filesystem), source_bytes)?;
            let record = volume::record(&asked.name, size, block, filesystem, source);
            medium.create(&record)?;
            Ok(CreateVolumeResponse {
                volume: Some(shown(&record)),
            })
        })
        .await
    }

    async fn delete_volume(&self, request: Request<DeleteVolumeRequest>) -> Answer<DeleteVolumeResponse> {
        let id = request.into_inner().volume_id;
        self.run("DeleteVolume", id.clone(), move |driver| {
            driver.medium().delete(given(&id, "volume id")?)?;
            Ok(DeleteVolumeResponse {})
        })
        .await
    }

    async fn validate_volume_capabilities(
        &self,
        request: Request<ValidateVolumeCapabilitiesRequest>,
    ) -> Answer<ValidateVolumeCapabilitiesResponse> {
        let asked = request.into_inner();
        self.run(
            "ValidateVolumeCapabilities",
            asked.volume_id.clone(),
            move |driver| {
                given(&asked.volume_id, "volume id")?;
                if asked.volume_capabilities.is_empty() {
                    return Err(Error::missing("volume capabilities"));
                }
                records::get::<VolumeRecord>(driver.medium().root(), &asked.volume_id)?;
                let checked = request::accesses(&asked.volume_capabilities)
                    .and_then(|a| request::filesystem(&a, &asked.parameters));
                Ok(match checked {
                    Ok(_) => ValidateVolumeCapabilitiesResponse {
                        confirmed: Some(Confirmed {
                            volume_context: asked.volume_context,
                            volume_capabilities: asked.volume_capabilities,
                            parameters: asked.parameters,
                            ..Confirmed::default()
                        }),
                        message: String::new(),
                    },
                    Err(why) => ValidateVolumeCapabilitiesResponse {
                        confirmed: None,
                        message: why.to_string(),
                    },
                })
            },
        )
        .await
    }

    async fn list_volumes(&self, request: Request<ListVolumesRequest>) -> Answer<ListVolumesResponse> {
        let asked = request.into_inner();
        self.run("ListVolumes", String::new(), move |driver| {
            let all = records::list::<VolumeRecord>(driver.medium().root())?;
            let (page, next_token) = request::page(
                all,
                Record::id,
                asked.max_entries,
                &asked.starting_token,
                VolumeRecord::PREFIX,
            )?;
            let entries = page
                .iter()
                .map(|v| list_volumes_response::Entry {
                    volume: Some(shown(v)),
                })
                .collect();
            Ok(ListVolumesResponse { entries, next_token })
        })
        .await
    }

    async fn get_capacity(&self, _: Request<GetCapacityRequest>) -> Answer<GetCapacityResponse> {
        self.run("GetCapacity", String::new(), |driver| {
            let available = signed(driver.medium().room()?.available);
            Ok(GetCapacityResponse {
                available_capacity: available,
                maximum_volume_size: Some(available),
                minimum_volume_size: None,
            })
        })
        .await
    }

    async fn controller_get_capabilities(
        &self,
        _: Request<ControllerGetCapabilitiesRequest>,
    ) -> Answer<ControllerGetCapabilitiesResponse> {
        use rpc::Type::*;
        let served = [
            CreateDeleteVolume,
            ListVolumes,
            GetCapacity,
            CreateDeleteSnapshot,
            ListSnapshots,
            CloneVolume,
            ExpandVolume,
            SingleNodeMultiWriter,
        ];
        let capability = |is: rpc::Type| ControllerServiceCapability {
            r#type: Some(Type::Rpc(Rpc { r#type: is.into() })),
        };
        Ok(Response::new(ControllerGetCapabilitiesResponse {
            capabilities: served.map(capability).into(),
        }))
    }

    async fn create_snapshot(
        &self,
        request: Request<CreateSnapshotRequest>,
    ) -> Answer<CreateSnapshotResponse> {
        let asked = request.into_inner();
        let still = self.still(&asked.source_volume_id).await?;
        self.run("CreateSnapshot", asked.source_volume_id.clone(), move |driver| {
            let _still = still;
            let name = given(&asked.name, "name")?;
            let source = given(&asked.source_volume_id, "source volume id")?;
            request::filesystem(&[], &asked.parameters)?;
            let taken = driver.medium().snapshot(name, source)?;
            Ok(CreateSnapshotResponse {
                snapshot: Some(shown_snapshot(&taken)),
            })
        })
        .await
    }

    async fn delete_snapshot(
        &self,
        request: Request<DeleteSnapshotRequest>,
    ) -> Answer<DeleteSnapshotResponse> {
        let id = request.into_inner().snapshot_id;
        self.run("DeleteSnapshot", id.clone(), move |driver| {
            driver.medium().delete_snapshot(given(&id, "snapshot id")?)?;
            Ok(DeleteSnapshotResponse {})
        })
        .await
    }

    async fn list_snapshots(&self, request: Request<ListSnapshotsRequest>) -> Answer<ListSnapshotsResponse> {
        let asked = request.into_inner();
        self.run("ListSnapshots", asked.snapshot_id.clone(), move |driver| {
            let mut all = records::list::<SnapshotRecord>(driver.medium().root())?;
            let wanted = |filter: &str, value: &str| filter.is_empty() || filter == value;
            all.retain(|s| {
                wanted(&asked.snapshot_id, &s.id) && wanted(&asked.source_volume_id, &s.source_volume_id)
            });
            let (page, next_token) = request::page(
                all,
                Record::id,
                asked.max_entries,
                &asked.starting_token,
                SnapshotRecord::PREFIX,
            )?;
            let entries = page
                .iter()
                .map(|s| list_snapshots_response::Entry {
                    snapshot: Some(shown_snapshot(s)),
                })
                .collect();
            Ok(ListSnapshotsResponse { entries, next_token })
        })
        .await
    }

    async fn controller_expand_volume(
        &self,
        request: Request<ControllerExpandVolumeRequest>,
    ) -> Answer<ControllerExpandVolumeResponse> {
        let asked = request.into_inner();
        self.run("ControllerExpandVolume", asked.volume_id.clone(), move |driver| {
            given(&asked.volume_id, "volume id")?;
            let range = asked
                .capacity_range
                .as_ref()
                .ok_or_else(|| Error::missing("capacity range"))?;
            let record = records::get::<VolumeRecord>(driver.medium().root(), &asked.volume_id)?;
            let size = request::size(Some(range), None, None)?;
            let grown = driver.medium().expand(record, size)?;
            Ok(ControllerExpandVolumeResponse {
                capacity_bytes: signed(grown.capacity_bytes),
                node_expansion_required: driver.medium().grows_on_node(),
            })
        })
        .await
    }
}

/// A field that must not be empty.
pub(crate) fn given<'a>(value: &'a str, field: &str) -> Result<&'a str, Error> {
    if value.is_empty() {
        Err(Error::missing(field))
    } else {
        Ok(value)
    }
}

/// Sizes are below `i64::MAX` by [`request::size`]; beyond, the largest is near enough.
pub(crate) fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

fn shown(volume: &VolumeRecord) -> Volume {
    use volume_content_source::{SnapshotSource, Type, VolumeSource};
    let kind = volume.source.clone().map(|source| match source {
        Source::Snapshot(snapshot_id) => Type::Snapshot(SnapshotSource { snapshot_id }),
        Source::Volume(volume_id) => Type::Volume(VolumeSource { volume_id }),
    });
    Volume {
        capacity_bytes: signed(volume.capacity_bytes),
        volume_id: volume.id.clone(),
        content_source: kind.map(|kind| VolumeContentSource { r#type: Some(kind) }),
        ..Volume::default()
    }
}

fn shown_snapshot(snapshot: &SnapshotRecord) -> Snapshot {
    Snapshot {
        size_bytes: signed(snapshot.size_bytes),
        snapshot_id: snapshot.id.clone(),
        source_volume_id: snapshot.source_volume_id.clone(),
        creation_time: Some(snapshot.created.into()),
        ready_to_use: true,
        group_snapshot_id: String::new(),
    }
}

//! `csi.v1.Node` over a [`crate::medium`].

use std::path::{Path, PathBuf};

use tonic::{Request, Response, Status};

use crate::controller::{given, signed};
use crate::csi::node_server::Node;
use crate::csi::node_service_capability::{Rpc, Type, rpc};
use crate::csi::*;
use crate::driver::Driver;
use crate::error::Error;
use crate::medium::Publication;
use crate::records::{self, VolumeRecord};
use crate::request;

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl Node for Driver {
    async fn node_stage_volume(
        &self,
        request: Request<NodeStageVolumeRequest>,
    ) -> Answer<NodeStageVolumeResponse> {
        let asked = request.into_inner();
        self.run("NodeStageVolume", asked.volume_id.clone(), move |driver| {
            given(&asked.volume_id, "volume id")?;
            let staging = path(&asked.staging_target_path, "staging target path")?;
            let access = request::access(asked.volume_capability.as_ref())?;
            let volume: VolumeRecord = records::get(driver.medium().root(), &asked.volume_id)?;
            driver.medium().stage(&volume, &staging, &access)?;
            Ok(NodeStageVolumeResponse {})
        })
        .await
    }

    async fn node_unstage_volume(
        &self,
        request: Request<NodeUnstageVolumeRequest>,
    ) -> Answer<NodeUnstageVolumeResponse> {
        let asked = request.into_inner();
        self.run("NodeUnstageVolume", asked.volume_id.clone(), move |driver| {
            given(&asked.volume_id, "volume id")?;
            let staging = path(&asked.staging_target_path, "staging target path")?;
            records::get::<VolumeRecord>(driver.medium().root(), &asked.volume_id)?;
            driver.medium().unstage(&asked.volume_id, &staging)?;
            Ok(NodeUnstageVolumeResponse {})
        })
        .await
    }

    async fn node_publish_volume(
        &self,
        request: Request<NodePublishVolumeRequest>,
    ) -> Answer<NodePublishVolumeResponse> {
        let asked = request.into_inner();
        self.run("NodePublishVolume", asked.volume_id.clone(), move |driver| {
            given(&asked.volume_id, "volume id")?;
            let target = path(&asked.target_path, "target path")?;
            let access = request::access(asked.volume_capability.as_ref())?;
            let volume: VolumeRecord = records::get(driver.medium().root(), &asked.volume_id)?;
            let publication = Publication {
                staging: Path::new(&asked.staging_target_path),
                target: &target,
                access: &access,
                read_only: asked.readonly,
            };
            driver.medium().publish(&volume, &publication)?;
            Ok(NodePublishVolumeResponse {})
        })
        .await
    }

    async fn node_unpublish_volume(
        &self,
        request: Request<NodeUnpublishVolumeRequest>,
    ) -> Answer<NodeUnpublishVolumeResponse> {
        let asked = request.into_inner();
        self.run("NodeUnpublishVolume", asked.volume_id.clone(), move |driver| {
            given(&asked.volume_id, "volume id")?;
            let target = path(&asked.target_path, "target path")?;
            records::get::<VolumeRecord>(driver.medium().root(), &asked.volume_id)?;
            driver.medium().unpublish(&asked.volume_id, &target)?;
            Ok(NodeUnpublishVolumeResponse {})
        })
        .await
    }

    async fn node_get_volume_stats(
        &self,
        request: Request<NodeGetVolumeStatsRequest>,
    ) -> Answer<NodeGetVolumeStatsResponse> {
        let asked = request.into_inner();
        self.run("NodeGetVolumeStats", asked.volume_id.clone(), move |driver| {
            given(&asked.volume_id, "volume id")?;
            let place = path(&asked.volume_path, "volume path")?;
            let volume: VolumeRecord = records::get(driver.medium().root(), &asked.volume_id)?;
            Ok(NodeGetVolumeStatsResponse {
                usage: driver.medium().usage(&volume, &place)?,
            })
        })
        .await
    }

    async fn node_expand_volume(
        &self,
        request: Request<NodeExpandVolumeRequest>,
    ) -> Answer<NodeExpandVolumeResponse> {
        let asked = request.into_inner();
        self.run("NodeExpandVolume", asked.volume_id.clone(), move |driver| {
            given(&asked.volume_id, "volume id")?;
            let place = path(&asked.volume_path, "volume path")?;
            let volume: VolumeRecord = records::get(driver.medium().root(), &asked.volume_id)?;
            driver.medium().grow(&volume, &place)?;
            Ok(NodeExpandVolumeResponse {
                capacity_bytes: signed(volume.capacity_bytes),
            })
        })
        .await
    }

    async fn node_get_capabilities(
        &self,
        _: Request<NodeGetCapabilitiesRequest>,
    ) -> Answer<NodeGetCapabilitiesResponse> {
        use rpc::Type::*;
        let capability = |is: rpc::Type| NodeServiceCapability {
            r#type: Some(Type::Rpc(Rpc { r#type: is.into() })),
        };
        let served = [
            StageUnstageVolume,
            GetVolumeStats,
            ExpandVolume,
            SingleNodeMultiWriter,
        ];
        Ok(Response::new(NodeGetCapabilitiesResponse {
            capabilities: served.map(capability).into(),
        }))
    }

    async fn node_get_info(&self, _: Request<NodeGetInfoRequest>) -> Answer<NodeGetInfoResponse> {
        Ok(Response::new(NodeGetInfoResponse {
            node_id: self.config().node_id.clone(),
            ..NodeGetInfoResponse::default()
        }))
    }
}

fn path(value: &str, field: &str) -> Result<PathBuf, Error> {
    given(value, field).map(PathBuf::from)
}

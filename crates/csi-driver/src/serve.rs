//! The sockets: one for CSI, and one that introduces the driver to the kubelet.

use std::future::Future;
use std::path::Path;

use futures::Stream;
use tokio::net::{UnixListener, UnixStream};
use tonic::transport::Server;

use crate::csi::controller_server::ControllerServer;
use crate::csi::identity_server::IdentityServer;
use crate::csi::node_server::NodeServer;
use crate::driver::Driver;
use crate::error::{Error, Result};
use crate::pluginregistration::registration_server::RegistrationServer;
use crate::records::remove_file;

/// Serves until `shutdown`, then lets calls finish and removes the sockets. Mounts stay: pods go on.
pub async fn serve(driver: Driver, shutdown: impl Future<Output = ()>) -> Result<()> {
    let config = driver.config().clone();
    let (stop, stopped) = tokio::sync::watch::channel(());
    let until_stopped = |mut stopped: tokio::sync::watch::Receiver<()>| async move {
        // An error means that the sender is gone: stop as well.
        let _ = stopped.changed().await;
    };
    let calls = Server::builder()
        .add_service(IdentityServer::new(driver.clone()))
        .add_service(ControllerServer::new(driver.clone()))
        .add_service(NodeServer::new(driver.clone()))
        .serve_with_incoming_shutdown(incoming(&config.endpoint)?, until_stopped(stopped.clone()));
    let registration = async {
        let Some(folder) = &config.registration_dir else {
            return Ok(());
        };
        let socket = folder.join(registration_socket(&config.driver_name));
        let served = Server::builder()
            .add_service(RegistrationServer::new(driver.clone()))
            .serve_with_incoming_shutdown(incoming(&socket)?, until_stopped(stopped))
            .await;
        remove_file(&socket)?;
        served.map_err(|e| failed(&socket, e))
    };
    tracing::info!(endpoint = %config.endpoint.display(), node = config.node_id, driver = config.driver_name, "The CSI driver serves");
    let stopping = async {
        shutdown.await;
        drop(stop);
        Ok(())
    };
    let calls = async { calls.await.map_err(|e| failed(&config.endpoint, e)) };
    futures::try_join!(calls, registration, stopping)?;
    remove_file(&config.endpoint)
}

/// Name of the socket for the kubelet, which sends its percent-encoded path as the request's `:authority`. The HTTP library
/// here refuses `%` in a host and resets the stream (PROTOCOL_ERROR), but allows it before an `@`, as in a user's name.
fn registration_socket(driver_name: &str) -> String {
    format!("reg@{driver_name}.sock")
}

/// Connections to a socket made anew; the one of an earlier driver is removed.
fn incoming(socket: &Path) -> Result<impl Stream<Item = std::io::Result<UnixStream>> + use<>> {
    if let Some(folder) = socket.parent() {
        std::fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
    }
    remove_file(socket)?;
    let listener = UnixListener::bind(socket).map_err(Error::io("listen on", socket))?;
    Ok(futures::stream::unfold(listener, |listener| async move {
        Some((listener.accept().await.map(|(stream, _)| stream), listener))
    }))
}

fn failed(socket: &Path, cause: tonic::transport::Error) -> Error {
    Error::io("serve", socket)(std::io::Error::other(cause))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kubelets_authority_for_the_registration_socket_is_a_valid_one() {
        let path = format!(
            "/var/lib/kubelet/plugins_registry/{}",
            registration_socket("csi.caravel.dev")
        );
        let authority = path.replace('/', "%2F");
        let parsed: tonic::codegen::http::uri::Authority = authority.parse().unwrap();
        assert_eq!(parsed.host(), "csi.caravel.dev.sock");
    }
}

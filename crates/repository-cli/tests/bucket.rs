//! A repository in a bucket of a real S3 server, also one that Velero keeps for a namespace.
#![allow(clippy::unwrap_used)]

mod client;

use caravel_storage::s3::test_server::TestServer;
use client::Client;

#[test]
fn a_repository_of_veleros_is_opened_by_its_namespace() {
    let Some(server) = TestServer::start(true, "a_repository_of_veleros_is_opened_by_its_namespace") else {
        return;
    };
    let settings = server.config("");
    let client = Client::new();
    let ca = client.path("ca.crt");
    std::fs::write(&ca, settings.ca_pem.unwrap()).unwrap();
    let endpoint = settings.endpoint.unwrap().replace("https://", "");
    let credentials = settings.credentials.unwrap();
    let cache = client.path("cache");
    let place = [
        "s3",
        // Else it would lie in the home of whoever runs the tests.
        "--cache-directory",
        cache.to_str().unwrap(),
        "--bucket",
        &settings.bucket,
        "--endpoint",
        &endpoint,
        "--access-key",
        &credentials.access_key_id,
        "--secret-access-key",
        &credentials.secret_access_key,
        "--root-ca-pem-path",
        ca.to_str().unwrap(),
    ];
    let with = |verb: &'static str, more: &[&'static str]| {
        let mut args = vec!["repository", verb];
        args.extend(place);
        args.extend(more);
        client.ok(&args)
    };
    with("create", &["--prefix", "dr/kopia/shop/"]);
    let id = client.snapshot(&client.tree());
    with("connect", &["--prefix", "dr", "--velero-namespace", "shop"]);
    assert_eq!(client.ok(&["ls", &id]).text, "sub\na\nl\n");
    let info = client.ok(&["cache", "info"]);
    for part in ["metadata", "index-blobs", "blob-list"] {
        assert!(
            info.text.contains(&format!("{part}: ")),
            "{part} in {}",
            info.text
        );
    }
    assert!(!info.talk.contains("keeps no copies"), "{}", info.talk);
    let status = client.ok(&["repository", "status"]).text;
    assert!(status.contains("Username:            default\n"), "{status}");
    assert!(!status.contains(&credentials.secret_access_key), "{status}");
    client.ok(&["snapshot", "verify", "--verify-files-percent=100"]);
}

//! Row 14 of the compatibility matrix (kopia-format.md 15): the real kopia and ours under object lock, in one bucket of a real
//! S3 server.
#![allow(clippy::unwrap_used)]

mod kopia_cli;
mod peers;

use std::sync::Arc;

use caravel_repository::maintenance::{MaintenanceOptions, Mode, Outcome};
use caravel_repository::*;
use caravel_storage::Storage;
use caravel_storage::s3::{S3Config, S3Storage, test_server::TestServer};
use kopia_cli::Kopia;
use peers::*;
use secrecy::SecretString;

const DAY: i64 = 24 * 3_600_000_000_000;

fn client() -> (String, String) {
    ("default".into(), "default".into())
}

async fn opened_on(storage: Arc<dyn Storage>) -> Repository {
    let (username, hostname) = client();
    let options = OpenOptions { username, hostname };
    let password = SecretString::from(kopia_cli::PASSWORD);
    open(storage, &password, options, Environment::system())
        .await
        .unwrap()
}

/// What kopia needs to reach the bucket.
fn place(verb: &str, config: &S3Config) -> Vec<String> {
    let credentials = config.credentials.clone().unwrap();
    let endpoint = config.endpoint.clone().unwrap();
    [
        "repository",
        verb,
        "s3",
        "--disable-tls",
        "--endpoint",
        endpoint.trim_start_matches("http://"),
        "--region=us-east-1",
        "--bucket",
        &config.bucket,
        "--prefix",
        &config.prefix,
        "--access-key",
        &credentials.access_key_id,
        "--secret-access-key",
        &credentials.secret_access_key,
        "--override-hostname=default",
        "--override-username=default",
        "--max-list-cache-duration=0s",
    ]
    .map(str::to_owned)
    .to_vec()
}

/// Every blob that retention covers is locked at the server, and no other.
async fn all_are_locked(server: &TestServer, config: &S3Config, storage: &dyn Storage) {
    for blob in storage.list("").await.unwrap() {
        let name = blob.id.as_str();
        let covered = ["n", "x", "p", "q", "kopia.repository", "kopia.blobcfg"]
            .iter()
            .any(|prefix| name.starts_with(prefix));
        let said = server.retention(config, name).await;
        assert_eq!(
            said.is_some_and(|said| said.contains("GOVERNANCE")),
            covered,
            "{name}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn row_14_ours_and_kopia_write_and_maintain_under_object_lock() {
    let test = "row_14_ours_and_kopia_write_and_maintain_under_object_lock";
    let (Some(kopia), Some(server)) = (Kopia::find(), TestServer::start(false, test)) else {
        return;
    };
    let run = |args: &[String]| {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        tokio::task::block_in_place(|| kopia.run(&args))
    };
    let kopia_says = |args: &[&str]| tokio::task::block_in_place(|| kopia.run(args));

    // Ours creates and writes; kopia reads, writes and maintains.
    let config = server.with_locks("ours", "velero/kopia/shop/").await;
    let storage: Arc<dyn Storage> = Arc::new(S3Storage::new(config.clone()).unwrap());
    let format = FormatOptions {
        retention: Some(Retention {
            mode: "GOVERNANCE".into(),
            period: 3 * DAY,
        }),
        ..FormatOptions::default()
    };
    let (username, hostname) = client();
    let options = CreateOptions { username, hostname };
    let password = SecretString::from(kopia_cli::PASSWORD);
    let created = create_with(
        storage.clone(),
        &password,
        &options,
        &format,
        Environment::system(),
    );
    created.await.unwrap();
    let repository = opened_on(storage.clone()).await;
    let save = |repository: Repository, name: &'static str, seed| async move {
        let saving = move || save_file(&repository, name, &noise(2_000_000, seed));
        tokio::task::spawn_blocking(saving).await.unwrap()
    };
    save(repository, "first", 1).await;
    all_are_locked(&server, &config, storage.as_ref()).await;

    run(&place("connect", &config));
    let status = kopia_says(&["repository", "status"]);
    assert!(
        status.contains("GOVERNANCE") && status.contains("72h0m0s"),
        "{status}"
    );
    kopia_says(&["snapshot", "verify", "--verify-files-percent=100"]);
    kopia_says(&["maintenance", "set", "--extend-object-locks=true"]);
    kopia_says(&["maintenance", "run", "--full"]);
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("kopias"), noise(1_000_000, 2)).unwrap();
    kopia_says(&["snapshot", "create", folder.path().to_str().unwrap()]);
    all_are_locked(&server, &config, storage.as_ref()).await;

    // Ours extends what both wrote, as kopia asked for it; kopia believes it.
    let format_blob = "kopia.repository";
    let before = server.retention(&config, format_blob).await.unwrap();
    let repository = opened_on(storage.clone()).await;
    let parameters = tokio::task::block_in_place(|| repository.maintenance_parameters().unwrap());
    assert!(parameters.extend_object_locks);
    save(repository.clone(), "second", 3).await;
    let maintained = repository.maintain(MaintenanceOptions {
        mode: Mode::Full,
        ..MaintenanceOptions::default()
    });
    assert!(matches!(maintained.await.unwrap(), Outcome::Done(_)));
    all_are_locked(&server, &config, storage.as_ref()).await;
    assert_ne!(server.retention(&config, format_blob).await.unwrap(), before);
    let info = kopia_says(&["maintenance", "info"]);
    assert_eq!(
        info.matches("Blob retention extension found").count(),
        2,
        "{info}"
    );
    kopia_says(&["snapshot", "verify", "--verify-files-percent=100"]);

    // And the other way round: kopia's repository, our writer. Another client: with one cache folder, kopia takes the format
    // of the first repository for that of the second.
    let Some(kopia) = Kopia::find() else { return };
    let kopia_says = |args: &[&str]| tokio::task::block_in_place(|| kopia.run(args));
    let config = server.with_locks("theirs", "").await;
    let mut create = place("create", &config);
    create.extend([
        "--retention-mode=GOVERNANCE".to_owned(),
        "--retention-period=48h".to_owned(),
    ]);
    kopia_says(&create.iter().map(String::as_str).collect::<Vec<_>>());
    let storage: Arc<dyn Storage> = Arc::new(S3Storage::new(config.clone()).unwrap());
    save(opened_on(storage.clone()).await, "third", 4).await;
    all_are_locked(&server, &config, storage.as_ref()).await;
    kopia_says(&["snapshot", "verify", "--verify-files-percent=100"]);
    kopia_says(&["repository", "set-parameters", "--retention-mode=none"]);
    let repository = opened_on(storage.clone()).await;
    assert_eq!(repository.format_options().retention, None);
}

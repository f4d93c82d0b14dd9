//! The program itself is killed (SIGKILL) at a storage call, with the call done or not: the repository opens afterwards,
//! every finished snapshot verifies byte by byte, and the garbage goes with maintenance. The store is an S3 server in this
//! process, which counts the calls. Every call of the engine in one process: `crates/repository/tests/maintenance_crash.rs`.
//!
//! A sample of calls; `CARAVEL_EVERY_DEATH` for all.
#![allow(clippy::unwrap_used)]

use std::{
    fmt, fs,
    ops::Range,
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
};

use async_trait::async_trait;
use bytes::Bytes;
use caravel_storage::{
    BlobId, BlobMetadata, Storage, StorageError,
    memory::MemoryStorage,
    s3::storage_server::{BUCKET, StorageServer},
};
use jiff::Timestamp;
use parking_lot::Mutex;

/// Kills the program at a call.
struct Killing {
    inner: MemoryStorage,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    calls: u64,
    /// At which call, and whether that is still done; 0 never.
    kill_at: u64,
    is_done: bool,
    program: Option<Child>,
}

impl Killing {
    /// Whether the call is to be done.
    fn call(&self) -> bool {
        let mut state = self.state.lock();
        state.calls += 1;
        if state.calls != state.kill_at {
            // What comes after it in the dead program's connections is not done either.
            return state.kill_at == 0 || state.calls < state.kill_at;
        }
        if !state.is_done {
            state.kill();
        }
        state.is_done
    }

    fn after(&self) {
        let mut state = self.state.lock();
        if state.calls >= state.kill_at && state.kill_at > 0 {
            state.kill();
        }
    }

    fn dead(id: &str) -> StorageError {
        StorageError::new(
            caravel_storage::StorageErrorKind::Unavailable,
            caravel_storage::Operation::Get,
            id,
            "the program is dead",
        )
    }
}

impl State {
    fn kill(&mut self) {
        if let Some(program) = &mut self.program {
            program.kill().unwrap();
        }
    }
}

impl fmt::Debug for Killing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Killing")
    }
}

macro_rules! counted {
    ($self:ident, $id:expr, $call:expr) => {{
        if !$self.call() {
            return Err(Self::dead($id));
        }
        let done = $call.await;
        $self.after();
        done
    }};
}

#[async_trait]
impl Storage for Killing {
    async fn put(&self, id: &BlobId, data: Bytes) -> Result<(), StorageError> {
        counted!(self, id.as_str(), self.inner.put(id, data))
    }
    async fn put_if_absent(&self, id: &BlobId, data: Bytes) -> Result<(), StorageError> {
        counted!(self, id.as_str(), self.inner.put_if_absent(id, data))
    }
    async fn get(&self, id: &BlobId) -> Result<Bytes, StorageError> {
        counted!(self, id.as_str(), self.inner.get(id))
    }
    async fn get_range(&self, id: &BlobId, range: Range<u64>) -> Result<Bytes, StorageError> {
        counted!(self, id.as_str(), self.inner.get_range(id, range))
    }
    async fn metadata(&self, id: &BlobId) -> Result<BlobMetadata, StorageError> {
        self.inner.metadata(id).await
    }
    async fn list(&self, prefix: &str) -> Result<Vec<BlobMetadata>, StorageError> {
        counted!(self, prefix, self.inner.list(prefix))
    }
    async fn delete(&self, id: &BlobId) -> Result<(), StorageError> {
        counted!(self, id.as_str(), self.inner.delete(id))
    }
}

struct World {
    storage: Arc<Killing>,
    server: StorageServer,
    folder: tempfile::TempDir,
}

impl World {
    /// On a copy of `memory`.
    fn new(memory: &MemoryStorage) -> Self {
        let storage = Arc::new(Killing {
            inner: memory.copy(Arc::new(Timestamp::now)),
            state: Mutex::default(),
        });
        Self {
            server: StorageServer::start(storage.clone(), Arc::new(Timestamp::now)).unwrap(),
            storage,
            folder: tempfile::tempdir().unwrap(),
        }
    }

    /// Runs the program; whether it ended well, and what it printed.
    fn run(&self, kill_at: u64, is_done: bool, args: &[&str]) -> (bool, String) {
        let (home, printed) = (self.folder.path(), self.folder.path().join("printed"));
        let command = Command::new(env!("CARGO_BIN_EXE_caravel-repository-cli"))
            .args(args)
            .env("HOME", home)
            .env("KOPIA_PASSWORD", "static-passw0rd")
            .env("KOPIA_CONFIG_PATH", home.join("repository.config"))
            .stdin(Stdio::null())
            .stdout(fs::File::create(&printed).unwrap())
            .stderr(fs::File::create(home.join("said")).unwrap())
            .spawn()
            .unwrap();
        *self.storage.state.lock() = State {
            calls: 0,
            kill_at,
            is_done,
            program: Some(command),
        };
        let ended = loop {
            let ended = self
                .storage
                .state
                .lock()
                .program
                .as_mut()
                .unwrap()
                .try_wait()
                .unwrap();
            if let Some(ended) = ended {
                break ended;
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        };
        (ended.success(), fs::read_to_string(printed).unwrap())
    }

    fn ok(&self, args: &[&str]) -> String {
        let (ended_well, printed) = self.run(0, false, args);
        let said = fs::read_to_string(self.folder.path().join("said")).unwrap();
        assert!(ended_well, "{args:?}: {said}");
        printed
    }

    fn calls(&self) -> u64 {
        self.storage.state.lock().calls
    }

    fn connect(&self, verb: &str) {
        let (bucket, address) = (format!("--bucket={BUCKET}"), self.server.address());
        let endpoint = format!("--endpoint={address}");
        self.ok(&[
            "repository",
            verb,
            "s3",
            &bucket,
            &endpoint,
            "--disable-tls",
            "--access-key=key",
            "--secret-access-key=secret",
        ]);
    }

    fn snapshot(&self, tree: &Path) -> String {
        let printed = self.ok(&["snapshot", "create", tree.to_str().unwrap(), "--json"]);
        let snapshot: serde_json::Value = serde_json::from_str(&printed).unwrap();
        snapshot["id"].as_str().unwrap().to_owned()
    }
}

fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut x = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    std::iter::repeat_with(|| {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        x as u8
    })
    .take(length)
    .collect()
}

#[test]
fn a_program_that_is_killed_at_a_storage_call_costs_nothing_but_its_work() {
    let memory = MemoryStorage::new();
    let tree = tempfile::tempdir().unwrap();
    let (first, second) = {
        let world = World::new(&memory);
        world.connect("create");
        fs::write(tree.path().join("kept"), noise(900_000, 1)).unwrap();
        let first = world.snapshot(tree.path());
        fs::write(tree.path().join("doomed"), noise(700_000, 2)).unwrap();
        let second = world.snapshot(tree.path());
        fs::write(tree.path().join("new"), noise(1_100_000, 3)).unwrap();
        let state = world.storage.inner.copy(Arc::new(Timestamp::now));
        for blob in futures::executor::block_on(state.list("")).unwrap() {
            let body = futures::executor::block_on(state.get(&blob.id)).unwrap();
            futures::executor::block_on(memory.put(&blob.id, body)).unwrap();
        }
        (first, second)
    };
    let path = tree.path().to_str().unwrap();
    let commands: [&[&str]; 3] = [
        &["snapshot", "create", path],
        &["snapshot", "delete", &second, "--delete"],
        // Nobody else is here, so that something is removed at once.
        &["maintenance", "run", "--full", "--safety=none"],
    ];
    let every = std::env::var_os("CARAVEL_EVERY_DEATH").is_some();
    let mut deaths = 0;
    for args in commands {
        let undisturbed = World::new(&memory);
        undisturbed.connect("connect");
        undisturbed.ok(args);
        let calls = undisturbed.calls();
        assert!(calls > 5, "{args:?} made {calls} calls");
        let step = if every { 1 } else { calls.div_ceil(5) };
        for (n, is_done) in (1..=calls)
            .step_by(step as usize)
            .flat_map(|n| [(n, false), (n, true)])
        {
            let world = World::new(&memory);
            world.connect("connect");
            let (ended_well, _) = world.run(n, is_done, args);
            deaths += u64::from(!ended_well);
            let when = format!("{args:?} killed at call {n} of {calls}, done: {is_done}");
            let listed = world.ok(&["snapshot", "list", "--all", "--json"]);
            assert!(listed.contains(&first), "{when}: {listed}");
            assert!(
                args[1] == "delete" || listed.contains(&second),
                "{when}: {listed}"
            );
            world.ok(&["snapshot", "verify", "--verify-files-percent=100"]);
            world.ok(&["maintenance", "run", "--full", "--safety=none"]);
            world.ok(&["maintenance", "run", "--full", "--safety=none"]);
            world.ok(&["snapshot", "verify", "--verify-files-percent=100"]);
            let left = futures::executor::block_on(world.storage.inner.list("s")).unwrap();
            assert!(left.is_empty(), "{when}: {left:?}");
        }
    }
    println!("{deaths} deaths");
    assert!(deaths > 10, "only {deaths} were killed");
}

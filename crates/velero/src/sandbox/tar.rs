//! The image `busybox`, as far as a data mover of one's own needs it: `sleep`, and `tar` beside it.

use std::path::Path;
use std::process::Stdio;

use async_trait::async_trait;
use bytes::Bytes;
use caravel_sandbox::{Container, ExecRequest, Executed, Program};

/// The image's name.
pub const IMAGE: &str = "busybox";

/// Runs until it is told to end.
pub struct Tar;

#[async_trait]
impl Program for Tar {
    async fn run(&self, container: Container) -> i32 {
        container.stop.cancelled().await;
        143
    }

    /// `tar cf - -C FOLDER .` and `tar xf - -C FOLDER`, by the machine's own tar on the folder that is mounted there.
    async fn exec(&self, container: &Container, request: ExecRequest) -> Executed {
        let words: Vec<&str> = request.command.iter().map(String::as_str).collect();
        let (verb, folder) = match words[..] {
            ["tar", "cf", "-", "-C", folder, "."] => ("--create", folder),
            ["tar", "xf", "-", "-C", folder] => ("--extract", folder),
            _ => {
                return Executed::failure(
                    127,
                    "this image holds: tar cf - -C FOLDER ., tar xf - -C FOLDER\n",
                );
            }
        };
        let Some(folder) = container.on_machine(Path::new(folder)) else {
            return Executed::failure(2, format!("tar: {folder}: nothing is mounted there\n"));
        };
        let ran = tokio::task::spawn_blocking({
            let (verb, stdin) = (verb.to_owned(), request.stdin.clone());
            move || tar(&verb, &folder, &stdin)
        });
        match ran.await.map_err(std::io::Error::other).and_then(|ran| ran) {
            Ok(output) if output.status.success() => Executed::success(output.stdout),
            Ok(output) => Executed::failure(2, String::from_utf8_lossy(&output.stderr).into_owned()),
            Err(error) => Executed::failure(2, format!("tar: {error}\n")),
        }
    }
}

/// Times to the nanosecond, which only the POSIX format has.
fn tar(verb: &str, folder: &Path, stdin: &Bytes) -> std::io::Result<std::process::Output> {
    use std::io::Write as _;
    let mut command = std::process::Command::new("tar");
    command
        .args([verb, "--preserve-permissions", "--file=-"])
        .arg("--directory")
        .arg(folder);
    if verb == "--create" {
        command.args(["--format=posix", "."]);
    }
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut into = child.stdin.take();
    let bytes = stdin.clone();
    let writer = std::thread::spawn(move || into.as_mut().map_or(Ok(()), |into| into.write_all(&bytes)));
    let output = child.wait_with_output();
    // A tar that ends before it has read all says why itself.
    drop(writer.join());
    output
}

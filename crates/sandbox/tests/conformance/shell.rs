//! An image that holds the little of busybox that the checks run: `sh -c` of lines with `echo`, `cat`, `sleep` and `exit`,
//! `> file` and `$VARIABLE`.

use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use caravel_sandbox::{Container, ExecRequest, Executed, Program};

pub struct Busybox;

#[async_trait]
impl Program for Busybox {
    async fn run(&self, container: Container) -> i32 {
        let nothing = Bytes::new();
        tokio::select! {
            code = command(&container, &container.command, &nothing, |_, said| container.log.write(said)) => code,
            // As a shell that is asked to end.
            () = container.stop.cancelled() => 143,
        }
    }

    async fn exec(&self, container: &Container, request: ExecRequest) -> Executed {
        let (mut out, mut errors) = (Vec::new(), Vec::new());
        let code = command(container, &request.command, &request.stdin, |to, said| match to {
            Stream::Output => out.extend_from_slice(said),
            Stream::Errors => errors.extend_from_slice(said),
        })
        .await;
        Executed {
            stderr: errors.into(),
            code,
            ..Executed::success(out)
        }
    }
}

/// Where something is said.
enum Stream {
    Output,
    Errors,
}

/// Runs a command; what it says goes to `say`.
async fn command(
    container: &Container,
    words: &[String],
    stdin: &Bytes,
    mut say: impl FnMut(Stream, &[u8]) + Send,
) -> i32 {
    let line = match words {
        [shell, flag, line] if shell == "/bin/sh" && flag.starts_with('-') && flag.ends_with('c') => {
            line.clone()
        }
        other => other.join(" "),
    };
    let mut code = 0;
    for statement in line.split(';') {
        let statement = expanded(container, statement.trim());
        let (words, file) = match statement.split_once('>') {
            Some((words, file)) => (words.trim(), Some(file.trim())),
            None => (statement.as_str(), None),
        };
        let (verb, rest) = words.split_once(' ').unwrap_or((words, ""));
        let mut said = Vec::new();
        code = match verb {
            "" => code,
            "exit" => return rest.parse().unwrap_or(2),
            "echo" => {
                said = format!("{}\n", rest.split_whitespace().collect::<Vec<_>>().join(" ")).into_bytes();
                0
            }
            "cat" if rest.is_empty() => {
                said = stdin.to_vec();
                0
            }
            "cat" => match place(container, rest).and_then(|path| std::fs::read(path).ok()) {
                Some(content) => {
                    said = content;
                    0
                }
                None => {
                    say(
                        Stream::Errors,
                        format!("cat: can't open '{rest}': No such file or directory\n").as_bytes(),
                    );
                    1
                }
            },
            "sleep" => {
                tokio::time::sleep(Duration::from_secs(rest.parse().unwrap_or(0))).await;
                0
            }
            other => {
                say(
                    Stream::Errors,
                    format!("/bin/sh: {other}: not found\n").as_bytes(),
                );
                127
            }
        };
        match file {
            None => say(Stream::Output, &said),
            Some(file) => {
                let written = place(container, file).map(|path| std::fs::write(path, &said));
                if !matches!(written, Some(Ok(()))) {
                    say(
                        Stream::Errors,
                        format!("/bin/sh: can't create {file}: nonexistent directory\n").as_bytes(),
                    );
                    code = 1;
                }
            }
        }
    }
    code
}

/// A path of the container on the machine.
fn place(container: &Container, path: &str) -> Option<std::path::PathBuf> {
    if path == "/dev/termination-log" {
        return Some(container.termination_message.clone());
    }
    container.on_machine(Path::new(path))
}

/// `$NAME` by the environment's value.
fn expanded(container: &Container, statement: &str) -> String {
    let mut parts = statement.split('$');
    let mut whole = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part
            .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .unwrap_or(part.len());
        let (name, rest) = part.split_at(end);
        whole.push_str(container.env.get(name).map_or("", String::as_str));
        whole.push_str(rest);
    }
    whole
}

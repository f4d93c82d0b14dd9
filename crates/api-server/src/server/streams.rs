//! pods/log and pods/exec: asked of the nodes. exec speaks WebSocket, subprotocols v5 and v4 of `channel.k8s.io`.
//! Source: Kubernetes v1.34, `pkg/registry/core/pod/strategy.go` (`LogLocation`, `streamLocation`);
//! `k8s.io/apimachinery`, `pkg/util/remotecommand/constants.go`.

use std::time::Duration;

use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{SinkExt, StreamExt};
use http::{HeaderMap, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Empty};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role};

use super::answer::Answer;
use super::call::Call;
use super::{ApiServer, ResponseBody};
use crate::error::{ApiError, Reason};
use crate::nodes::{ExecOptions, Executed, LogOptions};

/// A caller that asked for an upgrade and does not come is not waited for longer.
const UPGRADE_WITHIN: Duration = Duration::from_secs(30);
/// The longest a command may run.
const EXEC_WITHIN: Duration = Duration::from_secs(4 * 3600);
/// Standard input that does not end by then counts as ended: v4 has no way to say so.
const STDIN_WITHIN: Duration = Duration::from_secs(2);

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const STATUS: u8 = 3;
const CLOSE: u8 = 255;

type Socket = WebSocketStream<TokioIo<hyper::upgrade::Upgraded>>;

impl ApiServer {
    /// What a container wrote.
    pub(crate) async fn log(&self, call: &Call) -> Result<Answer, ApiError> {
        let pod = self.inner.state.lock().existing(call)?;
        let query = &call.query;
        let now = self.inner.clock.now();
        let since = match query.number("sinceSeconds")? {
            Some(seconds) => {
                let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
                now.checked_sub(jiff::SignedDuration::from_secs(seconds)).ok()
            }
            None => query.text("sinceTime").parse().ok(),
        };
        let options = LogOptions {
            container: container(&pod, query.text("container"))?,
            follow: query.flag("follow"),
            previous: query.flag("previous"),
            tail_lines: query.number("tailLines")?,
            since,
            timestamps: query.flag("timestamps"),
            limit_bytes: query.number("limitBytes")?,
        };
        let chunks: BoxStream<'static, Bytes> = if node_of(&pod).is_none() {
            futures::stream::empty().boxed()
        } else {
            let nodes = self.nodes()?;
            nodes.logs(&pod, options).await?
        };
        Ok(Answer::Stream {
            content_type: "text/plain",
            chunks,
        })
    }

    /// Upgrades to a WebSocket and runs the command behind it.
    pub(crate) fn exec(
        &self,
        call: &Call,
        mut request: Request<Bytes>,
    ) -> Result<Response<ResponseBody>, ApiError> {
        let pod = self.inner.state.lock().existing(call)?;
        let options = ExecOptions {
            container: container(&pod, call.query.text("container"))?,
            command: call.query.texts("command").to_vec(),
            stdin: Bytes::new(),
        };
        if options.command.is_empty() {
            return Err(ApiError::new(
                Reason::BadRequest,
                "you must specify at least 1 command for the container",
            ));
        }
        if node_of(&pod).is_none() {
            return Err(ApiError::new(
                Reason::BadRequest,
                format!("pod {} does not have a host assigned", call.name),
            ));
        }
        let nodes = self.nodes()?;
        let response = switching(request.headers())?;
        let upgrade = request.extensions_mut().remove::<OnUpgrade>().ok_or_else(|| {
            ApiError::new(
                Reason::NotImplemented,
                "exec needs a connection that can be upgraded",
            )
        })?;
        let wants_stdin = call.query.flag("stdin");
        let wants_stderr = call.query.flag("stderr");
        tokio::spawn(async move {
            let Ok(Ok(upgraded)) = timeout(UPGRADE_WITHIN, upgrade).await else {
                return;
            };
            let mut socket =
                WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, None).await;
            let mut options = options;
            if wants_stdin {
                options.stdin = stdin(&mut socket).await;
            }
            let ran = timeout(
                EXEC_WITHIN,
                while_answering(&mut socket, nodes.exec(&pod, options)),
            )
            .await;
            let ran =
                ran.unwrap_or_else(|_| Some(Err(ApiError::new(Reason::Timeout, "the command ran too long"))));
            if let Some(mut ran) = ran {
                if let Ok(said) = &mut ran
                    && !wants_stderr
                {
                    said.stderr = Bytes::new();
                }
                finish(&mut socket, ran).await;
            }
        });
        Ok(response)
    }
}

/// Runs a command while the socket's pings are answered; `None` when the caller left.
async fn while_answering<T>(socket: &mut Socket, command: impl Future<Output = T>) -> Option<T> {
    tokio::pin!(command);
    loop {
        tokio::select! {
            biased;
            done = &mut command => return Some(done),
            message = socket.next() => match message {
                Some(Ok(Message::Close(_)) | Err(_)) | None => return None,
                Some(Ok(_)) => {}
            },
        }
    }
}

/// Everything the caller sends to standard input.
async fn stdin(socket: &mut Socket) -> Bytes {
    let mut all = Vec::new();
    while let Ok(Some(Ok(message))) = timeout(STDIN_WITHIN, socket.next()).await {
        match message {
            Message::Binary(data) => match data.split_first() {
                Some((&STDIN, rest)) => all.extend_from_slice(rest),
                Some((&CLOSE, _)) => break,
                _ => {}
            },
            Message::Close(_) => break,
            _ => {}
        }
    }
    all.into()
}

/// Sends what came out and how it ended.
async fn finish(socket: &mut Socket, ran: Result<Executed, ApiError>) {
    let (said, status) = match ran {
        Ok(said) if said.code == 0 => (said, json!({"metadata": {}, "status": "Success"})),
        Ok(said) => {
            let status = exit_status(said.code);
            (said, status)
        }
        Err(error) => (Executed::default(), error.status()),
    };
    let framed = |channel: u8, data: &[u8]| {
        let mut frame = Vec::with_capacity(data.len() + 1);
        frame.push(channel);
        frame.extend_from_slice(data);
        Message::Binary(frame.into())
    };
    let send = async {
        for (channel, output) in [(STDOUT, &said.stdout), (STDERR, &said.stderr)] {
            for part in output.chunks(32 * 1024) {
                socket.send(framed(channel, part)).await?;
            }
        }
        socket.send(framed(STATUS, status.to_string().as_bytes())).await?;
        // kubectl takes an end without a code for a fault.
        let normally = CloseFrame {
            code: CloseCode::Normal,
            reason: "".into(),
        };
        socket.close(Some(normally)).await?;
        // The caller's half of the closing handshake.
        while let Some(Ok(_)) = socket.next().await {}
        Ok::<_, tokio_tungstenite::tungstenite::Error>(())
    };
    // A caller that is gone needs no answer.
    let _ = timeout(UPGRADE_WITHIN, send).await;
}

fn exit_status(code: i32) -> Value {
    json!({
        "metadata": {}, "status": "Failure", "reason": "NonZeroExitCode",
        "message": format!("command terminated with non-zero exit code: exit status {code}"),
        "details": {"causes": [{"reason": "ExitCode", "message": code.to_string()}]},
    })
}

/// The answer that makes the connection a WebSocket.
fn switching(headers: &HeaderMap) -> Result<Response<ResponseBody>, ApiError> {
    let text = |name: header::HeaderName| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    };
    if !text(header::UPGRADE).eq_ignore_ascii_case("websocket") {
        return Err(ApiError::new(
            Reason::BadRequest,
            "Upgrade request required: this server speaks exec over WebSocket only",
        ));
    }
    let offered: Vec<&str> = text(header::SEC_WEBSOCKET_PROTOCOL)
        .split(',')
        .map(str::trim)
        .collect();
    let protocol = ["v5.channel.k8s.io", "v4.channel.k8s.io"]
        .into_iter()
        .find(|known| offered.contains(known))
        .ok_or_else(|| {
            ApiError::new(
                Reason::BadRequest,
                "none of the WebSocket subprotocols is known here",
            )
        })?;
    let accept = derive_accept_key(text(header::SEC_WEBSOCKET_KEY).as_bytes());
    let body: ResponseBody = Empty::new().boxed_unsync();
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let out = response.headers_mut();
    out.insert(header::CONNECTION, header::HeaderValue::from_static("Upgrade"));
    out.insert(header::UPGRADE, header::HeaderValue::from_static("websocket"));
    out.insert(
        header::SEC_WEBSOCKET_PROTOCOL,
        header::HeaderValue::from_static(protocol),
    );
    if let Ok(accept) = accept.parse() {
        out.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    }
    Ok(response)
}

fn node_of(pod: &Value) -> Option<&str> {
    pod["spec"]["nodeName"].as_str().filter(|node| !node.is_empty())
}

/// The container asked for, or the only one.
fn container(pod: &Value, asked: &str) -> Result<String, ApiError> {
    let name = pod["metadata"]["name"].as_str().unwrap_or_default();
    let names = |list: &str| -> Vec<&str> {
        pod["spec"][list]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|container| container["name"].as_str())
            .collect()
    };
    let (main, init) = (names("containers"), names("initContainers"));
    if asked.is_empty() {
        return match main.as_slice() {
            [one] => Ok((*one).to_owned()),
            _ => {
                let mut choices = format!("choose one of: [{}]", main.join(" "));
                if !init.is_empty() {
                    choices.push_str(&format!(" or one of the init containers: [{}]", init.join(" ")));
                }
                Err(ApiError::new(
                    Reason::BadRequest,
                    format!("a container name must be specified for pod {name}, {choices}"),
                ))
            }
        };
    }
    if main.contains(&asked) || init.contains(&asked) {
        return Ok(asked.to_owned());
    }
    Err(ApiError::new(
        Reason::BadRequest,
        format!("container {asked} is not valid for pod {name}"),
    ))
}

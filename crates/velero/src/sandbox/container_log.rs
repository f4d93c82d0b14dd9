//! What a task logs becomes its container's log, so that `kubectl logs` shows each its own.
//!
//! A container runs inside a span that carries its [`Log`]; everything that it starts is started inside that span too
//! (`reconcile::run`, the data mover's blocking work). One subscriber of the process walks from an event up to that
//! span and writes the line there; what belongs to no container is dropped.

use std::fmt::{self, Write as _};

use caravel_sandbox::Log;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Span, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::registry::{LookupSpan, Registry};
use tracing_subscriber::util::SubscriberInitExt as _;

/// Logs of this process go to containers from now on.
pub fn start() {
    let ours = [
        "velero",
        "caravel_controllers",
        "caravel_exposer",
        "caravel_data_mover",
        "caravel_uploader",
        "caravel_repository",
        "caravel_backup_repository",
    ];
    let heard = Targets::new()
        .with_default(LevelFilter::WARN)
        .with_targets(ours.map(|target| (target, LevelFilter::INFO)));
    // It fails only when a subscriber is set already, which then logs instead.
    let _ = tracing_subscriber::registry()
        .with(ToContainers.with_filter(heard))
        .try_init();
}

/// The span in which a container runs.
pub fn span(pod: &str, container: &str, log: &Log) -> Span {
    let span = tracing::info_span!("container", pod, container);
    span.with_subscriber(|(id, subscriber)| {
        if let Some(entered) = subscriber
            .downcast_ref::<Registry>()
            .and_then(|spans| spans.span(id))
        {
            entered.extensions_mut().insert(log.clone());
        }
    });
    span
}

struct ToContainers;

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for ToContainers {
    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let spans = context.event_scope(event);
        let log = spans
            .into_iter()
            .flatten()
            .find_map(|span| span.extensions().get::<Log>().cloned());
        if let Some(log) = log {
            log.write(line(event).as_bytes());
        }
    }
}

fn line(event: &Event<'_>) -> String {
    let metadata = event.metadata();
    let mut line = Line(format!(
        "{:.3} {:>5} {}:",
        jiff::Timestamp::now(),
        metadata.level().as_str(),
        metadata.target()
    ));
    event.record(&mut line);
    line.0.push('\n');
    line.0
}

struct Line(String);

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        // Writing to a String cannot fail.
        let _ = match field.name() {
            "message" => write!(self.0, " {value}"),
            name => write!(self.0, " {name}={value:?}"),
        };
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let _ = match field.name() {
            "message" => write!(self.0, " {value:?}"),
            name => write!(self.0, " {name}={value:?}"),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing::Instrument as _;

    #[tokio::test]
    async fn each_container_has_its_own_lines_also_from_tasks_that_it_starts() {
        let _guard = tracing_subscriber::registry().with(ToContainers).set_default();
        let (first, second) = (Log::default(), Log::default());
        for (log, word) in [(&first, "one"), (&second, "two")] {
            async {
                tracing::info!(word, "starts");
                let below = async { tracing::warn!("ends") };
                below.instrument(tracing::info_span!("reconcile")).await;
            }
            .instrument(span("velero/p", "c", log))
            .await;
        }
        tracing::info!("nobody's");
        let text = |log: &Log| String::from_utf8(log.since(0).to_vec()).unwrap();
        assert!(text(&first).contains(" INFO velero") && text(&first).contains("starts word=\"one\""));
        assert!(text(&first).contains(" WARN ") && text(&first).lines().count() == 2);
        assert!(text(&second).contains("two") && !text(&second).contains("nobody"));
    }
}

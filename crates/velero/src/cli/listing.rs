//! What every `get` takes, and how what it found is printed: names or `--selector` (which `describe` takes, too), `-o`, and
//! the columns that kubectl adds, `--show-labels` and `--label-columns`. Mirrors `pkg/cmd/util/output` and kubectl's table printer.

use std::fmt::Debug;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::api::{Api, ListParams};
use kube::{Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::describe::words;
use super::failure::{Failure, Outcome};
use super::flags::{boolean, format_label_selector, label_selector};
use super::output::{Format, emit, print_objects};
use super::tab_writer::table;

/// Which objects: those with these names, those with these labels, or all.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Which {
    /// Names of the objects; all of them when none is given.
    names: Vec<String>,
    /// Only those with these labels.
    #[arg(short = 'l', long, value_parser = label_selector)]
    selector: Option<LabelSelector>,
}

/// The flags of `get`.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Listing {
    #[command(flatten)]
    pub which: Which,
    /// Output format.
    #[arg(short, long, default_value = "table")]
    output: Format,
    /// Show all labels in a last column.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = boolean)]
    show_labels: Option<bool>,
    /// Labels that get a column of their own, comma-separated.
    #[arg(short = 'L', long, value_delimiter = ',')]
    label_columns: Vec<String>,
}

impl Which {
    /// The objects that are meant; `noun` is one of them (`backup`).
    ///
    /// # Errors
    /// Names and labels are both given; a name that there is not; no answer from the API server.
    pub async fn fetch<K>(&self, api: &Api<K>, namespace: &str, noun: &str) -> Outcome<Vec<K>>
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
    {
        match &self.selector {
            None => words::fetch(api, namespace, noun, &self.names).await,
            Some(_) if !self.names.is_empty() => {
                Err(Failure::usage("give names or --selector, and not both"))
            }
            Some(selector) => {
                let params = ListParams::default().labels(&format_label_selector(Some(selector)));
                words::list(api, namespace, noun, &params).await
            }
        }
    }
}

impl Listing {
    /// Prints `table`, or the objects themselves.
    ///
    /// # Errors
    /// Standard output cannot be written to.
    pub fn print<K>(&self, objects: &[K], table: &str) -> Outcome
    where
        K: Serialize + Resource<DynamicType = ()>,
    {
        if self.output == Format::Table {
            return emit(table);
        }
        print_objects(objects, &self.which.names, self.output)
    }

    /// A row of cells for each object; `nothing` stands in place of an empty table.
    pub fn table<K: ResourceExt>(
        &self,
        objects: &[K],
        header: &[&str],
        row: impl Fn(&K) -> Vec<String>,
        nothing: &str,
    ) -> String {
        if objects.is_empty() {
            return format!("{nothing}\n");
        }
        let titles: Vec<String> = self.label_columns.iter().map(|key| title(key)).collect();
        let mut header = header.to_vec();
        header.extend(titles.iter().map(String::as_str));
        let all_labels = self.show_labels == Some(true);
        header.extend(all_labels.then_some("LABELS"));
        let rows: Vec<Vec<String>> = objects
            .iter()
            .map(|object| {
                let mut cells = row(object);
                let value = |key: &String| object.labels().get(key).cloned().unwrap_or_else(none);
                cells.extend(self.label_columns.iter().map(value));
                cells.extend(all_labels.then(|| labels_of(object)));
                cells
            })
            .collect();
        table(&header, &rows)
    }
}

/// `velero.io/schedule-name` → `SCHEDULE-NAME`.
fn title(key: &str) -> String {
    key.rsplit('/').next().unwrap_or(key).to_uppercase()
}

fn none() -> String {
    "<none>".to_owned()
}

fn labels_of<K: ResourceExt>(object: &K) -> String {
    let pairs: Vec<String> = object
        .labels()
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    if pairs.is_empty() { none() } else { pairs.join(",") }
}

#[cfg(test)]
mod tests {
    use caravel_api::v1::VolumeSnapshotLocation;

    use super::*;

    fn listing(label_columns: &[&str], show_labels: bool) -> Listing {
        Listing {
            show_labels: Some(show_labels),
            label_columns: label_columns.iter().map(|key| (*key).to_owned()).collect(),
            ..Listing::default()
        }
    }

    #[test]
    fn labels_become_columns_as_with_kubectl() {
        let mut location = VolumeSnapshotLocation::new("fast", Default::default());
        let labels = location.labels_mut();
        labels.insert("example.com/tier".into(), "gold".into());
        labels.insert("team".into(), "a".into());
        let plain = VolumeSnapshotLocation::new("slow", Default::default());
        let text = listing(&["example.com/tier"], true).table(
            &[location, plain],
            &["NAME"],
            |location| vec![location.name_any()],
            "none",
        );
        assert_eq!(
            text,
            "NAME   TIER     LABELS\n\
             fast   gold     example.com/tier=gold,team=a\n\
             slow   <none>   <none>\n"
        );
    }

    #[test]
    fn an_empty_table_is_a_sentence() {
        let none: [VolumeSnapshotLocation; 0] = [];
        let text = Listing::default().table(&none, &["NAME"], |_| Vec::new(), "No locations found");
        assert_eq!(text, "No locations found\n");
    }
}

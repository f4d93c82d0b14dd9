//! Which objects a backup or a restore is about, as flags that `backup create`, `schedule create` and `restore create`
//! share.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::failure::{Failure, Outcome};
use super::flags::{boolean, label_selector, list, or_selectors};

/// The flags.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct FilterFlags {
    /// Namespaces to include, comma-separated; * is all of them [default: *].
    #[arg(long)]
    pub include_namespaces: Vec<String>,
    /// Namespaces to leave out, comma-separated.
    #[arg(long)]
    pub exclude_namespaces: Vec<String>,
    /// Resources to include, as resource.group, comma-separated; * is all of them.
    #[arg(long)]
    pub include_resources: Vec<String>,
    /// Resources to leave out, as resource.group, comma-separated.
    #[arg(long)]
    pub exclude_resources: Vec<String>,
    /// Whether cluster-scoped resources are included [default: those that belong to what is included].
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = boolean)]
    pub include_cluster_resources: Option<bool>,
    /// Only resources with these labels.
    #[arg(short = 'l', long, value_parser = label_selector)]
    pub selector: Option<LabelSelector>,
    /// Resources that match one of these: "app=shop or app=web".
    #[arg(long)]
    pub or_selector: Option<String>,
}

impl FilterFlags {
    /// The included namespaces; all of them where none is named.
    pub fn namespaces(&self) -> Vec<String> {
        let namespaces = list(&self.include_namespaces);
        if namespaces.is_empty() {
            return vec!["*".to_owned()];
        }
        namespaces
    }

    /// The selectors of `--or-selector`.
    ///
    /// # Errors
    /// It cannot be read, or `--selector` is given, too.
    pub fn or_selectors(&self) -> Outcome<Vec<LabelSelector>> {
        if self.selector.is_some() && self.or_selector.is_some() {
            return Err(Failure::usage(
                "either a 'selector' or an 'or-selector' can be specified, but not both",
            ));
        }
        or_selectors(self.or_selector.as_deref().unwrap_or_default())
            .map_err(|why| Failure::usage(format!("--or-selector: {why}")))
    }
}

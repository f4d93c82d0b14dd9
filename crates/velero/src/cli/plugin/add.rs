//! `velero plugin add IMAGE`: says that the image's stores are built in, or refuses it, as `install --plugins` does. Nothing
//! restarts. Velero: `pkg/cmd/cli/plugin/add.go`.

use super::super::failure::{Failure, Outcome};
use super::super::install::plugins;
use super::super::output::emit;

/// Add a plug-in; those of the stores that are built in need none.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Image of the plug-in.
    image: String,
    /// Accepted without effect: nothing restarts, so there is nothing to ask.
    #[arg(long)]
    confirm: bool,
    /// Accepted without effect: no image is pulled.
    #[arg(long, value_parser = ["Always", "IfNotPresent", "Never"], default_value = "IfNotPresent")]
    image_pull_policy: String,
}

/// Runs the command.
pub fn run(args: &Args) -> Outcome {
    let built_in = plugins::recognise(&args.image)
        .map_err(|why| Failure::usage(why).next("velero plugin get    (what is built in)"))?;
    emit(&format!(
        "{}: {built_in} are built in; nothing is added\n",
        args.image
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_whose_actions_would_not_run_is_refused() {
        let add = |image: &str| {
            run(&Args {
                image: image.into(),
                confirm: true,
                image_pull_policy: "Never".into(),
            })
        };
        assert!(add("velero/velero-plugin-for-aws:v1.14.3").is_ok());
        assert_eq!(add("example.com/mine:v1").unwrap_err().code(), 2);
    }
}

//! Which objects a verb is for: names, `--all` or `--selector`, exactly one of them; and the question before something
//! is deleted. Mirrors `pkg/cmd/cli/{select,delete}_options.go` and `pkg/cmd/util/confirm`.

use std::fmt::Debug;
use std::io::{BufRead, Write};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::Resource;
use kube::api::{Api, ListParams};
use serde::de::DeserializeOwned;

use super::describe::words;
use super::failure::{Failure, Outcome};
use super::flags::{format_label_selector, label_selector};

/// Names, `--all` or `--selector`.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Select {
    /// Names of the objects.
    names: Vec<String>,
    /// All of them.
    #[arg(long)]
    all: bool,
    /// Those with these labels.
    #[arg(short = 'l', long, value_parser = label_selector)]
    selector: Option<LabelSelector>,
}

impl Select {
    /// The objects that are meant; `noun` is one of them (`backup`).
    ///
    /// # Errors
    /// None or several of names, `--all` and `--selector`; a name that there is not; no answer from the API server.
    pub async fn fetch<K>(&self, api: &Api<K>, namespace: &str, noun: &str) -> Outcome<Vec<K>>
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
    {
        self.check(noun)?;
        let Some(selector) = &self.selector else {
            return words::fetch(api, namespace, noun, &self.names).await;
        };
        let params = ListParams::default().labels(&format_label_selector(Some(selector)));
        words::list(api, namespace, noun, &params).await
    }

    /// # Errors
    /// None or several of the three ways to say which.
    pub fn check(&self, noun: &str) -> Outcome {
        let ways = [!self.names.is_empty(), self.all, self.selector.is_some()];
        if ways.into_iter().filter(|way| *way).count() == 1 {
            return Ok(());
        }
        Err(Failure::usage(format!(
            "say which {noun}s are meant by exactly one of: names, --all, --selector"
        ))
        .next(format!("velero {noun} get")))
    }
}

/// What the delete verbs take.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Deletion {
    #[command(flatten)]
    pub select: Select,
    /// Do not ask.
    #[arg(long)]
    confirm: bool,
}

impl Deletion {
    /// True when the user wants it: by `--confirm`, or by answering the question.
    ///
    /// # Errors
    /// Which objects is not said; or nobody answers.
    pub fn confirmed(&self, noun: &str) -> Outcome<bool> {
        self.select.check(noun)?;
        if self.confirm {
            return Ok(true);
        }
        confirm()
    }
}

/// Asks at the terminal.
///
/// # Errors
/// Nobody answers.
pub fn confirm() -> Outcome<bool> {
    ask(&mut std::io::stdin().lock(), &mut std::io::stdout())
}

fn ask(answers: &mut impl BufRead, questions: &mut impl Write) -> Outcome<bool> {
    let failed = |error: std::io::Error| Failure::new(format!("asking whether to go on: {error}"));
    loop {
        questions
            .write_all(b"Are you sure you want to continue (Y/N)? ")
            .and_then(|()| questions.flush())
            .map_err(failed)?;
        let mut answer = String::new();
        if answers.read_line(&mut answer).map_err(failed)? == 0 {
            return Err(
                Failure::new("nothing is done: nobody answered, standard input is at its end")
                    .next("the same command with --confirm    (velero uninstall: with --force)"),
            );
        }
        match answer.trim() {
            "y" | "Y" => return Ok(true),
            "n" | "N" => return Ok(false),
            _ => {}
        }
    }
}

/// Goes on after a failure with the others, and fails at the end with all of them.
pub fn all_of(failures: Vec<Failure>) -> Outcome {
    let mut failures = failures.into_iter();
    let Some(first) = failures.next() else {
        return Ok(());
    };
    let rest: Vec<String> = failures.map(|failure| failure.message()).collect();
    if rest.is_empty() {
        return Err(first);
    }
    Err(Failure::new(format!("{}; {}", first.message(), rest.join("; "))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(text: &str) -> Outcome<bool> {
        ask(&mut text.as_bytes(), &mut Vec::new())
    }

    #[test]
    fn nothing_is_deleted_without_a_clear_yes() {
        assert!(answered("y\n").unwrap());
        assert!(!answered("N\n").unwrap());
        assert!(answered("perhaps\nY\n").unwrap(), "asked again");
        assert!(answered("").unwrap_err().to_string().contains("--confirm"));
        assert!(answered("yes\n").is_err(), "one letter, as in Velero");
    }

    #[test]
    fn which_objects_are_meant_is_said_in_exactly_one_way() {
        let named = Select {
            names: vec!["b1".into()],
            ..Select::default()
        };
        assert!(named.check("backup").is_ok());
        let both = Select { all: true, ..named };
        assert_eq!(both.check("backup").unwrap_err().code(), 2);
        assert!(Select::default().check("backup").is_err());
    }

    #[test]
    fn several_failures_are_one_with_all_their_words() {
        assert!(all_of(Vec::new()).is_ok());
        let both = all_of(vec![Failure::new("a is gone"), Failure::new("b is gone")]);
        assert!(both.unwrap_err().to_string().contains("a is gone; b is gone"));
    }
}

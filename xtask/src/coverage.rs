//! `docs/coverage.md`: every test that it names exists, every promise has a test or says what is open, every topic is there.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail};

/// Topics that issue 7 wants to be found, each a word or two that must stand in the promises (in lower case).
const TOPICS: &[&str] = &[
    "enablecsi",
    "`--plugins`",
    "client config set features=enablecsi",
    "label `velero.io/csi-volumesnapshot-class`",
    "`retain`",
    "on expiry",
    "json files in the bucket",
    "another cluster",
    "`--use-node-agent`",
    "rancheros",
    "nutanix",
    "openshift",
    "tanzu",
    "azure",
    "providers",
    "one repository per namespace",
    "`velero-repo-credentials`",
    "`--snapshot-move-data`",
    "`--data-mover`",
    "appear",
    "disappear",
    "`kubectl get -w`",
    "`velero backup describe`",
    "nothing else has to be said for a restore",
    "same storage class",
    "storage class under another name",
    "storage classes are not restored",
    "`velero repo get`",
    "`velero backup logs`",
    "`kubectl logs`",
    "`datadownload`",
    "`backuprepository`",
    "`--item-operation-sync-frequency`",
    "`--item-operation-timeout`",
    "`data-mover-prepare-timeout`",
    "on several nodes",
    "on one node",
    "canceled by itself",
    "user's own cancel",
];

/// Fails with the list of what is wrong.
pub fn check() -> Result<()> {
    let root = caravel_e2e::places::checkout();
    let text =
        std::fs::read_to_string(root.join("docs/coverage.md")).context("cannot read docs/coverage.md")?;
    let mut wrong = Vec::new();
    let mut sources = BTreeMap::new();
    let mut promises = String::new();
    for row in rows(&text) {
        promises.push_str(&row.promise.to_lowercase());
        promises.push('\n');
        if row.tests.is_empty() && !row.shown.contains("open:") {
            wrong.push(format!("no test and not `open:`: {}", row.promise));
        }
        for test in row.tests {
            if let Err(why) = exists(root, &test, &mut sources) {
                wrong.push(why);
            }
        }
    }
    let missing = TOPICS.iter().filter(|topic| !promises.contains(**topic));
    wrong.extend(missing.map(|topic| format!("no promise speaks of {topic}")));
    if wrong.is_empty() {
        Ok(())
    } else {
        bail!("docs/coverage.md:\n  {}", wrong.join("\n  "))
    }
}

/// One promise.
struct Row<'a> {
    promise: &'a str,
    shown: &'a str,
    /// `path::test`, without the backquotes.
    tests: Vec<String>,
}

/// Rows of all tables, without headings and lines.
fn rows(text: &str) -> impl Iterator<Item = Row<'_>> {
    text.lines()
        .filter(|line| line.starts_with("| "))
        .filter_map(|line| line.trim_matches('|').split_once(" | "))
        .map(|(promise, shown)| Row {
            promise: promise.trim(),
            shown: shown.trim(),
            tests: shown
                .split('`')
                .skip(1)
                .step_by(2)
                .filter(|word| word.contains(".rs::"))
                .map(str::to_owned)
                .collect(),
        })
        .filter(|row| row.promise != "promise")
}

/// Whether a file has a test of this name.
fn exists(root: &Path, test: &str, sources: &mut BTreeMap<String, String>) -> Result<(), String> {
    let (file, name) = test.split_once("::").unwrap_or((test, ""));
    if !sources.contains_key(file) {
        let text = std::fs::read_to_string(root.join(file)).map_err(|error| format!("{test}: {error}"))?;
        sources.insert(file.to_owned(), text);
    }
    if has_test(&sources[file], name) {
        Ok(())
    } else {
        Err(format!("{test}: there is no such test"))
    }
}

/// A function of this name with `#[test]` or `#[tokio::test…]` before it; one that is ignored is none.
fn has_test(source: &str, name: &str) -> bool {
    let lines: Vec<&str> = source.lines().map(str::trim).collect();
    let is_function = |line: &str| {
        let line = line.strip_prefix("async ").unwrap_or(line);
        line.strip_prefix("fn ")
            .and_then(|rest| rest.strip_prefix(name))
            .is_some_and(|rest| rest.starts_with('('))
    };
    lines
        .iter()
        .enumerate()
        .filter(|(_, line)| is_function(line))
        .any(|(place, _)| {
            let above: Vec<&str> = lines[..place]
                .iter()
                .rev()
                .take_while(|line| line.starts_with("#["))
                .copied()
                .collect();
            let is_test = above
                .iter()
                .any(|line| *line == "#[test]" || line.starts_with("#[tokio::test"));
            is_test && !above.iter().any(|line| line.starts_with("#[ignore"))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_promise_has_a_test_that_exists_or_says_what_is_open() {
        check().expect("see the list");
    }

    #[test]
    fn a_function_that_is_no_test_or_is_ignored_does_not_count() {
        let source = "#[test]\n    fn one() {}\n#[tokio::test]\nasync fn two() {}\n#[test]\n#[ignore]\nfn three() {}\nfn four() {}\n";
        let known = ["one", "two", "three", "four", "on"].map(|name| has_test(source, name));
        assert_eq!(known, [true, true, false, false, false]);
    }

    #[test]
    fn a_row_is_a_promise_and_its_tests() {
        let text = "| promise | shown by |\n|---|---|\n| it works | `crates/a/src/b.rs::c`, `d` |\n| it does not | open: no test |\n";
        let found: Vec<_> = rows(text)
            .map(|row| (row.promise, row.tests.len(), row.shown.contains("open:")))
            .collect();
        assert_eq!(found, [("it works", 1, false), ("it does not", 0, true)]);
    }
}

//! How many cases pass: `README.md`, and the test that keeps it fresh.

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::fmt::Write as _;
    use std::path::{Path, PathBuf};

    use crate::ledger::{ELSEWHERE, ENTRIES, Standing, elsewhere};
    use crate::waits::{LATER, WAITS, Waiting, later, waits_for};
    use crate::{folder, read};

    /// Packages that issue 6 answers for; the others belong to other issues.
    fn ours(package: &str) -> bool {
        const PREFIXES: &[&str] = &[
            "internal_",
            "pkg_archive",
            "pkg_backup",
            "pkg_controller",
            "pkg_discovery",
            "pkg_itemblock",
            "pkg_label",
            "pkg_persistence",
            "pkg_restore",
            "pkg_types",
            "pkg_util_collections",
            "pkg_util_kube",
            "pkg_util_results",
            "pkg_util_velero",
            "pkg_util_wildcard",
        ];
        PREFIXES.iter().any(|prefix| package.starts_with(prefix))
    }

    fn crates() -> PathBuf {
        let own = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
        PathBuf::from(own).parent().expect("crates").to_owned()
    }

    fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).expect("a folder of ours").flatten() {
            let path = entry.path();
            if path.is_dir() {
                rust_files(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }

    /// `pkg_x/TestY.json` wherever a test of ours names it in a text of its own.
    fn named_by_tests() -> BTreeSet<String> {
        let mut files = Vec::new();
        rust_files(&crates(), &mut files);
        files.retain(|path| !path.starts_with(crates().join("cases")));
        let texts = files
            .iter()
            .map(|path| std::fs::read_to_string(path).expect("a file of ours"));
        texts
            .flat_map(|text| {
                text.split('"')
                    .filter(|part| part.ends_with(".json") && part.contains("/Test"))
                    .map(str::to_owned)
                    .collect::<Vec<_>>()
            })
            .collect()
    }

    #[derive(Default)]
    struct Counts {
        cases: usize,
        pass: usize,
        different: usize,
        later: usize,
        not_yet: usize,
        elsewhere: usize,
    }

    /// Cases of an entry's standing in a file.
    fn listed(file: &str, standing: Standing) -> usize {
        let entries = ENTRIES
            .iter()
            .filter(|entry| entry.file == file && entry.standing == standing);
        entries.map(|entry| entry.indexes.len()).sum()
    }

    fn table() -> Option<String> {
        let named = named_by_tests();
        let mut counts: BTreeMap<String, Counts> = BTreeMap::new();
        let mut waiting: BTreeMap<&str, usize> = BTreeMap::new();
        let folder = folder()?;
        for package in std::fs::read_dir(&folder).expect("readable").flatten() {
            let package_name = package.file_name().to_string_lossy().into_owned();
            if package_name == "fixtures" || !package.path().is_dir() {
                continue;
            }
            for file in std::fs::read_dir(package.path()).expect("readable").flatten() {
                let path = format!("{package_name}/{}", file.file_name().to_string_lossy());
                let cases = read(&path)?.len();
                let different = listed(&path, Standing::Different);
                let (of_later, not_yet) = (listed(&path, Standing::Later), listed(&path, Standing::NotYet));
                let sum = counts.entry(package_name.clone()).or_default();
                sum.cases += cases;
                if elsewhere(&path).is_some() {
                    sum.elsewhere += cases;
                    continue;
                }
                sum.different += different;
                if named.contains(&path) {
                    sum.pass += cases - different - of_later - not_yet;
                    sum.later += of_later;
                    sum.not_yet += not_yet;
                    continue;
                }
                let feature = later(&path);
                if feature.is_some() {
                    sum.later += cases - different;
                } else {
                    sum.not_yet += cases - different;
                }
                if let Some(feature) = feature.or_else(|| waits_for(&path)) {
                    *waiting.entry(feature).or_default() += cases - different;
                }
            }
        }
        let waits = render_waiting(
            "What the cases not yet passed wait for, by file:",
            WAITS,
            &waiting,
        );
        let later = render_waiting(
            "Features of later issues, and the cases of whole files that need them (single cases are in `src/ledger.rs`):",
            LATER,
            &waiting,
        );
        Some(render(&counts) + &waits + &later)
    }

    fn render(counts: &BTreeMap<String, Counts>) -> String {
        let mut text = String::from(
            "| package | cases | pass | different on purpose | later features | not yet | other issues' |\n|---|---|---|---|---|---|---|\n",
        );
        for mine in [true, false] {
            let mut all = Counts::default();
            for (package, count) in counts.iter().filter(|(package, _)| ours(package) == mine) {
                let Counts {
                    cases,
                    pass,
                    different,
                    later,
                    not_yet,
                    elsewhere,
                } = count;
                if mine || *pass > 0 {
                    writeln!(
                        text,
                        "| `{package}` | {cases} | {pass} | {different} | {later} | {not_yet} | {elsewhere} |"
                    )
                    .expect("a String");
                }
                all.cases += cases;
                all.pass += pass;
                all.different += different;
                all.later += later;
                all.not_yet += not_yet;
                all.elsewhere += elsewhere;
            }
            let name = if mine {
                "**issue 6**"
            } else {
                "**all other packages**"
            };
            writeln!(
                text,
                "| {name} | {} | {} | {} | {} | {} | {} |",
                all.cases, all.pass, all.different, all.later, all.not_yet, all.elsewhere
            )
            .expect("a String");
        }
        text
    }

    /// The features in the order of their list, with their cases.
    fn render_waiting(head: &str, features: &[Waiting], waiting: &BTreeMap<&str, usize>) -> String {
        if features.is_empty() {
            return String::new();
        }
        let mut text = format!("\n{head}\n\n| feature | cases |\n|---|---|\n");
        for (feature, _) in features {
            let cases = waiting.get(feature).copied().unwrap_or_default();
            writeln!(text, "| {feature} | {cases} |").expect("a String");
        }
        text
    }

    const START: &str = "<!-- table -->\n";

    #[test]
    fn the_readme_counts_what_the_tests_run() {
        let Some(table) = table() else { return };
        let path = crates().join("cases/README.md");
        let readme = std::fs::read_to_string(&path).expect("README.md");
        let (head, _) = readme.split_once(START).expect("the table's place");
        let fresh = format!("{head}{START}{table}");
        if std::env::var_os("CARAVEL_BLESS").is_some() {
            std::fs::write(&path, &fresh).expect("writable");
            return;
        }
        assert!(
            readme == fresh,
            "crates/cases/README.md is stale; CARAVEL_BLESS=1 cargo test -p caravel-cases writes:\n{table}"
        );
    }

    #[test]
    fn every_case_that_does_not_pass_has_a_reason() {
        let Some(folder) = folder() else { return };
        let named = named_by_tests();
        let mut silent = Vec::new();
        for package in std::fs::read_dir(&folder).expect("readable").flatten() {
            let package_name = package.file_name().to_string_lossy().into_owned();
            if !ours(&package_name) || !package.path().is_dir() {
                continue;
            }
            for file in std::fs::read_dir(package.path()).expect("readable").flatten() {
                let path = format!("{package_name}/{}", file.file_name().to_string_lossy());
                let different = ENTRIES
                    .iter()
                    .any(|entry| entry.file == path && entry.standing == Standing::Different);
                let run = named.contains(&path);
                let waits = waits_for(&path).or_else(|| later(&path));
                if !run && !different && elsewhere(&path).is_none() && waits.is_none() {
                    silent.push(path);
                } else if run && waits.is_some() {
                    silent.push(format!("{path} is run, and stands in waits.rs"));
                }
            }
        }
        assert!(silent.is_empty(), "no reason: {silent:#?}");
    }

    /// What is not there yet is said where users look, with the tests that wait for it and how many cases they have.
    #[test]
    fn docs_differences_names_every_case_that_a_later_feature_is_needed_for() {
        if folder().is_none() {
            return;
        }
        let path = crates().join("../docs/differences.md");
        let said = std::fs::read_to_string(&path).expect("docs/differences.md");
        let whole = LATER.iter().flat_map(|(_, files)| files.iter()).map(|file| {
            let path = format!("{file}.json");
            let cases = read(&path).expect("there").len() - listed(&path, Standing::Different);
            (*file, cases)
        });
        let single = ENTRIES
            .iter()
            .filter(|entry| entry.standing == Standing::Later)
            .map(|entry| (entry.file.trim_end_matches(".json"), entry.indexes.len()));
        let missing: Vec<String> = whole
            .chain(single)
            .map(|(file, cases)| format!("`{file}` ({cases})"))
            .filter(|wanted| !said.contains(wanted.as_str()))
            .collect();
        assert!(missing.is_empty(), "not in {}: {missing:#?}", path.display());
    }

    #[test]
    fn every_entry_names_a_case_that_exists_and_a_test_that_runs_it() {
        let Some(folder) = folder() else { return };
        let named = named_by_tests();
        for (file, _) in ELSEWHERE {
            assert!(folder.join(file).is_file(), "{file} does not exist");
        }
        for entry in ENTRIES {
            assert!(folder.join(entry.file).is_file(), "{} does not exist", entry.file);
            let count = read(entry.file).expect("there").len();
            let all = entry.standing == Standing::Different && entry.indexes.len() == count;
            assert!(all || named.contains(entry.file), "no test runs {}", entry.file);
            assert!(entry.indexes.iter().all(|index| *index < count), "{}", entry.file);
        }
    }
}

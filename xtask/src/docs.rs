//! A map is only worth its paper while its paths exist: every relative link and every folder named in the docs does.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// Pages whose links are checked.
const PAGES: &[&str] = &[
    "README.md",
    "CONTRIBUTING.md",
    "docs/map.md",
    "docs/security.md",
    "docs/tour.md",
    "e2e/README.md",
];

/// Fails with the list of links that lead nowhere.
pub fn check() -> Result<()> {
    let root = caravel_e2e::places::checkout();
    let mut broken = Vec::new();
    for page in PAGES {
        let text = std::fs::read_to_string(root.join(page)).with_context(|| format!("cannot read {page}"))?;
        let folder = root
            .join(page)
            .parent()
            .map(Path::to_path_buf)
            .unwrap_or_default();
        let missing = links(&text)
            .map(|link| folder.join(link))
            .chain(paths(&text).map(|path| root.join(path)));
        broken.extend(
            missing
                .filter(|path| !path.exists())
                .map(|path| format!("{page}: {}", path.display())),
        );
    }
    if broken.is_empty() {
        Ok(())
    } else {
        bail!("docs name what does not exist:\n  {}", broken.join("\n  "))
    }
}

/// Targets of `[words](target)` that are files of ours.
fn links(text: &str) -> impl Iterator<Item = PathBuf> + '_ {
    text.split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
        .filter(|target| !target.contains("://") && !target.starts_with('#'))
        .map(|target| PathBuf::from(target.split('#').next().unwrap_or_default()))
}

/// Words in backquotes that are paths from the root: `crates/…`, without placeholders and lists.
fn paths(text: &str) -> impl Iterator<Item = PathBuf> + '_ {
    text.split('`')
        .skip(1)
        .step_by(2)
        .filter(|word| {
            ["crates/", "docs/", "e2e/", "xtask/", "deploy/"]
                .iter()
                .any(|root| word.starts_with(root))
        })
        .filter(|word| !word.contains(['<', '{', '*', ' ', '…']))
        .map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_link_and_path_in_the_docs_exists() {
        check().expect("see the list");
    }

    #[test]
    fn links_and_paths_are_found() {
        let text =
            "see [the map](docs/map.md#top), [a site](https://x.y) and `crates/api/src/` or `crates/<x>/src`";
        assert_eq!(links(text).collect::<Vec<_>>(), [PathBuf::from("docs/map.md")]);
        assert_eq!(
            paths(text).collect::<Vec<_>>(),
            [PathBuf::from("crates/api/src/")]
        );
    }
}

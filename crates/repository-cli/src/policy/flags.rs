//! The flags of `policy set`, part by part, with Kopia's names.

use caravel_repository::{Compressor, policy, splitter};

/// A value, or `inherit`: nothing of the policy's own.
#[derive(Clone, Debug, PartialEq)]
pub struct Own<T>(Option<T>);

fn number(text: &str) -> Result<Own<i64>, String> {
    match text {
        "inherit" | "default" => Ok(Own(None)),
        number => match number.parse::<u32>() {
            Ok(number) => Ok(Own(Some(number.into()))),
            Err(_) => Err("it is a number, or inherit".into()),
        },
    }
}

fn size(text: &str) -> Result<Own<i64>, String> {
    match text {
        "inherit" | "default" => Ok(Own(None)),
        number => match number.parse::<i64>() {
            Ok(number) if number >= 0 => Ok(Own(Some(number))),
            _ => Err("it is a number of bytes, or inherit".into()),
        },
    }
}

fn mebibytes(text: &str) -> Result<Own<i64>, String> {
    Ok(Own(number(text)?.0.map(|number| number << 20)))
}

fn yes_or_no(text: &str) -> Result<Own<bool>, String> {
    match text {
        "inherit" | "default" => Ok(Own(None)),
        "true" => Ok(Own(Some(true))),
        "false" => Ok(Own(Some(false))),
        _ => Err("it is true, false or inherit".into()),
    }
}

fn compressor(text: &str) -> Result<Own<String>, String> {
    match text {
        "inherit" => Ok(Own(None)),
        "none" => Ok(Own(Some(text.into()))),
        name => match Compressor::ALL.iter().any(|one| one.name() == name) {
            true => Ok(Own(Some(name.into()))),
            false => {
                let names: Vec<&str> = Compressor::ALL.iter().map(|one| one.name()).collect();
                Err(format!("it is inherit, none or one of {}", names.join(", ")))
            }
        },
    }
}

fn cutter(text: &str) -> Result<Own<String>, String> {
    match text {
        "inherit" => Ok(Own(None)),
        name if splitter::names().iter().any(|known| known == name) => Ok(Own(Some(name.into()))),
        _ => Err(format!(
            "it is inherit or one of {}",
            splitter::names().join(", ")
        )),
    }
}

/// Sets members whose flags are there; whether any is.
fn set<T: Clone, const N: usize>(wishes: [(&Option<Own<T>>, &mut Option<T>); N]) -> bool {
    let mut given = false;
    for (wish, member) in wishes {
        if let Some(Own(value)) = wish {
            member.clone_from(value);
            given = true;
        }
    }
    given
}

/// The same for members whose empty value stands for "not set".
fn set_plain<T: Clone + Default, const N: usize>(wishes: [(&Option<Own<T>>, &mut T); N]) -> bool {
    let mut given = false;
    for (wish, member) in wishes {
        if let Some(Own(value)) = wish {
            *member = value.clone().unwrap_or_default();
            given = true;
        }
    }
    given
}

/// Adds to, removes from or empties a list, which is kept in order.
fn set_list(list: &mut Vec<String>, add: &[String], remove: &[String], clear: bool) -> bool {
    if clear {
        list.clear();
        return true;
    }
    list.extend(add.iter().cloned());
    list.retain(|entry| !remove.contains(entry));
    let given = !add.is_empty() || !remove.is_empty();
    if given {
        list.sort();
        list.dedup();
    }
    given
}

/// How many snapshots are kept.
#[derive(Debug, clap::Args)]
pub struct Retention {
    /// Newest ones kept.
    #[arg(long, value_name = "N", value_parser = number)]
    keep_latest: Option<Own<i64>>,
    /// Hours of which the last one is kept.
    #[arg(long, value_name = "N", value_parser = number)]
    keep_hourly: Option<Own<i64>>,
    /// Days of which the last one is kept.
    #[arg(long, value_name = "N", value_parser = number)]
    keep_daily: Option<Own<i64>>,
    /// Weeks of which the last one is kept.
    #[arg(long, value_name = "N", value_parser = number)]
    keep_weekly: Option<Own<i64>>,
    /// Months of which the last one is kept.
    #[arg(long, value_name = "N", value_parser = number)]
    keep_monthly: Option<Own<i64>>,
    /// Years of which the last one is kept.
    #[arg(long, value_name = "N", value_parser = number)]
    keep_annual: Option<Own<i64>>,
    /// A snapshot that is the same as the one before is not saved.
    #[arg(long, value_name = "BOOL", value_parser = yes_or_no)]
    ignore_identical_snapshots: Option<Own<bool>>,
}

impl Retention {
    pub fn apply(&self, to: &mut policy::Retention) -> bool {
        let numbers = set([
            (&self.keep_latest, &mut to.keep_latest),
            (&self.keep_hourly, &mut to.keep_hourly),
            (&self.keep_daily, &mut to.keep_daily),
            (&self.keep_weekly, &mut to.keep_weekly),
            (&self.keep_monthly, &mut to.keep_monthly),
            (&self.keep_annual, &mut to.keep_annual),
        ]);
        let identical = set([(
            &self.ignore_identical_snapshots,
            &mut to.ignore_identical_snapshots,
        )]);
        numbers | identical
    }
}

/// Which files are left out.
#[derive(Debug, clap::Args)]
pub struct Files {
    /// A rule as of gitignore; may be repeated.
    #[arg(long, value_name = "PATTERN")]
    add_ignore: Vec<String>,
    /// A rule to remove; may be repeated.
    #[arg(long, value_name = "PATTERN")]
    remove_ignore: Vec<String>,
    /// Remove all rules.
    #[arg(long)]
    clear_ignore: bool,
    /// A name of files in the tree that hold such rules; may be repeated.
    #[arg(long, value_name = "FILENAME")]
    add_dot_ignore: Vec<String>,
    /// A name to remove; may be repeated.
    #[arg(long, value_name = "FILENAME")]
    remove_dot_ignore: Vec<String>,
    /// Remove all names.
    #[arg(long)]
    clear_dot_ignore: bool,
    /// Bytes; larger files are left out.
    #[arg(long, value_name = "BYTES", value_parser = size)]
    max_file_size: Option<Own<i64>>,
    /// Stay on the file system of the folder.
    #[arg(long, value_name = "BOOL", value_parser = yes_or_no)]
    one_file_system: Option<Own<bool>>,
    /// Leave out folders with a CACHEDIR.TAG.
    #[arg(long, value_name = "BOOL", value_parser = yes_or_no)]
    ignore_cache_dirs: Option<Own<bool>>,
}

impl Files {
    pub fn apply(&self, to: &mut policy::Files) -> bool {
        let rules = set_list(
            &mut to.ignore,
            &self.add_ignore,
            &self.remove_ignore,
            self.clear_ignore,
        );
        let names = set_list(
            &mut to.ignore_dot_files,
            &self.add_dot_ignore,
            &self.remove_dot_ignore,
            self.clear_dot_ignore,
        );
        let size = set_plain([(&self.max_file_size, &mut to.max_file_size)]);
        let switches = set([
            (&self.one_file_system, &mut to.one_file_system),
            (&self.ignore_cache_dirs, &mut to.ignore_cache_dirs),
        ]);
        rules | names | size | switches
    }
}

/// What does not make a snapshot fail.
#[derive(Debug, clap::Args)]
pub struct Errors {
    /// Files that cannot be read.
    #[arg(long, value_name = "BOOL", value_parser = yes_or_no)]
    ignore_file_errors: Option<Own<bool>>,
    /// Folders that cannot be read.
    #[arg(long, value_name = "BOOL", value_parser = yes_or_no)]
    ignore_dir_errors: Option<Own<bool>>,
    /// Sockets, devices and the like.
    #[arg(long, value_name = "BOOL", value_parser = yes_or_no)]
    ignore_unknown_types: Option<Own<bool>>,
}

impl Errors {
    pub fn apply(&self, to: &mut policy::ErrorHandling) -> bool {
        set([
            (&self.ignore_file_errors, &mut to.ignore_file_errors),
            (&self.ignore_dir_errors, &mut to.ignore_directory_errors),
            (&self.ignore_unknown_types, &mut to.ignore_unknown_types),
        ])
    }
}

/// How data is compressed and cut.
#[derive(Debug, clap::Args)]
pub struct Compression {
    /// Of file data, as zstd-fastest; none; inherit.
    #[arg(long, value_name = "ALGORITHM", value_parser = compressor)]
    compression: Option<Own<String>>,
    /// Bytes; smaller files are stored as they are.
    #[arg(long, value_name = "BYTES", value_parser = size)]
    compression_min_size: Option<Own<i64>>,
    /// Bytes; larger files are stored as they are.
    #[arg(long, value_name = "BYTES", value_parser = size)]
    compression_max_size: Option<Own<i64>>,
    /// An ending, as .log: only files with one of them are compressed; may be repeated.
    #[arg(long, value_name = "ENDING")]
    add_only_compress: Vec<String>,
    /// An ending to remove; may be repeated.
    #[arg(long, value_name = "ENDING")]
    remove_only_compress: Vec<String>,
    /// Remove all of them.
    #[arg(long)]
    clear_only_compress: bool,
    /// An ending of files that are never compressed; may be repeated.
    #[arg(long, value_name = "ENDING")]
    add_never_compress: Vec<String>,
    /// An ending to remove; may be repeated.
    #[arg(long, value_name = "ENDING")]
    remove_never_compress: Vec<String>,
    /// Remove all of them.
    #[arg(long)]
    clear_never_compress: bool,
    /// Of directories and lists.
    #[arg(long, value_name = "ALGORITHM", value_parser = compressor)]
    metadata_compression: Option<Own<String>>,
    /// How files are cut, as DYNAMIC-4M-BUZHASH.
    #[arg(long, value_name = "ALGORITHM", value_parser = cutter)]
    splitter: Option<Own<String>>,
}

impl Compression {
    pub fn apply(&self, policy: &mut policy::Policy) -> bool {
        let to = &mut policy.compression;
        let names = set_plain([
            (&self.compression, &mut to.compressor_name),
            (
                &self.metadata_compression,
                &mut policy.metadata_compression.compressor_name,
            ),
            (&self.splitter, &mut policy.splitter.algorithm),
        ]);
        let sizes = set_plain([
            (&self.compression_min_size, &mut to.min_size),
            (&self.compression_max_size, &mut to.max_size),
        ]);
        let only = set_list(
            &mut to.only_compress,
            &self.add_only_compress,
            &self.remove_only_compress,
            self.clear_only_compress,
        );
        let never = set_list(
            &mut to.never_compress,
            &self.add_never_compress,
            &self.remove_never_compress,
            self.clear_never_compress,
        );
        names | sizes | only | never
    }
}

/// How an upload uses the machine.
#[derive(Debug, clap::Args)]
pub struct Upload {
    /// Files read at the same time.
    #[arg(long, value_name = "N", value_parser = number)]
    max_parallel_file_reads: Option<Own<i64>>,
    /// Snapshots at the same time (of Kopia's server).
    #[arg(long, value_name = "N", value_parser = number)]
    max_parallel_snapshots: Option<Own<i64>>,
    /// MiB; longer files are uploaded in parts.
    #[arg(long, value_name = "MIB", value_parser = mebibytes)]
    parallel_upload_above_size_mib: Option<Own<i64>>,
}

impl Upload {
    pub fn apply(&self, to: &mut policy::Upload) -> bool {
        set([
            (&self.max_parallel_file_reads, &mut to.max_parallel_file_reads),
            (&self.max_parallel_snapshots, &mut to.max_parallel_snapshots),
            (
                &self.parallel_upload_above_size_mib,
                &mut to.parallel_upload_above_size,
            ),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_kept_in_order_and_without_doubles() {
        let mut list = vec!["b".to_owned()];
        assert!(set_list(&mut list, &["a".into(), "b".into()], &[], false));
        assert_eq!(list, ["a", "b"]);
        assert!(set_list(&mut list, &[], &["a".into()], false));
        assert_eq!(list, ["b"]);
        assert!(!set_list(&mut list, &[], &[], false));
        assert!(set_list(&mut list, &["x".into()], &[], true) && list.is_empty());
    }

    #[test]
    fn values_are_checked_before_anything_is_opened() {
        assert_eq!(number("inherit"), Ok(Own(None)));
        assert_eq!(mebibytes("2"), Ok(Own(Some(2 << 20))));
        assert!(number("-1").is_err() && size("-1").is_err() && yes_or_no("maybe").is_err());
        assert!(compressor("zip").unwrap_err().contains("zstd-fastest"));
        assert!(cutter("SCISSORS").is_err() && cutter("FIXED-4M").is_ok());
    }
}

//! The tarball against what Velero wrote and against hostile ones.

use std::{collections::BTreeSet, fs, path::Path};

use flate2::{Compression, write::GzEncoder};
use serde_json::json;

use super::*;
use crate::golden;

fn names(path: &Path) -> Vec<String> {
    let mut names = Vec::new();
    Reader::open(path)
        .unwrap()
        .for_each(|entry| {
            names.push(entry.path().to_owned());
            Ok(())
        })
        .unwrap();
    names
}

fn files(folder: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.insert(path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    found
}

#[test]
fn a_backup_written_again_has_velero_s_files_with_equal_content() {
    let Some(samples) = golden::samples("a_backup_written_again_has_velero_s_files_with_equal_content")
    else {
        return;
    };
    for backup in ["fix1", "fix3"] {
        let original = samples.join("bucket").join(backup).join("tarball");
        let folder = tempfile::tempdir().unwrap();
        let tarball = folder.path().join("b.tar.gz");
        let mut writer = Writer::create(&tarball).unwrap();
        for file in files(&original) {
            let Some(item) = ItemPath::parse(&file).filter(|item| item.version.is_some()) else {
                continue;
            };
            assert_eq!(item.entry().unwrap(), file);
            let value = serde_json::from_slice(&fs::read(original.join(&file)).unwrap()).unwrap();
            let (namespace, version) = (
                item.namespace.as_deref().unwrap_or(""),
                item.version.as_deref().unwrap(),
            );
            writer
                .append(
                    &item.group_resource,
                    version,
                    item.preferred,
                    namespace,
                    &item.name,
                    &value,
                )
                .unwrap();
        }
        let size = writer.finish().unwrap();
        assert_eq!(size, fs::metadata(&tarball).unwrap().len());
        let unpacked = folder.path().join("unpacked");
        unpack(&tarball, &unpacked).unwrap();
        assert_eq!(files(&unpacked), files(&original));
        for file in files(&original) {
            let (ours, theirs) = (
                fs::read(unpacked.join(&file)).unwrap(),
                fs::read(original.join(&file)).unwrap(),
            );
            match file.ends_with(".json") {
                true => assert_eq!(
                    serde_json::from_slice::<serde_json::Value>(&ours).unwrap(),
                    serde_json::from_slice::<serde_json::Value>(&theirs).unwrap(),
                    "{file}"
                ),
                false => assert_eq!(ours, theirs, "{file}"),
            }
        }
    }
}

#[test]
fn entries_are_regular_files_of_mode_0755_in_compact_json() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("b.tar.gz");
    let time = "2026-01-02T03:04:05Z".parse().unwrap();
    let mut writer = Writer::create(&path).unwrap().with_time(time);
    let long = "n".repeat(253);
    writer
        .append(
            "pods",
            "v1",
            true,
            &long,
            &long,
            &json!({"kind": "Pod", "a": [1, 2]}),
        )
        .unwrap();
    writer
        .append("widgets.example.com", "v1beta1", false, "", "w", &json!({}))
        .unwrap();
    writer.finish().unwrap();
    assert_eq!(
        names(&path),
        [
            "metadata/version".to_owned(),
            format!("resources/pods/namespaces/{long}/{long}.json"),
            format!("resources/pods/v1-preferredversion/namespaces/{long}/{long}.json"),
            "resources/widgets.example.com/v1beta1/cluster/w.json".to_owned(),
        ]
    );
    let gzip = flate2::read::MultiGzDecoder::new(fs::File::open(&path).unwrap());
    for entry in tar::Archive::new(gzip).entries().unwrap().skip(1).take(2) {
        let mut entry = entry.unwrap();
        assert_eq!(
            (entry.header().mode().unwrap(), entry.header().mtime().unwrap()),
            (0o755, 1_767_323_045)
        );
        let text = std::io::read_to_string(&mut entry).unwrap();
        assert_eq!(text, r#"{"a":[1,2],"kind":"Pod"}"#);
    }
}

#[test]
fn names_that_lead_elsewhere_are_refused_when_writing() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = Writer::create(folder.path().join("b.tar.gz")).unwrap();
    for (group_resource, namespace, name) in [
        ("pods", "..", "a"),
        ("pods", "a/b", "a"),
        ("pods", "", "../a"),
        ("../pods", "", "a"),
        ("pods", "", ""),
    ] {
        let error = writer
            .append(group_resource, "v1", true, namespace, name, &json!({}))
            .unwrap_err();
        assert!(matches!(error, TarballError::BadItemPath { .. }), "{error}");
    }
}

#[test]
fn velero_s_paths_that_escape_are_refused() {
    let file = "pkg_archive/TestGetItemFilePathRejectsPathTraversal.json";
    let Some(cases) = golden::cases(file, "velero_s_paths_that_escape_are_refused") else {
        return;
    };
    for case in cases {
        let input = |key: &str| case["input"][key].as_str().unwrap_or_default().to_owned();
        let path = ItemPath {
            group_resource: input("groupResource"),
            version: None,
            preferred: true,
            namespace: Some(input("namespace")).filter(|namespace| !namespace.is_empty()),
            name: input("itemName"),
        };
        let escapes = case["asserts"]
            .to_string()
            .contains("escapes the backup directory");
        assert_eq!(path.entry().is_err(), escapes, "{}", case["name"]);
    }
}

/// A tarball with one entry that no honest writer makes.
fn hostile(path: &Path, change: impl FnOnce(&mut tar::Header)) {
    let gzip = GzEncoder::new(fs::File::create(path).unwrap(), Compression::fast());
    let mut tar = tar::Builder::new(gzip);
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Regular);
    header.set_mode(0o644);
    header.set_size(4);
    change(&mut header);
    header.set_cksum();
    tar.append(&header, &b"evil"[..header.size().unwrap() as usize])
        .unwrap();
    tar.into_inner().unwrap().finish().unwrap();
}

#[test]
fn unpacking_never_leaves_the_folder() {
    let outer = tempfile::tempdir().unwrap();
    let tarball = outer.path().join("b.tar.gz");
    for name in ["../evil", "/evil", "resources/../../evil", "..", "a\\..\\evil"] {
        hostile(&tarball, |header| {
            header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes())
        });
        let error = unpack(&tarball, &outer.path().join("inner")).unwrap_err();
        assert!(
            matches!(error, TarballError::UnsafeEntry { .. }),
            "{name}: {error}"
        );
    }
    for kind in [
        tar::EntryType::Symlink,
        tar::EntryType::Link,
        tar::EntryType::Char,
        tar::EntryType::Fifo,
    ] {
        hostile(&tarball, |header| {
            header.set_entry_type(kind);
            header.set_size(0);
            header.set_path("resources/link").unwrap();
            header.set_link_name("/etc").unwrap();
        });
        assert!(matches!(
            unpack(&tarball, &outer.path().join("inner")),
            Err(TarballError::UnsafeEntry { .. })
        ));
    }
    let left: Vec<_> = fs::read_dir(outer.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert!(
        left.iter().all(|name| name == "b.tar.gz" || name == "inner"),
        "{left:?}"
    );
}

#[test]
fn a_cut_off_tarball_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("b.tar.gz");
    let mut writer = Writer::create(&path).unwrap();
    for n in 0..50 {
        writer
            .append("pods", "v1", true, "shop", &format!("p{n}"), &json!({"n": n}))
            .unwrap();
    }
    writer.finish().unwrap();
    let whole = fs::read(&path).unwrap();
    for length in [0, 10, whole.len() / 2, whole.len() - 9, whole.len() - 1] {
        fs::write(&path, &whole[..length]).unwrap();
        let read = Reader::open(&path).unwrap().for_each(|_| Ok(()));
        assert!(
            matches!(read, Err(TarballError::Io { .. })),
            "{length} of {}",
            whole.len()
        );
    }
}

#[test]
fn the_finalizer_s_items_replace_both_copies_and_new_ones_are_added() {
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (folder.path().join("a.tar.gz"), folder.path().join("b.tar.gz"));
    let mut writer = Writer::create(&from).unwrap();
    writer
        .append("pods", "v1", true, "shop", "web", &json!({"old": true}))
        .unwrap();
    writer
        .append(
            "datauploads.velero.io",
            "v2alpha1",
            true,
            "velero",
            "du",
            &json!({"phase": "New"}),
        )
        .unwrap();
    writer.finish().unwrap();
    let item = |name: &str| ItemPath {
        group_resource: "datauploads.velero.io".to_owned(),
        version: Some("v2alpha1".to_owned()),
        preferred: true,
        namespace: Some("velero".to_owned()),
        name: name.to_owned(),
    };
    let done = json!({"phase": "Completed"});
    replace(
        &from,
        &to,
        &[(item("du"), done.clone()), (item("new"), done.clone())],
    )
    .unwrap();
    let mut found = Vec::new();
    let read = Reader::open(&to).unwrap().for_each(|entry| {
        if let Some(path) = entry.item_path() {
            found.push((path.group_resource, path.name, entry.json()?));
        }
        Ok(())
    });
    read.unwrap();
    found.sort_by_key(|(group_resource, name, _)| (group_resource.clone(), name.clone()));
    let expected = |resource: &str, name: &str, value: &serde_json::Value| {
        (resource.to_owned(), name.to_owned(), value.clone())
    };
    let du = |name| expected("datauploads.velero.io", name, &done);
    let pod = expected("pods", "web", &json!({"old": true}));
    assert_eq!(
        found,
        [du("du"), du("du"), du("new"), du("new"), pod.clone(), pod]
    );
    assert_eq!(
        names(&to)
            .iter()
            .filter(|name| *name == "metadata/version")
            .count(),
        1
    );
}

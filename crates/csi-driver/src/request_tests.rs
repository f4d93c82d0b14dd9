//! The decisions of `request.rs`, as tables.

use super::*;
use crate::csi::volume_capability::{AccessMode, BlockVolume, MountVolume};

fn range(required_bytes: i64, limit_bytes: i64) -> Option<CapacityRange> {
    Some(CapacityRange {
        required_bytes,
        limit_bytes,
    })
}

fn mounted(fs_type: &str, mode: Mode) -> VolumeCapability {
    let mount = MountVolume {
        fs_type: fs_type.to_owned(),
        ..MountVolume::default()
    };
    VolumeCapability {
        access_mode: Some(AccessMode { mode: mode.into() }),
        access_type: Some(AccessType::Mount(mount)),
    }
}

#[test]
fn a_size_follows_the_range_the_source_and_the_filesystem() {
    const MIB: u64 = 1 << 20;
    let decided =
        |range: Option<CapacityRange>, filesystem, source| size(range.as_ref(), filesystem, source).ok();
    assert_eq!(decided(None, Some(Filesystem::Ext4), None), Some(1 << 30));
    assert_eq!(
        decided(range(10_000_000, 0), Some(Filesystem::Ext4), None),
        Some(10_002_432)
    );
    assert_eq!(decided(range(1, 0), Some(Filesystem::Xfs), None), Some(300 * MIB));
    assert_eq!(decided(range(1, 1000), Some(Filesystem::Ext4), None), None);
    assert_eq!(
        decided(range(0, 64 << 20), Some(Filesystem::Ext4), None),
        Some(64 * MIB)
    );
    assert_eq!(
        decided(range(0, 0), Some(Filesystem::Ext4), Some(80 * MIB)),
        Some(80 * MIB)
    );
    assert_eq!(
        decided(range(1 << 20, 0), Some(Filesystem::Ext4), Some(80 * MIB)),
        None
    );
    assert_eq!(decided(range(-1, 0), None, None), None);
    assert_eq!(decided(range(i64::MAX, 0), None, None), None);
}

#[test]
fn writers_on_several_nodes_are_refused_and_readers_are_not() {
    for (mode, read_only) in [
        (Mode::SingleNodeWriter, false),
        (Mode::SingleNodeSingleWriter, false),
        (Mode::MultiNodeReaderOnly, true),
    ] {
        assert_eq!(access(Some(&mounted("", mode))).unwrap().read_only, read_only);
    }
    let refused = access(Some(&mounted("", Mode::MultiNodeMultiWriter)))
        .unwrap_err()
        .to_string();
    assert!(
        refused.contains("MULTI_NODE_MULTI_WRITER") && refused.contains("ReadWriteOnce"),
        "{refused}"
    );
    assert!(access(None).is_err());
}

#[test]
fn the_filesystem_is_the_capabilitys_then_the_classs_then_ext4() {
    let class = |name: &str| HashMap::from([(FSTYPE.to_owned(), name.to_owned())]);
    let plain = accesses(&[mounted("", Mode::SingleNodeWriter)]).unwrap();
    let xfs = accesses(&[mounted("xfs", Mode::SingleNodeWriter)]).unwrap();
    assert_eq!(filesystem(&plain, &HashMap::new()).unwrap(), Filesystem::Ext4);
    assert_eq!(filesystem(&plain, &class("xfs")).unwrap(), Filesystem::Xfs);
    assert_eq!(filesystem(&xfs, &class("ext4")).unwrap(), Filesystem::Xfs);
    assert!(filesystem(&plain, &class("btrfs")).is_err());
    assert!(access(Some(&mounted("ntfs", Mode::SingleNodeWriter))).is_err());
    let sidecars = HashMap::from([("csi.storage.k8s.io/pvc/name".to_owned(), "data".to_owned())]);
    assert!(filesystem(&plain, &sidecars).is_ok());
    let unknown = HashMap::from([("thin".to_owned(), "yes".to_owned())]);
    assert!(
        filesystem(&plain, &unknown)
            .unwrap_err()
            .to_string()
            .contains("thin")
    );
}

#[test]
fn a_repeated_request_finds_its_volume_and_another_one_of_that_name_is_refused() {
    let volume = VolumeRecord {
        id: "vol-a".into(),
        name: "a".into(),
        capacity_bytes: 1 << 30,
        block: false,
        filesystem: Filesystem::Ext4,
        source: Some(Source::Snapshot("snap-s".into())),
        linked: false,
    };
    let source = volume.source.clone();
    assert!(same_volume(&volume, range(1 << 30, 0).as_ref(), false, source.as_ref()).is_ok());
    assert!(same_volume(&volume, range(1 << 20, 0).as_ref(), false, source.as_ref()).is_ok());
    assert!(same_volume(&volume, range(2 << 30, 0).as_ref(), false, source.as_ref()).is_err());
    assert!(same_volume(&volume, range(1 << 20, 1 << 20).as_ref(), false, source.as_ref()).is_err());
    assert!(same_volume(&volume, None, true, source.as_ref()).is_err());
    assert!(same_volume(&volume, None, false, None).is_err());
}

#[test]
fn pages_neither_repeat_nor_lose_entries_when_the_last_one_given_is_deleted() {
    let ids = |names: &[&str]| names.iter().map(|n| format!("vol-{n}")).collect::<Vec<_>>();
    let page = |names: &[&str], most, token: &str| page(ids(names), String::as_str, most, token, "vol-");
    let (first, token) = page(&["a", "b", "c", "d"], 2, "").unwrap();
    assert_eq!((first, token.as_str()), (ids(&["a", "b"]), "vol-b"));
    let (second, end) = page(&["a", "c", "d"], 2, &token).unwrap();
    assert_eq!((second, end.as_str()), (ids(&["c", "d"]), ""));
    assert!(matches!(page(&["a"], 0, "invalid-token"), Err(Error::Aborted(_))));
    assert!(page(&["a"], -1, "").is_err());
}

#[test]
fn a_block_capability_needs_no_filesystem() {
    let block = VolumeCapability {
        access_mode: Some(AccessMode {
            mode: Mode::SingleNodeWriter.into(),
        }),
        access_type: Some(AccessType::Block(BlockVolume {})),
    };
    let access = access(Some(&block)).unwrap();
    assert!(access.block && access.filesystem.is_none());
}

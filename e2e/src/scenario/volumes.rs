//! An application with two volumes, one with files and one that is a device, for what is asked of both modes.
//!
//! Each is a [`Shop`] in a namespace of its own, so that each has a backup repository of its own.

use anyhow::{Context, Result};

use super::{Cluster, Kind, Shop, Tree};

/// Both, with a pod for each.
pub struct Volumes {
    files: Shop,
    device: Shop,
}

/// What both volumes hold.
#[derive(Debug, Clone)]
pub struct Contents {
    /// The volume with files.
    pub files: Tree,
    /// SHA-256 of the whole device, in hexadecimal digits.
    pub device: String,
}

impl Volumes {
    /// Namespace of the volume with files.
    pub const FILES: &'static str = "volumes-files";
    /// Namespace of the device.
    pub const DEVICE: &'static str = "volumes-device";
    /// Files of equal size, beside the awkward ones.
    pub const FILE_COUNT: u64 = 300;
    /// Bytes of each.
    pub const FILE_BYTES: u64 = 64 << 10;
    /// How many of them one [`Volumes::change`] writes anew.
    pub const CHANGED: u64 = 10;
    /// Size of the device in bytes; 40 MiB of it are written to.
    pub const DEVICE_BYTES: u64 = 64 << 20;

    /// Makes both anew and fills them.
    pub fn create(cluster: &Cluster) -> Result<Self> {
        let volumes = Self {
            files: Shop::named(Self::FILES).size("256Mi").create(cluster)?,
            device: Shop::named(Self::DEVICE)
                .size(&Self::DEVICE_BYTES.to_string())
                .block()
                .create(cluster)?,
        };
        volumes.files.run(cluster, &fill_files())?;
        volumes.device.run(cluster, FILL_DEVICE)?;
        Ok(volumes)
    }

    /// Writes [`Volumes::CHANGED`] files from this number on anew, and three blocks of the device at a place that depends on
    /// it; returns what the volumes hold then.
    pub fn change(&self, cluster: &Cluster, from: u64) -> Result<Contents> {
        let files = format!(
            "i={from}\nwhile [ $i -lt {} ]; do head -c {} /dev/urandom > stock/$((i / 50))/item-$i; i=$((i + 1)); done; sync",
            from + Self::CHANGED,
            Self::FILE_BYTES
        );
        self.files.run(cluster, &files)?;
        let block = 1000 + 100 * from;
        let device = format!(
            "dd if=/dev/urandom of=/dev/data bs=4096 count=3 seek={block} conv=notrunc 2>/dev/null; sync"
        );
        self.device.run(cluster, &device)?;
        Contents::read(cluster, "")
    }

    /// Deletes both namespaces, or with a suffix those of a copy, where they exist.
    pub fn remove(cluster: &Cluster, suffix: &str) -> Result<()> {
        for namespace in [Self::FILES, Self::DEVICE] {
            cluster.delete(Kind::NAMESPACE, "", &format!("{namespace}{suffix}"))?;
        }
        Ok(())
    }
}

impl Contents {
    /// What the volumes hold, or with a suffix those of a copy, whose namespaces end so.
    pub fn read(cluster: &Cluster, suffix: &str) -> Result<Self> {
        let files = Shop::named(&format!("{}{suffix}", Volumes::FILES));
        let device = Shop::named(&format!("{}{suffix}", Volumes::DEVICE)).block();
        let said = device.run(cluster, "sha256sum /dev/data")?;
        let digest = said.split_whitespace().next().context("sha256sum said nothing")?;
        Ok(Self {
            files: files.tree(cluster)?,
            device: digest.to_owned(),
        })
    }
}

fn fill_files() -> String {
    let (count, bytes) = (Volumes::FILE_COUNT, Volumes::FILE_BYTES);
    format!(
        r#"
umask 022
i=0
while [ $i -lt {count} ]; do
    folder=stock/$((i / 50))
    [ -d $folder ] || mkdir -p $folder
    head -c {bytes} /dev/urandom > $folder/item-$i
    i=$((i + 1))
done
: > nothing
dd if=/dev/urandom of=large bs=1M count=9 2>/dev/null
echo one > 'a < b & "c" ☃.txt'
ln -s nowhere/at/all dangling
ln -s stock/1 relative
echo program > setuid; chmod 4755 setuid
mkdir private; echo secret > private/key; chmod 600 private/key; chown -R 1000:2000 private; chmod 700 private
mkdir empty-folder; chmod 1777 empty-folder
touch -d '1999-12-31 23:59:59' large
sync
"#
    )
}

/// From its first byte, at an odd place, and to its last byte.
const FILL_DEVICE: &str = r"
set -e
dd if=/dev/urandom of=/dev/data bs=65536 count=320 conv=notrunc 2>/dev/null
dd if=/dev/urandom of=/dev/data bs=4096 count=2000 seek=7001 conv=notrunc 2>/dev/null
dd if=/dev/urandom of=/dev/data bs=65536 count=192 seek=832 conv=notrunc 2>/dev/null
sync
";

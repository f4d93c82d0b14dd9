//! File modes as Kopia writes them: Go's `os.FileMode` bits in an octal string (kopia-format.md 10.2).

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

const SETUID: u32 = 1 << 23;
const SETGID: u32 = 1 << 22;
const STICKY: u32 = 1 << 20;

/// Permissions with setuid, setgid and sticky, in Go's bits: 4755 is written `"040000755"`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct FileMode(u32);

impl FileMode {
    /// From the low twelve bits of a Unix mode.
    pub fn from_unix(mode: u32) -> Self {
        let bit = |unix: u32, go: u32| if mode & unix != 0 { go } else { 0 };
        Self(mode & 0o777 | bit(0o4000, SETUID) | bit(0o2000, SETGID) | bit(0o1000, STICKY))
    }

    /// The low twelve bits of a Unix mode.
    pub fn to_unix(self) -> u32 {
        let bit = |go: u32, unix: u32| if self.0 & go != 0 { unix } else { 0 };
        self.0 & 0o777 | bit(SETUID, 0o4000) | bit(SETGID, 0o2000) | bit(STICKY, 0o1000)
    }

    pub(crate) fn is_zero(&self) -> bool {
        self.0 == 0
    }

    /// As C and Go read numbers: a leading `0` is octal, `0x` hexadecimal, `0b` binary.
    fn parse(text: &str) -> Option<Self> {
        let lower = text.to_ascii_lowercase();
        let (digits, radix) = match lower.as_bytes() {
            [b'0', b'x', ..] => (&lower[2..], 16),
            [b'0', b'b', ..] => (&lower[2..], 2),
            [b'0', b'o', ..] => (&lower[2..], 8),
            [b'0', _, ..] => (&lower[1..], 8),
            _ => (lower.as_str(), 10),
        };
        u32::from_str_radix(digits, radix).ok().map(Self)
    }
}

impl Serialize for FileMode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("0{:o}", self.0))
    }
}

impl<'de> Deserialize<'de> for FileMode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| D::Error::custom(format!("{text:?} is not a file mode")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_written_with_gos_bits() {
        for (unix, text) in [
            (0o4755, "\"040000755\""),
            (0o1777, "\"04000777\""),
            (0o644, "\"0644\""),
        ] {
            let mode = FileMode::from_unix(unix);
            assert_eq!(serde_json::to_string(&mode).unwrap(), text);
            assert_eq!(serde_json::from_str::<FileMode>(text).unwrap().to_unix(), unix);
        }
        assert_eq!(
            serde_json::from_str::<FileMode>("\"420\"").unwrap().to_unix(),
            0o644
        );
        assert!(serde_json::from_str::<FileMode>("\"+é\"").is_err());
    }
}

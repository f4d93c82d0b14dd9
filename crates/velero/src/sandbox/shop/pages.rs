//! The database's files: fill, change, verify. Plain blocking code over a folder.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, BufWriter, Read as _, Seek as _, Write as _};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

/// How much a new database holds.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    pub pages: usize,
    /// Bytes of one page, without its head line.
    pub page_bytes: usize,
}

impl Size {
    /// What the stories use: 200 MiB in 2,000 files.
    pub const STORY: Self = Self {
        pages: 2_000,
        page_bytes: 105_000,
    };
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = u64::try_from(self.pages * self.page_bytes).unwrap_or(u64::MAX);
        write!(f, "{}", indicatif::DecimalBytes(bytes))
    }
}

/// Pages in one folder.
const IN_A_FOLDER: usize = 100;
/// Read and written at once.
const BLOCK: usize = 64 * 1024;
const LEDGER: &str = "ledger";

/// Whether the volume holds nothing yet; what `mkfs` leaves behind does not count.
pub fn is_empty(volume: &Path) -> io::Result<bool> {
    for entry in fs::read_dir(volume)? {
        if entry?.file_name() != "lost+found" {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Writes a new database.
pub fn fill(volume: &Path, size: Size) -> io::Result<()> {
    let mut checksums = Vec::with_capacity(size.pages);
    for number in 0..size.pages {
        if number.is_multiple_of(IN_A_FOLDER) {
            fs::create_dir_all(folder_of(volume, number))?;
        }
        checksums.push(write_page(volume, number, 1, size.page_bytes)?);
    }
    oddities(volume)?;
    append_to_ledger(volume, 1, &checksums)
}

/// What a real volume has beside plain files, so that a restore has to bring it back.
fn oddities(volume: &Path) -> io::Result<()> {
    symlink("pages/00/page-00000", volume.join("latest"))?;
    fs::create_dir(volume.join("inbox"))?;
    fs::set_permissions(volume.join("inbox"), fs::Permissions::from_mode(0o1777))?;
    File::create(volume.join("empty"))?;
    let odd = volume.join("Müller & Söhne, \"1\".csv");
    fs::write(&odd, "id;name\n1;Zoë\n")?;
    fs::set_permissions(odd, fs::Permissions::from_mode(0o640))
}

/// Writes `count` pages anew, spread over the database, as the next generation.
pub fn change(volume: &Path, count: usize) -> io::Result<String> {
    let state = read_ledger(volume)?;
    let generation = state.generation + 1;
    let step = (state.pages / count.clamp(1, state.pages.max(1))).max(1);
    let changed: Vec<usize> = (0..state.pages).step_by(step).take(count).collect();
    for number in &changed {
        let bytes = fs::metadata(page_path(volume, *number))?.len();
        let head = u64::try_from(HEAD).unwrap_or_default();
        write_page(
            volume,
            *number,
            generation,
            usize::try_from(bytes - head.min(bytes)).unwrap_or(0),
        )?;
    }
    let checksums = (0..state.pages)
        .map(|number| head_of(&mut File::open(page_path(volume, number))?).map(|head| head.checksum))
        .collect::<io::Result<Vec<_>>>()?;
    append_to_ledger(volume, generation, &checksums)?;
    Ok(format!(
        "generation {generation}: {} pages written anew",
        changed.len()
    ))
}

/// Changes one byte of a page and nothing else, its time included.
pub fn spoil(volume: &Path) -> io::Result<()> {
    let mut page = File::options()
        .read(true)
        .write(true)
        .open(page_path(volume, 0))?;
    let time = page.metadata()?.modified()?;
    let mut byte = [0];
    page.seek(io::SeekFrom::End(-1))?;
    page.read_exact(&mut byte)?;
    page.seek(io::SeekFrom::End(-1))?;
    page.write_all(&[byte[0] ^ 1])?;
    page.set_modified(time)
}

/// Reads everything and compares it with its checksums.
pub fn verify(volume: &Path) -> io::Result<String> {
    let state = read_ledger(volume)?;
    let (mut all, mut bytes) = (crc32fast::Hasher::new(), 0);
    let mut block = vec![0; BLOCK];
    for number in 0..state.pages {
        let mut file = File::open(page_path(volume, number))?;
        let head = head_of(&mut file)?;
        let mut page = crc32fast::Hasher::new();
        loop {
            match file.read(&mut block)? {
                0 => break,
                read => {
                    page.update(&block[..read]);
                    bytes += u64::try_from(read).unwrap_or_default();
                }
            }
        }
        if page.finalize() != head.checksum {
            return Err(damaged(&format!("page {number} is not what was written")));
        }
        all.update(&head.checksum.to_be_bytes());
    }
    if all.finalize() != state.checksum {
        return Err(damaged("the pages are not all of the ledger's generation"));
    }
    Ok(format!(
        "opened generation {}: {} pages, {}, checksum {:08x} is right",
        state.generation,
        state.pages,
        indicatif::DecimalBytes(bytes),
        state.checksum
    ))
}

fn folder_of(volume: &Path, number: usize) -> PathBuf {
    volume.join("pages").join(format!("{:02}", number / IN_A_FOLDER))
}

fn page_path(volume: &Path, number: usize) -> PathBuf {
    folder_of(volume, number).join(format!("page-{number:05}"))
}

/// Bytes of a head line: `generation 0000000001 checksum 0123abcd\n`.
const HEAD: usize = 40;

struct Head {
    checksum: u32,
}

fn head_of(file: &mut File) -> io::Result<Head> {
    let mut line = [0; HEAD];
    file.read_exact(&mut line)?;
    let text = std::str::from_utf8(&line).ok();
    let checksum = text
        .and_then(|text| text.trim_end().rsplit_once(' '))
        .and_then(|(_, checksum)| u32::from_str_radix(checksum, 16).ok());
    checksum
        .map(|checksum| Head { checksum })
        .ok_or_else(|| damaged("a page has no head"))
}

/// Writes a page as a database does, beside the old one, which it then replaces; its checksum.
fn write_page(volume: &Path, number: usize, generation: u64, bytes: usize) -> io::Result<u32> {
    let path = page_path(volume, number);
    let seed = (generation << 32) ^ u64::try_from(number).unwrap_or_default();
    let checksum = {
        let mut hasher = crc32fast::Hasher::new();
        Generator::new(seed).blocks(bytes, |block| {
            hasher.update(block);
            Ok(())
        })?;
        hasher.finalize()
    };
    let new = path.with_extension("new");
    let mut file = BufWriter::with_capacity(BLOCK, File::create(&new)?);
    file.write_all(format!("generation {generation:010} checksum {checksum:08x}\n").as_bytes())?;
    Generator::new(seed).blocks(bytes, |block| file.write_all(block))?;
    file.into_inner().map_err(io::IntoInnerError::into_error)?;
    if number.is_multiple_of(7) {
        fs::set_permissions(&new, fs::Permissions::from_mode(0o600))?;
    }
    fs::rename(new, path)?;
    Ok(checksum)
}

/// Random-looking bytes at the speed of memory (xorshift64*).
struct Generator(u64);

impl Generator {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn blocks(&mut self, mut bytes: usize, mut take: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        let mut block = [0; 8192];
        while bytes > 0 {
            for word in block.chunks_exact_mut(8) {
                self.0 ^= self.0 >> 12;
                self.0 ^= self.0 << 25;
                self.0 ^= self.0 >> 27;
                word.copy_from_slice(&self.0.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
            }
            let length = bytes.min(block.len());
            take(&block[..length])?;
            bytes -= length;
        }
        Ok(())
    }
}

struct State {
    generation: u64,
    pages: usize,
    checksum: u32,
}

fn append_to_ledger(volume: &Path, generation: u64, checksums: &[u32]) -> io::Result<()> {
    let mut all = crc32fast::Hasher::new();
    for checksum in checksums {
        all.update(&checksum.to_be_bytes());
    }
    let line = format!(
        "generation {generation} pages {} checksum {:08x}\n",
        checksums.len(),
        all.finalize()
    );
    let mut ledger = File::options()
        .create(true)
        .append(true)
        .open(volume.join(LEDGER))?;
    ledger.write_all(line.as_bytes())
}

/// The ledger's last generation.
pub fn generation(volume: &Path) -> io::Result<u64> {
    Ok(read_ledger(volume)?.generation)
}

fn read_ledger(volume: &Path) -> io::Result<State> {
    let text = fs::read_to_string(volume.join(LEDGER))?;
    let state = text.lines().next_back().and_then(|line| {
        let words: Vec<&str> = line.split(' ').collect();
        let ["generation", generation, "pages", pages, "checksum", checksum] = words[..] else {
            return None;
        };
        Some(State {
            generation: generation.parse().ok()?,
            pages: pages.parse().ok()?,
            checksum: u32::from_str_radix(checksum, 16).ok()?,
        })
    });
    state.ok_or_else(|| damaged("the ledger cannot be read"))
}

fn damaged(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: Size = Size {
        pages: 230,
        page_bytes: 20_001,
    };

    #[test]
    fn what_was_written_is_right_until_a_byte_changes() {
        let volume = tempfile::tempdir().unwrap();
        assert!(is_empty(volume.path()).unwrap());
        fill(volume.path(), SMALL).unwrap();
        let said = verify(volume.path()).unwrap();
        assert!(
            said.starts_with("opened generation 1: 230 pages, 4.60 MB"),
            "{said}"
        );
        let page = page_path(volume.path(), 229);
        let mut bytes = fs::read(&page).unwrap();
        assert_eq!(bytes.len(), SMALL.page_bytes + HEAD);
        bytes[20_000] ^= 1;
        fs::write(&page, bytes).unwrap();
        let error = verify(volume.path()).unwrap_err().to_string();
        assert_eq!(error, "page 229 is not what was written");
    }

    #[test]
    fn a_page_of_another_generation_is_noticed() {
        let volume = tempfile::tempdir().unwrap();
        fill(volume.path(), SMALL).unwrap();
        let page = page_path(volume.path(), 0);
        let old = fs::read(&page).unwrap();
        assert_eq!(
            change(volume.path(), 5).unwrap(),
            "generation 2: 5 pages written anew"
        );
        assert!(verify(volume.path()).unwrap().starts_with("opened generation 2"));
        fs::write(&page, old).unwrap();
        let error = verify(volume.path()).unwrap_err().to_string();
        assert_eq!(error, "the pages are not all of the ledger's generation");
    }
}

//! What a disk may hold after the power went.
//!
//! The relay runs under a preloaded shim that copies the bytes of each fsync to a shadow, by inode. An
//! image is the shadow plus any of the pages that were written and not synced: a disk may have got to them
//! or not. Directory entries are taken as durable. SQLite's `-shm` is memory, not disk, and stays behind.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use rand::RngExt as _;
use rand::rngs::StdRng;

/// Compiles the shim into a folder.
pub(crate) fn build_shim(folder: &Path) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/torture/powerloss/shim.c");
    let library = folder.join("shim.so");
    let output = Command::new("gcc")
        .args(["-O2", "-shared", "-fPIC", "-w", "-o"])
        .arg(&library)
        .arg(source)
        .args(["-ldl", "-lpthread"])
        .output()
        .expect("gcc is needed for the power-loss test");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    library
}

/// Writes an image of `live` to `image`: what was synced, and each page that was not with probability
/// `chance`. Returns the number of those pages.
pub(crate) fn tear(live: &Path, shadow: &Path, image: &Path, chance: f64, random: &mut StdRng) -> usize {
    fs::create_dir_all(image).unwrap();
    let mut pages = 0;
    for entry in entries(live) {
        let (from, to) = (live.join(&entry), image.join(&entry));
        let meta = fs::metadata(&from).unwrap();
        if meta.is_dir() {
            pages += tear(&from, shadow, &to, chance, random);
        } else if meta.is_file() && !entry.ends_with("-shm") {
            let mut bytes = fs::read(shadow.join(meta.ino().to_string())).unwrap_or_default();
            pages += add_pages(&mut bytes, &fs::read(&from).unwrap(), chance, random);
            fs::write(to, bytes).unwrap();
        }
    }
    pages
}

/// Makes the shadow of a directory whose bytes are all on the disk.
pub(crate) fn shadow_of(live: &Path, shadow: &Path) {
    fs::create_dir_all(shadow).unwrap();
    for entry in entries(live) {
        let from = live.join(entry);
        let meta = fs::metadata(&from).unwrap();
        if meta.is_dir() {
            shadow_of(&from, shadow);
        } else {
            fs::copy(&from, shadow.join(meta.ino().to_string())).unwrap();
        }
    }
}

fn add_pages(bytes: &mut Vec<u8>, written: &[u8], chance: f64, random: &mut StdRng) -> usize {
    let mut pages = 0;
    for (number, page) in written.chunks(PAGE).enumerate() {
        let start = number * PAGE;
        let synced = bytes
            .get(start..bytes.len().min(start + PAGE))
            .unwrap_or_default();
        if synced != page && random.random_bool(chance) {
            bytes.resize(bytes.len().max(start + page.len()), 0);
            bytes[start..start + page.len()].copy_from_slice(page);
            pages += 1;
        }
    }
    pages
}

/// Names in a directory, sorted, so that a seed gives the same image again.
fn entries(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.collect();
    names.sort_unstable();
    names
}

const PAGE: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng as _;

    #[test]
    fn only_synced_bytes_survive_for_sure() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        let (live, shadow) = (root.join("live"), root.join("shadow"));
        fs::create_dir(&live).unwrap();
        let library = build_shim(&root);
        for (name, conv) in [("synced", "conv=fsync"), ("written", "conv=notrunc")] {
            let output = Command::new("dd")
                .args(["if=/dev/urandom", "bs=4096", "count=64", conv])
                .arg(format!("of={}", live.join(name).display()))
                .env("LD_PRELOAD", &library)
                .env("PL_LIVE", &live)
                .env("PL_SHADOW", &shadow)
                .output()
                .unwrap();
            assert!(output.status.success());
        }
        let mut random = StdRng::seed_from_u64(1);
        let mut image = |chance: f64| {
            let image = root.join(format!("image-{chance}"));
            let pages = tear(&live, &shadow, &image, chance, &mut random);
            assert_eq!(
                fs::read(image.join("synced")).unwrap(),
                fs::read(live.join("synced")).unwrap()
            );
            (
                pages,
                fs::read(image.join("written")).unwrap() == fs::read(live.join("written")).unwrap(),
            )
        };
        assert_eq!(image(0.0), (0, false));
        assert_eq!(image(1.0), (64, true));
        let (some, whole) = image(0.5);
        assert!((1..64).contains(&some) && !whole, "{some}");
    }
}

//! A copy of the index to look into: sled writes when it opens.

use std::fs;
use std::path::{Path, PathBuf};

use super::MADE_ANEW;
use crate::store::StoreError;
use crate::store::embedded::layers::Index;
use crate::store::embedded::survey::Problems;
use crate::store::embedded::{DAMAGE_MARK, StoreOptions, open_index};

/// The index in a folder of its own, with all that can be written to.
pub(super) struct IndexCopy {
    pub(super) index: Index,
    /// After the index: it is closed before its files go.
    _folder: Folder,
}

struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        // Only a copy; the system clears its folder for temporary files.
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl IndexCopy {
    /// Copies and opens the index of the store in `dir`; opens an empty one if it is damaged.
    pub(super) fn open(dir: &Path, options: &StoreOptions, problems: &mut Problems) -> Result<Self, StoreError> {
        let mut damaged = |place: &str, what: &str| problems.add(place, format!("{what}; {MADE_ANEW}"));
        if dir.join(DAMAGE_MARK).exists() {
            damaged("index", "it was found damaged while it was in use");
            return Self::open_in(Folder::new()?, options)?.map_err(broken);
        }
        let folder = Folder::new()?;
        let doing = "copy its index into the folder for temporary files";
        copy_files(&dir.join("index/catalog"), &folder.0.join("index/catalog")).map_err(StoreError::io(doing))?;
        link_files(&dir.join("index/places"), &folder.0.join("index/places")).map_err(StoreError::io(doing))?;
        match Self::open_in(folder, options)? {
            Ok(copy) => {
                let wrong = copy.index.places.verify();
                for what in &wrong {
                    damaged("index/places", what);
                }
                if wrong.is_empty() { Ok(copy) } else { Self::open_in(Folder::new()?, options)?.map_err(broken) }
            }
            Err(why) => {
                damaged("index", &why);
                Self::open_in(Folder::new()?, options)?.map_err(broken)
            }
        }
    }

    fn open_in(folder: Folder, options: &StoreOptions) -> Result<Result<Self, String>, StoreError> {
        Ok(open_index(&folder.0, options)?.map(|index| Self { index, _folder: folder }))
    }
}

fn broken(why: String) -> StoreError {
    StoreError::io("make an index in the folder for temporary files")(std::io::Error::other(why))
}

impl Folder {
    fn new() -> Result<Self, StoreError> {
        let path = std::env::temp_dir().join(format!("terapi-verify-{}", uuid::Uuid::new_v4()));
        fs::create_dir_all(&path).map_err(StoreError::io("make a folder for temporary files"))?;
        Ok(Self(path))
    }
}

fn copy_files(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    if !from.exists() {
        return Ok(());
    }
    for item in fs::read_dir(from)? {
        let item = item?;
        let target = to.join(item.file_name());
        if item.file_type()?.is_dir() {
            copy_files(&item.path(), &target)?;
        } else {
            fs::copy(item.path(), target)?;
        }
    }
    Ok(())
}

/// Files that are never written to need no copy.
fn link_files(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    if !from.exists() {
        return Ok(());
    }
    for item in fs::read_dir(fs::canonicalize(from)?)? {
        let item = item?;
        std::os::unix::fs::symlink(item.path(), to.join(item.file_name()))?;
    }
    Ok(())
}

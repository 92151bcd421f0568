//! What is left when the data directory is gone under a master: the journal's connections still
//! read the files that nobody can find any more.
//! Invariant: an existing file is never replaced, and what the results volume holds is not written
//! again.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use gridctl_core::sched::Core;
use gridctl_storage::journal::Reader;
use gridctl_storage::results::records;

use crate::compare;
use crate::error::{Rescued, chain};
use crate::ship::{self, ShipJob};

/// Names that are tried in one directory.
const NAMES: u32 = 100;
/// Records that are read at once.
const CHUNK: u64 = 1_024;

/// Writes the records that are nowhere else, each sweep's into a file of its own in the working
/// directory, or else in the one for temporary files.
pub(crate) fn all(core: &Core, reader: &Reader, data_dir: &Path) -> Vec<Rescued> {
    let rescue = |cargo: ShipJob| {
        let after = shipped(&cargo, reader, data_dir);
        let records = reader.count_after(after, cargo.sweep.0);
        let written = match &records {
            Ok(0) => Ok(PathBuf::new()),
            Ok(_) => write(&cargo, reader, after),
            Err(error) => Err(chain(error)),
        };
        let sweep = cargo.frozen.spec.name.clone();
        Rescued { sweep, records: records.unwrap_or(0), written }
    };
    ship::cargo(core, data_dir).into_iter().map(rescue).collect()
}

/// The last record that is safe in the results volume. What lies in the data directory is going.
fn shipped(cargo: &ShipJob, reader: &Reader, data_dir: &Path) -> u64 {
    if cargo.volume.local_dir().is_some_and(|dir| dir.starts_with(data_dir)) {
        return 0;
    }
    let shipped = compare::open(cargo).and_then(|results| results.shipped(reader.journal_id()));
    shipped.ok().filter(|shipped| shipped.gaps.is_empty()).map_or(0, |shipped| shipped.last)
}

fn write(cargo: &ShipJob, reader: &Reader, after: u64) -> Result<PathBuf, String> {
    let (file, path) = create(&cargo.frozen.spec.name)?;
    let mut out = BufWriter::new(&file);
    let mut last = after;
    loop {
        let rows = reader.after(last, Some(cargo.sweep.0), CHUNK).map_err(|error| chain(&error))?;
        let Some(row) = rows.last() else { break };
        last = row.seq;
        for row in rows {
            let line = records::line(row.seq, &row.record).ok_or("a record is no JSON object")?;
            out.write_all(line.as_bytes()).map_err(|error| failed(&path, &error))?;
        }
    }
    out.flush().and_then(|()| file.sync_all()).map_err(|error| failed(&path, &error))?;
    Ok(path)
}

/// A new file for this sweep's records.
fn create(sweep: &str) -> Result<(File, PathBuf), String> {
    let mut problem = String::new();
    for dir in [std::env::current_dir().unwrap_or_default(), std::env::temp_dir()] {
        for number in 1..=NAMES {
            let suffix = if number == 1 { String::new() } else { format!("-{number}") };
            let path = dir.join(format!("gridctl-rescued-{sweep}{suffix}.jsonl"));
            match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
                Ok(file) => return Ok((file, path)),
                Err(error) => {
                    problem = failed(&path, &error);
                    if error.kind() != io::ErrorKind::AlreadyExists {
                        break;
                    }
                }
            }
        }
    }
    Err(problem)
}

fn failed(path: &Path, error: &io::Error) -> String {
    format!("{}: {error}", path.display())
}

//! An attempt's output: its end for the record, all of it in a file if the record cannot hold it.
//! Invariant: memory is bounded by twice what the record holds, the file by [`SPOOL`]; a full disk costs the file, never the attempt.

use std::path::PathBuf;

use tokio::fs::File;
use tokio::io::AsyncWriteExt;

/// What the record holds.
pub(super) const KEEP: usize = 64 << 10;
/// The most that the file holds.
const SPOOL: u64 = 64 << 20;
/// Said at the end of a file that does not hold everything.
const CUT: &[u8] =
    b"\n[gridctl: output beyond 64 MiB was not kept; the end of it is in the trial's record]\n";

/// The output of one attempt.
#[derive(Debug)]
pub(super) struct Log {
    path: PathBuf,
    tail: Vec<u8>,
    bytes: u64,
    spool: Spool,
}

#[derive(Debug)]
enum Spool {
    /// The record holds everything so far.
    Unneeded,
    Open(File),
    /// It holds all that it may.
    Full(File),
    /// It could not be written, and why.
    Failed,
}

impl Log {
    /// An empty log whose file, should there be one, is `path`.
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, tail: Vec::new(), bytes: 0, spool: Spool::Unneeded }
    }

    /// Bytes in all.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether there is more than the record holds, and a file of it.
    pub(super) fn has_file(&self) -> bool {
        matches!(self.spool, Spool::Open(_) | Spool::Full(_))
    }

    /// Takes more output.
    pub(super) async fn push(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        self.tail.extend_from_slice(bytes);
        if self.bytes > KEEP as u64
            && let Err(error) = self.spool(bytes).await
        {
            tracing::warn!("{}: the full log is not kept: {error}", self.path.display());
            self.spool = Spool::Failed;
        }
        if self.tail.len() > 2 * KEEP {
            self.tail.drain(..self.tail.len() - KEEP);
        }
    }

    async fn spool(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        match &mut self.spool {
            Spool::Unneeded => {
                let mut file = File::create(&self.path).await?;
                // Nothing has been dropped from the tail yet: this is everything.
                file.write_all(&self.tail).await?;
                self.spool = Spool::Open(file);
            }
            Spool::Open(file) if self.bytes <= SPOOL => file.write_all(bytes).await?,
            Spool::Open(file) => {
                file.write_all(CUT).await?;
                if let Spool::Open(file) = std::mem::replace(&mut self.spool, Spool::Failed) {
                    self.spool = Spool::Full(file);
                }
            }
            Spool::Full(_) | Spool::Failed => {}
        }
        Ok(())
    }

    /// Closes the file, if there is one, and returns where it is.
    pub(super) async fn close(&mut self) -> Option<PathBuf> {
        let closed = match std::mem::replace(&mut self.spool, Spool::Failed) {
            Spool::Open(mut file) | Spool::Full(mut file) => file.flush().await,
            Spool::Unneeded | Spool::Failed => return None,
        };
        match closed {
            Ok(()) => Some(self.path.clone()),
            Err(error) => {
                tracing::warn!("{}: the full log is not kept: {error}", self.path.display());
                None
            }
        }
    }

    /// The end of the output as text, at most [`KEEP`] bytes and from the beginning of a character.
    pub(super) fn text(&self) -> String {
        let end = &self.tail[self.tail.len().saturating_sub(KEEP)..];
        // A character that the cut went through.
        let broken = if end.len() < KEEP {
            0
        } else {
            end.iter().take(3).take_while(|byte| **byte & 0xc0 == 0x80).count()
        };
        let mut text = String::from_utf8_lossy(&end[broken..]).into_owned();
        // Each byte that was no character has become three.
        if text.len() > KEEP {
            let from = text.ceil_char_boundary(text.len() - KEEP);
            text.drain(..from);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_record_gets_the_end_and_the_file_gets_all() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("log");
        for lines in [0, 1, 1_000, 6_553, 6_554, 20_000, 100_000] {
            let mut log = Log::new(path.clone());
            let mut all = Vec::new();
            for line in 0..lines {
                let line = format!("line{line:05}\n");
                log.push(line.as_bytes()).await;
                all.extend(line.into_bytes());
            }
            let file = log.close().await;
            assert_eq!(file.is_some(), all.len() > KEEP, "{lines}");
            if let Some(file) = file {
                assert_eq!(std::fs::read(file).unwrap(), all, "{lines}");
            }
            assert_eq!(log.text().as_bytes(), &all[all.len().saturating_sub(KEEP)..], "{lines}");
            assert_eq!(log.bytes(), all.len() as u64);
        }
    }

    #[tokio::test]
    async fn the_file_has_a_limit_and_says_so() {
        let temp = tempfile::tempdir().unwrap();
        let mut log = Log::new(temp.path().join("log"));
        let chunk = vec![b'x'; 60_000];
        for _ in 0..1_200 {
            log.push(&chunk).await;
        }
        let text = std::fs::read(log.close().await.unwrap()).unwrap();
        assert!(text.ends_with(CUT) && text.len() as u64 <= SPOOL + CUT.len() as u64);
        assert_eq!(log.bytes(), 72_000_000);
    }

    #[tokio::test]
    async fn whatever_bytes_come_the_text_is_short_and_whole() {
        let temp = tempfile::tempdir().unwrap();
        let cases: [(&[u8], usize); 4] = [
            (b"\xff", 100_000),
            ("\u{e9}".as_bytes(), 100_001),
            ("\u{1f600}".as_bytes(), 50_001),
            (b"\x80", 10),
        ];
        for (bytes, times) in cases {
            let mut log = Log::new(temp.path().join("log"));
            log.push(b"x").await;
            log.push(&bytes.repeat(times)).await;
            let text = log.text();
            assert!(text.len() <= KEEP, "{}", text.len());
            let broken = text.chars().filter(|c| *c == char::REPLACEMENT_CHARACTER).count();
            assert_eq!(broken > 0, str::from_utf8(bytes).is_err(), "{}", bytes.escape_ascii());
        }
    }

    #[tokio::test]
    async fn without_a_place_for_the_file_the_record_is_as_ever() {
        let mut log = Log::new(PathBuf::from("/nonexistent/log"));
        log.push(&vec![b'x'; 3 * KEEP]).await;
        log.push(b"end").await;
        assert_eq!(log.close().await, None);
        assert!(log.text().ends_with("xend"));
    }
}

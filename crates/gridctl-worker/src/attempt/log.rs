//! An attempt's output: its end for the record, all of it in a file if the record cannot hold it.
//! Secrets are masked in both.
//! Invariant: memory is bounded by twice what the record holds, the file by [`SPOOL`]; a full disk
//! costs the file, never the attempt. The file has no name, so nobody can move it, or put something
//! else in its place.

use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::Arc;

use gridctl_core::metrics::Stream;
use gridctl_core::record::MAX_LOG_RUNS;
use gridctl_core::secrets::{Masker, Secrets};
use tokio::fs::File;
use tokio::io::AsyncWriteExt;

use crate::live::SharedTail;

/// What the record holds.
pub(super) use gridctl_core::live::KEEP;
/// The most that the file holds.
const SPOOL: u64 = 64 << 20;
/// SlotNews at the end of a file that does not hold everything.
const CUT: &[u8] =
    b"\n[gridctl: output beyond 64 MiB was not kept; the end of it is in the trial's record]\n";

/// The output of one attempt.
#[derive(Debug)]
pub(super) struct Log {
    /// Where its file is made.
    dir: PathBuf,
    secrets: Arc<Secrets>,
    stdout: Masker,
    stderr: Masker,
    /// Its end, which others may read meanwhile.
    tail: SharedTail,
    /// What was kept, so masked.
    bytes: u64,
    /// What of it came by stdout, by stderr, by stdout again, and so on; `None` if they changed too
    /// often.
    runs: Option<Vec<u64>>,
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
    /// An empty log whose file, should there be one, is made in `dir`.
    pub(super) fn new(dir: PathBuf, secrets: Arc<Secrets>) -> Self {
        let (stdout, stderr) = (Masker::new(Arc::clone(&secrets)), Masker::new(Arc::clone(&secrets)));
        Self {
            dir,
            secrets,
            stdout,
            stderr,
            tail: SharedTail::default(),
            bytes: 0,
            runs: Some(Vec::new()),
            spool: Spool::Unneeded,
        }
    }

    /// Its end, for who follows it.
    pub(super) fn tail(&self) -> &SharedTail {
        &self.tail
    }

    /// Bytes in all.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether there is more than the record holds, and a file of it.
    pub(super) fn has_file(&self) -> bool {
        matches!(self.spool, Spool::Open(_) | Spool::Full(_))
    }

    /// Takes more of the trainer's output.
    pub(super) async fn push(&mut self, stream: Stream, bytes: &[u8]) {
        let masked = match stream {
            Stream::Stdout => self.stdout.push(bytes),
            Stream::Stderr => self.stderr.push(bytes),
        };
        self.ran(stream, masked.len());
        self.write(&masked).await;
    }

    /// Nothing more comes from the trainer.
    pub(super) async fn end(&mut self) {
        for (stream, rest) in [(Stream::Stdout, self.stdout.finish()), (Stream::Stderr, self.stderr.finish())]
        {
            self.ran(stream, rest.len());
            self.write(&rest).await;
        }
    }

    /// What is said elsewhere of the trainer's words.
    pub(super) fn mask<'t>(&self, text: &'t str) -> Cow<'t, str> {
        self.secrets.mask(text)
    }

    /// Says something of our own, which holds no secret.
    pub(super) async fn keep(&mut self, bytes: &[u8]) {
        self.ran(Stream::Stdout, bytes.len());
        self.write(bytes).await;
    }

    /// By which way the bytes of the log came, as [`gridctl_core::record::Report::log_runs`] has
    /// it.
    pub(super) fn runs(&self) -> Vec<u64> {
        self.runs.clone().unwrap_or_default()
    }

    fn ran(&mut self, stream: Stream, length: usize) {
        let Some(runs) = self.runs.as_mut().filter(|_| length > 0) else { return };
        if runs.is_empty() {
            runs.push(0);
        }
        let goes_on = (runs.len() % 2 == 1) == (stream == Stream::Stdout);
        let full = runs.len() == MAX_LOG_RUNS;
        match runs.last_mut() {
            Some(last) if goes_on => *last += length as u64,
            _ if full => self.runs = None,
            _ => runs.push(length as u64),
        }
    }

    async fn write(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        self.tail.lock().push(bytes);
        if self.bytes > KEEP as u64
            && let Err(error) = self.spool(bytes).await
        {
            tracing::warn!("{}: the full log is not kept: {error}", self.dir.display());
            self.spool = Spool::Failed;
        }
        self.tail.lock().trim();
    }

    async fn spool(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        match &mut self.spool {
            Spool::Unneeded => {
                let mut file = File::from_std(tempfile::tempfile_in(&self.dir)?);
                // Nothing has been dropped from the tail yet: this is everything.
                let all = self.tail.lock().bytes().to_vec();
                file.write_all(&all).await?;
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

    /// The file, if there is one.
    pub(super) async fn close(&mut self) -> Option<std::fs::File> {
        let mut file = match std::mem::replace(&mut self.spool, Spool::Failed) {
            Spool::Open(file) | Spool::Full(file) => file,
            Spool::Unneeded | Spool::Failed => return None,
        };
        match file.flush().await {
            Ok(()) => Some(file.into_std().await),
            Err(error) => {
                tracing::warn!("{}: the full log is not kept: {error}", self.dir.display());
                None
            }
        }
    }

    /// The end of the output as text, at most [`KEEP`] bytes and from the beginning of a character.
    pub(super) fn text(&self) -> String {
        let tail = self.tail.lock();
        let end = &tail.bytes()[tail.bytes().len().saturating_sub(KEEP)..];
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
    use std::io::{Read, Seek};
    use std::path::Path;

    use super::*;

    fn log(dir: &Path) -> Log {
        Log::new(dir.to_owned(), Arc::default())
    }

    fn content(mut file: std::fs::File) -> Vec<u8> {
        let mut bytes = Vec::new();
        file.rewind().and_then(|()| file.read_to_end(&mut bytes)).unwrap();
        bytes
    }

    #[tokio::test]
    async fn f78_a_log_has_no_name_under_which_it_could_be_moved_or_replaced() {
        let temp = tempfile::tempdir().unwrap();
        let mut log = log(temp.path());
        log.push(Stream::Stdout, &vec![b'x'; 2 * KEEP]).await;
        assert!(log.has_file());
        assert_eq!(std::fs::read_dir(temp.path()).unwrap().count(), 0);
        assert_eq!(content(log.close().await.unwrap()).len(), 2 * KEEP);
    }

    #[tokio::test]
    async fn secrets_are_masked_in_both_however_their_streams_are_mixed() {
        let temp = tempfile::tempdir().unwrap();
        let mut log = Log::new(temp.path().to_owned(), Arc::new(Secrets::new(["hunter2hunter2"])));
        let pieces: [(Stream, &[u8]); 5] = [
            (Stream::Stdout, b"a hunter2"),
            (Stream::Stderr, b"b hunter2hun"),
            (Stream::Stdout, b"hunter2\n"),
            (Stream::Stderr, b"ter2\n"),
            (Stream::Stdout, b"c hunter2"),
        ];
        for (stream, piece) in pieces {
            log.push(stream, piece).await;
        }
        log.push(Stream::Stderr, &vec![b'x'; 2 * KEEP]).await;
        log.end().await;
        let all = content(log.close().await.unwrap());
        assert!(all.starts_with(b"a b ***\n***\nc xxx"), "{}", all[..40].escape_ascii());
        assert!(all.ends_with(b"xhunter2") && log.text().ends_with("xhunter2"));
        assert_eq!(log.bytes(), all.len() as u64);
        // `hunter2`, which may become the secret, is held back until its stream goes on.
        let runs = log.runs();
        assert_eq!(runs.iter().sum::<u64>(), log.bytes());
        assert_eq!(runs[..4], [2, 2, 4, 4], "{runs:?}");
    }

    #[tokio::test]
    async fn streams_that_change_too_often_are_not_told_apart() {
        let temp = tempfile::tempdir().unwrap();
        let mut log = log(temp.path());
        for round in 0..MAX_LOG_RUNS as u64 {
            log.push(if round % 2 == 0 { Stream::Stderr } else { Stream::Stdout }, b"x").await;
            let expected = if round + 2 > MAX_LOG_RUNS as u64 { 0 } else { round + 2 };
            assert_eq!(log.runs().len() as u64, expected);
        }
        assert_eq!(log.bytes(), MAX_LOG_RUNS as u64);
    }

    #[tokio::test]
    async fn the_record_gets_the_end_and_the_file_gets_all() {
        let temp = tempfile::tempdir().unwrap();
        for lines in [0, 1, 1_000, 6_553, 6_554, 20_000, 100_000] {
            let mut log = log(temp.path());
            let mut all = Vec::new();
            for line in 0..lines {
                let line = format!("line{line:05}\n");
                log.push(Stream::Stdout, line.as_bytes()).await;
                all.extend(line.into_bytes());
            }
            let file = log.close().await;
            assert_eq!(file.is_some(), all.len() > KEEP, "{lines}");
            if let Some(file) = file {
                assert_eq!(content(file), all, "{lines}");
            }
            assert_eq!(log.text().as_bytes(), &all[all.len().saturating_sub(KEEP)..], "{lines}");
            assert_eq!(log.bytes(), all.len() as u64);
        }
    }

    #[tokio::test]
    async fn the_file_has_a_limit_and_says_so() {
        let temp = tempfile::tempdir().unwrap();
        let mut log = log(temp.path());
        let chunk = vec![b'x'; 60_000];
        for _ in 0..1_200 {
            log.push(Stream::Stdout, &chunk).await;
        }
        let text = content(log.close().await.unwrap());
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
            let mut log = log(temp.path());
            log.push(Stream::Stdout, b"x").await;
            log.push(Stream::Stdout, &bytes.repeat(times)).await;
            let text = log.text();
            assert!(text.len() <= KEEP, "{}", text.len());
            let broken = text.chars().filter(|c| *c == char::REPLACEMENT_CHARACTER).count();
            assert_eq!(broken > 0, str::from_utf8(bytes).is_err(), "{}", bytes.escape_ascii());
        }
    }

    #[tokio::test]
    async fn without_a_place_for_the_file_the_record_is_as_ever() {
        let mut log = log(Path::new("/nonexistent"));
        log.push(Stream::Stdout, &vec![b'x'; 3 * KEEP]).await;
        log.push(Stream::Stdout, b"end").await;
        assert!(log.close().await.is_none());
        assert!(log.text().ends_with("xend"));
    }
}

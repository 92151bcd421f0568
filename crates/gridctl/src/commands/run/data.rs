//! Data in S3 is brought here before the first trial, where a person sees it coming.
//! Invariant: what workers of this data directory need afterwards lies where they look for it.

use std::path::Path;
use std::time::{Duration, Instant};

use gridctl_core::protocol::FrozenSweep;
use gridctl_core::s3_url::S3Url;
use gridctl_storage::dataset::{DatasetCache, StageProgress, StagedDataset};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::exit::Failure;
use crate::submit::freeze;
use crate::{clock, datadir, output};

/// Between two plain lines.
const EVERY: Duration = Duration::from_secs(5);

/// The data of a sweep, which stays here as long as this is held; `None` where it is not in S3.
pub(super) fn stage(frozen: &FrozenSweep, dir: &Path, quiet: bool) -> Result<Option<StagedDataset>, Failure> {
    let Some((url, version)) = frozen.s3_data() else { return Ok(None) };
    let cache = DatasetCache::new(&datadir::datasets(dir), None);
    let mut shown = Shown::new(&url, quiet);
    let staged = cache.stage((&url, version), &mut |progress| shown.update(progress));
    let staged = staged.map_err(|error| freeze::data_failure(&error))?;
    shown.done(&staged);
    Ok(Some(staged))
}

/// What is shown of it.
struct Shown<'a> {
    url: &'a S3Url,
    quiet: bool,
    began: Instant,
    last: Instant,
    came: bool,
    bar: Option<ProgressBar>,
}

impl<'a> Shown<'a> {
    fn new(url: &'a S3Url, quiet: bool) -> Self {
        let now = clock::now();
        Self { url, quiet, began: now, last: now, came: false, bar: None }
    }

    fn update(&mut self, StageProgress { bytes, of }: StageProgress) {
        let is_first = !std::mem::replace(&mut self.came, true);
        if self.quiet {
            return;
        }
        if is_first && output::terminal_width(std::io::stderr()).is_some() {
            let bar = ProgressBar::with_draw_target(Some(of), ProgressDrawTarget::stderr_with_hz(8));
            let style = ProgressStyle::with_template("{msg} {bar:20} {binary_bytes}/{binary_total_bytes}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar.set_message(self.url.to_string());
            self.bar = Some(bar);
        }
        match &self.bar {
            Some(bar) => bar.set_position(bytes),
            None if self.last.elapsed() >= EVERY => {
                self.last = clock::now();
                output::say(format_args!("{}: {} of {} are here", self.url, mib(bytes), mib(of)));
            }
            None => {}
        }
    }

    fn done(self, staged: &StagedDataset) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
        if self.came && !self.quiet {
            let took = output::number::duration(self.began.elapsed());
            output::say(format_args!("{}: {} fetched in {took}", self.url, mib(staged.bytes())));
        }
    }
}

fn mib(bytes: u64) -> String {
    match bytes {
        0..=1_048_575 => output::number::of(bytes, "byte"),
        _ => format!("{} MiB", bytes >> 20),
    }
}

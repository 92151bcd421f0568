//! `gridctl status -w` on a terminal: one screen that is drawn again each second.
//! Invariant: the terminal is as it was before, however the view ends.

use std::io::{self, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossterm::cursor::{Hide, MoveTo, Show};
use crossterm::queue;
use crossterm::style::Print;
use crossterm::terminal::{Clear, ClearType, EnterAlternateScreen, LeaveAlternateScreen};
use gridctl_core::record::TrialState;
use gridctl_core::view::{LeaderboardQuery, TrialsQuery};
use signal_hook::consts::{SIGINT, SIGTERM};

use super::frame::{self, View};
use crate::exit::{Exit, Failure, Outcome};
use crate::output::causes;
use crate::settings::Settings;
use crate::source::DataSource;

/// A screen stands for so many of these.
const EVERY: u32 = 10;
const TICK: Duration = Duration::from_millis(100);

/// The other screen of a terminal, for as long as this is there.
struct Screen;

impl Screen {
    fn open() -> io::Result<Self> {
        let mut out = io::stdout();
        queue!(out, EnterAlternateScreen, Hide)?;
        out.flush()?;
        Ok(Self)
    }

    fn draw(&self, text: &str) -> io::Result<()> {
        let mut out = io::stdout().lock();
        let mut end = 0;
        for (line, text) in (0..).zip(text.lines()) {
            queue!(out, MoveTo(0, line), Print(text), Clear(ClearType::UntilNewLine))?;
            end = line + 1;
        }
        queue!(out, MoveTo(0, end), Clear(ClearType::FromCursorDown))?;
        out.flush()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // Nobody is left to be told if the terminal is gone.
        let _ = queue!(io::stdout(), Show, LeaveAlternateScreen);
        let _ = io::stdout().flush();
    }
}

/// Columns and lines of the terminal.
fn size() -> (usize, usize) {
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok();
    let or = |number: u16, otherwise| if number > 0 { usize::from(number) } else { otherwise };
    size.map_or((80, 24), |size| (or(size.ws_col, 80), or(size.ws_row, 24)))
}

/// Shows a sweep until it is over or the person has seen enough.
pub(super) fn show(mut source: DataSource, sweep: &str, (settings, from): (&Settings, &Path)) -> Outcome {
    let ended = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&ended))?;
    }
    let screen = Screen::open()?;
    let mut view = None;
    loop {
        match look(&mut source, sweep, &mut view) {
            Err(failure) if failure.exit != Exit::Unreachable => return Err(failure),
            Ok(()) if source.is_live() => {}
            _ => {
                screen.draw(&format!("the master has gone; waiting {} s for it", super::RETURN.as_secs()))?;
                source = super::returned(settings, from, || ended.load(Ordering::Relaxed))?;
                if ended.load(Ordering::Relaxed) {
                    return Ok(Exit::Ok);
                }
                continue;
            }
        }
        let Some(view) = &view else { return Ok(Exit::Ok) };
        if view.status.phase.is_closed() {
            return Ok(Exit::Ok);
        }
        screen.draw(&frame::of(view, size()))?;
        for _ in 0..EVERY {
            if ended.load(Ordering::Relaxed) {
                return Ok(Exit::Ok);
            }
            std::thread::sleep(TICK);
        }
    }
}

/// Brings the view up to date; what has not changed is not asked for again.
fn look(source: &mut DataSource, sweep: &str, view: &mut Option<View>) -> Result<(), Failure> {
    let status = source.status(sweep)?;
    let mut new = view.take().unwrap_or_else(|| View {
        status: status.clone(),
        metric: String::new(),
        best: None,
        held: Vec::new(),
        causes: Vec::new(),
    });
    let best = new.best.as_ref().map(|best| best.trial);
    if status.best.as_ref().map(|best| best.trial) != best {
        let board = source.leaderboard(sweep, &LeaderboardQuery { k: 1, ..LeaderboardQuery::default() })?;
        new.metric = board.metric.unwrap_or_default();
        new.best = board.rows.into_iter().next().filter(|_| status.best.is_some());
    }
    let trials = |source: &mut DataSource, state| {
        let query =
            TrialsQuery { state: Some(state), page_size: super::LOOKED_AT, page_token: String::new() };
        source.trials(sweep, &query).map(|page| page.trials)
    };
    new.held = trials(source, TrialState::Leased)?;
    if status.failures != new.status.failures || (status.failures > 0 && new.causes.is_empty()) {
        new.causes = causes::of(&super::failed(source, sweep)?);
    }
    new.status = status;
    *view = Some(new);
    Ok(())
}

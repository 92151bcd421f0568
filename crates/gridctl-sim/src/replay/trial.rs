//! A trial on a machine: how far it is at any moment, and what of that is kept when the machine goes.
//! Invariant: what is kept was saved and published before; nothing is done twice that was.

/// How trials save what they have done. Times are in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Saving {
    /// A trial saves so often by itself.
    pub every_ms: u64,
    /// and stands still for so long when it does,
    pub save_ms: u64,
    /// which is published so much later.
    pub upload_ms: u64,
    /// What another machine needs to go on from it.
    pub restore_ms: u64,
}

/// One attempt.
#[derive(Debug, Clone, Copy)]
pub(super) struct Going {
    pub(super) trial: usize,
    /// When its machine was given to it.
    pub(super) since: u64,
    /// What was done before, and is found again.
    pub(super) kept: u64,
    /// What is left to do.
    pub(super) left: u64,
    pub(super) saving: Option<Saving>,
    /// How long it stood still to save once more.
    pub(super) paused: u64,
}

impl Going {
    /// It saves once more than it would by itself.
    pub(super) fn pause(&mut self) {
        self.paused += self.saving.map_or(0, |saving| saving.save_ms);
    }

    /// From when on it works.
    fn works_from(&self) -> u64 {
        self.since + self.paused + self.saving.filter(|_| self.kept > 0).map_or(0, |saving| saving.restore_ms)
    }

    /// When it ends by itself: it saves on the way, and not at its end.
    pub(super) fn ends_at(&self) -> u64 {
        let saves =
            self.saving.map_or(0, |saving| self.left.saturating_sub(1) / saving.every_ms * saving.save_ms);
        self.works_from() + self.left + saves
    }

    /// What it has done by then, of this attempt.
    fn done_by(&self, now: u64) -> u64 {
        let ms = now.saturating_sub(self.works_from());
        let done = match self.saving {
            None => ms,
            Some(saving) => {
                let round = saving.every_ms + saving.save_ms;
                ms / round * saving.every_ms + (ms % round).min(saving.every_ms)
            }
        };
        done.min(self.left)
    }

    /// What is kept if its machine goes now without a word.
    pub(super) fn kept_by(&self, now: u64) -> u64 {
        let Some(saving) = self.saving else { return 0 };
        let ms = now.saturating_sub(saving.upload_ms).saturating_sub(self.works_from());
        self.kept + (ms / (saving.every_ms + saving.save_ms) * saving.every_ms).min(self.left)
    }

    /// What is kept if it is told at `told` and its machine goes at `gone`, and when it has published that; `None` if that takes too
    /// long.
    pub(super) fn saved(&self, told: u64, gone: u64) -> Option<(u64, u64)> {
        let saving = self.saving?;
        let ready = told + saving.save_ms + saving.upload_ms;
        (ready <= gone).then(|| (self.kept + self.done_by(told), ready))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_what_was_saved_and_published() {
        let saving = Saving { every_ms: 300, save_ms: 5, upload_ms: 10, restore_ms: 20 };
        let fresh = Going { trial: 0, since: 1_000, kept: 0, left: 900, saving: Some(saving), paused: 0 };
        assert_eq!(fresh.ends_at(), 1_000 + 900 + 2 * 5, "it does not save at its end");
        assert_eq!([fresh.kept_by(1_314), fresh.kept_by(1_315), fresh.kept_by(1_619)], [0, 300, 300]);
        assert_eq!(fresh.saved(1_400, 1_414), None);
        assert_eq!(fresh.saved(1_400, 1_415), Some((395, 1_415)));
        assert_eq!(fresh.saved(1_302, 9_999), Some((300, 1_317)), "while it saves");
        let later = Going { kept: 395, left: 505, ..fresh };
        assert_eq!((later.ends_at(), later.saved(1_010, 9_999)), (1_530, Some((395, 1_025))));
        let scratch = Going { saving: None, ..fresh };
        assert_eq!(
            (scratch.ends_at(), scratch.kept_by(1_899), scratch.saved(1_400, 9_999)),
            (1_900, 0, None)
        );
    }
}

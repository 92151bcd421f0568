//! The values of one metric over an attempt, by the way they came and by the words before its name: the one that counts, the latest.
//! Invariant: what a name alone was given is never replaced by what words say was measured on something else.

use std::cmp::Ordering;
use std::sync::Arc;

use super::Seen;
use super::advice;
use super::beside::{Beside, Others};
use super::curve::{MAX_POINTS, Tally};
use super::near::shown;
use super::peers::Owners;
use super::qualifier::{Qualifier, TRAINING};
use super::track::{Place, Track};
use crate::record::{Channel, Doubt, MetricValue};
use crate::spec::{Goal, Report};

/// A value's words, and how it stands there with them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Words<'l> {
    pub(super) said: Qualifier,
    /// `val accuracy: 0.8`, to be shown.
    pub(super) text: &'l str,
    /// The line, from the words on and a little before them.
    pub(super) line: &'l str,
    /// Where words, name and value begin in it; the value's place is unknown in nested keys.
    pub(super) at: Option<[usize; 2]>,
}

/// What came by text with words before the name.
#[derive(Debug, Clone)]
pub(super) struct Lane {
    channel: Channel,
    said: Qualifier,
    track: Track,
    /// Of its last value, what [`Words`] has.
    pub(super) text: String,
    pub(super) line: String,
    pub(super) at: Option<[usize; 2]>,
}

/// One metric of one attempt.
#[derive(Debug, Clone)]
pub(super) struct Series {
    pub(super) name: Arc<str>,
    report: Report,
    tracks: [Track; Channel::ALL.len()],
    /// In the order in which they began; at most one of each kind of words and way.
    lanes: Vec<Lane>,
    /// Of what was given explicitly, and of text.
    owners: [Owners; 2],
    /// What stands beside its values.
    pub(super) others: Others,
}

/// Which values of a way count.
#[derive(Debug, Clone, Copy)]
struct Pick<'s> {
    track: &'s Track,
    /// That of the words; none of a name alone.
    lane: Option<&'s Lane>,
    rank: u8,
    /// Others of the same rank that ended with another number: none of them counts.
    against: Option<&'s Lane>,
}

impl Series {
    pub(super) fn new(name: Arc<str>, report: Report) -> Self {
        let (tracks, owners) = Default::default();
        Self { name, report, tracks, lanes: Vec::new(), owners, others: Others::default() }
    }

    /// Takes a value in. NaN is neither smallest nor largest beside any other value.
    pub(super) fn push(&mut self, channel: Channel, place: Place, step: Option<i64>, value: f64) {
        self.tracks[channel as usize].push(self.report, place, step, value);
    }

    /// Takes in whose a value is that came with its name alone, as far as words or keys beside it say.
    pub(super) fn push_owner(
        &mut self,
        channel: Channel,
        words: Option<&str>,
        value: f64,
        pair: impl FnOnce() -> String,
    ) {
        self.owners[usize::from(is_text(channel))].push(words, value, pair);
    }

    /// Takes in that there was a value which cannot be read.
    pub(super) fn push_unreadable(&mut self, channel: Channel, place: Place, text: &str) {
        self.tracks[channel as usize].push_unreadable(place, text);
    }

    /// Takes in a value with words before the name, or that it cannot be read.
    pub(super) fn push_with_words(
        &mut self,
        (channel, place): (Channel, Place),
        words: Words<'_>,
        value: Result<(Option<i64>, f64), &str>,
    ) {
        let report = self.report;
        let lane = self.lane(channel, words.said);
        match value {
            Ok((step, value)) => lane.track.push(report, place, step, value),
            Err(text) => lane.track.push_unreadable(place, text),
        }
        for (kept, text) in [(&mut lane.text, words.text), (&mut lane.line, words.line)] {
            kept.clear();
            kept.push_str(text);
        }
        lane.at = words.at;
    }

    fn lane(&mut self, channel: Channel, said: Qualifier) -> &mut Lane {
        let known = self.lanes.iter().position(|lane| lane.channel == channel && lane.said == said);
        let place = known.unwrap_or_else(|| {
            let (text, line) = (String::new(), String::new());
            self.lanes.push(Lane { channel, said, track: Track::default(), text, line, at: None });
            self.lanes.len() - 1
        });
        &mut self.lanes[place]
    }

    /// Takes in what was read of the file.
    pub(super) fn join(&mut self, mut file: Self) {
        let place = Channel::File as usize;
        self.tracks[place] = std::mem::take(&mut file.tracks[place]);
        self.lanes.append(&mut file.lanes);
        if file.owners[0].last().is_some() {
            self.owners[0] = std::mem::take(&mut file.owners[0]);
        }
    }

    /// The way whose values count: those given explicitly, in order of arrival, before text on
    /// stdout, and that before text on stderr, if it is not of training alone.
    pub(super) fn channel(&self) -> Option<Channel> {
        let [file, protocol] = [Channel::File, Channel::Protocol].map(|channel| self.pick(channel));
        match (file, protocol) {
            (Some(file), Some(protocol)) if file.track.end > protocol.track.end => {
                return Some(Channel::File);
            }
            (_, Some(_)) => return Some(Channel::Protocol),
            (Some(_), None) => return Some(Channel::File),
            (None, None) => {}
        }
        let [stdout, stderr] = [Channel::Stdout, Channel::Stderr].map(|channel| self.pick(channel));
        let prefers_stderr = |out: &Pick<'_>, err: &Pick<'_>| out.rank >= TRAINING && err.rank < TRAINING;
        match (stdout, stderr) {
            (Some(out), Some(err)) if prefers_stderr(&out, &err) => Some(Channel::Stderr),
            (Some(_), _) => Some(Channel::Stdout),
            (None, err) => err.map(|_| Channel::Stderr),
        }
    }

    /// Which values of a way count: those of the name alone, else those of the words that come
    /// nearest to it.
    fn pick(&self, channel: Channel) -> Option<Pick<'_>> {
        let alone = &self.tracks[channel as usize];
        if !alone.is_empty() {
            return Some(Pick { track: alone, lane: None, rank: Qualifier::NONE.rank(), against: None });
        }
        let of_channel = || self.lanes.iter().filter(move |lane| lane.channel == channel);
        let rank = of_channel().map(|lane| lane.said.rank()).min()?;
        let of_rank = || of_channel().filter(move |lane| lane.said.rank() == rank);
        let last = of_rank().max_by_key(|lane| lane.track.line)?;
        let end = |lane: &Lane| (lane.track.value.map(MetricValue), lane.track.unreadable.clone());
        let against = of_rank().find(|lane| lane.said != last.said && end(lane) != end(last));
        Some(Pick { track: &last.track, lane: Some(last), rank, against })
    }

    /// The rank of the words of the values of a way that count.
    pub(super) fn rank(&self, channel: Channel) -> u8 {
        self.pick(channel).map_or(u8::MAX, |pick| pick.rank)
    }

    /// What came by a way.
    pub(super) fn track(&self, channel: Channel) -> &Track {
        self.pick(channel).map_or(&self.tracks[channel as usize], |pick| pick.track)
    }

    /// Words with which the values ended differently, though none of them is nearer to the name alone
    /// than the other; those to advise first.
    pub(super) fn undecided(&self) -> Option<[&Lane; 2]> {
        let pick = self.pick(self.channel()?)?;
        let (last, other) = (pick.lane?, pick.against?);
        Some(if other.said.is_validation() { [other, last] } else { [last, other] })
    }

    /// All that came with words, other than this.
    pub(super) fn other_lanes(&self, lane: &Lane) -> impl Iterator<Item = &Lane> {
        let said = lane.said;
        self.lanes.iter().filter(move |other| other.said != said)
    }

    /// The ways whose values count: one; but of all explicit ones the smallest, the largest and the
    /// mean are made, the way first that ended first.
    fn counted(&self) -> impl Iterator<Item = Channel> {
        let last = self.channel();
        let earlier = match last {
            Some(Channel::File) => Some(Channel::Protocol),
            Some(Channel::Protocol) => Some(Channel::File),
            _ => None,
        };
        let is_made_of_all = self.report != Report::Last;
        earlier.filter(|_| is_made_of_all).into_iter().chain(last)
    }

    /// The value that counts; none, if one that counts could not be read.
    pub(super) fn value(&self) -> Option<f64> {
        if self.unreadable().is_some() || self.undecided().is_some() {
            return None;
        }
        let mut values = self.counted().filter_map(|channel| self.by(channel));
        match self.report {
            Report::Last => values.last(),
            Report::Min => values.reduce(f64::min),
            Report::Max => values.reduce(f64::max),
            Report::Mean => values.next().map(|_| self.tally().mean()),
        }
    }

    /// The spread of what the mean was made of; none of fewer than two values.
    pub(super) fn spread(&self) -> Option<f64> {
        self.value().and_then(|_| self.tally().spread())
    }

    fn tally(&self) -> Tally {
        let mut all = Tally::default();
        self.counted().for_each(|channel| all.join(self.track(channel).tally));
        all
    }

    /// The value that counts of what came by a way.
    pub(super) fn by(&self, channel: Channel) -> Option<f64> {
        self.track(channel).value
    }

    /// The last value, if it could not be read; of several that count, any.
    pub(super) fn unreadable(&self) -> Option<&str> {
        self.counted().filter_map(|channel| self.track(channel).unreadable.as_deref()).last()
    }

    /// Whether any value was seen of it.
    pub(super) fn has_value(&self) -> bool {
        let with_words = self.lanes.iter().map(|lane| &lane.track);
        self.tracks.iter().chain(with_words).any(|track| track.value.is_some())
    }

    /// What came by other ways, or with other words, and ended with another number.
    /// `goal` says which value is the better one, of an objective.
    pub(super) fn doubts(&self, goal: Option<Goal>) -> Vec<Doubt> {
        let (Some(taken), Some(value)) = (self.channel(), self.value()) else { return Vec::new() };
        let is_other = |channel: &Channel| {
            let of_training = self.pick(*channel).is_none_or(|pick| pick.rank >= TRAINING);
            !of_training && !self.counted().any(|counted| counted == *channel)
        };
        let others = Channel::ALL.into_iter().filter(is_other);
        let others = others.filter_map(|other| Some((other, self.by(other)?)));
        let differ = others.filter(|(_, by)| MetricValue(*by) != MetricValue(value));
        let by_way = differ.map(|(other, by)| Doubt::Differs {
            metric: self.name.to_string(),
            taken,
            value: MetricValue(value),
            other,
            other_value: MetricValue(by),
        });
        let words = self.doubtful_words(taken, value);
        let owner = if words.is_none() { self.doubtful_owner(taken, value) } else { None };
        let is_said = words.is_some() || owner.is_some();
        let beside = if is_said { None } else { self.doubtful_beside(taken, value, goal) };
        words
            .into_iter()
            .chain(owner)
            .chain(beside)
            .chain(self.doubtful_peers(taken, value))
            .chain(by_way)
            .collect()
    }

    /// Whether a better value or one of validation stands beside the last one, or behind it.
    fn doubtful_beside(&self, taken: Channel, value: f64, goal: Option<Goal>) -> Option<Doubt> {
        let pick = self.pick(taken).filter(|pick| pick.lane.is_none() && is_text(taken))?;
        let is_near = |beside: &&Beside| beside.channel == taken && beside.line >= pick.track.line;
        let differs = |beside: &&Beside| beside.number.is_some_and(|number| !number.repeats(value));
        let (metric, taken) = (self.name.to_string(), shown(&format!("{}: {value}", self.name)));
        let value = MetricValue(value);
        let other = self.others.held_out.as_ref().filter(is_near).filter(differs);
        if let Some(other) = other {
            return Some(Doubt::Qualified { metric, value, taken, other: Some(other.text.clone()) });
        }
        let best = pick.track.extremes.zip(goal).map(|([least, most], goal)| match goal {
            Goal::Minimize => least,
            Goal::Maximize => most,
        });
        let is_passed = best.is_some_and(|best| MetricValue(best) != value);
        let restored = self.others.restored.as_ref().filter(|_| is_passed);
        let best = self.others.best.as_ref().filter(differs).or(restored).filter(is_near);
        let best = best.filter(|_| self.report == Report::Last)?;
        Some(Doubt::Unread { metric, value, line: best.text.clone(), pattern: None })
    }

    /// Whether the value is one of several models', or the like.
    fn doubtful_owner(&self, taken: Channel, value: f64) -> Option<Doubt> {
        let owners = &self.owners[usize::from(is_text(taken))];
        let of_name = self.pick(taken).is_some_and(|pick| pick.lane.is_none());
        let is_other = |lane: &&Lane| {
            let differs = lane.track.value.map(MetricValue) != Some(MetricValue(value));
            lane.channel == taken && lane.said.rank() < TRAINING && differs
        };
        let lane = || Some((owners.last()?, self.lanes.iter().rev().find(is_other)?.text.clone()));
        let (last, other) = owners.doubtful(&self.name).or_else(lane).filter(|_| of_name)?;
        (self.report == Report::Last && MetricValue(last.value) == MetricValue(value)).then(|| {
            Doubt::Qualified {
                metric: self.name.to_string(),
                value: MetricValue(value),
                taken: last.text.clone(),
                other: Some(other),
            }
        })
    }

    /// Whether the value is the last one of several that stand side by side.
    fn doubtful_peers(&self, taken: Channel, value: f64) -> Option<Doubt> {
        let count = self.track(taken).peers.side_by_side().filter(|_| self.report == Report::Last)?;
        Some(Doubt::OneOfSeveral { metric: self.name.to_string(), value: MetricValue(value), count })
    }

    /// Whether words before the name leave a doubt of the value that was taken.
    fn doubtful_words(&self, taken: Channel, value: f64) -> Option<Doubt> {
        let pick = self.pick(taken)?;
        let differs = |lane: &&Lane| lane.track.value.map(MetricValue) != Some(MetricValue(value));
        let others = self.lanes.iter().filter(|lane| lane.channel == taken).filter(differs);
        let (metric, value) = (self.name.to_string(), MetricValue(value));
        let Some(lane) = pick.lane else {
            // The name alone is meant, unless its line or a later one says what is more like a result.
            let is_behind = |lane: &&Lane| match lane.track.line.cmp(&pick.track.line) {
                Ordering::Less => false,
                Ordering::Equal => lane.at.is_some(),
                Ordering::Greater => true,
            };
            let is_later = |lane: &&Lane| lane.said.rank() < TRAINING && is_behind(lane);
            let other = others.filter(is_later).max_by_key(|lane| lane.track.line)?;
            let pattern = advice::of_words(other, &self.name);
            return Some(Doubt::Unread { metric, value, line: other.text.clone(), pattern });
        };
        let other = others.max_by_key(|lane| lane.track.line).map(|lane| lane.text.clone());
        let is_doubtful = other.is_some() || pick.rank >= TRAINING;
        is_doubtful.then(|| Doubt::Qualified { metric, value, taken: lane.text.clone(), other })
    }

    /// How often it was seen, and where.
    pub(super) fn seen(&self) -> Vec<Seen> {
        let there = Channel::ALL.into_iter().filter(|channel| self.pick(*channel).is_some());
        there
            .map(|channel| {
                let track = self.track(channel);
                Seen {
                    name: self.name.to_string(),
                    channel,
                    count: track.seen,
                    line: track.line,
                    unreadable: track.unreadable.clone(),
                    taken: self.channel() == Some(channel),
                }
            })
            .collect()
    }

    /// The latest value with its step; without a step, how many values there were.
    pub(super) fn latest(&self) -> Option<(i64, f64)> {
        let track = self.track(self.channel()?);
        let seen = i64::try_from(track.seen).unwrap_or(i64::MAX);
        track.latest.map(|(step, value)| (step.unwrap_or(seen), value))
    }

    /// Whether any value that counts came with a step.
    pub(super) fn has_curve(&self) -> bool {
        self.channel().is_some_and(|channel| self.track(channel).curve.count > 0)
    }

    /// The curve, at most `limit` points of it.
    pub(super) fn into_curve(self, limit: usize) -> Vec<(i64, f64)> {
        let Some(channel) = self.channel() else { return Vec::new() };
        let mut curves = [Channel::File, Channel::Protocol].map(|channel| self.track(channel).curve.clone());
        if channel == Channel::File {
            curves.reverse();
        }
        let all = match channel {
            Channel::File | Channel::Protocol => {
                let [mut earlier, later] = curves;
                if later.count > 0 && earlier.count > 0 {
                    later.thinned(MAX_POINTS).into_iter().for_each(|(step, value)| earlier.push(step, value));
                    earlier
                } else if later.count > 0 {
                    later
                } else {
                    earlier
                }
            }
            text => self.track(text).curve.clone(),
        };
        if all.count == 0 { Vec::new() } else { all.thinned(limit) }
    }
}

/// Whether the way is one of the two streams.
fn is_text(channel: Channel) -> bool {
    matches!(channel, Channel::Stdout | Channel::Stderr)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_value_that_counts_is_the_last_the_smallest_or_the_largest_and_never_nan_beside_others() {
        let nan = f64::NAN;
        let cases: [(Report, &[f64], f64); 9] = [
            (Report::Mean, &[0.1, 0.7, 0.1, 0.2], (0.1 + 0.7 + 0.1 + 0.2) / 4.0),
            (Report::Mean, &[0.5], 0.5),
            (Report::Mean, &[0.5, nan, 0.5], nan),
            (Report::Last, &[0.5, 0.9, 0.7], 0.7),
            (Report::Min, &[0.5, 0.2, 0.7], 0.2),
            (Report::Max, &[0.5, 0.9, 0.7], 0.9),
            (Report::Min, &[nan, 0.5, nan], 0.5),
            (Report::Max, &[nan, nan], nan),
            (Report::Last, &[0.5, nan], nan),
        ];
        for (report, values, expected) in cases {
            let mut series = Series::new("x".into(), report);
            values.iter().for_each(|value| series.push(Channel::Stdout, Place::default(), None, *value));
            let value = series.value().unwrap();
            assert!(
                value == expected || value.is_nan() && expected.is_nan(),
                "{report:?} {values:?}: {value}"
            );
        }
    }

    #[test]
    fn a_mean_is_of_all_explicit_values_with_their_spread_and_of_none_where_one_cannot_be_read() {
        let at = |end| Place { line: 1, end, ..Place::default() };
        let mut series = Series::new("x".into(), Report::Mean);
        series.push(Channel::Stdout, at(0), None, 9.0);
        for (channel, end, value) in [(Channel::File, 10, 1.0), (Channel::Protocol, 20, 2.0)] {
            series.push(channel, at(end), None, value);
        }
        series.push(Channel::Protocol, at(20), None, 6.0);
        assert_eq!((series.value(), series.spread()), (Some(3.0), Some(7.0_f64.sqrt())));
        let others: Vec<Channel> = series
            .doubts(None)
            .into_iter()
            .map(|doubt| match doubt {
                Doubt::Differs { other, .. } => other,
                _ => unreachable!(),
            })
            .collect();
        assert_eq!(others, [Channel::Stdout], "what the mean is made of does not differ from it");
        series.push_unreadable(Channel::File, at(30), "1,2");
        series.push(Channel::Protocol, at(40), None, 6.0);
        assert_eq!((series.value(), series.unreadable()), (None, Some("1,2")));
    }
}

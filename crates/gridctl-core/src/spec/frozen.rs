//! A checked sweep as the journal and the wire carry it: read back with its invariants checked again.
//! Invariant: whoever wrote the bytes, a spec that comes out of here can be counted, indexed and started without a panic.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::relations::{cycle, first_repeated, mentioned, points};
use super::settings::bad_prefix;
use super::{Axis, AxisValues, MetricSpec, Repeats, SweepSpec, cloud, limits, metric, names};
use crate::expr::Expr;
use crate::launch;
use crate::points::Points;
use crate::protocol::{FrozenSweep, Sources};
use crate::value::Value;

/// A document that breaks a rule which every checked sweep keeps; it names the first such rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a checked sweep: {0}")]
pub struct BrokenSpec(String);

type Verdict = Result<(), String>;

fn ensure(holds: bool, problem: impl FnOnce() -> String) -> Verdict {
    if holds { Ok(()) } else { Err(problem()) }
}

impl Serialize for SweepSpec {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Self::serialize(self, serializer)
    }
}

impl<'de> Deserialize<'de> for SweepSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spec = Self::deserialize(deserializer)?;
        spec.validate().map_err(D::Error::custom)?;
        Ok(spec)
    }
}

impl SweepSpec {
    /// Checks the rules that every checked sweep keeps, as far as anything downstream relies on them.
    ///
    /// # Errors
    /// [`BrokenSpec`] names the first rule that is broken.
    pub fn validate(&self) -> Result<(), BrokenSpec> {
        self.named()
            .and_then(|()| self.varied())
            .and_then(|()| self.related())
            .and_then(|()| self.measured())
            .and_then(|()| self.started())
            .and_then(|()| Points::new(Arc::new(self.clone())).map(drop).map_err(|error| error.to_string()))
            .and_then(|()| launch::check_command(self).map_err(|error| error.to_string()))
            .map_err(BrokenSpec)
    }

    fn named(&self) -> Verdict {
        names::sweep(&self.name).map_err(|error| error.problem)?;
        ensure(self.labels.iter().all(|(name, text)| sound(name) && sound(text)), || {
            "a label is too long".to_owned()
        })?;
        ensure(self.run_cap != Some(0), || "run_cap is 0".to_owned())
    }

    fn related(&self) -> Verdict {
        let count = self.axes.len();
        let places: HashMap<&str, usize> =
            self.axes.iter().enumerate().map(|(place, axis)| (axis.name.as_str(), place)).collect();
        let mut zipped = HashSet::new();
        for group in &self.zip {
            let inside = group.iter().all(|place| *place < count && zipped.insert(*place));
            ensure(group.len() >= 2 && inside, || "a group of zip is broken".to_owned())?;
            let first = &self.axes[group[0]];
            let alike = |place: &usize| {
                let axis = &self.axes[*place];
                axis.values.count() == first.values.count() && axis.when == first.when
            };
            ensure(group.iter().all(alike), || "axes of unequal length walk together".to_owned())?;
            let lists = group.iter().filter_map(|place| match &self.axes[*place].values {
                AxisValues::List(values) => Some(values.as_slice()),
                _ => None,
            });
            let lists: Vec<&[Value]> = lists.collect();
            let twice = lists.len() == group.len() && first_repeated(&lists, lists[0].len()).is_some();
            ensure(!twice, || "values that walk together come twice".to_owned())?;
        }
        let known = |expr: &Expr| expr.names().iter().all(|name| places.contains_key(name.as_str()));
        let whens = self.axes.iter().filter_map(|axis| axis.when.as_ref());
        ensure(self.exclude.len() <= limits::EXPRESSIONS, || "too many expressions".to_owned())?;
        ensure(whens.chain(&self.exclude).all(known), || "an expression names no axis".to_owned())?;
        let edges: Vec<_> = self.axes.iter().map(|axis| mentioned(axis.when.as_ref(), &places)).collect();
        ensure(cycle(&edges).is_none(), || "when goes in a circle".to_owned())?;
        self.repeated(&zipped)?;
        let counts: Vec<u64> = self.axes.iter().map(|axis| axis.values.count()).collect();
        ensure(self.sequence.is_some() || points(&counts, &self.zip, self.repeats).is_some(), || {
            "the points cannot be counted".to_owned()
        })
    }

    fn repeated(&self, zipped: &HashSet<usize>) -> Verdict {
        match self.repeats {
            Repeats::Seeds(seeds) => {
                ensure((1..=limits::SEEDS).contains(&seeds), || format!("{seeds} repeats"))
            }
            Repeats::Axis(place) => {
                let Some(axis) = self.axes.get(place) else { return Err(format!("repeats is axis {place}")) };
                let mentions = |expr: &Expr| expr.names().contains(&axis.name);
                let whens = self.axes.iter().filter_map(|axis| axis.when.as_ref());
                let free = axis.when.is_none()
                    && !zipped.contains(&place)
                    && !whens.chain(&self.exclude).any(mentions);
                ensure(free, || "something depends on the axis of the repeats".to_owned())
            }
        }
    }

    fn measured(&self) -> Verdict {
        let objective = self.objective.as_ref().map(|objective| &objective.metric);
        let mut seen = HashSet::new();
        for MetricSpec { name, regex, .. } in objective.into_iter().chain(&self.metrics) {
            names::metric(name).map_err(|error| error.problem)?;
            ensure(seen.insert(name), || format!("the metric {name:?} is declared twice"))?;
            regex.as_deref().map_or(Ok(()), metric::compiles)?;
        }
        ensure(seen.len() <= limits::METRICS, || "too many metrics".to_owned())?;
        let target = self.objective.as_ref().and_then(|objective| objective.target);
        ensure(target.is_none_or(f64::is_finite), || "the target is no number".to_owned())
    }

    fn started(&self) -> Verdict {
        let bare = self.command.is_empty() && self.image.is_none();
        ensure(!bare && self.command.len() <= limits::COMMAND_WORDS, || {
            "nothing says what to start".to_owned()
        })?;
        ensure(self.command.first().is_none_or(|first| !first.trim().is_empty()), || {
            "an empty command".to_owned()
        })?;
        let entrypoint = self.entrypoint.as_deref().unwrap_or_default();
        let is_entered = self.image.is_some() || self.entrypoint.is_none();
        let first = entrypoint.first().is_none_or(|first| !first.trim().is_empty());
        ensure(is_entered && first && entrypoint.len() <= limits::COMMAND_WORDS, || {
            "a broken entrypoint".to_owned()
        })?;
        let texts = [
            &self.program,
            &self.workdir,
            &self.setup,
            &self.data,
            &self.output,
            &self.image,
            &self.preempt_signal,
        ];
        let texts = texts
            .into_iter()
            .flatten()
            .chain(&self.command)
            .chain(entrypoint)
            .chain(self.env.iter().filter_map(|(_, text)| text.as_ref()));
        ensure(texts.into_iter().all(|text| sound(text)), || "a text is too long or holds NUL".to_owned())?;
        if let Some(image) = &self.image {
            cloud::reference(image).map_err(|problem| format!("the image: {problem}"))?;
        }
        let variables = self.env.iter().map(|(name, _)| name).chain(&self.secrets);
        let mut seen: HashSet<&str> = self.axes.iter().filter_map(|axis| axis.variable.as_deref()).collect();
        for name in variables {
            names::variable(name).map_err(|error| error.problem)?;
            ensure(seen.insert(name), || format!("{name} has two origins"))?;
        }
        let r = self.resources;
        let fits = (1..=limits::CPUS * 1_000).contains(&r.cpu_milli)
            && r.mem_mib <= limits::MEM_MIB
            && r.gpus <= limits::GPUS;
        ensure(fits, || "resources are out of range".to_owned())?;
        let timeout = self.timeout_ms.unwrap_or(1);
        ensure((1..=limits::DURATION_MS).contains(&timeout), || "the timeout is out of range".to_owned())?;
        let codes = self.retry.on_exit_codes.iter().chain(&self.retry.fatal_exit_codes);
        let mut seen = HashSet::new();
        let good = codes.into_iter().all(|code| (1..=255).contains(code) && seen.insert(*code));
        ensure(good && self.retry.max_failures <= limits::MAX_FAILURES, || {
            "retry is out of range".to_owned()
        })?;
        ensure(self.unserved.iter().all(|(key, _)| cloud::UNSERVED.contains(&key.as_str())), || {
            "an unknown key".to_owned()
        })
    }
}

impl Serialize for FrozenSweep {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Self::serialize(self, serializer)
    }
}

impl<'de> Deserialize<'de> for FrozenSweep {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let frozen = Self::deserialize(deserializer)?;
        surroundings(&frozen).map_err(|problem| D::Error::custom(BrokenSpec(problem)))?;
        Ok(frozen)
    }
}

/// Checks what a frozen sweep says beside its spec: directories and variables that a process gets.
fn surroundings(frozen: &FrozenSweep) -> Verdict {
    let Sources { base, data, .. } = &frozen.sources;
    let dirs = frozen.sources.workdir().into_iter().chain(data.as_deref());
    for dir in dirs.chain([base.as_str()]) {
        ensure(dir.starts_with('/') && sound(dir), || format!("{dir:.80?} is no absolute directory"))?;
    }
    ensure(frozen.env.len() <= limits::VARIABLES, || format!("{} variables", frozen.env.len()))?;
    for (name, value) in &frozen.env {
        names::variable(name).map_err(|error| error.problem)?;
        ensure(sound(value), || format!("the value of {name} is too long or holds NUL"))?;
    }
    ensure(frozen.source.len() <= limits::FILE_BYTES, || "its source is too long".to_owned())?;
    if let Some(pin) = frozen.image_pin() {
        let is_id = pin.strip_prefix("sha256:").is_some_and(cloud::is_digest);
        let is_pinned = is_id || (pin.contains('@') && cloud::reference(pin).is_ok());
        ensure(is_pinned, || format!("{pin:.80?} pins no image"))?;
    }
    let marks = frozen.files.iter().flat_map(|(name, mark)| [name, mark]);
    let marks = marks.chain([&frozen.uuid]).chain(&frozen.file);
    ensure(marks.into_iter().all(|text| sound(text)), || "a file's name is too long".to_owned())
}

fn sound(text: &str) -> bool {
    text.len() <= limits::TEXT_BYTES && !text.contains('\0')
}

impl SweepSpec {
    fn varied(&self) -> Verdict {
        let (axes, prefix) = (&self.axes, self.env_prefix.as_str());
        ensure(!axes.is_empty() && axes.len() <= limits::AXES, || format!("{} axes", axes.len()))?;
        bad_prefix(prefix).map_or(Ok(()), |problem| Err(format!("the prefix: {problem}")))?;
        let (mut known, mut variables, mut listed) = (HashSet::new(), HashSet::new(), 0);
        for (place, Axis { name, path, variable, values, .. }) in axes.iter().enumerate() {
            names::parameter(name).map_err(|error| error.problem)?;
            if let Some(variable) = variable {
                let derived = names::variable_of(prefix, name) == *variable && !names::denied(variable);
                let free = !variable.starts_with(|c: char| c.is_ascii_digit()) && variables.insert(variable);
                ensure(derived && free, || format!("the variable {variable:?}"))?;
            }
            ensure(known.insert(name), || format!("the axis {name:?} is there twice"))?;
            ensure(path.len() <= limits::DEPTH && path.join(".") == *name, || {
                format!("the path of {name:?}")
            })?;
            listed += values.listed().map_or(0, <[Value]>::len);
            let zipped = self.zip.iter().any(|group| group.contains(&place));
            let averaged = self.repeats == Repeats::Axis(place);
            let alone = self.sequence.is_some() && !zipped && !averaged;
            let fits = alone || !matches!(values, AxisValues::Drawn(_));
            ensure(listed <= limits::LISTED_VALUES && fits && rule(values, zipped), || {
                format!("the values of {name:?} are broken")
            })?;
        }
        Ok(())
    }
}

/// Whether an axis has values, each in range, none twice unless it is zipped.
fn rule(values: &AxisValues, zipped: bool) -> bool {
    let count = values.count();
    let counted = (1..=limits::AXIS_VALUES).contains(&count);
    counted
        && match values {
            AxisValues::List(values) => {
                passable(values) && (zipped || first_repeated(&[values], values.len()).is_none())
            }
            AxisValues::IntRange { min, step, .. } => {
                let last = i128::from(*min) + i128::from(*step) * i128::from(count - 1);
                *step >= 1 && i64::try_from(last).is_ok()
            }
            AxisValues::FloatRange { min, step, .. } => {
                #[expect(clippy::cast_precision_loss, reason = "at most 2^53")]
                let last = min + step * (count - 1) as f64;
                *step > 0.0 && step.is_finite() && min.is_finite() && last.is_finite()
            }
            AxisValues::Spaced { min, max, log, .. } => {
                min <= max && (max - min).is_finite() && (!log || *min > 0.0)
            }
            AxisValues::Drawn(drawn) => drawn.problem().is_none() && values.listed().is_none_or(passable),
        }
}

fn passable(values: &[Value]) -> bool {
    values.iter().all(|value| {
        let mut canonical = String::new();
        value.canonical(&mut canonical);
        canonical.len() <= limits::VALUE_BYTES && !canonical.contains("\\u0000")
    })
}

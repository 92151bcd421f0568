//! What a sweep file says of machines, time and money: `workers`, `deadline`, `budget`.
//! Invariant: what the file does not say is absent, and the check of the file has seen all of it.

use super::{SweepSpec, units};
use crate::value::Value;

/// What a sweep file wishes for.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct MachineWishes {
    /// How many machines work (`workers.count`).
    pub count: Option<u32>,
    /// Whether they are spot machines (`workers.spot`).
    pub spot: Option<bool>,
    /// Their types, the first first (`workers.instance`).
    pub instances: Vec<String>,
    /// Machines on demand may stand in for spot ones (`workers.fallback`).
    pub on_demand_fallback: bool,
    /// Disk of each, in MiB (`workers.disk`).
    pub disk_mib: Option<u64>,
    /// Most that the sweep may cost, in dollars (`budget`).
    pub budget_usd: Option<f64>,
    /// Longest that it may take, in milliseconds (`deadline`).
    pub deadline_ms: Option<u64>,
}

impl SweepSpec {
    /// What the file wishes for.
    #[must_use]
    pub fn machine_wishes(&self) -> MachineWishes {
        let value = |key: &str| self.unserved.iter().find(|(known, _)| known == key).map(|(_, value)| value);
        let text = |value: &Value| value.to_text();
        let field = |name: &str| match value("workers") {
            Some(Value::Map(fields)) => {
                fields.iter().find(|(known, _)| known == name).map(|(_, value)| value)
            }
            _ => None,
        };
        let instances = match field("instance") {
            Some(Value::List(items)) => items.iter().filter_map(text).collect(),
            Some(one) => text(one).into_iter().collect(),
            None => Vec::new(),
        };
        MachineWishes {
            count: match field("count") {
                Some(Value::Int(count)) => u32::try_from(*count).ok(),
                _ => None,
            },
            spot: match field("spot") {
                Some(Value::Bool(spot)) => Some(*spot),
                _ => None,
            },
            instances,
            on_demand_fallback: field("fallback").and_then(text).as_deref() == Some("on-demand"),
            disk_mib: field("disk").and_then(text).and_then(|text| units::mebibytes(&text).ok()),
            budget_usd: value("budget").and_then(text).and_then(|text| units::dollars(&text).ok()),
            deadline_ms: value("deadline").and_then(text).and_then(|text| units::duration_ms(&text).ok()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{Context, parse};

    fn wishes(more: &str) -> MachineWishes {
        let file = format!("command: [x]\nparameters: {{a: {{values: [1]}}}}\n{more}");
        parse(file.as_bytes(), &Context { file_stem: "demo", count: None }).unwrap().spec.machine_wishes()
    }

    #[test]
    fn what_the_file_says_is_read_and_what_it_leaves_out_is_absent() {
        assert_eq!(wishes(""), MachineWishes::default());
        let all = "workers: {count: 17, spot: true, instance: [c5.xlarge, c6i.xlarge], fallback: on-demand, \
                   disk: 100G}\nbudget: 30 USD\ndeadline: 6h\n";
        let expected = MachineWishes {
            count: Some(17),
            spot: Some(true),
            instances: vec!["c5.xlarge".to_owned(), "c6i.xlarge".to_owned()],
            on_demand_fallback: true,
            disk_mib: Some(102_400),
            budget_usd: Some(30.0),
            deadline_ms: Some(21_600_000),
        };
        assert_eq!(wishes(all), expected);
        assert_eq!(wishes("workers: {instance: c5.large, fallback: none}\n").instances, ["c5.large"]);
    }
}

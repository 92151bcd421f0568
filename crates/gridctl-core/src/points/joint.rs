//! Axes that are zipped and list a value twice: only together do their values tell a place.
//! Invariant: no two places have the same values on all axes of the digit.

use std::collections::HashMap;
use std::sync::OnceLock;

use super::axis::{AxisTable, canonical};
use crate::spec::AxisValues;
use crate::value::Params;

/// The places of a digit by the values of all its axes; built by the first lookup.
#[derive(Debug, Clone, Default)]
pub(super) struct Joint(OnceLock<HashMap<String, u64>>);

impl Joint {
    /// What finds the places of a digit of these axes, if one of them has a value twice.
    pub(super) fn needed(axes: &[&AxisTable]) -> Option<Self> {
        let twice = |axis: &&AxisTable| match axis.values() {
            AxisValues::List(values) => {
                let mut seen: Vec<String> = values.iter().map(canonical).collect();
                seen.sort_unstable();
                seen.windows(2).any(|pair| pair[0] == pair[1])
            }
            _ => false,
        };
        (axes.len() > 1 && axes.iter().any(twice)).then(Self::default)
    }

    /// The place where the axes have the values of `params`; 0 where `params` has none of them.
    pub(super) fn place_of(&self, axes: &[&AxisTable], params: &Params) -> Option<u64> {
        let mut key = String::new();
        let mut there = 0;
        for axis in axes {
            if let Some(value) = params.get(&axis.name) {
                value.canonical(&mut key);
                there += 1;
            }
            key.push('\n');
        }
        if there == 0 {
            return Some(0);
        }
        let len = axes.first().map_or(0, |axis| axis.len);
        let places = self.0.get_or_init(|| (0..len).map(|place| (key_at(axes, place), place)).collect());
        places.get(&key).copied()
    }
}

fn key_at(axes: &[&AxisTable], place: u64) -> String {
    let mut key = String::new();
    for axis in axes {
        axis.value(place).canonical(&mut key);
        key.push('\n');
    }
    key
}

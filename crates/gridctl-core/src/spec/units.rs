//! Durations, sizes and fractions of processors, as people write them.
//! Invariant: a number without a unit is refused, for nobody agrees on which one is meant; all sums are checked.

use super::limits;

/// Why a text is no quantity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub struct UnitError {
    pub(super) problem: String,
    pub(super) help: String,
}

impl UnitError {
    /// What to write.
    #[must_use]
    pub fn help(&self) -> &str {
        &self.help
    }
}

fn refuse<T>(problem: impl Into<String>, help: impl Into<String>) -> Result<T, UnitError> {
    Err(UnitError { problem: problem.into(), help: help.into() })
}

const DURATION_HELP: &str = "durations look like `90s`, `2h`, `1h30m`; units: ms, s, m, h, d";

/// Milliseconds in `90s`, `2h`, `1h30m`, `1.5h`, `500ms`, `1d`.
pub(super) fn duration_ms(text: &str) -> Result<u64, UnitError> {
    let mut rest = text.trim();
    if !rest.is_empty() && rest.parse::<f64>().is_ok_and(f64::is_finite) {
        return refuse(
            "it has no unit",
            format!("write `{rest}s` for seconds, `{rest}m` for minutes, `{rest}h` for hours"),
        );
    }
    if rest.contains(':') {
        return refuse("clock times are not read", DURATION_HELP);
    }
    if rest.is_empty() || rest.starts_with('-') {
        return refuse("it is no duration", DURATION_HELP);
    }
    let mut total = 0.0_f64;
    while !rest.is_empty() {
        let (number, after) = split_number(rest);
        let unit_end = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let (unit, next) = after.split_at(unit_end);
        let scale = match unit.to_ascii_lowercase().as_str() {
            "ms" => 1.0,
            "s" | "sec" | "secs" | "second" | "seconds" => 1e3,
            "m" | "min" | "mins" | "minute" | "minutes" => 60e3,
            "h" | "hr" | "hour" | "hours" => 3_600e3,
            "d" | "day" | "days" => 86_400e3,
            _ => return refuse("it is no duration", DURATION_HELP),
        };
        let Ok(value) = number.parse::<f64>() else { return refuse("it is no duration", DURATION_HELP) };
        total += value * scale;
        rest = next.trim_start();
    }
    #[expect(clippy::cast_precision_loss, reason = "the limit is far below 2^53")]
    let most = limits::DURATION_MS as f64;
    if total > most {
        return refuse("it is longer than a year", "leave it out if there is no limit");
    }
    if total < 1.0 {
        return refuse("it is no time at all", "leave it out if there is no limit");
    }
    Ok(to_u64(total.round()))
}

fn split_number(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len()))
}

/// `value` as a whole number; the caller has bounded it.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "bounded and not negative by every caller"
)]
fn to_u64(value: f64) -> u64 {
    value as u64
}

const SIZE_HELP: &str = "sizes look like `512M` or `2G` (1G = 1024M, as docker has it)";

/// MiB in `512M`, `2G`, `2GiB`, `1.5G`; every unit is a power of 1024, as in docker; rounded up to whole MiB.
///
/// # Errors
/// [`UnitError`]: it is no size, or too large a one.
pub fn mebibytes(text: &str) -> Result<u64, UnitError> {
    let text = text.trim();
    if text.starts_with('-') {
        return refuse("it is below zero", SIZE_HELP);
    }
    let (number, unit) = split_number(text);
    let Ok(value) = number.parse::<f64>() else { return refuse("it is no size", SIZE_HELP) };
    let scale = match unit.trim().to_ascii_lowercase().as_str() {
        "k" | "kb" | "ki" | "kib" => 1.0 / 1_024.0,
        "m" | "mb" | "mi" | "mib" => 1.0,
        "g" | "gb" | "gi" | "gib" => 1_024.0,
        "t" | "tb" | "ti" | "tib" => 1_048_576.0,
        "" => return refuse("it has no unit", format!("write `{number}M` or `{number}G`")),
        _ => return refuse("it is no size", SIZE_HELP),
    };
    let mib = (value * scale).ceil();
    #[expect(clippy::cast_precision_loss, reason = "the limit is far below 2^53")]
    let most = limits::MEM_MIB as f64;
    if mib > most {
        return refuse(format!("no machine has that much: at most {}T", limits::MEM_MIB >> 20), SIZE_HELP);
    }
    if mib < 1.0 {
        return refuse("it is nothing", "leave `mem` out if there is no limit");
    }
    Ok(to_u64(mib))
}

/// Thousandths of a processor.
pub(super) fn cpu_milli(cpus: f64) -> Result<u32, UnitError> {
    let help = "processors are a number such as `1`, `0.5` or `4`";
    if cpus.is_nan() || cpus < 0.001 {
        return refuse("a slot needs at least 0.001 of a processor", help);
    }
    if cpus > f64::from(limits::CPUS) {
        return refuse(format!("no machine has that many: at most {}", limits::CPUS), help);
    }
    u32::try_from(to_u64((cpus * 1_000.0).round())).or_else(|_| refuse("it is out of range", help))
}

/// Dollars in `30 USD`, `$30`.
pub(super) fn dollars(text: &str) -> Result<f64, UnitError> {
    let help = "budgets look like `30 USD`";
    let text = text.trim();
    let number = match (text.strip_prefix('$'), text.strip_suffix("USD")) {
        (Some(rest), None) | (None, Some(rest)) => rest.trim(),
        _ => return refuse("it names no currency that is known (USD)", help),
    };
    match number.parse::<f64>() {
        Ok(value) if value > 0.0 && value <= limits::BUDGET_USD => Ok(value),
        Ok(_) => refuse(format!("it must be above 0 and at most {} USD", limits::BUDGET_USD), help),
        Err(_) => refuse("it is no amount", help),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_a_unit_and_add_up() {
        let good = [
            ("90s", 90_000),
            ("2h", 7_200_000),
            ("1h30m", 5_400_000),
            ("1h 30m", 5_400_000),
            ("1.5h", 5_400_000),
            ("500ms", 500),
            ("1d", 86_400_000),
        ];
        for (text, ms) in good {
            assert_eq!(duration_ms(text), Ok(ms), "{text}");
        }
        for text in
            ["", "90", "1:30", "-5s", "0s", "999y", "NaN", "1h30", "h", "5 parsecs", "400d", "1e3s", "1..5s"]
        {
            assert!(duration_ms(text).is_err(), "{text}");
        }
    }

    #[test]
    fn s32_sizes_are_powers_of_1024_and_processors_have_bounds() {
        for (text, mib) in
            [("2G", 2_048), ("512M", 512), ("2GiB", 2_048), ("2gb", 2_048), ("1.5G", 1_536), ("1K", 1)]
        {
            assert_eq!(mebibytes(text), Ok(mib), "{text}");
        }
        for text in ["2", "-1G", "1000000000G", "G", "0M", "2X", "NaNG"] {
            assert!(mebibytes(text).is_err(), "{text}");
        }
        assert_eq!(cpu_milli(0.5), Ok(500));
        for cpus in [0.0, -1.0, 0.0001, 1e9, f64::NAN, f64::INFINITY] {
            assert!(cpu_milli(cpus).is_err(), "{cpus}");
        }
        assert_eq!(dollars("30 USD"), Ok(30.0));
        assert!(dollars("30").is_err() && dollars("0 USD").is_err() && dollars("30 EUR").is_err());
    }
}

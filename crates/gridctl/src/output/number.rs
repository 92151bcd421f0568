//! Numbers, durations and times for people. Data keeps every digit; this is for tables and progress.
//! Invariant: nothing here can fail, whatever the number.

use std::time::Duration;

/// A metric in a table: six significant digits, shortest form.
pub(crate) fn metric(value: f64) -> String {
    if !value.is_finite() {
        return value.to_string();
    }
    let rounded: f64 = format!("{value:.5e}").parse().unwrap_or(value);
    plain(rounded)
}

/// A number with every digit, in the shortest form that reads back.
pub(crate) fn plain(value: f64) -> String {
    let size = value.abs();
    if value == 0.0 || (1e-5..1e16).contains(&size) || !value.is_finite() {
        return value.to_string();
    }
    format!("{value:e}")
}

/// A count with thin grouping: `1,234,567`.
pub(crate) fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut out = String::with_capacity(digits.len() * 4 / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `1 trial`, `1,234 trials`.
pub(crate) fn of(value: u64, what: &str) -> String {
    format!("{} {what}{}", count(value), if value == 1 { "" } else { "s" })
}

/// `812 bytes`, `34 kB`, `120 MB`.
pub(crate) fn bytes(bytes: u64) -> String {
    match bytes {
        0..10_000 => of(bytes, "byte"),
        10_000..10_000_000 => format!("{} kB", count(bytes / 1_000)),
        _ => format!("{} MB", count(bytes / 1_000_000)),
    }
}

/// `340ms`, `2.5s`, `12s`, `3m04s`, `2h05m`, `4d07h`.
pub(crate) fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0 => format!("{}ms", duration.as_millis()),
        1..10 => {
            format!("{}.{}s", seconds, duration.subsec_millis() / 100)
        }
        10..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{}h{:02}m", seconds / 3_600, seconds / 60 % 60),
        _ => format!("{}d{:02}h", seconds / 86_400, seconds / 3_600 % 24),
    }
}

/// A forecast in seconds, as a duration.
pub(crate) fn seconds(value: f64) -> String {
    if !value.is_finite() || value < 0.0 {
        return "?".to_owned();
    }
    duration(Duration::from_secs_f64(value.min(1e9)))
}

/// A wall time in this machine's time zone, for people.
pub(crate) fn unix_ms(ms: u64) -> String {
    let known = i64::try_from(ms).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    known.map_or_else(
        || "?".to_owned(),
        |time| time.to_zoned_datetime(jiff::tz::TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_true() {
        for (value, text) in [
            (0.745_612_345, "0.745612"),
            (1.0, "1"),
            (1e-7, "1e-7"),
            (123_456_789.0, "123457000"),
            (f64::NAN, "NaN"),
            (-0.25, "-0.25"),
            (2e300, "2e300"),
        ] {
            assert_eq!(metric(value), text);
        }
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(count(999), "999");
        assert_eq!((of(1, "trial"), of(2, "trial")), ("1 trial".to_owned(), "2 trials".to_owned()));
    }

    #[test]
    fn c14_no_time_is_too_early_or_too_late_to_be_shown() {
        assert!(unix_ms(0).starts_with("19"));
        assert_eq!(unix_ms(u64::MAX), "?");
        assert!(unix_ms(4_102_444_800_000).starts_with("2"));
        assert_eq!(seconds(f64::NAN), "?");
        assert_eq!(duration(Duration::from_secs(184)), "3m04s");
        assert_eq!(duration(Duration::from_millis(2_340)), "2.3s");
        assert_eq!(duration(Duration::from_secs(90_000)), "1d01h");
    }
}

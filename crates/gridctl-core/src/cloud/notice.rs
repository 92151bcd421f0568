//! What EC2 says to a machine that it takes away.
//! Invariant: a notice whose time cannot be read is a notice all the same.

use serde::Deserialize;

/// When a machine is taken, in milliseconds since 1970, as `spot/instance-action` says it:
/// `{"action":"terminate","time":"2026-11-28T01:02:03Z"}`; `None` if that cannot be read.
#[must_use]
pub fn taken_at_ms(text: &str) -> Option<u64> {
    #[derive(Deserialize)]
    struct Action {
        time: String,
    }
    let Action { time } = serde_json::from_str(text).ok()?;
    let (day, clock) = time.trim().strip_suffix('Z')?.split_once('T')?;
    let [year, month, day] = numbers(day, '-')?;
    let [hour, minute, second] = numbers(clock.split('.').next()?, ':')?;
    let is_time = (1970..=9999).contains(&year)
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && hour < 24
        && minute < 60
        && second <= 60;
    let seconds = days(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second;
    is_time.then_some(seconds.saturating_mul(1_000))
}

fn numbers(text: &str, between: char) -> Option<[u64; 3]> {
    let parts: Option<Vec<u64>> = text.split(between).map(|part| part.parse().ok()).collect();
    parts?.try_into().ok()
}

/// Days since 1970 in the Gregorian calendar, in which a year begins in March here: then the leap day is its last.
fn days(year: u64, month: u64, day: u64) -> u64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year.saturating_sub(1), month + 9) };
    let of_year = (153 * month + 2) / 5 + day.saturating_sub(1);
    (year * 365 + year / 4 - year / 100 + year / 400 + of_year).saturating_sub(719_468)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_notice_is_read_or_left_out() {
        let notice = |time: &str| format!(r#"{{"action":"terminate","time":"{time}"}}"#);
        let cases = [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2000-02-29T12:00:00Z", Some(951_825_600_000)),
            ("2026-11-28T01:02:03Z", Some(1_795_827_723_000)),
            ("2026-11-28T01:02:03.500Z", Some(1_795_827_723_000)),
            ("2026-11-28", None),
            ("2026-13-28T01:02:03Z", None),
            ("soon", None),
            ("-1-1-1T1:1:1Z", None),
            ("99999999999999999999-01-01T00:00:00Z", None),
        ];
        for (time, expected) in cases {
            assert_eq!(taken_at_ms(&notice(time)), expected, "{time}");
        }
        for text in ["", "{}", "[1]", r#"{"time":7}"#] {
            assert_eq!(taken_at_ms(text), None, "{text}");
        }
    }
}

//! What one message may hold. Invariant: every repeated field and every text of the wire has a
//! limit here.

/// Bytes of one message that a master takes of a worker, or of a person.
pub const MAX_REQUEST_BYTES: usize = 8 << 20;
/// Bytes of one message that a worker or the command line takes of a master.
pub const MAX_RESPONSE_BYTES: usize = 16 << 20;
/// Longer things are split so that one message has about so many bytes.
pub const CHUNK_BYTES: usize = 512 << 10;
pub use gridctl_core::protocol::MAX_HELD;
/// Reports in one message.
pub const MAX_REPORTS: usize = 16_384;
/// Reports that belong to one `Hello`, over all its messages.
pub const MAX_HELLO_REPORTS: usize = 65_536;
/// Bytes of reports that belong to one `Hello`.
pub const MAX_HELLO_BYTES: usize = 256 << 20;
/// Values of progress in one message.
pub const MAX_PROGRESS: usize = 65_536;
/// Metrics of one report.
pub const MAX_METRICS: usize = 10_000;
/// Points of one report's curves.
pub const MAX_CURVE: usize = 100_000;
/// Near misses of one report.
pub const MAX_NEAR_MISSES: usize = 100;
/// The most doubts about what an attempt printed.
pub const MAX_DOUBTS: usize = 32;
/// Bytes of one report's log: 64 KiB of output, each byte of which may have become three.
pub const MAX_LOG_BYTES: usize = 3 * (64 << 10) + 1024;
/// Bytes of a name, a host, a line: anything that a person reads as one item.
pub const MAX_TEXT_BYTES: usize = 8 << 10;
/// Bytes of one trial's parameters as JSON.
pub const MAX_PARAMS_BYTES: usize = 4 << 20;
/// Bytes of a frozen sweep as JSON.
pub const MAX_FROZEN_BYTES: usize = 8 << 20;
/// Versions of sweeps in one message.
pub const MAX_SWEEPS: usize = 10_000;
/// Grants in one message.
pub const MAX_GRANTS: usize = 65_536;
/// Leases in one list of one message.
pub const MAX_LEASES: usize = 65_536;
/// Bytes of an expression.
pub const MAX_FILTER_BYTES: usize = 4 << 10;
/// Trials in one request for another try.
pub const MAX_RETRIES: usize = 10_000;
/// Trials in one page.
pub const MAX_PAGE: u32 = 10_000;
/// Rows of a leaderboard in one answer.
pub const MAX_ROWS: u32 = 100_000;
/// Milliseconds that a drain may leave to running trials: a day.
pub const MAX_GRACE_MS: u64 = 86_400_000;

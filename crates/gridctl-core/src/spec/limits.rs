//! Every limit of the sweep file, in one place.
//! Invariant: whatever is within these limits can be held, counted and started; what is not is refused with the limit's value.

/// Largest file, in bytes.
pub const FILE_BYTES: usize = 1 << 20;
/// Deepest nesting of lists and maps.
pub const DEPTH: usize = 32;
/// Most YAML values, counted after aliases have been replaced by what they stand for.
pub const VALUES: usize = 250_000;
/// Most anchors, and most aliases.
pub const ANCHORS: usize = 1_000;
/// Most text that anchors and aliases together may hold, in bytes.
pub const ALIAS_BYTES: usize = 4 << 20;
/// Most mistakes shown at once.
pub const ERRORS: usize = 20;
/// Longest name of a sweep: it becomes a directory.
pub const NAME_BYTES: usize = 63;
/// Longest name of a parameter, a metric or a variable.
pub const IDENT_BYTES: usize = 256;
/// Most axes.
pub const AXES: usize = 1_000;
/// Most values that the file lists, over all axes.
pub const LISTED_VALUES: usize = 100_000;
/// Most values of one axis that is given by a rule: a float counts no further exactly.
pub const AXIS_VALUES: u64 = 1 << 53;
/// Most points, repeats included (exclusive).
pub const POINTS: u64 = 1 << 63;
/// Largest value of one parameter, as JSON: it becomes an environment variable.
pub const VALUE_BYTES: usize = 64 << 10;
/// Largest sum of one point's values, as JSON: they become one process's environment.
pub const POINT_BYTES: usize = 256 << 10;
/// Most expressions in `exclude`.
pub const EXPRESSIONS: usize = 1_000;
/// Most metrics.
pub const METRICS: usize = 1_000;
/// Most memory that a compiled `regex` may take, in bytes.
pub const REGEX_BYTES: usize = 1 << 20;
/// Most words of a command.
pub const COMMAND_WORDS: usize = 1_000;
/// Longest word of a command, value of a variable or other text, in bytes.
pub const TEXT_BYTES: usize = 64 << 10;
/// Most variables in `env`, and most in `secrets`.
pub const VARIABLES: usize = 1_000;
/// Longest `env_prefix`.
pub const PREFIX_BYTES: usize = 64;
/// Most seeds in `repeats`.
pub const SEEDS: u32 = 10_000;
/// Longest duration, in milliseconds: a year.
pub const DURATION_MS: u64 = 365 * 24 * 3_600_000;
/// Most processors of one slot.
pub const CPUS: u32 = 4_096;
/// Most memory of one slot, in MiB: 64 TiB.
pub const MEM_MIB: u64 = 64 << 20;
/// Most GPUs of one slot.
pub const GPUS: u32 = 1_024;
/// Most retries.
pub const MAX_FAILURES: u32 = 1_000;
/// Most workers.
pub const WORKERS: u32 = 10_000;
/// Most instance types, addresses and the like in one list.
pub const LIST: usize = 100;
/// Largest budget, in dollars.
pub const BUDGET_USD: f64 = 1e6;

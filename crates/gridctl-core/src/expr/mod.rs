//! The small language of `exclude`, `when` and `--filter`.

use serde::{Deserialize, Serialize};

/// A parsed expression; serialised as its source text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Expr(String);

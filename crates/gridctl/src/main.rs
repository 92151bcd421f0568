//! The gridctl command.
fn main() {}

//! gridctl's wire: the generated code of `proto/gridctl/v1` and its conversions to and from the
//! plain types of `gridctl-core`.
//! Invariant: whatever bytes arrive, a conversion ends in a checked value or in a [`FieldError`];
//! nothing behind it checks again.

pub mod limits;
mod report;
pub mod split;
mod worker;

pub use field::FieldError;

mod field;

/// The generated code.
pub mod v1 {
    #![expect(missing_docs, reason = "the generator documents messages, and not every helper around them")]
    #![expect(clippy::allow_attributes_without_reason, reason = "the generator's own attributes")]
    #![expect(clippy::too_many_lines, reason = "the generator writes one function for all calls")]
    tonic::include_proto!("gridctl.v1");
}

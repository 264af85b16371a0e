//! Staging.
pub(super) mod capture;

//! Topic V: what always holds, under random load and faults.

pub(crate) mod keys;

//! All that the Postgres adapter writes into SQL, from any bytes: it is read as it was meant.
#![no_main]
// Only a part of each file is called from here.
#![expect(dead_code)]

#[path = "../../src/postgres/identifier.rs"]
mod identifier;
#[path = "../../src/postgres/literal.rs"]
mod literal;
#[path = "../../tests/support/postgres_quoting.rs"]
mod quoting;

libfuzzer_sys::fuzz_target!(|input: &[u8]| quoting::check(input));

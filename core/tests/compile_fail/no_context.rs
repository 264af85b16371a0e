//! Something that is no context.
use exactly_once_core::restate::ExactlyOnce;

fn takes<'ctx, C: ExactlyOnce<'ctx>>(_ctx: &C) {}

fn main() {
    takes(&5);
}

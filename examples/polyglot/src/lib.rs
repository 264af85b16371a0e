//! Handlers in TypeScript and Python on the real Restate server, whose effects on Postgres and SQLite
//! go through `exactly-once serve`, and a driver that kills all of it and then audits both databases.
//!
//! The handlers are in `handlers/`, and `effects.toml` is all that `serve` needs: no line of Rust is
//! written for them. The same load can be run on handlers that follow the usual recipe, a database
//! client in a step (`--recipe naive`); there the audit finds doubled rows.
//!
//! # Layout
//! - [`model`]: what is asked and answered.
//! - [`world`]: the servers, `serve` and both tills; how each is killed and comes back.
//! - [`driver`]: load, kills, report; [`killer`] and [`load`] are decided by a seed.
//! - [`audit`]: what must hold in the databases; [`evidence`]: what is there, read by plain SQL.
//! - [`measure`]: the share of `serve` in the time of a call, beside an empty handler; [`processor`]: the
//!   processor time of it.

pub mod audit;
pub mod driver;
pub mod evidence;
pub mod killer;
pub mod load;
pub mod measure;
pub mod model;
pub mod processor;
pub mod report;
pub mod world;

#[cfg(test)]
mod tests {
    const GUIDE: &str = include_str!("../../../adapters/src/guide/serve.md");

    /// Lines without their indentation.
    fn lines(text: &str) -> Vec<&str> {
        let lines = text.lines().map(str::trim);
        lines.filter(|line| !line.is_empty()).collect()
    }

    /// The guide shows what the demo runs: each paragraph of its code stands in the handlers.
    #[test]
    fn the_guides_calls_are_those_of_the_handlers() {
        for (language, handlers) in [
            ("ts", include_str!("../handlers/till.ts")),
            ("python", include_str!("../handlers/till.py")),
        ] {
            let fence = format!("```{language}\n");
            let (_, code) = GUIDE.split_once(&fence).unwrap_or_default();
            let (code, _) = code.split_once("```").unwrap_or_default();
            let (run, paragraphs) = (lines(handlers), code.split("\n\n").map(lines));
            let mut shown = 0;
            for paragraph in paragraphs {
                let mut windows = run.windows(paragraph.len());
                assert!(
                    windows.any(|window| window == paragraph),
                    "{language}: {paragraph:?}"
                );
                shown += paragraph.len();
            }
            assert!(shown > 8, "{language}: {shown} lines");
        }
    }
}

//! JUnit XML, as CI systems read it.

use super::{CaseReport, Report, Status};

/// The report as one test suite.
#[must_use]
pub fn to_xml(report: &Report) -> String {
    let counts = format!(
        "tests=\"{}\" failures=\"{}\" errors=\"0\" skipped=\"{}\" time=\"{:.3}\"",
        report.cases.len(),
        report.count(Status::Failed),
        report.count(Status::Ignored),
        report.duration_ms / 1_000.0,
    );
    let adapter = escape(&report.adapter);
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    xml.push_str(&format!(
        "<testsuites name=\"exactly-once conformance\" {counts}>\n"
    ));
    xml.push_str(&format!("  <testsuite name=\"{adapter}\" {counts}>\n"));
    xml.push_str(&format!(
        "    <properties><property name=\"seed\" value=\"{}\"/></properties>\n",
        escape(&report.seed),
    ));
    for case in &report.cases {
        xml.push_str(&test_case(&adapter, case));
    }
    xml.push_str("  </testsuite>\n</testsuites>\n");
    xml
}

fn test_case(adapter: &str, case: &CaseReport) -> String {
    let head = format!(
        "    <testcase classname=\"{adapter}.{}.{}\" name=\"{}\" time=\"{:.3}\"",
        escape(&case.variant),
        escape(&case.topic().replace("::", ".")),
        escape(&case.name),
        case.duration_ms / 1_000.0,
    );
    let body = match (case.status, &case.failure) {
        (Status::Passed, _) => return format!("{head}/>\n"),
        (Status::Ignored, _) => {
            let reason = escape(case.ignore_reason.as_deref().unwrap_or_default());
            format!("<skipped message=\"{reason}\"/>")
        }
        (Status::Failed, failure) => {
            let message = failure.as_ref().map_or("", |failure| failure.seen.as_str());
            let text = escape_text(case.failure_text());
            format!("<failure message=\"{}\">{text}</failure>", escape(message))
        }
    };
    format!("{head}>{body}</testcase>\n")
}

/// An attribute's value: a line break in it must survive the reader's normalisation.
fn escape(text: &str) -> String {
    escape_text(text)
        .replace('\n', "&#10;")
        .replace('\r', "&#13;")
        .replace('\t', "&#9;")
}

fn escape_text(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\t' | '\n' | '\r' => escaped.push(c),
            // XML 1.0 can't hold these, not even escaped; a NUL in a key is a case of ours.
            '\0'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_xml_cannot_hold_is_escaped_or_replaced() {
        assert_eq!(
            escape("a<b>&\"c\"\n\0"),
            "a&lt;b&gt;&amp;&quot;c&quot;&#10;\u{fffd}"
        );
    }
}

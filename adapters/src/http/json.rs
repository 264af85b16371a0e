//! A canonical form of JSON: one text for all spellings of a value.

use std::fmt::Write as _;

use serde_json::Value;

/// The value without white space, its members sorted by name, each string spelled in one way. A
/// number stays as it was written: `1`, `1.0` and `1e0` are three, because a program may read them
/// as three, and because a number of many digits would lose some as a double.
///
/// `None` where the bytes are no JSON.
pub(super) fn canonical(bytes: &[u8]) -> Option<String> {
    // Whole and well formed, and no deeper than the limit that serde_json has for a value (`IgnoredAny`
    // has none): what follows relies on it.
    serde_json::from_slice::<Value>(bytes).ok()?;
    let mut reader = Reader { bytes, at: 0 };
    let mut out = String::with_capacity(bytes.len());
    reader.value(&mut out)?;
    Some(out)
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// The next byte that is no white space.
    fn peek(&mut self) -> Option<u8> {
        while self.bytes.get(self.at)?.is_ascii_whitespace() {
            self.at += 1;
        }
        self.bytes.get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn value(&mut self, out: &mut String) -> Option<()> {
        match self.peek()? {
            b'{' => self.object(out),
            b'[' => self.array(out),
            b'"' => {
                out.push_str(&self.string()?);
                Some(())
            }
            _ => {
                // A number, true, false or null.
                let rest = self.bytes.get(self.at..)?;
                let ends = |byte: &u8| byte.is_ascii_whitespace() || b",]}".contains(byte);
                let length = rest.iter().position(ends).unwrap_or(rest.len());
                out.push_str(str::from_utf8(rest.get(..length)?).ok()?);
                self.at += length;
                Some(())
            }
        }
    }

    fn array(&mut self, out: &mut String) -> Option<()> {
        self.take(b'[');
        out.push('[');
        if !self.take(b']') {
            loop {
                self.value(out)?;
                if !self.take(b',') {
                    break;
                }
                out.push(',');
            }
            self.take(b']');
        }
        out.push(']');
        Some(())
    }

    fn object(&mut self, out: &mut String) -> Option<()> {
        self.take(b'{');
        let mut members = Vec::new();
        while self.peek()? != b'}' {
            let name = self.string()?;
            self.take(b':');
            let mut value = String::new();
            self.value(&mut value)?;
            members.push((name, value));
            self.take(b',');
        }
        self.take(b'}');
        // Stable: of a name that is there twice, a program may read the first or the last.
        members.sort_by(|one, other| one.0.cmp(&other.0));
        out.push('{');
        for (index, (name, value)) in members.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(out, "{comma}{name}:{value}").ok()?;
        }
        out.push('}');
        Some(())
    }

    /// The string, quoted again in one spelling.
    fn string(&mut self) -> Option<String> {
        self.peek()?;
        let start = self.at;
        self.at += 1;
        while *self.bytes.get(self.at)? != b'"' {
            self.at += if self.bytes.get(self.at) == Some(&b'\\') {
                2
            } else {
                1
            };
        }
        self.at += 1;
        let quoted: &'a [u8] = self.bytes.get(start..self.at)?;
        let text: String = serde_json::from_slice(quoted).ok()?;
        serde_json::to_string(&text).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_value_are_one() {
        for (one, other) in [
            (r#"{"a":1,"b":[2,3]}"#, " { \"b\" : [ 2,\n3 ] ,\t\"a\":1 } "),
            (r#""\u00e9\/""#, "\"é/\""),
            (r#"{"a\"":{"d":4,"c":{}}}"#, r#"{"a\u0022":{"c":{},"d":4}}"#),
            ("[]", " [ ] "),
            ("-1.50e+7", " -1.50e+7 "),
            (r#"["}",{"]":"\\"}]"#, r#"[ "}" , { "]" : "\\" } ]"#),
        ] {
            assert_eq!(
                canonical(one.as_bytes()),
                canonical(other.as_bytes()),
                "{one}"
            );
            let canonical = canonical(one.as_bytes()).unwrap();
            let same: serde_json::Value = serde_json::from_str(&canonical).unwrap();
            assert_eq!(
                same,
                serde_json::from_str::<serde_json::Value>(one).unwrap()
            );
        }
    }

    #[test]
    fn other_values_stay_others() {
        let all = [
            r#"{"a":1}"#,
            r#"{"a":1.0}"#,
            r#"{"a":18446744073709551617}"#,
            r#"{"a":18446744073709551618}"#,
            r#"{"a":"1"}"#,
            r#"{"a":null}"#,
            r#"{"a":1,"a":2}"#,
            r#"{"a":2,"a":1}"#,
            r#"[1,2]"#,
            r#"[2,1]"#,
            r#"["a\":1,\"b"]"#,
            r#"{"a\":1,\"b":1}"#,
        ];
        for (at, one) in all.iter().enumerate() {
            for other in &all[..at] {
                assert_ne!(canonical(one.as_bytes()), canonical(other.as_bytes()));
            }
        }
    }

    #[test]
    fn what_is_no_json_has_no_form() {
        for bytes in ["", "{", "{\"a\":}", "[1,]", "nul", "\"\\x\"", "1 2", "\"a"] {
            assert_eq!(canonical(bytes.as_bytes()), None, "{bytes}");
        }
        assert_eq!(canonical(b"\"\xff\""), None);
        let deep = "[".repeat(100_000) + &"]".repeat(100_000);
        assert_eq!(canonical(deep.as_bytes()), None);
    }
}

//! Characters that a terminal would obey: data of users must not move the cursor, recolour a line or
//! reverse the reading direction.

/// Whether a character is shown as an escape.
fn acts(character: char) -> bool {
    character.is_control()
        || matches!(character,
            // separators of lines and paragraphs, what has no width, what turns the direction
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}' |
            '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// For a table, a message or a question: `\u{1b}`.
pub(crate) fn plain(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        if acts(character) {
            escaped.extend(character.escape_default());
        } else {
            escaped.push(character);
        }
    }
    escaped
}

/// For JSON that is written already: the same characters, which stand only within its strings. JSON's
/// own rule leaves those above U+001F as they are.
pub(super) fn json(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        if acts(character) {
            let mut units = [0; 2];
            for unit in character.encode_utf16(&mut units) {
                escaped.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            escaped.push(character);
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_terminal_obeys_is_left() {
        let evil = "a\u{1b}[2J\u{9b}31m\r\n\t\u{7f}\u{202e}\u{61c}\u{e0041}é漢";
        let escaped = "a\\u{1b}[2J\\u{9b}31m\\r\\n\\t\\u{7f}\\u{202e}\\u{61c}\\u{e0041}é漢";
        assert_eq!(plain(evil), escaped);
        let written = json(&serde_json::json!(evil).to_string());
        assert!(!written.chars().any(acts), "{written}");
        let read: String = serde_json::from_str(&written).unwrap_or_default();
        assert_eq!(read, evil);
    }
}

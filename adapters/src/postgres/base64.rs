//! Bytes in the letters that an identifier may have: base 64 without padding, by the alphabet for URLs.

const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Four letters for three bytes.
pub(super) fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let mut three = [0; 3];
        for (to, from) in three.iter_mut().zip(chunk) {
            *to = *from;
        }
        let [a, b, c] = three.map(u32::from);
        let bits = a << 16 | b << 8 | c;
        for shift in [18, 12, 6, 0].into_iter().take(chunk.len() + 1) {
            let letter = LETTERS.get((bits >> shift & 63) as usize);
            text.extend(letter.map(|letter| char::from(*letter)));
        }
    }
    text
}

/// The bytes of [`encode`]; `None` for any other text, also one that only differs in unused bits.
pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3 + 2);
    for chunk in text.as_bytes().chunks(4) {
        let mut bits = 0_u32;
        for letter in chunk {
            let value = LETTERS.iter().position(|known| known == letter)?;
            bits = bits << 6 | u32::try_from(value).ok()?;
        }
        bits <<= 6 * (4 - chunk.len());
        let [_, three @ ..] = bits.to_be_bytes();
        bytes.extend(three.into_iter().take(chunk.len() - 1));
    }
    (encode(&bytes) == text).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_reads_back_and_nothing_else_does() {
        for length in 0..=80 {
            for fill in [0, 0x5a, 0xff] {
                let bytes = vec![fill; length];
                let text = encode(&bytes);
                assert_eq!(text.len(), (length * 8).div_ceil(6));
                assert_eq!(decode(&text), Some(bytes));
            }
        }
        assert_eq!(encode(b"\xfb\xff\xbe"), "-_--");
        for foreign in ["A", "AB", "AAA=", "+/", "Aé", "AAAAB"] {
            assert_eq!(decode(foreign), None, "{foreign}");
        }
    }
}

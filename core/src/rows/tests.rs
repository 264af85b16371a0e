use std::collections::BTreeMap;

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::*;
use crate::{Receipt, Returning, Value};

fn rows(json: &str) -> Rows {
    Rows::from_json(json).unwrap()
}

fn one<T: DeserializeOwned>(json: &str) -> T {
    rows(&format!("[{json}]")).one().unwrap()
}

fn unread<T: DeserializeOwned + fmt::Debug>(json: &str) -> String {
    let error = rows(json).decode::<T>().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreadable);
    error.to_string()
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Payment {
    id: i64,
    note: Option<String>,
    #[serde(default)]
    paid: bool,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Mood {
    Happy,
    Sad,
}

#[test]
fn a_row_reads_by_names_by_places_or_as_its_only_column() {
    let payment: Payment = one(r#"{"note":null,"more":[1],"id":7,"paid":1}"#);
    assert_eq!((payment.id, payment.note, payment.paid), (7, None, true));
    assert_eq!(one::<(i64, String)>(r#"{"a":7,"b":"x"}"#), (7, "x".into()));
    assert_eq!(one::<i64>(r#"{"id":7}"#), 7);
    assert_eq!(one::<Option<i64>>(r#"{"id":null}"#), None);
    assert_eq!(one::<(i64,)>(r#"{"id":7}"#), (7,));
    assert_eq!(one::<Mood>(r#"{"mood":"sad"}"#), Mood::Sad);
    // Two columns of one name: by their places.
    assert_eq!(one::<(i64, i64)>(r#"{"id":1,"id":2}"#), (1, 2));
    let map: BTreeMap<String, Option<u8>> = one(r#"{"a":1,"b":null}"#);
    assert_eq!(map.len(), 2);
}

#[test]
fn numbers_keep_their_digits() {
    let digits = "12345678901234567890.50";
    assert_eq!(one::<String>(&format!("{{\"n\":{digits}}}")), digits);
    assert_eq!(one::<i64>(r#"{"n":"-9223372036854775808"}"#), i64::MIN);
    assert_eq!(one::<u64>(r#"{"n":18446744073709551615}"#), u64::MAX);
    assert!((one::<f64>(r#"{"n":2.50}"#) - 2.5).abs() < f64::EPSILON);
    assert!(one::<f64>(r#"{"n":"NaN"}"#).is_nan());
    assert!(unread::<i64>(r#"[{"n":2.0}]"#).contains("row 1, column `n`"));
    assert!(unread::<u8>(r#"[{"n":1},{"n":256}]"#).contains("row 2, column `n`"));
}

#[cfg(feature = "rust_decimal")]
#[test]
fn decimals_keep_their_digits() {
    for digits in ["0.1", "2.50", "-7", "1234567890123456789012345.678"] {
        let number: rust_decimal::Decimal = one(&format!("{{\"n\":{digits}}}"));
        assert_eq!(number.to_string(), digits);
        let text: rust_decimal::Decimal = one(&format!("{{\"n\":\"{digits}\"}}"));
        assert_eq!(text, number);
    }
}

#[cfg(all(feature = "uuid", feature = "chrono"))]
#[test]
fn ids_and_moments_read_from_text() {
    type Read = (uuid::Uuid, chrono::DateTime<chrono::Utc>, chrono::NaiveDate);
    let json = r#"{"id":"00112233-4455-6677-8899-aabbccddeeff",
        "at":"2026-03-01T12:30:00.00025+00:00","on":"2026-03-01"}"#;
    let (id, at, on) = one::<Read>(json);
    assert_eq!(Value::from(id).as_text().unwrap(), id.to_string());
    assert_eq!(
        Value::from(at).as_text().unwrap(),
        "2026-03-01T12:30:00.000250Z"
    );
    assert_eq!(on.to_string(), "2026-03-01");
}

#[test]
fn what_a_backend_has_no_type_for_reads_as_what_it_was() {
    assert_eq!(one::<Vec<u8>>(r#"{"b":"\\x00ff"}"#), [0, 255]);
    assert_eq!(one::<Vec<i64>>(r#"{"a":"[1,2]"}"#), [1, 2]);
    assert_eq!(one::<Vec<String>>(r#"{"a":["x","y"]}"#), ["x", "y"]);
    let flags: (bool, bool, bool) = one(r#"{"a":1,"b":"t","c":false}"#);
    assert_eq!(flags, (true, true, false));
    #[derive(Debug, PartialEq, Deserialize)]
    struct Place {
        city: String,
    }
    #[derive(Debug, Deserialize)]
    struct Holder {
        as_text: Place,
        as_json: Place,
    }
    let holder: Holder = one(r#"{"as_text":"{\"city\":\"a\"}","as_json":{"city":"a"}}"#);
    assert_eq!(holder.as_text, holder.as_json);
}

#[test]
fn an_error_has_the_column_and_never_the_value() {
    let text = unread::<Payment>(r#"[{"id":"secret4711","note":null}]"#);
    assert!(
        text.contains("column `id`") && !text.contains("4711"),
        "{text}"
    );
    let text = unread::<Payment>(r#"[{"note":"secret4711"}]"#);
    assert!(
        text.contains("no column `id`") && !text.contains("4711"),
        "{text}"
    );
    let text = unread::<i64>(r#"[{"a":4711,"b":4711}]"#);
    assert!(text.contains("row 1") && !text.contains("4711"), "{text}");
    let debug = format!("{:?}", rows(r#"[{"a":4711}]"#));
    assert_eq!(debug, "Rows(1 of 12 bytes)");
}

#[test]
fn one_row_is_one_row() {
    assert_eq!(rows("[]").optional::<i64>().unwrap(), None);
    assert!(rows("[]").one::<i64>().is_err());
    assert!(rows(r#"[{"a":1},{"a":2}]"#).one::<i64>().is_err());
    assert!(Rows::none().is_empty());
    for wrong in ["", "{}", "[1]", "[{\"a\":1}", "null"] {
        assert!(Rows::from_json(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn a_writer_stops_at_its_limits() {
    let written = |limits: Returning, count: i64| {
        let mut writer = RowsWriter::new(3, limits, "test", "sql");
        for number in 0..count {
            writer.row([
                ("n\"", Value::Integer(number)),
                ("b", Value::from(vec![255_u8])),
            ])?;
        }
        writer.finish()
    };
    let two = written(Returning::rows(2), 2).unwrap();
    let json = r#"[{"n\"":0,"b":"\\xff"},{"n\"":1,"b":"\\xff"}]"#;
    assert_eq!(two.as_json(), json);
    assert_eq!(two.columns(), ["n\"", "b"]);
    let error = written(Returning::rows(2), 3).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    assert!(error.to_string().contains("statement 3"), "{error}");
    assert!(error.to_string().contains("2 rows"), "{error}");
    let exactly = u32::try_from(json.len()).unwrap();
    assert!(written(Returning::rows(2).within_bytes(exactly), 2).is_ok());
    let error = written(Returning::rows(2).within_bytes(exactly - 1), 2).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
}

#[test]
fn rows_stand_beside_the_value_in_the_receipt() {
    let both = [rows(r#"[{"id":1}]"#), rows("[]")];
    for (value, json) in [(&b""[..], "null"), (b"\"paid\"", "\"paid\""), (b" 7 ", "7")] {
        let receipt = Returned::receipt(&Receipt::from_bytes(value.to_vec()), &both).unwrap();
        let expected = format!("{{\"value\":{json},\"rows\":[[{{\"id\":1}}],[]]}}");
        assert_eq!(receipt.as_bytes(), expected.as_bytes());
        let returned = Returned::of(&receipt).unwrap();
        assert_eq!(returned.all(), both);
        assert_eq!(returned.into_last(), both[1]);
    }
    for wrong in [&b"\xff"[..], b"{", b"\0applied"] {
        let receipt = Receipt::from_bytes(wrong.to_vec());
        let error = Returned::receipt(&receipt, &both).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
    }
    let plain = Receipt::json("paid").unwrap();
    let error = Returned::of(&plain).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreadable);
}

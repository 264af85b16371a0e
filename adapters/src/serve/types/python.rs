//! The wrapper for Python.

use super::{file_name, type_name};
use crate::{
    ValueType,
    serve::config::{Answer, Config, Field, Handler, KEY},
};

const HELPERS: &str = r#"

class Refusal(NamedTuple):
    """Why the service refused: the same on every retry, and nothing was done unless the kind says so."""

    kind: str
    status: int
    message: str
    current: Optional[int]


def refusal_of(error: BaseException) -> Optional[Refusal]:
    """The refusal that a call failed with; None for another error, such as a cancellation."""
    if not isinstance(error, TerminalError):
        return None
    found = re.match(r"exactly-once/([a-z_]+)(?:;current=([0-9]+))?: (.*)\Z", error.message, re.DOTALL)
    if found is None:
        return None
    current = int(found[2]) if found[2] else None
    return Refusal(found[1], error.status_code, found[3], current)
"#;

/// What can't be the name of an argument or of a method.
const KEYWORDS: [&str; 35] = [
    "False", "None", "True", "and", "as", "assert", "async", "await", "break", "class", "continue",
    "def", "del", "elif", "else", "except", "finally", "for", "from", "global", "if", "import",
    "in", "is", "lambda", "nonlocal", "not", "or", "pass", "raise", "return", "self", "try",
    "while", "with",
];

pub(super) fn of(config: &Config) -> String {
    let mut text = format!(
        "\"\"\"Made by `exactly-once serve --types py` from {}. Make it again instead of changing \
         it.\"\"\"\n\nimport json\nimport re\n\
         from typing import Any, List, NamedTuple, Optional, TypedDict\n\n\
         from restate import Context\nfrom restate.exceptions import TerminalError\n",
        file_name(config)
    );
    text.push_str(HELPERS);
    for handler in &config.handlers {
        text.push_str(&row(config, handler));
    }
    text.push_str(&service(config));
    text.trim_end().to_owned()
}

/// In the functional form, since a column may have the name of a keyword.
fn row(config: &Config, handler: &Handler) -> String {
    if *handler.answer() == Answer::Nothing {
        return String::new();
    }
    let name = type_name(config, handler);
    let columns: Vec<_> = handler
        .answer()
        .columns()
        .iter()
        .map(|column| format!("\"{}\": {}", column.name, maybe(column)))
        .collect();
    format!(
        "\n\n{name}Row = TypedDict(\"{name}Row\", {{{}}})\n",
        columns.join(", ")
    )
}

fn service(config: &Config) -> String {
    let service = &config.service;
    let mut text = format!("\n\nclass {service}:\n");
    text.push_str(&docstring(
        "    ",
        config
            .docs
            .as_deref()
            .unwrap_or("The service, from a handler."),
    ));
    text.push_str(
        "\n    def __init__(self, ctx: Context) -> None:\n        self._ctx = ctx\n\n    \
         async def _call(self, handler: str, request: dict) -> Any:\n        \
         given = {name: value for name, value in request.items() if value is not None}\n        \
         body = json.dumps(given, allow_nan=False).encode()\n",
    );
    text.push_str(&format!(
        "        return json.loads(await self._ctx.generic_call(\"{service}\", handler, body))\n"
    ));
    for handler in &config.handlers {
        text.push_str(&method(config, handler));
    }
    text
}

fn method(config: &Config, handler: &Handler) -> String {
    let name = type_name(config, handler);
    let mut arguments = Vec::new();
    let mut fields = Vec::new();
    let (optional, needed): (Vec<_>, Vec<_>) =
        handler.parameters.iter().partition(|field| field.optional);
    for field in needed {
        arguments.push(format!("{}: {}", safe(&field.name), of_type(&field.of)));
        fields.push(format!("\"{}\": {}", field.name, safe(&field.name)));
    }
    for field in optional {
        arguments.push(format!("{}: {} = None", safe(&field.name), maybe(field)));
        fields.push(format!("\"{}\": {}", field.name, safe(&field.name)));
    }
    if handler.takes_key() {
        arguments.push(format!("{KEY}: Optional[str] = None"));
        fields.push(format!("\"{KEY}\": {KEY}"));
    }
    let star = if arguments.is_empty() { "" } else { ", *, " };
    let answer = match handler.answer() {
        Answer::Nothing => "None".to_owned(),
        Answer::Row(_) => format!("{name}Row"),
        Answer::Optional(_) => format!("Optional[{name}Row]"),
        Answer::Rows(_) => format!("List[{name}Row]"),
    };
    let mut text = format!(
        "\n    async def {}(self{star}{}) -> {answer}:\n",
        safe(&handler.name),
        arguments.join(", ")
    );
    if let Some(docs) = &handler.docs {
        text.push_str(&docstring("        ", docs));
    }
    text.push_str(&format!(
        "        return await self._call(\"{}\", {{{}}})\n",
        handler.name,
        fields.join(", ")
    ));
    text
}

fn docstring(indent: &str, docs: &str) -> String {
    let docs = docs.trim().replace('\\', "\\\\").replace("\"\"\"", "'''");
    let docs = docs.trim_end_matches('"');
    let lines: Vec<_> = docs.lines().map(str::trim).collect();
    format!(
        "{indent}\"\"\"{}\"\"\"\n",
        lines.join(&format!("\n{indent}"))
    )
}

fn safe(name: &str) -> String {
    match KEYWORDS.contains(&name) {
        true => format!("{name}_"),
        false => name.to_owned(),
    }
}

fn maybe(field: &Field) -> String {
    let of = of_type(&field.of);
    match field.optional {
        true => format!("Optional[{of}]"),
        false => of,
    }
}

fn of_type(of: &ValueType) -> String {
    match of {
        ValueType::Bool => "bool".to_owned(),
        ValueType::Int2 | ValueType::Int4 | ValueType::Int8 => "int".to_owned(),
        ValueType::Float4 | ValueType::Float8 => "float".to_owned(),
        ValueType::Json => "Any".to_owned(),
        ValueType::Array(item) => format!("List[Optional[{}]]", of_type(item)),
        _ => "str".to_owned(),
    }
}

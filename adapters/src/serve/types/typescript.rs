//! The wrapper for TypeScript.

use super::{file_name, type_name};
use crate::{
    ValueType,
    serve::config::{Answer, Config, Field, Handler, KEY},
};

const HELPERS: &str = r#"
/** Why the service refused: the same on every retry, and nothing was done unless the kind says so. */
export interface Refusal {
  /** One stable word: "refused", "mismatch", "insufficient_funds", "invalid", … */
  kind: string;
  /** The HTTP status. */
  status: number;
  message: string;
  /** Of a conflict, the account's version. */
  current?: number;
}

/** The refusal that a call failed with; undefined for another error, such as a cancellation. */
export function refusalOf(error: unknown): Refusal | undefined {
  if (!(error instanceof TerminalError)) return undefined;
  const found = /^exactly-once\/([a-z_]+)(?:;current=([0-9]+))?: ([^]*)$/.exec(error.message);
  if (!found) return undefined;
  const refusal: Refusal = { kind: found[1]!, status: error.code, message: found[3]! };
  if (found[2] !== undefined) refusal.current = Number(found[2]);
  return refusal;
}
"#;

const ACCOUNT: &str = r#"
/** A change of an account; amounts are minor units. */
export interface Change {
  key: string;
  account: string;
  kind: string;
  delta: number;
  before: number;
  after: number;
  version: number;
}
export interface Applied {
  change: Change;
  replayed: boolean;
}
export interface AccountState {
  amount: number;
  version: number;
  floor: number | null;
  open: boolean;
}

/** An account: the object's key is its name. `operation` is a key of your own. */
export const Account: VirtualObjectDefinition<"Account", {
  open: (ctx: ObjectContext, request: { amount?: number; operation?: string }) => Promise<Applied>;
  adjust: (ctx: ObjectContext, request: { delta: number; expected?: number; operation?: string }) => Promise<Applied>;
  compare_and_set: (
    ctx: ObjectContext,
    request: { expected: "Any" | "Absent" | { Version: number }; amount: number; operation?: string },
  ) => Promise<Applied>;
  transfer: (
    ctx: ObjectContext,
    request: { to: string; amount: number; operation?: string },
  ) => Promise<{ changes: Change[]; replayed: boolean }>;
  close: (ctx: ObjectContext, request: { operation?: string }) => Promise<Applied>;
  balance: (ctx: ObjectContext) => Promise<AccountState | null>;
  history: (
    ctx: ObjectContext,
    request: { after?: number; limit?: number },
  ) => Promise<{ changes: Change[]; next: number | null }>;
}> = { name: "Account" };
"#;

pub(super) fn of(config: &Config) -> String {
    let mut text = format!(
        "// Made by `exactly-once serve --types ts` from {}. Make it again instead of changing it.\n",
        file_name(config)
    );
    let contexts = match config.accounts {
        Some(_) => "Context, ObjectContext, ServiceDefinition, VirtualObjectDefinition",
        None => "Context, ServiceDefinition",
    };
    text.push_str(&format!(
        "import type {{ {contexts} }} from \"@restatedev/restate-sdk\";\n\
         import {{ TerminalError }} from \"@restatedev/restate-sdk\";\n"
    ));
    for handler in &config.handlers {
        text.push_str(&interfaces(config, handler));
    }
    text.push_str(&service(config));
    if config.accounts.is_some() {
        text.push_str(ACCOUNT);
    }
    text.push_str(HELPERS);
    text.trim_end().to_owned()
}

fn interfaces(config: &Config, handler: &Handler) -> String {
    let name = type_name(config, handler);
    let mut text = format!("\nexport interface {name}Request {{\n");
    for field in &handler.parameters {
        text.push_str(&member(field, field.optional));
    }
    if handler.takes_key() {
        text.push_str(&format!(
            "  /** Your own name of this effect: another call with the same key is the same effect. */\n  \
             {KEY}?: string;\n"
        ));
    }
    text.push_str("}\n");
    if *handler.answer() != Answer::Nothing {
        text.push_str(&format!("\nexport interface {name}Row {{\n"));
        for field in handler.answer().columns() {
            text.push_str(&member(field, false));
        }
        text.push_str("}\n");
    }
    text
}

fn member(field: &Field, may_lack: bool) -> String {
    let lack = if may_lack { "?" } else { "" };
    let null = if field.optional { " | null" } else { "" };
    format!("  {}{lack}: {}{null};\n", field.name, of_type(&field.of))
}

fn service(config: &Config) -> String {
    if config.handlers.is_empty() {
        return String::new();
    }
    let service = &config.service;
    let mut text = String::from("\n");
    if let Some(docs) = &config.docs {
        text.push_str(&comment("", docs));
    }
    text.push_str(&format!(
        "export const {service}: ServiceDefinition<\"{service}\", {{\n"
    ));
    for handler in &config.handlers {
        let name = type_name(config, handler);
        if let Some(docs) = &handler.docs {
            text.push_str(&comment("  ", docs));
        }
        let answer = match handler.answer() {
            Answer::Nothing => "null".to_owned(),
            Answer::Row(_) => format!("{name}Row"),
            Answer::Optional(_) => format!("{name}Row | null"),
            Answer::Rows(_) => format!("{name}Row[]"),
        };
        text.push_str(&format!(
            "  {}: (ctx: Context, request: {name}Request) => Promise<{answer}>;\n",
            handler.name
        ));
    }
    text.push_str(&format!("}}> = {{ name: \"{service}\" }};\n"));
    text
}

fn comment(indent: &str, docs: &str) -> String {
    let docs = docs.trim().replace("*/", "* /");
    let lines: Vec<_> = docs.lines().map(str::trim).collect();
    format!("{indent}/** {} */\n", lines.join(&format!("\n{indent} * ")))
}

fn of_type(of: &ValueType) -> String {
    match of {
        ValueType::Bool => "boolean".to_owned(),
        ValueType::Int2
        | ValueType::Int4
        | ValueType::Int8
        | ValueType::Float4
        | ValueType::Float8 => "number".to_owned(),
        ValueType::Json => "unknown".to_owned(),
        ValueType::Array(item) => format!("({} | null)[]", of_type(item)),
        _ => "string".to_owned(),
    }
}

//! What the user's SQL may not do, and why.

use rusqlite::hooks::{AuthAction, AuthContext, Authorization};

use super::{Mode, PREFIX, Scope, State};

/// Pragmas that only read, or that end with the transaction.
const HARMLESS_PRAGMAS: [&str; 10] = [
    "table_info",
    "table_xinfo",
    "table_list",
    "index_list",
    "index_info",
    "index_xinfo",
    "foreign_key_list",
    "foreign_key_check",
    "defer_foreign_keys",
    // FTS5 asks for it by itself.
    "data_version",
];

impl State {
    pub(super) fn authorize(&mut self, context: &AuthContext<'_>) -> Authorization {
        let scope = match self.mode {
            Mode::Store => return Authorization::Allow,
            Mode::Probe => {
                self.probed = true;
                return Authorization::Allow;
            }
            Mode::Survey => {
                if let AuthAction::Insert { table_name }
                | AuthAction::Delete { table_name }
                | AuthAction::Update { table_name, .. } = context.action
                {
                    self.written.insert(table_name.to_owned());
                }
                return Authorization::Allow;
            }
            Mode::Work(scope) => scope,
        };
        if let AuthAction::DropTable { table_name } = context.action {
            self.dropping = Some(table_name.to_owned());
        }
        match self.objection(scope, context) {
            None => Authorization::Allow,
            Some(reason) => {
                self.refused = Some(reason);
                Authorization::Deny
            }
        }
    }

    /// Why the work must not do this; `None` if it may.
    fn objection(&self, scope: Scope, context: &AuthContext<'_>) -> Option<String> {
        if let Some(name) = changed_object(&context.action).find(|name| is_ours(name))
            && !self.drops_with_its_table(&context.action)
        {
            return Some(format!("{name} belongs to the store"));
        }
        match context.action {
            AuthAction::Transaction { .. } => {
                Some("BEGIN, COMMIT and ROLLBACK belong to the store".to_owned())
            }
            AuthAction::Savepoint { savepoint_name, .. } if is_ours(savepoint_name) => Some(
                format!("the savepoint {savepoint_name} belongs to the store"),
            ),
            AuthAction::Savepoint { .. } if matches!(scope, Scope::Statement { .. }) => {
                Some(ONE_STATEMENT.to_owned())
            }
            AuthAction::Pragma {
                pragma_name,
                pragma_value: Some(_),
            } if pragma_name.eq_ignore_ascii_case("defer_foreign_keys")
                && !matches!(scope, Scope::Alone { staged: false }) =>
            {
                Some(
                    "PRAGMA defer_foreign_keys would reach the other effects of the batch: use a \
                     transaction of your own"
                        .to_owned(),
                )
            }
            AuthAction::Attach { .. } | AuthAction::Detach { .. } => {
                Some("ATTACH, DETACH and VACUUM reach outside of the transaction".to_owned())
            }
            AuthAction::Pragma { pragma_name, .. } if !is_harmless(pragma_name) => Some(format!(
                "PRAGMA {pragma_name} would change the shared connection"
            )),
            AuthAction::CreateTempTable { .. }
            | AuthAction::CreateTempIndex { .. }
            | AuthAction::CreateTempTrigger { .. }
            | AuthAction::CreateTempView { .. } => Some(
                "temporary objects would outlive the transaction on the shared connection"
                    .to_owned(),
            ),
            _ if scope.is_staged() && changes_schema(&context.action) => {
                Some("a change of the schema can't be staged".to_owned())
            }
            AuthAction::Insert { table_name }
            | AuthAction::Delete { table_name }
            | AuthAction::Update { table_name, .. } => {
                self.write_objection(scope, table_name, context)
            }
            _ => None,
        }
    }

    /// A table takes its guard triggers along.
    fn drops_with_its_table(&self, action: &AuthAction<'_>) -> bool {
        matches!(action, AuthAction::DropTrigger { table_name, .. }
            if self.dropping.as_deref() == Some(*table_name) && !is_ours(table_name))
    }

    fn write_objection(
        &self,
        scope: Scope,
        table: &str,
        context: &AuthContext<'_>,
    ) -> Option<String> {
        // The store's own triggers write the log of staged work.
        if context.accessor.is_some_and(is_ours) {
            return None;
        }
        if is_ours(table) {
            return Some(format!("the table {table} belongs to the store"));
        }
        if !scope.is_staged() {
            return None;
        }
        if table.starts_with("sqlite_") {
            return Some("a change of the schema can't be staged".to_owned());
        }
        if let Some(reason) = self.unstageable.get(&table.to_ascii_lowercase()) {
            return Some(format!("the table {table} can't be staged: {reason}"));
        }
        if !self.tables.contains_key(table) {
            return Some(format!(
                "{table} can't be staged: it is no ordinary table of the file"
            ));
        }
        // Staging needs recursive_triggers, which would run a chain of triggers otherwise than the
        // user's own connection does.
        if let Some(trigger) = context.accessor
            && self.triggered.contains(&table.to_ascii_lowercase())
        {
            return Some(format!(
                "the trigger {trigger} writes the table {table}, which has triggers itself: a \
                 chain of triggers can't be staged"
            ));
        }
        None
    }
}

/// Why a statement that is known up front is nothing but one statement.
pub(in crate::sqlite) const ONE_STATEMENT: &str = "SAVEPOINT, RELEASE, ROLLBACK TO and PRAGMA need a \
     transaction of their own: an effect that is known up front shares its commit with others";

/// The names of what a change of the schema touches.
fn changed_object<'a>(action: &AuthAction<'a>) -> impl Iterator<Item = &'a str> {
    let (first, second) = match *action {
        AuthAction::AlterTable { table_name, .. }
        | AuthAction::CreateTable { table_name }
        | AuthAction::DropTable { table_name }
        | AuthAction::DropVtable { table_name, .. }
        | AuthAction::CreateVtable { table_name, .. }
        | AuthAction::Analyze { table_name } => (Some(table_name), None),
        AuthAction::CreateIndex {
            index_name,
            table_name,
        }
        | AuthAction::DropIndex {
            index_name,
            table_name,
        } => (Some(index_name), Some(table_name)),
        AuthAction::CreateTrigger {
            trigger_name,
            table_name,
        }
        | AuthAction::DropTrigger {
            trigger_name,
            table_name,
        } => (Some(trigger_name), Some(table_name)),
        AuthAction::CreateView { view_name } | AuthAction::DropView { view_name } => {
            (Some(view_name), None)
        }
        _ => (None, None),
    };
    first.into_iter().chain(second)
}

fn is_ours(name: &str) -> bool {
    name.get(..PREFIX.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(PREFIX))
}

fn is_harmless(pragma: &str) -> bool {
    HARMLESS_PRAGMAS
        .iter()
        .any(|harmless| harmless.eq_ignore_ascii_case(pragma))
}

/// Whether the action changes the schema.
fn changes_schema(action: &AuthAction<'_>) -> bool {
    !matches!(
        action,
        AuthAction::Read { .. }
            | AuthAction::Select
            | AuthAction::Function { .. }
            | AuthAction::Recursive
            | AuthAction::Pragma { .. }
            | AuthAction::Savepoint { .. }
            | AuthAction::Insert { .. }
            | AuthAction::Update { .. }
            | AuthAction::Delete { .. }
    )
}

//! Are the two migration folders of a service the same schema? For `tests/store.rs` of each service.
//!
//! Compared are tables, columns with their types and NOT NULL, primary and foreign keys, indexes by their columns, and the words that
//! CHECKs allow. Beyond equality, what keeps the two databases alike is asked for: STRICT tables on SQLite; on Postgres the names of
//! unique constraints that [`crate::Error::Conflict`] tells, and `COLLATE "C"` on text in an index, so that both sort alike.

use std::collections::{BTreeMap, BTreeSet};

use crate::{Db, Error, Row, params};

/// The types of SQLite and Postgres that hold the same values.
const SAME_TYPES: [(&str, &str); 5] = [
    ("BLOB", "uuid"),
    ("BLOB", "bytea"),
    ("INTEGER", "bigint"),
    ("INTEGER", "boolean"),
    ("TEXT", "text"),
];

const SQLITE_COLUMNS: &str = r#"
    SELECT t.name AS table_name, c.name AS column_name, c.type AS type_name, c.pk AS key_position,
        c."notnull" <> 0 OR c.pk <> 0 AS is_required, TRUE AS sorts_by_bytes
    FROM pragma_table_list t, pragma_table_info(t.name) c
    WHERE t.type = 'table' AND t.schema = 'main' AND t.name NOT LIKE 'sqlite!_%' ESCAPE '!'"#;

const SQLITE_INDEXES: &str = r#"
    SELECT m.name AS table_name, i.name AS index_name, i."unique" <> 0 AS is_unique, i.partial <> 0 AS is_partial,
        c.name AS column_name
    FROM sqlite_master m, pragma_index_list(m.name) i, pragma_index_info(i.name) c
    WHERE m.type = 'table' AND i.origin <> 'pk'
    ORDER BY i.name, c.seqno"#;

const SQLITE_REFERENCES: &str = r#"
    SELECT m.name AS table_name, CAST(f.id AS TEXT) AS reference_name, f."from" AS from_column, f."table" AS to_table,
        f."to" AS to_column, f.on_delete
    FROM sqlite_master m, pragma_foreign_key_list(m.name) f
    WHERE m.type = 'table'
    ORDER BY f.id, f.seq"#;

const SQLITE_TEXTS: &str = "
    SELECT t.name AS table_name, t.strict <> 0 AS is_strict, m.sql AS text
    FROM pragma_table_list t
    JOIN sqlite_master m ON m.name = t.name
    WHERE t.type = 'table' AND t.schema = 'main'";

const POSTGRES_COLUMNS: &str = "
    SELECT c.relname::TEXT AS table_name, a.attname::TEXT AS column_name, format_type(a.atttypid, a.atttypmod) AS type_name,
        COALESCE(array_position(k.conkey, a.attnum), 0)::BIGINT AS key_position, a.attnotnull AS is_required,
        COALESCE(o.collname = 'C', FALSE) AS sorts_by_bytes
    FROM pg_class c
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    LEFT JOIN pg_constraint k ON k.conrelid = c.oid AND k.contype = 'p'
    LEFT JOIN pg_collation o ON o.oid = a.attcollation
    WHERE c.relkind = 'r' AND c.relnamespace = current_schema()::REGNAMESPACE";

const POSTGRES_INDEXES: &str = "
    SELECT t.relname::TEXT AS table_name, c.relname::TEXT AS index_name, i.indisunique AS is_unique,
        i.indpred IS NOT NULL AS is_partial, a.attname::TEXT AS column_name
    FROM pg_index i
    JOIN pg_class c ON c.oid = i.indexrelid
    JOIN pg_class t ON t.oid = i.indrelid
    CROSS JOIN LATERAL unnest(i.indkey::INT2[]) WITH ORDINALITY AS n (attnum, place)
    LEFT JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = n.attnum AND n.attnum <> 0
    WHERE NOT i.indisprimary AND t.relnamespace = current_schema()::REGNAMESPACE
    ORDER BY c.relname, n.place";

const POSTGRES_REFERENCES: &str = "
    SELECT t.relname::TEXT AS table_name, k.conname::TEXT AS reference_name, a.attname::TEXT AS from_column,
        r.relname::TEXT AS to_table, b.attname::TEXT AS to_column,
        CASE k.confdeltype WHEN 'c' THEN 'CASCADE' WHEN 'r' THEN 'RESTRICT' WHEN 'n' THEN 'SET NULL' WHEN 'd' THEN 'SET DEFAULT'
            ELSE 'NO ACTION' END AS on_delete
    FROM pg_constraint k
    JOIN pg_class t ON t.oid = k.conrelid
    JOIN pg_class r ON r.oid = k.confrelid
    CROSS JOIN LATERAL unnest(k.conkey, k.confkey) WITH ORDINALITY AS n (from_attnum, to_attnum, place)
    JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = n.from_attnum
    JOIN pg_attribute b ON b.attrelid = r.oid AND b.attnum = n.to_attnum
    WHERE k.contype = 'f' AND t.relnamespace = current_schema()::REGNAMESPACE
    ORDER BY k.conname, n.place";

const POSTGRES_CHECKS: &str = "
    SELECT t.relname::TEXT AS table_name, pg_get_constraintdef(k.oid) AS text
    FROM pg_constraint k
    JOIN pg_class t ON t.oid = k.conrelid
    WHERE k.contype = 'c' AND t.relnamespace = current_schema()::REGNAMESPACE";

#[derive(Default)]
struct Table {
    columns: BTreeMap<String, Column>,
    /// By name.
    indexes: BTreeMap<String, Index>,
    /// Rows such as `domain_id to domains.id, CASCADE`, by the key's name.
    references: BTreeMap<String, Vec<String>>,
    /// The quoted words of each CHECK.
    checks: Vec<Vec<String>>,
}

struct Column {
    type_name: String,
    key_position: i64,
    is_required: bool,
    sorts_by_bytes: bool,
}

struct Index {
    is_unique: bool,
    is_partial: bool,
    /// `None` is an expression.
    columns: Vec<Option<String>>,
}

type Schema = BTreeMap<String, Table>;

/// The differences between the schemas of two databases that the same migrations made, each in a sentence; none is success.
///
/// # Errors
/// Those of reading the catalogues.
pub async fn compare(sqlite: &Db, postgres: &Db) -> Result<Vec<String>, Error> {
    let mut differences = Vec::new();
    let mut left = read(sqlite, [SQLITE_COLUMNS, SQLITE_INDEXES, SQLITE_REFERENCES]).await?;
    for (table, is_strict, text) in sqlite.fetch_all(SQLITE_TEXTS, params![], strictness).await? {
        let Some(entry) = left.get_mut(&table) else { continue };
        entry.checks = checks(&text);
        if !is_strict {
            differences.push(format!("table {table} is not STRICT on SQLite"));
        }
    }
    let mut right = read(postgres, [POSTGRES_COLUMNS, POSTGRES_INDEXES, POSTGRES_REFERENCES]).await?;
    let texts = |row: &Row| Ok((row.get::<String>("table_name")?, row.get::<String>("text")?));
    for (table, text) in postgres.fetch_all(POSTGRES_CHECKS, params![], texts).await? {
        let Some(entry) = right.get_mut(&table) else { continue };
        entry.checks.extend(checks(&text));
    }

    let tables: BTreeSet<&String> = left.keys().chain(right.keys()).collect();
    for table in tables {
        match (left.get(table), right.get(table)) {
            (Some(left), Some(right)) => {
                compare_columns(table, left, right, &mut differences);
                compare_rest(table, left, right, &mut differences);
                require_names_and_collations(table, right, &mut differences);
            }
            (Some(_), None) => differences.push(format!("table {table} is missing on Postgres")),
            (None, _) => differences.push(format!("table {table} is missing on SQLite")),
        }
    }
    Ok(differences)
}

async fn read(db: &Db, [columns, indexes, references]: [&'static str; 3]) -> Result<Schema, Error> {
    let mut schema = Schema::new();
    let column = |row: &Row| {
        let column = Column {
            type_name: row.get("type_name")?,
            key_position: row.get("key_position")?,
            is_required: row.get("is_required")?,
            sorts_by_bytes: row.get("sorts_by_bytes")?,
        };
        Ok((
            row.get::<String>("table_name")?,
            row.get::<String>("column_name")?,
            column,
        ))
    };
    for (table, name, column) in db.fetch_all(columns, params![], column).await? {
        schema.entry(table).or_default().columns.insert(name, column);
    }
    // The tables in which sqlx keeps its books are its own affair.
    schema.retain(|table, _| !table.ends_with("_migrations"));

    let index = |row: &Row| {
        let index = Index {
            is_unique: row.get("is_unique")?,
            is_partial: row.get("is_partial")?,
            columns: Vec::new(),
        };
        Ok((
            row.get::<String>("table_name")?,
            row.get::<String>("index_name")?,
            row.get("column_name")?,
            index,
        ))
    };
    for (table, name, column, index) in db.fetch_all(indexes, params![], index).await? {
        let Some(table) = schema.get_mut(&table) else { continue };
        table.indexes.entry(name).or_insert(index).columns.push(column);
    }

    let reference = |row: &Row| {
        let [from, table, to, on_delete] = [
            row.get::<String>("from_column")?,
            row.get("to_table")?,
            row.get("to_column")?,
            row.get("on_delete")?,
        ];
        let text = format!("{from} to {table}.{to}, {on_delete}");
        Ok((
            row.get::<String>("table_name")?,
            row.get::<String>("reference_name")?,
            text,
        ))
    };
    for (table, name, text) in db.fetch_all(references, params![], reference).await? {
        let Some(table) = schema.get_mut(&table) else { continue };
        table.references.entry(name).or_default().push(text);
    }
    Ok(schema)
}

fn strictness(row: &Row) -> Result<(String, bool, String), Error> {
    Ok((row.get("table_name")?, row.get("is_strict")?, row.get("text")?))
}

fn compare_columns(table: &str, left: &Table, right: &Table, differences: &mut Vec<String>) {
    let names: BTreeSet<&String> = left.columns.keys().chain(right.columns.keys()).collect();
    for name in names {
        let (Some(left), Some(right)) = (left.columns.get(name), right.columns.get(name)) else {
            let missing = if left.columns.contains_key(name) {
                "Postgres"
            } else {
                "SQLite"
            };
            differences.push(format!("column {table}.{name} is missing on {missing}"));
            continue;
        };
        if !SAME_TYPES.contains(&(&left.type_name, &right.type_name)) {
            let (left, right) = (&left.type_name, &right.type_name);
            differences.push(format!(
                "column {table}.{name} is {left} on SQLite and {right} on Postgres"
            ));
        }
        if left.is_required != right.is_required {
            differences.push(format!("column {table}.{name} is NOT NULL on one database only"));
        }
        if left.key_position != right.key_position {
            differences.push(format!(
                "column {table}.{name} has different places in the primary keys"
            ));
        }
    }
}

fn compare_rest(table: &str, left: &Table, right: &Table, differences: &mut Vec<String>) {
    let (left_indexes, right_indexes) = (index_texts(left), index_texts(right));
    for index in left_indexes.symmetric_difference(&right_indexes) {
        differences.push(format!("table {table} has on one database only: {index}"));
    }
    let (left_keys, right_keys) = (reference_texts(left), reference_texts(right));
    for key in left_keys.symmetric_difference(&right_keys) {
        differences.push(format!("table {table} has on one database only: foreign key {key}"));
    }
    let sorted = |table: &Table| {
        let mut checks = table.checks.clone();
        checks.sort();
        checks
    };
    if sorted(left) != sorted(right) {
        differences.push(format!("table {table} has different CHECKs"));
    }
}

fn index_texts(table: &Table) -> BTreeSet<String> {
    let text = |(name, index): (&String, &Index)| {
        let kind = if index.is_unique { "unique index" } else { "index" };
        let part = if index.is_partial { " on some rows" } else { "" };
        // An index on an expression is found again by its name alone.
        match columns(index) {
            Some(columns) => format!("{kind} of {}{part}", columns.join(", ")),
            None => format!("{kind} {name} on an expression{part}"),
        }
    };
    table.indexes.iter().map(text).collect()
}

fn reference_texts(table: &Table) -> BTreeSet<String> {
    table.references.values().map(|columns| columns.join("; ")).collect()
}

fn columns(index: &Index) -> Option<Vec<&str>> {
    index.columns.iter().map(Option::as_deref).collect()
}

fn require_names_and_collations(table: &str, right: &Table, differences: &mut Vec<String>) {
    let mut indexed: BTreeSet<&str> = right
        .indexes
        .values()
        .flat_map(|index| index.columns.iter().flatten())
        .map(String::as_str)
        .collect();
    indexed.extend(
        right
            .columns
            .iter()
            .filter(|(_, column)| column.key_position > 0)
            .map(|(name, _)| name.as_str()),
    );
    for name in indexed {
        let column = &right.columns[name];
        if column.type_name == "text" && !column.sorts_by_bytes {
            differences.push(format!(
                "column {table}.{name} is in an index and lacks COLLATE \"C\" on Postgres"
            ));
        }
    }
    for (name, index) in right.indexes.iter().filter(|(_, index)| index.is_unique) {
        let Some(columns) = columns(index) else { continue };
        let wanted = format!("{table}_{}_key", columns.join("_"));
        if *name != wanted {
            differences.push(format!("unique index {name} on Postgres is to be named {wanted}"));
        }
    }
}

/// The quoted words of every CHECK in a definition, except those that make a boolean of an INTEGER.
fn checks(text: &str) -> Vec<Vec<String>> {
    let text: String = text
        .lines()
        .map(|line| line.split("--").next().unwrap_or_default())
        .collect();
    let mut found = Vec::new();
    for rest in text.split("CHECK").skip(1) {
        let mut depth = 0_usize;
        let end = rest.find(|character| {
            depth = match character {
                '(' => depth + 1,
                ')' => depth.saturating_sub(1),
                _ => depth,
            };
            character == ')' && depth == 0
        });
        let condition = &rest[..end.unwrap_or(rest.len())];
        if !condition.ends_with("IN (0, 1)") {
            let mut words: Vec<String> = condition.split('\'').skip(1).step_by(2).map(str::to_owned).collect();
            words.sort();
            found.push(words);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_a_check_are_found_in_the_texts_of_both_databases() {
        let words = vec![vec!["disabled".to_owned(), "enabled".to_owned()]];
        let sqlite = "CREATE TABLE t (status TEXT DEFAULT 'x' CHECK (status IN ('enabled', 'disabled')), -- CHECK it\n
            is_on INTEGER CHECK (is_on IN (0, 1)))";
        assert_eq!(checks(sqlite), words);
        assert_eq!(
            checks("CHECK ((status = ANY (ARRAY['enabled'::text, 'disabled'::text])))"),
            words
        );
    }
}

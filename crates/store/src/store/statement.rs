//! The SQL of the message stores; what only one of them runs says so.

use std::sync::{Arc, LazyLock};

use super::row::COLUMNS;
use crate::TOTAL_MAX;

/// Records of the INSERT statements, largest first; every number of records is a sum of them. Few texts, so that they stay prepared.
pub(super) const INSERT_RECORDS: [usize; 5] = [256, 64, 16, 4, 1];

/// The statements for [`INSERT_RECORDS`].
pub(super) static INSERTS: LazyLock<[Arc<str>; INSERT_RECORDS.len()]> =
    LazyLock::new(|| INSERT_RECORDS.map(|count| insert_records(count).into()));

pub(super) const SELECT_CHANNEL: &str = "
SELECT channel_key
FROM channels
WHERE domain_id = $1
  AND channel_id = $2";

/// On SQLite.
pub(super) const INSERT_CHANNEL: &str = "
INSERT INTO channels (domain_id, channel_id)
VALUES ($1, $2)
RETURNING channel_key";

pub(super) const UPSERT_POSITION: &str = "
INSERT INTO positions (consumer_group, log_shard, log_incarnation, log_sequence)
VALUES ($1, $2, $3, $4)
ON CONFLICT (consumer_group, log_shard) DO UPDATE
SET log_incarnation = excluded.log_incarnation, log_sequence = excluded.log_sequence";

pub(super) const SELECT_POSITION: &str = "
SELECT log_incarnation, log_sequence
FROM positions
WHERE consumer_group = $1
  AND log_shard = $2";

pub(super) const INSERT_UNREADABLE: &str = "
INSERT INTO unreadable_entries (log_incarnation, log_shard, log_sequence, error)
VALUES ($1, $2, $3, $4)
ON CONFLICT DO NOTHING";

/// The part that pages and totals share. A key range is two comparisons, so that the index gives it as one stretch.
const WHERE_MATCHES: &str = "
WHERE channel_key = $1
  AND (time, message_id, pack_index) >= ($2, $3, $4)
  AND (time, message_id, pack_index) < ($5, $6, $7)
  AND ($8 IS NULL OR subtopic = $8)
  AND ($9 IS NULL OR publisher_id = $9)
  AND ($10 IS NULL OR protocol = $10)
  AND ($11 IS NULL OR name = $11)";

/// A page, latest first.
pub(super) static SELECT_DESCENDING: LazyLock<String> = LazyLock::new(|| select("DESC"));

/// A page, earliest first.
pub(super) static SELECT_ASCENDING: LazyLock<String> = LazyLock::new(|| select("ASC"));

/// The number of matches, counted to one more than the total may be.
pub(super) static COUNT: LazyLock<String> = LazyLock::new(|| {
    format!(
        "SELECT COUNT(*) FROM (SELECT 1 FROM messages{WHERE_MATCHES} LIMIT {}) AS matching",
        TOTAL_MAX + 1
    )
});

fn select(direction: &str) -> String {
    format!(
        "SELECT {} FROM messages{WHERE_MATCHES}
ORDER BY time {direction}, message_id {direction}, pack_index {direction}
LIMIT $12 OFFSET $13",
        COLUMNS.join(", ")
    )
}

/// On SQLite: inserts `count` records; those that are there are left as they are.
fn insert_records(count: usize) -> String {
    let row = format!("({})", vec!["?"; COLUMNS.len() + 1].join(", "));
    format!(
        "INSERT INTO messages (channel_key, {})
VALUES {}
ON CONFLICT DO NOTHING",
        COLUMNS.join(", "),
        vec![row.as_str(); count].join(", ")
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use sqlx::{AssertSqlSafe, Connection as _, Row as _, SqliteConnection};

    use super::*;

    #[tokio::test]
    async fn a_page_is_one_stretch_of_the_index() {
        let mut connection = SqliteConnection::connect("sqlite::memory:").await.unwrap();
        let migration = include_str!("schema/sqlite_0001_messages.sql");
        sqlx::raw_sql(migration).execute(&mut connection).await.unwrap();
        for select in [&*SELECT_DESCENDING, &*SELECT_ASCENDING] {
            let explain = AssertSqlSafe(format!("EXPLAIN QUERY PLAN {select}"));
            let steps = sqlx::query(explain).fetch_all(&mut connection).await.unwrap();
            let steps: Vec<String> = steps.iter().map(|step| step.get("detail")).collect();
            let search = "SEARCH messages USING INDEX messages_key \
                (channel_key=? AND (time,message_id,pack_index)>(?,?,?) AND (time,message_id,pack_index)<(?,?,?))";
            assert_eq!(steps, [search]);
        }
    }
}

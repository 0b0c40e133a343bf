//! A statement that is written once means the same on both databases.
#![allow(clippy::unwrap_used, missing_docs)]

mod both;

use both::both;
use sea_query::{Alias, Asterisk, Expr, ExprTrait as _, Order, Query, SelectStatement};
use trunkline_core::{ClientId, Timestamp};
use trunkline_db::{Db, Error, Page, Row, Total, Tx, page, params};
use uuid::Uuid;

const ADD: &str = "
    INSERT INTO sites (id, name, status, route, is_open, picture, revision, created_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
    RETURNING id";

const ADD_DOOR: &str = "
    INSERT INTO doors (site_id, number, code)
    VALUES ($1, $2, $3)";

const ADD_MANY: &str = "
    WITH RECURSIVE numbers (number) AS (
        SELECT CAST(1 AS BIGINT)
        UNION ALL
        SELECT number + 1
        FROM numbers
        WHERE number < $2
    )
    INSERT INTO doors (site_id, number)
    SELECT $1, number
    FROM numbers";

const FIND: &str = "
    SELECT id, name, status, route, is_open, picture, revision, created_at
    FROM sites
    WHERE id = $1";

const SITE_COUNT: &str = "
    SELECT COUNT(*) AS n
    FROM sites";

const REVISION: &str = "
    SELECT revision
    FROM sites
    WHERE id = $1";

const SET_REVISION: &str = "
    UPDATE sites
    SET revision = $2
    WHERE id = $1";

const DOORS_AFTER: &str = "
    SELECT number
    FROM doors
    WHERE (site_id, number) > ($1, $2)
    ORDER BY site_id, number
    LIMIT $3";

async fn add(tx: &mut Tx<'_>, name: &str, status: &str, route: Option<&str>) -> Result<ClientId, Error> {
    let values = params![
        ClientId::new(),
        name,
        status,
        route,
        None::<bool>,
        None::<Vec<u8>>,
        1_i64,
        None::<Timestamp>
    ];
    tx.fetch_one(ADD, values, |row| row.get("id")).await
}

async fn site(db: &Db, name: &str) -> ClientId {
    db.write(|tx| Box::pin(add(tx, name, "enabled", None))).await.unwrap()
}

async fn count(db: &Db) -> i64 {
    db.fetch_one(SITE_COUNT, params![], |row| row.get("n")).await.unwrap()
}

#[tokio::test]
async fn every_kind_of_value_reads_back_as_it_was_bound() {
    for opened in both().await {
        let (full, empty) = (ClientId::new(), Uuid::now_v7());
        let now = Timestamp::from_micros(1_700_000_000_123_456);
        let bytes = vec![0, 255];
        opened
            .db
            .execute(ADD, params![full, "Käse", "enabled", "k", true, &bytes, i64::MIN, now])
            .await
            .unwrap();
        let values = params![
            empty,
            "",
            "disabled",
            None::<&str>,
            None::<bool>,
            None::<Vec<u8>>,
            0_i64,
            None::<Timestamp>
        ];
        opened.db.execute(ADD, values).await.unwrap();

        let read = |row: &Row| {
            assert_eq!(row.get::<Option<ClientId>>("id")?, Some(full));
            assert_eq!(row.get::<String>("name")?, "Käse");
            assert_eq!(row.get::<Option<String>>("route")?.as_deref(), Some("k"));
            assert!(row.get::<bool>("is_open")?);
            assert_eq!(row.get::<Vec<u8>>("picture")?, bytes);
            assert_eq!(row.get::<i64>("revision")?, i64::MIN);
            assert_eq!(row.get::<Timestamp>("created_at")?, now);
            Ok(())
        };
        assert_eq!(
            opened.db.fetch_optional(FIND, params![full], read).await.unwrap(),
            Some(())
        );

        let read_empty = |row: &Row| {
            assert_eq!(row.get::<Option<String>>("route")?, None);
            assert_eq!(row.get::<Option<bool>>("is_open")?, None);
            assert_eq!(row.get::<Option<Vec<u8>>>("picture")?, None);
            assert_eq!(row.get::<Option<Timestamp>>("created_at")?, None);
            row.get::<String>("route").map(drop)
        };
        let unexpected_null = opened.db.fetch_optional(FIND, params![empty], read_empty).await;
        assert!(matches!(unexpected_null, Err(Error::Corrupt(_))), "{unexpected_null:?}");
    }
}

#[tokio::test]
async fn a_violated_unique_constraint_has_one_name_on_both_databases() {
    for opened in both().await {
        let id = site(&opened.db, "kitchen").await;
        opened.db.execute(ADD_DOOR, params![id, 1_i64, "a"]).await.unwrap();
        opened
            .db
            .write(|tx| Box::pin(add(tx, "hall", "enabled", Some("r"))))
            .await
            .unwrap();

        let number = opened.db.execute(ADD_DOOR, params![id, 1_i64, "b"]).await.unwrap_err();
        assert!(number.is_conflict("doors_pkey"), "{number}");
        let code = opened.db.execute(ADD_DOOR, params![id, 2_i64, "a"]).await.unwrap_err();
        assert!(code.is_conflict("doors_site_id_code_key"), "{code}");
        let folded = opened
            .db
            .write(|tx| Box::pin(add(tx, "Kitchen", "disabled", None)))
            .await
            .unwrap_err();
        assert!(folded.is_conflict("sites_name_folded"), "{folded}");
        let route = opened
            .db
            .write(|tx| Box::pin(add(tx, "attic", "enabled", Some("r"))))
            .await
            .unwrap_err();
        assert!(route.is_conflict("sites_route_key"), "{route}");
    }
}

#[tokio::test]
async fn a_row_that_refers_to_nothing_and_a_word_outside_the_set_are_told_apart() {
    for opened in both().await {
        let orphan = opened.db.execute(ADD_DOOR, params![ClientId::new(), 1_i64, "a"]).await;
        assert!(matches!(orphan, Err(Error::Foreign)), "{orphan:?}");
        let word = opened.db.write(|tx| Box::pin(add(tx, "kitchen", "asleep", None))).await;
        assert!(matches!(word, Err(Error::Defect(_))), "{word:?}");
    }
}

#[tokio::test]
async fn a_write_that_fails_changes_nothing() {
    #[derive(Debug, PartialEq)]
    enum Refusal {
        Full,
        Database(String),
    }
    impl From<Error> for Refusal {
        fn from(error: Error) -> Self {
            Self::Database(error.to_string())
        }
    }
    for opened in both().await {
        let refused = opened.db.write(|tx| {
            Box::pin(async {
                add(tx, "kitchen", "enabled", None).await?;
                Err::<(), _>(Refusal::Full)
            })
        });
        assert_eq!(refused.await, Err(Refusal::Full));
        assert_eq!(count(&opened.db).await, 0);
    }
}

#[tokio::test]
async fn a_write_that_goes_on_after_a_failed_statement_changes_nothing() {
    for opened in both().await {
        let ignored = opened.db.write(|tx| {
            Box::pin(async {
                add(tx, "kitchen", "enabled", None).await?;
                assert!(add(tx, "attic", "asleep", None).await.is_err());
                Ok::<_, Error>(())
            })
        });
        assert!(matches!(ignored.await, Err(Error::Defect(_))));
        assert_eq!(count(&opened.db).await, 0);
    }
}

#[tokio::test]
async fn a_write_whose_caller_goes_away_changes_nothing_and_frees_its_turn() {
    for opened in both().await {
        let (reached, at_rest) = tokio::sync::oneshot::channel::<()>();
        let reached = std::sync::Mutex::new(Some(reached));
        let abandoned = opened.db.write(|tx| {
            Box::pin(async {
                add(tx, "kitchen", "enabled", None).await?;
                drop(reached.lock().unwrap().take());
                std::future::pending::<Result<(), Error>>().await
            })
        });
        tokio::select! {
            _ = abandoned => unreachable!("it waits for ever"),
            _ = at_rest => {}
        }
        assert_eq!(count(&opened.db).await, 0);
        site(&opened.db, "hall").await;
        assert_eq!(count(&opened.db).await, 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_that_come_between_each_other_all_count() {
    const WRITERS: i64 = 6;
    for opened in both().await {
        let id = site(&opened.db, "kitchen").await;
        let writers = (0..WRITERS).map(|_| {
            let db = opened.db.clone();
            tokio::spawn(async move {
                db.write(|tx| {
                    Box::pin(async move {
                        let revision: i64 = tx.fetch_one(REVISION, params![id], |row| row.get("revision")).await?;
                        tx.execute(SET_REVISION, params![id, revision + 1]).await
                    })
                })
                .await
            })
        });
        for writer in writers.collect::<Vec<_>>() {
            assert_eq!(
                writer.await.unwrap().unwrap_or_else(|error: Error| panic!("{error}")),
                1
            );
        }
        let revision: i64 = opened
            .db
            .fetch_one(REVISION, params![id], |row| row.get("revision"))
            .await
            .unwrap();
        assert_eq!(revision, 1 + WRITERS);
    }
}

#[tokio::test]
async fn a_read_sees_one_instant_whatever_is_written_meanwhile() {
    for opened in both().await {
        let db = &opened.db;
        let counts = db.read(|tx| {
            Box::pin(async move {
                let before: i64 = tx.fetch_one(SITE_COUNT, params![], |row| row.get("n")).await?;
                site(db, "kitchen").await;
                let after: i64 = tx.fetch_one(SITE_COUNT, params![], |row| row.get("n")).await?;
                Ok::<_, Error>((before, after))
            })
        });
        assert_eq!(counts.await.unwrap(), (0, 0));
        assert_eq!(count(db).await, 1);
    }
}

#[tokio::test]
async fn a_read_cannot_write() {
    for opened in both().await {
        let written = opened.db.read(|tx| Box::pin(add(tx, "kitchen", "enabled", None))).await;
        assert!(matches!(written, Err(Error::Unavailable(_))), "{written:?}");
        assert_eq!(count(&opened.db).await, 0);
    }
}

fn doors() -> SelectStatement {
    Query::select()
        .column(Alias::new("number"))
        .from(Alias::new("doors"))
        .order_by(Alias::new("number"), Order::Desc)
        .take()
}

#[tokio::test]
async fn a_list_is_cut_to_its_page_and_counted_up_to_the_cap() {
    for opened in both().await {
        let id = site(&opened.db, "kitchen").await;
        let number = |row: &Row| row.get::<i64>("number");
        let page = Page::parse(Some(1), Some(2)).unwrap();

        opened.db.execute(ADD_MANY, params![id, 4_i64]).await.unwrap();
        let (total, rows) = opened.db.list(&doors(), page, number).await.unwrap();
        assert_eq!(
            (total, rows),
            (
                Total {
                    count: 4,
                    is_capped: false
                },
                vec![3, 2]
            )
        );

        let none = doors()
            .and_where(Expr::col(Alias::new("site_id")).eq(Uuid::nil()))
            .take();
        let (total, rows) = opened.db.list(&none, page, number).await.unwrap();
        assert_eq!(
            (total, rows),
            (
                Total {
                    count: 0,
                    is_capped: false
                },
                vec![]
            )
        );

        let more = i64::try_from(page::TOTAL_MAX).unwrap() + 1;
        let other = site(&opened.db, "hall").await;
        opened.db.execute(ADD_MANY, params![other, more]).await.unwrap();
        let (total, _) = opened.db.list(&doors(), page, number).await.unwrap();
        assert_eq!(
            total,
            Total {
                count: page::TOTAL_MAX,
                is_capped: true
            }
        );
    }
}

#[tokio::test]
async fn a_keyset_goes_on_after_the_last_row_of_the_page_before() {
    for opened in both().await {
        let id = site(&opened.db, "kitchen").await;
        opened.db.execute(ADD_MANY, params![id, 5_i64]).await.unwrap();
        let rows = opened
            .db
            .fetch_all(DOORS_AFTER, params![id, 2_i64, 2_i64], |row| row.get::<i64>("number"))
            .await;
        assert_eq!(rows.unwrap(), [3, 4]);
    }
}

#[tokio::test]
async fn a_built_update_touches_the_rows_of_its_condition() {
    for opened in both().await {
        let id = site(&opened.db, "kitchen").await;
        site(&opened.db, "hall").await;
        let update = Query::update()
            .table(Alias::new("sites"))
            .value(Alias::new("is_open"), true)
            .value(Alias::new("picture"), vec![7_u8])
            .and_where(Expr::col(Alias::new("id")).eq(id.uuid()))
            .take();
        let touched: Result<u64, Error> = opened
            .db
            .write(|tx| Box::pin(async { tx.execute_built(&update).await }))
            .await;
        assert_eq!(touched.unwrap(), 1);

        let open = Query::select()
            .column(Asterisk)
            .from(Alias::new("sites"))
            .and_where(Expr::col(Alias::new("is_open")).eq(true))
            .take();
        assert_eq!(
            opened.db.select(&open, |row| row.get::<ClientId>("id")).await.unwrap(),
            [id]
        );
    }
}

#[tokio::test]
async fn sqlite_syncs_each_commit_and_keeps_its_memory_small() {
    let [sqlite, _] = both().await;
    let settings: [i64; 4] = sqlite
        .db
        .write(|tx| {
            Box::pin(async {
                let synchronous = tx
                    .fetch_one("PRAGMA synchronous", params![], |row| row.get("synchronous"))
                    .await?;
                let foreign = tx
                    .fetch_one("PRAGMA foreign_keys", params![], |row| row.get("foreign_keys"))
                    .await?;
                let cache = tx
                    .fetch_one("PRAGMA cache_size", params![], |row| row.get("cache_size"))
                    .await?;
                let mapped = tx
                    .fetch_optional("PRAGMA mmap_size", params![], |row| row.get("mmap_size"))
                    .await?;
                Ok::<_, Error>([synchronous, foreign, cache, mapped.unwrap_or_default()])
            })
        })
        .await
        .unwrap();
    assert_eq!(settings, [2, 1, -1024, 0], "FULL, ON, KiB, bytes");
    let mode: String = sqlite
        .db
        .fetch_one("PRAGMA journal_mode", params![], |row| row.get("journal_mode"))
        .await
        .unwrap();
    assert_eq!(mode, "wal");
}

//! A trial: a site on the platform, loads that share a ledger, and the judgement.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use trunkline_bench::check::{Verdict, check};
use trunkline_bench::ledger::{Book, Ledger, Protocol};
use trunkline_bench::load::{Clock, Counts, Load, Plan, Target};
use trunkline_bench::site::{Access, Site};
use trunkline_bench::{Place, Row, reader, store};

use crate::platform::{Ground, Platform};

/// How long the platform may take to store what it accepted.
const QUIESCE_WAIT: Duration = Duration::from_secs(60);
/// No load of a test goes on longer.
const LOAD_TIME_MAX: Duration = Duration::from_secs(300);

/// Name of the record that tests publish themselves.
pub(crate) const PROBE_NAME: &str = "probe";

pub(crate) struct Trial {
    pub(crate) site: Site,
    ledger: Arc<Ledger>,
    path: PathBuf,
    run: String,
    clock: Clock,
}

impl Trial {
    /// A fresh site of two domains with `clients` clients each, and a fresh ledger.
    pub(crate) async fn start(ground: &Ground, platform: &Platform, clients: usize) -> Self {
        Self::on(&ground.path(""), &platform.access, clients).await
    }

    /// The same on any platform, with the ledger in `folder`.
    pub(crate) async fn on(folder: &Path, access: &Access, clients: usize) -> Self {
        let site = Site::make(access, 2, clients).await.unwrap();
        let run = Plan::new_run();
        let path = folder.join(format!("ledger-{run}"));
        Self {
            site,
            ledger: Ledger::create(&path, &run).unwrap(),
            path,
            run,
            clock: Clock::start(),
        }
    }

    /// A plan of unbounded count that goes on whatever happens to its connections.
    pub(crate) fn plan(&self, protocol: Protocol, connections: usize, window: usize) -> Plan {
        Plan {
            run: self.run.clone(),
            protocol,
            qos: 1,
            connections,
            window,
            rate: None,
            payload_bytes: 256,
            messages_max: u64::MAX,
            time_max: LOAD_TIME_MAX,
            is_persistent: true,
            tier: "synced".to_owned(),
        }
    }

    pub(crate) fn load(&self, plan: &Plan, targets: &[Target]) -> Load {
        Load::start(plan, targets, Some(&self.ledger), self.clock).unwrap()
    }

    /// The ledger's file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The same trial on a platform that was started anew.
    pub(crate) async fn moved(self, platform: &Platform) -> Self {
        let site = self.site.moved(&platform.access).await.unwrap();
        Self { site, ..self }
    }

    /// The verdicts, leaving out what the test itself published beside the loads.
    pub(crate) async fn verdicts_beside_probes(self, ground: &Ground, platform: &Platform) -> [Verdict; 2] {
        self.judged(ground, platform, |row| row.name != PROBE_NAME).await
    }

    /// The verdict by the reader, and by the store's file in the order of the log, once all is stored.
    pub(crate) async fn verdicts(self, ground: &Ground, platform: &Platform) -> [Verdict; 2] {
        self.judged(ground, platform, |_| true).await
    }

    async fn judged(self, ground: &Ground, platform: &Platform, is_judged: fn(&Row) -> bool) -> [Verdict; 2] {
        let rows = async |place: &Place| store::rows(&ground.data("messages.db"), place).await.unwrap();
        self.judged_by(&platform.access, rows, is_judged).await
    }

    /// The verdict by the reader, and by the rows that the store gives in the order of the log, once all is stored.
    pub(crate) async fn judged_by(
        self,
        access: &Access,
        rows: impl AsyncFn(&Place) -> Vec<Row>,
        is_judged: fn(&Row) -> bool,
    ) -> [Verdict; 2] {
        self.ledger.close().unwrap();
        let site = self.site.moved(access).await.unwrap();
        site.quiesce(QUIESCE_WAIT).await.unwrap();
        let book = Book::read(&self.path).unwrap();
        let (mut read, mut stored) = (Vec::new(), Vec::new());
        for place in book.places() {
            read.extend(reader::rows(&site, &place).await.unwrap());
            stored.extend(rows(&place).await);
        }
        [read, stored].map(|mut rows| {
            rows.retain(is_judged);
            check(&book, &rows)
        })
    }
}

/// The sum of a count over loads.
pub(crate) fn sum(loads: &[Load], count: impl Fn(&Counts) -> u64) -> u64 {
    loads.iter().map(|load| count(&load.counts)).sum()
}

pub(crate) fn acknowledged(loads: &[Load]) -> u64 {
    sum(loads, |counts| Counts::of(&counts.acknowledged))
}

/// Asserts that no promise was broken.
pub(crate) fn assert_clean(verdicts: &[Verdict; 2], ground: &Ground) {
    assert_clean_beside(verdicts, || ground.log());
}

/// The same, showing this log when one was.
pub(crate) fn assert_clean_beside(verdicts: &[Verdict; 2], log: impl Fn() -> String) {
    for (source, verdict) in ["reader", "store"].into_iter().zip(verdicts) {
        assert!(verdict.is_clean(), "by the {source}:\n{verdict}\n{}", log());
    }
}

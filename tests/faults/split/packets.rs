//! The network loses packets, in a network namespace of the test's own: nobody is told, no connection breaks, and the kernel repeats
//! what was lost at longer and longer intervals. The proxies of the other tests cannot do that.

use std::process::Command;
use std::time::{Duration, Instant};

use trunkline_bench::load::Counts;
use trunkline_testkit::{Proxy, tool, until};

use super::ground::{Ground, Part};
use super::{Strain, WAIT};
use crate::kill::variable;
use crate::trial::sum;

/// Set for the test that runs in a namespace of its own.
const INSIDE: &str = "TRUNKLINE_TEST_IS_IN_ITS_OWN_NETWORK";
const NAME: &str = "split::packets::whatever_line_loses_its_packets_nothing_is_lost_and_it_heals_by_itself";
/// Seconds that a line carries nothing unless `TRUNKLINE_TEST_FREEZE_SECONDS` says otherwise.
const CUT_SECONDS: u64 = 3;
/// Acknowledgements of each protocol that show that all clients are back.
const SETTLED: u64 = 400;
/// The routing table of all that is lost.
const LOST: &str = "200";

#[test]
fn whatever_line_loses_its_packets_nothing_is_lost_and_it_heals_by_itself() {
    if std::env::var_os(INSIDE).is_some() {
        Network::make();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        return runtime.block_on(lose_packets());
    }
    let permitted = Command::new("unshare").args(["--net", "true"]).output();
    if !permitted.is_ok_and(|output| output.status.success()) {
        eprintln!("no packets are lost here: network namespaces need root and are not permitted");
        return;
    }
    let mut again = Command::new("unshare");
    again.arg("--net").arg(std::env::current_exe().unwrap());
    again.args(["--exact", NAME, "--nocapture"]).env(INSIDE, "1");
    assert!(again.status().unwrap().success(), "it failed in a network of its own");
}

async fn lose_packets() {
    let cut = Duration::from_secs(variable("TRUNKLINE_TEST_FREEZE_SECONDS").unwrap_or(CUT_SECONDS));
    let ground = Ground::start().await;
    let strain = Strain::start(&ground).await;
    let [mqtt, edge, store] = [Part::Mqtt, Part::Edge, Part::Store].map(|part| ground.process(part));
    strain.works(WAIT).await;

    let lost = Network::lose([&mqtt.to_nats]);
    let count = strain.stands_still(false).await;
    for_all_of(cut).await;
    // Clients wait until they are told that the server is busy.
    until(WAIT, async || {
        sum(&strain.loads, |counts| Counts::of(&counts.broken)) > 0
    })
    .await;
    assert_eq!(
        strain.counts()[..2].iter().sum::<u64>(),
        count,
        "acknowledged, and stored nowhere"
    );
    drop(lost);
    strain.heals("MQTT without packets from NATS").await;
    // After a long cut clients take their time to come back, and nobody new is admitted without the services.
    let before = strain.counts();
    until(WAIT, async || {
        strain
            .counts()
            .iter()
            .zip(&before)
            .all(|(now, before)| *now >= before + SETTLED)
    })
    .await;

    let deciders: Vec<&Proxy> = mqtt.to_deciders().chain(edge.to_deciders()).collect();
    for (lines, what) in [
        (deciders, "MQTT and HTTP without packets from the services"),
        (vec![&store.to_nats], "the writer without packets from NATS"),
        (vec![&store.to_postgres], "the writer without packets from Postgres"),
    ] {
        let lost = Network::lose(lines);
        for_all_of(cut).await;
        strain.works(WAIT).await;
        drop(lost);
        strain.heals(what).await;
    }
    strain.assert_clean(&ground).await;
}

async fn for_all_of(cut: Duration) {
    let began = Instant::now();
    until(cut + WAIT, async || began.elapsed() > cut).await;
}

/// The namespace that the test runs in.
struct Network;

/// Ports that nothing reaches, and that nothing leaves, until it is dropped.
struct Lost(Vec<u16>);

impl Network {
    /// Makes a network whose only host is this one, and a device in it that swallows what it is given.
    fn make() {
        for line in [
            "link set lo up",
            "link add lost type veth peer name nowhere",
            "link set lost arp off",
            "link set lost up",
            "link set nowhere up",
            // What is lost must be looked for before what is local.
            "rule add pref 100 lookup local",
            "rule del pref 0",
        ] {
            ip(line);
        }
        ip(&format!("route add default dev lost table {LOST}"));
    }

    /// From now on the kernel loses every packet between these proxies and those who call them.
    fn lose<'a>(lines: impl IntoIterator<Item = &'a Proxy>) -> Lost {
        let ports: Vec<u16> = lines.into_iter().map(|proxy| proxy.address().port()).collect();
        ports.iter().for_each(|port| rule("add", *port));
        Lost(ports)
    }
}

impl Drop for Lost {
    fn drop(&mut self) {
        self.0.iter().for_each(|port| rule("del", *port));
    }
}

fn rule(change: &str, port: u16) {
    for end in ["sport", "dport"] {
        ip(&format!("rule {change} pref 50 ipproto tcp {end} {port} lookup {LOST}"));
    }
}

fn ip(line: &str) {
    let output = Command::new(tool("iproute")).args(line.split(' ')).output().unwrap();
    assert!(
        output.status.success(),
        "ip {line}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

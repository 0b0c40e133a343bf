//! What the table must not hide.

use super::*;

fn part(name: &'static str, per_second: f64, floor: [f64; 2]) -> Part {
    Part {
        floor,
        ..Part::new(name, 64, per_second)
    }
}

#[test]
fn ratios_are_of_pairs_and_show_their_spread() {
    let steady = [1_000.0, 1_100.0];
    let parts = [
        part(TRUNKLINE, 100.0, steady),
        part(BARE, 200.0, steady),
        part(BARE, 100.0, steady),
        part(TRUNKLINE, 90.0, steady),
    ];
    let text = ratios(&parts);
    assert!(
        text.contains("@64    trunkline / bare loop  0.70 (0.50 to 0.90, 2 pairs)"),
        "{text}"
    );
    assert!(text.contains("trunkline / mosquitto  no steady pair"), "{text}");
}

#[test]
fn a_part_on_a_disk_that_changed_is_left_out_and_says_so() {
    let moved = part(TRUNKLINE, 100.0, [1_000.0, 700.0]);
    assert!(line(&moved).contains("NOT STEADY"));
    let steady = part(BARE, 100.0, [1_000.0; 2]);
    let text = ratios(&[moved, steady]);
    assert!(text.contains("trunkline / bare loop  no steady pair"), "{text}");
}

#[tokio::test]
async fn the_bare_loop_stores_what_it_acknowledges() {
    let folder = tempfile::tempdir().expect("tests write to the folder for temporary files");
    let bare = bare::run(folder.path(), 64, 256, Duration::from_secs(1))
        .await
        .expect("the loop runs");
    assert!(
        bare.acknowledged > 0.0 && bare.commits > 0.0 && bare.stored > 0.0,
        "{bare:?}"
    );
    assert!(
        bare.stored <= bare.acknowledged && bare.commits < bare.acknowledged,
        "{bare:?}"
    );
}

#[test]
fn a_folder_in_memory_keeps_nothing() {
    let in_memory = FileSystem::of(std::path::Path::new("/dev/shm"));
    assert!(in_memory.is_ok_and(|system| !system.keeps_synced()));
}

#[test]
fn a_pair_is_never_made_of_parts_that_ran_apart() {
    let (steady, moved) = ([1_000.0; 2], [1_000.0, 500.0]);
    let parts = [
        part(TRUNKLINE, 100.0, steady),
        part(BARE, 200.0, moved),
        part(BARE, 100.0, steady),
        part(TRUNKLINE, 50.0, steady),
    ];
    let text = ratios(&parts);
    assert!(text.contains("trunkline / bare loop  0.50 (1 pair)"), "{text}");
}

#[test]
fn a_floor_that_a_part_went_below_is_no_floor() {
    let claim = "the raw syncs are no floor";
    let commits = |per_commit| Part {
        per_commit: Some(per_commit),
        ..part(TRUNKLINE, 2_000.0, [300.0; 2])
    };
    assert!(ratios(&[commits(1.0)]).contains(claim));
    assert!(!ratios(&[commits(10.0)]).contains(claim));
}

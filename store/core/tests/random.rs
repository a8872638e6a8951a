//! Bare cores under random faults, from fixed seeds. A seed that fails is replayed, with its trace, by
//! `FEIRA_SEED=n cargo test -p store-core --test random`; `FEIRA_SEEDS=n` runs so many instead of the usual number.

mod harness;

use harness::chaos::Chaos;

/// Seeds in an ordinary run.
const SEEDS: u64 = 1_000;

fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

#[test]
fn clusters_survive_faults_and_become_one_again() {
    let replayed = from_environment("FEIRA_SEED");
    let seeds = replayed.map_or(0..from_environment("FEIRA_SEEDS").unwrap_or(SEEDS), |seed| seed..seed + 1);
    let many = seeds.end - seeds.start;
    let (mut elections, mut truncated, mut installed, mut answered, mut trusted) = (0, 0, 0, 0, 0);
    let (mut changed, mut swapped, mut inherited, mut wiped) = (0, 0, 0, 0);
    for seed in seeds {
        println!("seed {seed}");
        let mut chaos = Chaos::new(seed);
        chaos.cluster.trace = replayed.map(|_| Vec::new());
        chaos.run();
        let counts = chaos.cluster.counts;
        elections += u64::from(chaos.cluster.oracle.elections() > 2);
        truncated += u64::from(counts.truncations > 0);
        installed += u64::from(counts.installs > 0);
        answered += u64::from(chaos.cluster.oracle.reads_answered > 5);
        trusted += u64::from(counts.trusted > 0);
        changed += u64::from(counts.memberships > 3);
        swapped += u64::from(counts.swaps > 0);
        inherited += u64::from(counts.inherited > 0);
        wiped += u64::from(counts.wiped > 0);
    }
    println!(
        "of {many}: elections {elections} truncated {truncated} installed {installed} answered {answered} trusted {trusted} \
         changed {changed} swapped {swapped} inherited {inherited} wiped {wiped}"
    );
    if replayed.is_none() {
        // Faults that never happen prove nothing.
        assert!(2 * elections > many, "leaders changed in {elections} of {many}");
        assert!(4 * truncated > many, "logs were truncated in {truncated} of {many}");
        assert!(4 * installed > many, "snapshots were installed in {installed} of {many}");
        assert!(2 * answered > many, "reads were answered in {answered} of {many}");
        assert!(6 * changed > many, "members changed in {changed} of {many}");
        assert!(
            20 * inherited > many,
            "joint changes were finished by another leader in {inherited} of {many}"
        );
        assert!(20 * wiped > many, "disks were lost for good in {wiped} of {many}");
        assert!(20 * trusted > many, "suspect logs were trusted again in {trusted} of {many}");
    }
}

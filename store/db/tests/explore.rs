//! Random walks through transactions over several groups, each scene for a part of a few seconds.
//!
//! `FEIRA_SEED=n` begins with this seed, `FEIRA_EXPLORE_SECONDS=n` walks for so long. The seed of a walk that breaks a promise is
//! said in front of what broke.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod explorer;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::{Duration, Instant};

use explorer::{Seen, scene, walk};

const SECONDS: u64 = 4;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

#[test]
fn transactions_over_several_groups_keep_every_promise() {
    let scenes = scene::all();
    let whole = Duration::from_secs(number("FEIRA_EXPLORE_SECONDS", SECONDS));
    let each = whole / u32::try_from(scenes.len()).unwrap();
    for scene in scenes {
        let (begun, mut seen) = (Instant::now(), Seen::default());
        for seed in number("FEIRA_SEED", 0).. {
            let walked = catch_unwind(AssertUnwindSafe(|| walk(&scene, seed, &mut seen)));
            if let Err(broken) = walked {
                eprintln!("scene {}, FEIRA_SEED={seed}", scene.name);
                resume_unwind(broken);
            }
            if begun.elapsed() > each && seen.walks >= 20 {
                break;
            }
        }
        eprintln!("{}: {seen:?}", scene.name);
        assert!(seen.decided > 0, "{}: something is decided", scene.name);
    }
}

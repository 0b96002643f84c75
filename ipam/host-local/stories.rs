//! Stories: what runtimes, the Go plugin, people, crashes and reboots may do to a folder one after another. After each deed
//! the answer and all that lies in the folder are what the model says.
//!
//! ```text
//! PROPTEST_CASES=20000 cargo test -p ipam stories
//! ```

mod model;
mod world;

use std::fmt;

use proptest::prelude::*;

use model::{Keys, SHAPES, Text, Who};
use world::World;

#[derive(Clone, Debug)]
enum Deed {
    /// Whoever is not told the answer has no lease. `asks` are places in the list of names; `but` are the keys in which this
    /// call differs from the story's.
    Add {
        who: Who,
        asks: Vec<usize>,
        but: Keys,
        pod: Option<u8>,
        is_told: bool,
    },
    /// With these addresses in `prevResult`.
    Del {
        who: Who,
        result: Vec<usize>,
        but: Keys,
        pod: Option<u8>,
    },
    Gc {
        living: Option<Vec<Who>>,
        but: Keys,
    },
    /// Of a result with these addresses besides those that are the attachment's.
    Check {
        who: Who,
        others: Vec<usize>,
    },
    Status {
        but: Keys,
    },
    GoAdds {
        who: Who,
        at: usize,
    },
    GoDeletes {
        who: Who,
    },
    OldPluginAdds {
        container: u8,
        at: usize,
    },
    SomebodyReserves {
        at: usize,
        is_folder: bool,
    },
    SomebodyRemoves {
        at: usize,
    },
    CrashTears {
        at: usize,
        has_zeros: bool,
    },
    CrashTearsTheMarkOfASet {
        set: usize,
    },
    /// In the middle of a change: the index has lost its stamp.
    CallIsKilled,
    Reboot {
        is_other_machine: bool,
        is_run_kept: bool,
    },
    RunIsLost,
    IndexIsCut {
        length: u64,
    },
    IndexIsKept,
    KeptIndexComesBack,
    RestsEnd,
}

/// One network, the policy that it mostly has, and what happens to it.
#[derive(Clone)]
struct Story {
    shape: usize,
    keys: Keys,
    deeds: Vec<Deed>,
}

impl fmt::Debug for Story {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shape = &SHAPES[self.shape];
        writeln!(f, "shape {} with {:?}, named {:?}", self.shape, self.keys, shape.named)?;
        self.deeds.iter().try_for_each(|deed| writeln!(f, "  {deed:?}"))
    }
}

fn keys(share: f64) -> impl Strategy<Value = Keys> {
    let some = prop::bool::weighted(share);
    (some, some, some, some).prop_map(|(exclude, cooldown, sticky, random)| Keys {
        exclude,
        cooldown,
        sticky,
        random,
    })
}

fn deed() -> impl Strategy<Value = Deed> {
    let who = || (0..3_u8, 0..2_u8);
    let at = || 0..8_usize;
    let few = || prop_oneof![3 => Just(vec![]), 1 => prop::collection::vec(0..8_usize, 1..3)];
    let but = || keys(0.06);
    let pod = || prop::option::of(0..3_u8);
    let add = (who(), few(), but(), pod(), prop::bool::weighted(0.9));
    prop_oneof![
        12 => add.prop_map(|(who, asks, but, pod, is_told)| Deed::Add { who, asks, but, pod, is_told }),
        6 => (who(), few(), but(), pod()).prop_map(|(who, result, but, pod)| Deed::Del { who, result, but, pod }),
        2 => (prop::option::weighted(0.9, prop::collection::vec(who(), 0..5)), but())
            .prop_map(|(living, but)| Deed::Gc { living, but }),
        3 => (who(), few()).prop_map(|(who, others)| Deed::Check { who, others }),
        2 => but().prop_map(|but| Deed::Status { but }),
        3 => (who(), at()).prop_map(|(who, at)| Deed::GoAdds { who, at }),
        2 => who().prop_map(|who| Deed::GoDeletes { who }),
        1 => (0..3_u8, at()).prop_map(|(container, at)| Deed::OldPluginAdds { container, at }),
        2 => (at(), any::<bool>()).prop_map(|(at, is_folder)| Deed::SomebodyReserves { at, is_folder }),
        2 => at().prop_map(|at| Deed::SomebodyRemoves { at }),
        2 => (at(), any::<bool>()).prop_map(|(at, has_zeros)| Deed::CrashTears { at, has_zeros }),
        1 => (0..2_usize).prop_map(|set| Deed::CrashTearsTheMarkOfASet { set }),
        1 => Just(Deed::CallIsKilled),
        1 => (prop::bool::weighted(0.3), any::<bool>())
            .prop_map(|(is_other_machine, is_run_kept)| Deed::Reboot { is_other_machine, is_run_kept }),
        1 => Just(Deed::RunIsLost),
        1 => (0..9000_u64).prop_map(|length| Deed::IndexIsCut { length }),
        1 => Just(Deed::IndexIsKept),
        1 => Just(Deed::KeptIndexComesBack),
        1 => Just(Deed::RestsEnd),
    ]
}

fn story() -> impl Strategy<Value = Story> {
    let deeds = prop::collection::vec(deed(), 1..60);
    (0..SHAPES.len(), keys(0.3), deeds).prop_map(|(shape, keys, deeds)| Story { shape, keys, deeds })
}

/// A quarter of what others run, 64 where nobody asks for more: each takes some fifty milliseconds.
fn config() -> ProptestConfig {
    let asked = ProptestConfig::default();
    ProptestConfig { cases: asked.cases.div_ceil(4), max_shrink_iters: 10_000, ..asked }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn whatever_happens_to_a_folder_it_is_what_the_model_says(story in story()) {
        let mut world = World::new(&SHAPES[story.shape], story.keys);
        for (n, deed) in story.deeds.iter().enumerate() {
            let fits = world.act(deed).and_then(|()| world.compare());
            prop_assert!(fits.is_ok(), "deed {}, {:?}: {}", n + 1, deed, fits.unwrap_err());
        }
        // In the end nobody lives.
        let fits = world.act(&Deed::Gc { living: Some(Vec::new()), but: Keys::default() }).and_then(|()| world.compare());
        prop_assert!(fits.is_ok(), "GC at the end: {}", fits.unwrap_err());
        prop_assert!(world.model.files.values().all(|file| matches!(file.text, Text::Reserved | Text::Folder)));
    }
}

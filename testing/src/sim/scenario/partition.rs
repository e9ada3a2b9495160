//! The mesh falls apart and comes together.

use super::{Scenario, publishers};

/// From healing to one publisher (DESIGN section 9), milliseconds.
const HEALED_MS_MAX: u64 = 5_000;

pub(super) const TWO_THREE: Scenario = Scenario {
    name: "partition-2-3",
    about: "five nodes part into two and three for 10 to 120 s; the two overwrite nothing; one publisher 5 s after",
    nodes: 5,
    tell: |story| {
        story.form(5);
        story.calm(3_000);
        let first = story.draw(0, 4) as usize;
        let minority = [first, (first + 1 + story.draw(0, 3) as usize) % 5];
        let majority: Vec<_> = (0..5).filter(|node| !minority.contains(node)).collect();
        story.world.partition(&minority, &majority, true);
        let parted = story.draw(10_000, 120_000);
        story.world.run_for(parted);
        story.world.partition(&minority, &majority, false);
        let took = story.time_until(HEALED_MS_MAX, |world| publishers(world).count() == 1);
        story.healed_ms.extend(took);
        if took.is_none() {
            let count = publishers(&story.world).count();
            story.fail(format!("{count} publishers {HEALED_MS_MAX} ms after healing"));
        }
        // While a rival is remembered, uploads to a slot are 30 s apart.
        story.world.turmoil = true;
        story.world.run_for(35_000);
        story.world.turmoil = false;
        story.calm(10_000);
    },
};

//! Generations: how often each packet id of a client's messages at QoS 2 was used to the end.
//!
//! A message that may come again after a crash is known by its session, its packet id and the generation of that id. Clients count their
//! ids up or use the lowest that is free, so neighbours have equal generations, and runs of them are all that is kept.

use trunkline_mqtt_wire::PacketId;

use crate::limits::GENERATION_RUNS_MAX;

/// The generation of every packet id.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Generations {
    /// From which id on which generation holds; ids before the first run are at generation 0, and neighbours differ.
    runs: Vec<Run>,
}

/// Ids from `first` up to the next run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) first: u16,
    pub(crate) generation: u32,
}

impl Generations {
    /// The generations that `runs` say, which must rise in their ids.
    pub(crate) fn of_runs(runs: impl IntoIterator<Item = Run>) -> Option<Self> {
        let mut generations = Self::default();
        for run in runs {
            let is_first = generations.runs.last().is_none_or(|last| last.first < run.first);
            if !is_first || run.first == 0 {
                return None;
            }
            generations.push(run);
        }
        Some(generations)
    }

    pub(crate) fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// The generation of `id`.
    pub fn of(&self, id: PacketId) -> u32 {
        let after = self.runs.partition_point(|run| run.first <= id.get());
        after.checked_sub(1).map_or(0, |place| self.runs[place].generation)
    }

    /// `id` was used to the end: its next message is another one.
    pub(super) fn step(&mut self, id: PacketId) {
        let generation = self.of(id).wrapping_add(1);
        self.set(id, generation);
    }

    /// Whether there are more runs than may be saved.
    pub(super) fn is_scattered(&self) -> bool {
        self.runs.len() > GENERATION_RUNS_MAX
    }

    /// Brings every id to one generation that none of them had, but those that are `open`: their messages may come again.
    pub(super) fn level(&mut self, open: impl IntoIterator<Item = PacketId>) {
        let open: Vec<_> = open.into_iter().map(|id| (id, self.of(id))).collect();
        let highest = self.runs.iter().map(|run| run.generation).max().unwrap_or(0);
        self.runs.clear();
        self.push(Run {
            first: 1,
            generation: highest.wrapping_add(1),
        });
        for (id, generation) in open {
            self.set(id, generation);
        }
    }

    fn set(&mut self, id: PacketId, generation: u32) {
        let first = id.get();
        let before = first.checked_sub(1).and_then(PacketId::new).map(|id| self.of(id));
        let next = first.checked_add(1);
        let after = next.and_then(PacketId::new).map(|id| self.of(id));
        let at = self.runs.partition_point(|run| run.first < first);
        let is_of_both = |run: &Run| run.first == first || Some(run.first) == next;
        let until = at + self.runs[at..].iter().take_while(|run| is_of_both(run)).count();
        let begins = (before.unwrap_or(0) != generation).then_some(Run { first, generation });
        let goes_on = next
            .zip(after)
            .filter(|(_, after)| *after != generation)
            .map(|(first, generation)| Run { first, generation });
        self.runs.splice(at..until, begins.into_iter().chain(goes_on));
    }

    fn push(&mut self, run: Run) {
        let last = self.runs.last().map_or(0, |last| last.generation);
        if run.generation != last {
            self.runs.push(run);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn id(number: u16) -> PacketId {
        PacketId::new(number).unwrap()
    }

    proptest! {
        /// Beside a table of every id, whatever the order in which they are used.
        #[test]
        fn runs_say_what_a_table_would(steps in proptest::collection::vec(prop_oneof![1_u16..12, 65_530_u16..=u16::MAX], 0..300)) {
            let (mut generations, mut table) = (Generations::default(), HashMap::<u16, u32>::new());
            for step in steps {
                generations.step(id(step));
                *table.entry(step).or_default() += 1;
            }
            for number in (1..20).chain(65_520..=u16::MAX) {
                prop_assert_eq!(generations.of(id(number)), table.get(&number).copied().unwrap_or(0), "id {}", number);
            }
            let neighbours = generations.runs.windows(2);
            prop_assert!(neighbours.into_iter().all(|pair| pair[0].first < pair[1].first && pair[0].generation != pair[1].generation));
            prop_assert_eq!(Generations::of_runs(generations.runs.clone()), Some(generations));
        }

        #[test]
        fn levelled_ids_are_all_new_but_the_open_ones(
            steps in proptest::collection::vec(1_u16..40, 0..200), open in proptest::collection::hash_set(1_u16..40, 0..6),
        ) {
            let mut generations = Generations::default();
            steps.iter().for_each(|step| generations.step(id(*step)));
            let before = generations.clone();
            generations.level(open.iter().copied().map(id));
            for number in 1..50 {
                let (before, after) = (before.of(id(number)), generations.of(id(number)));
                match open.contains(&number) {
                    true => prop_assert_eq!(before, after),
                    false => prop_assert!(after > before),
                }
            }
            prop_assert!(generations.runs.len() <= 2 * open.len() + 1);
        }
    }

    #[test]
    fn ids_that_are_counted_up_need_two_runs_however_often_they_went_around() {
        let mut generations = Generations::default();
        for _ in 0..2 {
            (1..=u16::MAX).for_each(|number| generations.step(id(number)));
        }
        (1..=500).for_each(|number| generations.step(id(number)));
        assert_eq!(generations.runs.len(), 2);
        assert_eq!(
            [1, 500, 501, u16::MAX].map(|number| generations.of(id(number))),
            [3, 3, 2, 2]
        );
    }
}

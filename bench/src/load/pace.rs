//! When messages are due.

/// The timetable of one connection.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Pace {
    /// Whenever there is room.
    Closed,
    /// One every so often, whether there is room or not; those held up keep the time at which they were due.
    Open { next_ns: f64, interval_ns: f64 },
}

impl Pace {
    /// The timetable of connection `number` of `count` that together send `rate` messages per second from `start_ns` on.
    pub(crate) fn new(rate: Option<f64>, number: usize, count: usize, start_ns: u64) -> Self {
        match rate {
            None => Self::Closed,
            Some(rate) => {
                let step_ns = 1e9 / rate;
                Self::Open {
                    next_ns: start_ns as f64 + step_ns * number as f64,
                    interval_ns: step_ns * count as f64,
                }
            }
        }
    }

    /// Takes the message that is due by now and tells when it was; `None` when none is.
    pub(crate) fn take(&mut self, now_ns: u64) -> Option<u64> {
        match self {
            Self::Closed => Some(now_ns),
            Self::Open { next_ns, interval_ns } => {
                let due_ns = *next_ns as u64;
                (due_ns <= now_ns).then(|| {
                    *next_ns += *interval_ns;
                    due_ns
                })
            }
        }
    }

    /// How many messages were due before `end_ns` and not taken.
    pub(crate) fn overdue(&self, end_ns: u64) -> u64 {
        match self {
            Self::Closed => 0,
            Self::Open { next_ns, interval_ns } => ((end_ns as f64 - next_ns) / interval_ns).ceil().max(0.0) as u64,
        }
    }

    /// When the next message is due.
    pub(crate) fn next_ns(&self, now_ns: u64) -> u64 {
        match self {
            Self::Closed => now_ns,
            Self::Open { next_ns, .. } => *next_ns as u64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_take_turns() {
        let mut paces = [0, 1].map(|number| Pace::new(Some(1_000.0), number, 2, 0));
        let mut due: Vec<_> = (0..3)
            .flat_map(|_| paces.each_mut().map(|pace| pace.take(u64::MAX)))
            .collect();
        due.sort();
        let wanted = [0, 1, 2, 3, 4, 5].map(|number| Some(number * 1_000_000));
        assert_eq!(due, wanted);
    }

    #[test]
    fn what_was_held_up_keeps_its_time() {
        let mut pace = Pace::new(Some(1_000.0), 0, 1, 0);
        assert_eq!(pace.take(0), Some(0));
        assert_eq!(pace.take(999_999), None);
        assert_eq!(pace.take(9_000_000), Some(1_000_000));
        assert_eq!(pace.take(9_000_000), Some(2_000_000));
        assert_eq!(pace.overdue(9_000_000), 6, "from 3 to 8 ms");
        assert_eq!(pace.overdue(1_000), 0);
    }
}

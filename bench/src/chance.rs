//! Moments that are drawn by lot, and can be drawn again from the same seed.

use std::time::Duration;

/// Numbers that look random and follow from the seed (splitmix64).
#[derive(Debug, Clone)]
pub struct Chance(u64);

impl Chance {
    /// Chance that follows from this seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `limit`, each nearly as likely as the others.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let value = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (value ^ (value >> 31)) % limit.max(1)
    }

    /// Waits for a moment within the next `limit`, and tells when it came.
    pub async fn moment_within(&mut self, limit: Duration) -> Duration {
        let limit_ns = u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX);
        let delay = Duration::from_nanos(self.below(limit_ns));
        tokio::time::sleep(delay).await;
        delay
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_draws_the_same_and_spreads_over_the_whole() {
        let draw = |seed| {
            let mut chance = Chance::new(seed);
            [(); 1_000].map(|()| chance.below(10))
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
        for value in 0..10 {
            let times = draw(1).iter().filter(|drawn| **drawn == value).count();
            assert!((50..150).contains(&times), "{value} was drawn {times} times of 1,000");
        }
    }
}

//! Damage to packets.

/// A small generator of its own, so that a failure comes again.
pub struct Xorshift(pub u64);

impl Xorshift {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }
}

/// One to four changes: a bit, a byte, an insertion, a removal, a cut, a copied stretch.
pub fn mutate(random: &mut Xorshift, bytes: &mut Vec<u8>) {
    for _ in 0..=random.below(4) {
        if bytes.is_empty() {
            return;
        }
        let at = random.below(bytes.len());
        match random.below(6) {
            0 => bytes[at] ^= 1 << random.below(8),
            1 => bytes[at] = [0, 1, 0x7F, 0x80, 0xFF, random.next() as u8][random.below(6)],
            2 => bytes.insert(at, random.next() as u8),
            3 => drop(bytes.remove(at)),
            4 => bytes.truncate(at + 1),
            _ => {
                let end = at + random.below(bytes.len() - at);
                let stretch = bytes[at..end].to_vec();
                bytes.extend(stretch);
            }
        }
    }
}

/// Makes the remaining length true again where it has one byte, so that the change is met in the body.
pub fn repair(bytes: &mut [u8]) {
    if bytes.len() >= 2 && bytes.len() < 130 {
        bytes[1] = (bytes.len() - 2) as u8;
    }
}

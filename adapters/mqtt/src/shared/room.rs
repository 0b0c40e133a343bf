//! How much more a session takes from its groups.

use std::sync::atomic::{AtomicUsize, Ordering};

use trunkline_mqtt_wire::QoS;

use crate::limits::SHARED_DEALT_MAX;

/// The room of one session, which all of its groups look at.
#[derive(Debug, Default)]
pub(crate) struct Room {
    /// Messages at QoS 1 and 2 that the client may have beyond those sent to it.
    window: AtomicUsize,
    /// Messages that it was dealt and that were not sent when `window` was told.
    dealt: AtomicUsize,
}

impl Room {
    /// Whether a message at `qos` is dealt to it.
    pub(super) fn has(&self, qos: QoS) -> bool {
        let dealt = self.dealt.load(Ordering::SeqCst);
        let is_open = qos == QoS::AtMostOnce || dealt < self.window.load(Ordering::SeqCst);
        dealt < SHARED_DEALT_MAX && is_open
    }

    /// It was dealt a message.
    pub(super) fn take(&self) {
        self.dealt.fetch_add(1, Ordering::SeqCst);
    }

    /// Tells its window, now that `sent` of what it was dealt were sent, or are not for it any more.
    pub(crate) fn tell(&self, window: usize, sent: usize) {
        // In this order: what was sent is counted twice for a moment, and never not at all.
        self.window.store(window, Ordering::SeqCst);
        self.dealt.fetch_sub(sent, Ordering::SeqCst);
    }
}

//! Word to whoever holds a session that something changed which may concern it.
//!
//! Every principal has one of these and every connection waits for it, so it is small: a `watch` channel takes eight times as much.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;

use crate::session::Principal;

/// The changes that may concern the sessions of one principal, counted.
#[derive(Default)]
pub(crate) struct Counted {
    count: AtomicU64,
    news: Notify,
}

impl Counted {
    /// Tells everybody who waits of one more.
    pub(crate) fn tell(&self) {
        self.count.fetch_add(1, Ordering::Release);
        self.news.notify_waiters();
    }

    pub(crate) fn count(&self) -> u64 {
        self.count.load(Ordering::Acquire)
    }
}

/// The changes of authorization that may concern a session or one of its grants, from when this was asked for.
#[derive(Debug)]
pub struct Disturbances {
    principal: Arc<Principal>,
    /// How many there were when this was looked at last.
    seen: u64,
}

impl Disturbances {
    pub(crate) fn of(principal: &Arc<Principal>) -> Self {
        Self {
            seen: principal.disturbances.count(),
            principal: Arc::clone(principal),
        }
    }

    /// Waits until there was one since this was last true: a reason to look at [`Session::is_undisturbed`] and [`Grant::holds`] of what the
    /// session holds. Several may count as one. Cancel safe.
    ///
    /// [`Session::is_undisturbed`]: crate::Session::is_undisturbed
    /// [`Grant::holds`]: crate::Grant::holds
    pub async fn changed(&mut self) {
        let disturbances = &self.principal.disturbances;
        loop {
            // Made before the look at the count, so that a change after that is not missed.
            let news = disturbances.news.notified();
            let count = disturbances.count();
            if count != self.seen {
                self.seen = count;
                return;
            }
            news.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use trunkline_core::{ClientId, CredentialId, DomainId};

    use super::*;
    use crate::lease::Lease;

    #[test]
    fn each_holder_hears_once_of_what_changed_since_it_looked_whether_it_waited_or_not() {
        let (domain_id, client_id, credential_id) = (DomainId::new(), ClientId::new(), CredentialId::new());
        let principal = Arc::new(Principal::new(domain_id, client_id, credential_id, Lease::unlimited()));
        let mut context = Context::from_waker(Waker::noop());
        let mut heard = |holder: &mut Disturbances| pin!(holder.changed()).poll(&mut context).is_ready();
        let (mut waits, mut looks_later) = (Disturbances::of(&principal), Disturbances::of(&principal));
        {
            let mut context = Context::from_waker(Waker::noop());
            let mut waiting = pin!(waits.changed());
            assert_eq!(waiting.as_mut().poll(&mut context), Poll::Pending);
            principal.disturbances.tell();
            principal.disturbances.tell();
            assert_eq!(waiting.poll(&mut context), Poll::Ready(()));
        }
        assert!(!heard(&mut waits));
        assert!(heard(&mut looks_later) && !heard(&mut looks_later));
        assert!(!heard(&mut Disturbances::of(&principal)));
    }
}

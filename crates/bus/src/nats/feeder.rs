//! Carries what a subscription hears into a feed, for as long as somebody holds the feed, and tells of every gap.

use futures_util::{Stream, StreamExt as _};
use tokio::sync::watch;

use super::connect::Link;
use crate::feed::{Feed, FeedLimit, Source};

/// A feed of `news`, each counted as so many bytes, that lags whenever `link` says that news may have been lost.
pub(super) fn feed<T, News>(limit: FeedLimit, mut news: News, mut link: watch::Receiver<Link>) -> Feed<T>
where
    T: Clone + Send + Sync + 'static,
    News: Stream<Item = (T, usize)> + Unpin + Send + 'static,
{
    let source = Source::new(limit);
    let feed = source.listen();
    let mut gaps = link.borrow_and_update().gaps;
    tokio::spawn(async move {
        loop {
            // All branches are cancel safe: what is not taken stays where it is.
            tokio::select! {
                biased;
                () = source.abandoned() => return,
                changed = link.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let now = link.borrow_and_update().gaps;
                    if now != gaps {
                        gaps = now;
                        source.lose(1);
                    }
                }
                heard = news.next() => match heard {
                    Some((item, bytes)) => source.send(&item, bytes),
                    None => return,
                },
            }
        }
    });
    feed
}

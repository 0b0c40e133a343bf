//! Rows by the platform's own reader, as its users get them: the oracle.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;
use uuid::Uuid;

use crate::Place;
use crate::check::{Verdict, check};
use crate::ledger::Book;
use crate::row::Row;
use crate::site::Site;

/// Largest page that the reader gives.
const PAGE_ROWS: usize = 1_000;

#[derive(Deserialize)]
struct Page {
    messages: Vec<Message>,
}

#[derive(Deserialize)]
struct Message {
    channel: String,
    publisher: String,
    protocol: String,
    #[serde(default)]
    name: String,
    time: i64,
    #[serde(default)]
    string_value: String,
    message_id: Uuid,
    #[serde(default)]
    pack_index: u32,
}

/// Judges a site by a ledger, after everything that it accepted was stored.
///
/// # Errors
/// When the ledger cannot be read, or the reader refuses.
pub async fn judge(site: &Site, ledger: &Path) -> Result<Verdict> {
    let book = Book::read(ledger)?;
    let mut found = Vec::new();
    for place in book.places() {
        found.extend(rows(site, &place).await?);
    }
    Ok(check(&book, &found))
}

/// Every record of a channel, earliest first.
///
/// Pages are cut by time, not by offset, so that their cost stays flat; records of one instant that fall on two pages are told apart by
/// how many of them were seen, never by their id, so that a doubled record shows.
///
/// # Errors
/// When the reader refuses, or gives what it should not.
pub async fn rows(site: &Site, place: &Place) -> Result<Vec<Row>> {
    let caller = site.caller_in(&place.domain)?;
    let Place { domain, channel } = place;
    let (mut rows, mut until, mut seen_of_instant) = (Vec::new(), None, 0);
    loop {
        let bound = until
            .map(|until: i64| format!("&to={until}&offset={seen_of_instant}"))
            .unwrap_or_default();
        let path = format!("/{domain}/channels/{channel}/messages?limit={PAGE_ROWS}{bound}");
        let page: Page = serde_json::from_value(caller.get(&path).await?).context("a page has another form")?;
        let count = page.messages.len();
        for message in page.messages {
            let next = message.time.checked_add(1).context("a record is beyond all time")?;
            ensure!(until.is_none_or(|until| next <= until), "{path} is not latest first");
            seen_of_instant = if until == Some(next) { seen_of_instant + 1 } else { 1 };
            until = Some(next);
            rows.push(row(domain, message));
        }
        if count < PAGE_ROWS {
            rows.reverse();
            return Ok(rows);
        }
    }
}

fn row(domain: &str, message: Message) -> Row {
    Row {
        place: Place {
            domain: domain.to_owned(),
            channel: message.channel,
        },
        publisher: message.publisher,
        protocol: message.protocol,
        message_id: message.message_id,
        pack_index: message.pack_index,
        name: message.name,
        text: message.string_value,
    }
}

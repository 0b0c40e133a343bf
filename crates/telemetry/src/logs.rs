//! Structured logs on standard error.

use std::io::{self, IsTerminal as _, Write};

use tracing::Subscriber;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, fmt};

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For people: one coloured line an event.
    Text,
    /// For machines: one JSON object a line.
    Json,
}

impl Format {
    /// Text when standard error is a terminal, else JSON.
    pub fn of_stderr() -> Self {
        if io::stderr().is_terminal() {
            Self::Text
        } else {
            Self::Json
        }
    }
}

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The filter does not parse.
    #[error("the log filter `{filter}` is not understood: {reason}; `info,trunkline_mqtt=debug` is an example of one")]
    Filter {
        /// The filter as given.
        filter: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Logging was set up before in this process.
    #[error("logging is set up already")]
    Again,
}

/// Sends this process's log lines that pass `filter`, such as `info,trunkline_mqtt=debug`, to standard error.
///
/// # Errors
/// When the filter does not parse, or logging was set up before.
pub fn init(filter: &str, format: Format) -> Result<(), Error> {
    match format {
        Format::Text => text(filter, io::stderr)?.try_init(),
        Format::Json => json(filter, io::stderr)?.try_init(),
    }
    .map_err(|_| Error::Again)
}

fn text<W>(filter: &str, writer: W) -> Result<impl Subscriber + Send + Sync, Error>
where
    W: for<'w> MakeWriter<'w, Writer: Write> + Send + Sync + 'static,
{
    Ok(fmt().with_env_filter(parse(filter)?).with_writer(writer).finish())
}

fn json<W>(filter: &str, writer: W) -> Result<impl Subscriber + Send + Sync, Error>
where
    W: for<'w> MakeWriter<'w, Writer: Write> + Send + Sync + 'static,
{
    let lines = fmt()
        .json()
        .flatten_event(true)
        .with_current_span(true)
        .with_span_list(false);
    Ok(lines.with_env_filter(parse(filter)?).with_writer(writer).finish())
}

fn parse(filter: &str) -> Result<EnvFilter, Error> {
    EnvFilter::builder().parse(filter).map_err(|error| Error::Filter {
        filter: filter.to_owned(),
        reason: error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_json_line_carries_the_fields_of_its_event_and_the_filter_holds() {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = json("info", move || writer.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(client.id = "c1", "client disabled");
            tracing::debug!("not this one");
        });
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(text.starts_with('{') && text.contains(r#""client.id":"c1""#), "{text}");
        assert!(text.contains(r#""message":"client disabled""#), "{text}");
    }

    #[test]
    fn a_filter_that_does_not_parse_is_told_in_one_sentence() {
        let error = init("trunkline=loud", Format::Text).unwrap_err().to_string();
        assert!(
            error.starts_with("the log filter `trunkline=loud` is not understood: "),
            "{error}"
        );
    }
}

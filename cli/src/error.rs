//! Why a command failed: one sentence with the cause and the mend.

use std::path::PathBuf;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody listens for HTTP there.
    #[error("no platform answers at {url}; start one with `trunkline up`, or give its address with `--url`")]
    NoPlatform {
        /// Where it was looked for.
        url: String,
    },
    /// The URL cannot be used.
    #[error("`{url}` is not a URL of a platform; write it as `http://127.0.0.1:8080`")]
    Url {
        /// The URL as it was given.
        url: String,
    },
    /// Something else listens there, or the connection broke.
    #[error("{url} answers, but not as a platform does ({cause}); is it the right `--url`?")]
    NotAPlatform {
        /// Where it was asked.
        url: String,
        /// What is strange about the answer.
        cause: String,
    },
    /// Wrong name or password.
    #[error(
        "the platform does not know this e-mail address with this password; the first start of `trunkline up` made both"
    )]
    Login,
    /// The platform said no.
    #[error("the platform did not {step}: {message}")]
    Refused {
        /// What it was asked to do.
        step: &'static str,
        /// What it said.
        message: String,
    },
    /// The password file cannot be read.
    #[error("the password file {} cannot be read: {cause}", path.display())]
    PasswordFile {
        /// Its path.
        path: PathBuf,
        /// What the operating system says.
        cause: std::io::Error,
    },
    /// There is nobody to ask.
    #[error("nobody answers the question for e-mail and password; give them with `--email` and `--password-file`")]
    NobodyToAsk,
    /// Nobody listens for MQTT there.
    #[error("nobody listens for MQTT at {address}; give the address that `trunkline up` printed with `--mqtt`")]
    NoMqtt {
        /// Where it was looked for.
        address: String,
    },
    /// The MQTT conversation did not go as it should.
    #[error("MQTT at {address} did not {step}: {message}")]
    Mqtt {
        /// The listener's address.
        address: String,
        /// What it was asked to do.
        step: &'static str,
        /// What went wrong.
        message: String,
    },
    /// A message was refused over HTTP.
    #[error("HTTP at {url} did not take the message: {message}")]
    NotTaken {
        /// Where it was published.
        url: String,
        /// What the platform said.
        message: String,
    },
    /// The log did not take a message whose client was admitted over HTTP.
    #[error("HTTP at {url} did not keep the message: {message}")]
    NotKept {
        /// Where it was published.
        url: String,
        /// What the platform said.
        message: String,
    },
    /// The records did not come back in time.
    #[error(
        "the message was acknowledged, but only {found} of its {expected} records could be read within {} s; \
         the platform's log tells what its writer does", waited.as_secs()
    )]
    NotRead {
        /// Records that came.
        found: usize,
        /// Records that were published.
        expected: usize,
        /// How long they were waited for.
        waited: std::time::Duration,
    },
    /// A step of the doctor failed.
    #[error("the first step that fails is `{step}`")]
    Ill {
        /// Its name.
        step: &'static str,
    },
    /// The transcript cannot be written.
    #[error("the output cannot be written: {0}")]
    Output(std::io::Error),
}

//! What keeps the edge from opening: contracts that it cannot serve. Failures of requests are [`trunkline_core::Fault`]s.

/// The contracts cannot be served over HTTP.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The encoded descriptors are damaged.
    #[error("the contracts' descriptors cannot be read")]
    Descriptors(#[from] prost_reflect::DescriptorError),
    /// The descriptors do not declare an option that the edge reads.
    #[error("the contracts do not declare the option {0}")]
    OptionMissing(&'static str),
    /// A method, message or field is declared in a way that the edge cannot serve.
    #[error("{name}: {problem}")]
    Contract {
        /// Full proto name.
        name: String,
        /// What is wrong with it.
        problem: String,
    },
}

impl Error {
    /// A declaration of the contracts that cannot be served.
    pub(crate) fn contract(name: &str, problem: impl Into<String>) -> Self {
        Self::Contract {
            name: name.to_owned(),
            problem: problem.into(),
        }
    }
}

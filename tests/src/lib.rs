//! End-to-end scenarios, contract tests and tidy tests of the whole workspace.

//! Holds the tests of the whole workspace together; there is no code here. The scenarios, the contract tests and the
//! tidy tests are test targets beside this folder.

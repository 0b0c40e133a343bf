//! SenML (RFC 8428): decoding a pack and resolving its records.
//!
//! Owns: the JSON form of a pack, base fields, names, relative times, values and sums. Does not own: where records are stored, media
//! types, topics; the CBOR form is to decode into the same [`Pack`].
//!
//! - **Invariant:** times are integers of nanoseconds computed from the decimal text; no time ever passes through a float.
//! - **Invariant:** one bad record does not spoil its pack: only what every record depends on (the array itself, the version) does.
//! - **Invariant:** the work and the memory are bounded by the input and [`Limits`]; a long base name is not multiplied.
//!
//! ```
//! let pack = trunkline_senml::decode_json(br#"[{"bn":"room/","n":"t","u":"Cel","v":21.5}]"#, &Default::default())?;
//! let entry = pack.resolve(1_700_000_000_000_000_000).next().expect("the pack has one record");
//! assert_eq!(entry.record.map(|record| record.name.into_owned()), Ok("room/t".to_owned()));
//! # Ok::<(), trunkline_senml::DecodeError>(())
//! ```

mod error;
mod field;
mod number;
mod pack;
mod resolve;

pub use error::{DecodeError, RecordError};
pub use field::Field;
pub use pack::{Limits, Pack, decode_json, nests_deeper_than};
pub use resolve::{Entry, Record, Value};

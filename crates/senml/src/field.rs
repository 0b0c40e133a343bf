//! The labels of SenML, and what a label asks of a reader that does not know it.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, Visitor};

/// Characters of an unknown label that are kept: each record that it spoils names it, and a label may be as long as its pack.
const LABEL_CHARS_MAX: usize = 64;

macro_rules! fields {
    ($($name:ident = $label:literal),+ $(,)?) => {
        /// A field that RFC 8428 defines.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Field {
            $(
                #[doc = concat!("`", $label, "`")]
                $name,
            )+
        }

        impl Field {
            /// All fields, in the order of their discriminants.
            pub(crate) const ALL: &[Field] = &[$(Field::$name),+];

            /// The label that stands for the field in JSON.
            pub const fn label(self) -> &'static str {
                match self {
                    $(Field::$name => $label),+
                }
            }

            fn parse(label: &str) -> Option<Field> {
                match label {
                    $($label => Some(Field::$name),)+
                    _ => None,
                }
            }
        }
    };
}

fields! {
    BaseName = "bn",
    BaseTime = "bt",
    BaseUnit = "bu",
    BaseValue = "bv",
    BaseSum = "bs",
    BaseVersion = "bver",
    Name = "n",
    Unit = "u",
    Value = "v",
    StringValue = "vs",
    BoolValue = "vb",
    DataValue = "vd",
    Sum = "s",
    Time = "t",
    UpdateTime = "ut",
}

impl Field {
    /// Whether the field applies to the records after its own, too.
    pub(crate) fn is_base(self) -> bool {
        self.label().starts_with('b')
    }
}

impl fmt::Display for Field {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.label())
    }
}

/// What a label means to this reader. One that is not known is kept up to its first [`LABEL_CHARS_MAX`] characters.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Label {
    /// A field of RFC 8428.
    Known(Field),
    /// An unknown label that ends in `_`: the record must not be used.
    MustUnderstand(String),
    /// The same in base position: no record from here on may be used.
    BaseMustUnderstand(String),
    /// An unknown label that may be ignored.
    Ignored,
}

impl Label {
    fn parse(text: &str) -> Label {
        if let Some(field) = Field::parse(text) {
            return Label::Known(field);
        }
        let kept = || text.chars().take(LABEL_CHARS_MAX).collect();
        match text.ends_with('_') {
            true if text.starts_with('b') => Label::BaseMustUnderstand(kept()),
            true => Label::MustUnderstand(kept()),
            false => Label::Ignored,
        }
    }
}

impl<'de> Deserialize<'de> for Label {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Label, D::Error> {
        struct LabelVisitor;
        impl Visitor<'_> for LabelVisitor {
            type Value = Label;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a label")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Label, E> {
                Ok(Label::parse(text))
            }
        }
        deserializer.deserialize_str(LabelVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_is_found_by_its_label_and_sits_at_its_discriminant() {
        for (index, field) in Field::ALL.iter().copied().enumerate() {
            assert_eq!(field as usize, index);
            assert_eq!(Label::parse(field.label()), Label::Known(field));
        }
    }

    #[test]
    fn an_unknown_label_with_an_underscore_at_its_end_must_be_understood() {
        assert_eq!(Label::parse("x_"), Label::MustUnderstand("x_".to_owned()));
        assert_eq!(Label::parse("bx_"), Label::BaseMustUnderstand("bx_".to_owned()));
        assert_eq!(Label::parse("bx"), Label::Ignored);
        assert_eq!(Label::parse("_x"), Label::Ignored);
    }
}

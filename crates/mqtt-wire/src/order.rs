//! The order of the properties that travel with a message. The standard keeps that of user properties among themselves; here all of it
//! is kept. Most publishers give them in the encoder's own order, which takes nothing to keep.

use bytes::Bytes;

use crate::property::{PropertyId, PublishProperties, UserProperty};
use crate::slot::{Block, write_user_property};
use crate::writer::Sink;

/// What travels with a message besides user properties, in the encoder's own order.
const TRAVELLING: [PropertyId; 4] = [
    PropertyId::PayloadFormatIndicator,
    PropertyId::ResponseTopic,
    PropertyId::CorrelationData,
    PropertyId::ContentType,
];

/// What belongs to one delivery or to the will itself. It comes first.
const DELIVERY: [PropertyId; 4] = [
    PropertyId::WillDelayInterval,
    PropertyId::MessageExpiryInterval,
    PropertyId::TopicAlias,
    PropertyId::SubscriptionIdentifier,
];

/// Bytes of a place in the form for keeping.
const PLACE_BYTES: usize = 3;

/// Where one property stands: behind this many of the user properties.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    id: PropertyId,
    behind: u16,
}

impl Place {
    /// Where the encoder has it: the content type behind all user properties, the others before them.
    const fn usual(id: PropertyId) -> Self {
        let behind = match id {
            PropertyId::ContentType => u16::MAX,
            _ => 0,
        };
        Self { id, behind }
    }
}

/// The order in which a publisher gave what travels with a message: payload format, response topic, correlation data and content type,
/// among the user properties. The default is the encoder's own.
///
/// It has a place for each of the four at most, however many user properties there are. What has none is written last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PropertyOrder([Option<Place>; TRAVELLING.len()]);

impl PropertyOrder {
    /// What to keep of a message beside its values, where empty ones are not told from absent ones: the default unless the order is
    /// another, or something was given and is empty.
    #[must_use]
    pub fn of(properties: &PublishProperties) -> Self {
        let has_empty = properties.payload_is_utf8 == Some(false)
            || properties.correlation_data.as_ref().is_some_and(Bytes::is_empty)
            || properties.content_type.as_ref().is_some_and(|text| text.is_empty());
        if !has_empty || properties.order != Self::default() {
            return properties.order;
        }
        let present = [
            properties.payload_is_utf8.is_some(),
            properties.response_topic.is_some(),
            properties.correlation_data.is_some(),
            properties.content_type.is_some(),
        ];
        let mut order = Self::default();
        for (id, _) in TRAVELLING
            .into_iter()
            .zip(present)
            .filter(|(_, is_present)| *is_present)
        {
            order.put(Place::usual(id));
        }
        order
    }

    /// Whether the property was given, as far as that was kept.
    #[must_use]
    pub fn names(&self, id: PropertyId) -> bool {
        self.0.iter().flatten().any(|place| place.id == id)
    }

    /// The form for keeping: three bytes for each place, its identifier and how many user properties come before it; none for the default.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        let bytes = self.0.iter().flatten().flat_map(|place| {
            let [high, low] = place.behind.to_be_bytes();
            [place.id as u8, high, low]
        });
        bytes.collect()
    }

    /// Reads the form for keeping; `None` where it is not one.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (places, rest) = bytes.as_chunks::<PLACE_BYTES>();
        let (mut order, mut before) = (Self::default(), 0);
        for [id, high, low] in places {
            let behind = u16::from_be_bytes([*high, *low]);
            let id = PropertyId::from_u32((*id).into()).filter(|id| TRAVELLING.contains(id))?;
            if behind < before || !order.put(Place { id, behind }) {
                return None;
            }
            before = behind;
        }
        rest.is_empty().then_some(order)
    }

    /// Notes that this property was read behind so many user properties.
    pub(crate) fn note(&mut self, id: PropertyId, user_properties: usize) {
        if TRAVELLING.contains(&id) {
            let behind = count(user_properties);
            self.put(Place { id, behind });
        }
    }

    /// Everything was noted: what turned out to be the encoder's own order is the default.
    pub(crate) fn settle(&mut self, user_properties: usize) {
        let rank = |id| TRAVELLING.iter().position(|travelling| *travelling == id);
        let is_ranked = self.0.iter().flatten().is_sorted_by_key(|place| rank(place.id));
        let is_usual = |place: &Place| place.behind == Place::usual(place.id).behind.min(count(user_properties));
        if is_ranked && self.0.iter().flatten().all(is_usual) {
            *self = Self::default();
        }
    }

    /// Writes everything: what belongs to a delivery, then what travels.
    pub(crate) fn write_all<S: Sink>(&self, block: &impl Block, user_properties: &[UserProperty], sink: &mut S) {
        for id in DELIVERY {
            block.write_one(id, sink);
        }
        self.write_travelling(block, user_properties, sink);
    }

    /// Writes what travels, each property once, whatever places there are.
    pub(crate) fn write_travelling<S: Sink>(&self, block: &impl Block, user_properties: &[UserProperty], sink: &mut S) {
        let mut rest = user_properties.iter();
        for place in self.places() {
            let written = user_properties.len() - rest.len();
            for property in rest.by_ref().take(usize::from(place.behind).saturating_sub(written)) {
                write_user_property(property, sink);
            }
            block.write_one(place.id, sink);
        }
        for property in rest {
            write_user_property(property, sink);
        }
    }

    /// A place for each of the four.
    fn places(&self) -> impl Iterator<Item = Place> {
        let is_own = *self == Self::default();
        let unnamed = TRAVELLING.into_iter().filter(|id| !self.names(*id));
        let unnamed = unnamed.map(move |id| match is_own {
            true => Place::usual(id),
            false => Place { id, behind: u16::MAX },
        });
        self.0.iter().copied().flatten().chain(unnamed)
    }

    /// Gives a place to what has none yet.
    fn put(&mut self, place: Place) -> bool {
        let is_new = !self.names(place.id);
        let free = self.0.iter_mut().find(|free| free.is_none());
        match free.filter(|_| is_new) {
            Some(free) => *free = Some(place),
            None => return false,
        }
        true
    }
}

/// A number of user properties; there are no more in a packet ([`Limits::user_properties_max`](crate::Limits)).
fn count(user_properties: usize) -> u16 {
    u16::try_from(user_properties).unwrap_or(u16::MAX)
}

//! SUBSCRIBE, SUBACK, UNSUBSCRIBE and UNSUBACK on the wire.

use crate::decoder::Context;
use crate::reader::Reader;
use crate::slot::Block;
use crate::writer::Sink;
use crate::{
    AckProperties, DecodeError, EncodeError, PacketType, QoS, ReasonCode, RetainHandling, SubAck, Subscribe,
    SubscribeFilter, SubscribeProperties, TopicError, Unsubscribe, UnsubscribeProperties, Utf8Bytes, Version, topic,
};

const FILTER: &str = "a topic filter";
const NO_LOCAL: u8 = 1 << 2;
const RETAIN_AS_PUBLISHED: u8 = 1 << 3;
const RETAIN_HANDLING_SHIFT: u8 = 4;

impl Subscribe {
    pub(crate) fn read(mut reader: Reader, context: &Context<'_>) -> Result<Self, DecodeError> {
        let packet_id = reader.packet_id(context.packet)?;
        let properties = match context.version {
            Version::V3 => SubscribeProperties::default(),
            Version::V5 => SubscribeProperties::read(&mut reader, context.limits)?,
        };
        let filters = read_list(&mut reader, context, SubscribeFilter::read)?;
        Ok(Self {
            packet_id,
            filters,
            properties,
        })
    }

    pub(crate) fn write<S: Sink>(&self, version: Version, sink: &mut S) {
        if self.filters.is_empty() {
            sink.check(Err(EncodeError::EmptyList));
        }
        sink.u16(self.packet_id.get());
        if version == Version::V5 {
            self.properties.write(sink);
        }
        for filter in &self.filters {
            filter.write(version, sink);
        }
    }
}

impl SubscribeFilter {
    fn read(reader: &mut Reader, context: &Context<'_>) -> Result<Self, DecodeError> {
        let filter = read_filter(reader, context)?;
        let options = reader.u8("the subscription options")?;
        let reserved = match context.version {
            Version::V3 => 0b1111_1100,
            Version::V5 => 0b1100_0000,
        };
        if options & reserved != 0 {
            return Err(DecodeError::SubscriptionOptionsReserved(options));
        }
        let no_local = options & NO_LOCAL != 0;
        if no_local && filter.starts_with("$share/") {
            return Err(DecodeError::NoLocalShared);
        }
        Ok(Self {
            filter,
            qos: QoS::from_u8(options & 3).ok_or(DecodeError::SubscriptionOptions(options))?,
            no_local,
            retain_as_published: options & RETAIN_AS_PUBLISHED != 0,
            retain_handling: match options >> RETAIN_HANDLING_SHIFT {
                0 => RetainHandling::Send,
                1 => RetainHandling::SendIfNew,
                2 => RetainHandling::DoNotSend,
                _ => return Err(DecodeError::SubscriptionOptions(options)),
            },
        })
    }

    fn write<S: Sink>(&self, version: Version, sink: &mut S) {
        write_filter(&self.filter, version, sink);
        sink.u8(match version {
            Version::V3 => self.qos as u8,
            Version::V5 => self.options(),
        });
        if version == Version::V5 && self.no_local && self.filter.starts_with("$share/") {
            sink.check(Err(EncodeError::NoLocalShared));
        }
    }

    fn options(&self) -> u8 {
        let mut options = self.qos as u8 | (self.retain_handling as u8) << RETAIN_HANDLING_SHIFT;
        if self.no_local {
            options |= NO_LOCAL;
        }
        if self.retain_as_published {
            options |= RETAIN_AS_PUBLISHED;
        }
        options
    }
}

impl Unsubscribe {
    pub(crate) fn read(mut reader: Reader, context: &Context<'_>) -> Result<Self, DecodeError> {
        let packet_id = reader.packet_id(context.packet)?;
        let properties = match context.version {
            Version::V3 => UnsubscribeProperties::default(),
            Version::V5 => UnsubscribeProperties::read(&mut reader, context.limits)?,
        };
        let filters = read_list(&mut reader, context, read_filter)?;
        Ok(Self {
            packet_id,
            filters,
            properties,
        })
    }

    pub(crate) fn write<S: Sink>(&self, version: Version, sink: &mut S) {
        if self.filters.is_empty() {
            sink.check(Err(EncodeError::EmptyList));
        }
        sink.u16(self.packet_id.get());
        if version == Version::V5 {
            self.properties.write(sink);
        }
        for filter in &self.filters {
            write_filter(filter, version, sink);
        }
    }
}

impl SubAck {
    pub(crate) fn read(mut reader: Reader, context: &Context<'_>) -> Result<Self, DecodeError> {
        let packet_id = reader.packet_id(context.packet)?;
        let properties = match context.version {
            Version::V3 => AckProperties::default(),
            Version::V5 => AckProperties::read(&mut reader, context.limits)?,
        };
        let mut reasons = Vec::new();
        if has_reasons(context.packet, context.version) {
            reasons = read_list(&mut reader, context, read_reason)?;
        }
        reader.end(context.packet)?;
        Ok(Self {
            packet_id,
            reasons,
            properties,
        })
    }

    pub(crate) fn write<S: Sink>(&self, packet: PacketType, version: Version, sink: &mut S) {
        sink.u16(self.packet_id.get());
        if version == Version::V5 {
            self.properties.write(sink);
        }
        if !has_reasons(packet, version) {
            return;
        }
        if self.reasons.is_empty() {
            sink.check(Err(EncodeError::EmptyList));
        }
        for &reason in &self.reasons {
            if !reason.is_allowed_in(packet) {
                sink.check(Err(EncodeError::Reason { packet, reason }));
            }
            sink.u8(match version {
                Version::V3 if reason.is_error() => ReasonCode::UnspecifiedError as u8,
                Version::V3 | Version::V5 => reason as u8,
            });
        }
    }
}

/// A 3.1.1 UNSUBACK says nothing about its filters.
fn has_reasons(packet: PacketType, version: Version) -> bool {
    packet == PacketType::SubAck || version == Version::V5
}

/// Items up to the end of the packet: at least one, at most as many as one packet may name.
fn read_list<T>(
    reader: &mut Reader,
    context: &Context<'_>,
    read: fn(&mut Reader, &Context<'_>) -> Result<T, DecodeError>,
) -> Result<Vec<T>, DecodeError> {
    let count_max = context.limits.subscriptions_max;
    let mut items = Vec::new();
    while !reader.is_empty() {
        if items.len() >= usize::from(count_max) {
            return Err(DecodeError::TooManyFilters {
                packet: context.packet,
                count_max,
            });
        }
        items.push(read(reader, context)?);
    }
    match items.is_empty() {
        true => Err(DecodeError::EmptyList(context.packet)),
        false => Ok(items),
    }
}

fn read_reason(reader: &mut Reader, context: &Context<'_>) -> Result<ReasonCode, DecodeError> {
    let reason = reader.reason(context.packet)?;
    let is_known_to_v3 = matches!(reason as u8, 0..=2 | 0x80);
    match context.version {
        Version::V3 if !is_known_to_v3 => Err(DecodeError::Reason {
            packet: context.packet,
            code: reason as u8,
        }),
        Version::V3 | Version::V5 => Ok(reason),
    }
}

fn read_filter(reader: &mut Reader, context: &Context<'_>) -> Result<Utf8Bytes, DecodeError> {
    let filter = reader.text(FILTER)?;
    let limits = context.limits;
    if filter.len() > usize::from(limits.topic_bytes_max) || topic::levels(&filter) > u32::from(limits.topic_levels_max)
    {
        return Err(DecodeError::TopicFilterTooLong);
    }
    check_filter(&filter, context.version).map_err(|cause| DecodeError::Topic { field: FILTER, cause })?;
    Ok(filter)
}

fn write_filter<S: Sink>(filter: &Utf8Bytes, version: Version, sink: &mut S) {
    sink.check(check_filter(filter, version).map_err(|cause| EncodeError::Topic { field: FILTER, cause }));
    sink.binary(filter.as_bytes(), FILTER);
}

/// Shared subscriptions came with MQTT 5; before, `$share/` has no meaning of its own in the standard.
fn check_filter(filter: &str, version: Version) -> Result<(), TopicError> {
    topic::valid_filter(filter)?;
    match version {
        Version::V3 => Ok(()),
        Version::V5 => topic::shared(filter).map(|_| ()),
    }
}

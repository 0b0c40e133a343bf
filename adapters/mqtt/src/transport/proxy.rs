//! The PROXY protocol, versions 1 and 2: a load balancer says first whom it speaks for.
//!
//! Our own reader, since those that were looked at take `PROXYxTCP4`, `UNKNOWNx` or the port `+80` for valid, or bring more than they do.
//! It takes exactly the header off the stream: what follows is TLS or MQTT.
//!
//! **Invariants:** a header is whole and right, or the connection ends; it holds no more than [`ADDRESSES_BYTES_MAX`], whatever length it
//! claims to have.

use std::fmt;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt as _};

use crate::limits::PROXY_HEADER_BYTES_MAX;

/// How version 2 begins.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// How version 1 begins.
const WORD: &[u8] = b"PROXY ";
/// The longest header of version 1, with its line's end.
const LINE_BYTES_MAX: usize = 107;
/// The longest addresses of version 2 that are looked at: two of IPv6, with their ports.
const ADDRESSES_BYTES_MAX: usize = 36;
/// Bytes that are skipped at a time.
const SKIP_BYTES: usize = 256;

/// Addresses that have their first bits in common, written `10.0.0.0/8`, or one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Network {
    address: IpAddr,
    bits: u32,
}

impl Network {
    /// Whether `address` is one of them. An IPv4 address that is written as one of IPv6 is that IPv4 address.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.address.is_ipv4() == address.is_ipv4() && (number(self.address) ^ number(address)) & self.mask() == 0
    }

    /// The bits that count, from the top of a 128 bit number.
    fn mask(&self) -> u128 {
        u128::MAX.checked_shl(u128::BITS - self.bits).unwrap_or_default()
    }
}

/// An address from the top of a 128 bit number.
fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()) << (u128::BITS - Ipv4Addr::BITS),
        IpAddr::V6(address) => address.to_bits(),
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no network; `10.0.0.0/8` and `10.1.2.3` are examples");
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let bits_max = if address.is_ipv4() {
            Ipv4Addr::BITS
        } else {
            Ipv6Addr::BITS
        };
        let bits = bits.map_or(Ok(bits_max), |bits| bits.parse().map_err(|_| wrong()))?;
        let network = Self { address, bits };
        if bits > bits_max || number(address) & !network.mask() != 0 {
            return Err(wrong());
        }
        Ok(network)
    }
}

impl TryFrom<String> for Network {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Network> for String {
    fn from(network: Network) -> Self {
        network.to_string()
    }
}

impl fmt::Display for Network {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.address, self.bits)
    }
}

/// Takes the header off a stream: the address of the client, or `None` where the proxy speaks for itself or does not know.
///
/// # Errors
/// There is no header, or it is wrong.
pub(crate) async fn read<S: AsyncRead + Unpin>(stream: &mut S) -> io::Result<Option<SocketAddr>> {
    let mut beginning = [0; SIGNATURE.len()];
    stream.read_exact(&mut beginning).await?;
    if beginning == SIGNATURE {
        read_binary(stream).await
    } else {
        read_line(&beginning, stream).await
    }
}

/// Version 1: a line of text.
async fn read_line<S: AsyncRead + Unpin>(beginning: &[u8], stream: &mut S) -> io::Result<Option<SocketAddr>> {
    if !beginning.starts_with(WORD) {
        return Err(wrong("there is none"));
    }
    let mut line = [0; LINE_BYTES_MAX];
    line[..beginning.len()].copy_from_slice(beginning);
    let mut length = beginning.len();
    // Byte by byte, since nothing says how long it is and what follows is not ours to take.
    while !line[..length].ends_with(b"\n") {
        let Some(next) = line.get_mut(length) else {
            return Err(wrong("its line does not end"));
        };
        *next = stream.read_u8().await?;
        length += 1;
    }
    parse_line(&line[..length])
}

fn parse_line(line: &[u8]) -> io::Result<Option<SocketAddr>> {
    let malformed = || wrong("its line is malformed");
    let line = str::from_utf8(line).map_err(|_| malformed())?;
    let line = line.strip_suffix("\r\n").ok_or_else(malformed)?;
    let mut words = line.split(' ').skip(1);
    let kind = words.next();
    if kind == Some("UNKNOWN") {
        return Ok(None);
    }
    let mut word = || words.next().ok_or_else(malformed);
    let (source, destination) = (word()?, word()?);
    let (port, destination_port) = (word()?, word()?);
    if words.next().is_some() {
        return Err(malformed());
    }
    let address = match kind {
        Some("TCP4") => both::<Ipv4Addr>(source, destination),
        Some("TCP6") => both::<Ipv6Addr>(source, destination),
        _ => None,
    };
    let port = port_of(destination_port).and(port_of(port));
    match (address, port) {
        (Some(address), Some(port)) => Ok(Some(SocketAddr::new(address, port))),
        _ => Err(malformed()),
    }
}

/// The source, if both are addresses of their kind.
fn both<Address: FromStr + Into<IpAddr>>(source: &str, destination: &str) -> Option<IpAddr> {
    destination.parse::<Address>().ok()?;
    source.parse::<Address>().ok().map(Into::into)
}

/// A port as decimal digits and nothing else, without leading zeros.
fn port_of(digits: &str) -> Option<u16> {
    let is_plain = digits.bytes().all(|byte| byte.is_ascii_digit()) && (digits == "0" || !digits.starts_with('0'));
    digits.parse().ok().filter(|_| is_plain)
}

/// Version 2: what follows the signature.
async fn read_binary<S: AsyncRead + Unpin>(stream: &mut S) -> io::Result<Option<SocketAddr>> {
    let [command, family, high, low] = read_array(stream).await?;
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length > PROXY_HEADER_BYTES_MAX {
        return Err(wrong("it is too long"));
    }
    // What the addresses are followed by is more than what is asked of a proxy here.
    match (command, family) {
        (LOCAL, _) | (PROXY, FAMILY_UNKNOWN | FAMILY_UNIX) => skip(stream, length).await.map(|()| None),
        (PROXY, FAMILY_IPV4) => {
            let rest = rest_after::<12>(length)?;
            let [a, b, c, d, _, _, _, _, high, low, _, _] = read_array(stream).await?;
            skip(stream, rest).await?;
            Ok(Some(([a, b, c, d], u16::from_be_bytes([high, low])).into()))
        }
        (PROXY, FAMILY_IPV6) => {
            let rest = rest_after::<ADDRESSES_BYTES_MAX>(length)?;
            let addresses: [u8; ADDRESSES_BYTES_MAX] = read_array(stream).await?;
            skip(stream, rest).await?;
            let mut source = [0; 16];
            source.copy_from_slice(&addresses[..16]);
            let port = u16::from_be_bytes([addresses[32], addresses[33]]);
            Ok(Some(SocketAddr::new(source.into(), port)))
        }
        _ => Err(wrong("it is of another version, or for something else than TCP")),
    }
}

/// Version 2, and the proxy speaks for itself.
const LOCAL: u8 = 0x20;
/// Version 2, and the proxy speaks for a client.
const PROXY: u8 = 0x21;
/// Families of addresses, over a stream of bytes.
const FAMILY_UNKNOWN: u8 = 0x00;
const FAMILY_IPV4: u8 = 0x11;
const FAMILY_IPV6: u8 = 0x21;
const FAMILY_UNIX: u8 = 0x31;

/// What is left of `length` bytes after so many.
fn rest_after<const BYTES: usize>(length: usize) -> io::Result<usize> {
    let rest = length.checked_sub(BYTES);
    rest.ok_or_else(|| wrong("it is too short for its addresses"))
}

async fn read_array<const BYTES: usize, S: AsyncRead + Unpin>(stream: &mut S) -> io::Result<[u8; BYTES]> {
    let mut bytes = [0; BYTES];
    stream.read_exact(&mut bytes).await?;
    Ok(bytes)
}

async fn skip<S: AsyncRead + Unpin>(stream: &mut S, mut count: usize) -> io::Result<()> {
    let mut room = [0; SKIP_BYTES];
    while count > 0 {
        let piece = count.min(SKIP_BYTES);
        stream.read_exact(&mut room[..piece]).await?;
        count -= piece;
    }
    Ok(())
}

fn wrong(what: &str) -> io::Error {
    io::Error::new(
        ErrorKind::InvalidData,
        format!("the header of the PROXY protocol: {what}"),
    )
}

#[cfg(test)]
#[path = "proxy_tests.rs"]
mod tests;

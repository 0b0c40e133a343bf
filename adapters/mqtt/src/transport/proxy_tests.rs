//! Headers of the PROXY protocol, right and wrong.

use proptest::prelude::*;

use super::*;

/// What stands behind every header here.
const AFTER: &[u8] = b"MQTT";

/// Reads a header with something behind it, which must be left alone.
fn read_all(header: &[u8]) -> io::Result<Option<SocketAddr>> {
    let bytes = [header, AFTER].concat();
    let mut stream = bytes.as_slice();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let found = runtime.block_on(read(&mut stream))?;
    assert_eq!(stream, AFTER, "{header:?}");
    Ok(found)
}

/// A header of version 2.
fn binary(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len()).unwrap().to_be_bytes();
    [&SIGNATURE, [command, family].as_slice(), &length, body].concat()
}

const IPV4: [u8; 12] = [192, 0, 2, 7, 198, 51, 100, 1, 0x12, 0x34, 0, 80];

fn ipv6() -> Vec<u8> {
    let source: Ipv6Addr = "2001:db8::7".parse().unwrap();
    [&source.octets(), [0xff; 16].as_slice(), &[0x12, 0x34, 0, 80]].concat()
}

fn address(text: &str) -> Option<SocketAddr> {
    Some(text.parse().unwrap())
}

/// Every header that is right, with whom it speaks for.
fn right() -> Vec<(Vec<u8>, Option<SocketAddr>)> {
    let with_more = [IPV4.as_slice(), &[4, 0, 1, 0]].concat();
    let long = [IPV4.as_slice(), &[0; PROXY_HEADER_BYTES_MAX - IPV4.len()]].concat();
    let longest =
        "PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n";
    vec![
        (
            b"PROXY TCP4 192.0.2.7 198.51.100.1 4660 80\r\n".to_vec(),
            address("192.0.2.7:4660"),
        ),
        (
            b"PROXY TCP6 2001:db8::7 ::1 4660 0\r\n".to_vec(),
            address("[2001:db8::7]:4660"),
        ),
        (
            longest.into(),
            address("[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535"),
        ),
        (b"PROXY UNKNOWN\r\n".to_vec(), None),
        (b"PROXY UNKNOWN whatever it says\r\n".to_vec(), None),
        (binary(PROXY, FAMILY_IPV4, &IPV4), address("192.0.2.7:4660")),
        (binary(PROXY, FAMILY_IPV4, &with_more), address("192.0.2.7:4660")),
        (binary(PROXY, FAMILY_IPV4, &long), address("192.0.2.7:4660")),
        (binary(PROXY, FAMILY_IPV6, &ipv6()), address("[2001:db8::7]:4660")),
        (binary(PROXY, FAMILY_UNKNOWN, &[]), None),
        (binary(PROXY, FAMILY_UNIX, &[0; 216]), None),
        (binary(LOCAL, FAMILY_UNKNOWN, &[]), None),
        (binary(LOCAL, FAMILY_IPV4, &IPV4), None),
    ]
}

#[test]
fn a_right_header_says_whom_it_is_for_and_leaves_what_follows() {
    for (header, expected) in right() {
        assert_eq!(read_all(&header).unwrap(), expected, "{header:?}");
    }
}

#[test]
fn a_header_that_is_cut_anywhere_is_none() {
    for (header, _) in right() {
        for end in 0..header.len() {
            let mut stream = &header[..end];
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            assert!(runtime.block_on(read(&mut stream)).is_err(), "{:?}", &header[..end]);
        }
    }
}

#[test]
fn what_is_nearly_a_header_is_none() {
    let lines = [
        "PROXYxTCP4 192.0.2.7 198.51.100.1 4660 80\r\n",
        "proxy TCP4 192.0.2.7 198.51.100.1 4660 80\r\n",
        "PROXY  TCP4 192.0.2.7 198.51.100.1 4660 80\r\n",
        "PROXY TCP4  192.0.2.7 198.51.100.1 4660 80\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 4660 80 \r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 4660 80 1\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 4660\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 +4660 80\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 04660 80\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 65536 80\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 4660 -1\r\n",
        "PROXY TCP4 192.0.2.007 198.51.100.1 4660 80\r\n",
        "PROXY TCP4 192.0.2 198.51.100.1 4660 80\r\n",
        "PROXY TCP4 2001:db8::7 ::1 4660 80\r\n",
        "PROXY TCP6 192.0.2.7 198.51.100.1 4660 80\r\n",
        "PROXY TCP5 192.0.2.7 198.51.100.1 4660 80\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 4660 80\n",
        "PROXY UNKNOWNx\r\n",
        "PROXY \r\n000000000000000",
        "GET /mqtt HTTP/1.1\r\n",
    ];
    for line in lines {
        assert!(read_all(line.as_bytes()).is_err(), "{line:?}");
    }
    assert!(read_all(&[b"PROXY UNKNOWN ".as_slice(), &[b'x'; 200], b"\r\n"].concat()).is_err());
    assert!(read_all(b"PROXY TCP4 \xff\xff 198.51.100.1 4660 80\r\n").is_err());
    let headers = [
        binary(0x11, FAMILY_IPV4, &IPV4),
        binary(0x22, FAMILY_IPV4, &IPV4),
        binary(PROXY, 0x12, &IPV4),
        binary(PROXY, 0x22, &ipv6()),
        binary(PROXY, 0x41, &IPV4),
        binary(PROXY, FAMILY_IPV4, &IPV4[..11]),
        binary(PROXY, FAMILY_IPV6, &ipv6()[..35]),
        binary(PROXY, FAMILY_IPV6, &IPV4),
        binary(PROXY, FAMILY_IPV4, &[0; PROXY_HEADER_BYTES_MAX + 1]),
        binary(LOCAL, FAMILY_UNKNOWN, &[0; PROXY_HEADER_BYTES_MAX + 1]),
    ];
    for header in headers {
        assert!(read_all(&header).is_err(), "{header:?}");
    }
}

#[test]
fn a_network_is_its_first_bits() {
    let network = |text: &str| text.parse::<Network>();
    let contains = |text: &str, address: &str| network(text).unwrap().contains(address.parse().unwrap());
    assert!(contains("10.0.0.0/8", "10.255.0.1") && !contains("10.0.0.0/8", "11.0.0.0"));
    assert!(contains("10.1.2.3", "10.1.2.3") && !contains("10.1.2.3", "10.1.2.2"));
    assert!(contains("10.0.0.0/8", "::ffff:10.1.2.3") && !contains("10.0.0.0/8", "::10.1.2.3"));
    assert!(contains("2001:db8::/32", "2001:db8:ffff::1") && !contains("2001:db8::/32", "2001:db9::"));
    assert!(contains("0.0.0.0/0", "203.0.113.9") && !contains("0.0.0.0/0", "::1"));
    for wrong in [
        "10.0.0.1/8",
        "10.0.0.0/33",
        "::/129",
        "10.0.0.0/",
        "10.0.0.0/-1",
        "localhost",
        "",
    ] {
        assert!(network(wrong).is_err(), "{wrong}");
    }
    assert_eq!(network("10.1.2.3").unwrap().to_string(), "10.1.2.3/32");
}

proptest! {
    #[test]
    fn no_bytes_are_read_beyond_a_limit_and_none_panic(
        start in prop::sample::select(vec![&SIGNATURE[..], b"PROXY TCP4 ", b"PROXY ", b""]),
        bytes in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let bytes = [start, &bytes, &[0; PROXY_HEADER_BYTES_MAX + 64]].concat();
        let mut stream = bytes.as_slice();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let _ = runtime.block_on(read(&mut stream));
        prop_assert!(bytes.len() - stream.len() <= 16 + PROXY_HEADER_BYTES_MAX);
    }
}

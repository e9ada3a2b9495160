//! The real IPv6 and UDP packets inside the tunnels, so that a standard WireGuard can be the other end.

use std::net::Ipv6Addr;

use rustbalance_core::output::DATAGRAM_MAX;

/// Largest packet inside a tunnel, bytes: IPv6's minimum MTU.
pub(crate) const PACKET_MAX: usize = 1280;

const IPV6_HEADER: usize = 40;
const UDP_HEADER: usize = 8;
const NEXT_HEADER_UDP: u8 = 17;
const HOP_LIMIT: u8 = 64;

const _: () = assert!(IPV6_HEADER + UDP_HEADER + DATAGRAM_MAX == PACKET_MAX);

/// What a datagram is for; both ends use the same UDP port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    /// Datagrams between members, 7900.
    Cluster,
    /// The admission exchange, 7901.
    Admission,
}

impl Port {
    const fn number(self) -> u16 {
        match self {
            Self::Cluster => 7900,
            Self::Admission => 7901,
        }
    }
}

/// Why a packet that came out of a tunnel was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PacketError {
    /// Shorter than its headers, longer than [`PACKET_MAX`], or lengths that disagree.
    Length,
    /// Not IPv6.
    Version,
    /// Not UDP, or extension headers.
    Protocol,
    /// Not from the peer's tunnel address.
    Source,
    /// Not to ours.
    Destination,
    /// Ports that are not ours.
    Port,
    /// The UDP checksum is missing or wrong.
    Checksum,
}

/// An IPv6/UDP packet with `payload`; `None` if that is longer than [`DATAGRAM_MAX`].
pub(crate) fn encode(from: Ipv6Addr, to: Ipv6Addr, port: Port, payload: &[u8]) -> Option<Vec<u8>> {
    if payload.len() > DATAGRAM_MAX {
        return None;
    }
    let length = u16::try_from(UDP_HEADER + payload.len()).ok()?.to_be_bytes();
    let port = port.number().to_be_bytes();
    let head = [&[0x60, 0, 0, 0][..], &length, &[NEXT_HEADER_UDP, HOP_LIMIT]].concat();
    let udp = [&port[..], &port, &length, &[0; 2], payload].concat();
    Some(with_checksum([&head[..], &from.octets(), &to.octets(), &udp].concat(), from, to))
}

/// The packet with a right UDP checksum, if it has a place for one.
pub(super) fn with_checksum(mut packet: Vec<u8>, from: Ipv6Addr, to: Ipv6Addr) -> Vec<u8> {
    if let Some(udp) = packet.get_mut(IPV6_HEADER..).filter(|udp| udp.len() >= UDP_HEADER) {
        udp.iter_mut().skip(6).take(2).for_each(|byte| *byte = 0);
        let checksum = match !sum(from, to, udp) {
            0 => 0xffff, // RFC 768: zero would mean "no checksum", which IPv6 forbids
            checksum => checksum,
        };
        udp.iter_mut().skip(6).zip(checksum.to_be_bytes()).for_each(|(byte, new)| *byte = new);
    }
    packet
}

/// The payload of a packet that must come `from` the peer `to` us.
///
/// # Errors
/// The first rule the packet breaks.
pub(crate) fn decode(packet: &[u8], from: Ipv6Addr, to: Ipv6Addr) -> Result<(Port, &[u8]), PacketError> {
    if packet.len() > PACKET_MAX {
        return Err(PacketError::Length);
    }
    let (header, udp) = packet.split_first_chunk::<IPV6_HEADER>().ok_or(PacketError::Length)?;
    let [first, _, _, _, length @ .., next_header, _] = header.first_chunk::<8>().ok_or(PacketError::Length)?;
    if first >> 4 != 6 {
        return Err(PacketError::Version);
    }
    if *next_header != NEXT_HEADER_UDP {
        return Err(PacketError::Protocol);
    }
    if usize::from(u16::from_be_bytes(*length)) != udp.len() {
        return Err(PacketError::Length);
    }
    if header.get(8..24) != Some(&from.octets()[..]) {
        return Err(PacketError::Source);
    }
    if header.get(24..40) != Some(&to.octets()[..]) {
        return Err(PacketError::Destination);
    }
    decode_udp(udp, *length, from, to)
}

/// `length` is the IPv6 payload length: without extension headers the UDP length must be the same.
fn decode_udp(udp: &[u8], length: [u8; 2], from: Ipv6Addr, to: Ipv6Addr) -> Result<(Port, &[u8]), PacketError> {
    let ([s0, s1, d0, d1, l0, l1, c0, c1], payload) =
        udp.split_first_chunk::<UDP_HEADER>().ok_or(PacketError::Length)?;
    if [*l0, *l1] != length {
        return Err(PacketError::Length);
    }
    if [*c0, *c1] == [0, 0] || sum(from, to, udp) != 0xffff {
        return Err(PacketError::Checksum);
    }
    let (source, destination) = (u16::from_be_bytes([*s0, *s1]), u16::from_be_bytes([*d0, *d1]));
    [Port::Cluster, Port::Admission]
        .into_iter()
        .find(|port| port.number() == source && port.number() == destination)
        .map(|port| (port, payload))
        .ok_or(PacketError::Port)
}

/// The ones' complement sum of RFC 8200's pseudo-header and `udp`: 0xffff over a packet with a right checksum.
fn sum(from: Ipv6Addr, to: Ipv6Addr, udp: &[u8]) -> u16 {
    let words = |bytes: &[u8]| -> u64 {
        let (pairs, rest) = bytes.as_chunks::<2>();
        let last = rest.first().map_or(0, |&byte| u64::from(byte) << 8);
        pairs.iter().map(|&pair| u64::from(u16::from_be_bytes(pair))).sum::<u64>() + last
    };
    let pseudo = u64::from(NEXT_HEADER_UDP) + udp.len() as u64;
    let mut sum = words(&from.octets()) + words(&to.octets()) + pseudo + words(udp);
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    u16::try_from(sum).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1);
    const B: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2);

    #[test]
    fn packet_is_pinned() {
        // Made with a dozen lines of Python from RFC 8200 and RFC 768.
        let expected =
            "60000000000b1140fd000000000000000000000000000001fd0000000000000000000000000000021edc1edc000b3eb2686921";
        let packet = encode(A, B, Port::Cluster, b"hi!").unwrap();
        let hex: String = packet.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, expected);
    }

    #[test]
    fn decodes_what_it_encodes_up_to_the_limit() {
        for length in [0, 1, 2, 999, DATAGRAM_MAX] {
            let payload = vec![0xa5; length];
            let packet = encode(A, B, Port::Admission, &payload).unwrap();
            assert_eq!(decode(&packet, A, B), Ok((Port::Admission, &payload[..])));
        }
        assert_eq!(encode(A, B, Port::Cluster, &[0; DATAGRAM_MAX + 1]), None);
    }

    #[test]
    fn each_broken_rule_is_named() {
        let good = encode(A, B, Port::Cluster, b"payload").unwrap();
        let with = |at: usize, byte: u8| {
            let mut packet = good.clone();
            packet[at] = byte;
            decode(&packet, A, B).unwrap_err()
        };
        assert_eq!(with(0, 0x45), PacketError::Version);
        assert_eq!(with(6, 6), PacketError::Protocol);
        assert_eq!(with(5, 200), PacketError::Length);
        assert_eq!(with(45, 9), PacketError::Length);
        assert_eq!(with(23, 9), PacketError::Source);
        assert_eq!(with(39, 9), PacketError::Destination);
        assert_eq!(with(50, 0), PacketError::Checksum);
        assert_eq!(decode(&good, B, B), Err(PacketError::Source));
        assert_eq!(decode(&good[..47], A, B), Err(PacketError::Length));
        assert_eq!(decode(&[0x60; PACKET_MAX + 1], A, B), Err(PacketError::Length));
        assert_eq!(decode(&[], A, B), Err(PacketError::Length));
    }

    #[test]
    fn a_foreign_port_is_refused_even_with_a_right_checksum() {
        let mut packet = encode(A, B, Port::Cluster, b"payload").unwrap();
        packet[43] += 1; // destination port one more ...
        packet[47] -= 1; // ... checksum one less
        assert_eq!(decode(&packet, A, B), Err(PacketError::Port));
    }

    #[test]
    fn a_missing_checksum_is_refused() {
        let mut packet = encode(A, B, Port::Cluster, b"payload").unwrap();
        packet[46] = 0;
        packet[47] = 0;
        assert_eq!(decode(&packet, A, B), Err(PacketError::Checksum));
    }
}

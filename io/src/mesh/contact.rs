//! Contacts: `HOST:PORT` as operators write it, named off the loop.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, ToSocketAddrs};

/// Addresses of one contact that are tried, at most.
const ADDRESSES_MAX: usize = 8;

/// The addresses of `contact`, in the resolver's order.
///
/// # Errors
/// Not `HOST:PORT`, or the resolver's error.
pub(crate) async fn resolve(contact: String) -> io::Result<Vec<SocketAddr>> {
    let addresses = smol::unblock(move || contact.to_socket_addrs()).await?;
    Ok(addresses.take(ADDRESSES_MAX).collect())
}

/// `address` as a socket bound to `local` must name it: an IPv6 socket for all addresses speaks IPv4 in mapped form.
pub(crate) fn reachable_from(local: SocketAddr, address: SocketAddr) -> Option<SocketAddr> {
    match (local.ip(), address.ip()) {
        (IpAddr::V4(_), IpAddr::V4(_)) | (IpAddr::V6(_), IpAddr::V6(_)) => Some(address),
        (IpAddr::V6(Ipv6Addr::UNSPECIFIED), IpAddr::V4(ip)) => {
            Some(SocketAddr::new(ip.to_ipv6_mapped().into(), address.port()))
        }
        (IpAddr::V6(_), IpAddr::V4(_)) | (IpAddr::V4(_), IpAddr::V6(_)) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_the_sockets_family_remain() {
        let address = |text: &str| text.parse::<SocketAddr>().unwrap();
        let (v4, v6) = (address("192.0.2.1:51820"), address("[2001:db8::1]:51820"));
        assert_eq!(reachable_from(address("0.0.0.0:0"), v4), Some(v4));
        assert_eq!(reachable_from(address("0.0.0.0:0"), v6), None);
        assert_eq!(reachable_from(address("[::]:0"), v4), Some(address("[::ffff:192.0.2.1]:51820")));
        assert_eq!(reachable_from(address("[::1]:0"), v4), None);
        assert_eq!(reachable_from(address("[::]:0"), v6), Some(v6));
    }

    #[test]
    fn what_is_no_contact_is_an_error() {
        let resolve = |contact: &str| smol::block_on(resolve(contact.to_owned()));
        assert_eq!(resolve("127.0.0.1:7").unwrap(), ["127.0.0.1:7".parse::<SocketAddr>().unwrap()]);
        assert!(resolve("no port").is_err());
    }
}

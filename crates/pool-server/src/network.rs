//! Who is at the other end: the TCP peer, or whom a proxy of ours says it speaks for.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use http::HeaderMap;

/// A block of addresses, as `10.0.0.0/8` or a single one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    start: IpAddr,
    /// Leading bits that count.
    bits: u8,
}

/// A text that is no block of addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoBlock(String);

impl fmt::Display for NoBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is neither an address nor a block of addresses as 10.0.0.0/8", self.0)
    }
}

impl FromStr for Block {
    type Err = NoBlock;

    fn from_str(text: &str) -> Result<Self, NoBlock> {
        let (start, bits) = text.split_once('/').map_or((text, None), |(start, bits)| (start, Some(bits)));
        let start: IpAddr = start.parse().map_err(|_| NoBlock(text.to_owned()))?;
        let most = if start.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(most), str::parse).ok().filter(|bits| *bits <= most);
        Ok(Self { start, bits: bits.ok_or_else(|| NoBlock(text.to_owned()))? })
    }
}

impl Block {
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.start, address.to_canonical()) {
            (IpAddr::V4(start), IpAddr::V4(address)) => {
                let rest = 32 - u32::from(self.bits);
                let cut = |address: u32| address.checked_shr(rest).unwrap_or(0);
                cut(start.to_bits()) == cut(address.to_bits())
            }
            (IpAddr::V6(start), IpAddr::V6(address)) => {
                let rest = 128 - u32::from(self.bits);
                let cut = |address: u128| address.checked_shr(rest).unwrap_or(0);
                cut(start.to_bits()) == cut(address.to_bits())
            }
            _ => false,
        }
    }
}

/// Where a request comes from. Only what a trusted proxy has added to `x-forwarded-for` is believed, and proxies add at the right:
/// so the right-most address that is not itself a trusted proxy's. Everything left of it is the visitor's own invention.
pub fn origin(trusted: &[Block], peer: SocketAddr, headers: &HeaderMap) -> IpAddr {
    let is_trusted = |address: IpAddr| trusted.iter().any(|block| block.contains(address));
    let mut last = peer.ip().to_canonical();
    if !is_trusted(last) {
        return last;
    }
    let lines: Vec<&str> =
        headers.get_all("x-forwarded-for").iter().map(|line| line.to_str().unwrap_or_default()).collect();
    for hop in lines.iter().rev().flat_map(|line| line.rsplit(',')) {
        // What is no address was not written by a proxy that could be trusted; the one that passed it on was the last.
        let Some(address) = address(hop.trim()) else { return last };
        last = address;
        if !is_trusted(last) {
            return last;
        }
    }
    last
}

/// An address, perhaps with a port, as some proxies write it.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.parse::<IpAddr>().ok();
    bare.or_else(|| text.parse::<SocketAddr>().ok().map(|with_port| with_port.ip())).map(|ip| ip.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocks(text: &str) -> Vec<Block> {
        text.split_whitespace().map(|block| block.parse().expect("a block")).collect()
    }

    #[test]
    fn blocks_are_read_and_hold_what_they_say() {
        for (block, address, inside) in [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("10.0.0.0/8", "::ffff:10.1.1.1", true),
            ("192.0.2.7", "192.0.2.7", true),
            ("192.0.2.7", "192.0.2.6", false),
            ("0.0.0.0/0", "203.0.113.1", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("2001:db8::/32", "2001:db8:1::1", true),
            ("::/0", "2001:db8::1", true),
            ("::1", "::2", false),
        ] {
            let found = block.parse::<Block>().expect(block).contains(address.parse().expect(address));
            assert_eq!(found, inside, "{block} {address}");
        }
        for wrong in ["", "proxy", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0/8", "::/129", "10.0.0.0/8 "] {
            assert!(wrong.parse::<Block>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_visitor_cannot_choose_where_it_comes_from() {
        for (trusted, peer, forwarded, origin_is) in [
            // Nobody is trusted: what a header says counts for nothing.
            ("", "203.0.113.1:9", &["198.51.100.1"][..], "203.0.113.1"),
            ("10.0.0.0/8", "203.0.113.1:9", &["198.51.100.1"], "203.0.113.1"),
            ("10.0.0.0/8", "10.0.0.1:9", &["203.0.113.1"], "203.0.113.1"),
            // What stands left of the proxy's own word was sent by the visitor.
            ("10.0.0.0/8", "10.0.0.1:9", &["198.51.100.1, 203.0.113.1"], "203.0.113.1"),
            ("10.0.0.0/8", "10.0.0.1:9", &["198.51.100.1", "203.0.113.1, 10.0.0.2"], "203.0.113.1"),
            ("10.0.0.0/8", "10.0.0.1:9", &["203.0.113.1:4711"], "203.0.113.1"),
            ("10.0.0.0/8", "10.0.0.1:9", &["nonsense, 10.0.0.2"], "10.0.0.2"),
            ("10.0.0.0/8", "10.0.0.1:9", &[], "10.0.0.1"),
            ("10.0.0.0/8", "[::ffff:10.0.0.1]:9", &["[2001:db8::1]:80"], "2001:db8::1"),
        ] {
            let mut headers = HeaderMap::new();
            for line in forwarded {
                headers.append("x-forwarded-for", line.parse().expect("a header"));
            }
            let found = origin(&blocks(trusted), peer.parse().expect("an address"), &headers);
            assert_eq!(found, origin_is.parse::<IpAddr>().expect("an address"), "{trusted} {peer} {forwarded:?}");
        }
    }
}

//! Networks as settings name them: an address, or `10.0.0.0/8`.
//!
//! Must not know what is asked of who is in one.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

/// Some addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network(IpNet);

impl Network {
    /// Whether an address is one of them. An IPv4 address that is written as IPv6 is the same one.
    #[must_use]
    pub fn has(&self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let rule = || "must be an address such as 127.0.0.1, or a network such as 10.0.0.0/8".to_owned();
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self(address.to_canonical().into()));
        }
        let network: IpNet = text.parse().map_err(|_| rule())?;
        // Such as 10.1.2.3/8: one of the two halves is not what was meant.
        match network.trunc() == network {
            true => Ok(Self(network)),
            false => Err(format!("{} is the network that begins there", network.trunc())),
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.prefix_len() == self.0.max_prefix_len() {
            true => self.0.addr().fmt(f),
            false => self.0.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_or_a_network_has_those_in_it() {
        let has =
            |network: &str, address: &str| network.parse::<Network>().unwrap().has(address.parse().unwrap());
        assert!(has("10.0.0.0/8", "10.255.0.1") && !has("10.0.0.0/8", "11.0.0.1"));
        assert!(has("127.0.0.1", "127.0.0.1") && !has("127.0.0.1", "127.0.0.2"));
        assert!(has("10.0.0.0/8", "::ffff:10.1.2.3") && has("::ffff:127.0.0.1", "127.0.0.1"));
        assert!(has("2001:db8::/32", "2001:db8:1::5") && !has("2001:db8::/32", "10.0.0.1"));
    }

    #[test]
    fn what_is_no_network_is_refused_and_what_is_one_comes_back() {
        for good in ["10.0.0.0/8", "127.0.0.1", "::1", "2001:db8::/32"] {
            assert_eq!(good.parse::<Network>().unwrap().to_string(), good);
        }
        for bad in ["", "proxy", "10.0.0.0/33", "10.0.0.0/", "10.0.0"] {
            assert!(bad.parse::<Network>().is_err(), "{bad}");
        }
        assert_eq!(
            "10.1.2.3/8".parse::<Network>(),
            Err("10.0.0.0/8 is the network that begins there".to_owned())
        );
    }
}

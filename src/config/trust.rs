//! Outside issuers as settings name them: `ISSUER=FILE` or `ISSUER=https://…/jwks.json`.
//!
//! Must not know what is in the file or behind the URL.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// An outside issuer whose tokens are good, and where its public keys are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trust {
    /// `iss` of its tokens, to the letter.
    pub issuer: String,
    /// Where its keys are.
    pub keys: TrustedKeys,
}

/// Where an outside issuer's public keys (a JWK set) are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TrustedKeys {
    /// In a file, which is read at the start and on every reload.
    File(PathBuf),
    /// Behind a URL, which is asked again from time to time.
    Url(String),
}

impl FromStr for Trust {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let rule = "must be ISSUER=FILE or ISSUER=https://HOST/PATH";
        let (issuer, place) = text.split_once('=').ok_or(rule)?;
        if issuer.is_empty() || place.is_empty() {
            return Err(rule.to_owned());
        }
        let keys = match place.split_once("://") {
            None => TrustedKeys::File(place.into()),
            Some((scheme, rest)) => TrustedKeys::Url(url(scheme, rest)?),
        };
        Ok(Self {
            issuer: issuer.to_owned(),
            keys,
        })
    }
}

impl fmt::Display for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.keys {
            TrustedKeys::File(path) => write!(f, "{}={}", self.issuer, path.display()),
            TrustedKeys::Url(url) => write!(f, "{}={url}", self.issuer),
        }
    }
}

/// Keys that decide who may log in come over TLS, or from this machine.
fn url(scheme: &str, rest: &str) -> Result<String, String> {
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.contains('@') {
        return Err("the URL must not hold a user name or a password".to_owned());
    }
    let host = match authority.strip_prefix('[') {
        Some(six) => six.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    let address = host.parse::<std::net::IpAddr>();
    let is_loopback = host == "localhost" || address.is_ok_and(|address| address.is_loopback());
    match scheme {
        _ if host.is_empty() => Err("the URL has no host".to_owned()),
        "https" => Ok(format!("https://{rest}")),
        "http" if is_loopback => Ok(format!("http://{rest}")),
        "http" => Err("keys are fetched over https; http is for this machine only".to_owned()),
        _ => Err("the URL must begin with https://".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_issuer_has_a_file_or_an_https_url() {
        let good = [
            ("a=keys.json", TrustedKeys::File("keys.json".into())),
            ("a=/etc/a=b.json", TrustedKeys::File("/etc/a=b.json".into())),
            (
                "a=https://id.example/jwks?x=1",
                TrustedKeys::Url("https://id.example/jwks?x=1".into()),
            ),
            (
                "a=http://127.0.0.1:8/k",
                TrustedKeys::Url("http://127.0.0.1:8/k".into()),
            ),
            ("a=http://[::1]:8/k", TrustedKeys::Url("http://[::1]:8/k".into())),
            (
                "a=http://localhost/k",
                TrustedKeys::Url("http://localhost/k".into()),
            ),
        ];
        for (text, keys) in good {
            let trust = Trust {
                issuer: "a".into(),
                keys,
            };
            assert_eq!(
                (text.parse(), trust.to_string()),
                (Ok(trust.clone()), text.to_owned())
            );
        }
        let url: Trust = "https://id.example=https://id.example/jwks".parse().unwrap();
        assert_eq!(url.issuer, "https://id.example");
        for bad in [
            "a",
            "=x",
            "a=",
            "a=http://id.example/k",
            "a=http://localhost.example/k",
            "a=http://127.0.0.1@id.example/k",
            "a=https://u:p@id.example/k",
            "a=ftp://h/k",
            "a=https:///k",
            "a=file:///etc/passwd",
        ] {
            assert!(bad.parse::<Trust>().is_err(), "{bad}");
        }
    }
}

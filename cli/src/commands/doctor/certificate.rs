//! What is to be said of a chain of certificates: how long it is good, and whether it is in order.
//!
//! Must not know where it comes from, nor check signatures: who trusts it is the other side's business.

use chatctl_relay::model::UnixMs;
use rustls::pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;

use super::finding::Finding;
use crate::figures::tame;
use crate::when;

/// A chain, the relay's own certificate first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Chain {
    /// Whose it is.
    subject: String,
    not_before: UnixMs,
    /// When the first of them ends.
    not_after: UnixMs,
    /// How many there are.
    length: usize,
    /// The first that was not issued by the next.
    break_at: Option<usize>,
    is_self_signed: bool,
    /// Whether it is meant to sign others.
    is_authority: bool,
}

impl Chain {
    /// Reads it.
    ///
    /// # Errors
    ///
    /// What is wrong with it, in words.
    pub(super) fn read(certificates: &[CertificateDer<'_>]) -> Result<Self, String> {
        let read = certificates
            .iter()
            .enumerate()
            .map(|(at, der)| match X509Certificate::from_der(der) {
                Ok((_, certificate)) => Ok(certificate),
                Err(_) => Err(format!("certificate {} is none", at + 1)),
            });
        let read = read.collect::<Result<Vec<_>, _>>()?;
        let leaf = read.first().ok_or("no certificate")?;
        let break_at = read.windows(2).position(|pair| match pair {
            [issued, issuer] => issued.issuer() != issuer.subject(),
            _ => false,
        });
        let ends = read
            .iter()
            .map(|certificate| time(certificate.validity().not_after.timestamp()));
        Ok(Self {
            subject: tame(&leaf.subject().to_string()),
            not_before: time(leaf.validity().not_before.timestamp()),
            not_after: ends.min().unwrap_or(UnixMs(0)),
            length: read.len(),
            break_at,
            is_self_signed: read.len() == 1 && leaf.issuer() == leaf.subject(),
            is_authority: leaf.is_ca(),
        })
    }

    /// Judges it; `renew` is how a new one is had.
    pub(super) fn judge(&self, now: UnixMs, renew: &str) -> Vec<Finding> {
        let mut found = vec![self.judge_time(now, renew), self.judge_order(renew)];
        // What `openssl req -x509` makes unless told otherwise.
        if self.is_authority {
            let measured = format!("{} is an authority's (CA:TRUE)", self.subject);
            let fix = "openssl req -x509 … -addext basicConstraints=critical,CA:FALSE";
            found.push(Finding::bad("kind", measured, fix).meaning("clients refuse it as a relay's own"));
        }
        found
    }

    fn judge_time(&self, now: UnixMs, renew: &str) -> Finding {
        let name = "expiry";
        let measured = format!(
            "{}, until {} ({})",
            self.subject,
            when::rfc3339(self.not_after),
            when::relative(self.not_after, now)
        );
        if self.not_before > now {
            let begins = format!("{} begins at {}", self.subject, when::rfc3339(self.not_before));
            return Finding::bad(name, begins, "timedatectl  # is the clock right?")
                .meaning("clients refuse it");
        }
        let days_left = self.not_after.0.saturating_sub(now.0) / DAY;
        match days_left {
            _ if self.not_after <= now => Finding::bad(name, measured, renew).meaning("clients refuse it"),
            0..3 => Finding::bad(name, measured, renew)
                .meaning("clients will refuse it; what renews it has failed for weeks"),
            3..21 => {
                Finding::warn(name, measured, renew).meaning("what renews it should have done so by now")
            }
            _ => Finding::ok(name, measured),
        }
    }

    fn judge_order(&self, renew: &str) -> Finding {
        let name = "chain";
        match (self.break_at, self.is_self_signed, self.length) {
            (Some(at), _, _) => Finding::bad(
                name,
                format!("certificate {} was not issued by certificate {}", at + 1, at + 2),
                "cat relay.pem intermediate.pem > fullchain.pem  # the relay's own first, then who issued it",
            )
            .meaning("many clients cannot follow it to an authority that they know"),
            (None, true, _) => Finding::warn(name, "it is signed by itself", renew)
                .meaning("clients have to be told to trust it"),
            (None, false, 1) => Finding::warn(
                name,
                "one certificate, without the one that issued it",
                "cat relay.pem intermediate.pem > fullchain.pem",
            )
            .meaning("good only where clients know who issued it; phones often do not"),
            (None, false, length) => Finding::ok(name, format!("{length} certificates, in order")),
        }
    }
}

fn time(seconds: i64) -> UnixMs {
    UnixMs(u64::try_from(seconds).unwrap_or(0).saturating_mul(1000))
}

const DAY: u64 = 24 * 3600 * 1000;

#[cfg(test)]
mod tests {
    use super::super::finding::Mark;
    use super::*;

    const NOW: UnixMs = UnixMs(1_800_000_000_000);

    fn chain(days: i64) -> Chain {
        let end = i64::try_from(NOW.0).unwrap() + days * i64::try_from(DAY).unwrap();
        Chain {
            subject: "CN=chat.example".into(),
            not_before: UnixMs(0),
            not_after: UnixMs(u64::try_from(end).unwrap()),
            length: 2,
            break_at: None,
            is_self_signed: false,
            is_authority: false,
        }
    }

    #[test]
    fn a_certificate_is_renewed_weeks_before_it_ends() {
        let marks = [90, 21, 20, 3, 2, -1].map(|days| chain(days).judge_time(NOW, "certbot renew").mark);
        use Mark::{Bad, Ok, Warn};
        assert_eq!(marks, [Ok, Ok, Warn, Warn, Bad, Bad]);
        let early = Chain {
            not_before: UnixMs(NOW.0 + 1),
            ..chain(90)
        };
        assert_eq!(early.judge_time(NOW, "x").mark, Bad);
    }

    #[test]
    fn a_chain_is_in_order_and_has_its_issuer() {
        let of = |chain: Chain| chain.judge_order("certbot renew").mark;
        assert_eq!(of(chain(90)), Mark::Ok);
        assert_eq!(
            of(Chain {
                break_at: Some(0),
                ..chain(90)
            }),
            Mark::Bad
        );
        assert_eq!(
            of(Chain {
                length: 1,
                ..chain(90)
            }),
            Mark::Warn
        );
        assert_eq!(
            of(Chain {
                length: 1,
                is_self_signed: true,
                ..chain(90)
            }),
            Mark::Warn
        );
    }

    #[test]
    fn real_certificates_are_read() {
        let alone = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let other = rcgen::generate_simple_self_signed(["elsewhere".to_owned()]).unwrap();
        let one = Chain::read(&[alone.cert.der().clone()]).unwrap();
        assert!(one.is_self_signed && one.break_at.is_none(), "{one:?}");
        let mut name = rcgen::CertificateParams::new(["a".to_owned()]).unwrap();
        name.distinguished_name
            .push(rcgen::DnType::CommonName, "another issuer");
        let key = rcgen::KeyPair::generate().unwrap();
        let named = name.self_signed(&key).unwrap();
        let mixed = Chain::read(&[other.cert.der().clone(), named.der().clone()]).unwrap();
        assert_eq!((mixed.break_at, mixed.length), (Some(0), 2));
        assert!(Chain::read(&[CertificateDer::from(vec![1, 2, 3])]).is_err());
        assert!(Chain::read(&[]).is_err());
    }
}

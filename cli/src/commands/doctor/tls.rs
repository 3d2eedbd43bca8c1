//! The relay's own certificate and its key: whether they fit, who may read the key, how long they are good.
//!
//! Must not know who trusts the certificate: that is asked through the front, with `--through`.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use chatctl_relay::model::UnixMs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use super::Area;
use super::certificate::Chain;
use super::finding::{Finding, as_root, shell};
use crate::config::told::{Told, plain};

/// Where certificate and key are, by the settings or by systemd.
pub(super) fn files(told: &Told) -> Option<(PathBuf, PathBuf)> {
    let setting = |key: &str| told.values.get(key).map(|value| PathBuf::from(plain(value)));
    let credential = |name: &str| {
        let folder = std::env::var_os("CREDENTIALS_DIRECTORY").filter(|folder| !folder.is_empty())?;
        Some(PathBuf::from(folder).join(name)).filter(|path| path.is_file())
    };
    let of = |key: &str, name: &str| setting(key).or_else(|| credential(name));
    let certificate = of("server.tls_certificate", "tls-certificate");
    let key = of("server.tls_key", "tls-key");
    match (certificate, key) {
        (None, None) => None,
        // One without the other is said where it is opened.
        (certificate, key) => Some((certificate.unwrap_or_default(), key.unwrap_or_default())),
    }
}

/// Looks at certificate and key.
pub(super) fn look(files: Option<&(PathBuf, PathBuf)>, from: Option<&str>, now: UnixMs) -> Vec<Finding> {
    let mut found = Vec::new();
    if from == Some("credential") {
        found.push(Finding::ok(
            "from",
            "a systemd credential: another certificate is followed after `systemctl restart chatctl`, not after a reload",
        ));
    }
    let Some((certificate, key)) = files else {
        if found.is_empty() {
            found.push(Finding::ok(
                "certificate",
                "none: the relay speaks plain HTTP, for a proxy in front of it",
            ));
        }
        return found;
    };
    let chain = match read(certificate, "certificate") {
        Ok(pem) => {
            let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
            chain.unwrap_or_default()
        }
        Err(finding) => return vec![finding],
    };
    if chain.is_empty() {
        let measured = format!("{} holds no certificate in PEM", certificate.display());
        return vec![Finding::bad("certificate", measured, RENEW)];
    }
    match Chain::read(&chain) {
        Ok(read) => found.extend(read.judge(now, RENEW)),
        Err(why) => found.push(Finding::bad("certificate", why, RENEW)),
    }
    found.push(match key_mode(key) {
        Ok(finding) => finding,
        Err(finding) => {
            found.push(finding);
            return found;
        }
    });
    found.push(match read(key, "key") {
        Ok(pem) => judge_pair(chain, &pem, key),
        Err(finding) => finding,
    });
    found
}

fn read(path: &Path, what: &str) -> Result<Vec<u8>, Finding> {
    fs::read(path).map_err(|error| unreadable(path, what, &error))
}

fn unreadable(path: &Path, what: &str, error: &io::Error) -> Finding {
    let measured = format!("{}: {error}", path.display());
    match error.kind() {
        io::ErrorKind::PermissionDenied => Finding::skipped(what, measured, as_root(Area::Tls)),
        _ if path.as_os_str().is_empty() => Finding::bad(
            what,
            "certificate and key go together, and only one is named",
            "chatctl config show | grep server.tls_",
        ),
        _ => Finding::bad(what, measured, RENEW),
    }
}

fn key_mode(path: &Path) -> Result<Finding, Finding> {
    let found = fs::metadata(path).map_err(|error| unreadable(path, "key", &error))?;
    Ok(judge_mode(path, found.permissions().mode() & 0o7777))
}

fn judge_mode(path: &Path, mode: u32) -> Finding {
    let measured = format!("{} has mode {mode:04o}", path.display());
    match (mode & 0o007, mode & 0o070) {
        (0, 0) => Finding::ok("key's mode", measured),
        // As certbot's hooks and `ssl-cert` hand it over.
        (0, 0o040) => Finding::ok("key's mode", format!("{measured}: its group may read it")),
        (0, _) => Finding::warn("key's mode", measured, format!("chmod 0600 {}", shell(path)))
            .meaning("a group may change it"),
        (_, _) => Finding::bad("key's mode", measured, format!("chmod 0600 {}", shell(path)))
            .meaning("everybody on this machine may read it"),
    }
}

/// Whether the key is that of the chain's first certificate.
fn judge_pair(chain: Vec<CertificateDer<'static>>, pem: &[u8], path: &Path) -> Finding {
    let name = "key";
    let Ok(key) = PrivateKeyDer::from_pem_slice(pem) else {
        let measured = format!("{} holds no private key in PEM", path.display());
        return Finding::bad(name, measured, RENEW);
    };
    let Ok(key) = rustls::crypto::ring::sign::any_supported_type(&key) else {
        let measured = format!("{} holds a key of a kind that is not supported", path.display());
        return Finding::bad(
            name,
            measured,
            "sudo certbot renew --force-renewal --key-type ecdsa",
        );
    };
    match CertifiedKey::new(chain, key).keys_match() {
        Ok(()) => Finding::ok(name, "it is the certificate's"),
        Err(_) => Finding::bad(name, "it is not the certificate's", RENEW)
            .meaning("the relay cannot show the certificate"),
    }
}

/// How a certificate is had anew, where nobody does it otherwise.
pub(super) const RENEW: &str = "sudo certbot renew && sudo systemctl reload chatctl";

#[cfg(test)]
mod tests {
    use super::super::finding::Mark;
    use super::*;

    fn marks(certificate: &str, key: &str, mode: u32) -> Vec<(String, Mark)> {
        let folder = tempfile::tempdir().unwrap();
        let (cert_path, key_path) = (folder.path().join("c.pem"), folder.path().join("k.pem"));
        fs::write(&cert_path, certificate).unwrap();
        fs::write(&key_path, key).unwrap();
        fs::set_permissions(&key_path, fs::Permissions::from_mode(mode)).unwrap();
        let found = look(Some(&(cert_path, key_path)), None, super::super::clock::now());
        let good = |finding: &Finding| finding.mark == Mark::Ok || finding.fix.is_some();
        assert!(found.iter().all(good), "{found:?}");
        found
            .into_iter()
            .map(|finding| (finding.name, finding.mark))
            .collect()
    }

    #[test]
    fn a_certificate_and_its_key_go_together() {
        let one = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let two = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let (pem, key, other) = (
            one.cert.pem(),
            one.signing_key.serialize_pem(),
            two.signing_key.serialize_pem(),
        );
        let of = |name: &str, mark| (name.to_owned(), mark);
        let head = [of("expiry", Mark::Ok), of("chain", Mark::Warn)];
        let with = |rest: [(String, Mark); 2]| [head.to_vec(), rest.to_vec()].concat();
        assert_eq!(
            marks(&pem, &key, 0o600),
            with([of("key's mode", Mark::Ok), of("key", Mark::Ok)])
        );
        assert_eq!(
            marks(&pem, &other, 0o640),
            with([of("key's mode", Mark::Ok), of("key", Mark::Bad)])
        );
        assert_eq!(
            marks(&pem, "", 0o644),
            with([of("key's mode", Mark::Bad), of("key", Mark::Bad)])
        );
        assert_eq!(marks("", &key, 0o600), [of("certificate", Mark::Bad)]);
    }

    #[test]
    fn without_a_certificate_the_relay_is_plain() {
        assert_eq!(look(None, None, UnixMs(0))[0].mark, Mark::Ok);
        let lonely = (PathBuf::from("/nowhere/c.pem"), PathBuf::new());
        assert_eq!(look(Some(&lonely), None, UnixMs(0))[0].mark, Mark::Bad);
    }
}

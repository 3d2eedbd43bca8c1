//! What must not stand in a configuration file, a variable or a flag, and where it belongs instead.
//!
//! Knows secrets by the names people give them, and a login in a URI by its `@`. Never shows one.

/// Whether a name says that its value is a secret.
pub(crate) fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let mut words = name.split(|char: char| !char.is_ascii_alphanumeric());
    words.any(|word| WORDS.contains(&word))
}

/// Whether a text may hold a login: an address that names somebody at a host.
pub(crate) fn may_hold_login(text: &str) -> bool {
    text.contains('@')
}

/// Where a secret belongs, for a key by whose name it is one.
pub(crate) fn way(name: &str) -> &'static str {
    let name = name.to_ascii_lowercase();
    if name.contains("store") || name.contains("mongo") {
        STORE
    } else {
        KEYS
    }
}

/// Where the store's login belongs.
pub(crate) const STORE: &str = "put the whole URI into a file of mode 0600 that store.uri_file names, or give it \
                                to the service as the systemd credential `store-uri`";

const KEYS: &str = "keys stand in a file of mode 0600 that auth.keys names, or are given to the service as the \
                    systemd credential `jwt-keys`; `chatctl token keys generate -o FILE` makes one";

const WORDS: [&str; 15] = [
    "secret",
    "secrets",
    "password",
    "passwd",
    "passphrase",
    "pass",
    "pwd",
    "private",
    "credential",
    "credentials",
    "jwt",
    "hmac",
    "apikey",
    "bearer",
    "login",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_known_by_their_names() {
        for name in [
            "auth.jwt_secret",
            "store.password",
            "CHATCTL_AUTH__JWT_SECRET",
            "private-key",
        ] {
            assert!(is_secret(name), "{name}");
        }
        for name in ["auth.keys", "auth.max_token_life", "store.uri_file"] {
            assert!(!is_secret(name), "{name}");
        }
        assert!(way("CHATCTL_STORE__PASSWORD").contains("store.uri_file"));
        assert!(way("auth.jwt_secret").contains("auth.keys"));
    }
}

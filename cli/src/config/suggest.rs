//! "Did you mean": the known name that is nearest to one that is not known.

/// The nearest of the known names, if one is near.
pub(crate) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let plain = plain(name);
    known
        .map(|candidate| {
            let candidate_plain = self::plain(candidate);
            (strsim::jaro_winkler(&plain, &candidate_plain), candidate)
        })
        .filter(|(likeness, _)| *likeness >= LIKE)
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, candidate)| candidate)
}

/// Whether two names differ in nothing but case, dots, dashes and underscores.
pub(crate) fn is_same(one: &str, other: &str) -> bool {
    plain(one) == plain(other)
}

/// Dashes, dots, underscores and case are what people get wrong first.
fn plain(name: &str) -> String {
    name.chars()
        .filter(|char| char.is_alphanumeric())
        .map(|char| char.to_ascii_lowercase())
        .collect()
}

/// How alike two names must be, from 0 to 1.
const LIKE: f64 = 0.85;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_recognised_and_strangers_are_not() {
        let known = || ["server", "store", "auth", "send_rate"].into_iter();
        assert_eq!(nearest("servr", known()), Some("server"));
        assert_eq!(nearest("Send-Rate", known()), Some("send_rate"));
        assert_eq!(nearest("zebra", known()), None);
        assert!(is_same("SERVER_LISTEN", "server.listen") && !is_same("a", "b"));
    }
}

//! What makes two scenarios the same one.

use std::fmt::Write as _;

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::scenario::Scenario;

impl Scenario {
    /// SHA-256 of all that has an influence on figures, in hexadecimal: the name and the thresholds have none.
    #[must_use]
    pub fn hash(&self) -> String {
        let mut text = String::new();
        let value = serde_json::to_value(self).unwrap_or_default();
        if let Value::Object(members) = value {
            let counted = members
                .into_iter()
                .filter(|(name, _)| name != "name" && name != "thresholds");
            canonical(&Value::Object(counted.collect()), &mut text);
        }
        Sha256::digest(text).iter().fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        })
    }
}

/// JSON with sorted members: in which order a map keeps them may depend on who else uses the library.
fn canonical(value: &Value, text: &mut String) {
    match value {
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_by_key(|(name, _)| *name);
            text.push('{');
            for (name, value) in members {
                let _ = write!(text, "{}:", Value::from(name.as_str()));
                canonical(value, text);
                text.push(',');
            }
            text.push('}');
        }
        Value::Array(values) => {
            text.push('[');
            for value in values {
                canonical(value, text);
                text.push(',');
            }
            text.push(']');
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            let _ = write!(text, "{value}");
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::scenario::{Crypto, Preset, Scenario, Topology};

    #[test]
    fn names_and_thresholds_do_not_make_another_scenario_and_everything_else_does() {
        let one = Scenario::default();
        let same = Scenario {
            name: "other".to_owned(),
            thresholds: vec!["lost == 0".to_owned()],
            ..one.clone()
        };
        assert_eq!(one.hash(), same.hash());
        let mut others = vec![one.clone(); 5];
        others[0].seed = 43;
        others[1].clients.count = 102;
        others[2].topology = Topology::Dialogues;
        others[3].payload.crypto = Crypto::Staged;
        others[4].faults.slow_consumers_percent = 0.1;
        for other in others.iter().chain(&Preset::ALL.map(Preset::scenario)) {
            assert_ne!(other.hash(), one.hash());
        }
    }

    #[test]
    fn a_digest_stays_what_it_was() {
        // Reports of older versions are compared by it.
        let expected = "ea2e55faf3cc107b5b05bfa02a907163f4251c9e2b9bdde04a5d360027b72521";
        assert_eq!(Scenario::default().hash(), expected);
    }
}

//! The one way in which a document is written, so that it can be committed and compared.

use serde_json::{Map, Value};

/// A document as text: two spaces, members in the order of their names, a newline at the end.
#[must_use]
pub fn canonical(document: &Value) -> String {
    format!("{:#}\n", sorted(document))
}

fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let mut names: Vec<_> = members.iter().collect();
            names.sort_unstable_by_key(|(name, _)| *name);
            let members = names
                .into_iter()
                .map(|(name, value)| (name.clone(), sorted(value)));
            Value::Object(members.collect::<Map<_, _>>())
        }
        Value::Array(values) => Value::Array(values.iter().map(sorted).collect()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn members_are_sorted_and_lists_are_not() {
        let document = json!({"b": [2, 1, {"d": null, "c": true}], "a": {}});
        let text = "{\n  \"a\": {},\n  \"b\": [\n    2,\n    1,\n    {\n      \"c\": true,\n      \"d\": null\n    }\n  ]\n}\n";
        assert_eq!(canonical(&document), text);
    }
}

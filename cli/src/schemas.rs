//! Which command answers `--json` with which document.
//!
//! A command that is not here fails the contract test. Must not know what documents hold: their schemas are
//! made from the types that are written.

use schemars::Schema;
use serde_json::json;

use crate::commands::{openapi, schema, token};
use crate::out::Document;

/// A command and its document.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Answer {
    /// The command, without `chatctl`: `token issue`.
    pub(crate) command: &'static str,
    /// The document's name: `chatctl.token.issue/v1`.
    pub(crate) name: &'static str,
    make: fn() -> Schema,
}

impl Answer {
    const fn of<D: Document>(command: &'static str) -> Self {
        Self {
            command,
            name: D::SCHEMA,
            make: make::<D>,
        }
    }

    /// The document's JSON Schema.
    pub(crate) fn schema(&self) -> Schema {
        (self.make)()
    }
}

/// Every document, by command.
pub(crate) const ALL: &[Answer] = &[
    Answer::of::<openapi::Checked>("openapi check"),
    Answer::of::<openapi::Compared>("openapi diff"),
    Answer::of::<openapi::Routes>("openapi routes"),
    Answer::of::<schema::Documents>("schema"),
    Answer::of::<token::IssuedTokens>("token issue"),
    Answer::of::<token::GeneratedKey>("token keys generate"),
];

fn make<D: Document>() -> Schema {
    let mut schema = schemars::schema_for!(D);
    schema.insert("title".into(), json!(D::SCHEMA));
    if let Some(properties) = schema
        .get_mut("properties")
        .and_then(|value| value.as_object_mut())
    {
        properties.insert("schema".into(), json!({ "const": D::SCHEMA }));
    }
    schema
}

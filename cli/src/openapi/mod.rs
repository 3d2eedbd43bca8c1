//! Tools for OpenAPI documents: findings within one, changes between two.
//!
//! Pure: documents come in as JSON, findings and changes go out. Must not know where documents are kept or how
//! results are shown.

mod changes;
mod examples;
mod reference;
mod rules;
mod shapes;

pub(crate) use changes::{Change, Severity, changes};
pub(crate) use rules::{Finding, findings};

use serde_json::Value;

/// An operation and where it stands.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Operation<'a> {
    pub(crate) path: &'a str,
    pub(crate) method: &'a str,
    pub(crate) body: &'a Value,
}

impl Operation<'_> {
    /// `GET /v1/info`.
    pub(crate) fn place(&self) -> String {
        format!("{} {}", self.method.to_uppercase(), self.path)
    }
}

/// Every operation, in the order of paths and methods.
pub(crate) fn operations(document: &Value) -> Vec<Operation<'_>> {
    let paths = document["paths"].as_object().into_iter().flatten();
    let mut operations: Vec<_> = paths
        .flat_map(|(path, methods)| {
            let methods = methods.as_object().into_iter().flatten();
            let methods = methods.filter(|(method, _)| METHODS.contains(&method.as_str()));
            methods.map(move |(method, body)| Operation { path, method, body })
        })
        .collect();
    operations.sort_unstable_by_key(|operation| (operation.path, operation.method));
    operations
}

/// The members of a path that are operations.
const METHODS: [&str; 8] = [
    "delete", "get", "head", "options", "patch", "post", "put", "trace",
];

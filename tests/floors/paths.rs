//! The paths that Rust source names, read as tokens.
//!
//! Must not know which of them are allowed.

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// Every path that `source` names by its head. `depth` says how many modules deep the file stands: 1 for
/// `src/hub.rs`.
pub(crate) fn named(source: &str, depth: usize, in_tests: bool) -> Result<Vec<Named>, proc_macro2::LexError> {
    let mut named = Vec::new();
    let mut reader = Reader {
        depth,
        in_tests,
        named: &mut named,
    };
    reader.read(source.parse()?);
    Ok(named)
}

/// The head of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Named {
    /// The crate, or `crate` for our own; then the first segment.
    pub(crate) path: [String; 2],
    /// Whether it stands in a `#[cfg(test)]` module.
    pub(crate) in_tests: bool,
}

/// Walks the tokens of one file.
struct Reader<'a> {
    depth: usize,
    in_tests: bool,
    named: &'a mut Vec<Named>,
}

impl Reader<'_> {
    fn read(&mut self, tokens: TokenStream) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        for (at, token) in tokens.iter().enumerate() {
            match token {
                TokenTree::Group(group) => {
                    let is_module = group.delimiter() == Delimiter::Brace
                        && at >= 2
                        && word(&tokens, at - 2).as_deref() == Some("mod");
                    let is_test = is_module && is_cfg_test(&tokens[..at - 2]);
                    Reader {
                        depth: self.depth + usize::from(is_module),
                        in_tests: self.in_tests || is_test,
                        named: self.named,
                    }
                    .read(group.stream());
                }
                // Only the head of a path: what follows `::` is a segment of one already seen.
                TokenTree::Ident(head) if !follows_path(&tokens, at) => {
                    self.head(&head.to_string(), &tokens[at + 1..]);
                }
                TokenTree::Ident(_) | TokenTree::Punct(_) | TokenTree::Literal(_) => {}
            }
        }
    }

    /// Takes note of the path that starts with `head`.
    fn head(&mut self, head: &str, mut rest: &[TokenTree]) {
        let mut climbed = usize::from(head == "super");
        while climbed > 0 && is_path(rest) && word(rest, 2).as_deref() == Some("super") {
            climbed += 1;
            rest = &rest[3..];
        }
        let root = if head == "crate" || (climbed > 0 && climbed >= self.depth) {
            "crate"
        } else {
            head
        };
        if is_path(rest) {
            for segment in first_segments(&rest[2..]) {
                self.note(root, &segment);
            }
        } else {
            self.note(root, "");
        }
    }

    fn note(&mut self, root: &str, segment: &str) {
        self.named.push(Named {
            path: [root.to_owned(), segment.to_owned()],
            in_tests: self.in_tests,
        });
    }
}

/// `a` of `a::b`; `a` and `c` of `{a::b, c}`.
fn first_segments(tokens: &[TokenTree]) -> Vec<String> {
    match tokens.first() {
        Some(TokenTree::Ident(ident)) => vec![ident.to_string()],
        Some(TokenTree::Group(group)) => {
            let inner: Vec<TokenTree> = group.stream().into_iter().collect();
            inner
                .split(|token| matches!(token, TokenTree::Punct(punct) if punct.as_char() == ','))
                .flat_map(first_segments)
                .collect()
        }
        Some(TokenTree::Punct(_) | TokenTree::Literal(_)) | None => Vec::new(),
    }
}

fn word(tokens: &[TokenTree], at: usize) -> Option<String> {
    match tokens.get(at) {
        Some(TokenTree::Ident(ident)) => Some(ident.to_string()),
        _ => None,
    }
}

fn is_colon(token: Option<&TokenTree>) -> bool {
    matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == ':')
}

fn is_path(rest: &[TokenTree]) -> bool {
    is_colon(rest.first()) && is_colon(rest.get(1))
}

fn follows_path(tokens: &[TokenTree], at: usize) -> bool {
    at >= 3
        && is_path(&tokens[at - 2..])
        // `use ::axum` starts a path with its colons.
        && matches!(word(tokens, at - 3), Some(before) if before != "use")
}

/// Whether the attributes right before a `mod` hold `cfg(test)`.
fn is_cfg_test(before: &[TokenTree]) -> bool {
    let attributes = before.iter().rev().take_while(|token| match token {
        TokenTree::Group(group) => group.delimiter() != Delimiter::Brace,
        TokenTree::Ident(ident) => *ident == "pub",
        TokenTree::Punct(punct) => punct.as_char() == '#',
        TokenTree::Literal(_) => false,
    });
    attributes
        .filter_map(|token| match token {
            TokenTree::Group(group) => Some(group.stream().to_string().replace(' ', "")),
            _ => None,
        })
        .any(|attribute| attribute == "cfg(test)")
}

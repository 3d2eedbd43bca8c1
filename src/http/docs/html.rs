//! HTML, written so that text is always escaped.
//!
//! Must not know what the pages are about.

use serde_json::Value;

/// A piece of a page.
#[derive(Debug, Default)]
pub(super) struct Html(String);

impl Html {
    /// Escaped text.
    pub(super) fn text(&mut self, text: &str) {
        for letter in text.chars() {
            match letter {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                letter => self.0.push(letter),
            }
        }
    }

    /// Markup of our own: never what comes from elsewhere.
    pub(super) fn raw(&mut self, markup: &'static str) {
        self.0.push_str(markup);
    }

    /// An element with what is in it.
    pub(super) fn tag(
        &mut self,
        name: &'static str,
        attributes: &[(&'static str, &str)],
        inner: impl FnOnce(&mut Self),
    ) {
        self.open(name, attributes);
        inner(self);
        self.0.push_str("</");
        self.0.push_str(name);
        self.0.push('>');
    }

    /// An element with nothing but text in it.
    pub(super) fn leaf(&mut self, name: &'static str, attributes: &[(&'static str, &str)], text: &str) {
        self.tag(name, attributes, |html| html.text(text));
    }

    /// An element that has no inside and no end.
    pub(super) fn void(&mut self, name: &'static str, attributes: &[(&'static str, &str)]) {
        self.open(name, attributes);
    }

    fn open(&mut self, name: &'static str, attributes: &[(&'static str, &str)]) {
        self.0.push('<');
        self.0.push_str(name);
        for (attribute, value) in attributes {
            self.0.push(' ');
            self.0.push_str(attribute);
            self.0.push_str("=\"");
            self.text(value);
            self.0.push('"');
        }
        self.0.push('>');
    }

    /// Another piece.
    pub(super) fn add(&mut self, piece: &Self) {
        self.0.push_str(&piece.0);
    }

    /// A style sheet or script of our own, as it is.
    pub(super) fn asset(&mut self, name: &'static str, source: &'static str) {
        self.tag(name, &[], |html| html.raw(source));
    }

    /// Paragraphs, with `code` between backticks.
    pub(super) fn prose(&mut self, text: &str) {
        for paragraph in text
            .split("\n\n")
            .map(str::trim)
            .filter(|paragraph| !paragraph.is_empty())
        {
            self.tag("p", &[], |html| html.line(paragraph));
        }
    }

    /// A line of prose.
    pub(super) fn line(&mut self, text: &str) {
        for (at, part) in text.split('`').enumerate() {
            match at % 2 {
                0 => self.text(part),
                _ => self.leaf("code", &[], part),
            }
        }
    }

    /// A block that can be copied and, when it is wide, moved by keyboard.
    pub(super) fn block(&mut self, label: &str, inner: impl FnOnce(&mut Self)) {
        let attributes = [("tabindex", "0"), ("role", "region"), ("aria-label", label)];
        self.tag("pre", &attributes, |html| html.tag("code", &[], inner));
    }

    /// A table; wide ones move inside their frame.
    pub(super) fn table(&mut self, label: &str, heads: &[&str], rows: impl FnOnce(&mut Self)) {
        let attributes = [
            ("class", "table"),
            ("tabindex", "0"),
            ("role", "region"),
            ("aria-label", label),
        ];
        self.tag("div", &attributes, |html| {
            html.tag("table", &[], |html| {
                html.tag("thead", &[], |html| {
                    html.tag("tr", &[], |html| {
                        heads
                            .iter()
                            .for_each(|head| html.leaf("th", &[("scope", "col")], head));
                    });
                });
                html.tag("tbody", &[], rows);
            });
        });
    }

    /// JSON over several lines, its names and values told apart.
    pub(super) fn json(&mut self, value: &Value) {
        self.json_at(value, 0);
    }

    fn json_at(&mut self, value: &Value, depth: usize) {
        match value {
            Value::Object(members) if !members.is_empty() => {
                let items = members.iter().map(|(name, value)| (Some(name.as_str()), value));
                self.json_items(("{", "}"), items, depth);
            }
            Value::Array(items) if items.iter().all(|item| !item.is_object() && !item.is_array()) => {
                self.text("[");
                for (at, item) in items.iter().enumerate() {
                    if at > 0 {
                        self.text(", ");
                    }
                    self.json_at(item, depth);
                }
                self.text("]");
            }
            Value::Array(items) => self.json_items(("[", "]"), items.iter().map(|item| (None, item)), depth),
            Value::String(_) => self.leaf("span", &[("class", "s")], &value.to_string()),
            Value::Object(_) | Value::Null | Value::Bool(_) | Value::Number(_) => {
                self.text(&value.to_string())
            }
        }
    }

    fn json_items<'a>(
        &mut self,
        (open, close): (&str, &str),
        items: impl Iterator<Item = (Option<&'a str>, &'a Value)>,
        depth: usize,
    ) {
        self.text(open);
        for (at, (name, value)) in items.enumerate() {
            self.text(if at > 0 { ",\n" } else { "\n" });
            self.text(&"  ".repeat(depth + 1));
            if let Some(name) = name {
                self.leaf("span", &[("class", "k")], &format!("\"{name}\""));
                self.text(": ");
            }
            self.json_at(value, depth + 1);
        }
        self.text("\n");
        self.text(&"  ".repeat(depth));
        self.text(close);
    }

    /// The text of the piece.
    pub(super) fn into_text(self) -> String {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn text_is_escaped_wherever_it_stands() {
        let mut html = Html::default();
        html.tag("p", &[("title", "\"><script>")], |html| {
            html.line("a < b & `<i>`")
        });
        assert_eq!(
            html.into_text(),
            "<p title=\"&quot;&gt;&lt;script&gt;\">a &lt; b &amp; <code>&lt;i&gt;</code></p>"
        );
    }

    #[test]
    fn json_is_the_same_without_its_markup() {
        let value = json!({"a": [1, "<"], "b": [{"c": null}], "d": {}});
        let mut html = Html::default();
        html.json(&value);
        let text = html.into_text();
        let bare = text
            .split('<')
            .map(|part| part.split_once('>').map_or(part, |(_, text)| text));
        let bare: String = bare
            .collect::<String>()
            .replace("&quot;", "\"")
            .replace("&lt;", "<");
        assert_eq!(serde_json::from_str::<Value>(&bare).unwrap(), value);
    }
}

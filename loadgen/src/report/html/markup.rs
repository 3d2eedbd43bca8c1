//! Markup, written so that text is always escaped. Must not know what the page is about.

/// A piece of a page or of a picture.
#[derive(Debug, Default)]
pub(super) struct Markup(String);

/// Attributes of an element.
pub(super) type Attributes<'a> = &'a [(&'static str, &'a str)];

impl Markup {
    /// Escaped text. Letters that no document may hold are left out.
    pub(super) fn text(&mut self, text: &str) {
        escape(&mut self.0, text);
    }

    /// Markup of our own: never what comes from elsewhere.
    pub(super) fn raw(&mut self, markup: &'static str) {
        self.0.push_str(markup);
    }

    /// An element with what is in it.
    pub(super) fn tag(
        &mut self,
        name: &'static str,
        attributes: Attributes<'_>,
        inner: impl FnOnce(&mut Self),
    ) {
        self.open(name, attributes);
        inner(self);
        self.0.push_str("</");
        self.0.push_str(name);
        self.0.push('>');
    }

    /// An element with nothing but text in it.
    pub(super) fn leaf(&mut self, name: &'static str, attributes: Attributes<'_>, text: &str) {
        self.tag(name, attributes, |inner| inner.text(text));
    }

    /// A text in parts: those at odd places are code.
    pub(super) fn prose(&mut self, parts: &[&str]) {
        for (at, part) in parts.iter().enumerate() {
            match at % 2 {
                0 => self.text(part),
                _ => self.leaf("code", &[], part),
            }
        }
    }

    /// An element of HTML that has no inside and no end, or an empty one of SVG.
    pub(super) fn empty(&mut self, name: &'static str, attributes: Attributes<'_>) {
        self.open(name, attributes);
        self.0.insert(self.0.len() - 1, '/');
    }

    /// The text of the piece.
    pub(super) fn into_text(self) -> String {
        self.0
    }

    fn open(&mut self, name: &'static str, attributes: Attributes<'_>) {
        self.0.push('<');
        self.0.push_str(name);
        for (attribute, value) in attributes {
            self.0.push(' ');
            self.0.push_str(attribute);
            self.0.push_str("=\"");
            escape(&mut self.0, value);
            self.0.push('"');
        }
        self.0.push('>');
    }
}

/// Appends a text that may stand in HTML, SVG and XML, between tags and in attributes.
pub(in crate::report) fn escape(out: &mut String, text: &str) {
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' | '\t' => out.push(letter),
            letter if letter.is_control() || ('\u{fffe}'..='\u{ffff}').contains(&letter) => {}
            letter => out.push(letter),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped_wherever_it_stands() {
        let mut markup = Markup::default();
        markup.tag("p", &[("title", "\"<'&>")], |markup| {
            markup.text("<script>\u{0}&")
        });
        markup.empty("br", &[]);
        markup.prose(&["a ", "b<"]);
        let whole = "<p title=\"&quot;&lt;&#39;&amp;&gt;\">&lt;script&gt;&amp;</p><br/>a <code>b&lt;</code>";
        assert_eq!(markup.into_text(), whole);
    }
}

//! Makes the older text format (version 0.0.4) of OpenMetrics, for tools that read nothing else.
//!
//! Must not know which metrics there are.

/// The same samples. A counter's name has its `_total` in its description, too, and a unit is in the name alone.
pub(super) fn from_openmetrics(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut help = None;
    for line in text.lines() {
        let Some(comment) = line.strip_prefix("# ") else {
            plain.push_str(line);
            plain.push('\n');
            continue;
        };
        let mut words = comment.splitn(3, ' ');
        let words = (words.next(), words.next(), words.next());
        match words {
            // Comes before the type, which says what the name is.
            (Some("HELP"), Some(_), Some(text)) => help = Some(text),
            (Some("TYPE"), Some(name), Some(kind)) => {
                let name = match kind {
                    "counter" => &format!("{name}_total"),
                    _ => name,
                };
                if let Some(help) = help.take() {
                    plain.push_str(&format!("# HELP {name} {help}\n"));
                }
                plain.push_str(&format!("# TYPE {name} {kind}\n"));
            }
            // `UNIT`, and `EOF`.
            _ => {}
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counters_description_has_its_whole_name_and_units_are_left_out() {
        let text = "# HELP a_seen Seen.\n# TYPE a_seen counter\na_seen_total{b=\"c\"} 1\n\
                    # HELP a_bytes Size.\n# TYPE a_bytes gauge\n# UNIT a_bytes bytes\na_bytes 2\n# EOF\n";
        let plain = "# HELP a_seen_total Seen.\n# TYPE a_seen_total counter\na_seen_total{b=\"c\"} 1\n\
                     # HELP a_bytes Size.\n# TYPE a_bytes gauge\na_bytes 2\n";
        assert_eq!(from_openmetrics(text), plain);
    }
}

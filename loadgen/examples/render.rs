//! Renders a report: `render REPORT.json OUT.html [BASE.json]`.

use std::error::Error;
use std::path::Path;

use chatctl_loadgen::report::{Report, html, screen};

fn main() -> Result<(), Box<dyn Error>> {
    let paths: Vec<String> = std::env::args().skip(1).collect();
    let [report, out, base @ ..] = paths.as_slice() else {
        return Err("render REPORT.json OUT.html [BASE.json]".into());
    };
    let report = read(report)?;
    let base = base.first().map(read).transpose()?;
    std::fs::write(out, html::page(&report, base.as_ref()))?;
    #[expect(clippy::print_stdout, reason = "an example speaks to whoever runs it")]
    {
        print!("{}", screen::screen(&report, false));
    }
    Ok(())
}

fn read(path: impl AsRef<Path>) -> Result<Report, Box<dyn Error>> {
    Ok(serde_json::from_str(&std::fs::read_to_string(path)?)?)
}

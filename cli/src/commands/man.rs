//! `chatctl man`: the manual, made from the same definitions as `--help`.

use std::io::{self, Write as _};
use std::path::PathBuf;

use chatctl_relay::auth::private_file::{self, Access};
use clap_mangen::Man as Page;
use schemars::JsonSchema;
use serde::Serialize;

use crate::exit::Exit;
use crate::failure::Failure;
use crate::out::{Document, Out};

/// Write the manual pages
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  chatctl man | man -l -
  chatctl man token issue | man -l -
  chatctl man --dir /usr/local/share/man/man1")]
pub(crate) struct Man {
    /// Which command's; chatctl's own without one
    #[arg(value_name = "COMMAND")]
    command: Vec<String>,

    /// Write every page into a directory instead, one file for each
    #[arg(long, value_name = "DIR", conflicts_with = "command")]
    dir: Option<PathBuf>,
}

/// Pages of the manual.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Pages {
    pages: Vec<Roff>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Roff {
    /// `chatctl-token-issue.1`.
    name: String,
    /// The page, unless it was written to a directory.
    roff: Option<String>,
}

impl Document for Pages {
    const SCHEMA: &'static str = "chatctl.man/v1";
}

impl Man {
    pub(super) fn run(self, out: &Out) -> Result<(), Failure> {
        let mut root = crate::command();
        root.build();
        let Some(dir) = self.dir else {
            let command = find(&root, &self.command)?;
            let page = page(command, &self.command.join("-"))?;
            let text = page.roff.clone().unwrap_or_default();
            return out.result(&text, &Pages { pages: vec![page] });
        };
        let mut pages = Vec::new();
        all(&root, "", &mut pages)?;
        for page in &mut pages {
            let roff = page.roff.take().unwrap_or_default();
            private_file::write(
                &dir.join(&page.name),
                roff.as_bytes(),
                Access::Everybody,
                out.existing(),
            )?;
        }
        let names = pages.iter().map(|page| format!("{}\n", page.name));
        out.result(&names.collect::<String>(), &Pages { pages })
    }
}

fn find<'a>(root: &'a clap::Command, path: &[String]) -> Result<&'a clap::Command, Failure> {
    path.iter().try_fold(root, |command, name| {
        command.find_subcommand(name).ok_or_else(|| {
            Failure::new(Exit::NoInput, format!("there is no command {:?}", path.join(" ")))
                .hint("`chatctl commands` lists them")
        })
    })
}

fn all(command: &clap::Command, path: &str, pages: &mut Vec<Roff>) -> Result<(), Failure> {
    pages.push(page(command, path)?);
    for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
        let path = match path {
            "" => sub.get_name().to_owned(),
            path => format!("{path}-{}", sub.get_name()),
        };
        all(sub, &path, pages)?;
    }
    Ok(())
}

fn page(command: &clap::Command, path: &str) -> Result<Roff, Failure> {
    let title = match path {
        "" => "chatctl".to_owned(),
        path => format!("chatctl-{path}"),
    };
    let failed = |error: io::Error| Failure::new(Exit::Failure, "cannot write the page").caused_by(&error);
    let roff = render(command, &title).map_err(failed)?;
    Ok(Roff {
        name: format!("{title}.1"),
        roff: Some(String::from_utf8_lossy(&roff).into_owned()),
    })
}

/// What the library knows, and what we have behind the help: examples as they are typed, and exit codes.
fn render(command: &clap::Command, title: &str) -> io::Result<Vec<u8>> {
    let mut roff = Vec::new();
    let page = Page::new(command.clone())
        .title(title.to_uppercase())
        .section("1")
        .source(concat!("chatctl ", env!("CARGO_PKG_VERSION")))
        .manual("chatctl");
    page.render_title(&mut roff)?;
    page.render_name_section(&mut roff)?;
    page.render_synopsis_section(&mut roff)?;
    page.render_description_section(&mut roff)?;
    page.render_options_section(&mut roff)?;
    if command.get_subcommands().any(|sub| sub.get_name() != "help") {
        page.render_subcommands_section(&mut roff)?;
    }
    let behind = command.get_after_long_help().or_else(|| command.get_after_help());
    let behind = behind.map(ToString::to_string).unwrap_or_default();
    let (examples, exits) = behind.split_once("\n\nExit codes: ").unwrap_or((&behind, ""));
    writeln!(roff, ".SH EXAMPLES\n.nf")?;
    for line in examples.lines().skip(1) {
        writeln!(roff, "{}", escaped(line.trim_start()))?;
    }
    writeln!(roff, ".fi")?;
    if !exits.is_empty() {
        writeln!(roff, ".SH EXIT STATUS")?;
        let is_named = |exit: &Exit| exits.split(", ").any(|word| word == exit.words());
        for exit in Exit::ALL.into_iter().filter(is_named) {
            writeln!(
                roff,
                ".TP
.B {}
{}",
                escaped(&exit.words()),
                escaped(exit.meaning())
            )?;
        }
    }
    Ok(roff)
}

/// A line that says nothing to the typesetter.
fn escaped(line: &str) -> String {
    let line = line.replace('\\', "\\e").replace('-', "\\-");
    match line.starts_with(['.', '\'']) {
        true => format!("\\&{line}"),
        false => line,
    }
}

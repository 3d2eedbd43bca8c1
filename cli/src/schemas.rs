//! Which command answers `--json` with which document, and how it may end.
//!
//! A command that is not here fails the contract test, as does one that ends as it does not say here. Must not know what documents hold: their schemas are
//! made from the types that are written.

use schemars::Schema;
use serde_json::json;

use crate::commands::{
    asyncapi, backup, bench, chat, completions, config, dev, doctor, jobs, man, openapi, reload, restore,
    schema, seed, status, token, top, tree,
};
use crate::exit::Exit;
use crate::out::Document;

/// A command and its document.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Answer {
    /// The command, without `chatctl`: `token issue`.
    pub(crate) command: &'static str,
    /// The document's name: `chatctl.token.issue/v1`.
    pub(crate) name: &'static str,
    make: fn() -> Schema,
    exits: &'static [Exit],
}

impl Answer {
    const fn of<D: Document>(command: &'static str) -> Self {
        Self {
            command,
            name: D::SCHEMA,
            make: make::<D>,
            exits: &[],
        }
    }

    /// How the command may end, besides the ways that are everybody's.
    const fn exits(self, exits: &'static [Exit]) -> Self {
        Self { exits, ..self }
    }

    /// The document's JSON Schema.
    pub(crate) fn schema(&self) -> Schema {
        (self.make)()
    }
}

/// What a command answers, if there is one of that name.
pub(crate) fn of(command: &str) -> Option<&'static Answer> {
    ALL.iter().find(|answer| answer.command == command)
}

/// Every way in which a command may end, ascending.
pub(crate) fn exits(command: &str) -> Vec<Exit> {
    let own = of(command).map_or(&[][..], |answer| answer.exits);
    let is_possible = |exit: &Exit| EVERYBODYS.contains(exit) || own.contains(exit);
    Exit::ALL.into_iter().filter(is_possible).collect()
}

/// Ways in which any command may end: `-o` may name a file that is in the way, and the configuration may not be
/// there or not be good.
const EVERYBODYS: [Exit; 8] = [
    Exit::Ok,
    Exit::Failure,
    Exit::Usage,
    Exit::NoInput,
    Exit::Config,
    Exit::CantCreate,
    Exit::Interrupted,
    Exit::Terminated,
];

/// Of commands that read the settings.
const SETTINGS: &[Exit] = &[Exit::NoInput, Exit::NoPerm, Exit::Config];

/// Of commands that read what somebody wrote.
const INPUT: &[Exit] = &[Exit::DataErr, Exit::NoInput, Exit::NoPerm, Exit::Config];

/// Of what has to wait until everybody knows.
const ROTATION: &[Exit] = &[Exit::NoInput, Exit::TempFail, Exit::NoPerm, Exit::Config];

/// Of commands that ask a running relay.
const RELAY: &[Exit] = &[
    Exit::DataErr,
    Exit::NoInput,
    Exit::Unavailable,
    Exit::TempFail,
    Exit::Protocol,
    Exit::NoPerm,
    Exit::Config,
];

/// Of commands that use a store.
const STORE: &[Exit] = &[
    Exit::DataErr,
    Exit::NoInput,
    Exit::Unavailable,
    Exit::TempFail,
    Exit::Protocol,
    Exit::NoPerm,
    Exit::Config,
];

/// Of commands that measure a relay.
const BENCH: &[Exit] = &[
    Exit::DataErr,
    Exit::NoInput,
    Exit::Unavailable,
    Exit::Protocol,
    Exit::NoPerm,
    Exit::Config,
    Exit::Threshold,
];

/// Every document, by command.
pub(crate) const ALL: &[Answer] = &[
    Answer::of::<dev::Info>("serve").exits(STORE),
    Answer::of::<seed::Planned>("seed plan").exits(STORE),
    Answer::of::<seed::Applied>("seed apply").exits(STORE),
    Answer::of::<seed::Verified>("seed verify").exits(STORE),
    Answer::of::<seed::Emptied>("seed reset").exits(STORE),
    Answer::of::<seed::Demonstrated>("seed demo").exits(STORE),
    Answer::of::<seed::Imported>("seed import-legacy").exits(STORE),
    Answer::of::<token::IssuedTokens>("token issue").exits(SETTINGS),
    Answer::of::<token::VerifiedToken>("token verify").exits(INPUT),
    Answer::of::<token::InspectedToken>("token inspect").exits(INPUT),
    Answer::of::<token::RevokedTokens>("token revoke").exits(STORE),
    Answer::of::<token::RevocationList>("token revocations list").exits(STORE),
    Answer::of::<token::PrunedRevocations>("token revocations prune").exits(STORE),
    Answer::of::<token::GeneratedKey>("token keys generate").exits(SETTINGS),
    Answer::of::<token::ListedKeys>("token keys list").exits(SETTINGS),
    Answer::of::<token::RotatedKeys>("token keys rotate").exits(ROTATION),
    Answer::of::<token::ExportedKeys>("token keys export").exits(SETTINGS),
    Answer::of::<token::ImportedKey>("token keys import").exits(INPUT),
    Answer::of::<token::CheckedKeys>("token keys check").exits(SETTINGS),
    Answer::of::<chat::Line>("chat").exits(RELAY),
    Answer::of::<jobs::JobList>("jobs list").exits(STORE),
    Answer::of::<jobs::JobRun>("jobs run").exits(STORE),
    Answer::of::<jobs::RunHistory>("jobs history").exits(STORE),
    Answer::of::<jobs::Paused>("jobs pause").exits(STORE),
    Answer::of::<jobs::Resumed>("jobs resume").exits(STORE),
    Answer::of::<jobs::Unlocked>("jobs unlock").exits(STORE),
    Answer::of::<bench::Reported>("bench conn").exits(BENCH),
    Answer::of::<bench::Reported>("bench pairs").exits(BENCH),
    Answer::of::<bench::Reported>("bench fanout").exits(BENCH),
    Answer::of::<bench::Reported>("bench rooms").exits(BENCH),
    Answer::of::<bench::Reported>("bench offline").exits(BENCH),
    Answer::of::<bench::Reported>("bench prekeys").exits(BENCH),
    Answer::of::<bench::Reported>("bench storm").exits(BENCH),
    Answer::of::<bench::Reported>("bench idle").exits(BENCH),
    Answer::of::<bench::Reported>("bench run").exits(BENCH),
    Answer::of::<bench::Found>("bench capacity").exits(BENCH),
    Answer::of::<bench::Reported>("bench report").exits(&[Exit::DataErr, Exit::NoInput, Exit::Protocol]),
    Answer::of::<bench::Compared>("bench compare").exits(&[
        Exit::DataErr,
        Exit::NoInput,
        Exit::Protocol,
        Exit::Threshold,
    ]),
    Answer::of::<bench::Calibrated>("bench calibrate"),
    Answer::of::<bench::Listening>("bench agent").exits(&[
        Exit::DataErr,
        Exit::NoInput,
        Exit::NoPerm,
        Exit::Unavailable,
    ]),
    Answer::of::<bench::Presets>("bench list"),
    Answer::of::<bench::Written>("bench scenario"),
    Answer::of::<doctor::Examined>("doctor"),
    Answer::of::<config::Written>("config init"),
    Answer::of::<config::Checked>("config check").exits(SETTINGS),
    Answer::of::<config::Shown>("config show").exits(SETTINGS),
    Answer::of::<reload::Answered>("reload").exits(RELAY),
    Answer::of::<backup::Taken>("backup").exits(STORE),
    Answer::of::<restore::Answered>("restore").exits(STORE),
    Answer::of::<status::Status>("status").exits(RELAY),
    Answer::of::<top::Look>("top").exits(RELAY),
    Answer::of::<jobs::Coming>("jobs next").exits(SETTINGS),
    Answer::of::<jobs::Linted>("jobs lint").exits(&[Exit::DataErr]),
    Answer::of::<jobs::Written>("jobs units").exits(INPUT),
    Answer::of::<openapi::Described>("openapi generate"),
    Answer::of::<openapi::Page>("openapi html"),
    Answer::of::<asyncapi::Described>("asyncapi generate"),
    Answer::of::<openapi::Checked>("openapi check").exits(INPUT),
    Answer::of::<openapi::Compared>("openapi diff").exits(INPUT),
    Answer::of::<openapi::Routes>("openapi routes"),
    Answer::of::<schema::Documents>("schema").exits(&[Exit::NoInput]),
    Answer::of::<tree::Commands>("commands"),
    Answer::of::<completions::Script>("completions"),
    Answer::of::<man::Pages>("man").exits(&[Exit::NoInput]),
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

//! `chatctl chat`: a small client in a terminal, on nothing but the client library.
//!
//! Owns who talks through what. Must not know frames, nor cryptography.

mod command;
mod home;
mod lines;
mod talk;
mod voice;

use std::path::{Path, PathBuf};
use std::time::Duration;

use chatctl_client::e2ee::{Installation, SendError, Vault};
use chatctl_client::{Device, DirectoryError, Http, Options, Token, TokenFuture};
use chatctl_protocol::{AccountId, Address, Code, DeviceId};
use chatctl_relay::auth::private_file;
use vodozemac::base64_decode;

pub(crate) use voice::Line;

use crate::authority::Authority;
use crate::commands::seed;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::out::Out;
use crate::runtime::wait_for;
use home::Home;
use lines::Lines;
use talk::Talk;
use voice::Voice;

/// Write to somebody, end-to-end encrypted, and read what they write
///
/// Each line of stdin is a message; lines that begin with a slash are commands (`/who`, `/verify`, `/accept`,
/// `/quit`). The first use registers the device and publishes its keys. Private keys stay in the directory of
/// `--state`, in the clear, for its owner alone.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  chatctl chat --as alice --to bob --token-file alice.token --state ~/.chatctl
  chatctl chat --as demo-ada --device 1 --to demo-bob --from-demo state")]
pub(crate) struct Chat {
    /// The relay's address
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8480")]
    url: String,

    #[command(flatten)]
    authority: Authority,

    /// The account to write as: the token's `sub`
    #[arg(long = "as", value_name = "ACCOUNT", value_parser = AccountId::parse)]
    who: AccountId,

    /// The device to write as: the token's `dev`
    #[arg(long, value_name = "DEVICE", default_value = "1", value_parser = DeviceId::parse)]
    device: DeviceId,

    /// The account to write to
    #[arg(long, value_name = "ACCOUNT", value_parser = AccountId::parse)]
    to: AccountId,

    /// File with the device's token (mode 0600); read again when the token is refused or ends
    #[arg(long, value_name = "FILE", required_unless_present = "from_demo")]
    token_file: Option<PathBuf>,

    /// Directory of private keys and sessions (made if missing, mode 0700; default: that of --from-demo)
    #[arg(long, value_name = "DIR", required_unless_present = "from_demo")]
    state: Option<PathBuf>,

    /// Play a device of `seed demo`, whose --state-dir this is
    #[arg(long, value_name = "DIR")]
    from_demo: Option<PathBuf>,

    /// Stay when stdin ends, and print what comes
    #[arg(long)]
    follow: bool,
}

impl Chat {
    pub(super) fn run(self, out: &Out) -> Result<Exit, Failure> {
        if out.file().is_some() {
            let failure = Failure::new(Exit::Usage, "chat writes lines as they come, and to no file");
            return Err(failure.hint("`chatctl chat … > FILE`"));
        }
        wait_for(self.talk(Voice::new(out)))
    }

    async fn talk(self, voice: Voice) -> Result<Exit, Failure> {
        let address = Address {
            account: self.who.clone(),
            device_id: self.device.clone(),
        };
        // Before anything is made.
        let given = self.token_file.as_deref().map(read_token).transpose()?;
        let demo = self.from_demo.as_deref();
        let demo = demo
            .map(|directory| seed::adopt(directory, &address))
            .transpose()?;
        let (adopted, demo_token) = demo.map_or((None, None), |(vault, token)| (Some(vault), token));
        let token = given
            .or_else(|| demo_token.map(|token| Token::new(&token)))
            .ok_or_else(|| {
                Failure::new(Exit::NoInput, "the demo's state has no token").hint(
                    "`chatctl seed demo --keys FILE` writes one into each state file; or --token-file FILE",
                )
            })?;
        check_token(&token, &address)?;
        let state = self.state.as_deref().or(self.from_demo.as_deref());
        let home = Home::open(state.unwrap_or_else(|| Path::new(".")), &address)?;
        let vault = match home.vault(&address)? {
            Some(vault) => vault,
            None => adopted.unwrap_or_else(|| Vault::new(address, rand::random_range(1..=16_380))),
        };
        let mut me = self.installation(token, vault, &home)?;
        me.enrol(ONE_TIME_KEYS)
            .await
            .map_err(|error| not_enrolled(&error))?;
        let talk = Talk::new(me, self.to, voice);
        talk.run(Lines::read()?, self.follow).await
    }

    fn installation(&self, token: Token, vault: Vault, home: &Home) -> Result<Installation, Failure> {
        let bad = |error: DirectoryError| {
            Failure::from_error(Exit::Usage, &error)
                .hint("--url https://HOST, or --url http://127.0.0.1:PORT")
        };
        let dial = self.authority.dial()?;
        let http = Http::with(&dial, &self.url).map_err(bad)?;
        let sockets = format!(
            "{}/v1/ws",
            self.url.trim_end_matches('/').replacen("http", "ws", 1)
        );
        let file = self.token_file.clone();
        let source = move |refused: Option<Token>| -> TokenFuture {
            // The file may have another one by now.
            let other = file
                .as_deref()
                .filter(|_| refused.is_some())
                .and_then(|file| read_token(file).ok());
            let token = other.unwrap_or_else(|| token.clone());
            Box::pin(std::future::ready(Ok(token)))
        };
        let options = Options {
            dial,
            ..Options::new(&sockets)
        };
        let device = Device::new(options, source.clone());
        Ok(Installation::new(
            device,
            http.directory(source),
            vault,
            home.keep(),
        ))
    }
}

/// Reads a token's file.
fn read_token(path: &Path) -> Result<Token, Failure> {
    let bytes = private_file::read(path)?;
    let text = String::from_utf8(bytes)
        .map_err(|_| Failure::new(Exit::DataErr, format!("{} is not a token", path.display())))?;
    Ok(Token::new(text.trim()))
}

/// Finds out early that a token is another device's: the relay would let it in as that.
fn check_token(token: &Token, address: &Address) -> Result<(), Failure> {
    let payload = token.secret().split('.').nth(1).and_then(|part| {
        let text = part.replace('-', "+").replace('_', "/");
        base64_decode(text).ok()
    });
    let claims: Option<serde_json::Value> = payload.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let Some(claims) = claims else {
        return Err(Failure::new(Exit::DataErr, "the token is no JWT"));
    };
    match claims["sub"] == address.account.as_str() && claims["dev"] == address.device_id.as_str() {
        true => Ok(()),
        false => Err(Failure::new(
            Exit::DataErr,
            format!(
                "the token is not one of device {} of {}",
                address.device_id, address.account
            ),
        )
        .hint("--as ACCOUNT and --device DEVICE say whose the token is")),
    }
}

/// Why the device is not registered, or its keys are not published.
fn not_enrolled(error: &SendError) -> Failure {
    match error {
        SendError::Directory(directory) => {
            let exit = match directory.code() {
                Some(Code::Unauthorized | Code::Forbidden) => Exit::NoPerm,
                Some(_) => Exit::TempFail,
                None => Exit::Unavailable,
            };
            Failure::from_error(exit, error)
        }
        SendError::Keep(_) => Failure::from_error(Exit::CantCreate, error),
        SendError::Seal(_) | SendError::Device(_) | SendError::Refused(_) => {
            Failure::from_error(Exit::Failure, error)
        }
    }
}

/// One-time keys that wait at the relay for those who write first.
const ONE_TIME_KEYS: u32 = 50;

/// How long leaving may take.
const LEAVE: Duration = Duration::from_secs(3);

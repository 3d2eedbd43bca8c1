//! `chatctl serve --dev`: what a first try needs, and nothing to set up.
//!
//! Owns the demo accounts, their tokens and what is printed about them. Keeps itself to this machine:
//! whoever can read the terminal can read the demo's mail.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use chatctl_protocol::{AccountId, Address, DeviceId};
use chatctl_relay::auth::private_file::{self, Access, Existing};
use chatctl_relay::auth::{Grant, Keyset, Signer};
use chatctl_relay::config::Config;
use chatctl_relay::model::{Clock, UnixMs};
use chatctl_relay::store::Registration;
use chatctl_relay::switchboard::Switchboard;
use rand::RngExt as _;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Map;
use tempfile::TempDir;

use crate::exit::Exit;
use crate::failure::Failure;
use crate::out::{Document, Out, to_json};

/// A demo: two accounts, and a store that goes when this is dropped.
#[derive(Debug)]
pub(crate) struct Dev {
    accounts: Vec<DemoAccount>,
    /// Only when no `--data-dir` was given.
    store: Option<TempDir>,
}

/// A demo account with its one device.
#[derive(Clone)]
pub(crate) struct DemoAccount {
    address: Address,
    registration_id: u32,
    token: String,
}

/// Without the token.
impl std::fmt::Debug for DemoAccount {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("DemoAccount").field(&self.address).finish()
    }
}

/// What `--dev-info` writes. Has tokens in it, so it has no Debug.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Info {
    url: String,
    ws_url: String,
    accounts: Vec<InfoAccount>,
}

impl Document for Info {
    const SCHEMA: &'static str = "chatctl.serve.dev/v1";
}

#[derive(Serialize, JsonSchema)]
struct InfoAccount {
    account: String,
    device_id: String,
    registration_id: u32,
    token: String,
}

impl InfoAccount {
    fn of(account: &DemoAccount) -> Self {
        Self {
            account: account.address.account.to_string(),
            device_id: account.address.device_id.to_string(),
            registration_id: account.registration_id,
            token: account.token.clone(),
        }
    }
}

impl Dev {
    /// Makes the demo's accounts, and a temporary store when the configuration names none.
    ///
    /// # Errors
    ///
    /// [`Exit::Usage`] for an address that other machines can reach; [`Exit::CantCreate`] when there is no
    /// room for a temporary store; [`Exit::Config`] for a keyset that cannot sign.
    pub(crate) fn prepare(config: &mut Config, keyset: &Keyset, now: UnixMs) -> Result<Self, Failure> {
        if !config.server.listen.ip().to_canonical().is_loopback() {
            let message = format!(
                "--dev does not listen on {}, which others can reach",
                config.server.listen
            );
            return Err(Failure::new(Exit::Usage, message)
                .hint("use --listen 127.0.0.1:8480; or --keys and --data-dir instead of --dev"));
        }
        let signer = Signer::new(keyset)?;
        let mut accounts = Vec::new();
        for name in ["alice", "bob"] {
            accounts.push(DemoAccount::new(name, config, &signer, now)?);
        }
        let named = &config.store;
        let is_named = named.data_dir.is_some() || named.uri.is_some() || named.uri_file.is_some();
        let store = match is_named {
            true => None,
            false => Some(temporary_store()?),
        };
        if let Some(store) = &store {
            config.store.data_dir = Some(store.path().to_owned());
        }
        Ok(Self { accounts, store })
    }

    /// Registers the demo's devices. In a store that has them already they stay what they are, with the
    /// mail that waits for them.
    ///
    /// # Errors
    ///
    /// [`Exit::Unavailable`] when the store refuses.
    pub(crate) async fn register(&mut self, switchboard: &Switchboard) -> Result<(), Failure> {
        let failed = |error: &(dyn std::error::Error + 'static)| {
            Failure::new(Exit::Unavailable, "cannot register the demo's devices").caused_by(error)
        };
        for account in &mut self.accounts {
            let known = switchboard
                .device(&account.address)
                .await
                .map_err(|error| failed(&error))?;
            if let Some(device) = known {
                account.registration_id = device.registration_id;
                continue;
            }
            let registration = Registration {
                registration_id: account.registration_id,
                attributes: None,
                max_devices: switchboard.limits().max_devices,
                now: Clock::system().now(),
            };
            switchboard
                .register(&account.address, registration)
                .await
                .map_err(|error| failed(&error))?;
        }
        Ok(())
    }

    /// Prints where the demo is and how to try it. `at` is the bound address.
    ///
    /// # Errors
    ///
    /// As [`Out::result`].
    pub(crate) fn announce(&self, at: SocketAddr, out: &Out) -> Result<(), Failure> {
        out.secret(&self.card(at), &self.info(at))
    }

    /// Writes the address and the accounts to a file of mode 0600, at once.
    ///
    /// # Errors
    ///
    /// [`Exit::CantCreate`].
    pub(crate) fn write_info(&self, path: &Path, at: SocketAddr) -> Result<(), Failure> {
        let text = to_json(&self.info(at))?;
        Ok(private_file::write(
            path,
            text.as_bytes(),
            Access::Owner,
            Existing::Replace,
        )?)
    }

    fn info(&self, at: SocketAddr) -> Info {
        let at = reachable(at);
        Info {
            url: format!("http://{at}"),
            ws_url: format!("ws://{at}/v1/ws"),
            accounts: self.accounts.iter().map(InfoAccount::of).collect(),
        }
    }

    fn card(&self, at: SocketAddr) -> String {
        let Info { url, ws_url, .. } = self.info(at);
        let tokens = self.accounts.iter().map(|account| {
            let name = account.address.account.as_str().to_uppercase();
            format!("export {name}='{}'\n", account.token)
        });
        let bob = self
            .accounts
            .iter()
            .find(|account| account.address.account.as_str() == "bob");
        let registration_id = bob.map_or(0, |bob| bob.registration_id);
        let store = match &self.store {
            Some(_) => "a temporary store, gone when it stops",
            None => "the store that you named",
        };
        CARD.replace("@URL@", &url)
            .replace("@WS_URL@", &ws_url)
            .replace("@STORE@", store)
            .replace("@TOKENS@\n", &tokens.collect::<String>())
            .replace("@BOB_REGISTRATION@", &registration_id.to_string())
    }
}

impl DemoAccount {
    fn new(name: &str, config: &Config, signer: &Signer, now: UnixMs) -> Result<Self, Failure> {
        let bad_name = |error| Failure::from_error(Exit::Failure, &error);
        let address = Address {
            account: AccountId::parse(name).map_err(bad_name)?,
            device_id: DeviceId::parse("1").map_err(bad_name)?,
        };
        let grant = Grant {
            issuer: config.auth.issuer.clone(),
            audience: config.auth.audience.clone(),
            address: address.clone(),
            scope: None,
            life: TOKEN_LIFE.min(config.auth.max_token_life),
            extra: Map::new(),
        };
        let mut random = rand::rng();
        Ok(Self {
            token: signer.issue(&grant, &mut random, now)?.token,
            // The range of Signal's, so that its libraries can play along.
            registration_id: random.random_range(1..=16_380),
            address,
        })
    }
}

fn temporary_store() -> Result<TempDir, Failure> {
    tempfile::Builder::new()
        .prefix("chatctl-dev-")
        .tempdir()
        .map_err(|error| Failure::new(Exit::CantCreate, "cannot make a temporary store").caused_by(&error))
}

/// The address to connect to, for one that is listened on.
fn reachable(at: SocketAddr) -> SocketAddr {
    match at.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => SocketAddr::new(Ipv4Addr::LOCALHOST.into(), at.port()),
        IpAddr::V6(ip) if ip.is_unspecified() => SocketAddr::new(Ipv6Addr::LOCALHOST.into(), at.port()),
        IpAddr::V4(_) | IpAddr::V6(_) => at,
    }
}

const TOKEN_LIFE: Duration = Duration::from_secs(24 * 3600);

/// What is printed. Everything below the second line can be pasted into a shell.
const CARD: &str = r#"# chatctl is listening on @URL@ with @STORE@
# Two accounts, device "1" each; these tokens are good for a day. Paste this into another shell:

@TOKENS@
curl -sH "Authorization: Bearer $ALICE" @URL@/v1/accounts/bob/devices; echo

DEMO=$(mktemp -d) && python3 -m venv "$DEMO" && "$DEMO/bin/pip" install -q websockets
"$DEMO/bin/python" - <<'EOF'
import asyncio, base64, json, os, websockets
os.environ["no_proxy"] = "*"

async def connect(token):
    socket = await websockets.connect("@WS_URL@", subprotocols=["chatctl.v1.json"])
    await socket.send(json.dumps({"hello": {"token": token}}))
    await answer(socket, "helloOk")
    return socket

async def answer(socket, kind):
    async for text in socket:
        frame = json.loads(text)
        if kind in frame:
            return frame[kind]
        if "sendErr" in frame or "goodbye" in frame:
            raise SystemExit(text)

async def main():
    alice, bob = await connect(os.environ["ALICE"]), await connect(os.environ["BOB"])
    await alice.send(json.dumps({"send": {
        "id": "1",
        "toAccount": "bob",
        "messages": [{"deviceId": "1", "registrationId": @BOB_REGISTRATION@,
                      "payload": base64.b64encode(b"hello, bob").decode()}],
        "clientMsgId": base64.b64encode(os.urandom(16)).decode(),
    }}))
    for envelope in (await answer(bob, "deliver"))["envelopes"]:
        print("bob reads:", base64.b64decode(envelope["payload"]))
        await bob.send(json.dumps({"ack": {"ids": [envelope["id"]]}}))
    print("alice knows:", await answer(alice, "sendOk"))
    await alice.close()
    await bob.close()

asyncio.run(main())
EOF
"#;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use chatctl_relay::auth::{Policy, Verifier};
    use chatctl_relay::metrics::Metrics;
    use clap::Parser as _;

    use super::*;

    const NOW: UnixMs = UnixMs(1_795_348_800_000);

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        config: Config,
    }

    fn config(listen: &str) -> Config {
        Line::parse_from(["serve", "--listen", listen]).config
    }

    fn prepare(config: &mut Config) -> (Keyset, Result<Dev, Failure>) {
        let keyset = Keyset::generate(&mut rand::rng(), NOW).unwrap();
        let dev = Dev::prepare(config, &keyset, NOW);
        (keyset, dev)
    }

    #[test]
    fn a_demo_stays_on_this_machine() {
        for listen in ["0.0.0.0:1", "[::]:1", "192.0.2.1:1", "[::ffff:192.0.2.1]:1"] {
            let (_, dev) = prepare(&mut config(listen));
            assert_eq!(dev.unwrap_err().exit, Exit::Usage, "{listen}");
        }
        for listen in ["127.0.0.1:1", "127.1.2.3:1", "[::1]:1"] {
            assert!(prepare(&mut config(listen)).1.is_ok(), "{listen}");
        }
    }

    #[test]
    fn the_temporary_store_goes_with_the_demo_and_a_given_one_stays() {
        let mut temporary = config("127.0.0.1:0");
        let dev = prepare(&mut temporary).1.unwrap();
        let folder = temporary.store.data_dir.unwrap();
        assert!(folder.is_dir());
        drop(dev);
        assert!(!folder.exists());

        let kept = tempfile::tempdir().unwrap();
        let mut given = config("127.0.0.1:0");
        given.store.data_dir = Some(kept.path().to_owned());
        drop(prepare(&mut given).1.unwrap());
        assert!(kept.path().is_dir());
    }

    #[test]
    fn the_info_file_is_private_and_its_tokens_are_good() {
        use std::os::unix::fs::PermissionsExt as _;
        let mut config = config("127.0.0.1:0");
        let (keyset, dev) = prepare(&mut config);
        let dev = dev.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dev.json");
        let at = "127.0.0.1:8480".parse().unwrap();
        dev.write_info(&path, at).unwrap();
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );

        let info: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        assert_eq!(info["url"], "http://127.0.0.1:8480");
        assert_eq!(info["ws_url"], "ws://127.0.0.1:8480/v1/ws");
        let metrics = Arc::new(Metrics::new());
        let verifier = Verifier::new(Policy::of(keyset, &config.auth).unwrap(), metrics);
        let accounts = info["accounts"].as_array().unwrap();
        assert_eq!(accounts.len(), 2);
        for (account, demo) in accounts.iter().zip(&dev.accounts) {
            let (address, registration_id) = (&demo.address, demo.registration_id);
            let identity = verifier.verify(account["token"].as_str().unwrap(), NOW).unwrap();
            assert_eq!(&identity.address, address);
            assert_eq!(identity.expires_at, NOW.plus_seconds(24 * 3600));
            assert_eq!(account["account"], address.account.as_str());
            assert_eq!(account["device_id"], "1");
            assert_eq!(account["registration_id"], registration_id);
            assert!((1..=16_380).contains(&registration_id));
        }
        assert!(!format!("{dev:?}").contains("eyJ"));
    }

    #[test]
    fn the_card_leaves_no_blank_to_fill_in() {
        let dev = prepare(&mut config("127.0.0.1:0")).1.unwrap();
        let card = dev.card("[::]:99".parse().unwrap());
        assert!(!card.contains('@'), "{card}");
        assert!(card.contains("ws://[::1]:99/v1/ws"), "{card}");
    }
}

//! A database that wants a password and speaks TLS only.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use chatctl_client::Event;
use mongodb::bson::doc;
use mongodb::options::Credential;
use tempfile::TempDir;

use crate::app::{connected, device};
use crate::relay::Relay;
use crate::replica_set::{Access, ReplicaSet};
use crate::{ALONE, member};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_and_tls_open_the_database_and_nothing_else_does() {
    let _alone = ALONE.lock().await;
    let papers = Papers::issue();
    let set = ReplicaSet::start_with(1, papers.access()).await;
    add_user(&set).await;
    let good = set.uri("chat").replacen("//", &format!("//chat:{PASSWORD}@"), 1);

    let mut relay = Relay::new();
    relay.keep_secret_store(&good);
    relay.start().await;
    member(&relay, "alice").await;
    let mut alice = device(&relay, "alice");
    connected(&mut alice).await;
    assert_eq!(alice.next_event().await.unwrap(), Event::QueueEmpty);
    relay.kill();

    let wrong_password = good.replace(PASSWORD, "not-the-password");
    let (code, said) = refusal(&wrong_password).await;
    assert_eq!(code, 77, "{said}");
    assert!(
        said.contains(&set.hosts()) && !said.contains("not-the-password"),
        "{said}"
    );

    let other_database = good.replacen("/chat?", "/other?", 1);
    let (code, said) = refusal(&other_database).await;
    assert_eq!(code, 77, "{said}");
    assert!(said.contains(&set.hosts()) && !said.contains(PASSWORD), "{said}");

    let unknown_authority = good.replace("/ca.pem", "/other.pem");
    let (code, said) = refusal(&unknown_authority).await;
    assert_eq!(code, 69, "{said}");
    assert!(said.contains(&set.hosts()) && !said.contains(PASSWORD), "{said}");

    let (plain, _tls) = good.split_once("&tls=").unwrap();
    let (code, said) = refusal(plain).await;
    assert_eq!(code, 69, "{said}");
    assert!(said.contains(&set.hosts()) && !said.contains(PASSWORD), "{said}");
}

/// How a relay with this store ends before it begins.
async fn refusal(uri: &str) -> (i32, String) {
    let mut relay = Relay::new();
    relay.keep_secret_store(uri);
    relay.spawn();
    relay.ended().await
}

/// The first user may be made without one; the relay's may do what it needs in its database, nothing else.
async fn add_user(set: &ReplicaSet) {
    let roles = ["root"];
    let admin = set.client(0).await.database("admin");
    let root = doc! { "createUser": "root", "pwd": PASSWORD, "roles": roles.as_slice() };
    admin.run_command(root).await.unwrap();
    let login = Credential::builder()
        .username("root".to_owned())
        .password(PASSWORD.to_owned())
        .build();
    let admin = set.client_as(0, Some(login)).await.database("admin");
    let rights = ["readWrite", "dbAdmin"].map(|role| doc! { "role": role, "db": "chat" });
    let user = doc! { "createUser": "chat", "pwd": PASSWORD, "roles": rights.as_slice() };
    admin.run_command(user).await.unwrap();
}

/// Certificates of this test's own authority, and the key that members of the set know each other by.
struct Papers(TempDir);

impl Papers {
    fn issue() -> Self {
        let papers = Self(tempfile::tempdir().unwrap());
        let at = papers.0.path();
        for authority in ["ca", "other"] {
            openssl(
                at,
                &format!(
                    "req -x509 {NEW_KEY} -days 2 -subj /CN={authority} -keyout {authority}.key -out {authority}.pem"
                ),
            );
        }
        openssl(
            at,
            &format!("req {NEW_KEY} -subj /CN=server -keyout server.key -out server.csr"),
        );
        fs::write(at.join("names"), "subjectAltName=IP:127.0.0.1").unwrap();
        openssl(
            at,
            "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names -out server.crt",
        );
        let both = ["server.crt", "server.key"].map(|name| fs::read_to_string(at.join(name)).unwrap());
        fs::write(at.join("server.pem"), both.concat()).unwrap();
        let key = at.join("members.key");
        fs::write(&key, "c2VjcmV0IG9mIHRoZSBtZW1iZXJz").unwrap();
        fs::set_permissions(&key, Permissions::from_mode(0o400)).unwrap();
        papers
    }

    fn access(&self) -> Access {
        let mut flags: Vec<_> = [
            "--auth",
            "--tlsMode",
            "requireTLS",
            "--tlsAllowConnectionsWithoutCertificates",
        ]
        .map(str::to_owned)
        .into();
        for (flag, name) in [
            ("--keyFile", "members.key"),
            ("--tlsCertificateKeyFile", "server.pem"),
            ("--tlsCAFile", "ca.pem"),
        ] {
            flags.extend([flag.to_owned(), self.0.path().join(name).display().to_string()]);
        }
        Access {
            flags,
            query: format!(
                "&authSource=admin&tls=true&tlsCAFile={}/ca.pem",
                self.0.path().display()
            ),
        }
    }
}

fn openssl(at: &Path, arguments: &str) {
    let output = Command::new("openssl")
        .args(arguments.split(' '))
        .current_dir(at)
        .output();
    let output = output.expect("openssl is installed");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

const PASSWORD: &str = "correct-horse";
const NEW_KEY: &str = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";

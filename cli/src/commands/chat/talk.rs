//! The conversation: what is typed goes out, what comes is shown, until one of both ends.
//!
//! # Why the order
//!
//! A message is shown first, then the vault is kept, then the relay hears of it: after a crash in between it is
//! shown twice rather than never.

use chatctl_client::e2ee::{Answer, Installation, OpenError, SealError, SendError, safety_number};
use chatctl_client::{Event, Mail, SendId, SendOutcome, Stop};
use chatctl_protocol::v1::GapReason;
use chatctl_protocol::{AccountId, Address, CloseCode, DeviceId};
use tokio::time::timeout;

use super::command::{Command, HELP};
use super::lines::Lines;
use super::voice::{Voice, What, named};
use super::{LEAVE, ONE_TIME_KEYS};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::signals::Signals;

/// A conversation.
#[derive(Debug)]
pub(super) struct Talk {
    me: Installation,
    to: AccountId,
    voice: Voice,
    /// Mail of identities that wait to be accepted. Not acked, so the relay's window bounds it.
    held: Vec<Mail>,
    unsent: u32,
}

impl Talk {
    pub(super) fn new(me: Installation, to: AccountId, voice: Voice) -> Self {
        Self {
            me,
            to,
            voice,
            held: Vec::new(),
            unsent: 0,
        }
    }

    /// Talks until stdin ends or a signal comes.
    ///
    /// # Errors
    ///
    /// Of a relay that does not want the device, of a vault that cannot be kept, and when something was not sent.
    pub(super) async fn run(mut self, lines: Lines, follow: bool) -> Result<Exit, Failure> {
        let mut signals = Signals::listen()?;
        // Whatever is dropped here: the vault was kept before anything left.
        let ended = tokio::select! {
            talked = self.talk(lines, follow) => talked.map(|()| Exit::Ok),
            exit = signals.next() => Ok(exit),
        };
        let unsent = self.unsent;
        // Nobody waits for a relay that is away.
        let _left = timeout(LEAVE, self.me.close()).await;
        match ended? {
            Exit::Ok if unsent > 0 => Err(Failure::new(
                Exit::TempFail,
                format!("{unsent} messages were not sent"),
            )),
            exit => Ok(exit),
        }
    }

    async fn talk(&mut self, mut lines: Lines, follow: bool) -> Result<(), Failure> {
        let resumed = self.me.resume().await.map_err(fatal)?;
        for (_name, refusal) in resumed {
            self.not_sent(&format!(
                "a message of the last time was refused: {}",
                refusal.word
            ))?;
        }
        let (mut reads, mut follows) = (true, follow);
        while reads || follows || self.me.unanswered() > 0 {
            tokio::select! {
                line = lines.next(), if reads => match line.as_deref().map(Command::parse) {
                    Some(Command::Quit) => (reads, follows) = (false, false),
                    Some(command) => self.obey(command).await?,
                    None => reads = false,
                },
                event = self.me.next_event() => match event {
                    Ok(event) => self.happened(event).await?,
                    Err(error) => self.trouble(error)?,
                },
            }
        }
        Ok(())
    }

    async fn obey(&mut self, command: Command) -> Result<(), Failure> {
        match command {
            Command::Say(words) => self.say(&words).await,
            Command::Who => self.who(),
            Command::Verify(None) => self.digits(),
            Command::Verify(Some((device, digits))) => self.verify(&device, &digits),
            Command::Accept(device) => self.accept(device),
            Command::Unknown => self.voice.tell(What::Note, HELP),
            Command::Quit | Command::Nothing => Ok(()),
        }
    }

    async fn say(&mut self, words: &str) -> Result<(), Failure> {
        let to = self.to.clone();
        match self.me.post(&to, words.as_bytes()).await {
            Ok(_) => Ok(()),
            Err(error) => self.unsent(error),
        }
    }

    /// Says why words were not sent, unless it is the end.
    fn unsent(&mut self, error: SendError) -> Result<(), Failure> {
        match error {
            SendError::Seal(SealError::IdentityChanged(who)) => {
                self.unsent += 1;
                self.voice.about(What::IdentityChanged, &who, CHANGED)
            }
            SendError::Seal(SealError::NoKeys(who) | SealError::BadKey(who)) => {
                self.not_sent(&format!("not sent: {} has published no good keys", named(&who)))
            }
            SendError::Refused(refusal) => {
                self.not_sent(&format!("not sent: the relay says {}", refusal.word))
            }
            SendError::Seal(_) | SendError::Directory(_) => self.not_sent(&format!("not sent: {error}")),
            SendError::Keep(_) | SendError::Device(_) => Err(fatal(error)),
        }
    }

    fn not_sent(&mut self, note: &str) -> Result<(), Failure> {
        self.unsent += 1;
        self.voice.tell(What::NotSent, note)
    }

    async fn happened(&mut self, event: Event) -> Result<(), Failure> {
        match event {
            Event::Mail(mail) => self.read(mail)?,
            Event::Sent { id, outcome } => self.answered(id, outcome).await?,
            Event::Connected(_) => self.voice.tell(What::Connected, "connected")?,
            Event::Disconnected { retry_in, .. } => {
                let note = format!("connection lost, comes back in {:.1} s", retry_in.as_secs_f32());
                self.voice.tell(What::Disconnected, &note)?;
            }
            Event::Gap(gap) => {
                let note = match gap.reason() {
                    GapReason::Restore => {
                        "the relay came back from a backup: messages since then may be lost".to_owned()
                    }
                    GapReason::Ttl | GapReason::Quota | GapReason::Unspecified => {
                        format!("{} messages will never arrive", gap.dropped)
                    }
                };
                self.voice.tell(What::Lost, &note)?;
            }
            Event::KeysLow(_) | Event::FallbackUsed(_) => match self.me.publish(ONE_TIME_KEYS).await {
                Ok(()) => {}
                Err(error @ SendError::Keep(_)) => return Err(fatal(error)),
                // It is told again.
                Err(error) => self
                    .voice
                    .tell(What::Note, &format!("keys were not published: {error}"))?,
            },
            Event::RenewalFailed { .. } => {
                self.voice
                    .tell(What::Note, "the token ends soon, and its file has no other")?;
            }
            Event::QueueEmpty
            | Event::TokenExpiring(_)
            | Event::DevicesChanged(_)
            | Event::TokenRefreshed(_)
            | Event::MailWaiting(_)
            | Event::Pong(_)
            | Event::Goodbye(_) => {}
        }
        Ok(())
    }

    async fn answered(&mut self, id: SendId, outcome: SendOutcome) -> Result<(), Failure> {
        match self.me.answered(id, outcome).await {
            Ok(Answer::Accepted(_)) => self.voice.tell(What::Accepted, "sent"),
            Ok(Answer::Again(_) | Answer::Unknown) => Ok(()),
            Err(error) => self.unsent(error),
        }
    }

    fn read(&mut self, mail: Vec<Mail>) -> Result<(), Failure> {
        let mut done = Vec::with_capacity(mail.len());
        for mail in mail {
            match self.me.open(&mail) {
                Ok(Some(decrypted)) => self.voice.message(&decrypted, mail.accepted_at)?,
                Ok(None) => {}
                Err(OpenError::IdentityChanged(who)) => {
                    self.voice.about(What::IdentityChanged, &who, CHANGED)?;
                    self.held.push(mail);
                    continue;
                }
                Err(error) => {
                    let note = format!("a message that cannot be read: {error}");
                    match &mail.from {
                        Some(from) => self.voice.about(What::Lost, from, &note)?,
                        None => self.voice.tell(What::Lost, &note)?,
                    }
                }
            }
            done.push(mail.id);
        }
        self.me.ack(done).map_err(fatal)
    }

    fn who(&self) -> Result<(), Failure> {
        let ours = self.me.vault();
        let fingerprint = ours.identity().fingerprint(&ours.address().account);
        self.voice.about(
            What::Device,
            ours.address(),
            &format!("this device: {fingerprint}"),
        )?;
        self.each_known(false)
    }

    /// The digits that both see.
    fn digits(&self) -> Result<(), Failure> {
        self.voice.tell(
            What::Note,
            "compare these with what they see; then /verify DEVICE DIGITS",
        )?;
        self.each_known(true)
    }

    fn each_known(&self, with_numbers: bool) -> Result<(), Failure> {
        let vault = self.me.vault();
        for known in vault.known(&self.to) {
            let number = known.identity.filter(|_| with_numbers).map(|theirs| {
                let ours = (&vault.address().account, &vault.identity());
                safety_number(ours, (&known.address.account, &theirs))
            });
            self.voice.device(&known, number)?;
        }
        Ok(())
    }

    /// Trusts an identity if the digits are its fingerprint, or both sides' number.
    fn verify(&mut self, device: &DeviceId, digits: &str) -> Result<(), Failure> {
        let (address, vault) = (self.device(device.clone()), self.me.vault());
        let known = vault.known(&self.to).find(|known| known.address == address);
        let Some(theirs) = known.and_then(|known| known.identity) else {
            return self.voice.about(What::Note, &address, "nothing seen of it yet");
        };
        let ours = (&vault.address().account, &vault.identity());
        let numbers = [
            theirs.fingerprint(&self.to),
            safety_number(ours, (&self.to, &theirs)),
        ];
        let matches = numbers.iter().any(|number| number.replace(' ', "") == digits);
        if !matches || !self.me.vault_mut().verify(&address, &theirs) {
            return self
                .voice
                .about(What::Note, &address, "these are not its digits: do not trust it");
        }
        self.me.keep().map_err(fatal)?;
        self.each_known(false)
    }

    /// Goes on with another identity, and reads what it wrote.
    fn accept(&mut self, device: DeviceId) -> Result<(), Failure> {
        let address = self.device(device);
        self.me.vault_mut().accept_change(&address);
        self.me.keep().map_err(fatal)?;
        let held = std::mem::take(&mut self.held);
        let (theirs, others) = held
            .into_iter()
            .partition(|mail| mail.from.as_ref() == Some(&address));
        self.held = others;
        self.read(theirs)
    }

    fn device(&self, device_id: DeviceId) -> Address {
        Address {
            account: self.to.clone(),
            device_id,
        }
    }

    /// What a device cannot settle by itself.
    fn trouble(&self, error: chatctl_client::Error) -> Result<(), Failure> {
        match error {
            chatctl_client::Error::Stopped(_) => Err(fatal(error.into())),
            chatctl_client::Error::OutboxFull
            | chatctl_client::Error::NoToken(_)
            | chatctl_client::Error::Socket(_)
            | chatctl_client::Error::Mail(_)
            | chatctl_client::Error::Unexpected(_) => self
                .voice
                .tell(What::Note, &format!("trouble with the relay: {error}")),
        }
    }
}

/// What ends a conversation.
fn fatal(error: SendError) -> Failure {
    let exit = match &error {
        SendError::Keep(_) => Exit::CantCreate,
        SendError::Device(chatctl_client::Error::Stopped(Stop { code, .. })) => {
            match CloseCode::from_number(*code) {
                Some(CloseCode::Version) => Exit::Protocol,
                Some(_) => Exit::NoPerm,
                None => Exit::Unavailable,
            }
        }
        SendError::Directory(_) | SendError::Device(_) => Exit::Unavailable,
        SendError::Seal(_) | SendError::Refused(_) => Exit::TempFail,
    };
    Failure::from_error(exit, &error)
}

const CHANGED: &str = "the IDENTITY HAS CHANGED: another installation, or somebody in between. Ask them; \
then /accept DEVICE goes on, and shows what waits";

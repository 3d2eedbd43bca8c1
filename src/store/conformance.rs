//! The promises of the store as facts, a function each, for every implementation.
//!
//! A new implementation names itself in [`facts`] and gets them all. Must not know how a store is made.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use chatctl_protocol::{AccountId, Address, ClientMsgId, DeviceId, EnvelopeId};

use crate::model::{Device, Envelope, MailboxId, UnixMs};
use crate::store::{
    Batch, Deletion, Posting, Registered, Registration, Room, SendKey, SendRecord, Span, Store,
};

pub(crate) mod accounts;
pub(crate) mod chores;
pub(crate) mod devices;
pub(crate) mod jobs;
pub(crate) mod keys;
pub(crate) mod leases;
pub(crate) mod mail;
mod random;
mod random_jobs;
pub(crate) mod revocations;

/// Runs what a property is about in a runtime of its own.
fn alone(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(test);
}

/// A store that can crash and come back with what was committed.
#[async_trait(?Send)]
pub(crate) trait Subject {
    /// The store that runs now.
    fn store(&self) -> &dyn Store;
    /// Ends it without closing it, and opens another one over what it left.
    async fn crash(&mut self);
}

/// Makes a test of every fact for one implementation.
macro_rules! facts {
    ($implementation:ident, $subject:expr) => {
        facts!(@ $implementation, $subject, mail: [
            committed_mail_survives_a_crash_whole_and_in_order,
            pages_bring_every_envelope_once_while_others_come_and_go,
            what_was_committed_is_read_in_order_while_others_commit,
            a_read_brings_the_first_envelope_whatever_its_size,
            a_cursor_survives_everything_around_it,
            a_deletion_takes_only_what_it_names,
            a_posting_committed_again_changes_nothing,
            many_commits_of_one_posting_store_one_copy,
            a_different_send_under_an_old_name_takes_its_record_over,
            a_posting_to_a_gone_mailbox_is_refused_whole_and_alone,
            mail_stored_and_deleted_in_one_batch_is_gone,
            the_extent_counts_the_mail_of_all_mailboxes,
            usage_is_the_sum_of_a_full_read,
            expired_mail_is_not_read_and_leaves_a_gap,
            expiry_works_in_steps_and_spares_the_rest,
            gaps_are_told_by_the_count,
            records_survive_a_crash_until_their_window_ends,
            ids_begin_above_everything_used,
            a_closed_store_is_not_available,
        ]);
        facts!(@ $implementation, $subject, accounts: [
            an_account_put_again_changes_nothing,
            other_attributes_stay_or_go_as_asked,
            an_account_without_devices_lists_as_one_that_never_was,
        ]);
        facts!(@ $implementation, $subject, chores: [
            what_is_looked_at_is_what_a_step_removes,
            what_has_no_device_is_looked_for_and_normally_not_found,
            records_are_forgotten_in_bounded_steps,
            tombstones_go_after_their_time_and_not_before,
            a_device_seen_again_is_not_idle,
            an_earlier_day_changes_nothing,
            who_is_seen_and_gone_is_told,
            idle_devices_go_with_everything_they_had,
            the_longest_idle_go_first_and_no_more_than_asked_for,
            low_pools_are_found_page_by_page,
            a_sweep_leaves_what_lives,
            compaction_changes_no_row,
        ]);
        facts!(@ $implementation, $subject, devices: [
            a_registration_again_changes_nothing,
            changed_attributes_raise_the_version,
            another_installation_gets_a_mailbox_that_nothing_old_reaches,
            a_removed_device_leaves_nothing_but_the_version,
            a_mailbox_number_is_never_used_again,
            an_account_has_only_so_many_devices,
            devices_are_listed_in_the_order_of_their_ids,
        ]);
        facts!(@ $implementation, $subject, keys: [
            items_leave_in_upload_order_over_crashes,
            an_item_is_claimed_once_under_contention,
            an_item_queued_under_two_names_is_handed_out_once,
            a_claim_takes_the_queue_then_the_fallback_then_nothing,
            a_claim_may_spare_the_queue,
            a_claim_leaves_out_devices_without_a_keyset,
            an_upload_again_changes_nothing,
            a_refused_upload_changes_nothing,
            a_handed_out_item_is_ignored_for_ninety_days,
            a_replacement_takes_the_place_of_the_queue,
            a_dropped_queue_keeps_its_fallback,
            a_changed_identity_is_logged_and_the_log_outlives_the_device,
            the_digest_is_over_identity_and_fallbacks,
        ]);
        facts!(@ $implementation, $subject, revocations: [
            revocations_survive_a_crash_whole_and_in_order,
            a_later_revocation_takes_the_place_of_the_earlier_one,
            pages_of_revocations_miss_nothing,
            what_is_over_is_pruned_and_nothing_else,
            a_number_of_what_was_pruned_is_not_given_again,
            who_follows_the_numbers_misses_nothing_while_others_revoke,
        ]);
        facts!(@ $implementation, $subject, jobs: [
            a_tick_is_answered_once_whoever_asks,
            a_run_answers_the_ticks_that_it_covers,
            what_runs_answer_never_overlaps,
            a_tick_far_ahead_answers_only_itself,
            while_one_runs_ticks_are_skipped_or_one_waits,
            a_paused_job_notes_its_ticks,
            by_hand_is_refused_while_it_runs_and_never_noted,
            missed_ticks_are_noted_unless_they_are_answered,
            runs_are_listed_and_trimmed_and_the_newest_stays,
            states_say_who_runs_since_when_and_what_came_of_it,
        ]);
        facts!(@ $implementation, $subject, leases: [
            a_lease_that_is_over_leaves_a_crashed_run,
            a_renewed_lease_goes_on,
            what_was_left_is_made_up_for_three_times_at_most,
            a_lower_fence_renews_and_ends_nothing,
            unlock_breaks_the_lease_and_the_holder_learns_it,
            runs_survive_a_crash,
        ]);
    };
    (@ $implementation:ident, $subject:expr, $room:ident: [$($fact:ident,)+]) => {
        mod $room {
            $(#[tokio::test]
            async fn $fact() {
                crate::store::conformance::$room::$fact(&mut $subject).await;
            })+
        }
    };
}

pub(crate) mod in_memory {
    use super::{Store, Subject};
    use crate::store::model::Model;
    use async_trait::async_trait;
    use std::sync::Arc;

    pub(super) struct InMemory(pub(super) Arc<Model>);

    #[async_trait(?Send)]
    impl Subject for InMemory {
        fn store(&self) -> &dyn Store {
            &*self.0
        }

        async fn crash(&mut self) {
            self.0 = self.0.reopen();
        }
    }

    facts!(model, super::InMemory(crate::store::model::Model::new()));
}

pub(crate) mod embedded {
    use super::{Store, Subject};
    use crate::store::embedded::{Embedded, Options};
    use async_trait::async_trait;
    use std::sync::Arc;
    use tempfile::TempDir;

    /// A store on the disk. A crash takes its files as they are at that moment to another directory.
    pub(crate) struct OnDisk {
        pub(crate) store: Arc<Embedded>,
        pub(crate) directory: TempDir,
    }

    impl OnDisk {
        pub(crate) fn new() -> Self {
            Self::over(tempfile::tempdir().unwrap())
        }

        fn over(directory: TempDir) -> Self {
            let options = Options {
                disk_reserve: 0,
                ..Options::default()
            };
            Self {
                store: Embedded::open(directory.path(), &options).unwrap(),
                directory,
            }
        }
    }

    #[async_trait(?Send)]
    impl Subject for OnDisk {
        fn store(&self) -> &dyn Store {
            &*self.store
        }

        async fn crash(&mut self) {
            let copy = tempfile::tempdir().unwrap();
            for name in ["chatctl.sqlite", "chatctl.sqlite-wal"] {
                std::fs::copy(self.directory.path().join(name), copy.path().join(name)).unwrap();
            }
            *self = Self::over(copy);
        }
    }

    facts!(embedded, crate::store::conformance::embedded::OnDisk::new());
}

pub(crate) mod mongodb {
    use super::{Store, Subject};
    use crate::store::mongodb::{MongoDb, Options, Uri};
    use async_trait::async_trait;
    use std::sync::Arc;

    /// A database of its own on the server that `scripts/test` starts. A crash leaves the client as it is and
    /// connects anew.
    pub(crate) struct OnServer {
        pub(crate) store: Arc<MongoDb>,
        pub(crate) uri: Uri,
    }

    impl OnServer {
        pub(crate) async fn new() -> Self {
            let server = std::env::var("CHATCTL_TEST_MONGODB")
                .expect("CHATCTL_TEST_MONGODB is not set: eval \"$(scripts/mongodb env)\" starts a mongod and sets it");
            let name = format!("facts_{:016x}", rand::random::<u64>());
            let uri = Uri::parse(&server).unwrap().with_database(&name);
            Self {
                store: MongoDb::open_fresh(&uri, &Options::default()).await.unwrap(),
                uri,
            }
        }
    }

    #[async_trait(?Send)]
    impl Subject for OnServer {
        fn store(&self) -> &dyn Store {
            &*self.store
        }

        async fn crash(&mut self) {
            self.store = MongoDb::open(&self.uri, &Options::default()).await.unwrap();
        }
    }

    facts!(mongodb, crate::store::conformance::mongodb::OnServer::new().await);
}

pub(crate) const NOW: UnixMs = UnixMs(1_800_000_000_000);
pub(crate) const LATER: UnixMs = UnixMs(NOW.0 + 60_000);
pub(crate) const EVERYTHING: Room = Room {
    envelopes: usize::MAX,
    bytes: usize::MAX,
};
/// A mailbox that sends and is no device.
pub(crate) const SENDER: MailboxId = MailboxId(900);

pub(crate) fn id(number: u64) -> EnvelopeId {
    EnvelopeId::from_u64(number)
}

pub(crate) fn address(account: &str, device: &str) -> Address {
    Address {
        account: AccountId::parse(account).unwrap(),
        device_id: DeviceId::parse(device).unwrap(),
    }
}

pub(crate) fn installation(registration_id: u32) -> Registration {
    Registration {
        registration_id,
        attributes: None,
        max_devices: 3,
        now: NOW,
    }
}

/// Registers a device and takes what came of it apart.
pub(crate) async fn device(
    store: &dyn Store,
    account: &str,
    device_id: &str,
    registration_id: u32,
) -> Device {
    let address = address(account, device_id);
    match store
        .register(&address, installation(registration_id))
        .await
        .unwrap()
    {
        Registered::Created(device) | Registered::Updated(device) | Registered::Replaced { device, .. } => {
            device
        }
        Registered::TooMany => panic!("too many devices"),
    }
}

pub(crate) async fn mailbox(store: &dyn Store, account: &str) -> MailboxId {
    device(store, account, "1", 7).await.mailbox
}

pub(crate) fn envelope(number: u64, mailbox: MailboxId, payload: impl Into<Bytes>) -> Envelope {
    Envelope {
        id: id(number),
        mailbox,
        sender: SENDER,
        from: Arc::new(address("alice@example.org", "phone")),
        client_msg_id: name(number),
        kind: 3,
        sent_at: -5,
        accepted_at: NOW,
        expires_at: LATER,
        urgent: number.is_multiple_of(2),
        ephemeral: false,
        payload: payload.into(),
    }
}

pub(crate) fn name(number: u64) -> ClientMsgId {
    ClientMsgId::parse(Bytes::copy_from_slice(&number.to_be_bytes())).unwrap()
}

/// A posting of envelopes, named after the first one.
pub(crate) fn posting(envelopes: impl IntoIterator<Item = Envelope>) -> Posting {
    let envelopes: Vec<_> = envelopes.into_iter().map(Arc::new).collect();
    Posting {
        record: SendRecord {
            key: SendKey {
                sender: envelopes[0].sender,
                client_msg_id: envelopes[0].client_msg_id,
            },
            digest: [1; 8],
            envelope_ids: envelopes.iter().map(|envelope| envelope.id).collect(),
            accepted_at: envelopes[0].accepted_at,
        },
        envelopes,
    }
}

/// A batch with a posting for each envelope.
pub(crate) fn batch(envelopes: impl IntoIterator<Item = Envelope>) -> Batch {
    Batch {
        postings: envelopes
            .into_iter()
            .map(|envelope| posting([envelope]))
            .collect(),
        ..Batch::default()
    }
}

/// A batch that deletes.
pub(crate) fn acks(mailbox: MailboxId, numbers: impl IntoIterator<Item = u64>) -> Batch {
    let deletions = numbers.into_iter().map(|number| Deletion {
        mailbox,
        id: id(number),
    });
    Batch {
        deletions: deletions.collect(),
        ..Batch::default()
    }
}

/// Everything that a mailbox holds and that is not over.
pub(crate) async fn mail_of(store: &dyn Store, mailbox: MailboxId) -> Vec<Arc<Envelope>> {
    store
        .read(
            mailbox,
            Span {
                after: EnvelopeId::ZERO,
                up_to: EnvelopeId::MAX,
                now: NOW,
            },
            EVERYTHING,
        )
        .await
        .unwrap()
}

/// The ids of [`mail_of`].
pub(crate) async fn ids_of(store: &dyn Store, mailbox: MailboxId) -> Vec<u64> {
    let mail = mail_of(store, mailbox).await;
    mail.iter().map(|envelope| envelope.id.as_u64()).collect()
}

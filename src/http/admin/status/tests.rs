//! The status, over a store in memory.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::http::Request;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::auth::Keyset;
use crate::config::Config;
use crate::http::token::OnAdminSocket;
use crate::http::trial::{self, NOW};
use crate::http::{Doors, admin};
use crate::store::MailStore as _;
use crate::store::model::Model;

async fn doors(store: Arc<Model>) -> Doors {
    let keyset = Keyset::generate(&mut rand::rng(), NOW).unwrap();
    trial::doors(store, &Config::default(), keyset).await
}

async fn status(doors: &Doors) -> Value {
    let (router, _) = admin::status::router().split_for_parts();
    let router = router.with_state(doors.clone()).layer(Extension(OnAdminSocket));
    let request = Request::get("/v1/admin/status").body(Body::empty()).unwrap();
    let response = router.oneshot(request).await.unwrap();
    assert_eq!(response.status(), 200);
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    serde_json::from_slice(&bytes).unwrap()
}

#[tokio::test]
async fn a_status_has_the_members_of_its_example() {
    let status = status(&doors(Model::new()).await).await;
    let example = super::example::status();
    let members = |value: &Value| {
        let mut members: Vec<_> = value.as_object().unwrap().keys().cloned().collect();
        members.sort();
        members
    };
    assert_eq!(members(&status), members(&example));
    for part in ["sessions", "store", "mail", "keys", "config", "process"] {
        assert_eq!(members(&status[part]), members(&example[part]), "{part}");
    }
    assert_eq!(members(&status["jobs"][0]), members(&example["jobs"][0]));
    assert_eq!(
        (&status["keys"]["from"], &status["keys"]["age_seconds"]),
        (&"memory".into(), &0.0.into())
    );
    assert_eq!(
        status["config"],
        json!({"generation": 1, "good": false, "read_at": "1970-01-01T00:00:00Z"})
    );
}

#[tokio::test]
async fn what_a_store_that_is_away_knows_is_null() {
    let store = Model::new();
    let doors = doors(store.clone()).await;
    store.close().await.unwrap();
    let status = status(&doors).await;
    assert_eq!(
        (&status["ready"], &status["not_ready"]),
        (&false.into(), &"The store does not answer.".into())
    );
    assert_eq!(
        (
            &status["jobs"],
            &status["mail"]["waiting"],
            &status["store"]["bytes"]
        ),
        (&Value::Null, &Value::Null, &Value::Null)
    );
    doors.readiness.drain();
    let status = self::status(&doors).await;
    assert_eq!(
        (&status["draining"], &status["not_ready"]),
        (&true.into(), &"The relay is about to stop.".into())
    );
}

//! One device's HTTP calls to a relay that may die in the middle of them.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::crowd::REGISTRATION_ID;

/// What came of a call.
#[derive(Debug)]
pub(crate) enum Answer {
    Ok(Value),
    /// The relay decided against it.
    Refused(u16, Value),
    /// It never left: nobody was there.
    Unsent,
    /// No answer, or one that leaves the outcome open.
    Unknown,
}

#[derive(Clone)]
pub(crate) struct Http {
    client: reqwest::Client,
    base: String,
    token: String,
}

impl Http {
    pub(crate) fn new(base: &str, token: &str) -> Self {
        let client = reqwest::Client::builder()
            .no_proxy()
            // A pooled connection may lead to a process that is gone.
            .pool_max_idle_per_host(0)
            .timeout(Duration::from_secs(20))
            .build()
            .unwrap();
        Self {
            client,
            base: base.to_owned(),
            token: token.to_owned(),
        }
    }

    /// Makes the device known. The relay must be up.
    pub(crate) async fn register(&self) {
        let registration = json!({"registration_id": REGISTRATION_ID});
        let answer = self.put("/v1/devices/1", &registration).await;
        assert!(matches!(answer, Answer::Ok(_)), "not registered: {answer:?}");
    }

    pub(crate) async fn put(&self, path: &str, body: &Value) -> Answer {
        self.call(Method::PUT, path, body).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.call(Method::POST, path, body).await
    }

    /// The value of a metric that has no labels.
    pub(crate) async fn metric(&self, name: &str) -> u64 {
        let answer = self.client.get(format!("{}/metrics", self.base)).send().await;
        let text = answer.unwrap().text().await.unwrap();
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(&format!("{name} ")));
        line.expect("the metric is there").parse().unwrap()
    }

    async fn call(&self, method: Method, path: &str, body: &Value) -> Answer {
        let url = format!("{}{path}", self.base);
        let request = self
            .client
            .request(method, url)
            .bearer_auth(&self.token)
            .json(body);
        let response = match request.send().await {
            Ok(response) => response,
            Err(error) if error.is_connect() => return Answer::Unsent,
            Err(_) => return Answer::Unknown,
        };
        let status = response.status();
        // The process may die between head and body.
        let Ok(text) = response.bytes().await else {
            return Answer::Unknown;
        };
        let value = serde_json::from_slice(&text).unwrap_or(Value::Null);
        match status {
            status if status.is_success() => Answer::Ok(value),
            StatusCode::SERVICE_UNAVAILABLE => Answer::Unknown,
            status => Answer::Refused(status.as_u16(), value),
        }
    }
}

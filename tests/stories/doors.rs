//! HTTP as a story speaks it: one line asks, and the answer is a status and JSON.

use reqwest::header::HeaderMap;
use reqwest::{Method, RequestBuilder};
use serde_json::Value;

use crate::relay::{Person, TestRelay};

/// What a door answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    /// Null when there was none, text when it was not JSON.
    pub(crate) body: Value,
}

impl Answer {
    /// The status and the code of a problem, which says both in its body too.
    #[track_caller]
    pub(crate) fn problem(&self) -> (u16, &str) {
        assert_eq!(
            self.header("content-type"),
            "application/problem+json",
            "{self:?}"
        );
        assert_eq!(self.body["status"], self.status, "{self:?}");
        let code = self.body["code"].as_str().unwrap();
        assert_eq!(
            self.body["type"],
            format!("urn:chatctl:problem:{code}"),
            "{self:?}"
        );
        (self.status, code)
    }

    /// A header, empty when it is not there.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

impl TestRelay {
    /// A request in the name of a device, such as `PUT /v1/devices/1`. Null sends no body.
    pub(crate) async fn ask(&self, person: Person, what: &str, body: &Value) -> Answer {
        let request = self.request(what).bearer_auth(self.keys().token(person));
        answer(match body {
            Value::Null => request,
            body => request.json(body),
        })
        .await
    }

    /// A request that is not finished yet, without a token.
    pub(crate) fn request(&self, what: &str) -> RequestBuilder {
        let (method, path) = what.split_once(' ').unwrap();
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        self.http()
            .request(method, format!("http://{}{path}", self.address()))
    }

    /// The metrics page.
    pub(crate) async fn metrics_page(&self) -> String {
        let page = answer(self.request("GET /metrics")).await;
        page.body.as_str().unwrap().to_owned()
    }
}

/// Sends a request.
pub(crate) async fn answer(request: RequestBuilder) -> Answer {
    let answer = request.send().await.unwrap();
    let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
    let text = answer.text().await.unwrap();
    let body = match text.as_str() {
        "" => Value::Null,
        text => serde_json::from_str(text).unwrap_or_else(|_| Value::from(text)),
    };
    Answer {
        status,
        headers,
        body,
    }
}

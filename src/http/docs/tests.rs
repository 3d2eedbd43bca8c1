use axum::body::Body;
use axum::http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::Map;
use tower::ServiceExt as _;

use super::*;

async fn get_page(path: &str) -> (HeaderMap, String) {
    let request = Request::get(path).body(Body::empty()).unwrap();
    let response = router::<()>().oneshot(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK, "{path}");
    let headers = response.headers().clone();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    (headers, String::from_utf8(bytes.to_vec()).unwrap())
}

/// What a page refers to inside itself.
fn dead_links(page: &str) -> Vec<&str> {
    let links = page
        .split("href=\"#")
        .skip(1)
        .filter_map(|rest| rest.split('"').next());
    links
        .filter(|id| !page.contains(&format!("id=\"{id}\"")))
        .collect()
}

#[tokio::test]
async fn every_operation_and_schema_is_on_the_page_and_every_link_leads_somewhere() {
    let (headers, page) = get_page("/docs").await;
    assert_eq!(headers[header::CONTENT_SECURITY_POLICY], POLICY);
    assert_eq!(headers[header::REFERRER_POLICY], "no-referrer");
    let sources = Sources::of_this_build();
    let tags = operations::by_tag(&sources.openapi);
    let operations: Vec<_> = tags.iter().flat_map(|(_, operations)| operations).collect();
    assert!(operations.len() > 15, "{}", operations.len());
    for operation in operations {
        assert!(
            page.contains(&format!("id=\"{}\"", operation.anchor())),
            "{}",
            operation.path
        );
        assert!(
            page.contains(&format!("<code>{}</code></h3>", operation.path)),
            "{}",
            operation.path
        );
    }
    let none = Map::new();
    let schemas = sources
        .openapi
        .pointer("/components/schemas")
        .and_then(Value::as_object);
    for name in schemas.unwrap_or(&none).keys() {
        assert!(page.contains(&format!("id=\"schema-{name}\"")), "{name}");
    }
    assert_eq!(dead_links(&page), Vec::<&str>::new());
}

#[tokio::test]
async fn every_frame_and_close_code_is_on_the_page_of_the_websocket() {
    let (_, page) = get_page("/docs/websocket").await;
    for frame in chatctl_protocol::schema::frames() {
        assert!(
            page.contains(&format!("id=\"frame-{}\"", frame.json_name)),
            "{}",
            frame.name
        );
    }
    for code in chatctl_protocol::CloseCode::ALL {
        assert!(
            page.contains(&format!("id=\"close-{}\"", code.number())),
            "{code:?}"
        );
    }
    assert_eq!(dead_links(&page), Vec::<&str>::new());
}

#[test]
fn one_file_needs_nothing_else() {
    let page = one_file();
    assert_eq!(dead_links(&page), Vec::<&str>::new());
    for outside in ["src=", "href=\"/", "href=\"http", "@import", "url("] {
        assert!(!page.contains(outside), "{outside}");
    }
    assert!(page.contains("id=\"op-get-v1-limits\"") && page.contains("id=\"frame-hello\""));
    assert!(!page.contains("unsafe-inline"));
}

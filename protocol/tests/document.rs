//! `docs/protocol.md` says what the code does: its frames are decoded and encoded again, its tables are compared.

#![expect(clippy::unwrap_used, reason = "a test: its helpers may fail loudly, too")]

use std::fs;
use std::path::PathBuf;

use bytes::Bytes;
use chatctl_protocol::frame::{decode_json, decode_proto, encode_json, encode_proto};
use chatctl_protocol::v1::frame::Body;
use chatctl_protocol::{CloseCode, Code, Limits, schema};
use serde_json::Value;

/// A block of the document: ```` ```frame WHO → WHOM ````, JSON, bytes.
struct Block {
    json: String,
    hex: String,
}

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/protocol.md")
}

fn document() -> String {
    fs::read_to_string(path()).unwrap()
}

fn is_hex(line: &str) -> bool {
    !line.is_empty() && line.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn blocks(document: &str) -> Vec<Block> {
    let fenced = document.split("\n```").skip(1).step_by(2);
    let frames = fenced.filter_map(|block| block.strip_prefix("frame ")?.split_once('\n'));
    let blocks = frames.map(|(_, body)| {
        let (hex, json): (Vec<_>, Vec<_>) = body.lines().partition(|line| is_hex(line));
        Block {
            json: json.join("\n"),
            hex: hex.concat(),
        }
    });
    blocks.collect()
}

fn hex_of(body: Body) -> String {
    encode_proto(body)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[test]
fn every_frame_is_the_same_in_both_encodings_and_is_written_as_it_stands() {
    let blocks = blocks(&document());
    assert!(blocks.len() > 30, "{}", blocks.len());
    for Block { json, hex } in &blocks {
        let body = decode_json(json).unwrap_or_else(|error| panic!("{error}: {json}"));
        let bytes: Vec<u8> = (0..hex.len() / 2)
            .map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap())
            .collect();
        assert_eq!(decode_proto(Bytes::from(bytes)).unwrap(), body, "{json}");
        assert_eq!(hex_of(body.clone()), *hex, "{json}");
        let (written, stands): (Value, Value) = (
            serde_json::from_str(&encode_json(body).unwrap()).unwrap(),
            serde_json::from_str(json).unwrap(),
        );
        assert_eq!(written, stands);
    }
}

#[test]
fn every_kind_of_frame_is_shown() {
    let document = document();
    let shown: Vec<Value> = blocks(&document)
        .iter()
        .map(|block| serde_json::from_str(&block.json).unwrap())
        .collect();
    for frame in schema::frames() {
        assert!(
            shown.iter().any(|json| json.get(frame.json_name).is_some()),
            "{}",
            frame.json_name
        );
    }
}

#[test]
fn the_tables_are_those_of_the_code() {
    let document = document();
    let has = |row: String| assert!(document.contains(&row), "docs/protocol.md lacks the row\n{row}");
    let word = |is: bool| if is { "yes" } else { "no" };
    for code in CloseCode::ALL {
        let (number, name, meaning) = (code.number(), code.name(), code.meaning());
        has(format!(
            "\n| {number} | `{name}` | {meaning} | {} |\n",
            word(code.reconnect())
        ));
    }
    for code in Code::ALL.into_iter().filter(|code| code.answers_a_send()) {
        let (name, meaning) = (code.as_str(), code.meaning());
        has(format!(
            "\n| `{name}` | {meaning} | {} |\n",
            word(code.retryable())
        ));
    }
    let limits = serde_json::to_value(Limits::default()).unwrap();
    for (name, default) in limits.as_object().unwrap() {
        has(format!("\n| `{name}` | {default} | "));
    }
}

#[test]
#[ignore = "writes the bytes below each JSON: cargo test -p chatctl-protocol --test document -- --ignored"]
fn write_the_bytes() {
    let document = document();
    let mut written = String::new();
    for (at, piece) in document.split("\n```").enumerate() {
        if at > 0 {
            written.push_str("\n```");
        }
        let block = piece
            .strip_prefix("frame ")
            .and_then(|block| block.split_once('\n'));
        let Some((way, body)) = block.filter(|_| at % 2 == 1) else {
            written.push_str(piece);
            continue;
        };
        let json: Vec<_> = body.lines().filter(|line| !is_hex(line)).collect();
        let hex = hex_of(decode_json(&json.join("\n")).unwrap());
        let lines = hex
            .as_bytes()
            .chunks(64)
            .map(|line| std::str::from_utf8(line).unwrap());
        let lines: Vec<_> = lines.collect();
        written.push_str(&format!("frame {way}\n{}\n{}", json.join("\n"), lines.join("\n")));
    }
    fs::write(path(), written).unwrap();
}

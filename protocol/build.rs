//! Compiles the schema without protoc, and derives its proto3 JSON and its description from the same
//! descriptors.

use std::collections::HashMap;
use std::env;
use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use prost::Message as _;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorProto};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let schema = protox::compile(["proto/chatctl/v1/relay.proto"], ["proto"])?;
    let descriptors = schema.encode_to_vec();
    let file = schema.file.first().ok_or("an empty schema")?;
    let described = Path::new(&env::var("OUT_DIR")?).join("schema.rs");
    fs::write(described, describe(file)?)?;
    prost_build::Config::new()
        .bytes(["."])
        // One frame is one message: boxing its variants would cost an allocation each.
        .compile_fds(schema)?;
    pbjson_build::Builder::new()
        .register_descriptors(&descriptors)?
        .ignore_unknown_fields()
        .build(&[".chatctl.v1"])?;
    Ok(())
}

/// Comments by the path of what they stand above.
type Comments<'a> = HashMap<&'a [i32], String>;

/// The tables of `src/schema.rs`.
fn describe(file: &FileDescriptorProto) -> Result<String, Box<dyn Error>> {
    let comments: Comments<'_> = file
        .source_code_info
        .iter()
        .flat_map(|info| &info.location)
        .map(|location| (location.path.as_slice(), text(location.leading_comments())))
        .collect();
    let mut out =
        String::from("/// Every message, in the order of the schema.\npub const MESSAGES: &[Message] = &[\n");
    for (at, message) in (0..).zip(&file.message_type) {
        describe_message(&mut out, message, &[4, at], &comments)?;
    }
    out.push_str("];\n\n/// Every enum, in the order of the schema.\npub const ENUMS: &[Enum] = &[\n");
    for (at, described) in (0..).zip(&file.enum_type) {
        describe_enum(&mut out, described, &[5, at], &comments)?;
    }
    out.push_str("];\n");
    Ok(out)
}

fn describe_message(
    out: &mut String,
    message: &DescriptorProto,
    path: &[i32],
    comments: &Comments<'_>,
) -> Result<(), Box<dyn Error>> {
    let doc = comments.get(path).map_or("", String::as_str);
    writeln!(
        out,
        "Message {{ name: {:?}, doc: {doc:?}, fields: &[",
        message.name()
    )?;
    for (at, field) in (0..).zip(&message.field) {
        let doc = comments
            .get(&[path, &[2, at]].concat()[..])
            .map_or("", String::as_str);
        writeln!(
            out,
            "    Field {{ name: {:?}, json_name: {:?}, number: {}, kind: Kind::{}, repeated: {}, doc: {doc:?} }},",
            field.name(),
            field.json_name(),
            field.number(),
            kind(field)?,
            field.label() == Label::Repeated,
        )?;
    }
    writeln!(out, "] }},")?;
    Ok(())
}

fn describe_enum(
    out: &mut String,
    described: &EnumDescriptorProto,
    path: &[i32],
    comments: &Comments<'_>,
) -> Result<(), Box<dyn Error>> {
    let doc = comments.get(path).map_or("", String::as_str);
    writeln!(
        out,
        "Enum {{ name: {:?}, doc: {doc:?}, values: &[",
        described.name()
    )?;
    for (at, value) in (0..).zip(&described.value) {
        let doc = comments
            .get(&[path, &[2, at]].concat()[..])
            .map_or("", String::as_str);
        let (name, number) = (value.name(), value.number());
        writeln!(
            out,
            "    EnumValue {{ name: {name:?}, number: {number}, doc: {doc:?} }},"
        )?;
    }
    writeln!(out, "] }},")?;
    Ok(())
}

fn kind(field: &FieldDescriptorProto) -> Result<String, Box<dyn Error>> {
    let name = field.type_name().rsplit('.').next().unwrap_or_default();
    Ok(match field.r#type() {
        Type::Bool => "Bool".to_owned(),
        Type::Uint32 => "Uint32".to_owned(),
        Type::Uint64 => "Uint64".to_owned(),
        Type::Int64 => "Int64".to_owned(),
        Type::Fixed64 => "Fixed64".to_owned(),
        Type::String => "String".to_owned(),
        Type::Bytes => "Bytes".to_owned(),
        Type::Message => format!("Message({name:?})"),
        Type::Enum => format!("Enum({name:?})"),
        other => return Err(format!("{other:?} has no place in src/schema.rs yet").into()),
    })
}

/// A comment without its margins.
fn text(comment: &str) -> String {
    comment
        .lines()
        .map(str::trim)
        .collect::<Vec<_>>()
        .join("\n")
        .trim()
        .to_owned()
}

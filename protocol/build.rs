//! Compiles the schema without protoc, and derives its proto3 JSON from the same descriptors.

use std::error::Error;

use prost::Message as _;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let schema = protox::compile(["proto/chatctl/v1/relay.proto"], ["proto"])?;
    let descriptors = schema.encode_to_vec();
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

//! Generates the code of `proto/gridctl/v1` without `protoc`.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let root = "../../proto";
    println!("cargo::rerun-if-changed={root}");
    let files = protox::compile(["gridctl/v1/worker.proto"], [root])?;
    tonic_prost_build::configure().build_transport(false).emit_rerun_if_changed(false).compile_fds(files)?;
    Ok(())
}

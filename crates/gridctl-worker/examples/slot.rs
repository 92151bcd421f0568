//! The slot process on its own: the tests of this crate start it where the `gridctl` binary would
//! start itself as `gridctl slot`.

fn main() -> std::process::ExitCode {
    gridctl_worker::slot::main(gridctl_worker::slot::SlotWay::Pipes)
}

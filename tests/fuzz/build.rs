//! Tells the compiler that `cfg(fuzzing)` is meant: it selects the binary that libFuzzer drives.

fn main() {
    println!("cargo::rustc-check-cfg=cfg(fuzzing)");
    println!("cargo::rerun-if-changed=build.rs");
}

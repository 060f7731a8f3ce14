//! Tells the compiler that `cfg(loom)` is meant: it selects the model-checking run of the ring.

fn main() {
    println!("cargo::rustc-check-cfg=cfg(loom)");
    println!("cargo::rerun-if-changed=build.rs");
}

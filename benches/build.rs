//! Keeps what the compiler was told, so that a table of results can say it.

use std::process::Command;

fn main() {
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let compiler = Command::new(variable("RUSTC")).arg("--version").output();
    let compiler = compiler.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    // Cargo separates the flags by a character that no flag contains.
    let flags = variable("CARGO_ENCODED_RUSTFLAGS").replace('\u{1f}', " ");
    println!("cargo:rustc-env=SLUICE_RUSTC={}", compiler.unwrap_or_default());
    println!("cargo:rustc-env=SLUICE_RUSTFLAGS={flags}");
    println!("cargo:rustc-env=SLUICE_OPT_LEVEL={}", variable("OPT_LEVEL"));
    println!("cargo:rustc-env=SLUICE_TARGET={}", variable("TARGET"));
    println!("cargo:rerun-if-changed=build.rs");
}

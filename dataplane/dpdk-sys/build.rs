//! Finds the system's libdpdk, generates bindings to its control functions and compiles the shims.
//!
//! Nothing is downloaded and no DPDK is built: what the distribution ships is what runs. A missing library is an error
//! that names the package, never a silent stub.

use std::path::PathBuf;
use std::process::{Command, exit};
use std::{env, fs};

/// The oldest release whose ABI the mirrored structures were checked against.
const OLDEST: &str = "22.11";

/// Only these libraries are linked. Drivers and mempool handlers are plugins that EAL loads from its own directory;
/// linking all of `pkg-config --libs` would map a hundred libraries that nothing here calls.
const LIBRARIES: [&str; 5] = ["rte_eal", "rte_ethdev", "rte_mbuf", "rte_mempool", "rte_ring"];

/// Control functions that Rust calls directly. Static inline functions are not here: see `shim/shim.c`.
const FUNCTIONS: [&str; 11] = [
    "rte_eal_(init|cleanup|has_hugepages|hotplug_add|hotplug_remove|get_runtime_dir)",
    "rte_thread_(register|unregister)",
    "rte_strerror",
    "rte_version",
    "rte_dev_(probe|remove|name)",
    "rte_mempool_(free|avail_count|in_use_count|lookup|cache_flush)",
    "rte_log_(set_global_level|set_level_pattern)",
    "rte_openlog_stream",
    "rte_eth_dev_(info_get|configure|start|stop|close|get_port_by_name|get_name_by_port|is_valid_port|\
     socket_id|set_mtu|get_mtu|rss_hash_update|rss_reta_update|adjust_nb_rx_tx_desc|count_avail|\
     default_mac_addr_set)",
    "rte_eth_(rx_queue_setup|tx_queue_setup|promiscuous_enable|allmulticast_enable|macaddr_get|stats_get|\
     stats_reset|xstats_get|xstats_get_names|find_next)",
    "rte_eth_speed_bitflag",
];

fn main() {
    println!("cargo:rerun-if-changed=shim/shim.c");
    println!("cargo:rerun-if-changed=shim/wrapper.h");
    println!("cargo:rerun-if-env-changed=PKG_CONFIG_PATH");

    let version = find_library();
    let flags = compiler_flags();
    println!("cargo:version={version}");
    for library in LIBRARIES {
        println!("cargo:rustc-link-lib=dylib={library}");
    }
    compile_shims(&flags);
    generate_bindings(&flags);
}

/// Asks pkg-config for libdpdk and adds its library directories to the search path. Returns the version.
fn find_library() -> String {
    match pkg_config::Config::new().atleast_version(OLDEST).cargo_metadata(false).probe("libdpdk") {
        Ok(library) => {
            for path in library.link_paths {
                println!("cargo:rustc-link-search=native={}", path.display());
            }
            library.version
        }
        Err(error) => fail(&format!("libdpdk {OLDEST} or later was not found by pkg-config:\n{error}")),
    }
}

/// The compiler flags of libdpdk. The pkg-config crate keeps include paths only, but the headers need
/// `-include rte_config.h` and the instruction set that the library was built for as well.
fn compiler_flags() -> Vec<String> {
    let program = env::var("PKG_CONFIG").unwrap_or_else(|_| "pkg-config".into());
    match Command::new(&program).args(["--cflags", "libdpdk"]).output() {
        Ok(output) if output.status.success() => {
            String::from_utf8_lossy(&output.stdout).split_whitespace().map(str::to_owned).collect()
        }
        other => fail(&format!("`{program} --cflags libdpdk` failed: {other:?}")),
    }
}

fn compile_shims(flags: &[String]) {
    let mut build = cc::Build::new();
    build.file("shim/shim.c").opt_level(2).warnings(true).flag_if_supported("-Wno-unused-parameter");
    for flag in flags {
        build.flag(flag);
    }
    // Experimental symbols are avoided, but headers of some releases mention them in inline functions.
    build.define("ALLOW_EXPERIMENTAL_API", None);
    if let Err(error) = build.try_compile("sluice_dpdk_shim") {
        fail(&format!("the C shims did not compile: {error}"));
    }
}

fn generate_bindings(flags: &[String]) {
    let mut builder = bindgen::Builder::default()
        .header("shim/wrapper.h")
        .clang_args(flags)
        .prepend_enum_name(false)
        .layout_tests(true)
        .generate_comments(false)
        .derive_debug(false)
        // Mirrored by hand in `src/mbuf.rs`: bitfield unions and markers are not for a fast path.
        .blocklist_type("rte_mbuf")
        // Which signatures mention it differs between releases.
        .raw_line("#[allow(unused_imports)]\nuse crate::mbuf::rte_mbuf;")
        .opaque_type("rte_mempool|rte_device|rte_devargs|rte_eth_dev|rte_bus")
        .allowlist_type("rte_eth_(conf|dev_info|rss_conf|rss_reta_entry64|stats|xstat|xstat_name)")
        .allowlist_type("rte_eth_rx_mq_mode")
        .allowlist_var(
            "RTE_(MAX_ETHPORTS|MAX_LCORE|PKTMBUF_HEADROOM|MEMPOOL_CACHE_MAX_SIZE|ETH_NAME_MAX_LEN)",
        )
        .allowlist_var("RTE_ETH_XSTATS_NAME_SIZE");
    for function in FUNCTIONS {
        builder = builder.allowlist_function(function);
    }
    let Some(directory) = env::var_os("OUT_DIR").map(PathBuf::from) else {
        fail("OUT_DIR is not set: run this through cargo");
    };
    match builder.generate() {
        Ok(bindings) => {
            if let Err(error) = fs::write(directory.join("bindings.rs"), bindings.to_string()) {
                fail(&format!("the bindings could not be written: {error}"));
            }
        }
        Err(error) => fail(&format!("bindgen failed: {error}")),
    }
}

/// Ends the build with what is wrong and what to install.
fn fail(message: &str) -> ! {
    eprintln!("error: {message}\n");
    eprintln!("Sluice uses the distribution's DPDK. On Debian and Ubuntu:");
    eprintln!("    apt-get install libdpdk-dev pkg-config libclang-dev");
    exit(1);
}

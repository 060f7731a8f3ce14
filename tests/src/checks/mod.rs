//! Behaviours, each shown against a running gateway. A check takes the lab and its gateway and leaves both as it found them.

use std::net::SocketAddr;
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use crate::gateway::Gateway;
use crate::lab::{Lab, SERVER};
use crate::service::Service;
use crate::site::Site;
use crate::traffic::embed;

pub mod box_itself;
pub mod errors;
pub mod frames;
pub mod guests;
pub mod nat44;
pub mod nat64;
pub mod pieces;
pub mod programs;
pub mod refused;

/// Port of the test service on the server.
pub const PORT: u16 = 7000;

/// What every check is given.
pub struct Scene<'a> {
    /// The network.
    pub lab: &'a Lab,
    /// The gateway in its middle.
    pub gateway: &'a Gateway<'a>,
    /// The service on the server.
    pub service: &'a Service,
}

/// The server's service as the IPv4 client names it.
pub fn server4() -> SocketAddr {
    (SERVER, PORT).into()
}

/// The server's service as the IPv6 client names it.
pub fn server6() -> SocketAddr {
    (embed(SERVER), PORT).into()
}

/// Runs `work` against a fresh lab with a running gateway and a service on the server; then the accounts must balance,
/// the processes end cleanly, and nothing of the lab may be left.
pub fn with_gateway(site: &Site, work: impl FnOnce(&Scene) -> Result<()>) -> Result<()> {
    let lab = Lab::new()?;
    let service = Service::start(lab.host("server4"), server4())?;
    let gateway = Gateway::start(&lab, site)?;
    work(&Scene { lab: &lab, gateway: &gateway, service: &service })?;
    gateway.finish()?;
    drop(service);
    lab.finish()
}

/// A check with its name.
pub type Check = (&'static str, fn(&Scene) -> Result<()>);

/// Runs checks in turn, every one even if an earlier one failed, and after each the accounts must balance. The error
/// names all that failed.
pub fn run_all(scene: &Scene, checks: &[Check]) -> Result<()> {
    let mut failures = Vec::new();
    for (name, check) in checks {
        let start = Instant::now();
        let result =
            check(scene).and_then(|()| scene.gateway.settled().context("accounting afterwards").map(drop));
        match result {
            Ok(()) => eprintln!("  ok      {name} ({:.1} s)", start.elapsed().as_secs_f32()),
            Err(error) => {
                eprintln!("  FAILED  {name}: {error:#}");
                failures.push(*name);
            }
        }
    }
    ensure!(
        failures.is_empty(),
        "{} of {} checks failed: {}",
        failures.len(),
        checks.len(),
        failures.join(", ")
    );
    Ok(())
}

/// A real web server on the server's port 8080 that names the client it saw.
pub fn web_server(lab: &Lab) -> anyhow::Result<crate::process::Process> {
    let directory = lab.directory();
    let config = directory.join("nginx.conf");
    let mut text = format!(
        "user root; master_process off; daemon off; error_log stderr; pid {}/nginx.pid;\nevents {{}}\nhttp {{ access_log off;\n",
        directory.display()
    );
    for kind in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"] {
        text.push_str(&format!("{kind}_temp_path {}/nginx-{kind};\n", directory.display()));
    }
    text.push_str(&format!(
        "server {{ listen {SERVER}:8080; default_type text/plain; return 200 \"$remote_addr\\n\"; }} }}\n"
    ));
    std::fs::write(&config, text)?;
    let mut command = lab.host("server4").command("nginx");
    command.args(["-e", "stderr", "-c"]).arg(&config);
    crate::process::Process::spawn("nginx", command, &directory.join("nginx.log"))
}

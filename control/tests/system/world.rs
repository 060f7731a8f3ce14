//! Namespaces to test in, and the tools to look at them from outside the code under test.

use std::process::Command;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;
use sluice_control::system::System;

/// Runs a test on a thread with a network namespace of its own. Without root it says so and passes.
pub(crate) fn in_namespace<F: Future<Output = ()>>(test: impl FnOnce(System) -> F + Send + 'static) {
    if !is_root() {
        eprintln!("skipped: needs root");
        return;
    }
    let thread = std::thread::spawn(move || {
        enter_new_namespace();
        run("ip link set dev lo up");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async { test(System::new().unwrap()).await });
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

fn is_root() -> bool {
    // SAFETY: has no arguments and cannot fail.
    unsafe { libc::geteuid() == 0 }
}

fn enter_new_namespace() {
    // SAFETY: takes an integer; only the calling thread, which has just started, changes its namespace.
    let result = unsafe { libc::unshare(libc::CLONE_NEWNET) };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
}

/// Runs a command in the namespace of this thread and returns what it says. It must succeed.
pub(crate) fn run(command: &str) -> String {
    let (ok, text) = attempt(command);
    assert!(ok, "{command}: {text}");
    text
}

/// Runs a command in the namespace of this thread. Whether it succeeded, and what it said.
pub(crate) fn attempt(command: &str) -> (bool, String) {
    let words: Vec<&str> = command.split_whitespace().collect();
    let output = Command::new(words[0]).args(&words[1..]).output().unwrap();
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.success(), text)
}

/// What `ip -json` says.
pub(crate) fn ip(arguments: &str) -> Value {
    serde_json::from_str(&run(&format!("ip -json {arguments}"))).unwrap_or(Value::Null)
}

/// Flags of an interface, `LOWER_UP` for carrier among them.
pub(crate) fn flags(interface: &str) -> Vec<String> {
    let link = ip(&format!("link show dev {interface}"));
    let flags = link[0]["flags"].as_array().unwrap();
    flags.iter().map(|flag| flag.as_str().unwrap().to_owned()).collect()
}

pub(crate) fn has_carrier(interface: &str) -> bool {
    flags(interface).iter().any(|flag| flag == "LOWER_UP")
}

/// Addresses of an interface as `address/length`, in the kernel's order.
pub(crate) fn addresses(interface: &str) -> Vec<String> {
    let shown = ip(&format!("addr show dev {interface}"));
    let infos = shown[0]["addr_info"].as_array().unwrap().clone();
    infos.iter().map(|info| format!("{}/{}", info["local"].as_str().unwrap(), info["prefixlen"])).collect()
}

/// The value of a file of `/proc/sys/net`.
pub(crate) fn sysctl(path: &str) -> String {
    std::fs::read_to_string(format!("/proc/sys/net/{path}")).unwrap().trim().to_owned()
}

/// Waits until something holds, asking every 20 ms while the runtime goes on.
pub(crate) async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(10), "waited too long: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

type Job = Box<dyn FnOnce() + Send>;

/// Another machine: a thread in a namespace of its own that does what it is told.
pub(crate) struct Peer {
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    thread_id: i32,
}

impl Peer {
    pub(crate) fn new() -> Self {
        let (jobs, todo) = mpsc::channel::<Job>();
        let (tell, told) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            enter_new_namespace();
            // SAFETY: has no arguments and cannot fail.
            tell.send(unsafe { libc::gettid() }).unwrap();
            for job in todo {
                job();
            }
        });
        Self { jobs: Some(jobs), thread: Some(thread), thread_id: told.recv().unwrap() }
    }

    /// Lays a cable: `here` in the namespace of the caller, `there` in that of the peer, both down.
    pub(crate) fn cable(&self, here: &str, there: &str) {
        run(&format!("ip link add name {here} type veth peer name {there}"));
        run(&format!("ip link set dev {there} netns {}", self.thread_id));
    }

    pub(crate) fn call<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        let (tell, told) = mpsc::channel();
        let job = Box::new(move || drop(tell.send(job())));
        self.jobs.as_ref().unwrap().send(job).unwrap();
        told.recv().expect("the peer's job panicked")
    }

    pub(crate) fn run(&self, command: &str) -> String {
        let command = command.to_owned();
        self.call(move || run(&command))
    }

    pub(crate) fn attempt(&self, command: &str) -> (bool, String) {
        let command = command.to_owned();
        self.call(move || attempt(&command))
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

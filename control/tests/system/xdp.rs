//! An XDP program that a killed dataplane has left.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::process::Command;

use crate::world::{in_namespace, ip, run};

/// `r0 = XDP_DROP; exit`.
const DROP: [u64; 2] = [0x0000_0001_0000_00b7, 0x95];

fn program() -> OwnedFd {
    let mut attributes = [0u64; 8];
    // Type XDP and two instructions, then pointers to these and to the license.
    attributes[0] = 6 | 2 << 32;
    attributes[1] = DROP.as_ptr() as u64;
    attributes[2] = c"Apache-2.0".as_ptr() as u64;
    // SAFETY: the kernel reads the attributes and what they point to, all of which lives until the call returns.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, 5, attributes.as_ptr(), size_of_val(&attributes)) };
    assert!(fd >= 0, "{}", std::io::Error::last_os_error());
    // SAFETY: the kernel has just returned this descriptor; nobody else owns it.
    unsafe { OwnedFd::from_raw_fd(fd as i32) }
}

/// `ip` attaches programs from pinned files or objects only, so it is given one through a file system of its own.
fn attach(mode: &str) {
    let program = program();
    let directory = std::env::temp_dir().join(format!("sluice-xdp-{}-{mode}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let path = directory.join("bpf");
    std::fs::create_dir_all(&path).unwrap();
    let status = Command::new("mount").args(["-t", "bpf", "none"]).arg(&path).status().unwrap();
    assert!(status.success());
    let pin = std::ffi::CString::new(path.join("drop").to_str().unwrap()).unwrap();
    let attributes = [pin.as_ptr() as u64, program.as_raw_fd() as u64];
    // SAFETY: BPF_OBJ_PIN reads the attributes and the path, which live until the call returns.
    let result = unsafe { libc::syscall(libc::SYS_bpf, 6, attributes.as_ptr(), size_of_val(&attributes)) };
    let error = std::io::Error::last_os_error();
    let attached =
        (result == 0).then(|| run(&format!("ip link set dev eth0 {mode} pinned {}", pin.to_str().unwrap())));
    let _ = Command::new("umount").arg(&path).status();
    let _ = std::fs::remove_dir_all(&directory);
    assert!(attached.is_some(), "{error}");
}

#[test]
fn programs_left_behind_are_removed_in_whatever_mode() {
    in_namespace(|system| async move {
        run("ip link add name eth0 type veth peer name eth1");
        assert_eq!(system.clear_xdp("eth0").await.unwrap(), 0, "nothing to do");
        for mode in ["xdpgeneric", "xdpdrv"] {
            attach(mode);
            assert!(ip("link show dev eth0")[0]["xdp"].is_object(), "{mode}");
            assert_eq!(system.clear_xdp("eth0").await.unwrap(), 1, "{mode}");
            assert!(ip("link show dev eth0")[0]["xdp"].is_null(), "{mode}");
        }
    });
}

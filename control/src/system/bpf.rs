//! The one BPF program control needs: drop everything.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_PROG_TYPE_SCHED_CLS: u32 = 3;
/// The verdict of a classifier in direct-action mode that drops.
const TC_ACT_SHOT: i32 = 2;

/// One instruction of the virtual machine, 8 bytes.
#[repr(C)]
#[derive(Clone, Copy)]
struct Instruction {
    code: u8,
    registers: u8,
    offset: i16,
    immediate: i32,
}
const _: () = assert!(size_of::<Instruction>() == 8);

/// `r0 = TC_ACT_SHOT; exit`.
const DROP_ALL: [Instruction; 2] = [
    Instruction { code: 0xb7, registers: 0, offset: 0, immediate: TC_ACT_SHOT },
    Instruction { code: 0x95, registers: 0, offset: 0, immediate: 0 },
];

/// The head of `union bpf_attr` for `BPF_PROG_LOAD`, up to the name.
#[repr(C)]
#[derive(Default)]
struct LoadAttributes {
    program_type: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buffer: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
}
const _: () = assert!(size_of::<LoadAttributes>() == 64);

/// Loads a classifier that drops every packet. It lives as long as the descriptor or a filter that uses it.
pub(crate) fn load_drop_all() -> io::Result<OwnedFd> {
    let license = c"Apache-2.0";
    let mut attributes = LoadAttributes {
        program_type: BPF_PROG_TYPE_SCHED_CLS,
        instruction_count: DROP_ALL.len() as u32,
        instructions: DROP_ALL.as_ptr() as u64,
        license: license.as_ptr() as u64,
        ..LoadAttributes::default()
    };
    attributes.name[..12].copy_from_slice(b"sluice_fence");
    // SAFETY: the kernel reads the attributes, the two instructions and the license, which all live until the call
    // returns, and no more of them than the sizes given; with no log buffer it writes nothing.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, BPF_PROG_LOAD, &raw const attributes, size_of::<LoadAttributes>())
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just returned this descriptor; nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(result as i32) })
}

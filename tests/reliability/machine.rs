//! The only part of the tracer that depends on the machine: where a system call has its number, its arguments and its answer.

use nix::Result;
use nix::errno::Errno;
use nix::sys::ptrace;
use nix::unistd::Pid;

/// Whether a system call can be answered without being done here.
pub const CAN_REFUSE: bool = cfg!(target_arch = "x86_64");

/// The number and the first argument of the system call that a task is about to make.
#[cfg(target_arch = "x86_64")]
pub fn asked(task: Pid) -> Result<(u64, u64)> {
    let registers = ptrace::getregs(task)?;
    Ok((registers.orig_rax, registers.rdi))
}

/// The same.
#[cfg(target_arch = "aarch64")]
pub fn asked(task: Pid) -> Result<(u64, u64)> {
    let registers = ptrace::getregs(task)?;
    let [first, _, _, _, _, _, _, _, number, ..] = registers.regs;
    Ok((number, first))
}

/// Has the kernel do nothing when the task goes on.
#[cfg(target_arch = "x86_64")]
pub fn refuse(task: Pid) -> Result<()> {
    let mut registers = ptrace::getregs(task)?;
    registers.orig_rax = u64::MAX;
    ptrace::setregs(task, registers)
}

/// Says what the kernel would have said.
#[cfg(target_arch = "x86_64")]
pub fn answer(task: Pid, errno: Errno) -> Result<()> {
    let mut registers = ptrace::getregs(task)?;
    registers.rax = (-i64::from(errno as i32)).cast_unsigned();
    ptrace::setregs(task, registers)
}

/// Here the number is in a set of registers of its own (`NT_ARM_SYSTEM_CALL`), which nix does not know.
#[cfg(not(target_arch = "x86_64"))]
pub fn refuse(_: Pid) -> Result<()> {
    Err(Errno::ENOSYS)
}

/// The same.
#[cfg(not(target_arch = "x86_64"))]
pub fn answer(_: Pid, _: Errno) -> Result<()> {
    Err(Errno::ENOSYS)
}

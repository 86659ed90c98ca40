//! Which system calls a dyno may not make: those by which a process changes the machine, looks
//! into its kernel, or makes itself a larger target. Docker's default profile leaves out the same.
//!
//! A list of what is refused, not of what is allowed: an app must not fail because a kernel or a C
//! library has become newer. What is refused needs a capability that a dyno does not have, or is
//! of no use to an app; the filter is the second lock on the same doors.

use std::collections::BTreeMap;

use nix::libc;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, apply_filter,
};

/// Refused as not permitted.
const REFUSED: &[libc::c_long] = &[
    // Keys of the kernel's own, which no namespace keeps apart.
    libc::SYS_add_key,
    libc::SYS_keyctl,
    libc::SYS_request_key,
    // Programs in the kernel, and looks into it.
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_lookup_dcookie,
    libc::SYS_syslog,
    // Queues that pass by every filter such as this one.
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    // Another kernel, or another part of it.
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_reboot,
    // File systems, and files past them.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_mount_setattr,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_open_by_handle_at,
    libc::SYS_quotactl,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_nfsservctl,
    // Namespaces: within one of its own a process is root over much of the kernel's code.
    libc::SYS_setns,
    libc::SYS_unshare,
    // The machine's clock and name.
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_vhangup,
];

/// Only this processor has ports, and these ancient ones.
#[cfg(target_arch = "x86_64")]
const REFUSED_HERE: &[libc::c_long] =
    &[libc::SYS_iopl, libc::SYS_ioperm, libc::SYS_uselib, libc::SYS_ustat, libc::SYS_sysfs];
#[cfg(not(target_arch = "x86_64"))]
const REFUSED_HERE: &[libc::c_long] = &[];

/// The same calls by another name, where the kernel knows it (x32).
#[cfg(target_arch = "x86_64")]
const ALIAS: Option<i64> = Some(0x4000_0000);
#[cfg(not(target_arch = "x86_64"))]
const ALIAS: Option<i64> = None;

/// New namespaces by clone(2), whose other uses are threads and processes.
const NAMESPACES: &[libc::c_int] = &[
    libc::CLONE_NEWCGROUP,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWNET,
    libc::CLONE_NEWNS,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWUTS,
];

/// Refuses them to this process and all that come from it. It must have no way to more privileges.
pub(super) fn apply() -> Result<(), seccompiler::Error> {
    apply_filter(&not_permitted()?)?;
    apply_filter(&not_known()?)
}

fn not_permitted() -> Result<BpfProgram, seccompiler::BackendError> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    for call in REFUSED.iter().chain(REFUSED_HERE) {
        rules.insert(*call, Vec::new());
        rules.extend(ALIAS.map(|alias| (*call | alias, Vec::new())));
    }
    let new_namespace = |flag: &libc::c_int| {
        let flag = u64::from(flag.unsigned_abs());
        let asked = SeccompCmpOp::MaskedEq(flag);
        SeccompRule::new(vec![SeccompCondition::new(0, SeccompCmpArgLen::Qword, asked, flag)?])
    };
    let clone: Vec<SeccompRule> = NAMESPACES.iter().map(new_namespace).collect::<Result<_, _>>()?;
    rules.extend(ALIAS.map(|alias| (libc::SYS_clone | alias, clone.clone())));
    rules.insert(libc::SYS_clone, clone);
    filter(rules, libc::EPERM)
}

/// clone3(2) has its flags in memory, where no filter looks: C libraries take clone(2) when the
/// kernel does not know it.
fn not_known() -> Result<BpfProgram, seccompiler::BackendError> {
    let mut rules = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
    rules.extend(ALIAS.map(|alias| (libc::SYS_clone3 | alias, Vec::new())));
    filter(rules, libc::ENOSYS)
}

fn filter(
    rules: BTreeMap<i64, Vec<SeccompRule>>,
    errno: libc::c_int,
) -> Result<BpfProgram, seccompiler::BackendError> {
    let refused = SeccompAction::Errno(errno.unsigned_abs());
    let here = TargetArch::try_from(std::env::consts::ARCH)?;
    SeccompFilter::new(rules, SeccompAction::Allow, refused, here)?.try_into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filters_are_what_the_kernel_takes() {
        // BPF_MAXINSNS.
        for program in [not_permitted().unwrap(), not_known().unwrap()] {
            assert!((1..4096).contains(&program.len()), "{}", program.len());
        }
    }
}

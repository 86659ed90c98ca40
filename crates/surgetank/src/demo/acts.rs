//! The eight acts, one file each.

pub(super) mod bug_report;
pub(super) mod diagnosis;
pub(super) mod fix;
pub(super) mod load;
pub(super) mod proof;
pub(super) mod staging;
pub(super) mod tracking;
pub(super) mod two_dynos;

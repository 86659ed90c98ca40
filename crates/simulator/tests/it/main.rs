//! The law against the scenario files.

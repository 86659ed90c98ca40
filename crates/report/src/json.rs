//! The machine-readable shapes. `trace` and `diagnose` keep their types free of formats on purpose,
//! so every field is mapped here by hand: a rename inside Surgetank cannot change what users parse.
//!
//! Rates are shares from 0 to 1, times are seconds or milliseconds as the field's name says.

pub mod diagnosis;
pub mod story;

pub use diagnosis::Diagnosis;
pub use story::Story;

/// The version of both shapes. Fields may be added within a version; a field that changes its
/// meaning or goes away raises it.
pub const VERSION: u32 = 1;

/// Writes a shape as indented JSON with a newline at the end.
#[must_use]
pub fn pretty<T: serde::Serialize>(shape: &T) -> String {
    let mut text = serde_json::to_string_pretty(shape)
        .expect("our shapes have string keys and no serialiser that fails");
    text.push('\n');
    text
}

#[cfg(test)]
mod tests;

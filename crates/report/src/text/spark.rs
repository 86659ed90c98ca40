//! A series in one line.

/// Eighths of a block.
const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// The values as a line of at most `width` blocks: neighbours share a block by their highest value,
/// zero is blank, so that the smallest failure is still seen.
#[must_use]
pub fn sparkline(values: &[f64], width: usize) -> String {
    let blocks = values.len().min(width);
    let highs: Vec<f64> = (0..blocks)
        .map(|n| &values[n * values.len() / blocks..(n + 1) * values.len() / blocks])
        .map(|shared| shared.iter().copied().fold(0.0, f64::max))
        .collect();
    let most = highs.iter().copied().fold(0.0, f64::max);
    highs.iter().map(|value| level(*value, most)).collect()
}

fn level(value: f64, most: f64) -> char {
    if value <= 0.0 || !value.is_finite() || most <= 0.0 {
        return ' ';
    }
    let steps = (1_u8..).zip(LEVELS);
    let fits = |(step, _): &(u8, char)| value * 8.0 <= f64::from(*step) * most;
    steps.take(8).find(fits).map_or('█', |(_, block)| block)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_values_are_seen_and_peaks_kept() {
        assert_eq!(sparkline(&[0.0, 0.1, 4.0, 8.0, 0.0], 10), " ▁▄█ ");
        assert_eq!(sparkline(&[0.0, 0.0, 0.0, 1.0], 2), " █");
        assert_eq!(sparkline(&[], 5), "");
        assert_eq!(sparkline(&[0.0; 3], 3), "   ");
    }
}
